"""Decides which candidate serves an ask. Pure: no clock of its own, no I/O, nothing remembered."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import IntEnum

from core import estimate, pace
from core.model import (
    AccountKind,
    Ask,
    Candidate,
    Decision,
    NoRoute,
    Refusal,
    Route,
    State,
    Verdict,
    WindowView,
)

TIE = 0.01
"""Percentage points. A minute of a week is as much: pace that differs by less is the same pace."""
TIE_RATIO = 0.001


class Rank(IntEnum):
    """Metered accounts come after every subscription that can serve: money is not lost unused."""

    HEADROOM = 0
    UNKNOWN = 1
    AHEAD_OF_PACE = 2
    METERED = 3


@dataclass(frozen=True, slots=True)
class _Judged:
    verdict: Verdict
    rank: tuple[int, int]
    """The rank, and for metered accounts the rank that they would have among themselves."""
    ratio: float
    order: int


def decide(
    ask: Ask,
    candidates: Sequence[Candidate],
    state: State,
    now: float,
    *,
    incumbent: str | None = None,
) -> Decision:
    """The candidate with most headroom against the pace of its limits, and what became of each.

    `candidates` stand in the configuration's order, which settles ties. `incumbent` is the id of
    the account that served this session last: in a tool loop it stays, unless it is excluded.
    """
    judged = [_judge(c, state, now, order) for order, c in enumerate(candidates)]
    able = _ranked([j for j in judged if j.verdict.available])
    verdicts = tuple(j.verdict for j in [*able, *(j for j in judged if not j.verdict.available)])
    if not able:
        return _nobody(verdicts, now)
    if ask.tool_loop and incumbent is not None:
        for verdict in verdicts:
            account = verdict.candidate.account
            if verdict.available and account is not None and account.id == incumbent:
                name = _ascii(verdict.candidate.provider)
                return Route(verdict, f"stays on {name}: in the middle of a tool loop", verdicts)
    return Route(verdicts[0], _reason(verdicts), verdicts)


def _judge(candidate: Candidate, state: State, now: float, order: int) -> _Judged:
    last = (Rank.METERED, 0)
    if candidate.account is None:
        why = candidate.problem or "no credential"
        return _Judged(Verdict(candidate, False, None, (), why), last, 0.0, order)
    known = estimate.carried(state.of(candidate.account), now)
    views = tuple(pace.view(w, now) for w in known if pace.binds(w, candidate.provider_model))
    carrier = longest(views)
    score = None if carrier is None else carrier.pace_delta
    if candidate.problem is not None:
        verdict = Verdict(candidate, False, score, views, candidate.problem)
        return _Judged(verdict, last, 0.0, order)
    spent = [v for v in views if v.window.used_percent >= pace.SPENT]
    if spent:
        return _Judged(_excluded(candidate, score, views, spent, now), last, 0.0, order)
    rank = _rank(score)
    metered = candidate.account.kind is AccountKind.METERED
    verdict = Verdict(candidate, True, score, views, _why(carrier, metered=metered))
    ratio = 0.0 if carrier is None else pace.headroom_ratio(carrier)
    return _Judged(verdict, (Rank.METERED if metered else rank, rank), ratio, order)


def longest(views: Iterable[WindowView]) -> WindowView | None:
    """The window that carries the value; of two as long, the one further ahead of its pace.

    One whose reset is not known has no pace: then nothing is known, whatever a shorter one says.
    """
    measured = [v for v in views if v.window.duration_s is not None]
    unpaced = float("-inf")
    return max(
        measured,
        key=lambda v: (v.window.duration_s, unpaced if v.pace_delta is None else v.pace_delta),
        default=None,
    )


def _rank(score: float | None) -> Rank:
    if score is None:
        return Rank.UNKNOWN
    # Within a tie of the pace is on the pace.
    return Rank.HEADROOM if score <= TIE else Rank.AHEAD_OF_PACE


def _ranked(able: Sequence[_Judged]) -> list[_Judged]:
    """Best first. Scores that tie are settled by the ratio, ratios that tie by the order."""
    rest = list(able)
    ranked: list[_Judged] = []
    while rest:
        best = min(j.rank for j in rest)
        peers = [j for j in rest if j.rank == best]
        lowest = min(j.verdict.score or 0.0 for j in peers)
        tied = [j for j in peers if (j.verdict.score or 0.0) <= lowest + TIE]
        highest = max(j.ratio for j in tied)
        first = next(j for j in tied if j.ratio == highest or j.ratio >= highest - TIE_RATIO)
        ranked.append(first)
        rest.remove(first)
    return ranked


def _excluded(
    candidate: Candidate,
    score: float | None,
    views: tuple[WindowView, ...],
    spent: Sequence[WindowView],
    now: float,
) -> Verdict:
    """An exhausted candidate: it can serve again when the last of its spent windows resets."""
    # Every spent window has a reset by now: pace.current() guesses where it is not said.
    relief = max(v.window.resets_at for v in spent if v.window.resets_at is not None)
    names = " and ".join(v.window.name for v in spent)
    why = f"{names} is spent" if len(spent) == 1 else f"{names} are spent"
    why += f", resets in {span(relief - now)}"
    return Verdict(candidate, False, score, views, why, relief)


def _why(carrier: WindowView | None, *, metered: bool) -> str:
    prefix = "pay per token, " if metered else ""
    if carrier is None or carrier.pace_delta is None:
        return prefix + ("after every subscription" if metered else "usage unknown")
    used = f"{carrier.window.name} {carrier.window.used_percent:.1f}% used"
    return prefix + f"{used}, {_points(carrier.pace_delta)}"


def _points(delta: float) -> str:
    if abs(delta) < 0.05:  # noqa: PLR2004 - would print as 0.0
        return "on pace"
    return f"{abs(delta):.1f} points {'ahead of' if delta > 0 else 'behind'} pace"


def _reason(verdicts: Sequence[Verdict]) -> str:
    """One sentence, in ASCII since it travels in a header."""
    chosen, *others = verdicts
    reason = f"{chosen.candidate.provider}: {chosen.why}"
    return _ascii("; ".join([reason, *(f"{v.candidate.provider}: {v.why}" for v in others)]))


def _ascii(text: str) -> str:
    return re.sub(r"[^ -~]", "?", text)


def _nobody(verdicts: tuple[Verdict, ...], now: float) -> NoRoute:
    exhausted = [v for v in verdicts if v.candidate.problem is None and v.candidate.account]
    listed = "; ".join(f"{v.candidate.provider}: {v.why}" for v in verdicts)
    if not exhausted:
        reason = _ascii(f"no provider can serve this model: {listed}")
        return NoRoute(Refusal.UNAVAILABLE, reason, verdicts)
    relief = min(v.relief_at for v in exhausted if v.relief_at is not None)
    moment = datetime.fromtimestamp(relief, UTC).strftime("%Y-%m-%d %H:%M UTC")
    when = f"earliest relief in {span(relief - now)} ({moment})"
    reason = _ascii(f"every provider's quota is spent, {when}: {listed}")
    return NoRoute(Refusal.EXHAUSTED, reason, verdicts, relief)


def span(seconds: float) -> str:
    """A length of time in words: `2 d 4 h`, `3 h 5 min`, `40 s`."""
    whole = max(round(seconds), 0)
    days, hours, minutes = whole // 86400, whole % 86400 // 3600, whole % 3600 // 60
    if days:
        return f"{days} d {hours} h"
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min" if minutes else f"{whole} s"
