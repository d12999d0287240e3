"""Who made a thought and in which conversation: signs thoughts, and checks those sent back."""

import base64
import binascii
import hmac
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from hashlib import blake2b

from core.simulator.body import Block, Turn, blocks_of, refuse, system_blocks
from core.simulator.claude import Version
from core.simulator.exchange import Json
from core.simulator.thinking import BINDING_BETA

_BOUND_SINCE: Version = (5, 1)
"""From then on a thought is bound to its model and to all that stands before it."""


@dataclass(frozen=True, slots=True)
class Seal:
    """What a signature holds."""

    model: str
    prefix: str
    """A digest of what stood before the thought."""
    after: str
    """A digest of the thought before it; empty where there was none."""


@dataclass(frozen=True, slots=True)
class Hand:
    """One account's model, as it signs."""

    account: str
    model: str
    version: Version
    mac: Callable[[str, str], str]
    """Of an account and a text."""

    @property
    def binds(self) -> bool:
        return self.version >= _BOUND_SINCE

    def sign(self, thought: str, prefix: str, after: str) -> str:
        parts = [self.model, prefix, after]
        mac = self.mac(self.account, json.dumps([thought, *parts]))
        return base64.b64encode(json.dumps([*parts, mac]).encode()).decode()

    def read(self, thought: Json) -> Seal | None:
        """None where another account made it, or nobody."""
        try:
            *parts, mac = json.loads(base64.b64decode(str(thought["signature"]), validate=True))
            seal = Seal(*parts)
            expected = self.mac(self.account, json.dumps([str(thought.get("thinking")), *parts]))
            return seal if hmac.compare_digest(expected, mac) else None
        except (binascii.Error, ValueError, TypeError):
            return None


@dataclass(frozen=True, slots=True)
class Replay:
    """What became of the thoughts that were sent back."""

    sign: Callable[[str], str]
    """For the thought that comes next."""
    dropped: tuple[Json, ...] | None = None
    """None where the request did not ask to be told."""


def unchecked(hand: Hand) -> Replay:
    return Replay(lambda thought: hand.sign(thought, "", ""))


def check_replay(body: Json, conversation: list[Turn], betas: frozenset[str], hand: Hand) -> Replay:
    """Every thought that is sent back was signed by this account, and is as it was.

    Where the model binds them: what stands before them is as it was, too, and none is missing
    between others. `drop_block` has those that are not left out instead.
    """
    dropped: list[Json] = []
    prefix, last = _Prefix(body), ""
    for block in (block for turn in conversation for block in _checked(turn)):
        if block.type != "thinking":
            prefix.add(block)
            continue
        seal = hand.read(block.value)
        if seal is None:
            refuse(f"{block.where}: Invalid `signature` in `thinking` block")
        reason = _mismatch(seal, hand, prefix.digest, last) if hand.binds else None
        if reason is None:
            last = _digest(str(block.value["signature"]))
            continue
        if reason == _PREFIX and not _drops(body):
            refuse(
                f"{block.where}: Invalid `signature` in `thinking` block. The block is bound to a "
                "different conversation. Remove the block, or set "
                '`thinking.block_binding.prefix_mismatch_behavior` to "drop_block". That setting '
                f"requires the `{BINDING_BETA}` value in the `anthropic-beta` header."
            )
        dropped.append({"type": "thinking_dropped", "path": block.where, "reason": reason})
    before = prefix.digest
    return Replay(
        lambda thought: hand.sign(thought, before, last),
        tuple(dropped) if BINDING_BETA in betas else None,
    )


_MODEL, _PREFIX = "model_binding_mismatch", "prefix_binding_mismatch"


def _mismatch(seal: Seal, hand: Hand, prefix: str, last: str) -> str | None:
    """Another model's thought is left out without a word; the first that is left may be any."""
    if seal.model != hand.model:
        return _MODEL
    return _PREFIX if seal.prefix != prefix or last not in ("", seal.after) else None


def _drops(body: Json) -> bool:
    """That the beta goes with it has been checked."""
    binding = body.get("thinking", {}).get("block_binding")
    return isinstance(binding, dict) and binding.get("prefix_mismatch_behavior") == "drop_block"


def _checked(turn: Turn) -> Iterator[Block]:
    for block in turn.blocks:
        if block.type == "redacted_thinking":
            refuse(f"{block.where}: Invalid `data` in `redacted_thinking` block")
        if block.type == "thinking" and "signature" not in block.value:
            refuse(f"{block.where}.thinking.signature: Field required")
        yield block


class _Prefix:
    """The system prompt, the tools and the blocks so far; cache marks move and do not count."""

    def __init__(self, body: Json) -> None:
        self._hash = blake2b(digest_size=16)
        self._update([_plain(it) for it in system_blocks(body)])
        self._update([_unmarked(tool) for tool in body.get("tools", [])])

    def add(self, block: Block) -> None:
        self._update(_plain(block))

    def _update(self, value: Json | list[Json]) -> None:
        self._hash.update(json.dumps(value, sort_keys=True).encode() + b"\n")

    @property
    def digest(self) -> str:
        return self._hash.hexdigest()


def _plain(block: Block) -> Json:
    value = _unmarked(block.value)
    if block.type == "tool_result":
        value["content"] = [_plain(it) for it in blocks_of("", value.get("content") or [])]
    return value


def _unmarked(value: Json) -> Json:
    return {name: it for name, it in value.items() if name != "cache_control"}


def _digest(text: str) -> str:
    return blake2b(text.encode(), digest_size=16).hexdigest()
