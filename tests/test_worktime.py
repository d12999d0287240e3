from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.model import Schedule
from core.scalars import working_spans
from core.worktime import DAY, WEEK, elapsed_percent, worked

HOUR = 3600.0
MONDAY = datetime(2026, 11, 23, tzinfo=UTC).timestamp()


def schedule(text: str, offset: float = 0.0) -> Schedule:
    spans = working_spans(text)
    assert spans is not None
    return Schedule(spans, offset)


OFFICE = schedule("mon-fri 9-19")


@pytest.mark.parametrize(
    ("start", "end", "hours"),
    [
        (0.0, WEEK, 50.0),
        (0.0, 9 * HOUR, 0.0),
        (0.0, 12 * HOUR, 3.0),
        (18 * HOUR, DAY + 10 * HOUR, 2.0),
        (5 * DAY, 7 * DAY, 0.0),
        (4 * DAY + 18 * HOUR, WEEK + 10 * HOUR, 2.0),
        (0.0, 3 * WEEK, 150.0),
        (-WEEK, 0.0, 50.0),
    ],
)
def test_what_of_a_stretch_is_worked(start: float, end: float, hours: float) -> None:
    assert worked(MONDAY + start, MONDAY + end, OFFICE) == pytest.approx(hours * HOUR)


def test_hours_are_those_of_the_clock_on_the_wall() -> None:
    berlin = schedule("mon-fri 9-19", offset=HOUR)
    assert worked(MONDAY, MONDAY + 9 * HOUR, berlin) == pytest.approx(HOUR)


def test_elapsed_means_working_time() -> None:
    friday_evening = MONDAY + 4 * DAY + 19 * HOUR
    assert elapsed_percent(MONDAY, MONDAY + WEEK, friday_evening, OFFICE) == 100.0
    assert elapsed_percent(MONDAY, MONDAY + WEEK, MONDAY + 14 * HOUR, OFFICE) == pytest.approx(10.0)


def test_a_window_without_working_time_is_measured_by_the_clock() -> None:
    night = MONDAY + 20 * HOUR
    assert elapsed_percent(night, night + 5 * HOUR, night + HOUR, OFFICE) == pytest.approx(20.0)


@given(st.floats(-1e6, 1e6), st.floats(1.0, 3e6), st.floats(0.0, 1.0), st.floats(0.0, 1.0))
def test_it_runs_from_0_to_100_and_never_back(
    start: float, length: float, one: float, other: float
) -> None:
    begin, end = MONDAY + start, MONDAY + start + length
    first, second = sorted((begin + one * length, begin + other * length))
    here = elapsed_percent(begin, end, first, OFFICE)
    there = elapsed_percent(begin, end, second, OFFICE)
    assert -1e-6 <= here <= there + 1e-6 <= 100.0 + 1e-5
