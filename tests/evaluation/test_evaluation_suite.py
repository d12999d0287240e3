import pytest

from core.evaluation import suite
from core.evaluation.case import EvaluationError
from core.evaluation.fleet import Weekly
from core.evaluation.workload import Pattern
from core.reading import DAY


def test_there_are_24_workloads_of_each_pattern_and_every_kind_of_account():
    assert len(suite.SUITE) == 24
    assert {it.pattern for it in suite.SUITE.values()} == set(Pattern)
    assert len({it.seed for it in suite.SUITE.values()}) == 24
    assert {len(plans) for plans in suite.FLEETS.values()} == {2, 3, 4}
    plans = [plan for plans in suite.FLEETS.values() for plan in plans]
    weekly = [plan for plan in plans if isinstance(plan, Weekly)]
    assert any(plan.of_model for plan in weekly)
    assert any(not isinstance(p, Weekly) and p.usd_per_token for p in plans)
    assert any(p.models != suite.ALL for p in plans)


def test_demand_is_from_half_to_twice_the_capacity_and_mostly_near_it():
    loads = [it.load for it in suite.SUITE.values()]
    assert (min(loads), max(loads)) == (0.5, 2.0)
    assert sum(0.9 <= load <= 1.2 for load in loads) >= 12


@pytest.mark.parametrize("life", [False, True])
def test_a_row_builds_the_same_case_each_time(life):
    spec = suite.named("bursty-four")
    assert suite.build(spec, days=3, life=life) == suite.build(spec, days=3, life=life)
    assert suite.build(spec, days=3, seed=1).requests != suite.build(spec, days=3).requests


@pytest.mark.parametrize("name", ["calm-scoped", "bursty-four", "weekend-divided"])
def test_a_case_has_the_load_that_its_row_says(name):
    spec = suite.named(name)
    case = suite.build(spec)
    assert case.load == pytest.approx(spec.load)
    assert not case.outside
    assert [r.at for r in case.requests] == sorted(r.at for r in case.requests)
    assert case.end - case.start == 30 * DAY


def test_in_life_a_fifth_of_what_subscriptions_hold_is_asked_for_from_outside():
    spec = suite.named("calm-overflow")
    perfect, life = suite.build(spec), suite.build(spec, life=True)
    assert life.requests == perfect.requests
    for before, after in zip(perfect.subjects, life.subjects, strict=True):
        outside = [it for it in life.outside if it.account == after.account.id]
        tokens = sum(it.tokens for it in outside)
        if after.metered:
            assert (before, tokens) == (after, 0)
        else:
            assert after.capacity == pytest.approx(1.25 * before.capacity)
            assert tokens == pytest.approx(0.2 * spec.load * after.capacity, rel=0.01)
            assert {it.model for it in outside} <= after.models
    assert life.load == pytest.approx(spec.load, rel=0.03)
    assert life.life is not None
    assert life.life.unread in {it.account.id for it in life.subjects}
    assert life.life.unread_until - life.life.unread_from == DAY


def test_an_unknown_name_is_told_the_known_ones():
    with pytest.raises(EvaluationError, match="no workload is called x; there are calm-pair, "):
        suite.named("x")
