from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.model import Abilities, Account, AccountKind, AccountState, Source, State, Usage, Window
from core.state import Event, LimitsSeen, ModelsRead, UsageFailed, UsageRead, apply, merge

ME = Account("example", "0123456789ab", AccountKind.SUBSCRIPTION)
OTHER = Account("example", "ba9876543210", AccountKind.SUBSCRIPTION)


def window(name: str, used: float, as_of: float, source: Source = Source.HEADER) -> Window:
    return Window(name, used, None, None, source, as_of)


def knowing(*windows: Window, **more: Any) -> AccountState:
    return AccountState({w.name: w for w in windows}, **more)


def after(*events: Event) -> AccountState:
    state = State()
    for event in events:
        state = apply(state, event)
    return state.of(ME)


def test_nothing_is_known_of_a_new_account() -> None:
    assert State().of(ME) == AccountState()
    assert State().of(ME).as_of is None


def test_a_reading() -> None:
    usage = Usage((window("five_hour", 10, 5), window("month", 20, 4)), "max")
    known = after(UsageRead(ME, usage, at=5, poll_after=305))
    assert known == knowing(*usage.windows, plan="max", polled_at=5, poll_after=305, read_at=5)
    assert known.as_of == 5


def test_an_event_leaves_other_accounts_and_the_old_state_alone() -> None:
    before = State({OTHER.id: knowing(window("month", 1, 1))})
    state = apply(before, LimitsSeen(ME, (window("month", 2, 2),)))
    assert state.of(OTHER) == before.of(OTHER)
    assert state.of(ME) == knowing(window("month", 2, 2))
    assert set(before.accounts) == {OTHER.id}


def test_the_newest_reading_of_a_window_stays_whatever_its_source() -> None:
    old, new = window("month", 1, 10), window("month", 2, 20)
    for first, second in ((old, new), (new, old)):
        known = after(
            LimitsSeen(ME, (first,)), UsageRead(ME, Usage((second,)), at=20, poll_after=320)
        )
        assert known.windows == {"month": new}


def test_of_two_readings_at_one_time_the_later_told_stays() -> None:
    known = after(
        LimitsSeen(ME, (window("month", 1, 10),)), LimitsSeen(ME, (window("month", 2, 10),))
    )
    assert known.windows == {"month": window("month", 2, 10)}


def test_headers_name_some_windows_and_the_others_stay() -> None:
    known = after(
        UsageRead(ME, Usage((window("a", 1, 1), window("b", 1, 1)), "max"), at=1, poll_after=2),
        LimitsSeen(ME, (window("b", 2, 2), window("c", 2, 2))),
    )
    assert known == knowing(
        window("a", 1, 1),
        window("b", 2, 2),
        window("c", 2, 2),
        plan="max",
        polled_at=1,
        poll_after=2,
        read_at=1,
    )


def test_a_failure_keeps_what_was_known_and_counts() -> None:
    read = UsageRead(ME, Usage((window("a", 1, 1),), "max"), at=1, poll_after=2)
    known = after(
        read,
        UsageFailed(ME, "it said 503", at=3, poll_after=4),
        UsageFailed(ME, "it said 429", at=5, poll_after=9),
    )
    assert known == knowing(
        window("a", 1, 1),
        plan="max",
        polled_at=5,
        poll_after=9,
        failures=2,
        error="it said 429",
        read_at=1,
    )


def test_a_reading_ends_the_failures_and_a_silent_one_keeps_the_plan() -> None:
    known = after(
        UsageRead(ME, Usage((), "max"), at=1, poll_after=2),
        UsageFailed(ME, "it said 503", at=3, poll_after=4),
        UsageRead(ME, Usage(), at=5, poll_after=6),
    )
    assert known == AccountState(plan="max", polled_at=5, poll_after=6)


def test_a_model_list() -> None:
    known = after(ModelsRead(ME, ("a", "b"), at=1), ModelsRead(ME, (), at=2))
    assert known == AccountState(models=(), models_at=2)


def test_a_model_list_with_what_it_says_of_its_models() -> None:
    told = {"a": Abilities(output=32_000)}
    known = after(ModelsRead(ME, ("a", "b"), at=1, abilities=told))
    assert known == AccountState(models=("a", "b"), models_at=1, abilities=told)
    assert after(ModelsRead(ME, None, at=1, abilities=told)).models is None
    assert after(ModelsRead(ME, ("a",), 1, told), ModelsRead(ME, ("a",), 2)).abilities == {}


# Two views of one account


def merged(ours: AccountState, theirs: AccountState) -> AccountState:
    return merge(State({ME.id: ours}), State({ME.id: theirs})).of(ME)


def test_an_account_that_one_side_knows() -> None:
    one, two = State({ME.id: knowing(plan="a")}), State({OTHER.id: knowing(plan="b")})
    assert merge(one, two).accounts == {**one.accounts, **two.accounts}


def test_each_window_is_the_newest() -> None:
    ours = knowing(window("a", 1, 10), window("b", 1, 20), window("c", 1, 1))
    theirs = knowing(window("a", 2, 20), window("b", 2, 10), window("d", 2, 2))
    newest = knowing(window("a", 2, 20), window("b", 1, 20), window("c", 1, 1), window("d", 2, 2))
    assert merged(ours, theirs) == merged(theirs, ours) == newest


def test_a_poll_is_taken_whole_from_the_last_one_made() -> None:
    failed = knowing(polled_at=20, poll_after=999, failures=3, error="it said 429", plan="old")
    worked = knowing(polled_at=10, poll_after=310, plan="new")
    assert merged(failed, worked) == merged(worked, failed) == failed
    worked_later = knowing(polled_at=30, poll_after=330, plan="new")
    assert merged(failed, worked_later) == merged(worked_later, failed) == worked_later


def test_a_plan_is_not_forgotten_for_a_poll_that_did_not_say() -> None:
    silent, told = knowing(polled_at=20), knowing(polled_at=10, plan="max")
    assert merged(silent, told).plan == merged(told, silent).plan == "max"


def test_a_model_list_is_the_last_one_read() -> None:
    old, new = knowing(models=("a",), models_at=1), knowing(models=("b",), models_at=2)
    never = knowing(polled_at=9)
    assert merged(old, new).models == merged(new, old).models == ("b",)
    assert merged(old, never).models == merged(never, old).models == ("a",)


def test_what_a_list_says_goes_with_the_list() -> None:
    told = {"a": Abilities(images=True)}
    old, new = knowing(abilities=told, models_at=1), knowing(models=("a",), models_at=2)
    never = knowing(polled_at=9)
    assert merged(old, new).abilities == merged(new, old).abilities == {}
    assert merged(old, never).abilities == merged(never, old).abilities == told


_MOMENT = st.integers(0, 5).map(float)
_NAMES = st.sampled_from("abc")
_ACCOUNT = st.just(ME) | st.just(OTHER)


def _read_at(name: str, at: float) -> Window:
    return window(name, at, at)  # a reading of one window at one time is one reading


def _told(name: str, at: float) -> Window:
    """By the usage endpoint, which tells of windows that no header does."""
    return window(f"told {name}", at, at, Source.ENDPOINT)


_EVENT: st.SearchStrategy[Event] = st.one_of(
    st.builds(
        lambda account, names, at: LimitsSeen(account, tuple(_read_at(n, at) for n in names)),
        _ACCOUNT,
        st.sets(_NAMES),
        _MOMENT,
    ),
    st.builds(
        lambda account, names, at: UsageRead(
            account, Usage(tuple(_told(n, at) for n in names)), at, at + 1
        ),
        _ACCOUNT,
        st.sets(_NAMES),
        _MOMENT,
    ),
    st.builds(lambda account, at: UsageFailed(account, "x", at, at + 2), _ACCOUNT, _MOMENT),
)


def _state(events: list[Event]) -> State:
    state = State()
    for event in events:
        state = apply(state, event)
    return state


@settings(deadline=None)
@given(st.lists(_EVENT), st.lists(_EVENT), st.lists(_EVENT))
def test_windows_do_not_depend_on_who_saves_first(
    one: list[Event], two: list[Event], three: list[Event]
) -> None:
    def windows(state: State) -> dict[str, dict[str, Window]]:
        return {name: dict(known.windows) for name, known in state.accounts.items()}

    a, b, c = _state(one), _state(two), _state(three)
    assert windows(merge(a, b)) == windows(merge(b, a))
    assert windows(merge(merge(a, b), c)) == windows(merge(a, merge(b, c)))
    assert merge(a, a) == a
    assert windows(merge(a, b)) == windows(_state([*one, *two]))


@pytest.mark.parametrize(
    ("held", "new", "resets_at"),
    [
        (Window("month", 10.0, 900.0, 100.0, Source.ENDPOINT, 1.0), None, 900.0),
        (Window("month", 10.0, 4.0, 100.0, Source.ENDPOINT, 1.0), None, None),
        (Window("month", 10.0, None, 100.0, Source.ENDPOINT, 1.0), None, None),
        (Window("month", 10.0, 900.0, 100.0, Source.ENDPOINT, 1.0), 800.0, 800.0),
    ],
    ids=["still ahead", "past by then", "never known", "told anew"],
)
def test_a_reading_without_a_reset_leaves_it_as_it_was_known(held, new, resets_at):
    seen = Window("month", 20.0, new, None, Source.HEADER, 5.0)
    state = apply(apply(State(), LimitsSeen(ME, (held,))), LimitsSeen(ME, (seen,)))
    window = state.of(ME).windows["month"]
    assert (window.used_percent, window.resets_at, window.source) == (20.0, resets_at, "header")
