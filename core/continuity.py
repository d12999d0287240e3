"""Keeps a conversation valid when it moves: signed thinking is refused by all but its maker.

Clients replay it for ever to a virtual model (PROVIDERS 0.2, D.0). Remembers digests, no text.
"""

from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass, replace
from hashlib import blake2b

from core import jsonspan
from core.codec import BoundedDecoder, CodecError
from core.jsonspan import Node
from core.match import Matched
from core.model import Account, Ask, HttpResponse, Standing
from core.observe import Observation
from core.provider import Provider, ThinkingRefusal, header
from core.wires import messages
from core.wires.messages import SignedBlock

REMEMBERED = 200_000
"""Signatures, and tool calls. A long conversation has some hundreds of each."""
SESSIONS = 100_000
LONGEST_REFUSAL = 64 << 10
"""Bytes of a decoded answer in which the reason of a refusal is looked for."""
REFUSES = 400
REFUSED = "thinking_refused"
"""What is kept of an attempt that came to nothing by it."""


@dataclass(frozen=True, slots=True)
class Maker:
    """Whose thinking it is. `model` is None where any of the account's models takes it back."""

    account: str
    model: str | None

    @classmethod
    def of(cls, provider: Provider, account: Account, model: str) -> "Maker":
        return cls(account.id, model if provider.thinking_bound_to_model else None)


@dataclass(frozen=True, slots=True)
class Thinking:
    """What became of a request's signed thinking on its way to a target."""

    removed: int = 0
    """Blocks that the target would refuse."""
    carried: int = 0
    """Blocks that went along."""
    off: bool = False
    """Manual thinking was asked for, and is not for this request."""


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
        self.refused: Recent[bool] = Recent(REMEMBERED)
        """What was no account's own when that account refused a request, by account and signature."""
        self.unthinking: Recent[bool] = Recent(REMEMBERED)
        """Tool calls of answers for which thinking was taken out of the request."""

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
        self,
        ask: Ask,
        seen: Observation,
        account: Account,
        maker: Maker,
        now: float,
        *,
        unthinking: bool = False,
    ) -> None:
        """An answer is over: who made its thinking, and how much of the prompt is cached there.

        `unthinking` is one for which thinking was taken out of the request.
        """
        self.makers.learn(seen.signatures, maker)
        self.tool_calls.learn(seen.tool_calls, account.id)
        if unthinking:
            self.unthinking.learn(seen.tool_calls, True)
        session = _session(ask)
        cached = (seen.tokens.cache_read or 0) + (seen.tokens.cache_write or 0)
        if session is not None and cached:
            standing = Standing(account.id, cached, now + ask.cache_ttl_s)
            self.sessions.learn([session], standing)

    def foreign(self, block: SignedBlock, target: Maker) -> bool:
        """Whether the target would refuse it. What was never seen is let through as it is."""
        maker = self.makers.get(block.signature)
        if maker is not None and maker != target:
            return True
        return self.refused.get(_refusal_key(block, target)) is not None

    def unthinking_loop(self, body: Node) -> bool:
        """Whether the tool loop that the conversation ends in goes on without manual thinking.

        That it was taken out once is enough: from then on each answer of the loop is given without.
        """
        return any(self.unthinking.get(call) for call in messages.pending_calls(body))

    def refuse(self, body: Node, target: Maker, refusal: ThinkingRefusal) -> None:
        """The target refused this conversation's thinking: what is not known to be its own goes.

        It names one block, and the others of unknown origin may be as foreign. Where all are its
        own by what is known, or have lost what they were bound to, none is of use there.
        """
        blocks = list(messages.signed_blocks(body))
        doubtful = [block for block in blocks if self.makers.get(block.signature) != target]
        unheard = any(not self.foreign(block, target) for block in doubtful)
        if refusal is ThinkingRefusal.CONVERSATION or (
            refusal is ThinkingRefusal.SIGNATURE and not unheard
        ):
            doubtful = blocks
        self.refused.learn((_refusal_key(block, target) for block in doubtful), True)
        if refusal is ThinkingRefusal.LOOP:
            self.unthinking.learn(messages.pending_calls(body), True)


def _session(ask: Ask) -> str | None:
    return None if ask.session is None else f"{ask.model}\0{ask.session}"


def settle(matched: Matched, known: Conversations, target: Maker) -> tuple[Matched, Thinking]:
    """The request without the thinking that the target would refuse, and what that came to.

    Raises JsonError where a key stands twice.
    """
    blocks = list(messages.signed_blocks(matched.body))
    doomed = [block for block in blocks if known.foreign(block, target)]
    off = _goes_without(matched.body, doomed, known)
    thinking = Thinking(len(doomed), len(blocks) - len(doomed), off)
    if not doomed and not off:
        return matched, thinking
    splices = list(messages.without_blocks(matched.body, doomed))
    if off:
        splices += matched.body.without(["thinking"])
    text = jsonspan.apply(matched.request.body, splices)
    body = jsonspan.parse(text)
    model = body.get("model")
    assert model is not None
    settled = replace(matched, request=replace(matched.request, body=text), body=body, model=model)
    return settled, thinking


def _goes_without(body: Node, doomed: list[SignedBlock], known: Conversations) -> bool:
    """Whether manual thinking must be off: it has to begin the answers of a tool loop.

    Also those that followed the one that loses it here: they were given without.
    """
    if not _manual_thinking(body):
        return False
    if doomed:
        loop = messages.pending_loop(body)
        if loop is not None and any(block.message >= loop for block in doomed):
            return True
    return known.unthinking_loop(body)


def refusal(provider: Provider, answer: HttpResponse) -> ThinkingRefusal | None:
    """What an answer has against the thinking in its request; None where it is about other things.

    The text is looked for in the whole body: whoever stands between puts envelopes of his own
    around it, JSON in a string of JSON among them.
    """
    if answer.status != REFUSES or not provider.thinking_refusals:
        return None
    try:
        decoder = BoundedDecoder(header(answer.headers, "content-encoding"), LONGEST_REFUSAL)
        body = decoder.feed(answer.body)
    except CodecError:
        return None
    text = body.decode("utf-8", "replace").replace("\\u0060", "").replace("`", "").lower()
    found = (meaning for words, meaning in provider.thinking_refusals.items() if words in text)
    return next(found, None)


def _manual_thinking(body: Node) -> bool:
    thinking = body.get("thinking")
    kind = None if thinking is None else thinking.get("type")
    return kind is not None and kind.string() == "enabled"


def _refusal_key(block: SignedBlock, target: Maker) -> str:
    return f"{target.account}\0{target.model or ''}\0{block.signature}"


def _digest(signature: str) -> bytes:
    return blake2b(signature.encode("utf-8", "surrogatepass"), digest_size=12).digest()
