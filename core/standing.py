"""How one candidate stands by its windows: arithmetic alone. The words for it are explain's."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import IntEnum

from core import pace
from core.model import AccountKind, Candidate, Policy, Schedule, Unknown, Window

TIE = 0.01
"""Percentage points. A minute of a week is as much: pace that differs by less is the same pace."""
EARLY = 10.0
"""Percent of a window. Before so much of it is over, that it is behind its pace says little."""
NEARLY_SPENT = 15.0
"""Percent left of a shorter window, from which on it weighs."""
WEIGHT_NEARLY_SPENT = 1.0
"""Points for each percent that it is below that."""


UNPACED = float("-inf")


class Rank(IntEnum):
    """Metered accounts come after every subscription that can serve: money is not lost unused."""

    HEADROOM = 0
    UNKNOWN = 1
    AHEAD_OF_PACE = 2
    UNKNOWN_LAST = 3
    METERED = 4


@dataclass(slots=True)
class Judged:
    """A candidate, judged. What is left at its default does not apply."""

    candidate: Candidate
    order: int
    windows: Iterable[Window] = ()
    """Those that bind it, as last read."""
    able: bool = False
    rank: Rank = Rank.UNKNOWN
    score: float | None = None
    """Points: the pace of the longest window, less is better. None where nothing is known."""
    ratio: float = 0.0
    """Remaining share ÷ share of time left, of the same window."""
    carrier: Window | None = None
    short: Window | None = None
    """A shorter window that is nearly spent, and weighs."""
    spent: tuple[Window, ...] = ()
    unknown: bool = False
    """Nothing is known of it: no window with a pace."""
    excluded_unknown: bool = False
    not_pinned: bool = False
    paid: bool = False
    """What it serves is paid for: by the token, or beyond its windows."""


def judge(
    candidate: Candidate,
    windows: Iterable[Window],
    order: int,
    now: float,
    policy: Policy,
) -> Judged:
    """How the candidate stands. `windows` are all of its account's, as far as they are known."""
    model = candidate.provider_model
    binding = [w for w in windows if w.scope is None or pace.binds(w, model)]
    judged = Judged(candidate, order, binding)
    _measure(judged, binding, now, policy)
    if candidate.problem is not None or candidate.account is None:
        return judged
    if policy.pin is not None and policy.pin != candidate.provider:
        judged.not_pinned = True
        return judged
    metered = candidate.account.kind is AccountKind.METERED
    if judged.spent:
        if not (candidate.overage and all(w.overage for w in judged.spent)):
            return judged
        judged.paid = True
    judged.able = True
    if metered or judged.paid:
        judged.paid = True
        budgeted = policy.metered_by_budget and judged.score is not None and not judged.spent
        judged.rank = _by_pace(judged, policy) if budgeted else Rank.METERED
        return judged
    judged.rank = _by_pace(judged, policy)
    if judged.unknown and policy.unknown is Unknown.EXCLUDE:
        judged.able, judged.excluded_unknown = False, True
    return judged


def _by_pace(judged: Judged, policy: Policy) -> Rank:
    if judged.score is None:
        judged.unknown = True
        return Rank.UNKNOWN_LAST if policy.unknown is Unknown.LAST else Rank.UNKNOWN
    # Within a tie of the pace is on the pace.
    return Rank.HEADROOM if judged.score <= TIE else Rank.AHEAD_OF_PACE


def _measure(judged: Judged, binding: Iterable[Window], now: float, policy: Policy) -> None:
    """Finds the window that carries the value, the spent ones, and a short one that weighs.

    Of two windows as long the one further ahead of its pace carries. One whose reset is not known
    has no pace: then nothing is known, whatever a shorter one says.
    """
    reserve, schedule = judged.candidate.reserve, policy.schedule
    longest, length, delta, elapsed = None, 0.0, 0.0, 0.0
    tight, left_of_tight = None, NEARLY_SPENT
    for read in binding:
        resets_at = read.resets_at
        window = read if resets_at is not None and resets_at > now else pace.current(read, now)
        left = _floor(window, reserve) - window.used_percent
        if left <= 0.0:
            judged.spent = (*judged.spent, window)
        duration = window.duration_s
        if duration is None:
            continue
        if left < left_of_tight:
            tight, left_of_tight = window, left
        if duration < length:
            continue
        over = _elapsed(window, duration, now, schedule)
        ahead = UNPACED if over is None else window.used_percent - over
        if longest is None or duration > length or ahead > delta:
            longest, length, delta, elapsed = window, duration, ahead, over or 0.0
    judged.carrier = longest
    if longest is None or delta == UNPACED:
        return
    judged.ratio = _ratio(longest.used_percent, elapsed)
    # What was used early is used; what was not says little before some time has passed.
    judged.score = delta * min(elapsed / EARLY, 1.0) if delta < 0.0 else delta
    if tight is not None and tight is not longest and left_of_tight > 0.0:
        judged.short = tight
        judged.score += WEIGHT_NEARLY_SPENT * (NEARLY_SPENT - left_of_tight)


def _elapsed(
    window: Window, duration: float, now: float, schedule: Schedule | None
) -> float | None:
    # As pace.elapsed_percent does it, without its calls: this runs for every window each time.
    if schedule is not None or window.resets_at is None:
        return pace.elapsed_percent(window, now, schedule)
    gone = 100.0 * (1.0 - (window.resets_at - now) / duration)
    return 0.0 if gone < 0.0 else min(gone, 100.0)


def _ratio(used: float, elapsed: float) -> float:
    remaining, time_left = max(100.0 - used, 0.0), 100.0 - elapsed
    if time_left <= 0.0:
        return float("inf") if remaining > 0.0 else 0.0
    return remaining / time_left


def _floor(window: Window, reserve: Mapping[str, float]) -> float:
    """The use from which on a window counts as spent."""
    return pace.SPENT - reserve.get(window.name, 0.0) if reserve else pace.SPENT
