from itertools import islice, pairwise
from random import Random

import pytest

from core.evaluation.workload import LONGEST_LOOP, Pattern, Request, sessions
from core.reading import DAY

START = 1_773_619_200.0  # a Monday
END = START + 28 * DAY
MODELS = (("large", 0.3), ("medium", 0.5), ("small", 0.2))


def drawn(pattern: Pattern, count: int = 400, seed: int = 1) -> list[list[Request]]:
    return list(islice(sessions(pattern, MODELS, START, END, Random(seed)), count))


@pytest.mark.parametrize("pattern", Pattern)
def test_the_same_seed_draws_the_same(pattern):
    assert drawn(pattern, 50) == drawn(pattern, 50)
    assert drawn(pattern, 50) != drawn(pattern, 50, seed=2)


@pytest.mark.parametrize("pattern", Pattern)
def test_a_conversation_is_turns_of_tool_loops_of_one_model(pattern):
    for conversation in drawn(pattern):
        by_session: dict[str, list[Request]] = {}
        for request in conversation:
            by_session.setdefault(request.session, []).append(request)
        for name, requests in by_session.items():
            assert len({r.model for r in requests}) == 1
            assert not requests[0].tool_loop
            assert [r.at for r in requests] == sorted(r.at for r in requests)
            assert all(START <= r.at < END and r.tokens > 0 for r in requests)
            parents = {r.parent for r in requests}
            assert parents == ({name.partition(".")[0]} if "." in name else {None})
            looped = 0
            for request in requests:
                looped = looped + 1 if request.tool_loop else 0
                assert looped < LONGEST_LOOP


def test_a_tool_loop_grows_its_context():
    for conversation in drawn(Pattern.CALM, 50):
        for before, after in pairwise(conversation):
            if after.tool_loop:
                assert after.context > before.context
                assert after.at > before.at


def test_some_send_sub_agents_off():
    requests = [r for conversation in drawn(Pattern.CALM) for r in conversation]
    share = sum(r.parent is not None for r in requests) / len(requests)
    assert 0.02 < share < 0.2


@pytest.mark.parametrize(
    ("pattern", "least", "most"),
    [(Pattern.CALM, 0.0, 0.12), (Pattern.BURSTY, 0.05, 0.5), (Pattern.WEEKEND, 0.65, 0.95)],
)
def test_people_work_when_the_pattern_says(pattern, least, most):
    begun = [conversation[0].at for conversation in drawn(pattern) if conversation]
    weekend = sum((at - START) % (7 * DAY) >= 5 * DAY for at in begun) / len(begun)
    assert least <= weekend <= most


def test_bursts_are_hours_of_many_times_as_much():
    def busiest(pattern: Pattern) -> int:
        hours = [int((c[0].at - START) // 3600) for c in drawn(pattern, 1500) if c]
        return max(hours.count(hour) for hour in set(hours))

    assert busiest(Pattern.BURSTY) > 1.7 * busiest(Pattern.CALM)
