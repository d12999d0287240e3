from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core import budget
from core.budget import Spent, charge, charged, kept, merged, spent, told, window
from core.catalog import Tariff
from core.model import (
    Account,
    AccountKind,
    AccountState,
    Budget,
    Period,
    Price,
    Source,
    Spend,
    State,
    Tokens,
    Usage,
    Window,
)
from core.state import RequestEnded, UsageRead, apply, merge


def at(text: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


DAY = 86400.0
NOW = at("2026-11-25T18:00")  # a Wednesday
TODAY = int(NOW // DAY)
ME = Account("openrouter", "0123", AccountKind.METERED)
SONNET = Tariff(Price(3.0, 15.0, 0.3, 3.75), ((200_000.0, Price(6.0, 22.5, 0.6, 7.5)),))
FIFTY = Budget(50.0, Period.MONTH)


def knows(days: Mapping[int, float], **unpriced: float) -> AccountState:
    by_day = {TODAY - ago: {"0": Spend(usd)} for ago, usd in days.items()}
    if unpriced:
        by_day[TODAY] = {**by_day.get(TODAY, {}), "1": Spend(0.0, unpriced)}
    return AccountState(spent=by_day)


def full(used: float, resets: str, days: float) -> Window:
    return Window("budget", used, at(resets), days * DAY, Source.DECLARED, NOW)


# What an answer costs


def test_each_kind_of_token_has_its_price() -> None:
    tokens = Tokens(input=1000, output=2000, cache_read=100_000, cache_write=4000)
    assert charge(SONNET, "m", tokens) == Spend(0.003 + 0.03 + 0.03 + 0.015)
    assert charge(SONNET, "m", Tokens(output=1_000_000)) == Spend(15.0)


def test_a_long_prompt_costs_more_in_all_its_parts_and_its_answer() -> None:
    whole = Tokens(input=100_000, cache_read=60_000, cache_write=40_000)
    assert charge(SONNET, "m", whole).usd == pytest.approx(0.3 + 0.018 + 0.15)
    over = replace(whole, input=100_001, output=1000)
    assert charge(SONNET, "m", over).usd == pytest.approx(0.600006 + 0.036 + 0.3 + 0.0225)


def test_without_a_price_the_tokens_are_kept_by_model() -> None:
    tokens = Tokens(input=1, output=20, cache_read=300, cache_write=4000)
    assert charge(None, "m", tokens) == Spend(0.0, {"m": 4321.0})
    assert charge(None, "m", Tokens()) == Spend()
    assert charge(None, "m", Tokens(input=0)) == Spend()
    assert charge(SONNET, "m", Tokens()) == Spend()


# The window


@pytest.mark.parametrize(
    ("per", "used", "resets", "days"),
    [
        (Period.DAY, 2.0, "2026-11-26", 1),
        (Period.WEEK, 2.0 + 4.0, "2026-11-30", 7),
        (Period.MONTH, 2.0 + 4.0 + 8.0, "2026-12-01", 30),
    ],
)
def test_a_period_is_the_calendars_in_utc(
    per: Period, used: float, resets: str, days: float
) -> None:
    # Two days ago was Monday; on the first, and on the day before it.
    known = knows({0: 1.0, 2: 2.0, 24: 4.0, 25: 100.0})
    assert window(Budget(50.0, per), known, NOW) == full(used, resets, days)


def test_nothing_spent_yet_is_zero_and_not_unknown() -> None:
    assert window(FIFTY, AccountState(), NOW) == full(0.0, "2026-12-01", 30)


def test_a_new_period_begins_at_zero() -> None:
    known = knows({0: 50.0})
    assert window(FIFTY, known, at("2026-11-30T23:59:59")) == replace(
        full(100.0, "2026-12-01", 30), as_of=at("2026-11-30T23:59:59")
    )
    december = at("2026-12-01")
    assert window(FIFTY, known, december) == replace(full(0.0, "2027-01-01", 31), as_of=december)


def test_what_has_no_price_leaves_it_unknown() -> None:
    known = knows({0: 10.0}, glm=5.0, gpt=1.0)
    assert window(FIFTY, known, NOW) is None
    assert spent(known, Period.MONTH, NOW) == Spent(10.0, ("glm", "gpt"), NOW)
    assert not spent(known, Period.MONTH, NOW).known


def test_what_has_a_price_can_be_the_whole_budget_alone() -> None:
    assert window(FIFTY, knows({0: 50.0}, glm=5.0), NOW) == full(100.0, "2026-12-01", 30)


def test_what_had_no_price_is_over_with_its_period() -> None:
    known = knows({}, glm=5.0)
    tomorrow = NOW + DAY
    assert window(Budget(1.0, Period.DAY), known, NOW) is None
    found = window(Budget(1.0, Period.DAY), known, tomorrow)
    assert found is not None
    assert found.used_percent == 0.0


def test_a_budget_may_be_passed_by_whatever() -> None:
    found = window(Budget(5e-324, Period.DAY), knows({0: 1e300}), NOW)
    assert found is not None
    assert found.used_percent == budget.MOST_PERCENT


# The provider's own figure


def reads(known: AccountState, when: float = NOW, **usd: float) -> AccountState:
    usage = Usage((), None, {Period(per): figure for per, figure in usd.items()})
    state = apply(State({ME.id: known}), UsageRead(ME, usage, when, when + 300))
    return state.of(ME)


def uses(known: AccountState, usd: float, when: float = NOW, **unpriced: float) -> AccountState:
    ended = RequestEnded(ME, "m", Tokens(), None, "0", when, Spend(usd, unpriced))
    return apply(State({ME.id: known}), ended).of(ME)


def test_the_providers_own_figure_has_what_others_have_used_too() -> None:
    known = reads(knows({0: 1.0}), month=12.5)
    assert spent(known, Period.MONTH, NOW) == Spent(12.5, (), NOW, told=True)
    assert window(FIFTY, known, NOW) == full(25.0, "2026-12-01", 30)


def test_what_was_counted_since_comes_on_top() -> None:
    known = uses(reads(knows({0: 1.0, 3: 2.0}), month=12.5), 0.25)
    assert spent(known, Period.MONTH, NOW).usd == 12.75
    assert spent(reads(known, month=13.0), Period.MONTH, NOW).usd == 13.0


def test_a_period_that_the_provider_does_not_tell_of_is_counted() -> None:
    known = reads(knows({0: 1.0, 1: 2.0}), month=12.5)
    assert spent(known, Period.WEEK, NOW) == Spent(3.0, (), NOW)


def test_a_figure_of_the_period_before_says_nothing_of_this_one() -> None:
    known = uses(reads(knows({0: 1.0}), day=12.5, month=20.0), 0.5)
    tomorrow = NOW + DAY
    assert spent(known, Period.DAY, tomorrow) == Spent(0.0, (), tomorrow)
    assert spent(known, Period.MONTH, tomorrow) == Spent(20.5, (), tomorrow, told=True)


def test_the_figure_has_what_has_no_price_as_of_its_reading() -> None:
    known = reads(knows({0: 1.0}, glm=5.0), NOW - 60, month=12.5)
    assert spent(known, Period.MONTH, NOW) == Spent(12.5, (), NOW, told=True)
    known = uses(known, 0.0, glm=1.0)
    found = spent(known, Period.MONTH, NOW)
    assert (found, found.known) == (Spent(12.5, ("glm",), NOW - 60, told=True), True)
    assert window(FIFTY, known, NOW) == replace(full(25.0, "2026-12-01", 30), as_of=NOW - 60)


def test_a_reading_without_figures_leaves_the_last_ones() -> None:
    known = reads(reads(AccountState(), month=12.5), NOW + 300)
    assert spent(known, Period.MONTH, NOW + 300).usd == 12.5


def test_the_newest_reading_wins_with_what_was_counted_by_then() -> None:
    ours, theirs = (
        reads(knows({0: 1.0}), NOW, month=12.5),
        reads(knows({0: 3.0}), NOW + 1, month=14.0),
    )
    both = [
        merge(State({ME.id: a}), State({ME.id: b})).of(ME)
        for a, b in ((ours, theirs), (theirs, ours))
    ]
    assert both[0].told_spend == both[1].told_spend == theirs.told_spend
    assert spent(both[0], Period.MONTH, NOW + 1).usd == 14.0
    alone = merge(State({ME.id: ours}), State({ME.id: AccountState()})).of(ME)
    assert alone.told_spend == ours.told_spend


# The count


def test_days_older_than_any_period_are_forgotten() -> None:
    by_day = {day: {"0": Spend(1.0)} for day in (TODAY - 41, TODAY - 40, TODAY)}
    assert list(kept(by_day, NOW)) == [TODAY - 40, TODAY]
    assert list(charged(by_day, Spend(1.0), NOW, "0")) == [TODAY - 40, TODAY]


def test_nothing_is_no_entry() -> None:
    assert charged({}, Spend(), NOW, "0") == {}


def test_told_keeps_what_was_counted() -> None:
    known = knows({0: 1.0, 1: 2.0}, glm=5.0)
    found = told({Period.DAY: 7.0, Period.MONTH: 9.0}, known.spent, NOW)
    assert found.counted == {
        Period.DAY: Spend(1.0, {"glm": 5.0}),
        Period.MONTH: Spend(3.0, {"glm": 5.0}),
    }


answers = st.lists(
    st.tuples(
        st.sampled_from(["0", "1"]),
        st.integers(0, 3),
        st.integers(0, 1000),
        st.dictionaries(st.sampled_from("ab"), st.integers(1, 9).map(float), max_size=2),
    )
)


@given(answers, st.randoms())
def test_the_counts_of_processes_add_up_however_they_are_merged(answers, random) -> None:
    """Each writer counts in its own process, and they meet at any time, in any order."""
    views: dict[str, budget.ByDay] = {"0": {}, "1": {}}
    for writer, ago, cents, unpriced in answers:
        spend = Spend(cents / 128, unpriced)
        views[writer] = charged(views[writer], spend, NOW - ago * DAY, writer)
        if random.random() < 0.3:
            met = merged(views["0"], views["1"])
            views[random.choice("01")] = met
    both = merged(views["0"], views["1"])
    assert both == merged(views["1"], views["0"]) == merged(both, both)
    found = spent(AccountState(spent=both), Period.MONTH, NOW)
    assert found.usd == sum(cents for _, _, cents, _ in answers) / 128
    assert found.unpriced == tuple(sorted({m for *_, models in answers for m in models}))
