"""What the policy makes of candidates beyond their pace: modes, reserves, pins, what is unknown."""

from dataclasses import replace

import pytest

from core.model import (
    Account,
    AccountKind,
    AccountState,
    Ask,
    Candidate,
    Decision,
    Mode,
    NoRoute,
    Policy,
    Price,
    Refusal,
    Route,
    Schedule,
    Source,
    Speed,
    Standing,
    State,
    Unknown,
    Window,
    Wire,
)
from core.routing import EXPLORE_EVERY_S, MOVE, TOKENS_PER_POINT, WORTH_PAYING, decide
from core.scalars import working_spans
from core.worktime import DAY

NOW = 1_795_000_000.0
HOUR = 3600.0
FIVE_HOURS, WEEK, MONTH = 5 * HOUR, 168 * HOUR, 720 * HOUR
ASK = Ask(Wire.MESSAGES, "m", session="s")


def window(name: str, used: float, elapsed: float, duration: float, **more: object) -> Window:
    resets_at = NOW + duration * (100 - elapsed) / 100
    return replace(Window(name, used, resets_at, duration, Source.HEADER, NOW), **more)


def week(used: float, elapsed: float = 50, **more: object) -> Window:
    return window("seven_day", used, elapsed, WEEK, **more)


def five_hours(used: float, elapsed: float = 50, **more: object) -> Window:
    return window("five_hour", used, elapsed, FIVE_HOURS, **more)


def candidate(name: str, **more: object) -> Candidate:
    kind = AccountKind.METERED if name.startswith("key") else AccountKind.SUBSCRIPTION
    return replace(Candidate(name, "m", Account(name, "me", kind)), **more)


A, B, C, KEY = (candidate(name) for name in ("a", "b", "c", "key"))


def state(tried: float | None = NOW, **windows: tuple[Window, ...]) -> State:
    return State(
        {
            f"{name}/me": AccountState(
                {w.name: w for w in windows.get(name, ())}, explored_at=tried
            )
            for name in ("a", "b", "c", "key", "key2")
        }
    )


def chosen(decision: Decision) -> str | None:
    return decision.candidate.provider if isinstance(decision, Route) else None


def whys(decision: Decision) -> dict[str, str]:
    return {v.candidate.provider: v.why for v in decision.verdicts}


# What is kept back, and what is paid for


def test_a_reserve_excludes_from_there_on() -> None:
    kept = replace(A, reserve={"five_hour": 10.0})
    below, at = state(a=(five_hours(89.9),)), state(a=(five_hours(90),))
    assert chosen(decide(ASK, [kept], below, NOW)) == "a"
    decision = decide(ASK, [kept], at, NOW)
    assert isinstance(decision, NoRoute)
    assert decision.refusal is Refusal.EXHAUSTED
    assert whys(decision) == {"a": "five_hour is down to its reserve of 10%, resets in 2 h 30 min"}


def test_beyond_a_spent_window_nothing_is_paid_without_consent() -> None:
    known = state(a=(week(100, overage=True),))
    decision = decide(ASK, [A], known, NOW)
    assert isinstance(decision, NoRoute)
    assert whys(decision)["a"] == (
        "seven_day is spent, resets in 3 d 12 h; "
        "what lies beyond costs money and needs `overage: true`"
    )


def test_with_consent_it_is_paid_for_after_every_subscription() -> None:
    paying = replace(A, overage=True)
    known = state(a=(week(100, overage=True),), b=(week(99, 10),))
    assert chosen(decide(ASK, [paying, B], known, NOW)) == "b"
    alone = decide(ASK, [paying], known, NOW)
    assert (chosen(alone), alone.reason) == ("a", "a: pays for what lies beyond seven_day")


@pytest.mark.parametrize("other", [five_hours(100), five_hours(100, overage=False)])
def test_consent_does_not_help_where_the_account_does_not_go_on(other: Window) -> None:
    known = state(a=(week(100, overage=True), other))
    assert chosen(decide(ASK, [replace(A, overage=True)], known, NOW)) is None


# Pins


def test_a_pin_leaves_one() -> None:
    known = state(a=(week(90),), b=(week(0),))
    decision = decide(ASK, [A, B], known, NOW, Policy(pin="a"))
    assert chosen(decision) == "a"
    assert whys(decision)["b"] == "a is pinned"


def test_a_pin_on_a_spent_account_is_not_passed_over() -> None:
    known = state(a=(week(100),), b=(week(0),))
    decision = decide(ASK, [A, B], known, NOW, Policy(pin="a"))
    assert isinstance(decision, NoRoute)
    assert (decision.refusal, decision.relief_at) == (Refusal.EXHAUSTED, NOW + WEEK / 2)


# What is unknown


@pytest.mark.parametrize(
    ("unknown", "headroom", "ahead"),
    [(Unknown.MIDDLE, "b", "a"), (Unknown.LAST, "b", "b"), (Unknown.EXCLUDE, "b", "b")],
)
def test_where_an_unknown_account_ranks(unknown: Unknown, headroom: str, ahead: str) -> None:
    policy = Policy(unknown=unknown)
    assert chosen(decide(ASK, [A, B], state(b=(week(40),)), NOW, policy)) == headroom
    assert chosen(decide(ASK, [A, B], state(b=(week(60),)), NOW, policy)) == ahead


def test_an_excluded_unknown_account_does_not_serve_even_alone() -> None:
    decision = decide(ASK, [A], state(), NOW, Policy(unknown=Unknown.EXCLUDE))
    assert isinstance(decision, NoRoute)
    assert decision.refusal is Refusal.UNAVAILABLE
    assert whys(decision) == {"a": "usage unknown, which the policy excludes"}


def test_an_unknown_account_is_tried_by_one_session_in_a_while() -> None:
    never, lately = state(None, b=(week(10),)), state(NOW - 1, b=(week(10),))
    decision = decide(ASK, [A, B], never, NOW)
    assert isinstance(decision, Route)
    assert (chosen(decision), decision.explores) == ("a", True)
    assert decision.reason == "explores a: usage unknown, and its answer may tell"
    assert chosen(decide(ASK, [A, B], lately, NOW)) == "b"
    again = state(NOW - EXPLORE_EVERY_S, b=(week(10),))
    assert chosen(decide(ASK, [A, B], again, NOW)) == "a"


@pytest.mark.parametrize(
    ("ask", "policy", "standing"),
    [
        (replace(ASK, tool_loop=True), Policy(), None),
        (ASK, Policy(), Standing("b/me")),
        (ASK, Policy(unknown=Unknown.EXCLUDE), None),
        (ASK, Policy({Mode.DRAIN: 1.0}), None),
    ],
    ids=["in a tool loop", "in mid-conversation", "excluded", "another mode"],
)
def test_nothing_is_explored(ask: Ask, policy: Policy, standing: Standing | None) -> None:
    known = state(None, b=(week(10),))
    decision = decide(ask, [A, B], known, NOW, policy, standing=standing)
    assert (chosen(decision), getattr(decision, "explores", None)) == ("b", False)


def test_a_key_is_not_explored_for_it_costs_money() -> None:
    assert chosen(decide(ASK, [KEY, B], state(None, b=(week(90),)), NOW)) == "b"


# Metered accounts


def test_a_budget_competes_by_its_pace_where_it_may() -> None:
    spent_little = window("budget", 10, 50, MONTH, source=Source.DECLARED)
    known = state(b=(week(45),), key=(spent_little,))
    assert chosen(decide(ASK, [KEY, B], known, NOW)) == "b"
    assert chosen(decide(ASK, [KEY, B], known, NOW, Policy(metered_by_budget=True))) == "key"
    without = state(b=(week(45),))
    assert chosen(decide(ASK, [KEY, B], without, NOW, Policy(metered_by_budget=True))) == "b"


# Modes


def test_drain_takes_what_resets_soonest() -> None:
    known = state(a=(week(10, 20),), b=(week(80, 70),), c=())
    assert chosen(decide(ASK, [C, A, B], known, NOW, Policy({Mode.DRAIN: 1.0}))) == "b"


PRICES = {"dear": Price(15, 75, 1.5, 18.75), "cheap": Price(3, 15, 0.3, 3.75)}


def test_cheapest_takes_what_is_paid_already_then_the_lowest_price_then_what_has_none() -> None:
    policy = Policy({Mode.CHEAPEST: 1.0})
    dear = candidate("key", price=PRICES["dear"])
    cheap = candidate("key2", price=PRICES["cheap"])
    unpriced = candidate("key3")
    known = state(a=(week(99, 10),))
    decision = decide(ASK, [unpriced, dear, cheap, A], known, NOW, policy)
    order = [v.candidate.provider for v in decision.verdicts]
    assert order == ["a", "key2", "key", "key3"]
    assert whys(decision)["key2"].endswith("; 3 and 15 USD per million tokens")
    assert whys(decision)["key3"].endswith("; price unknown")
    assert whys(decision)["a"].endswith("; costs nothing more")


def speed(first: float, at: float = NOW) -> Speed:
    return Speed(first, 60.0, 0.1, at)


def test_fastest_takes_who_answers_soonest() -> None:
    policy = Policy({Mode.FASTEST: 1.0})
    slow, quick = replace(A, speed=speed(4.0)), replace(B, speed=speed(1.0))
    known = state(a=(week(10),), b=(week(90),))
    decision = decide(ASK, [slow, quick], known, NOW, policy)
    assert chosen(decision) == "b"
    assert whys(decision)["b"].endswith("; first token in 1.0 s, 60 tokens/s")


def test_fastest_tries_whom_it_does_not_know_and_forgives_a_slow_minute() -> None:
    policy = Policy({Mode.FASTEST: 1.0})
    known = state(a=(week(10),), b=(week(10),))
    quick = replace(B, speed=speed(1.0))
    assert chosen(decide(ASK, [A, quick], known, NOW, policy)) == "a"
    slow_once = replace(A, speed=speed(2.0, NOW - 60))
    assert chosen(decide(ASK, [slow_once, quick], known, NOW, policy)) == "b"
    long_ago = replace(A, speed=speed(2.0, NOW - 2 * HOUR))
    assert chosen(decide(ASK, [long_ago, quick], known, NOW, policy)) == "a"


def test_priority_takes_the_first_that_can_serve_whatever_its_pace() -> None:
    policy = Policy({Mode.PRIORITY: 1.0})
    known = state(a=(week(99, 10),), b=(week(0),))
    assert chosen(decide(ASK, [KEY, A, B], known, NOW, policy)) == "key"
    assert chosen(decide(ASK, [A, KEY, B], known, NOW, policy)) == "a"
    spent = state(a=(week(100),))
    assert chosen(decide(ASK, [A, KEY, B], spent, NOW, policy)) == "key"


def test_weights_blend_modes() -> None:
    ahead, slow = replace(A, speed=speed(1.0)), replace(B, speed=speed(3.0))
    known = state(a=(week(49),), b=(week(40),))
    by = {
        weight: chosen(
            decide(ASK, [ahead, slow], known, NOW, Policy({Mode.PACE: weight, Mode.FASTEST: 1.0}))
        )
        for weight in (0.1, 100.0)
    }
    assert by == {0.1: "a", 100.0: "b"}


# Working hours


def test_working_hours_are_what_elapses() -> None:
    spans = working_spans("mon-fri 9-19")
    assert spans is not None
    policy = replace(Policy(), schedule=Schedule(spans))
    friday_evening = 1_795_000_000.0 // (7 * DAY) * 7 * DAY + 4 * DAY + 4 * DAY + 20 * HOUR
    monday = friday_evening + 2 * DAY + 4 * HOUR
    ends_monday = Window("seven_day", 80, monday, WEEK, Source.HEADER, friday_evening)
    known = State({"a/me": AccountState({"seven_day": ends_monday})})
    by_clock = decide(ASK, [A], known, friday_evening)
    by_hours = decide(ASK, [A], known, friday_evening, policy)
    assert by_clock.verdicts[0].windows[0].elapsed_percent == pytest.approx(100 * 116 / 168)
    assert by_hours.verdicts[0].windows[0].elapsed_percent == pytest.approx(100.0)
    assert by_hours.reason == (
        "a: seven_day 80.0% used, 20.0 points behind pace, resets in 2 d 4 h"
    )


# Conversations

APART = state(a=(week(95),), b=(week(0),))
GAP = 100 * (1 - 5 / 50) + 3 * 5 - 100 * (1 - 2)
"""B is so many points better for a new conversation: as far apart as two can be, nearly."""


def held(cached: int, until: float = NOW + 60) -> Decision:
    return decide(ASK, [A, B], APART, NOW, standing=Standing("a/me", cached, until))


def test_a_conversation_stays_where_its_cache_outweighs_the_gain() -> None:
    enough = int((GAP - MOVE) * TOKENS_PER_POINT)
    stays, moves = held(enough + 1), held(enough - 1)
    assert isinstance(stays, Route)
    assert (chosen(stays), stays.veto) == ("a", True)
    assert stays.reason == f"stays on a: {enough + 1:,} cached tokens outweigh 205.0 points of pace"
    assert (chosen(moves), getattr(moves, "veto", None)) == ("b", False)


def test_a_cache_that_has_lapsed_holds_nothing() -> None:
    assert chosen(held(1_000_000, NOW)) == "b"


def test_a_small_gain_is_not_worth_a_move_even_without_a_cache() -> None:
    known = state(a=(week(90),), b=(week(50),))
    decision = decide(ASK, [A, B], known, NOW, standing=Standing("a/me"))
    assert chosen(decide(ASK, [A, B], known, NOW)) == "b"
    assert decision.reason == "stays on a: 80.0 points of pace are not worth a move"


def test_without_stickiness_a_conversation_goes_where_it_is_best() -> None:
    policy = Policy(sticky=False)
    standing = Standing("a/me", 1_000_000, NOW + 60)
    assert chosen(decide(ASK, [A, B], APART, NOW, policy, standing=standing)) == "b"


def test_a_conversation_leaves_a_key_for_a_subscription() -> None:
    known = state(b=(week(90),))
    cached = [(WORTH_PAYING - 1, NOW + 60), (WORTH_PAYING, NOW), (WORTH_PAYING, NOW + 60)]
    found = [decide(ASK, [KEY, B], known, NOW, standing=Standing("key/me", *it)) for it in cached]
    assert [chosen(it) for it in found] == ["b", "b", "key"]
    assert found[2].reason == "stays on key: 20,000 cached tokens are worth paying for"


def test_sub_agents_spread() -> None:
    even = state(a=(week(50),), b=(week(50),))
    busy = replace(even.of(A.account), in_flight=(NOW, NOW))  # type: ignore[arg-type]
    known = State({**even.accounts, "a/me": busy})
    assert chosen(decide(ASK, [A, B], known, NOW)) == "a"
    assert chosen(decide(replace(ASK, subagent=True), [A, B], known, NOW)) == "b"


# Early, and nearly spent


def test_early_in_a_window_that_it_is_behind_says_little() -> None:
    known = state(a=(week(0, 4),), b=(week(47, 50),))
    assert chosen(decide(ASK, [A, B], known, NOW)) == "b"
    used = state(a=(week(30, 4),), b=(week(60, 50),))
    assert chosen(decide(ASK, [A, B], used, NOW)) == "b", "what was used early is used"


def test_a_short_window_weighs_when_it_is_nearly_spent() -> None:
    known = state(a=(week(40), five_hours(95)), b=(week(42), five_hours(50)))
    decision = decide(ASK, [A, B], known, NOW)
    assert chosen(decision) == "b"
    assert whys(decision)["a"].endswith(", 5.0% left of five_hour")


def test_a_decision_is_told_only_when_asked_and_then_once() -> None:
    decision = decide(ASK, [A, B], APART, NOW)
    assert decision.verdicts is decision.verdicts
