"""The sign-ins there are, by the configuration in effect, and where each is spoken to.

Looks up; decides and remembers nothing.
"""

from collections.abc import Mapping
from hmac import compare_digest
from urllib.parse import urlsplit

from core.config import Config
from core.credentials import Credentials
from core.match import VIRTUAL_HOST
from core.model import Account, Credential, Headers
from core.poller import Subject
from core.provider import Endpoints, Provider, header

HTTPS = 443
HTTP = 80
SIGNED_OUT = "signed out: run `opencode auth login`"


class Accounts:
    """One configuration's view of the sign-ins. Cheap to make: nothing is kept."""

    def __init__(
        self, config: Config, credentials: Credentials, known: Mapping[str, Provider]
    ) -> None:
        self._config = config
        self._credentials = credentials
        self._known = known

    def of(self, provider: str) -> Subject | None:
        """The provider's account; None where nobody is signed in."""
        facts = self._known[provider]
        credential = self._credentials.get(facts)
        if credential is None:
            return None
        account = Account(facts.id, credential.sign_in, facts.kind(credential.type))
        endpoints = self._endpoints(facts, credential)
        return Subject(account, facts, credential, endpoints.base_url, endpoints.usage_url)

    def all(self) -> list[Subject]:
        """Every account there is."""
        found = (self.of(provider) for provider in self._known)
        return [subject for subject in found if subject is not None]

    def missing_consent(self, subject: Subject) -> str | None:
        """Why the user has to say first that it may be routed to; None where nothing is missing."""
        consent = subject.provider.opt_in(subject.credential.type)
        return None if self._config.provider(subject.provider.id).oauth else consent

    def over(self, subject: Subject, now: float) -> str | None:
        """Why its token is of no use, and what to do; None where it is of use."""
        credential = subject.credential
        if self._credentials.is_signed_out(credential):
            return SIGNED_OUT
        if credential.expires_at is not None and credential.expires_at <= now:
            return f"the sign-in in {credential.source} has expired"
        return None

    def token_url(self, subject: Subject) -> str | None:
        """Where its refresh token is sent."""
        configured = self._config.provider(subject.provider.id)
        return configured.token_url or subject.provider.token_url

    def intercepted(self) -> tuple[tuple[str, int], ...]:
        """The TLS hosts that must be decrypted: what we route, and what we route to."""
        hosts = {(VIRTUAL_HOST, HTTPS)}
        for provider in self._known.values():
            if not provider.paths:
                continue
            # The usual host, an enterprise's, a configured one: a client may name any of them.
            credential = self._credentials.get(provider)
            urls = {provider.endpoints(it).base_url for it in (None, credential)}
            for url in {*urls, self._endpoints(provider, credential).base_url}:
                if urlsplit(url).scheme == "https":
                    hosts.add(_address(url))
        return tuple(sorted(hosts))

    def targets(self) -> frozenset[tuple[str, int]]:
        """Where routed requests go: a configured address may well be on this machine."""
        return frozenset(_address(subject.base_url) for subject in self.all())

    def sender(self, host: str, port: int, headers: Headers) -> Subject | None:
        """The account whose own credential a client has sent to its provider by itself."""
        for subject in self.all():
            if _address(subject.base_url) == (host, port) and _sent(subject, headers):
                return subject
        return None

    def named(self) -> list[str]:
        """The providers that the configuration routes to, in the order they are known in."""
        names = {name for model in self._config.models.values() for name in model.providers}
        return [provider for provider in self._known if provider in names]

    def how_to_sign_in(self) -> str:
        """Which credential sources were looked at, and what to do."""
        looked = [
            f"{name} in {', '.join(self._credentials.sources(self._known[name]))}"
            for name in self.named()
        ]
        if not looked:
            return "The configuration names no model, so there is nothing to sign in to."
        return (
            f"Looked for {'; for '.join(looked)}. Set one of the variables, or sign in with "
            "`opencode auth login`."
        )

    def _endpoints(self, provider: Provider, credential: Credential | None) -> Endpoints:
        own, configured = provider.endpoints(credential), self._config.provider(provider.id)
        return Endpoints(configured.base_url or own.base_url, configured.usage_url or own.usage_url)


def _address(url: str) -> tuple[str, int]:
    parts = urlsplit(url)
    return parts.hostname or "", parts.port or (HTTPS if parts.scheme == "https" else HTTP)


def _sent(subject: Subject, headers: Headers) -> bool:
    return all(
        compare_digest((header(headers, name) or "").encode("utf-8", "replace"), value.encode())
        for name, value in subject.provider.authorize(subject.credential)
    )
