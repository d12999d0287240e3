"""The usual week: when accounts are used, learned from the answers that passed.

Pure: `now` is an argument. Hours are UTC's, counted from the epoch's.
"""

from collections.abc import Iterable, Mapping
from itertools import accumulate

from core.model import AccountState, Week
from core.reading import HOUR

HOURS = 168
"""Of a week."""
KEPT_HOURS = 4 * HOURS
"""Habits that are older are none."""
EVEN_WEEKS = 0.1
"""Weeks of even use that are taken as seen: an hour of the week that was never seen is average,
and one that was seen once is nearly as it was."""

type ByHour = Mapping[int, Mapping[str, float]]
"""Units that passed, by hour, then by writer."""


def counted(by_hour: ByHour, units: float, at: float, writer: str) -> ByHour:
    """With an answer that ended at this time."""
    if units <= 0.0:
        return by_hour
    hour = int(at // HOUR)
    writers = by_hour.get(hour)
    if writers is None:
        by_hour, writers = kept(by_hour, at), {}
    return {**by_hour, hour: {**writers, writer: writers.get(writer, 0.0) + units}}


def kept(by_hour: ByHour, now: float) -> ByHour:
    """Without the hours that are too old, and those that are still to come."""
    latest = int(now // HOUR)
    return {hour: it for hour, it in by_hour.items() if latest - KEPT_HOURS <= hour <= latest}


def usual(accounts: Iterable[AccountState], now: float) -> Week | None:
    """By the full hours so far, of all accounts together. None before any has passed."""
    latest = int(now // HOUR)
    seen = [
        (hour, units)
        for known in accounts
        for hour, writers in known.hours.items()
        if latest - KEPT_HOURS <= hour < latest and (units := sum(writers.values())) > 0.0
    ]
    if not seen:
        return None
    first = min(hour for hour, _ in seen)
    passed = [0.0] * HOURS
    for hour, units in seen:
        passed[hour % HOURS] += units
    weeks, rest = divmod(latest - first, HOURS)
    mean = sum(passed) / (latest - first)
    rates = [
        (units + EVEN_WEEKS * mean) / (weeks + ((hour - first) % HOURS < rest) + EVEN_WEEKS)
        for hour, units in enumerate(passed)
    ]
    return Week(tuple(accumulate(rates, initial=0.0)))


def elapsed_percent(start: float, end: float, now: float, week: Week) -> float:
    """How much of what is usually used from start to end is usually used by now: 0 to 100."""
    if now <= start:
        return 0.0
    begin, whole = _since_epoch(start, week), _since_epoch(end, week)
    passed = _since_epoch(now, week) if now < end else whole
    return 100.0 * (passed - begin) / (whole - begin)


def _since_epoch(moment: float, week: Week) -> float:
    hours = moment / HOUR
    whole = int(hours)
    weeks = whole // HOURS
    by, hour = week.used_by, whole - weeks * HOURS
    before = by[hour]
    return weeks * by[HOURS] + before + (hours - whole) * (by[hour + 1] - before)


class Usual:
    """The usual week, worked out once an hour."""

    def __init__(self) -> None:
        self._hour: int | None = None
        self._week: Week | None = None

    def week(self, accounts: Mapping[str, AccountState], now: float) -> Week | None:
        hour = int(now // HOUR)
        if hour != self._hour:
            self._hour, self._week = hour, usual(accounts.values(), now)
        return self._week
