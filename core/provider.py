"""The contract that a provider file fulfils, and the vocabulary its facts are written in.

A provider is a value. It sees no configuration, policy, state, HTTP client or clock.
"""

from collections.abc import Callable, Generator, Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from urllib.parse import urlsplit

from core.jsonspan import Node, Splice
from core.model import (
    Abilities,
    AccountKind,
    Ask,
    Credential,
    CredentialType,
    Headers,
    HttpRequest,
    HttpResponse,
    Secret,
    Usage,
    Window,
    Wire,
)
from core.sse import Event

type UsageFlow = Generator[HttpRequest, HttpResponse, Usage]
"""Yields requests without a credential (the transport adds it), returns the reading.

Raises `UsageError` where the answer is not a reading."""

type ModelsFlow = Generator[HttpRequest, HttpResponse, Mapping[str, Abilities]]
"""Likewise, for the provider's list of the models that this account may use on each wire, and
what it says of each."""


@dataclass(frozen=True, slots=True)
class Renewed:
    """What a token endpoint gave. The old refresh token is dead where there is a new one."""

    access: Secret
    refresh: Secret | None
    """None: the old one stays."""
    expires_at: float
    account_id: str | None = None


type RefreshFlow = Generator[HttpRequest, HttpResponse, Renewed]
"""Yields requests that are whole (the refresh token is in the body), returns the new tokens.

Raises `RefreshError`."""


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A request on its way to a provider, as a provider's rules see it."""

    ask: Ask
    headers: Headers
    """The client's own, without its credentials and without hop-by-hop fields."""
    body: Node
    credential_type: CredentialType


@dataclass(frozen=True, slots=True)
class Changes:
    """What a provider needs changed: nothing that it would not refuse otherwise."""

    set_headers: Mapping[str, str | None] = field(default_factory=dict)
    """By lower-case name: a value replaces or adds the field, None removes it."""
    splices: tuple[Splice, ...] = ()


class ThinkingRefusal(Enum):
    """What a provider has against the thinking that is replayed to it (PROVIDERS D.0)."""

    SIGNATURE = "signature"
    """A block was signed by another account, or by nobody."""
    CONVERSATION = "conversation"
    """A block is bound to what stood before it, and that has changed: its own maker says so."""
    LOOP = "loop"
    """Manual thinking is on in a tool loop with an answer that was given without."""


def no_changes(_: Outgoing) -> Changes:
    return Changes()


def no_limits(_headers: Headers, _now: float) -> tuple[Window, ...]:
    return ()


def no_windows(_event: Event, _now: float) -> tuple[Window, ...]:
    return ()


@dataclass(frozen=True, slots=True)
class Endpoints:
    """Where one sign-in's requests go. Prefixes, without a slash at the end."""

    base_url: str
    usage_url: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Provider:
    """All the facts about one provider."""

    id: str
    name: str
    """For people."""
    endpoints: Callable[[Credential | None], Endpoints]
    """The provider's own hosts for a sign-in (an enterprise has its own); None is the usual one."""
    paths: Mapping[Wire, str]
    """The wires it speaks, and the path of each after the base URL.

    None of them: its usage is read, and nothing is routed to it yet."""
    env: tuple[str, ...]
    """Environment variables that hold a credential; the first that is set wins."""
    env_type: CredentialType = CredentialType.API
    opencode_keys: tuple[str, ...]
    """Its keys in OpenCode's auth.json."""
    accepts: Callable[[CredentialType], bool] = lambda _: True
    """Which types of those entries are its own: `openai` is a key for one, a sign-in for another."""
    opencode_token: Callable[[Mapping[str, str]], str | None]
    """Which of an `oauth` entry's string fields is the bearer token."""
    kind: Callable[[CredentialType], AccountKind]
    opt_in: Callable[[CredentialType], str | None]
    """Why the provider's terms need the user's knowing consent (`oauth: true`), or None."""
    authorize: Callable[[Credential], Headers]
    """The header fields that carry the credential."""
    model_id: Callable[[str], str]
    """A virtual model's name in this provider's spelling."""
    unfit: Callable[[Ask], str | None] = lambda _: None
    """Why this provider would refuse such a request whatever we did, or None."""
    prepare: Callable[[Outgoing], Changes] = no_changes
    thinking_bound_to_model: bool = False
    """Whether one of its models refuses the signed thinking of another."""
    thinking_refusals: Mapping[str, ThinkingRefusal] = field(default_factory=dict)
    """What stands in a 400 that refuses replayed thinking, in lower case and without backticks.

    The first that is found counts."""
    read_limits: Callable[[Headers, float], tuple[Window, ...]] = no_limits
    """Windows from the headers of an answer received at the given time. Never raises."""
    read_event: Callable[[Event, float], tuple[Window, ...]] = no_windows
    """Likewise from one event of a streamed answer."""
    usage: Callable[[str, Credential, float], UsageFlow] | None = None
    """From the complete usage URL and the time of asking. None: there is no such endpoint."""
    has_usage: Callable[[Credential], bool] = lambda _: True
    usage_interval_s: float = 300.0
    """How often the endpoint may be asked."""
    refresh: Callable[[str, Secret, float], RefreshFlow] | None = None
    """New tokens for a sign-in that expires, from the complete token URL, its refresh token and the
    time of asking. None: its tokens do not expire, or cannot be renewed."""
    token_url: str | None = None
    """The one address that a refresh token is sent to: a configured base URL does not move it."""
    models: Callable[[str, Wire], ModelsFlow] | None = None
    """From the base URL."""
    models_interval_s: float = 86400.0
    has_models: Callable[[Credential], bool] = lambda _: True
    lists_all: bool = True
    """Whether a model that is not in the list cannot be used."""


def get(url: str, headers: Headers) -> HttpRequest:
    """A GET of a complete URL."""
    return _request("GET", url, headers, b"")


def post(url: str, headers: Headers, body: bytes) -> HttpRequest:
    """A POST to a complete URL."""
    return _request("POST", url, headers, body)


def _request(method: str, url: str, headers: Headers, body: bytes) -> HttpRequest:
    parts = urlsplit(url)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return HttpRequest(method, parts.scheme, parts.hostname or "", port, path, headers, body)


def header(headers: Iterable[tuple[str, str]], name: str) -> str | None:
    """The first field of that name, whatever its case."""
    return next((value for key, value in headers if key.lower() == name), None)


def header_list(headers: Iterable[tuple[str, str]], name: str) -> list[str]:
    """The members of a comma-separated field, from all fields of that name."""
    values = ",".join(value for key, value in headers if key.lower() == name)
    return [member.strip() for member in values.split(",") if member.strip()]
