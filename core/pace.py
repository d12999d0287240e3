"""How far a window is, measured against the clock. Pure arithmetic: `now` is an argument."""

import re
from dataclasses import replace
from functools import cache

from core import worktime
from core.model import Schedule, Source, Window, WindowView

SPENT = 100.0
UNSAID_S = 3600.0
"""What a spent window lasts that says neither its reset nor its length. Such ones are read off
answers alone: excluded for good, the account would have no answer that says otherwise."""

JUST_RESET = 0.5
"""How sure it is that a window past its reset is unused: others may have begun on it."""
AGELESS_S = 86400.0
"""Over what a figure fades whose window has no length."""


def binds(window: Window, model: str) -> bool:
    """Whether a window limits the provider's model: a scoped one binds its family alone."""
    return window.scope is None or f" {_words(window.scope)} " in f" {_words(model)} "


@cache
def _words(name: str) -> str:
    return " ".join(re.findall(r"[a-z0-9]+", name.lower()))


def current(window: Window, now: float) -> Window:
    """The window as it must be by now: past its reset it counts as just reset, as an estimate."""
    window = _with_reset(window, now)
    if window.resets_at is None or window.resets_at > now:
        return window
    resets_at = None if window.duration_s is None else now + window.duration_s
    return replace(
        window,
        used_percent=0.0,
        resets_at=resets_at,
        source=Source.ESTIMATE,
        confidence=JUST_RESET * window.confidence,
    )


def _with_reset(window: Window, now: float) -> Window:
    """A guess where the reset is not said, and the figure alone says enough."""
    if window.resets_at is not None:
        return window
    if window.used_percent >= SPENT:
        resets_at = window.as_of + (window.duration_s or UNSAID_S)
    elif window.used_percent <= 0.0 and window.duration_s is not None:
        # Anthropic: `{"utilization": 0.0, "resets_at": null}` is a window that has not begun.
        resets_at = now + window.duration_s
    else:
        return window
    return replace(window, resets_at=resets_at, source=Source.ESTIMATE)


def elapsed_percent(window: Window, now: float, schedule: Schedule | None = None) -> float | None:
    """How much of the window is over: 0 to 100, None where its length or reset is not known.

    With a schedule it is the working time in it that counts.
    """
    if window.resets_at is None or window.duration_s is None:
        return None
    if schedule is not None:
        start = window.resets_at - window.duration_s
        return worktime.elapsed_percent(start, window.resets_at, now, schedule)
    left = (window.resets_at - now) / window.duration_s
    return 100.0 * min(max(1.0 - left, 0.0), 1.0)


def view(window: Window, now: float, schedule: Schedule | None = None) -> WindowView:
    """The window by now, with its pace: used minus elapsed, in percentage points, not rounded."""
    window = current(window, now)
    elapsed = elapsed_percent(window, now, schedule)
    delta = None if elapsed is None else window.used_percent - elapsed
    return WindowView(window, elapsed, delta, _confidence(window, now))


def _confidence(window: Window, now: float) -> float:
    """A figure is worth less the more of its window has gone by since it was read."""
    age = max(now - window.as_of, 0.0) / (window.duration_s or AGELESS_S)
    return window.confidence * max(1.0 - age, 0.0)


def runs_out_in(seen: WindowView, now: float) -> float | None:
    """Seconds until the window is spent at the rate of its use so far; None if it lasts.

    By the clock, nights included. Early in a window, and without a pace, nothing can be said: None
    too.
    """
    window, elapsed = seen.window, elapsed_percent(seen.window, now)
    if elapsed is None or elapsed <= 0.0 or window.resets_at is None or window.duration_s is None:
        return None
    if window.used_percent >= SPENT:
        return 0.0
    left = (SPENT - window.used_percent) * elapsed / 100.0 * window.duration_s
    seconds = left / window.used_percent if window.used_percent > 0.0 else float("inf")
    return seconds if seconds < window.resets_at - now else None


def headroom_ratio(seen: WindowView) -> float:
    """Remaining share ÷ share of time left: above 1 there is more quota than time.

    Infinite at the very end of a window: what is left then is lost.
    """
    remaining = max(100.0 - seen.window.used_percent, 0.0)
    time_left = 100.0 - (seen.elapsed_percent or 0.0)
    if time_left <= 0.0:
        return float("inf") if remaining > 0.0 else 0.0
    return remaining / time_left
