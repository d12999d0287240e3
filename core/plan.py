"""What becomes of a request: forwarded, answered, or none of our business."""

from dataclasses import dataclass, field

from core.continuity import REFUSES, Thinking
from core.model import Account, Ask, Credential, Headers, HttpRequest, HttpResponse, Route
from core.observe import Tap
from core.provider import Provider


@dataclass(frozen=True, slots=True)
class Forward:
    """A request on its way: what goes upstream, without the credential, and what it stands on."""

    request: HttpRequest
    ask: Ask
    route: Route
    credential: Credential
    provider: Provider
    sent_at: float
    thinking: Thinking = field(default_factory=Thinking)
    request_id: str = ""
    """By which the decision is found in the log."""
    attempt: int = 1
    """How often the request has been sent, with this time."""

    @property
    def authorization(self) -> Headers:
        """The fields that carry the credential. For the wire alone."""
        return self.provider.authorize(self.credential)

    def allows(self, scheme: str, host: str, port: int, path: str) -> bool:
        """Whether the credential may go there: to the decided target and nowhere else."""
        return (scheme, host.lower(), port) == self.request.origin and path == self.request.path

    def may_repeat(self, status: int) -> bool:
        """Whether an answer must be read before it goes on: it may refuse what we can leave out.

        Once, and only where thinking went along that was signed.
        """
        refusable = self.thinking.carried > 0 and bool(self.provider.thinking_refusals)
        return status == REFUSES and refusable and self.attempt == 1

    @property
    def response_headers(self) -> Headers:
        """What tells the client where its request went."""
        chosen = self.route.candidate
        return (
            ("x-limit-router-provider", chosen.provider),
            ("x-limit-router-model", chosen.provider_model.encode("ascii", "replace").decode()),
            ("x-limit-router-reason", self.route.reason),
            ("x-limit-router-attempts", str(self.attempt)),
            ("x-limit-router-request", self.request_id),
        )


@dataclass(frozen=True, slots=True)
class Witnessed:
    """An answer to a sign-in that we know, to a request that the client sent there by itself."""

    account: Account
    tap: Tap


type Plan = Forward | HttpResponse | None
