"""What is kept of a decision and of how its request ended. Pure: nouns to columns, and back.

Nothing that a person or a model wrote is in it: no prompt, no answer, no raw session id.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from hashlib import blake2b
from typing import Any, assert_never

import msgspec

from core.model import (
    Ask,
    Decision,
    Explanation,
    NoRoute,
    Refusal,
    Route,
    Standing,
    Tokens,
    Verdict,
)
from core.nouns import plain, rebuilt
from core.observe import Observation
from core.reading import label, mapping

type Columns = Mapping[str, Any]

SESSION_DIGEST = 6
"""Bytes: enough to tell apart a person's sessions of a month."""
NOT_SENT = "not_sent"
"""In place of an error's type: no provider had a part in it."""
_ODD = "error"
"""An error whose type is no plain short word."""
_MOST_TOKENS = 2**53
"""More than any answer has, and less than a column can hold."""


@dataclass(frozen=True, slots=True)
class Decided:
    """A decision was made; the first of a request, or a later one of the same request."""

    request: str
    attempt: int
    at: float
    ask: Ask
    decision: Decision
    standing: Standing | None


@dataclass(frozen=True, slots=True)
class Answered:
    """The head of the answer came."""

    request: str
    attempt: int
    at: float
    status: int


@dataclass(frozen=True, slots=True)
class Ended:
    """It is over, well or not. `seen` is None where no answer came from a provider."""

    request: str
    attempt: int
    at: float
    seen: Observation | None
    cost_usd: float | None = None
    sent: bool = True
    """False where we answered it ourselves."""


type Event = Decided | Answered | Ended


@dataclass(frozen=True, slots=True)
class End:
    """How it went, as far as it is known."""

    status: int | None = None
    answered_at: float | None = None
    first_content_at: float | None = None
    ended_at: float | None = None
    complete: bool | None = None
    error: str | None = None
    tokens: Tokens = field(default_factory=Tokens)
    cost_usd: float | None = None


@dataclass(frozen=True, slots=True)
class Attempt:
    """A decision as it was kept, and what came of it."""

    request: str
    number: int
    at: float
    model: str
    wire: str
    session: str | None
    """A digest."""
    decision: Decision
    flags: Mapping[str, bool | float]
    """What else was known of the request: `tool_loop`, `subagent` …"""
    standing: Standing | None
    """What the conversation had with the account that served it last."""
    end: End
    pin: str | None = None
    """The provider that the client wanted, and no other."""


def columns(event: Event) -> dict[str, Any]:
    """What of the row the event tells. `decision` among them begins a row."""
    key = {"request": event.request, "attempt": event.attempt}
    match event:
        case Decided():
            return key | _decided(event)
        case Answered(at=at, status=status):
            return key | {"answered_at": at, "status": status}
        case Ended(at=at, seen=seen, cost_usd=cost, sent=sent):
            told = {"error": None if sent else NOT_SENT} if seen is None else _seen(seen)
            return key | {"ended_at": at, "cost_usd": cost} | told
        case _:
            assert_never(event)


def _decided(event: Decided) -> dict[str, Any]:
    ask, decision = event.ask, event.decision
    explanation = decision.explain()
    served = decision.candidate if isinstance(decision, Route) else None
    told = {name: getattr(decision, name) for name in _names(decision)}
    place = [verdict.candidate is served for verdict in explanation.verdicts]
    kept = {
        # Of what a client says by itself only what is no text.
        "ask": {it.name: value for it in fields(ask) if _is_figure(value := getattr(ask, it.name))},
        # It too is the client's text, unless it is a provider's id.
        "pin": next((it for it in _providers(explanation) if it == ask.pin), None),
        "standing": event.standing,
        "decision": told,
        "chosen": place.index(True) if True in place else None,
        "verdicts": explanation.verdicts,
    }
    return {
        "at": event.at,
        "model": plain(ask.model),
        "wire": plain(ask.wire),
        "session": None if ask.session is None else digest(ask.session),
        "provider": served and plain(served.provider),
        "provider_model": served and plain(served.provider_model),
        "account": served and served.account and plain(served.account.id),
        "reason": plain(explanation.reason),
        "decision": msgspec.json.encode(plain(kept)).decode(),
    }


def _providers(explanation: Explanation) -> list[str]:
    return [verdict.candidate.provider for verdict in explanation.verdicts]


def _names(decision: Decision) -> list[str]:
    """All that it tells by itself, but the candidate, which stands among the verdicts."""
    return [it.name for it in fields(decision) if it.name not in ("explain", "candidate")]


def _seen(seen: Observation) -> dict[str, Any]:
    counts = {it.name: getattr(seen.tokens, it.name) for it in fields(seen.tokens)}
    tokens = {
        f"{name}_tokens": None if count is None else min(count, _MOST_TOKENS)
        for name, count in counts.items()
    }
    return tokens | {
        "first_content_at": seen.first_content_at,
        "complete": seen.complete,
        # The provider's word, and a provider may put anything there.
        "error": None if seen.error is None else label(seen.error) or _ODD,
    }


def digest(session: str) -> str:
    """What stands for a session: the same in every process, and no way back."""
    raw = session.encode("utf-8", "surrogatepass")
    return blake2b(raw, digest_size=SESSION_DIGEST).hexdigest()


def _is_figure(value: object) -> bool:
    return isinstance(value, bool | float)


def attempt(row: Columns) -> Attempt:
    """A row, whichever release wrote it. Raises ValueError where it is damaged."""
    try:
        kept = mapping(msgspec.json.decode(row["decision"]))
    except (msgspec.DecodeError, RecursionError) as error:
        raise ValueError(str(error)) from None
    standing = kept.get("standing")
    return Attempt(
        request=row["request"],
        number=row["attempt"],
        at=row["at"],
        model=row["model"],
        wire=row["wire"],
        session=row["session"],
        decision=_decision(row, kept),
        flags=rebuilt(dict[str, Any], kept.get("ask")),
        standing=None if standing is None else rebuilt(Standing, standing),
        end=_end(row),
        pin=rebuilt(str, kept.get("pin")) or None,
    )


def _decision(row: Columns, kept: Mapping[str, Any]) -> Decision:
    verdicts: tuple[Verdict, ...] = rebuilt(tuple[Verdict, ...], kept.get("verdicts"))
    explanation = Explanation(row["reason"], verdicts)
    told, chosen = mapping(kept.get("decision")), kept.get("chosen")

    def explain() -> Explanation:
        return explanation

    if chosen is None:
        refused: NoRoute = rebuilt(NoRoute, {"refusal": Refusal.UNAVAILABLE, **told})
        return replace(refused, explain=explain)
    if not isinstance(chosen, int) or not 0 <= chosen < len(verdicts):
        raise ValueError(f"there is no candidate {chosen}")
    route: Route = rebuilt(Route, told)
    # The very candidate of its verdict: that is how a route finds its own.
    return replace(route, candidate=verdicts[chosen].candidate, explain=explain)


def _end(row: Columns) -> End:
    counts = {it.name: row[f"{it.name}_tokens"] for it in fields(Tokens)}
    complete = row["complete"]
    return End(
        status=row["status"],
        answered_at=row["answered_at"],
        first_content_at=row["first_content_at"],
        ended_at=row["ended_at"],
        complete=None if complete is None else bool(complete),
        error=row["error"],
        tokens=Tokens(**counts),
        cost_usd=row["cost_usd"],
    )
