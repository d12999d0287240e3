from dataclasses import replace
from datetime import UTC, datetime
from itertools import accumulate

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from core.explain import span
from core.model import (
    Account,
    AccountKind,
    AccountState,
    Ask,
    Candidate,
    Decision,
    NoRoute,
    Policy,
    Refusal,
    Route,
    Source,
    Standing,
    State,
    Verdict,
    Week,
    Window,
    WindowView,
    Wire,
)
from core.pace import view
from core.routing import decide
from core.simulator import SCENARIOS, Scenario
from core.simulator.scenario import month_bounds, open_meters
from core.standing import TIE

NOW = 1_795_000_000.0
HOUR = 3600.0
FIVE_HOURS, WEEK, MONTH = 5 * HOUR, 168 * HOUR, 720 * HOUR
ASK = Ask(Wire.MESSAGES, "claude-sonnet-4-5")
LOOP = replace(ASK, session="s", tool_loop=True)


def window(
    name: str, used: float, elapsed: float, duration: float, scope: str | None = None
) -> Window:
    resets_at = NOW + duration * (100 - elapsed) / 100
    return Window(name, used, resets_at, duration, Source.HEADER, NOW, scope)


def five_hours(used: float, elapsed: float) -> Window:
    return window("five_hour", used, elapsed, FIVE_HOURS)


def week(used: float, elapsed: float, scope: str | None = None) -> Window:
    name = "seven_day" if scope is None else f"seven_day_{scope}"
    return window(name, used, elapsed, WEEK, scope)


def month(used: float, elapsed: float) -> Window:
    return window("month", used, elapsed, MONTH)


def session(used: float, resets_in: float | None) -> Window:
    resets_at = None if resets_in is None else NOW + resets_in
    return Window("session", used, resets_at, None, Source.HEADER, NOW)


def candidate(
    name: str,
    kind: AccountKind = AccountKind.SUBSCRIPTION,
    problem: str | None = None,
    model: str = "claude-sonnet-4-5",
) -> Candidate:
    return Candidate(name, model, Account(name, "me", kind), problem)


A, B, C = candidate("a"), candidate("b"), candidate("c")
KEY = candidate("key", AccountKind.METERED)
UNSIGNED = Candidate("z", "claude-sonnet-4-5", None, "no credential")


def held(account: str | None) -> Standing | None:
    return None if account is None else Standing(account)


def state(**windows: tuple[Window, ...]) -> State:
    """All of them were tried lately: nothing is to be explored."""
    known = {name: windows.get(name, ()) for name in {*windows, "a", "b", "c", "d", "key"}}
    return State(
        {
            f"{name}/me": AccountState({w.name: w for w in it}, explored_at=NOW)
            for name, it in known.items()
        }
    )


def ranking(decision: Decision) -> str:
    """The providers in order; those that cannot serve in brackets."""
    names = [(v.candidate.provider, v.available) for v in decision.verdicts]
    return " ".join(name if available else f"({name})" for name, available in names)


def chosen(decision: Decision) -> str | None:
    return decision.chosen.candidate.provider if isinstance(decision, Route) else None


TABLE = {
    "what resets sooner is used first": ({"a": [week(60, 40)], "b": [week(80, 70)]}, "b a"),
    "but what is left counts for more": ({"a": [week(20, 40)], "b": [week(95, 70)]}, "a b"),
    "of two as good the five hours that reset sooner": (
        {"a": [five_hours(20, 30), week(40, 40)], "b": [five_hours(60, 80), week(40, 40)]},
        "b a",
    ),
    "the lowest score wins": ({"a": [week(60, 40)], "b": [week(50, 40)]}, "b a"),
    "behind pace beats on pace": ({"a": [week(40, 40)], "b": [week(10, 40)]}, "b a"),
    "the longest window scores, a good one": (
        {"a": [five_hours(99, 1), week(10, 60)], "b": [month(50, 60)]},
        "a b",
    ),
    "the longest window scores, a bad one": (
        {"a": [five_hours(0, 99), week(70, 60)], "b": [week(60, 60)]},
        "b a",
    ),
    "of a month and a week the month": (
        {"a": [week(0, 90), month(60, 50)], "b": [week(80, 50), month(59, 50)]},
        "b a",
    ),
    "of two as long the one further ahead": (
        {"a": [week(0, 50), week(70, 50, "sonnet")], "b": [week(65, 50)]},
        "b a",
    ),
    "a spent short window excludes": (
        {"a": [five_hours(100, 70), week(0, 60)], "b": [month(90, 10)]},
        "b (a)",
    ),
    "a spent long window excludes": ({"a": [week(100, 99)], "b": [month(99, 1)]}, "b (a)"),
    "above 100 excludes": ({"a": [week(101, 99)], "b": [month(99, 1)]}, "b (a)"),
    "just below 100 does not": ({"a": [week(99.99, 100 - 1e-3)], "b": [month(50, 40)]}, "a b"),
    "unknown is behind headroom": ({"b": [week(49.9, 50)]}, "b a"),
    "unknown is behind what is on pace": ({"b": [week(50, 50)]}, "b a"),
    "unknown is ahead of ahead-of-pace": ({"b": [week(50.5, 50)]}, "a b"),
    "unknown is not zero": ({"a": [], "b": [week(0, 50)]}, "b a"),
    "no windows is unknown": ({"a": [], "b": [week(60, 50)]}, "a b"),
    "two unknown keep their order": ({}, "a b"),
    "a window that has not begun is on pace": (
        {"a": [week(70, 50)], "b": [Window("w", 0, None, WEEK, Source.ENDPOINT, NOW)]},
        "b a",
    ),
    "a long window without its reset is unknown, whatever a shorter one says": (
        {
            "a": [five_hours(1, 80), Window("w", 99, None, WEEK, Source.HEADER, NOW)],
            "b": [week(49, 50)],
        },
        "b a",
    ),
    # 50/60 against 10/20, both 10 ahead (DESIGN §6)
    "a tie goes to the larger remaining by time left": (
        {"a": [week(90, 80)], "b": [week(50, 40)]},
        "b a",
    ),
    "also behind pace": ({"a": [week(10, 20)], "b": [week(70, 80)]}, "b a"),
    "an exact tie goes by the order": ({"a": [week(50, 40)], "b": [month(50, 40)]}, "a b"),
    "less than a hundredth of a point is a tie": (
        {"a": [week(50.005, 40)], "b": [week(50, 40)]},
        "a b",
    ),
    "more is none": ({"a": [week(50.02, 40)], "b": [week(50, 40)]}, "b a"),
    "a window without a length is not scored": (
        {"a": [session(90, HOUR)], "b": [week(50.5, 50)]},
        "a b",
    ),
    "a window without a length does not outweigh one": (
        {"a": [session(1, HOUR), week(60, 50)], "b": [week(55, 50)]},
        "b a",
    ),
    "a spent window without a length excludes": (
        {"a": [session(100, HOUR), month(0, 50)], "b": [week(99, 1)]},
        "b (a)",
    ),
    "also one that names no reset": (
        {"a": [session(100, None), month(0, 50)], "b": [week(99, 1)]},
        "b (a)",
    ),
    "another model's window does not exclude": (
        {"a": [week(10, 50), week(100, 50, "opus")], "b": [week(20, 50)]},
        "a b",
    ),
    "nor is it scored": (
        {"a": [week(10, 50), week(99, 1, "opus")], "b": [week(20, 50)]},
        "a b",
    ),
}


@pytest.mark.parametrize("case", TABLE)
def test_two_subscriptions(case: str) -> None:
    windows, expected = TABLE[case]
    known = state(**{name: tuple(it) for name, it in windows.items()})
    decision = decide(ASK, [A, B], known, NOW)
    assert ranking(decision) == expected
    assert chosen(decision) == expected.partition(" ")[0]


@pytest.mark.parametrize("duration", [FIVE_HOURS, None])
def test_a_spent_window_excludes_until_it_resets_and_no_longer(duration: float | None) -> None:
    spent = Window("w", 100, NOW + 60, duration, Source.HEADER, NOW)
    known = state(a=(spent, week(0, 50)), b=(week(60, 50),))
    assert ranking(decide(ASK, [A, B], known, NOW + 59.9)) == "b (a)"
    assert ranking(decide(ASK, [A, B], known, NOW + 60)) == "a b"


METERED = {
    "far ahead of pace": {"a": (week(99, 1),)},
    "unknown": {},
    "with headroom": {"a": (week(0, 99),)},
}


@pytest.mark.parametrize("case", METERED)
@pytest.mark.parametrize("order", [[KEY, A], [A, KEY]], ids=["key first", "key last"])
def test_metered_comes_after_every_subscription_that_can_serve(
    case: str, order: list[Candidate]
) -> None:
    assert ranking(decide(ASK, order, state(**METERED[case]), NOW)) == "a key"


def test_metered_with_headroom_is_still_money() -> None:
    known = state(a=(week(99, 1),), key=(week(0, 99),))
    assert ranking(decide(ASK, [KEY, A], known, NOW)) == "a key"


def test_metered_serves_when_nobody_else_can() -> None:
    known = state(a=(week(100, 1),))
    broken = replace(B, problem="expired")
    decision = decide(ASK, [A, KEY, broken], known, NOW)
    assert ranking(decision) == "key (a) (b)"
    assert isinstance(decision, Route)
    assert decision.chosen.why == "pay per token, after every subscription"


def test_metered_accounts_rank_among_themselves_like_the_others() -> None:
    keys = [candidate(name, AccountKind.METERED) for name in ("ahead", "unknown", "behind")]
    known = state(ahead=(week(90, 10),), behind=(week(10, 90),))
    decision = decide(ASK, keys, known, NOW)
    assert ranking(decision) == "behind unknown ahead"
    assert [v.why for v in decision.verdicts] == [
        "pay per token, seven_day 10.0% used, 80.0 points behind pace, resets in 16 h 48 min",
        "pay per token, after every subscription",
        "pay per token, seven_day 90.0% used, 80.0 points ahead of pace, resets in 6 d 7 h",
    ]


@pytest.mark.parametrize(
    ("virtual", "spelled", "winner"),
    [
        ("claude-opus-4-5", "claude-opus-4-5", "b"),
        ("claude-sonnet-4-5", "claude-sonnet-4-5", "a"),
        # The virtual model may be called anything: what the provider serves is what is limited.
        ("smart", "claude-opus-4-5", "b"),
        ("opus-or-so", "claude-sonnet-4-5", "a"),
    ],
)
def test_the_week_of_opus_excludes_opus_alone(virtual: str, spelled: str, winner: str) -> None:
    known = state(a=(week(10, 50), week(100, 50, "opus")), b=(month(60, 50),))
    both = [candidate("a", model=spelled), candidate("b", model=spelled)]
    decision = decide(replace(ASK, model=virtual), both, known, NOW)
    assert chosen(decision) == winner


# In a tool loop


WORSE = state(a=(week(10, 90),), b=(five_hours(99, 1), week(99, 1)))


def test_in_a_tool_loop_a_session_stays_though_another_has_more_headroom() -> None:
    decision = decide(LOOP, [A, B], WORSE, NOW, standing=Standing("b/me"))
    assert isinstance(decision, Route)
    assert decision.reason == "stays on b: in the middle of a tool loop"
    assert (decision.account, ranking(decision)) == (B.account, "a b")
    assert decision.chosen is decision.verdicts[1]


def test_outside_a_tool_loop_it_moves() -> None:
    assert (
        chosen(
            decide(replace(LOOP, tool_loop=False), [A, B], WORSE, NOW, standing=Standing("b/me"))
        )
        == "a"
    )


def test_on_metered_it_stays_too() -> None:
    known = state(a=(week(0, 99),))
    assert chosen(decide(LOOP, [A, KEY], known, NOW, standing=Standing("key/me"))) == "key"


@pytest.mark.parametrize(
    ("second", "windows"),
    [
        (B, (five_hours(100, 1), week(0, 99))),
        (replace(B, problem="the sign-in has expired"), (week(0, 99),)),
        (replace(B, account=None), ()),
        (replace(B, account=Account("b", "another", AccountKind.SUBSCRIPTION)), ()),
    ],
    ids=["exhausted", "with a problem", "signed out", "another sign-in"],
)
def test_it_leaves_an_account_that_cannot_go_on(
    second: Candidate, windows: tuple[Window, ...]
) -> None:
    known = state(a=(week(0, 90),), b=windows)
    assert chosen(decide(LOOP, [A, second], known, NOW, standing=Standing("b/me"))) == "a"


@pytest.mark.parametrize("incumbent", [None, "gone/me", ""])
def test_a_tool_loop_without_an_account_is_decided_afresh(incumbent: str | None) -> None:
    assert chosen(decide(LOOP, [A, B], WORSE, NOW, standing=held(incumbent))) == "a"


# What is said


def test_the_decision_is_told_whole() -> None:
    spent, quiet, busy = five_hours(100, 70), week(10, 60), month(60, 50)
    opus = week(100, 50, "opus")
    closed = replace(C, problem="does not speak openai-chat")
    known = state(a=(spent, quiet, opus), b=(busy,), c=(week(20, 50),))
    seen = {w.name + w.source: view(w, NOW) for w in (spent, quiet, busy)}
    views = list(seen.values())
    a = Verdict(
        A, False, pytest.approx(-83.0), (views[0], views[1]), "five_hour is spent, resets in 1 h 30 min",
        NOW + 1.5 * HOUR,
    )  # fmt: skip
    why = "month 60.0% used, 10.0 points ahead of pace, resets in 15 d 0 h"
    b = Verdict(B, True, pytest.approx(75.0), (views[2],), why)
    c = Verdict(
        closed, False, pytest.approx(-32.5), (view(week(20, 50), NOW),), "does not speak openai-chat"
    )  # fmt: skip
    z = Verdict(UNSIGNED, False, None, (), "no credential")
    decision = decide(ASK, [A, UNSIGNED, B, closed], known, NOW)
    assert isinstance(decision, Route)
    assert (decision.candidate, decision.chosen) == (B, b)
    assert decision.verdicts == (b, a, z, c)
    assert decision.reason == (
        "b: month 60.0% used, 10.0 points ahead of pace, resets in 15 d 0 h; "
        "a: five_hour is spent, resets in 1 h 30 min; z: no credential; "
        "c: does not speak openai-chat"
    )


def test_a_candidate_without_an_account_needs_no_words_of_its_own() -> None:
    decision = decide(ASK, [replace(UNSIGNED, problem=None)], State(), NOW)
    assert decision.verdicts[0].why == "no credential"


@pytest.mark.parametrize(
    ("windows", "why"),
    [
        ((), "usage unknown"),
        ((session(40, HOUR),), "usage unknown"),
        ((week(50, 50),), "seven_day 50.0% used, on pace, resets in 3 d 12 h"),
        ((week(50.04, 50),), "seven_day 50.0% used, on pace, resets in 3 d 12 h"),
        (
            (week(50.06, 50),),
            "seven_day 50.1% used, 0.1 points ahead of pace, resets in 3 d 12 h",
        ),
        (
            (week(30, 50),),
            "seven_day 30.0% used, 20.0 points behind pace, resets in 3 d 12 h",
        ),
        (
            (five_hours(90, 1), week(30, 50)),
            "seven_day 30.0% used, 20.0 points behind pace, resets in 3 d 12 h",
        ),
        (
            (five_hours(95, 1), week(30, 50)),
            (
                "seven_day 30.0% used, 20.0 points behind pace, resets in 3 d 12 h, "
                "5.0% left of five_hour"
            ),
        ),
    ],
)
def test_why_one_can_serve(windows: tuple[Window, ...], why: str) -> None:
    decision = decide(ASK, [A], state(a=windows), NOW)
    assert isinstance(decision, Route)
    assert (decision.chosen.why, decision.reason) == (why, f"a: {why}")


@pytest.mark.parametrize(
    ("windows", "why", "relief"),
    [
        ((week(100, 50),), "seven_day is spent, resets in 3 d 12 h", NOW + WEEK / 2),
        (
            (five_hours(100, 50), week(120, 50)),
            "five_hour and seven_day are spent, resets in 3 d 12 h",
            NOW + WEEK / 2,
        ),
        ((session(100, 40), week(1, 1)), "session is spent, resets in 40 s", NOW + 40),
        ((session(100, None),), "session is spent, resets in 1 h 0 min", NOW + HOUR),
    ],
)
def test_why_one_cannot_serve(windows: tuple[Window, ...], why: str, relief: float) -> None:
    decision = decide(ASK, [A], state(a=windows), NOW)
    assert isinstance(decision, NoRoute)
    verdict = decision.verdicts[0]
    assert (verdict.available, verdict.why) == (False, why)
    assert verdict.relief_at == pytest.approx(relief)


def test_a_reason_is_one_ascii_sentence_whatever_it_quotes() -> None:
    bad = replace(B, problem="the sign-in in /home/josé/\r\nx: y\x1b[0m has expired")
    both = decide(ASK, [A, bad], State(), NOW)
    none = decide(ASK, [bad], State(), NOW)
    spent = decide(ASK, [A, bad], state(a=(week(100, 1),)), NOW)
    assert both.reason.endswith("b: the sign-in in /home/jos?/??x: y?[0m has expired")
    for decision in (both, none, spent):
        assert decision.reason.isascii()
        assert decision.reason.isprintable()


# Nobody


def test_nobody_serves_because_all_are_spent() -> None:
    known = state(a=(five_hours(100, 70), week(0, 1)), b=(month(100, 50),))
    decision = decide(ASK, [A, UNSIGNED, B], known, NOW)
    relief = NOW + 1.5 * HOUR
    when = datetime.fromtimestamp(relief, UTC).strftime("%Y-%m-%d %H:%M UTC")
    assert isinstance(decision, NoRoute)
    assert (decision.refusal, decision.relief_at) == (Refusal.EXHAUSTED, relief)
    assert decision.reason == (
        f"every provider's quota is spent, earliest relief in 1 h 30 min ({when}): "
        "a: five_hour is spent, resets in 1 h 30 min; z: no credential; "
        "b: month is spent, resets in 15 d 0 h"
    )
    assert ranking(decision) == "(a) (z) (b)"


def test_relief_is_when_all_of_an_accounts_spent_windows_have_reset() -> None:
    known = state(a=(five_hours(100, 70), week(100, 50)), b=(month(100, 99.9),))
    decision = decide(ASK, [A, B], known, NOW)
    assert isinstance(decision, NoRoute)
    assert decision.relief_at == pytest.approx(NOW + MONTH / 1000)


def test_an_account_with_a_problem_brings_no_relief() -> None:
    known = state(a=(week(100, 50),), b=(month(100, 99.9),))
    decision = decide(ASK, [A, replace(B, problem="expired")], known, NOW)
    assert isinstance(decision, NoRoute)
    assert decision.refusal is Refusal.EXHAUSTED
    assert decision.relief_at == pytest.approx(NOW + WEEK / 2)


@pytest.mark.parametrize(
    ("candidates", "reason"),
    [
        ([], "no provider can serve this model: "),
        ([UNSIGNED], "no provider can serve this model: z: no credential"),
        (
            [replace(A, problem="expired"), UNSIGNED],
            "no provider can serve this model: a: expired; z: no credential",
        ),
    ],
)
def test_nobody_serves_because_none_can(candidates: list[Candidate], reason: str) -> None:
    known = state(a=(week(100, 50),))
    decision = decide(LOOP, candidates, known, NOW, standing=Standing("a/me"))
    assert isinstance(decision, NoRoute)
    assert (decision.refusal, decision.reason) == (Refusal.UNAVAILABLE, reason)
    assert decision.relief_at is None
    assert len(decision.verdicts) == len(candidates)


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (-5, "0 s"),
        (0.4, "0 s"),
        (59.4, "59 s"),
        (59.6, "1 min"),
        (3599, "59 min"),
        (3600, "1 h 0 min"),
        (86399, "23 h 59 min"),
        (86400, "1 d 0 h"),
        (14 * 86400 + 7200, "14 d 2 h"),
    ],
)
def test_spans_in_words(seconds: float, words: str) -> None:
    assert span(seconds) == words


# The scenarios

INSTANTS = [
    datetime(2026, 9, 1, tzinfo=UTC),
    datetime(2026, 9, 1, 0, 0, 1, tzinfo=UTC),
    datetime(2026, 9, 16, 12, tzinfo=UTC),
    datetime(2026, 9, 30, 23, tzinfo=UTC),
    datetime(2024, 2, 29, 6, tzinfo=UTC),
    datetime(2026, 12, 31, 22, tzinfo=UTC),
]
REAL = [
    Candidate(name, model, Account(name, "me", AccountKind.SUBSCRIPTION))
    for name, model in (
        ("anthropic", "claude-sonnet-4-5"),
        ("github-copilot", "claude-sonnet-4.5"),
    )
]


def simulated(scenario: Scenario, now: float) -> State:
    start, end = month_bounds(now)
    return state(
        **{
            name: tuple(
                Window(
                    m.name, m.used_percent, m.resets_at, m.duration_s or end - start,
                    Source.ENDPOINT, now,
                )
                for m in meters.values()
            )
            for name, meters in open_meters(scenario, now).items()
        }
    )  # fmt: skip


@pytest.mark.parametrize("at", INSTANTS, ids=str)
@pytest.mark.parametrize("scenario", SCENARIOS.values(), ids=lambda it: it.name)
def test_a_scenario_has_its_winner(scenario: Scenario, at: datetime) -> None:
    now = at.timestamp()
    assert chosen(decide(ASK, REAL, simulated(scenario, now), now)) == scenario.winner


@given(st.floats(1.7e9, 2e9), st.sampled_from(list(SCENARIOS.values())))
def test_a_scenario_has_its_winner_at_any_instant(now: float, scenario: Scenario) -> None:
    # In a month's last 43 minutes nothing that lasts longer can be level with it.
    start, end = month_bounds(now)
    assume(scenario.name != "balanced" or (now - start) / (end - start) < 0.999)
    assert chosen(decide(ASK, REAL, simulated(scenario, now), now)) == scenario.winner


# Invariants

USED = st.floats(-1, 120) | st.sampled_from([0.0, 50.0, 99.99, 100.0])
ELAPSED = st.floats(0, 99.999) | st.just(50.0)
WINDOWS = st.lists(
    st.one_of(
        st.builds(five_hours, USED, ELAPSED),
        st.builds(week, USED, ELAPSED),
        st.builds(week, USED, ELAPSED, st.sampled_from(["opus", "sonnet"])),
        st.builds(month, USED, ELAPSED),
        st.builds(session, USED, st.none() | st.floats(-60, 1e5)),
    ),
    max_size=4,
).map(tuple)
NAMES = ("a", "b", "c", "d")
CANDIDATES = st.tuples(
    *(
        st.builds(
            candidate,
            st.just(name),
            st.sampled_from(AccountKind),
            st.none() | st.none() | st.just("a problem"),
        )
        for name in NAMES
    )
)
STATES = st.fixed_dictionaries({}, optional=dict.fromkeys(NAMES, WINDOWS)).map(
    lambda it: state(**it)
)
INCUMBENTS = st.none() | st.sampled_from([f"{name}/me" for name in NAMES])
ASKS = st.sampled_from([ASK, LOOP])
HABITS = st.lists(st.floats(0.001, 1e3), min_size=7, max_size=7).map(
    lambda days: Week(tuple(accumulate((days[hour // 24] for hour in range(168)), initial=0.0)))
)
POLICIES = st.builds(Policy, week=st.none() | HABITS)
"""What is usually used on each day of the week is known, or nothing is."""


@given(
    ask=ASKS,
    candidates=CANDIDATES,
    known=STATES,
    incumbent=INCUMBENTS,
    later=st.floats(0, 1e7),
    policy=POLICIES,
)
def test_whoever_is_chosen_can_serve(
    *,
    ask: Ask,
    candidates: tuple[Candidate, ...],
    known: State,
    incumbent: str | None,
    later: float,
    policy: Policy,
) -> None:
    def again() -> Decision:
        return decide(ask, candidates, known, NOW + later, policy, standing=held(incumbent))

    decision = again()
    assert decision == again()
    assert sorted(v.candidate.provider for v in decision.verdicts) == list(NAMES)
    assert decision.reason.isascii()
    assert "\n" not in decision.reason
    able = [v for v in decision.verdicts if v.available]
    for verdict in able:
        assert verdict.candidate.problem is None
        assert all(seen.window.used_percent < 100 for seen in verdict.windows)
    if isinstance(decision, Route):
        assert decision.chosen in able
        assert decision.verdicts[: len(able)] == tuple(able)
        kinds = {v.candidate.account.kind for v in able if v.candidate.account}
        if AccountKind.SUBSCRIPTION in kinds and ask is ASK:
            assert decision.account.kind is AccountKind.SUBSCRIPTION
    else:
        assert able == []
        assert decision.relief_at is None or decision.relief_at > NOW + later


@given(CANDIDATES, STATES, st.permutations(range(len(NAMES))))
def test_the_order_of_candidates_settles_ties_alone(
    candidates: tuple[Candidate, ...], known: State, order: list[int]
) -> None:
    one = decide(ASK, candidates, known, NOW)
    other = decide(ASK, [candidates[at] for at in order], known, NOW)
    assert {v.candidate: v for v in one.verdicts} == {v.candidate: v for v in other.verdicts}
    if isinstance(one, Route) and isinstance(other, Route) and one.chosen != other.chosen:
        first, second = one.chosen.score, other.chosen.score
        assert (first is None) == (second is None)
        assert abs((first or 0.0) - (second or 0.0)) <= TIE


@given(
    used=USED,
    elapsed=ELAPSED,
    less=st.floats(0, 100),
    known=STATES,
    candidates=CANDIDATES,
    policy=POLICIES,
)
def test_less_used_never_loses_to_one_it_beat(
    *,
    used: float,
    elapsed: float,
    less: float,
    known: State,
    candidates: tuple[Candidate, ...],
    policy: Policy,
) -> None:
    before = State({**known.accounts, **state(a=(week(used, elapsed),)).accounts})
    after = State({**known.accounts, **state(a=(week(used - less, elapsed),)).accounts})
    order = [
        [
            v.candidate.provider
            for v in decide(ASK, candidates, it, NOW, policy).verdicts
            if v.available
        ]
        for it in (before, after)
    ]
    if "a" in order[0]:
        beaten = set(order[0][order[0].index("a") :])
        assert beaten <= set(order[1][order[1].index("a") :])


@given(CANDIDATES, STATES, INCUMBENTS, st.floats(0, 1e8), POLICIES)
def test_time_alone_moves_no_session_in_a_tool_loop(
    candidates: tuple[Candidate, ...],
    known: State,
    incumbent: str | None,
    later: float,
    policy: Policy,
) -> None:
    first = decide(LOOP, candidates, known, NOW, policy, standing=held(incumbent))
    if isinstance(first, Route):
        standing = Standing(first.account.id)
        then = decide(LOOP, candidates, known, NOW + later, policy, standing=standing)
        assert isinstance(then, Route)
        assert then.account == first.account


def test_a_view_belongs_to_the_moment_of_the_decision() -> None:
    known = state(a=(week(50, 50),))
    later = decide(ASK, [A], known, NOW + WEEK / 4)
    assert later.verdicts[0].windows == (WindowView(week(50, 50), 75.0, -25.0, 0.75),)
