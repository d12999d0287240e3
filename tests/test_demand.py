"""The usual week: what is counted, what is learned of it, and what it makes of a window's pace."""

from dataclasses import replace
from datetime import UTC, datetime
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core import demand, state
from core.demand import HOURS, KEPT_HOURS, Usual, counted, elapsed_percent, kept, usual
from core.model import (
    Account,
    AccountKind,
    AccountState,
    Ask,
    Candidate,
    Policy,
    Route,
    Source,
    State,
    Tokens,
    Week,
    Window,
    Wire,
)
from core.reading import HOUR
from core.routing import decide

MONDAY = datetime(2026, 3, 16, tzinfo=UTC).timestamp()
DAY, WEEK = 24 * HOUR, 168 * HOUR


def worked(weeks: int, *, start: float = MONDAY) -> AccountState:
    """An account that is used on Saturdays and Sundays alone, the whole day."""
    hours = {
        int((start + week * WEEK + day * DAY) // HOUR) + hour: {"one": 10.0}
        for week in range(weeks)
        for day in (5, 6)
        for hour in range(24)
    }
    return AccountState(hours=hours)


def test_an_answer_is_counted_in_its_hour_beside_other_writers() -> None:
    by_hour = counted({}, 5.0, MONDAY, "one")
    by_hour = counted(by_hour, 7.0, MONDAY + HOUR - 1, "two")
    by_hour = counted(by_hour, 1.0, MONDAY + HOUR - 1, "one")
    by_hour = counted(by_hour, 2.0, MONDAY + HOUR, "one")
    first = int(MONDAY // HOUR)
    assert by_hour == {first: {"one": 6.0, "two": 7.0}, first + 1: {"one": 2.0}}
    assert counted(by_hour, 0.0, MONDAY + 9 * HOUR, "one") is by_hour


def test_what_is_older_than_four_weeks_is_forgotten_and_the_future_never_was() -> None:
    now = MONDAY + 10 * WEEK
    latest = int(now // HOUR)
    oldest = latest - KEPT_HOURS
    hours = {hour: {"one": 1.0} for hour in (oldest - 1, oldest, latest, latest + 1)}
    assert sorted(kept(hours, now)) == [oldest, latest]
    assert sorted(counted(hours, 1.0, now - HOUR, "one")) == [oldest - 1, oldest, latest - 1]


def test_nothing_is_usual_before_an_hour_has_passed() -> None:
    assert usual([], MONDAY) is None
    under_way = AccountState(hours={int(MONDAY // HOUR): {"one": 5.0}})
    assert usual([under_way], MONDAY + HOUR - 1) is None
    assert usual([under_way], MONDAY + HOUR) is not None


def test_two_weekends_make_a_week_that_ends_in_a_weekend() -> None:
    week = usual([worked(2)], MONDAY + 2 * WEEK)
    assert week is not None
    end = MONDAY + 3 * WEEK
    by = [
        elapsed_percent(end - WEEK, end, end - WEEK + day * DAY, week) for day in range(8)
    ]  # Monday to Monday
    assert by[0] == 0.0
    # Nine days were seen, from the first use on: each weekday once, the weekend twice. A tenth of a
    # week of even use is taken as seen besides.
    even = 0.1 * 960 / (9 * 24)
    weekday, weekend = even / 1.1, (20 + even) / 2.1
    assert by[5] == pytest.approx(100 * 5 * weekday / (5 * weekday + 2 * weekend))
    assert by[7] == pytest.approx(100.0)
    assert by[7] - by[6] == pytest.approx(by[6] - by[5])


def test_several_accounts_are_one_habit() -> None:
    one = AccountState(hours={int(MONDAY // HOUR): {"one": 4.0}})
    other = AccountState(hours={int(MONDAY // HOUR): {"one": 1.0, "two": 5.0}})
    both = AccountState(hours={int(MONDAY // HOUR): {"one": 10.0}})
    later = MONDAY + 30 * HOUR
    assert usual([one, other], later) == usual([both], later)


WEEKS = st.lists(st.floats(0.001, 1e6), min_size=HOURS, max_size=HOURS).map(
    lambda rates: Week(tuple(sum(rates[:n]) for n in range(HOURS + 1)))
)


@given(WEEKS, st.floats(MONDAY, MONDAY + WEEK), st.floats(HOUR, 40 * DAY))
def test_what_has_elapsed_grows_from_nothing_to_all(
    week: Week, start: float, length: float
) -> None:
    end = start + length
    moments = [start - HOUR, start, *(start + length * n / 7 for n in range(1, 7)), end, end + HOUR]
    shares = [elapsed_percent(start, end, moment, week) for moment in moments]
    assert shares[:2] == [0.0, 0.0]
    assert shares[-2:] == pytest.approx([100.0, 100.0])
    assert all(after >= before - 1e-9 for before, after in pairwise(shares))


@given(st.floats(MONDAY, MONDAY + WEEK), st.floats(HOUR, 40 * DAY), st.floats(0, 1))
def test_an_even_week_is_the_clock(start: float, length: float, share: float) -> None:
    even = Week(tuple(float(n) for n in range(HOURS + 1)))
    elapsed = elapsed_percent(start, start + length, start + share * length, even)
    assert elapsed == pytest.approx(100 * share, abs=1e-6)


def test_it_is_worked_out_once_an_hour() -> None:
    accounts = {"a": worked(1)}
    week = Usual()
    first = week.week(accounts, MONDAY + WEEK)
    assert first is not None
    assert week.week({}, MONDAY + WEEK + HOUR - 1) is first
    assert week.week({}, MONDAY + WEEK + HOUR) is None


def test_state_counts_hours_and_merges_what_each_process_counted() -> None:
    account = Account("a", "me", AccountKind.SUBSCRIPTION)

    def after(writer: str, *units: int) -> State:
        known = State()
        for count in units:
            event = state.RequestEnded(
                account, "m", Tokens(input=count), None, writer, at=MONDAY + 60
            )
            known = state.apply(known, event)
        return known

    merged = state.merge(after("one", 100, 50), after("two", 30))
    (by_writer,) = merged.accounts["a/me"].hours.values()
    assert list(merged.accounts["a/me"].hours) == [int(MONDAY // HOUR)]
    assert by_writer == {"one": 150.0, "two": 30.0}
    assert state.merge(merged, after("one", 100)).accounts["a/me"].hours == {
        int(MONDAY // HOUR): by_writer
    }


def test_who_works_at_weekends_is_not_late_on_a_friday() -> None:
    """80 % of the week is over and half of it is used: the weekend takes more than is left."""
    end = MONDAY + 3 * WEEK
    friday = end - 2.5 * DAY
    account = Account("a", "me", AccountKind.SUBSCRIPTION)
    window = Window("seven_day", 50, end, WEEK, Source.HEADER, friday)
    known = State({"a/me": replace(worked(2), windows={"seven_day": window})})
    candidates = [Candidate("a", "m", account)]
    ask = Ask(Wire.MESSAGES, "m")
    by_clock = decide(ask, candidates, known, friday)
    week = demand.usual(known.accounts.values(), friday)
    by_habit = decide(ask, candidates, known, friday, Policy(week=week))
    assert isinstance(by_clock, Route)
    assert isinstance(by_habit, Route)
    assert by_clock.reason == "a: seven_day 50.0% used, 14.3 points behind pace, resets in 2 d 12 h"
    assert by_habit.reason == (
        "a: seven_day 50.0% used, 46.8 points ahead of its usual pace, resets in 2 d 12 h"
    )
    assert (by_habit.chosen.score or 0.0) > (by_clock.chosen.score or 0.0) + 60.0
