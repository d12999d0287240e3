"""What the simulated Claude says: a text, a tool's use where it was asked for, or what a tool said."""

import json
import re
import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from core.simulator.binding import Replay
from core.simulator.body import Turn, blocks_of
from core.simulator.exchange import Json

_CALL = re.compile(r"\[call ([a-zA-Z0-9_-]{1,128}) (?=\{)")
_PIECE = 12
"""Characters in a delta."""
_TOLD = 80
"""Characters of a tool's result that are told back."""


@dataclass(frozen=True, slots=True)
class Speaker:
    """Who answers."""

    provider: str
    id_prefix: str
    """What the ids of messages and tool uses have after `msg_` and `toolu_`."""


@dataclass(frozen=True, slots=True)
class Question:
    """A request that is in order."""

    body: Json
    conversation: list[Turn]
    size: int
    """Of the body, in bytes."""
    thinks: bool
    replay: Replay


def compose(speaker: Speaker, question: Question) -> Json:
    """The whole message."""
    body = question.body
    content: list[Json] = []
    if question.thinks:
        thought = f"This is for {speaker.provider} to answer ({secrets.token_hex(4)})."
        signature = question.replay.sign(thought)
        content.append({"type": "thinking", "thinking": thought, "signature": signature})
    content.append(_say(speaker, body, question.conversation))
    written = len(json.dumps(content))
    dropped = question.replay.dropped
    told = {} if dropped is None else {"input_transformations": list(dropped)}
    return told | {
        "id": f"msg_{speaker.id_prefix}{secrets.token_hex(12)}",
        "type": "message",
        "role": "assistant",
        "model": body["model"],
        "content": content,
        "stop_reason": "tool_use" if content[-1]["type"] == "tool_use" else "end_turn",
        "stop_sequence": None,
        "usage": {
            "input_tokens": question.size // 4,
            "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": 0,
            "output_tokens": written // 4 + 1,
        },
    }


def _say(speaker: Speaker, body: Json, conversation: list[Turn]) -> Json:
    last = conversation[-1]
    # First, so that words beside a tool's result lead on to the next call of the loop.
    call = _asked_call(last, [tool.get("name") for tool in body.get("tools", [])])
    if call is None:
        if results := last.of_type("tool_result"):
            return {"type": "text", "text": f"Tool said: {_told(results[-1].value)[:_TOLD]}"}
        return {"type": "text", "text": f"Served by {speaker.provider} as {body['model']}. "}
    name, arguments = call
    use = f"toolu_{speaker.id_prefix}{secrets.token_hex(12)}"
    return {"type": "tool_use", "id": use, "name": name, "input": arguments}


def _told(result: Json) -> str:
    blocks = blocks_of("content", result.get("content") or [])
    return " ".join(str(it.value["text"]) for it in blocks if it.type == "text")


def _asked_call(turn: Turn, offered: list[Any]) -> tuple[str, Json] | None:
    """The last `[call TOOL {…}]` that names a tool on offer."""
    found = None
    for block in turn.of_type("text"):
        text = str(block.value["text"])
        for mark in _CALL.finditer(text):
            try:
                arguments, end = json.JSONDecoder().raw_decode(text, mark.end())
            except ValueError:
                continue
            if mark[1] in offered and text[end : end + 1] == "]":
                found = mark[1], arguments
    return found


def stream(message: Json) -> tuple[bytes, ...]:
    """The same message as server-sent events."""
    usage = message["usage"]
    start = message | {"content": [], "stop_reason": None, "usage": usage | {"output_tokens": 1}}
    events = [_event("message_start", message=start)]
    for index, block in enumerate(message["content"]):
        empty, deltas = _BLOCKS[block["type"]](block)
        events.append(_event("content_block_start", index=index, content_block=empty))
        if index == 0:
            events.append(_event("ping"))
        events += [_event("content_block_delta", index=index, delta=delta) for delta in deltas]
        events.append(_event("content_block_stop", index=index))
    stop = {"stop_reason": message["stop_reason"], "stop_sequence": None}
    count = {"output_tokens": usage["output_tokens"]}
    events.append(_event("message_delta", delta=stop, usage=count))
    events.append(_event("message_stop"))
    return tuple(events)


def error_event(envelope: Json) -> bytes:
    return _event("error", **envelope)


def _event(name: str, **data: Any) -> bytes:
    return f"event: {name}\ndata: {json.dumps({'type': name, **data})}\n\n".encode()


def _pieces(text: str) -> Iterator[str]:
    return (text[at : at + _PIECE] for at in range(0, len(text), _PIECE))


def _text(block: Json) -> tuple[Json, list[Json]]:
    deltas = [{"type": "text_delta", "text": piece} for piece in _pieces(block["text"])]
    return {"type": "text", "text": ""}, deltas


def _thinking(block: Json) -> tuple[Json, list[Json]]:
    deltas = [{"type": "thinking_delta", "thinking": it} for it in _pieces(block["thinking"])]
    deltas.append({"type": "signature_delta", "signature": block["signature"]})
    return {"type": "thinking", "thinking": "", "signature": ""}, deltas


def _tool_use(block: Json) -> tuple[Json, list[Json]]:
    pieces = _pieces(json.dumps(block["input"]))
    return block | {"input": {}}, [
        {"type": "input_json_delta", "partial_json": it} for it in pieces
    ]


_BLOCKS: dict[str, Callable[[Json], tuple[Json, list[Json]]]] = {
    "text": _text,
    "thinking": _thinking,
    "tool_use": _tool_use,
}
