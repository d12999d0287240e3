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
from core.model import Account, Ask, Standing
from core.observe import Observation
from core.provider import Provider
from core.wires import messages
from core.wires.messages import SignedBlock

REMEMBERED = 200_000
"""Signatures, and tool calls. A long conversation has some hundreds of each."""
SESSIONS = 100_000


@dataclass(frozen=True, slots=True)
class Maker:
    """Whose thinking it is. `model` is None where any of the account's models takes it back."""

    account: str
    model: str | None

    @classmethod
    def of(cls, provider: Provider, account: Account, model: str) -> "Maker":
        return cls(account.id, model if provider.thinking_bound_to_model else None)


class Recent[V]:
    """A bounded memory by digest: what was longest unseen is forgotten first."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._known: OrderedDict[bytes, V] = OrderedDict()

    def __len__(self) -> int:
        return len(self._known)

    def learn(self, keys: Iterable[str], value: V) -> None:
        for key in keys:
            digest = _digest(key)
            self._known[digest] = value
            self._known.move_to_end(digest)
        while len(self._known) > self._limit:
            self._known.popitem(last=False)

    def get(self, key: str) -> V | None:
        return self._known.get(_digest(key))


class Conversations:
    """Who served a conversation last, and who made which thinking in it."""

    def __init__(self) -> None:
        self.makers: Recent[Maker] = Recent(REMEMBERED)
        self.sessions: Recent[Standing] = Recent(SESSIONS)
        """With whom, by session and model: a session may use several models."""
        self.tool_calls: Recent[str] = Recent(REMEMBERED)
        """Account ids, by the id of a tool call: a client may name no session at all."""

    def standing(self, ask: Ask) -> Standing | None:
        """What the conversation has with the account that is in the middle of it."""
        called = None if ask.tool_call is None else self.tool_calls.get(ask.tool_call)
        session = _session(ask)
        held = None if session is None else self.sessions.get(session)
        if called is not None and (held is None or held.account != called):
            return Standing(called)
        return held

    def incumbent(self, ask: Ask) -> str | None:
        """The id of the account that is in the middle of this conversation."""
        standing = self.standing(ask)
        return None if standing is None else standing.account

    def served(self, ask: Ask, account: Account) -> None:
        """An answer has begun: until its end its conversation has at least what it had there."""
        session = _session(ask)
        if session is None:
            return
        held = self.sessions.get(session)
        same = held is not None and held.account == account.id
        self.sessions.learn([session], held if same and held else Standing(account.id))

    def answered(
        self, ask: Ask, seen: Observation, account: Account, maker: Maker, now: float
    ) -> None:
        """An answer is over: who made its thinking, and how much of the prompt is cached there."""
        self.makers.learn(seen.signatures, maker)
        self.tool_calls.learn(seen.tool_calls, account.id)
        session = _session(ask)
        cached = (seen.tokens.cache_read or 0) + (seen.tokens.cache_write or 0)
        if session is not None and cached:
            standing = Standing(account.id, cached, now + ask.cache_ttl_s)
            self.sessions.learn([session], standing)

    def foreign(self, block: SignedBlock, target: Maker) -> bool:
        """Whether somebody else made it. What was never seen is let through as it is."""
        maker = self.makers.get(block.signature)
        return maker is not None and maker != target


def _session(ask: Ask) -> str | None:
    return None if ask.session is None else f"{ask.model}\0{ask.session}"


def settle(matched: Matched, known: Conversations, target: Maker) -> tuple[Matched, int]:
    """The request without the thinking that the target would refuse, and how much that was.

    Raises JsonError where a key stands twice.
    """
    doomed = [
        block for block in messages.signed_blocks(matched.body) if known.foreign(block, target)
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
    if not _manual_thinking(matched.body):
        return
    loop = messages.pending_loop(matched.body)
    if loop is not None and any(block.message >= loop for block in doomed):
        # Manual thinking must begin the answers of a tool loop, also those that followed the one
        # that loses it here: they were given without.
        yield from matched.body.without(["thinking"])


def _manual_thinking(body: Node) -> bool:
    thinking = body.get("thinking")
    kind = None if thinking is None else thinking.get("type")
    return kind is not None and kind.string() == "enabled"


def _digest(signature: str) -> bytes:
    return blake2b(signature.encode("utf-8", "surrogatepass"), digest_size=12).digest()
