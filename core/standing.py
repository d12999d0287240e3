"""How one candidate stands by its windows: arithmetic alone. The words for it are explain's."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import IntEnum

from core import demand, pace
from core.model import AccountKind, Candidate, Policy, Unknown, Window
from core.reading import DAY, HOUR

TIE = 0.01
"""Points, and percentage points of pace. A minute of a week is as much."""
ROOM = 100.0
"""Points of an account with nothing left. With as much as is usually used until its longest window
resets it has none, with more it has less than none."""
MOST_ROOM = 2.0
"""Times what is usually used until the reset: whether it is still more, says little."""
DAY_OF_RESET = 5.0
"""Points for each day until the longest window resets: what is lost sooner is used first."""
MOST_DAYS = 9.0
HOUR_OF_RESET = 2.0
"""Points for each hour until the first window resets: the same, of the shorter ones."""
MOST_HOURS = 5.0
NEARLY_SPENT = 10.0
"""Percent left of a window, from which on it weighs: a conversation would have to move on."""
WEIGHT_NEARLY_SPENT = 3.0
"""Points for each percent that it is below that.

Of the weights tried on `core.evaluation`'s set these serve most and move least."""


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
    """Points: less is better. None where nothing is known."""
    delta: float = 0.0
    """Used minus elapsed, in percentage points, of the longest window: its pace. By the usual week,
    where that is known."""
    carrier: Window | None = None
    """The longest window."""
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
    return Rank.HEADROOM if judged.delta <= TIE else Rank.AHEAD_OF_PACE


def _measure(judged: Judged, binding: Iterable[Window], now: float, policy: Policy) -> None:
    """Finds the window that carries the value, the spent ones, and what makes the points.

    Of two windows as long the one further ahead of its pace carries. One whose reset is not known
    has no pace: then nothing is known, whatever a shorter one says.
    """
    reserve = judged.candidate.reserve
    long: list[Window] = []
    length = 0.0
    tight, left_of_tight, first_reset = None, NEARLY_SPENT, now + MOST_HOURS * HOUR
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
        resets_at = window.resets_at
        if resets_at is not None and resets_at < first_reset:
            first_reset = resets_at
        if duration > length:
            long, length = [window], duration
        elif duration == length:
            long.append(window)
    _score(judged, long, length, now, policy)
    if judged.score is None:
        return
    judged.score += HOUR_OF_RESET * (first_reset - now) / HOUR
    if tight is not None and left_of_tight > 0.0:
        judged.short = None if tight is judged.carrier else tight
        judged.score += WEIGHT_NEARLY_SPENT * (NEARLY_SPENT - left_of_tight)


def _score(
    judged: Judged, long: Iterable[Window], length: float, now: float, policy: Policy
) -> None:
    """What the longest windows make of it, all of one length."""
    longest, delta, elapsed = None, 0.0, 0.0
    for window in long:
        over = _elapsed(window, length, now, policy)
        ahead = UNPACED if over is None else window.used_percent - over
        if longest is None or ahead > delta:
            longest, delta, elapsed = window, ahead, over or 0.0
    judged.carrier = longest
    if longest is None or delta == UNPACED:
        return
    judged.delta = delta
    # One that has not begun begins with its first use.
    left_s = length if longest.resets_at is None else longest.resets_at - now
    left, to_come = max(100.0 - longest.used_percent, 0.0), 100.0 - elapsed
    room = left / to_come if left < MOST_ROOM * to_come else MOST_ROOM
    judged.score = ROOM * (1.0 - room) + DAY_OF_RESET * min(left_s / DAY, MOST_DAYS)


def _elapsed(window: Window, duration: float, now: float, policy: Policy) -> float | None:
    # As pace.elapsed_percent does it, without its calls: this runs for every window each time.
    if policy.schedule is not None or window.resets_at is None:
        return pace.elapsed_percent(window, now, policy.schedule)
    if policy.week is not None:
        start = window.resets_at - duration
        return demand.elapsed_percent(start, window.resets_at, now, policy.week)
    gone = 100.0 * (1.0 - (window.resets_at - now) / duration)
    return 0.0 if gone < 0.0 else min(gone, 100.0)


def _floor(window: Window, reserve: Mapping[str, float]) -> float:
    """The use from which on a window counts as spent."""
    return pace.SPENT - reserve.get(window.name, 0.0) if reserve else pace.SPENT
