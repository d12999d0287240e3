from itertools import product

import pytest
from evaluation_cases import START, ask, case, limit, subject
from hypothesis import given
from hypothesis import strategies as st

from core.evaluation import suite
from core.evaluation.case import Case, Outside
from core.evaluation.drive import drive
from core.evaluation.optimum import Optimum, optimum
from core.evaluation.rules import POLICIES


def best_by_trying_all(tried: Case) -> tuple[int, float]:
    """The most tokens, and the least cost of these, of every way to assign every request."""
    best = (0, 0.0)
    for assigned in product([None, *tried.subjects], repeat=len(tried.requests)):
        pairs = [(r, s) for r, s in zip(tried.requests, assigned, strict=True) if s is not None]
        if _fits(tried, pairs):
            tokens = sum(r.tokens for r, _ in pairs)
            cost = sum(r.tokens * s.usd_per_token for r, s in pairs)
            best = max(best, (tokens, -cost))
    return best[0], -best[1]


def _fits(tried: Case, pairs) -> bool:
    for request, chosen in pairs:
        if request.model not in chosen.models:
            return False
    for it in tried.subjects:
        for each in it.limits:
            for run in each.runs:
                taken = sum(
                    r.tokens
                    for r, s in pairs
                    if s is it and run.start <= r.at < run.end and each.scope in (None, r.model)
                )
                if taken > run.capacity:
                    return False
    return True


def tiny(sizes: list[int], capacities: tuple[int, int, int], models: str) -> Case:
    short, long, budget = capacities
    subjects = [
        subject(
            "week",
            limit("five_hour", short, short, hours=5),
            limit("seven_day", long),
            limit("seven_day_large", long // 2, scope="large"),
        ),
        subject("key", limit("budget", budget), usd=0.5, models=frozenset({"small"})),
    ]
    requests = [
        ask(10 * n / len(sizes), size, session=f"s{n}", model="large" if m == "l" else "small")
        for n, (size, m) in enumerate(zip(sizes, models, strict=False))
    ]
    return case(subjects, requests)


@given(
    sizes=st.lists(st.integers(1, 9), min_size=1, max_size=6),
    capacities=st.tuples(st.integers(1, 20), st.integers(2, 30), st.integers(1, 15)),
    models=st.text("ls", min_size=6, max_size=6),
)
def test_no_way_to_assign_the_requests_serves_more(sizes, capacities, models):
    tried = tiny(sizes, capacities, models)
    served, cost = best_by_trying_all(tried)
    found = optimum(tried)
    assert found.tokens >= served - 1e-6
    if found.tokens == pytest.approx(served):
        assert found.cost_usd <= cost + 1e-6


@given(
    count=st.integers(1, 6),
    capacities=st.tuples(st.integers(1, 4), st.integers(2, 6), st.integers(1, 4)),
    models=st.text("ls", min_size=6, max_size=6),
)
def test_requests_that_need_not_be_cut_reach_the_optimum(count, capacities, models):
    tried = tiny([1] * count, capacities, models)
    served, cost = best_by_trying_all(tried)
    found = optimum(tried)
    assert found.tokens == pytest.approx(served)
    assert found.cost_usd == pytest.approx(cost, abs=1e-6)


@given(
    sizes=st.lists(st.integers(1, 9), min_size=1, max_size=30),
    name=st.sampled_from(sorted(POLICIES)),
    drained=st.lists(st.integers(1, 9), max_size=8),
)
def test_no_policy_serves_more_also_with_use_from_outside(sizes, name, drained):
    tried = tiny(sizes, (20, 30, 25), "ls" * 15)
    outside = tuple(
        Outside(START + 3600.0 * n, "week/simulated", "small", size)
        for n, size in enumerate(drained)
    )
    tried = case(list(tried.subjects), list(tried.requests), outside)
    course = drive(tried, POLICIES[name])
    served = sum(it.request.tokens for it in course.log if it.account is not None)
    assert served <= optimum(tried, course.taken).tokens + 1e-6


def test_the_cheaper_way_is_taken_where_as_much_is_served():
    subjects = [
        subject("key", limit("budget", 100.0), usd=2.0),
        subject("month", limit("month", 30.0)),
    ]
    found = optimum(case(subjects, [ask(1, 40)]))
    assert found.tokens == pytest.approx(40.0)
    assert found.cost_usd == pytest.approx(20.0, rel=1e-6)


def test_what_nobody_has_cannot_be_served():
    only_small = subject("a", limit("month", 50.0), models=frozenset({"small"}))
    assert optimum(case([only_small], [ask(1, 10, model="large")])) == Optimum(0.0, 0.0)
    assert optimum(case([only_small], [])) == Optimum(0.0, 0.0)


@pytest.mark.parametrize("name", ["bursty-scoped", "weekend-four"])
def test_the_optimum_of_a_workload_of_the_set_is_between_what_is_served_and_asked_for(name):
    built = suite.build(suite.named(name), days=9)
    found = optimum(built)
    course = drive(built, POLICIES["longest"])
    served = sum(it.request.tokens for it in course.log if it.account is not None)
    asked = sum(r.tokens for r in built.requests)
    assert 0.8 * found.tokens < served <= found.tokens + 1e-3
    assert found.tokens <= asked * (1 + 1e-9)
