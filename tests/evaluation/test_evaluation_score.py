from math import isnan

import pytest
from evaluation_cases import ask, case, limit, subject

from core.evaluation.drive import Course, Served, Taken, drive
from core.evaluation.optimum import Optimum
from core.evaluation.rules import POLICIES
from core.evaluation.score import Score, median, score

WEEK = subject("week", limit("five_hour", 50.0, 50.0, hours=5), limit("seven_day", 80.0))
KEY = subject("key", limit("budget", 100.0), usd=0.5)
BEST = Optimum(100.0, 10.0)


def test_the_figures_of_a_course():
    requests = [
        ask(1, 40, session="x"),
        ask(2, 30, session="x", tool_loop=True, context=900),
        ask(3, 20, session="y"),
        ask(4, 10, session="x", context=950),
        ask(5, 10, session="y", tool_loop=True, context=70),
    ]
    week, key = WEEK.account.id, KEY.account.id
    log = (
        Served(requests[0], week),
        Served(requests[1], key, (week,), week, forced=True, cache_lost=900),
        Served(requests[2], None, (week, key)),
        Served(requests[3], week, (), key, cache_lost=950),
        Served(requests[4], key, (), week, cache_lost=70),
    )
    taken = {
        week: Taken({"five_hour": (50.0, 0.0), "seven_day": (50.0,)}, {"five_hour": (0.0, 4.0), "seven_day": (4.0,)}),
        key: Taken({"budget": (40.0,)}, {"budget": (0.0,)}),
    }  # fmt: skip
    found = score(case([WEEK, KEY], requests), Course(log, (), taken), BEST)
    assert found == Score(
        served=4,
        refused=1,
        served_tokens=90,
        refused_tokens=20,
        expired_quota=26.0,
        expired_share=26.0 / 80.0,
        sessions=2,
        switches=3,
        switches_unforced=2,
        switches_in_tool_loop=2,
        switches_in_tool_loop_unforced=1,
        cache_tokens_lost=1920,
        rejections=3,
        cost_usd=20.0,
        optimum=BEST,
    )
    assert (found.share_of_optimum, found.moves_per_session, found.cost_ratio) == (0.9, 1.5, 2.0)


def test_without_an_optimum_shares_are_not_known():
    found = score(case([KEY], [ask(1)]), drive(case([KEY], [ask(1)]), POLICIES["longest"]), None)
    assert (found.share_of_optimum, found.cost_ratio, found.cost_usd) == (None, None, 5.0)
    assert (found.expired_quota, found.expired_share) == (0.0, 0.0)


def test_where_nothing_can_be_served_nothing_is_missed():
    tried = case([KEY], [])
    found = score(tried, drive(tried, POLICIES["longest"]), Optimum(0.0, 0.0))
    assert (found.share_of_optimum, found.cost_ratio, found.moves_per_session) == (1.0, None, 0.0)


@pytest.mark.parametrize(
    ("figures", "expected"), [([3.0], 3.0), ([4.0, 1.0], 2.5), ([9.0, 1.0, 2.0], 2.0)]
)
def test_the_median(figures, expected):
    assert median(figures) == expected


def test_the_median_of_nothing_is_no_number():
    assert isnan(median([]))
