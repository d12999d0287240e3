"""Makes the upstream request out of the client's. Pure; the credential is not here yet.

Host, path, model id and what the target would refuse change; every other byte stays.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

import msgspec

from core import jsonspan
from core.match import Matched
from core.model import CredentialType, Headers, HttpRequest
from core.provider import Outgoing, Provider

CLIENT_CREDENTIALS = frozenset(
    {
        "authorization",
        "x-api-key",
        "api-key",
        "x-goog-api-key",
        "cookie",
        "proxy-authorization",
        "chatgpt-account-id",
        "openai-organization",
        "openai-project",
    }
)
CONNECTION = frozenset(
    {
        "connection",
        "content-encoding",
        "content-length",
        "expect",
        "host",
        "http2-settings",
        "keep-alive",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)
"""Fields that belong to the client's connection. The body goes out decoded, with its length."""
OURS = "x-limit-router-"


@dataclass(frozen=True, slots=True)
class Target:
    """Where a decision sends a request."""

    provider: Provider
    base_url: str
    provider_model: str
    credential_type: CredentialType


def apply(matched: Matched, target: Target) -> HttpRequest:
    """The request as the target must see it, without a credential.

    Raises JsonError where the body cannot be edited safely (a key that stands twice).
    """
    request = matched.request
    kept = _kept(request.headers)
    outgoing = Outgoing(matched.ask, kept, matched.body, target.credential_type)
    changes = target.provider.prepare(outgoing)
    model = matched.model.replace(msgspec.json.encode(target.provider_model))
    body = jsonspan.apply(request.body, (model, *changes.splices))
    headers = _changed(kept, changes.set_headers)
    headers += (("accept-encoding", "identity"), ("content-length", str(len(body))))
    base = urlsplit(target.base_url)
    path = base.path.rstrip("/") + target.provider.paths[matched.ask.wire] + _query(request.path)
    port = base.port or (443 if base.scheme == "https" else 80)
    return HttpRequest(request.method, base.scheme, base.hostname or "", port, path, headers, body)


def _kept(headers: Headers) -> Headers:
    named = {
        option.strip().lower()
        for name, value in headers
        if name.lower() == "connection"
        for option in value.split(",")
    }
    gone = CLIENT_CREDENTIALS | CONNECTION | named | {"accept-encoding"}
    return tuple(
        (name, value)
        for name, value in headers
        if name.lower() not in gone and not name.lower().startswith(OURS)
    )


def _changed(headers: Headers, changes: Mapping[str, str | None]) -> Headers:
    todo = dict(changes)
    result: list[tuple[str, str]] = []
    for name, value in headers:
        if name.lower() not in changes:
            result.append((name, value))
        elif (new := todo.pop(name.lower(), None)) is not None:
            # The first field of that name takes the value in its place; others of it go.
            result.append((name, new))
    result += [(name, value) for name, value in todo.items() if value is not None]
    return tuple(result)


def _query(path: str) -> str:
    """The query, without `key`: Google's clients put their credential there."""
    query = path.partition("#")[0].partition("?")[2]
    kept = [part for part in query.split("&") if part and unquote(part.partition("=")[0]) != "key"]
    return "?" + "&".join(kept) if kept else ""
