"""Reads what a client asks for off its request. Pure; says nothing of who will serve it."""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from difflib import get_close_matches
from urllib.parse import unquote

import msgspec

from core import jsonspan, wires
from core.codec import BoundedDecoder, CodecError, UnsupportedError
from core.errors import RequestError
from core.jsonspan import JsonError, Node, escaped
from core.model import Ask, Headers, HttpRequest, HttpResponse, Wire
from core.provider import header
from core.wires import messages

VIRTUAL_HOST = "limit-router.invalid"
PIN = "x-limit-router-provider"
"""RFC 6761: `.invalid` never resolves, so a client that misses the proxy sends nothing anywhere."""
PREFIX = "limit-router/"
LARGEST_BODY = 64 << 20
CHUNK = 1 << 16

_WIRE_WORDS = ("messages", "complet", "responses", "embeddings")
_NAME = escaped("limit-router")
_MENTION = re.compile(_NAME)
"""What a body must hold to be ours."""
_CLAIM = re.compile(b'"' + _NAME + rb"(?:\\?/|\\u00(?i:2f))")
"""What makes a body that cannot be read safely ours all the same: such a one is not let through."""


@dataclass(frozen=True, slots=True)
class Matched:
    """A request to be routed: what it asks for, its decoded body, and where its model stands."""

    ask: Ask
    request: HttpRequest
    """As the client sent it, the Content-Encoding of its body undone."""
    body: Node
    model: Node


def is_virtual(host: str) -> bool:
    return host.lower().rstrip(".") == VIRTUAL_HOST


def may_match(method: str, host: str, path: str) -> bool:
    """Whether such a request may turn out to be ours: then its body must be read whole.

    Wider than what is served: what asks for a virtual model must not go out by another spelling.
    """
    plain = unquote(_plain(path)).lower()
    return is_virtual(host) or (method == "POST" and any(word in plain for word in _WIRE_WORDS))


def match(
    request: HttpRequest, models: Collection[str], names: Mapping[str, str] | None = None
) -> Matched | HttpResponse | None:
    """The ask, or the answer where we have one ourselves, or None: the request is not ours.

    `names` are the models' names for people, where they have one.
    Raises RequestError for a request that is ours and cannot be served as it is written.
    """
    virtual = is_virtual(request.host)
    if virtual and request.method in ("GET", "HEAD") and _plain(request.path) == "/v1/models":
        return _model_list(request.method, models, names or {})
    if virtual:
        _check_target(request)
    elif not may_match(request.method, request.host, request.path):
        return None
    found = _model(request, virtual=virtual)
    if found is None:
        return None
    request, body, model = found
    _check_target(request)
    name = _name(model).removeprefix(PREFIX)
    _check_model(name, models)
    try:
        return Matched(_ask(request, body, name), request, body, model)
    except JsonError as error:
        raise _our(error) from None


def _model(request: HttpRequest, *, virtual: bool) -> tuple[HttpRequest, Node, Node] | None:
    """The request decoded, its body and its model; None where the request is not ours."""
    if len(request.body) > LARGEST_BODY:
        if not virtual and not _CLAIM.search(_flat(request.body)):
            return None
        raise RequestError(413, "the body is larger than 64 MB")
    # What cannot be decoded may be ours: it is refused, whatever host it was sent to.
    decoded = _decoded(request)
    if not virtual and not _MENTION.search(_flat(decoded.body)):
        return None
    try:
        body = _object(decoded.body)
        model = body.get("model")
    except JsonError as error:
        if not virtual and not _CLAIM.search(_flat(decoded.body)):
            return None
        raise _our(error) from None
    if not virtual and not _name(model).startswith(PREFIX):
        return None
    if model is None or not _name(model):
        raise RequestError(400, "the body has no `model`, or one that is not a string")
    return decoded, body, model


def _flat(body: bytes) -> bytes:
    """The body to be searched: UTF-16 and UTF-32 are no JSON, and must not hide a name either."""
    return body.replace(b"\0", b"") if b"\0" in body else body


def _our(error: JsonError) -> RequestError:
    return RequestError(400, f"the body is not JSON that can be routed: {error}")


def refuse(request: HttpRequest, error: RequestError) -> HttpResponse:
    """The error in the wire format that the caller speaks."""
    return failure(request, error.status, str(error))


def failure(request: HttpRequest, status: int, message: str, headers: Headers = ()) -> HttpResponse:
    """Any failure of ours, in the wire format that the caller speaks."""
    wire = wires.guess(_plain(request.path), request.headers)
    body = wires.error_body(wire, status, message)
    return HttpResponse(status, (("content-type", "application/json"), *headers), body)


def _check_model(name: str, models: Collection[str]) -> None:
    if name in models:
        return
    near = get_close_matches(name, models, n=1)
    hint = f" (did you mean {near[0]}?)" if near else ""
    raise RequestError(
        404, f"there is no model {name[:80]!r}{hint}; limit-router serves: {', '.join(models)}"
    )


def _ask(request: HttpRequest, body: Node, model: str) -> Ask:
    last = messages.last_message(body)
    stream = body.get("stream")
    return Ask(
        wire=Wire.MESSAGES,
        model=model,
        session=_session(request.headers) or messages.session(body),
        tool_call=messages.answered_call(last),
        subagent=header(request.headers, "x-parent-session-id") is not None,
        tool_loop=messages.is_tool_result(last),
        user_turn=messages.is_user_turn(last),
        images=messages.has_images(body),
        prefill=last is not None and last.get("role") == "assistant",
        fields=frozenset(name for name, _ in body.members()),
        stream=stream is not None and stream.raw == b"true",
        thinking=messages.thinks(body),
        max_tokens=messages.max_tokens(body),
        size_bytes=body.end - body.start,
        pin=header(request.headers, PIN) or None,
        cache_ttl_s=messages.cache_ttl_s(body),
    )


def _session(headers: Headers) -> str | None:
    """OpenCode's session id, else Claude Code's."""
    return header(headers, "x-session-id") or header(headers, "x-claude-code-session-id")


def _check_target(request: HttpRequest) -> None:
    path = _plain(request.path)
    if _from_a_web_page(request.headers):
        raise RequestError(403, "limit-router serves programs: a web page may not spend your quota")
    if header(request.headers, "upgrade") is not None:
        raise RequestError(426, "limit-router serves no upgraded connections, only HTTP requests")
    if path == "/v1/models":
        raise RequestError(405, f"/v1/models takes GET, not {request.method[:16]}")
    if not path.endswith("/v1/messages"):
        raise RequestError(
            404, f"limit-router serves POST /v1/messages and GET /v1/models, not {path[:80]}"
        )
    if request.method != "POST":
        raise RequestError(405, f"/v1/messages takes POST, not {request.method[:16]}")


def _from_a_web_page(headers: Headers) -> bool:
    """A page that DNS rebinding has brought to the proxy's port looks like a local client.

    Browsers name the origin of every POST. Node's fetch sends Sec-Fetch-Mode, so that says nothing.
    """
    site = header(headers, "sec-fetch-site")
    return header(headers, "origin") is not None or site not in (None, "none")


def _object(body: bytes) -> Node:
    root = jsonspan.parse(body)
    if not root.is_object:
        raise JsonError("it is not an object")
    return root


def _name(model: Node | None) -> str:
    return (model.string() or "") if model is not None else ""


def _plain(path: str) -> str:
    return path.partition("?")[0].partition("#")[0]


def _decoded(request: HttpRequest) -> HttpRequest:
    encoding = header(request.headers, "content-encoding")
    if encoding is None:
        return request
    try:
        decoder = BoundedDecoder(encoding, LARGEST_BODY)
        body = b"".join(
            decoder.feed(request.body[at : at + CHUNK]) for at in range(0, len(request.body), CHUNK)
        )
    except UnsupportedError as error:
        raise RequestError(415, str(error)) from None
    except CodecError as error:
        raise RequestError(400, str(error)) from None
    kept = tuple(h for h in request.headers if h[0].lower() != "content-encoding")
    return replace(request, headers=kept, body=body)


def _model_list(method: str, models: Collection[str], names: Mapping[str, str]) -> HttpResponse:
    """One list that both Anthropic's and OpenAI's clients read."""
    entries = [
        {
            "id": name,
            "object": "model",
            "type": "model",
            "display_name": names.get(name, name),
            "owned_by": "limit-router",
            # Both documents take the epoch for "not known".
            "created": 0,
            "created_at": "1970-01-01T00:00:00Z",
        }
        for name in models
    ]
    ids = list(models)
    listed = {
        "object": "list",
        "data": entries,
        "has_more": False,
        "first_id": ids[0] if ids else None,
        "last_id": ids[-1] if ids else None,
    }
    body = b"" if method == "HEAD" else msgspec.json.encode(listed)
    return HttpResponse(200, (("content-type", "application/json"),), body)
