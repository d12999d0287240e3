"""Working hours: how much of a stretch of time counts where only some of the week does."""

from core.model import Schedule

DAY = 86400.0
WEEK = 7 * DAY
_MONDAY = 4 * DAY
"""After the epoch, which was a Thursday."""


def worked(start: float, end: float, schedule: Schedule) -> float:
    """Working seconds between two times."""
    return _since_monday(end, schedule) - _since_monday(start, schedule)


def elapsed_percent(start: float, end: float, now: float, schedule: Schedule) -> float:
    """How much of a window's working time is over: 0 to 100.

    A window without any (a night) is measured by the clock.
    """
    moment = min(max(now, start), end)
    whole = worked(start, end, schedule)
    if whole <= 0.0:
        return 100.0 * (moment - start) / (end - start)
    return 100.0 * worked(start, moment, schedule) / whole


def _since_monday(moment: float, schedule: Schedule) -> float:
    """Working seconds since the first Monday after the epoch."""
    weeks, rest = divmod(moment + schedule.utc_offset_s - _MONDAY, WEEK)
    whole = sum(end - begin for begin, end in schedule.spans)
    return weeks * whole + sum(
        min(rest, end) - begin for begin, end in schedule.spans if begin < rest
    )
