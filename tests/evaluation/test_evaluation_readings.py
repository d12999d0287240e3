from evaluation_cases import HOUR, START, limit, subject

from core.evaluation.case import Life
from core.evaluation.meters import Meters
from core.evaluation.readings import Late, Perfect
from core.model import State

A = subject("a", limit("month", 100.0, 100.0))
ID = A.account.id


def used(state: State) -> float:
    return state.of(A.account).windows["month"].used_percent


def test_perfect_readings_are_the_truth_at_each_decision():
    meters = {ID: Meters(A)}
    readings = Perfect(meters)
    readings.tick(START)
    assert used(readings.state([ID], START)) == 0.0
    meters[ID].take("small", 37)
    readings.served(A.account, "small", 37, START)
    assert used(readings.state([ID], START + 1)) == 37.0
    full = meters[ID].take("small", 90)
    readings.rejected(A.account, full, START + 2)
    assert used(readings.state([ID], START + 2)) == 100.0
    after = readings.state([ID], START + 10 * HOUR).of(A.account).windows["month"]
    assert (after.used_percent, after.resets_at) == (0.0, START + 20 * HOUR)
    assert readings.state([], START).of(A.account).windows == {}


def test_late_readings_are_taken_at_their_interval():
    meters = {ID: Meters(A)}
    readings = Late(meters, Life(noise=0.0))
    readings.tick(START + 10)
    meters[ID].take("small", 40)
    readings.tick(START + 299)
    assert used(readings.state([ID], START + 299)) == 0.0
    readings.tick(START + 301)
    read = readings.state([ID], START + 301).of(A.account).windows["month"]
    assert (read.used_percent, read.as_of) == (40.0, START + 300)


def test_noise_is_bounded_clipped_and_drawn_by_seed():
    def figures(seed: int, tokens: int) -> list[float]:
        meters = {ID: Meters(A)}
        meters[ID].take("small", tokens)
        readings = Late(meters, Life(seed=seed))
        found = []
        for n in range(100):
            readings.tick(START + 300 * n)
            found.append(used(readings.state([ID], START + 300 * n)))
        return found

    middle = figures(1, 50)
    assert middle == figures(1, 50)
    assert middle != figures(2, 50)
    assert 47.0 <= min(middle) < 48.0
    assert 52.0 < max(middle) <= 53.0
    assert min(figures(1, 1)) == 0.0
    assert max(figures(1, 99)) == 100.0


def test_a_window_that_turned_a_request_away_reads_spent_without_noise():
    meters = {ID: Meters(A)}
    readings = Late(meters, Life(seed=3))
    readings.tick(START)
    full = meters[ID].take("small", 101)
    readings.rejected(A.account, full, START + 1)
    assert used(readings.state([ID], START + 1)) == 100.0
    for n in range(1, 50):
        readings.tick(START + 300 * n)
        assert used(readings.state([ID], START + 300 * n)) == 100.0


def test_an_account_that_is_not_read_is_unknown_but_for_what_a_429_says():
    meters = {ID: Meters(A)}
    life = Life(noise=0.0, unread=ID, unread_from=START + HOUR, unread_until=START + 3 * HOUR)
    readings = Late(meters, life)
    readings.tick(START)
    assert readings.state([ID], START).of(A.account).windows
    # Nobody asked when the time began.
    readings.tick(START + 1.5 * HOUR)
    assert not readings.state([ID], START + 1.5 * HOUR).of(A.account).windows
    readings.rejected(A.account, meters[ID].take("small", 101), START + 1.6 * HOUR)
    readings.tick(START + 2 * HOUR)
    assert used(readings.state([ID], START + 2 * HOUR)) == 100.0
    readings.tick(START + 11 * HOUR)
    assert used(readings.state([ID], START + 11 * HOUR)) == 0.0


def test_the_tokens_of_an_answer_are_counted():
    readings = Late({ID: Meters(A)}, Life(noise=0.0))
    readings.tick(START)
    readings.served(A.account, "small", 30, START + 1)
    readings.served(A.account, "small", 12, START + 2)
    known = readings.state([ID], START + 2).of(A.account)
    assert known.metered == {"small": {"evaluation": 42.0}}
