"""Anthropic Messages: what a request says, and the error envelope. No provider's peculiarities."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import msgspec

from core.jsonspan import Node, Splice, spelled
from core.model import StreamNote, Tokens
from core.sse import Event

ERROR_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    529: "overloaded_error",
}

SYNTHETIC_ATTACHMENT = "Attached media from tool result:"
"""OpenCode 1.18.33 puts a tool's images in a user message of its own, with this text."""

_SIGNED = re.compile(spelled("signature").pattern + b"|" + spelled("redacted_thinking").pattern)
_SESSION = re.compile(r'session(?:_id)?["_:\s]+([0-9a-f-]{8,64})')
"""`user_…_account_…_session_<uuid>`, of late JSON in a string: `{"session_id": "<uuid>"}`."""
_HOUR = re.compile(rb'"ttl"\s*:\s*"1h"')
_THINKS = re.compile(rb'"type"\s*:\s*"(enabled|adaptive)"')
_COUNT = re.compile(rb"[1-9][0-9]{0,8}")
_MODEL = re.compile(r"[\w.:/@-]{1,100}", re.ASCII)
_MOST_TOKENS = 10**9
_IMAGE = spelled("image")


def error_body(status: int, message: str) -> bytes:
    fallback = "invalid_request_error" if 400 <= status < 500 else "api_error"  # noqa: PLR2004
    kind = ERROR_TYPES.get(status, fallback)
    return msgspec.json.encode({"type": "error", "error": {"type": kind, "message": message}})


def last_message(body: Node) -> dict[str, Any] | None:
    """The conversation's last message, decoded; None where there is none to speak of."""
    messages = body.get("messages")
    node = messages.last_item() if messages is not None else None
    if node is None:
        return None
    # A key that stands twice could be read otherwise there than here.
    list(node.members())
    last = node.decode()
    return last if isinstance(last, dict) else None


def blocks(message: dict[str, Any]) -> list[dict[str, Any]]:
    """A message's content as blocks: a bare string is one text block."""
    content = message.get("content")
    if isinstance(content, str):
        return [{"type": "text", "text": content}]
    if isinstance(content, list):
        return [block for block in content if isinstance(block, dict)]
    return []


def is_tool_result(message: dict[str, Any] | None) -> bool:
    """Whether a message hands a tool's result back: the conversation is in mid-turn."""
    return message is not None and any(b.get("type") == "tool_result" for b in blocks(message))


def pending_loop(body: Node) -> int | None:
    """The first message of the tool loop that the conversation ends in; None where it ends in none.

    Messages of the user in a row count as one: a tool's result may have words beside it.
    """
    messages = body.get("messages")
    items = [item.decode() for item in messages.items()] if messages is not None else []
    decoded = [(at, item) for at, item in enumerate(items) if isinstance(item, dict)]
    start, pending = 0, False
    for role, run in groupby(decoded, key=lambda it: it[1].get("role")):
        turn = list(run)
        pending = role == "user" and any(is_tool_result(message) for _, message in turn)
        if role == "user" and not pending:
            start = turn[-1][0] + 1
    return start if pending else None


def answered_call(message: dict[str, Any] | None) -> str | None:
    """The id of the first tool call whose result a message hands back."""
    for block in blocks(message or {}):
        if block.get("type") == "tool_result":
            return _text(block, "tool_use_id")
    return None


def pending_calls(body: Node) -> tuple[str, ...]:
    """The ids of the tool calls whose results the conversation ends in.

    Messages of the user in a row count as one, as in `pending_loop`; the others are not decoded.
    """
    messages = body.get("messages")
    calls: list[str] = []
    for item in reversed(messages.items() if messages is not None else []):
        message = item.decode()
        if not isinstance(message, dict) or message.get("role") != "user":
            break
        results = (block for block in blocks(message) if block.get("type") == "tool_result")
        ids = (_text(block, "tool_use_id") for block in results)
        calls += [call for call in ids if call is not None]
    return tuple(calls)


def made_calls(message: dict[str, Any]) -> tuple[str, ...]:
    """The ids of the tool calls in a whole answer."""
    ids = (_text(block, "id") for block in blocks(message) if block.get("type") == "tool_use")
    return tuple(call for call in ids if call is not None)


def is_user_turn(message: dict[str, Any] | None) -> bool:
    """Whether a person spoke last.

    OpenCode's rule: the last message is the user's, with any block that is no tool result, and is
    not the message in which a tool's images travel (PROVIDERS D.2).
    """
    if message is None or message.get("role") != "user":
        return False
    spoken = [block for block in blocks(message) if block.get("type") != "tool_result"]
    texts = [block.get("text") for block in spoken if block.get("type") == "text"]
    synthetic = bool(texts) and all(text == SYNTHETIC_ATTACHMENT for text in texts)
    return bool(spoken) and not synthetic


def session(body: Node) -> str | None:
    """Claude Code's, which it writes into `metadata.user_id`; None where there is none."""
    metadata = body.get("metadata")
    user = None if metadata is None else metadata.get("user_id")
    text = None if user is None else user.string()
    found = None if text is None else _SESSION.search(text)
    return None if found is None else found[1]


def thinks(body: Node) -> bool:
    """Whether thinking is asked for."""
    thinking = body.get("thinking")
    return thinking is not None and _THINKS.search(thinking.raw) is not None


def max_tokens(body: Node) -> int | None:
    """The longest answer that is asked for; None where it is no number."""
    asked = body.get("max_tokens")
    return int(asked.raw) if asked is not None and _COUNT.fullmatch(asked.raw) else None


def cache_ttl_s(body: Node) -> float:
    """How long the prompt cache is asked to be kept: five minutes, or an hour."""
    return 3600.0 if _HOUR.search(body.text, body.start, body.end) else 300.0


def has_images(body: Node) -> bool:
    """Whether any content block is an image, also inside a tool's result."""
    messages = body.get("messages")
    # Most bodies are told by a search, which is much cheaper than to decode them.
    if messages is None or not _IMAGE.search(messages.text, messages.start, messages.end):
        return False
    items = messages.decode()
    return isinstance(items, list) and any(
        _image_in(blocks(message)) for message in items if isinstance(message, dict)
    )


@dataclass(frozen=True, slots=True)
class SignedBlock:
    """A thinking block that is replayed with its maker's signature, and where it stands."""

    message: int
    index: int
    signature: str


def signed_blocks(body: Node) -> Iterator[SignedBlock]:
    """Every signed block of the conversation. Redacted thinking is its own signature."""
    messages = body.get("messages")
    if messages is None or not _SIGNED.search(messages.text, messages.start, messages.end):
        return
    for at, message in enumerate(messages.items()):
        if not _SIGNED.search(message.text, message.start, message.end):
            continue
        content = message.get("content")
        for index, block in enumerate(content.items() if content is not None else []):
            signature = _signature(block)
            if signature:
                yield SignedBlock(at, index, signature)


def without_blocks(body: Node, doomed: Iterable[SignedBlock]) -> Iterator[Splice]:
    """Splices that take these out; a message of which nothing would be left goes too."""
    by_message: dict[int, list[int]] = {}
    for block in doomed:
        by_message.setdefault(block.message, []).append(block.index)
    messages = body.get("messages")
    assert messages is not None
    emptied = []
    for at, message in enumerate(messages.items()):
        if at not in by_message:
            continue
        content = message.get("content")
        assert content is not None
        if len(content.items()) == len(by_message[at]):
            emptied.append(at)
        else:
            yield from content.without_items(by_message[at])
    yield from messages.without_items(emptied)


def _signature(block: Node) -> str | None:
    match (block.get("type") or block).string():
        case "thinking":
            found = block.get("signature")
        case "redacted_thinking":
            found = block.get("data")
        case _:
            return None
    return found.string() if found is not None else None


def made_signatures(message: dict[str, Any]) -> tuple[str, ...]:
    """The signatures in a whole answer."""
    found = [
        block.get("signature" if block.get("type") == "thinking" else "data")
        for block in blocks(message)
        if block.get("type") in ("thinking", "redacted_thinking")
    ]
    return tuple(signature for signature in found if isinstance(signature, str) and signature)


def _image_in(content: list[dict[str, Any]]) -> bool:
    return any(
        block.get("type") == "image"
        or (block.get("type") == "tool_result" and _image_in(blocks(block)))
        for block in content
    )


def note(event: Event) -> StreamNote:
    """What an event of a streamed answer tells. An event that cannot be read tells nothing."""
    try:
        data = msgspec.json.decode(event.data)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        return StreamNote()
    if not isinstance(data, dict):
        return StreamNote()
    match data.get("type"):
        case "message_start":
            message = data.get("message")
            started = message if isinstance(message, dict) else {}
            return StreamNote(tokens=tokens(started), model=model(started))
        case "content_block_start":
            block = data.get("content_block")
            kind = _text(block, "type")
            return StreamNote(
                content=True,
                signature=_text(block, "data") if kind == "redacted_thinking" else None,
                tool_call=_text(block, "id") if kind == "tool_use" else None,
            )
        case "content_block_delta":
            return StreamNote(signature=_text(data.get("delta"), "signature"))
        case "message_delta":
            return StreamNote(tokens=tokens(data))
        case "message_stop":
            return StreamNote(end=True)
        case "error":
            error = data.get("error")
            kind = error.get("type") if isinstance(error, dict) else None
            return StreamNote(error=str(kind or "error")[:80])
        case _:
            return StreamNote()


def _text(value: object, key: str) -> str | None:
    found = value.get(key) if isinstance(value, dict) else None
    return found if isinstance(found, str) and found else None


def model(message: dict[str, Any]) -> str | None:
    """Who an answer is by; None where it does not say so in as many words."""
    name = _text(message, "model")
    return name if name is not None and _MODEL.fullmatch(name) else None


def tokens(message: dict[str, Any]) -> Tokens:
    """The figures of a message's `usage`; a missing one is None."""
    usage = message.get("usage")
    figures = usage if isinstance(usage, dict) else {}

    def count(key: str) -> int | None:
        value = figures.get(key)
        return value if type(value) is int and 0 <= value <= _MOST_TOKENS else None

    return Tokens(
        input=count("input_tokens"),
        output=count("output_tokens"),
        cache_read=count("cache_read_input_tokens"),
        cache_write=count("cache_creation_input_tokens"),
    )
