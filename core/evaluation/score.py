"""The figures of one course. Anyone can recompute them from its log and the accounts' windows."""

from collections.abc import Sequence
from dataclasses import dataclass

from core.evaluation.case import Case
from core.evaluation.drive import Course
from core.evaluation.optimum import Optimum


@dataclass(frozen=True, slots=True)
class Score:
    """Requests and moves are counts; quota, cache and what is served are in tokens."""

    served: int
    refused: int
    served_tokens: int
    refused_tokens: int
    expired_quota: float
    """What the longest windows of subscriptions had left when they reset (or the time ended)."""
    expired_share: float
    """Of what those windows held."""
    sessions: int
    switches: int
    """A session was served by another account than before, whatever the reason."""
    switches_unforced: int
    """The account before was not exhausted."""
    switches_in_tool_loop: int
    switches_in_tool_loop_unforced: int
    cache_tokens_lost: int
    """What prompt caches still held at switches: the next account reads it anew."""
    rejections: int
    """429 that accounts answered."""
    cost_usd: float
    optimum: Optimum | None
    """None where scipy is not installed."""

    @property
    def share_of_optimum(self) -> float | None:
        if self.optimum is None:
            return None
        return self.served_tokens / self.optimum.tokens if self.optimum.tokens else 1.0

    @property
    def moves_per_session(self) -> float:
        return self.switches / max(self.sessions, 1)

    @property
    def cost_ratio(self) -> float | None:
        """Cost as a share of the optimum's least cost; None where that is nothing."""
        if self.optimum is None or self.optimum.cost_usd <= 0.0:
            return None
        return self.cost_usd / self.optimum.cost_usd


def score(case: Case, course: Course, best: Optimum | None) -> Score:
    served = [it for it in course.log if it.account is not None]
    refused = [it for it in course.log if it.account is None]
    moved = [it for it in served if it.moved_from is not None]
    looped = [it for it in moved if it.request.tool_loop]
    held, expired = _expired(case, course)
    price = {it.account.id: it.usd_per_token for it in case.subjects}
    return Score(
        served=len(served),
        refused=len(refused),
        served_tokens=sum(it.request.tokens for it in served),
        refused_tokens=sum(it.request.tokens for it in refused),
        expired_quota=expired,
        expired_share=expired / held if held else 0.0,
        sessions=len({it.request.session for it in course.log}),
        switches=len(moved),
        switches_unforced=sum(not it.forced for it in moved),
        switches_in_tool_loop=len(looped),
        switches_in_tool_loop_unforced=sum(not it.forced for it in looped),
        cache_tokens_lost=sum(it.cache_lost for it in moved),
        rejections=sum(len(it.rejected) for it in course.log),
        cost_usd=sum(it.request.tokens * price[it.account or ""] for it in served),
        optimum=best,
    )


def _expired(case: Case, course: Course) -> tuple[float, float]:
    held = left = 0.0
    for subject in case.subjects:
        if subject.metered:
            continue
        taken, limit = course.taken[subject.account.id], subject.longest
        own, outside = taken.own[limit.name], taken.outside[limit.name]
        held += limit.capacity
        left += limit.capacity - sum(own) - sum(outside)
    return held, left


def median(figures: Sequence[float]) -> float:
    """Of an even number the mean of the middle two. NaN of none."""
    ordered = sorted(figures)
    if not ordered:
        return float("nan")
    middle = len(ordered) // 2
    if len(ordered) % 2:
        return ordered[middle]
    return (ordered[middle - 1] + ordered[middle]) / 2.0
