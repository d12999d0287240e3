"""The scenarios: one table of how full each account is, and what that makes of it at an instant."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from math import floor
from types import MappingProxyType

FIVE_HOURS_S = 18_000.0
WEEK_S = 604_800.0


@dataclass(frozen=True, slots=True)
class WindowSpec:
    """How full a window is when the simulator starts."""

    name: str
    used_percent: float | None = None
    """None: what has elapsed plus `pace_delta`, kept within 0 to 99."""
    elapsed_percent: float | None = None
    """None: what the calendar says; a week mirrors Copilot's month, so that the two are level."""
    duration_s: float | None = None
    """None: the calendar month (UTC)."""
    pace_delta: float = 0.0
    """Percentage points of use ahead of time."""


@dataclass(frozen=True, slots=True)
class Scenario:
    """A state of both accounts. None instead of windows: nothing can be read of that account."""

    name: str
    summary: str
    anthropic: tuple[WindowSpec, ...] | None
    copilot: tuple[WindowSpec, ...] | None
    winner: str | None
    """The provider that has to serve; None where nobody can."""


def _five_hours(used: float, elapsed: float) -> WindowSpec:
    return WindowSpec("five_hour", used, elapsed, FIVE_HOURS_S)


def _week(used: float, elapsed: float) -> WindowSpec:
    return WindowSpec("seven_day", used, elapsed, WEEK_S)


_WEEK_LIKE_MONTH = WindowSpec("seven_day", duration_s=WEEK_S)


def _month(pace_delta: float = 0.0, *, used: float | None = None) -> WindowSpec:
    return WindowSpec("month", used, pace_delta=pace_delta)


# A month's pace is not free: on the first it cannot be behind, on the last it cannot be ahead. The
# figures leave the winner right for the worst case of each: -10 means -10 to 0, +10 means -1 to 10.
_TABLE = (
    Scenario(
        "over-pace",
        "Anthropic is used up faster than its week goes by, so Copilot serves.",
        (_five_hours(40, 50), _week(60, 40)),
        (_month(-10),),
        "github-copilot",
    ),
    Scenario(
        "under-pace",
        "Anthropic's week would end with quota left over, so Anthropic serves.",
        (_five_hours(30, 50), _week(20, 75)),
        (_month(+10),),
        "anthropic",
    ),
    Scenario(
        "balanced",
        "Both are exactly on pace, so the one that resets sooner serves.",
        (_five_hours(40, 50), _WEEK_LIKE_MONTH),
        (_month(),),
        "anthropic",
    ),
    Scenario(
        "anthropic-high",
        "Anthropic's week is 85 % used early on, so Copilot serves.",
        (_five_hours(60, 50), _week(85, 30)),
        (_month(-5),),
        "github-copilot",
    ),
    Scenario(
        "copilot-high",
        "Copilot's month is nearly used, so Anthropic serves.",
        (_five_hours(30, 50), _week(20, 60)),
        (_month(used=97),),
        "anthropic",
    ),
    Scenario(
        "exhausted",
        "Anthropic's five hours are spent in a quiet week, so Copilot serves though its pace is worse.",
        (_five_hours(100, 70), _week(10, 60)),
        (_month(+15),),
        "github-copilot",
    ),
    Scenario(
        "unknown",
        "Nothing can be read of Copilot, and Anthropic is ahead of pace, so Copilot serves.",
        (_five_hours(40, 50), _week(60, 40)),
        None,
        "github-copilot",
    ),
    Scenario(
        "nobody",
        "Both subscriptions are spent, so nobody serves.",
        (_five_hours(100, 70), _week(70, 60)),
        (_month(used=100),),
        None,
    ),
)
SCENARIOS: Mapping[str, Scenario] = MappingProxyType({it.name: it for it in _TABLE})


def month_bounds(now: float) -> tuple[float, float]:
    """When the calendar month (UTC) of an instant began and ends, in epoch seconds."""
    start = datetime.fromtimestamp(now, UTC).replace(
        day=1, hour=0, minute=0, second=0, microsecond=0
    )
    year, month0 = divmod(start.year * 12 + start.month, 12)
    return start.timestamp(), start.replace(year=year, month=month0 + 1).timestamp()


@dataclass(slots=True)
class Meter:
    """A window as it stands. It resets by itself when its time has come."""

    name: str
    used_percent: float
    resets_at: float
    duration_s: float | None
    """None: the calendar month."""

    @property
    def spent(self) -> bool:
        return self.used_percent >= 100.0  # noqa: PLR2004

    def advance(self, now: float) -> None:
        if now < self.resets_at:
            return
        self.used_percent = 0.0
        if self.duration_s is None:
            self.resets_at = month_bounds(now)[1]
        else:
            self.resets_at += (1 + (now - self.resets_at) // self.duration_s) * self.duration_s


def open_meters(scenario: Scenario, now: float) -> dict[str, dict[str, Meter]]:
    """Both accounts' windows at an instant, by provider and name."""
    specs = {"anthropic": scenario.anthropic, "github-copilot": scenario.copilot}
    return {
        provider: {spec.name: _open(spec, now) for spec in windows or ()}
        for provider, windows in specs.items()
    }


def _open(spec: WindowSpec, now: float) -> Meter:
    start, end = month_bounds(now)
    month = (now - start) / (end - start) * 100
    elapsed = month if spec.elapsed_percent is None else spec.elapsed_percent
    used = spec.used_percent
    if used is None:
        # Whole tenths are what providers report; cut, not rounded, it is never ahead of its pace.
        used = floor(min(max(elapsed + spec.pace_delta, 0.0), 99.0) * 10) / 10
    if spec.duration_s is None:
        return Meter(spec.name, used, end, None)
    if spec.elapsed_percent is None and elapsed > _LAST:
        used, elapsed = used - (elapsed - _LAST) - _EDGE, _LAST
    return Meter(spec.name, used, now + (100 - elapsed) / 100 * spec.duration_s, spec.duration_s)


_LAST = 99.9
"""A week that mirrors a month keeps ten minutes to go, so that it does not reset first."""
_EDGE = 0.02
"""It then has more time left than the month; this much less used, it stays the one to take."""
