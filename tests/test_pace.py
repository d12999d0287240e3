from calendar import monthrange
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core import pace
from core.model import Schedule, Source, Window, WindowView
from core.pace import UNSAID_S, binds, current, elapsed_percent, headroom_ratio, view
from core.reading import month_before

NOW = 1_795_000_000.0
WEEK = 604_800.0


def week(used: float, elapsed: float) -> Window:
    """A week of which so many percent are over."""
    resets_at = NOW + WEEK * (100 - elapsed) / 100
    return Window("seven_day", used, resets_at, WEEK, Source.HEADER, NOW)


@pytest.mark.parametrize(
    ("used", "elapsed", "delta"),
    [
        (0, 0, 0.0),
        (60, 40, 20.0),
        (30, 60, -30.0),
        (50, 50, 0.0),
        (100, 0, 100.0),
        (0, 99, -99.0),
        (112.5, 100 - 1e-9, 12.5),
        (-0.33, 50, -50.33),
    ],
)
def test_pace_is_used_minus_elapsed_in_points(used: float, elapsed: float, delta: float) -> None:
    assert view(week(used, elapsed), NOW).pace_delta == pytest.approx(delta, abs=1e-6)


def test_pace_is_not_rounded() -> None:
    third = replace(week(33.3, 0), resets_at=NOW + WEEK / 3)
    assert view(third, NOW).pace_delta == 33.3 - 100.0 * (1.0 - 1 / 3)


def test_a_view_is_the_window_with_its_place_in_time() -> None:
    window = week(60, 40)
    assert view(window, NOW) == WindowView(window, 40.0, 20.0)


def test_at_its_very_start_nothing_is_over() -> None:
    assert elapsed_percent(week(1, 0), NOW) == 0.0


def test_before_its_start_nothing_is_over_either() -> None:
    """Resets jitter by two seconds between readings (PROVIDERS A.1)."""
    late = replace(week(1, 0), resets_at=NOW + WEEK + 2)
    assert view(late, NOW) == WindowView(late, 0.0, 1.0)


def test_a_second_before_its_end_it_still_counts() -> None:
    window = replace(week(70, 0), resets_at=NOW + 1)
    seen = view(window, NOW)
    assert seen.window is window
    assert seen.elapsed_percent == pytest.approx(100 - 100 / WEEK)


@pytest.mark.parametrize("past", [0.0, 1e-3, 1.0, WEEK, 10 * WEEK])
@pytest.mark.parametrize("used", [0.0, 70.0, 100.0, 130.0])
def test_past_its_reset_it_is_just_reset_as_an_estimate(used: float, past: float) -> None:
    window = replace(week(used, 0), resets_at=NOW - past)
    just_reset = replace(
        window, used_percent=0.0, resets_at=NOW + WEEK, source=Source.ESTIMATE, confidence=0.5
    )
    assert view(window, NOW) == WindowView(just_reset, 0.0, 0.0, confidence=0.5)


def test_past_its_reset_a_window_without_a_length_says_only_that_it_is_not_used() -> None:
    window = Window("session", 100, NOW, None, Source.HEADER, NOW - 60)
    just_reset = Window("session", 0.0, None, None, Source.ESTIMATE, NOW - 60, confidence=0.5)
    faded = 0.5 * (1 - 60 / pace.AGELESS_S)
    assert view(window, NOW) == WindowView(just_reset, None, None, confidence=faded)


@pytest.mark.parametrize(
    "window",
    [
        Window("session", 40, NOW + 60, None, Source.HEADER, NOW),
        Window("session", 0, None, None, Source.HEADER, NOW),
        Window("seven_day", 40, None, WEEK, Source.ENDPOINT, NOW),
    ],
    ids=["no length", "neither", "no reset"],
)
def test_without_a_length_or_a_reset_there_is_no_pace(window: Window) -> None:
    assert view(window, NOW) == WindowView(window, None, None)


def test_a_window_that_has_not_begun_is_on_pace() -> None:
    """A.1: `{"utilization": 0.0, "resets_at": null}`. Zero was read: that is not unknown."""
    window = Window("seven_day", 0.0, None, WEEK, Source.ENDPOINT, NOW - 60)
    begun = replace(window, resets_at=NOW + WEEK, source=Source.ESTIMATE)
    assert view(window, NOW) == WindowView(begun, 0.0, 0.0, confidence=1 - 60 / WEEK)


@pytest.mark.parametrize(("duration", "lasts"), [(None, UNSAID_S), (WEEK, WEEK)])
def test_a_spent_window_that_names_no_reset_is_not_spent_for_ever(
    duration: float | None, lasts: float
) -> None:
    window = Window("session", 100, None, duration, Source.HEADER, NOW)
    before, after = current(window, NOW + lasts - 1), current(window, NOW + lasts)
    assert (before.used_percent, before.resets_at) == (100, NOW + lasts)
    assert (after.used_percent, after.source) == (0.0, Source.ESTIMATE)


FIRSTS = [(y, m) for y in (2023, 2024, 2025, 2026, 2100) for m in range(1, 13)]


@pytest.mark.parametrize(("year", "month"), FIRSTS)
def test_a_month_is_as_long_as_the_calendar_says(year: int, month: int) -> None:
    start = datetime(year, month, 1, tzinfo=UTC).timestamp()
    days = monthrange(year, month)[1]
    end = start + days * 86400
    window = Window("month", 50, end, month_before(end), Source.ENDPOINT, start)
    assert window.duration_s == days * 86400
    assert view(window, start).elapsed_percent == 0.0
    seen = view(window, start + days * 43200)
    assert (seen.window, seen.elapsed_percent, seen.pace_delta) == (window, 50.0, 0.0)


@pytest.mark.parametrize(
    ("used", "elapsed", "ratio"),
    [
        (0, 0, 1.0),
        (50, 50, 1.0),
        (50, 40, 50 / 60),
        (90, 80, 0.5),
        (10, 80, 4.5),
        (100, 50, 0.0),
        (120, 50, 0.0),
    ],
)
def test_the_ratio_is_what_remains_over_the_time_left(
    used: float, elapsed: float, ratio: float
) -> None:
    assert headroom_ratio(view(week(used, elapsed), NOW)) == pytest.approx(ratio)


@pytest.mark.parametrize(("used", "ratio"), [(99.0, float("inf")), (100.0, 0.0)])
def test_the_ratio_at_the_very_end(used: float, ratio: float) -> None:
    end = replace(week(used, 0), resets_at=NOW + 1e-6)
    seen = WindowView(end, 100.0, used - 100)
    assert headroom_ratio(seen) == ratio


def test_the_ratio_without_a_pace_takes_all_time_as_left() -> None:
    window = Window("session", 40, NOW + 60, None, Source.HEADER, NOW)
    assert headroom_ratio(view(window, NOW)) == 0.6


MOMENTS = st.floats(0, 4e9)
WINDOWS = st.builds(
    Window,
    name=st.just("w"),
    used_percent=st.floats(-1e6, 1e6),
    resets_at=st.none() | MOMENTS,
    duration_s=st.none() | st.floats(1e-3, 4e7),
    source=st.sampled_from(Source),
    as_of=MOMENTS,
)


@given(WINDOWS, MOMENTS)
def test_a_view_keeps_its_invariants(window: Window, now: float) -> None:
    seen = view(window, now)
    assert seen.window.resets_at is None or seen.window.resets_at >= now
    assert (seen.elapsed_percent is None) == (seen.pace_delta is None)
    assert seen.elapsed_percent is None or 0 <= seen.elapsed_percent <= 100
    assert headroom_ratio(seen) >= 0
    if seen.window != window:
        assert seen.window.source is Source.ESTIMATE


@given(WINDOWS, MOMENTS, st.floats(0, 1e8), st.floats(1, 1e8))
def test_until_the_reset_time_only_lowers_the_pace(
    window: Window, now: float, later: float, left: float
) -> None:
    window = replace(window, resets_at=now + later + left)
    before, after = view(window, now).pace_delta, view(window, now + later).pace_delta
    assert (before is None) == (after is None) == (window.duration_s is None)
    assert before is None or after is None or after <= before


@pytest.mark.parametrize(
    ("used", "elapsed", "seconds"),
    [
        (50.0, 25.0, 0.25 * 604_800),
        (80.0, 40.0, 0.1 * 604_800),
        (100.0, 40.0, 0.0),
        (120.0, 40.0, 0.0),
        (40.0, 40.0, None),
        (10.0, 40.0, None),
        (0.0, 40.0, None),
        (50.0, 0.0, None),
    ],
)
def test_when_it_runs_out_at_this_rate(used, elapsed, seconds):
    now = 1_783_000_000.0
    reset = now + (100 - elapsed) / 100 * 604_800
    seen = pace.view(Window("seven_day", used, reset, 604_800.0, Source.ENDPOINT, now), now)
    assert pace.runs_out_in(seen, now) == (None if seconds is None else pytest.approx(seconds))


def test_without_a_length_nobody_knows_when_it_runs_out():
    seen = pace.view(Window("session", 50.0, 1e9, None, Source.HEADER, 1.0), 1.0)
    assert pace.runs_out_in(seen, 1.0) is None


@pytest.mark.parametrize(
    ("scope", "model", "expected"),
    [
        (None, "claude-sonnet-4-5", True),
        ("opus", "claude-opus-4-5", True),
        ("opus", "claude-opus-4.5", True),
        ("opus", "claude-opus-4-5-20251101", True),
        ("opus", "anthropic/claude-opus-4.5:beta", True),
        ("opus", "Claude_Opus_4", True),
        ("opus", "claude-sonnet-4-5", False),
        ("opus", "claude-opusculum", False),
        ("sonnet", "claude-opus-4-5", False),
        ("", "claude-opus-4-5", False),
        ("GPT-5.3-Codex-Spark", "gpt-5.3-codex-spark", True),
        ("gpt-5.3-codex-spark", "openai/gpt-5-3-codex-spark", True),
        ("gpt-5.3-codex-spark", "gpt-5.3-codex", False),
        ("gpt-5.3-codex", "gpt-5.30-codex", False),
        ("gpt-5-codex", "gpt-5.3-codex", False),
    ],
)
def test_a_scoped_window_binds_its_family_alone(
    scope: str | None,
    model: str,
    expected: bool,  # noqa: FBT001
) -> None:
    assert binds(replace(week(1, 1), scope=scope), model) is expected


@pytest.mark.parametrize(
    ("age", "confidence"), [(0.0, 1.0), (WEEK / 4, 0.75), (2 * WEEK, 0.0), (-60.0, 1.0)]
)
def test_a_figure_fades_over_its_window(age: float, confidence: float) -> None:
    read = replace(week(10, 0), as_of=NOW - age)
    assert view(read, NOW).confidence == confidence


def test_an_estimate_is_no_surer_than_it_was_made() -> None:
    assert view(replace(week(10, 0), confidence=0.5, as_of=NOW - WEEK / 2), NOW).confidence == 0.25


def test_with_working_hours_they_are_what_elapses_and_running_out_goes_by_the_clock() -> None:
    """Of this week's working time none is left, of its hours half."""
    begun = NOW - WEEK / 2
    hours = Schedule(((0.0, WEEK),), 0.0)
    morning = Schedule(_first_half_of_the_week_that_begins_at(begun))
    window = week(60, 50)
    assert view(window, NOW, hours).pace_delta == pytest.approx(10.0)
    seen = view(window, NOW, morning)
    assert seen.pace_delta == pytest.approx(-40.0)
    assert pace.runs_out_in(seen, NOW) == pytest.approx(WEEK / 3)


def _first_half_of_the_week_that_begins_at(begun: float) -> tuple[tuple[float, float], ...]:
    """In seconds from Monday; the epoch was a Thursday."""
    start = (begun - 4 * 86400.0) % WEEK
    end = start + WEEK / 2
    return ((start, end),) if end <= WEEK else ((0.0, end - WEEK), (start, WEEK))
