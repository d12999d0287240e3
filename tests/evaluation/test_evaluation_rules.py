import pytest
from evaluation_cases import HOUR, START

from core.evaluation.case import EvaluationError
from core.evaluation.rules import POLICIES, Situation, policy, spent
from core.model import (
    Account,
    AccountKind,
    AccountState,
    Ask,
    Candidate,
    Source,
    State,
    Window,
    Wire,
)

NOW = START
ASK = Ask(Wire.MESSAGES, "small", session="s")


def window(name: str, used: float, elapsed: float, hours: float, scope: str | None = None):
    resets_at = NOW + hours * HOUR * (100 - elapsed) / 100
    return Window(name, used, resets_at, hours * HOUR, Source.ENDPOINT, NOW, scope)


def week(used: float, elapsed: float, scope: str | None = None):
    return window("seven_day" if scope is None else f"seven_day_{scope}", used, elapsed, 168, scope)


def situation(incumbent: str | None = None, **accounts) -> Situation:
    """By name the account's windows; one called `key…` is metered."""
    candidates = [
        Candidate(
            name,
            "small",
            Account(
                name,
                "me",
                AccountKind.METERED if name.startswith("key") else AccountKind.SUBSCRIPTION,
            ),
        )
        for name in accounts
    ]
    state = State(
        {f"{n}/me": AccountState({w.name: w for w in windows}) for n, windows in accounts.items()}
    )
    held = None if incumbent is None else f"{incumbent}/me"
    return Situation(ASK, candidates, state, NOW, held, 1000, NOW + 60)


AHEAD, BEHIND = (week(60, 50),), (week(40, 50),)
SPENT = (week(100, 50),)
WORSE_SHORT = (week(30, 50), window("five_hour", 90, 10, 5))

ROWS = [
    ("pace", situation(a=AHEAD, b=BEHIND), "b"),
    ("pace", situation(a=SPENT, b=SPENT), None),
    ("longest", situation(a=AHEAD, b=BEHIND), "b"),
    ("longest", situation("a", a=AHEAD, b=BEHIND), "a"),
    ("longest", situation("a", a=SPENT, b=BEHIND), "b"),
    ("longest", situation(a=WORSE_SHORT, b=BEHIND), "a"),
    ("longest", situation(key=BEHIND, a=AHEAD), "a"),
    ("longest", situation("key", key=BEHIND, a=AHEAD), "key"),
    ("longest", situation(key=BEHIND, a=SPENT), "key"),
    ("longest", situation(a=(), b=BEHIND), "b"),
    ("longest", situation(a=SPENT), None),
    ("restless", situation("a", a=AHEAD, b=BEHIND), "b"),
    ("worst", situation(a=WORSE_SHORT, b=BEHIND), "b"),
    ("one-shot", situation("a", a=AHEAD, b=BEHIND), "a"),
    ("naive", situation("a", a=AHEAD, b=BEHIND), "b"),
    ("naive", situation(a=(week(50.3, 50),), b=(week(50.1, 50),)), "a"),
    ("naive", situation(a=(week(55, 50),), b=()), "b"),
    ("naive", situation(a=(week(100, 100),), b=(week(20, 10),)), "a"),
    ("naive", situation(), None),
]


@pytest.mark.parametrize(("name", "seen", "expected"), ROWS)
def test_a_policy_chooses_by_its_rule(name, seen, expected):
    chosen = policy(name).begin()(seen)
    assert (chosen and chosen.provider) == expected


def test_round_robin_takes_turns_by_session_and_leaves_out_who_is_spent():
    choose = policy("round-robin").begin()
    seen = situation(a=BEHIND, b=AHEAD, c=SPENT)
    chosen = [choose(seen) for _ in range(4)]
    assert [c and c.provider for c in chosen] == ["a", "b", "a", "b"]
    held = choose(situation("b", a=BEHIND, b=AHEAD))
    assert held is not None
    assert held.provider == "b"
    assert choose(situation(c=SPENT)) is None


def test_each_run_begins_anew():
    first, second = policy("round-robin").begin(), policy("round-robin").begin()
    seen = situation(a=BEHIND, b=AHEAD)
    assert first(seen) == second(seen)


def test_the_own_decision_is_the_one_that_the_engine_takes():
    held = policy("pace").begin()(situation("a", a=AHEAD, b=SPENT))
    assert held is not None
    assert held.account == Account("a", "me", AccountKind.SUBSCRIPTION)


def test_a_window_of_another_model_does_not_make_an_account_spent():
    seen = situation(a=(week(50, 50), week(100, 50, scope="large")))
    assert not spent(seen.candidates[0], seen.state, NOW)
    past = situation(a=(week(100, 101),))
    assert not spent(past.candidates[0], past.state, NOW)


def test_those_without_failover_are_named():
    assert [p.name for p in POLICIES.values() if not p.failover] == ["one-shot", "naive"]


def test_an_unknown_policy_is_told_the_known_ones():
    with pytest.raises(EvaluationError, match="no policy is called x; there are pace, longest, "):
        policy("x")
