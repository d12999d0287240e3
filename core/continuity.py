"""Keeps a conversation valid when it moves: signed thinking is refused by all but its maker.

Clients replay it for ever to a virtual model (PROVIDERS 0.2, D.0). Remembers digests, no text.
"""

from collections import OrderedDict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from hashlib import blake2b

from core import jsonspan
from core.jsonspan import Node, Splice
from core.match import Matched
from core.model import Account
from core.provider import Provider
from core.wires import messages
from core.wires.messages import SignedBlock

REMEMBERED = 200_000
"""Signatures. A long conversation has some hundreds."""


@dataclass(frozen=True, slots=True)
class Maker:
    """Whose thinking it is. `model` is None where any of the account's models takes it back."""

    account: str
    model: str | None

    @classmethod
    def of(cls, provider: Provider, account: Account, model: str) -> "Maker":
        return cls(account.id, model if provider.thinking_bound_to_model else None)


class Makers:
    """Who made which signature. Bounded: the one longest unseen is forgotten first."""

    def __init__(self, limit: int = REMEMBERED) -> None:
        self._limit = limit
        self._known: OrderedDict[bytes, Maker] = OrderedDict()

    def learn(self, signatures: Iterable[str], maker: Maker) -> None:
        for signature in signatures:
            digest = _digest(signature)
            self._known[digest] = maker
            self._known.move_to_end(digest)
        while len(self._known) > self._limit:
            self._known.popitem(last=False)

    def foreign(self, block: SignedBlock, target: Maker) -> bool:
        """Whether somebody else made it. What was never seen is let through as it is."""
        maker = self._known.get(_digest(block.signature))
        return maker is not None and maker != target


def settle(matched: Matched, makers: Makers, target: Maker) -> tuple[Matched, int]:
    """The request without the thinking that the target would refuse, and how much that was.

    Raises JsonError where a key stands twice.
    """
    doomed = [
        block for block in messages.signed_blocks(matched.body) if makers.foreign(block, target)
    ]
    if not doomed:
        return matched, 0
    text = jsonspan.apply(matched.request.body, _edits(matched, doomed))
    body = jsonspan.parse(text)
    model = body.get("model")
    assert model is not None
    settled = replace(matched, request=replace(matched.request, body=text), body=body, model=model)
    return settled, len(doomed)


def _edits(matched: Matched, doomed: list[SignedBlock]) -> Iterator[Splice]:
    yield from messages.without_blocks(matched.body, doomed)
    if matched.ask.tool_loop and _manual_thinking(matched.body):
        # In a tool loop manual thinking must begin the last answer: without it, none at all.
        yield from matched.body.without(["thinking"])


def _manual_thinking(body: Node) -> bool:
    thinking = body.get("thinking")
    kind = None if thinking is None else thinking.get("type")
    return kind is not None and kind.string() == "enabled"


def _digest(signature: str) -> bytes:
    return blake2b(signature.encode("utf-8", "surrogatepass"), digest_size=12).digest()
