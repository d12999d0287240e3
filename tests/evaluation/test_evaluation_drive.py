import pytest
from evaluation_cases import MODELS, START, ask, case, limit, subject
from hypothesis import given
from hypothesis import strategies as st

from core.evaluation import suite
from core.evaluation.case import Case, Life, Outside
from core.evaluation.drive import Course, Served, drive
from core.evaluation.rules import POLICIES, Choose, Policy, Situation
from core.model import Candidate

LONGEST, ONE_SHOT = POLICIES["longest"], POLICIES["one-shot"]


def told(course: Course) -> list[str | None]:
    return [it.account and it.account.partition("/")[0] for it in course.log]


def test_a_request_that_is_turned_away_is_decided_again_among_the_rest():
    two = [subject("a", limit("month", 25.0)), subject("b", limit("month", 100.0))]
    requests = [ask(1, 20), ask(2, 20), ask(3, 20)]
    course = drive(case(two, requests), LONGEST)
    assert course.log == (
        Served(requests[0], "a/simulated"),
        Served(requests[1], "b/simulated", ("a/simulated",), "a/simulated", forced=True),
        Served(requests[2], "b/simulated"),
    )
    assert course.taken["a/simulated"].own == {"month": (20.0,)}
    assert course.taken["b/simulated"].own == {"month": (40.0,)}


def test_without_failover_it_is_refused_and_the_account_excluded_from_then_on():
    two = [subject("a", limit("month", 25.0)), subject("b", limit("month", 100.0))]
    course = drive(case(two, [ask(1, 20), ask(2, 20), ask(3, 20)]), ONE_SHOT)
    assert told(course) == ["a", None, "b"]
    assert course.log[1].rejected == ("a/simulated",)


def test_nobody_left_is_a_refusal_that_names_who_turned_it_away():
    course = drive(
        case([subject("a", limit("month", 15.0, 15.0))], [ask(1), ask(2), ask(3)]), LONGEST
    )
    assert told(course) == ["a", None, None]
    assert [it.rejected for it in course.log] == [(), ("a/simulated",), ()]


def test_a_window_opens_again_at_its_reset():
    one = [subject("a", limit("month", 15.0, 15.0))]
    assert told(drive(case(one, [ask(1), ask(2), ask(10)]), LONGEST)) == ["a", None, "a"]


def test_a_model_is_asked_of_those_that_have_it():
    two = [
        subject("a", limit("month", 100.0), models=frozenset({"small"})),
        subject("b", limit("month", 100.0)),
    ]
    requests = [ask(1, model="large", session="x"), ask(2, session="y")]
    assert told(drive(case(two, requests), LONGEST)) == ["b", "a"]


def _alternating() -> Choose:
    """Moves at each request."""

    def choose(seen: Situation) -> Candidate | None:
        others = [c for c in seen.candidates if c.account and c.account.id != seen.incumbent]
        return others[0]

    return choose


def test_a_move_that_nothing_forced_is_told_as_such_with_the_cache_that_it_lost():
    two = [subject("a", limit("month", 100.0)), subject("b", limit("month", 100.0))]
    minute = 1 / 60
    requests = [
        ask(1, context=500),
        ask(1 + minute, context=700, tool_loop=True),
        ask(2, context=900),
    ]
    course = drive(case(two, requests), Policy("alternating", "", _alternating))
    assert course.log == (
        Served(requests[0], "a/simulated"),
        Served(requests[1], "b/simulated", (), "a/simulated", cache_lost=700),
        # The cache is long gone an hour later.
        Served(requests[2], "a/simulated", (), "b/simulated", cache_lost=0),
    )


def test_a_policy_that_insists_is_refused():
    def stubborn() -> Choose:
        return lambda seen: seen.candidates[0]

    two = [subject("a", limit("month", 5.0)), subject("b", limit("month", 100.0))]
    course = drive(case(two, [ask(1)]), Policy("stubborn", "", stubborn))
    assert course.log == (Served(ask(1), None, ("a/simulated",)),)


def test_what_comes_from_outside_takes_its_share_and_is_turned_away_like_others():
    outside = tuple(Outside(START + n * 1800, "a/simulated", "small", 30) for n in range(1, 5))
    requests = [ask(1.2, 30), ask(5, 5)]
    course = drive(case([subject("a", limit("month", 100.0))], requests, outside), LONGEST)
    assert told(course) == ["a", None]
    assert course.passed == outside[:2]
    assert course.taken["a/simulated"].own == {"month": (30.0,)}
    assert course.taken["a/simulated"].outside == {"month": (60.0,)}


@given(
    sizes=st.lists(st.integers(1, 30), min_size=1, max_size=40),
    capacities=st.tuples(st.floats(20.0, 200.0), st.floats(20.0, 200.0)),
    name=st.sampled_from(sorted(POLICIES)),
    noisy=st.booleans(),
)
def test_no_window_takes_more_than_it_holds_and_every_request_is_told_of(
    sizes, capacities, name, noisy
):
    first, second = capacities
    subjects = [
        subject("a", limit("five_hour", first, first, hours=5), limit("seven_day", first * 1.5)),
        subject("b", limit("month", second), limit("month_large", second / 2, scope="large")),
    ]
    models = sorted(MODELS)
    requests = [
        ask(
            10 * n / len(sizes), size, session=f"s{n % 7}", model=models[n % 2], tool_loop=n % 3 > 0
        )
        for n, size in enumerate(sizes)
    ]
    seen = case(subjects, requests, life=Life(seed=1) if noisy else None)
    course = drive(seen, POLICIES[name])
    assert [it.request for it in course.log] == requests
    for it in subjects:
        own = [s.request for s in course.log if s.account == it.account.id]
        for each in it.limits:
            bound = [r for r in own if each.scope in (None, r.model)]
            taken = course.taken[it.account.id].own[each.name]
            for run, figure in zip(each.runs, taken, strict=True):
                assert figure <= run.capacity
                assert figure == sum(r.tokens for r in bound if run.start <= r.at < run.end)


@pytest.mark.parametrize("life", [False, True])
@pytest.mark.parametrize("name", sorted(POLICIES))
def test_the_same_case_goes_the_same_way_each_time(name, life):
    def course() -> Course:
        built: Case = suite.build(suite.named("bursty-four"), days=2, life=life)
        return drive(built, POLICIES[name])

    assert course() == course()
