from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.evaluation.fleet import Monthly, Weekly, grid, months, sized
from core.model import AccountKind
from core.reading import DAY

START = 1_773_619_200.0  # 2026-03-16, a Monday
ALL = frozenset({"large", "small"})
WEEK = Weekly("week", ALL, 1.0, 1 / 8, 2.5 * DAY, of_model=("large", 0.4))


@given(
    phase=st.floats(-1e6, 1e6),
    length=st.floats(3600.0, 1e6),
    lasts=st.floats(60.0, 3e6),
)
def test_a_grid_covers_the_time_without_a_gap_and_is_cut_in_proportion(phase, length, lasts):
    runs = list(grid(START + phase, length, 100.0, START, START + lasts))
    assert runs[0].start == START
    assert runs[-1].end == START + lasts
    assert all(a.end == b.start for a, b in pairwise(runs))
    for run in runs:
        assert run.capacity == pytest.approx(100.0 * (run.end - run.start) / length)
        assert 0.0 < run.end - run.start <= length * (1 + 1e-6)


def test_months_end_with_the_calendar():
    april = START + 16 * DAY
    first, second = months(310.0, START, START + 30 * DAY)
    assert (first.start, first.end, second.start, second.end) == (
        START,
        april,
        april,
        START + 30 * DAY,
    )
    assert first.capacity == pytest.approx(160.0)
    assert second.capacity == pytest.approx(310.0 * 14 / 30)


def test_an_account_by_the_week_has_three_kinds_of_windows():
    week = WEEK.build(2.0, START, START + 30 * DAY)
    five_hours, seven_days, large = week.limits
    assert [it.name for it in week.limits] == ["five_hour", "seven_day", "seven_day_large"]
    assert (five_hours.scope, large.scope) == (None, "large")
    assert week.longest is seven_days
    assert week.capacity == seven_days.capacity == pytest.approx(2.0 * 30 * DAY)
    assert large.capacity == pytest.approx(0.4 * seven_days.capacity)
    assert max(r.capacity for r in five_hours.runs) == pytest.approx(2.0 * 7 * DAY / 8)
    assert [r.end for r in seven_days.runs][:2] == [START + 2.5 * DAY, START + 9.5 * DAY]


def test_a_price_makes_an_account_pay_per_token():
    key = Monthly("key", ALL, 1.0, 3e-6).build(1.0, START, START + 30 * DAY)
    month = Monthly("month", ALL, 1.0).build(1.0, START, START + 30 * DAY)
    assert (key.account.kind, key.limits[0].name) == (AccountKind.METERED, "budget")
    assert (month.account.kind, month.limits[0].name) == (AccountKind.SUBSCRIPTION, "month")
    assert key.metered
    assert not month.metered


@given(st.floats(1.0, 1e9))
def test_accounts_are_sized_to_a_capacity_together(capacity):
    plans = (WEEK, Monthly("month", ALL, 0.7))
    subjects = sized(plans, capacity, START, START + 30 * DAY)
    assert sum(it.capacity for it in subjects) == pytest.approx(capacity)


def test_a_scaled_account_is_the_same_but_larger():
    week = WEEK.build(1.0, START, START + 30 * DAY)
    larger = week.scaled(1.25)
    assert larger.account == week.account
    assert larger.capacity == pytest.approx(1.25 * week.capacity)
    assert [len(it.runs) for it in larger.limits] == [len(it.runs) for it in week.limits]
