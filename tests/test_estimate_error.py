"""The estimate against the truth: simulated accounts that are read every five minutes, while a
fifth of their use passes the router by."""

from dataclasses import dataclass, field, replace
from heapq import merge
from random import Random

import pytest

from core import estimate
from core.evaluation import suite
from core.evaluation.case import Case, Outside
from core.evaluation.meters import Meters
from core.evaluation.readings import Late

type Key = tuple[str, str]
"""An account and a window of it."""


@dataclass
class Errors:
    """Sums of points off, at every request."""

    last_reading: dict[Key, float] = field(default_factory=dict)
    estimated: dict[Key, float] = field(default_factory=dict)

    def ratios(self) -> dict[Key, float]:
        return {key: self.estimated[key] / off for key, off in self.last_reading.items()}


def measured(workload: str, noise: float) -> Errors:
    case = suite.build(suite.SUITE[workload], life=True)
    assert case.life is not None
    meters = {subject.account.id: Meters(subject) for subject in case.subjects}
    readings = Late(meters, replace(case.life, noise=noise, unread=None))
    errors, rng = Errors(), Random(1)
    for event in merge(case.outside, case.requests, key=lambda it: it.at):
        readings.tick(event.at)
        if isinstance(event, Outside):
            meters[event.account].roll(event.at)
            meters[event.account].take(event.model, event.tokens, outside=True)
            continue
        _compare(case, meters, readings, errors, event.at)
        able = [it for it in case.subjects if event.model in it.models]
        account = rng.choice(able).account
        if not meters[account.id].take(event.model, event.tokens):
            readings.served(account, event.model, event.tokens, event.at)
    return errors


def _compare(
    case: Case, meters: dict[str, Meters], readings: Late, errors: Errors, now: float
) -> None:
    state = readings.state([], now)
    for subject in case.subjects:
        known = state.of(subject.account)
        carried = {window.name: window for window in estimate.carried(known, now)}
        meters[subject.account.id].roll(now)
        for meter in meters[subject.account.id].all:
            read = known.windows.get(meter.limit.name)
            if read is None or meter.closed or read.resets_at is None or read.resets_at <= now:
                continue
            key = (subject.account.id, read.name)
            for sums, figure in (
                (errors.last_reading, read.used_percent),
                (errors.estimated, carried[read.name].used_percent),
            ):
                sums[key] = sums.get(key, 0.0) + abs(figure - meter.used_percent)


@pytest.mark.parametrize("workload", ["calm-weeks", "bursty-three"])
def test_the_estimate_halves_the_error_of_the_last_reading(workload: str) -> None:
    ratios = measured(workload, noise=0.0).ratios()
    assert len(ratios) >= 4
    assert max(ratios.values()) <= 0.5


def test_where_readings_are_noise_the_estimate_adds_none() -> None:
    ratios = measured("bursty-three", noise=3.0).ratios()
    assert max(ratios.values()) <= 1.05
    assert min(ratios.values()) <= 0.85, "what moves faster than the noise is still estimated"
