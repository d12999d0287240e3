"""Carries readings forward by the tokens seen since: what an answer costs is learned as they come.

Pure. An estimate is marked as one, never spends a window, and a new reading replaces it.
"""

from collections.abc import Iterable, Mapping

from core.model import AccountState, Cost, Source, Tokens, Window
from core.pace import binds

CACHE_READ = 0.1
CACHE_WRITE = 1.25
OUTPUT = 5.0
"""In input tokens: how the list prices of Claude and (roughly) GPT stand to each other."""

CEILING = 99.0
"""Percent. That a window is spent is for its provider to say."""
REMEMBERED = 20.0
"""Percentage points. What was learned from older readings fades."""
SURE = 5.0
"""Percentage points of readings that make a learned cost half as sure as a reading."""
SAME_RESET_S = 120.0
"""Anthropic's resets differ by a second or two between readings of one window."""
LEARNED_OVER_S = 3600.0
"""Between readings further apart others have used the account, too."""
JUMP = 4.0
"""A reading that says so many times the learned cost was others' doing as well."""
UNSURE = 6.0
"""Points that two readings may be off from each other. Only ever to leave out what fell, or what
rose, would make the cost too high, or too low."""
LOST_AFTER_S = 3600.0
"""A request that has no end by then is not under way."""


def units(tokens: Tokens) -> float:
    """What an answer took, in input tokens that came from no cache."""
    return (
        (tokens.input or 0)
        + CACHE_READ * (tokens.cache_read or 0)
        + CACHE_WRITE * (tokens.cache_write or 0)
        + OUTPUT * (tokens.output or 0)
    )


def metered(window: Window, meter: Mapping[str, Mapping[str, float]]) -> float:
    """Units that have passed of the models that the window binds."""
    return sum(sum(by.values()) for model, by in meter.items() if binds(window, model))


def learned(known: AccountState, held: Window, read: Window) -> Cost | None:
    """What is known of a unit's cost after another reading of the same window."""
    cost = known.costs.get(read.name)
    if not _comparable(held, read):
        return cost
    passed = metered(read, known.metered) - held.mark
    if passed <= 0.0:
        return cost
    took = read.used_percent - held.used_percent
    if cost is None:
        return Cost(took, passed, read.as_of)
    if cost.percent >= SURE:
        took = min(took, JUMP * passed * cost.percent / cost.units + UNSURE)
    keep = min(1.0, REMEMBERED / cost.percent) if cost.percent > 0.0 else 1.0
    return Cost(keep * cost.percent + took, keep * cost.units + passed, read.as_of)


def carried(known: AccountState, now: float) -> Iterable[Window]:
    """The account's windows by now: as read, or carried forward where tokens have passed since."""
    if not known.costs:
        return known.windows.values()
    under_way = known.mean_units * sum(now - at < LOST_AFTER_S for at in known.in_flight)
    return [_carried(window, known, under_way) for window in known.windows.values()]


def _carried(window: Window, known: AccountState, under_way: float) -> Window:
    cost = known.costs.get(window.name)
    if cost is None or cost.percent <= 0.0:
        return window
    passed = max(metered(window, known.metered) - window.mark, 0.0) + under_way
    if passed <= 0.0 or window.used_percent >= CEILING:
        return window
    used = window.used_percent + passed * cost.percent / cost.units
    return Window(
        window.name,
        min(used, CEILING),
        window.resets_at,
        window.duration_s,
        Source.ESTIMATE,
        window.as_of,
        window.scope,
        window.overage,
        window.confidence * cost.percent / (cost.percent + SURE),
        window.mark,
    )


def _comparable(held: Window, read: Window) -> bool:
    """Whether both are readings of one run of the window, near enough to compare."""
    if not held.as_of < read.as_of <= held.as_of + LEARNED_OVER_S:
        return False
    if read.used_percent < held.used_percent - UNSURE:
        return False
    if held.resets_at is None or read.resets_at is None:
        return held.resets_at == read.resets_at
    return abs(held.resets_at - read.resets_at) <= SAME_RESET_S
