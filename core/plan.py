"""What becomes of a request: forwarded, answered, or none of our business."""

from dataclasses import dataclass

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
    thinking_removed: int = 0
    """Signed blocks of another account, which this one would refuse."""
    request_id: str = ""
    """By which the decision is found in the log."""

    @property
    def authorization(self) -> Headers:
        """The fields that carry the credential. For the wire alone."""
        return self.provider.authorize(self.credential)

    def allows(self, scheme: str, host: str, port: int, path: str) -> bool:
        """Whether the credential may go there: to the decided target and nowhere else."""
        return (scheme, host.lower(), port) == self.request.origin and path == self.request.path

    @property
    def response_headers(self) -> Headers:
        """What tells the client where its request went."""
        chosen = self.route.candidate
        return (
            ("x-limit-router-provider", chosen.provider),
            ("x-limit-router-model", chosen.provider_model.encode("ascii", "replace").decode()),
            ("x-limit-router-reason", self.route.reason),
            ("x-limit-router-attempts", "1"),
            ("x-limit-router-request", self.request_id),
        )


@dataclass(frozen=True, slots=True)
class Witnessed:
    """An answer to a sign-in that we know, to a request that the client sent there by itself."""

    account: Account
    tap: Tap


type Plan = Forward | HttpResponse | None
