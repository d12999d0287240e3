"""The shape of a Messages request: what any provider of that format refuses. Decides nothing else."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Never

from core.simulator.exchange import Json, Refusal

BAD = 400
TOOL_ID = re.compile(r"[a-zA-Z0-9_-]+")
_BLOCK_TYPES = (
    "document",
    "image",
    "redacted_thinking",
    "search_result",
    "server_tool_use",
    "text",
    "thinking",
    "tool_result",
    "tool_use",
    "web_search_tool_result",
)
_ONLY_IN = {
    "tool_use": "assistant",
    "thinking": "assistant",
    "redacted_thinking": "assistant",
    "tool_result": "user",
    "image": "user",
    "document": "user",
}
_MID_SYSTEM_BETA = "mid-conversation-system-2026-04-07"


@dataclass(frozen=True, slots=True)
class Block:
    """A content block and where it stands."""

    where: str
    value: Json

    @property
    def type(self) -> str:
        return str(self.value["type"])


@dataclass(frozen=True, slots=True)
class Turn:
    """One or more messages of one role in a row: they count as one."""

    role: str
    index: int
    """Of its first message."""
    blocks: tuple[Block, ...]

    def of_type(self, kind: str) -> list[Block]:
        return [block for block in self.blocks if block.type == kind]


def refuse(message: str) -> Never:
    raise Refusal(BAD, message)


def parse(raw: bytes) -> Json:
    """The body's JSON object, read as strictly as JSON is written down."""
    try:
        body = json.loads(raw.decode(), object_pairs_hook=_object, parse_constant=_constant)
    except (ValueError, RecursionError) as error:
        problem = str(error) if isinstance(error, ValueError) else "nested too deeply"
        raise Refusal(BAD, f"The request body is not valid JSON: {problem}") from None
    if not isinstance(body, dict):
        refuse("The request body is not valid JSON: expected an object")
    return body


def _object(pairs: list[tuple[str, Any]]) -> Json:
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"duplicate key {next(it for it in names if names.count(it) > 1)!r}")
    return found


def _constant(word: str) -> Never:
    raise ValueError(f"{word} is not JSON")


def check_fields(value: Json, allowed: frozenset[str], where: str = "") -> None:
    for name in value:
        if name not in allowed:
            refuse(f"{where}{name}: Extra inputs are not permitted")


def check_required(body: Json) -> None:
    """The fields that every request has, and the types of the others that are simple."""
    for name in ("model", "messages", "max_tokens"):
        if name not in body:
            refuse(f"{name}: Field required")
    if not isinstance(body["model"], str):
        refuse("model: Input should be a valid string")
    limit = body["max_tokens"]
    if type(limit) is not int or limit < 1:
        refuse("max_tokens: Input should be a valid integer greater than or equal to 1")
    if not isinstance(body.get("stream", False), bool):
        refuse("stream: Input should be a valid boolean")


def turns(body: Json, betas: frozenset[str]) -> list[Turn]:
    """The conversation, checked block by block."""
    messages = body["messages"]
    if not isinstance(messages, list) or not messages:
        refuse("messages: at least one message is required")
    found: list[Turn] = []
    for index, message in enumerate(messages):
        role, blocks = _message(f"messages.{index}", message, betas)
        if found and found[-1].role == role:
            blocks = found[-1].blocks + blocks
            found[-1] = Turn(role, found[-1].index, blocks)
        else:
            found.append(Turn(role, index, blocks))
    return found


def _message(where: str, message: Any, betas: frozenset[str]) -> tuple[str, tuple[Block, ...]]:
    if not isinstance(message, dict):
        refuse(f"{where}: Input should be an object")
    check_fields(message, frozenset({"role", "content"}), f"{where}.")
    role = message.get("role")
    if role not in ("user", "assistant") and not (role == "system" and _MID_SYSTEM_BETA in betas):
        refuse(f"{where}.role: Input should be 'user' or 'assistant'")
    blocks = tuple(blocks_of(f"{where}.content", message.get("content")))
    if not blocks:
        refuse(f"{where}: all messages must have non-empty content")
    for block in blocks:
        if _ONLY_IN.get(block.type, role) != role:
            refuse(f"{block.where}: `{block.type}` blocks cannot be in `{role}` messages")
    return str(role), blocks


def blocks_of(where: str, content: Any) -> Iterator[Block]:
    """The blocks of a message, a system prompt or a tool's result."""
    if isinstance(content, str):
        content = [{"type": "text", "text": content}]
    if not isinstance(content, list):
        refuse(f"{where}: Input should be a valid list")
    for index, value in enumerate(content):
        kind = value.get("type") if isinstance(value, dict) else None
        if kind not in _BLOCK_TYPES:
            expected = ", ".join(f"'{it}'" for it in _BLOCK_TYPES)
            refuse(
                f"{where}.{index}: Input tag '{kind}' found using 'type' does not match any of "
                f"the expected tags: {expected}"
            )
        if kind == "text" and not value.get("text"):
            refuse("messages: text content blocks must be non-empty")
        yield Block(f"{where}.{index}", value)


def nested(blocks: tuple[Block, ...]) -> Iterator[Block]:
    """The blocks, and those inside tools' results."""
    for block in blocks:
        yield block
        if block.type == "tool_result" and block.value.get("content"):
            yield from blocks_of(f"{block.where}.tool_result.content", block.value["content"])


def check_nested(body: Json, conversation: list[Turn]) -> None:
    """The system prompt and tools' results are made of blocks as well."""
    for block in system_blocks(body):
        if block.type != "text":
            refuse(f"{block.where}.type: Input should be 'text'")
    for turn in conversation:
        tuple(nested(turn.blocks))


def system_blocks(body: Json) -> Iterator[Block]:
    return blocks_of("system", body.get("system") or [])


def check_tool_turns(conversation: list[Turn]) -> None:
    """Each use of a tool is answered by the next message, and each answer has its use."""
    before: set[str] = set()
    for turn, after in zip(conversation, [*conversation[1:], None], strict=True):
        for block in turn.of_type("tool_result"):
            if _tool_id(block, "tool_use_id") not in before:
                refuse(
                    f"{block.where}: unexpected `tool_use_id` found in `tool_result` blocks: "
                    f"{block.value['tool_use_id']}. Each `tool_result` block must have a "
                    "corresponding `tool_use` block in the previous message."
                )
        before = {_tool_id(block, "id") for block in turn.of_type("tool_use")}
        results = after.of_type("tool_result") if after else []
        answered = {block.value.get("tool_use_id") for block in results}
        if before - answered:
            refuse(
                f"messages.{turn.index}: `tool_use` ids were found without `tool_result` blocks "
                f"immediately after: {', '.join(sorted(before - answered))}. Each `tool_use` block "
                "must have a corresponding `tool_result` block in the next message."
            )


def _tool_id(block: Block, field: str) -> str:
    found = block.value.get(field)
    if not isinstance(found, str) or not TOOL_ID.fullmatch(found):
        refuse(
            f"{block.where}.{block.type}.{field}: String should match pattern '^[a-zA-Z0-9_-]+$'"
        )
    return found
