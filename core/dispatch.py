"""Makes of a decision the request that goes out, from what the client sent.

The credential stands beside the request, not in it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from core import continuity, rewrite
from core import match as matching
from core.accounts import Accounts
from core.config import Config
from core.continuity import Conversations, Maker
from core.errors import RequestError
from core.jsonspan import JsonError
from core.match import Matched
from core.model import HttpRequest, HttpResponse, Route
from core.plan import Forward
from core.provider import Provider
from core.rewrite import Target


@dataclass(frozen=True, slots=True)
class Dispatch:
    """One configuration's way to make requests. Cheap to make: nothing is kept."""

    config: Config
    accounts: Accounts
    providers: Mapping[str, Provider]
    conversations: Conversations

    def first(self, matched: Matched, route: Route, now: float) -> Forward:
        """The request as the account that was chosen must see it. Raises RequestError."""
        candidate = route.candidate
        provider = self.providers[candidate.provider]
        subject = self.accounts.of(provider.id)
        if subject is None or subject.account != candidate.account:
            raise RequestError(503, f"the sign-in of {provider.name} changed just now; try again")
        credential = subject.credential
        target = Target(provider, subject.base_url, candidate.provider_model, credential.type)
        try:
            matched, thinking = continuity.settle(
                matched, self.conversations, _maker(route, provider)
            )
            request = rewrite.apply(matched, target)
        except JsonError as error:
            raise RequestError(400, f"the body is not JSON that can be routed: {error}") from None
        return Forward(request, matched.ask, route, credential, provider, now, thinking)

    def again(
        self, before: Forward, original: HttpRequest, answer: HttpResponse, now: float
    ) -> Forward | None:
        """Once more to the same account, without what its answer refuses.

        None where it refuses nothing of the sort, or nothing can be left out. `original` is what
        the client sent. What was refused is remembered.
        """
        refusal = continuity.refusal(before.provider, answer)
        if refusal is None:
            return None
        try:
            matched = matching.match(original, self.config.models)
            if not isinstance(matched, Matched):
                return None
            maker = _maker(before.route, before.provider)
            self.conversations.refuse(matched.body, maker, refusal)
            forward = self.first(replace(matched, ask=before.ask), before.route, now)
        except RequestError:
            # The configuration or the sign-in is another one since.
            return None
        if forward.request == before.request:
            return None
        return replace(forward, request_id=before.request_id, attempt=before.attempt + 1)


def _maker(route: Route, provider: Provider) -> Maker:
    return Maker.of(provider, route.account, route.candidate.provider_model)
