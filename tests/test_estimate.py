from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core import estimate
from core.model import (
    Account,
    AccountKind,
    AccountState,
    Cost,
    Source,
    State,
    Tokens,
    Usage,
    Window,
)
from core.state import LimitsSeen, RequestEnded, RequestSent, UsageRead, apply, merge

NOW = 1_795_000_000.0
WEEK = 604_800.0
ME = Account("example", "0123456789ab", AccountKind.SUBSCRIPTION)
SONNET, OPUS = "claude-sonnet-4-5", "claude-opus-4-5"
KILO = Tokens(input=1000)


def week(used: float, at: float = NOW, **more: object) -> Window:
    read = Window("seven_day", used, NOW + WEEK / 2, WEEK, Source.ENDPOINT, at)
    return replace(read, **more)


def read(used: float, at: float = NOW, **more: object) -> UsageRead:
    return UsageRead(ME, Usage((week(used, at, **more),)), at, at + 300)


def ended(tokens: Tokens = KILO, model: str = SONNET, **more: object) -> RequestEnded:
    return replace(RequestEnded(ME, model, tokens, None, "0"), **more)


def known(*events: object) -> AccountState:
    state = State()
    for event in events:
        state = apply(state, event)
    return state.of(ME)


def figure(*events: object, now: float = NOW + 600) -> float:
    [window] = estimate.carried(known(*events), now)
    return window.used_percent


LEARNED = (read(10.0), *[ended()] * 10, read(20.0, NOW + 300))
"""A kilotoken costs a point."""


def test_cached_tokens_count_as_cached() -> None:
    assert estimate.units(Tokens(100, 10, 1000, 40)) == 100 + 50 + 100 + 50
    assert estimate.units(Tokens()) == 0


def test_nothing_is_carried_before_a_cost_is_learned() -> None:
    state = known(read(10.0), ended(), ended())
    assert list(estimate.carried(state, NOW)) == [week(10.0)]


def test_two_readings_and_the_tokens_between_them_tell_what_a_token_costs() -> None:
    assert known(*LEARNED).costs == {"seven_day": Cost(10.0, 10_000.0, NOW + 300)}


def test_a_reading_is_carried_forward_by_the_tokens_since_and_marked() -> None:
    [window] = estimate.carried(known(*LEARNED, ended(), ended()), NOW + 600)
    assert window.used_percent == pytest.approx(22.0)
    assert window.source is Source.ESTIMATE
    assert window.as_of == NOW + 300
    assert window.confidence == pytest.approx(10 / 15)


def test_a_new_reading_replaces_the_estimate() -> None:
    state = known(*LEARNED, ended(), read(21.0, NOW + 600))
    assert list(estimate.carried(state, NOW + 600)) == [
        week(21.0, NOW + 600, mark=11_000.0, source=Source.ENDPOINT)
    ]


def test_a_header_counts_as_a_reading() -> None:
    seen = LimitsSeen(ME, (week(12.0, NOW + 60, source=Source.HEADER),))
    assert known(read(10.0), ended(), seen).costs["seven_day"] == Cost(2.0, 1000.0, NOW + 60)


def test_requests_under_way_count_with_the_mean_of_the_latest() -> None:
    sent = [RequestSent(ME, NOW + 301), RequestSent(ME, NOW + 302)]
    assert figure(*LEARNED, *sent) == pytest.approx(22.0)
    assert figure(*LEARNED, *sent, ended(sent_at=NOW + 301)) == pytest.approx(22.0)
    assert figure(*LEARNED, *sent, ended(Tokens(), sent_at=NOW + 301)) == pytest.approx(21.0)


def test_a_request_whose_end_was_never_seen_is_not_under_way_for_ever() -> None:
    sent = RequestSent(ME, NOW + 301)
    assert figure(*LEARNED, sent, now=NOW + 301 + estimate.LOST_AFTER_S) == 20.0


def test_an_estimate_never_spends_a_window() -> None:
    assert figure(*LEARNED, ended(Tokens(input=1_000_000))) == estimate.CEILING
    spent = (*LEARNED, read(100.0, NOW + 400), ended())
    assert figure(*spent) == 100.0


def test_a_scoped_window_counts_its_family_alone() -> None:
    opus = {"name": "seven_day_opus", "scope": "opus"}
    events = (read(10.0, **opus), ended(), ended(model=OPUS), read(11.0, NOW + 300, **opus))
    assert known(*events).costs["seven_day_opus"] == Cost(1.0, 1000.0, NOW + 300)
    assert figure(*events, ended()) == 11.0
    assert figure(*events, ended(model=OPUS)) == pytest.approx(12.0)


@pytest.mark.parametrize(
    "second",
    [
        read(3.0, NOW + 300),
        read(11.0, NOW + 300, resets_at=NOW + WEEK),
        read(11.0, NOW + 300, resets_at=None),
        read(11.0, NOW + estimate.LEARNED_OVER_S + 1),
        read(11.0, NOW - 1),
    ],
    ids=["it fell", "another run", "no reset", "hours apart", "an older one"],
)
def test_readings_that_do_not_compare_teach_nothing(second: UsageRead) -> None:
    assert known(read(10.0), ended(), second).costs == {}


def test_noise_that_goes_up_and_down_leaves_the_cost_as_it_is() -> None:
    events = [read(10.0)]
    for step, noise in enumerate((2.0, -2.0, 1.0, 0.0), 1):
        events += [ended(), read(10.0 + step + noise, NOW + 60 * step)]
    cost = known(*events).costs["seven_day"]
    assert cost.percent / cost.units == pytest.approx(0.001)


def test_a_reading_without_tokens_between_teaches_nothing() -> None:
    assert known(read(10.0), read(11.0, NOW + 300)).costs == {}
    assert known(*LEARNED, read(25.0, NOW + 600)).costs == known(*LEARNED).costs


def test_a_jump_that_others_made_is_not_held_against_our_tokens() -> None:
    after = known(*LEARNED, ended(), read(80.0, NOW + 600)).costs["seven_day"]
    assert after == Cost(10.0 + estimate.JUMP + estimate.UNSURE, 11_000.0, NOW + 600)


def test_old_readings_fade() -> None:
    events = [read(0.0)]
    for step in range(1, 9):
        events += [ended(), read(10.0 * step, NOW + 60 * step)]
    cost = known(*events).costs["seven_day"]
    assert cost.percent == pytest.approx(estimate.REMEMBERED + 10.0)
    assert cost.percent / cost.units == pytest.approx(0.01)


def test_each_process_counts_alone_and_their_sum_is_what_passed() -> None:
    ours, theirs = State(), State()
    for event in LEARNED:
        ours, theirs = apply(ours, event), apply(theirs, event)
    ours = apply(apply(ours, ended(writer="0")), ended(writer="0"))
    theirs = apply(theirs, ended(writer="1"))
    for merged in (merge(ours, theirs), merge(theirs, ours), merge(merge(ours, theirs), theirs)):
        [window] = estimate.carried(merged.of(ME), NOW + 600)
        assert window.used_percent == pytest.approx(23.0)


_TOKENS = st.builds(Tokens, input=st.integers(0, 10**6), output=st.integers(0, 10**5))
_EVENTS = st.lists(
    st.builds(ended, _TOKENS)
    | st.builds(read, st.floats(0, 130), st.floats(NOW, NOW + 7200))
    | st.builds(lambda at: RequestSent(ME, at), st.floats(NOW, NOW + 7200)),
    max_size=30,
)


@given(_EVENTS, st.floats(NOW, NOW + WEEK))
def test_an_estimate_is_never_below_its_reading_and_never_spent(
    events: list[object], now: float
) -> None:
    state = known(*events)
    for window in estimate.carried(state, now):
        held = state.windows[window.name]
        assert window.used_percent >= held.used_percent
        assert window.used_percent <= max(held.used_percent, estimate.CEILING)
        assert 0.0 <= window.confidence <= 1.0
        assert (window.source is Source.ESTIMATE) is (window != held)
