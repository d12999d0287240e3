"""Decides which candidate serves an ask. Pure: no clock of its own, no I/O, nothing remembered."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial

from core import budget, estimate, explain, ranking
from core.explain import Telling
from core.model import (
    Ask,
    Candidate,
    Decision,
    Explanation,
    Mode,
    NoRoute,
    Policy,
    Refusal,
    Route,
    Standing,
    State,
    Unknown,
    Verdict,
    Window,
)
from core.standing import Judged, Rank, judge

DEFAULT = Policy()
EXPLORE_EVERY_S = 1800.0
"""How often an account of whose limits nothing is known is tried, for its answer to tell."""
MOVE = 120.0
"""Points that a move must gain at least: more than all that is left. Moving for less serves nothing
more, and moves more."""
TOKENS_PER_POINT = 2500.0
"""Cached tokens that outweigh one point more."""
WORTH_PAYING = 20_000
"""Cached tokens from which on a conversation stays on a key that it had to go to."""


def decide(
    ask: Ask,
    candidates: Sequence[Candidate],
    state: State,
    now: float,
    policy: Policy = DEFAULT,
    *,
    standing: Standing | None = None,
) -> Decision:
    """The best candidate by the policy; a conversation moves only where that is worth it.

    `candidates` stand in the configuration's order, which settles ties. `standing` is what the
    conversation has with the account that served it last: in a tool loop it stays, unless that
    one is excluded.
    """
    judged = [
        judge(candidate, _windows(candidate, state, now), order, now, policy)
        for order, candidate in enumerate(candidates)
    ]
    able = [j for j in judged if j.able]
    if not able:
        return _nobody(judged, now, policy)
    busy = _under_way(able, state) if ask.subagent else None
    contest = _Contest(judged, able, ranking.values(able, now, policy, busy), now, policy)
    best = ranking.best(able, contest.values)
    held = _held(able, standing)
    if held is None or standing is None:
        unknown = None if ask.tool_loop else _unexplored(contest, state, best)
        if unknown is not None:
            why = partial(explain.explores, unknown.candidate.provider)
            return Route(unknown.candidate, contest.telling(why), explores=True)
    elif held is not best:
        because = explain.TOOL_LOOP if ask.tool_loop else _veto(contest, held, best, standing)
        if because is not None:
            why = partial(explain.stays, held.candidate.provider, because)
            return Route(held.candidate, contest.telling(why), veto=True)
    return Route(best.candidate, contest.telling(explain.chosen))


@dataclass(slots=True)
class _Contest:
    """The candidates of one decision and what the policy makes of them."""

    judged: Sequence[Judged]
    able: Sequence[Judged]
    values: ranking.Values
    now: float
    policy: Policy

    def telling(self, why: Callable[[Sequence[Verdict]], str]) -> Telling:
        return Telling(partial(self._tell, why))

    def _tell(self, why: Callable[[Sequence[Verdict]], str]) -> Explanation:
        ranked = ranking.ranked(self.able, self.values)
        others = [j for j in self.judged if not j.able]
        verdicts = explain.verdicts(ranked, others, self.now, self.policy)
        return Explanation(why(verdicts), verdicts)


def _windows(candidate: Candidate, state: State, now: float) -> Iterable[Window]:
    if candidate.account is None:
        return ()
    known = state.of(candidate.account)
    windows = estimate.carried(known, now)
    own = budget.window(candidate.budget, known, now) if candidate.budget else None
    return windows if own is None else (*windows, own)


def _under_way(able: Sequence[Judged], state: State) -> list[int]:
    """Requests that each account is busy with."""
    accounts = [j.candidate.account for j in able]
    return [0 if it is None else len(state.of(it).in_flight) for it in accounts]


def _held(able: Sequence[Judged], standing: Standing | None) -> Judged | None:
    """The candidate that the conversation is with, if it can still serve."""
    if standing is None:
        return None
    for judged in able:
        account = judged.candidate.account
        if account is not None and account.id == standing.account:
            return judged
    return None


def _veto(contest: _Contest, held: Judged, best: Judged, standing: Standing) -> str | None:
    """Why the conversation does not move to what would be best for a new one; None if it does."""
    if not contest.policy.sticky:
        return None
    cached = standing.cached_tokens if standing.cached_until > contest.now else 0
    if held.rank is Rank.METERED and best.rank is not Rank.METERED:
        return explain.worth_paying(cached) if cached >= WORTH_PAYING else None
    gain = contest.values[held.order].points - contest.values[best.order].points
    if gain > MOVE + cached / TOKENS_PER_POINT:
        return None
    return explain.worth(cached, gain)


def _unexplored(contest: _Contest, state: State, best: Judged) -> Judged | None:
    """A subscription of which nothing is known, and which has not been tried lately."""
    policy = contest.policy
    if best.unknown or policy.unknown is Unknown.EXCLUDE or Mode.PACE not in policy.weights:
        return None
    for judged in contest.able:
        account = judged.candidate.account
        if not judged.unknown or judged.paid or account is None:
            continue
        tried = state.of(account).explored_at
        if tried is None or contest.now - tried >= EXPLORE_EVERY_S:
            return judged
    return None


def _nobody(judged: Sequence[Judged], now: float, policy: Policy) -> NoRoute:
    spent = [j for j in judged if j.spent and j.candidate.problem is None and not j.not_pinned]
    known = [at for at in map(explain.relief_at, spent) if at is not None]
    relief = min(known, default=None)

    def tell() -> Explanation:
        verdicts = explain.verdicts((), judged, now, policy)
        reason = explain.nobody(verdicts, exhausted=bool(spent), relief=relief, now=now)
        return Explanation(reason, verdicts)

    refusal = Refusal.EXHAUSTED if spent else Refusal.UNAVAILABLE
    return NoRoute(refusal, Telling(tell), relief)
