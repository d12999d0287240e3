"""A simulator and a caller that does everything right unless told otherwise."""

from collections.abc import Iterator

import pytest
from simulator_caller import Caller, Clock

from core.simulator import Simulator


@pytest.fixture
def clock() -> Clock:
    return Clock(1_795_000_000.0)


@pytest.fixture
def sim(clock: Clock) -> Iterator[Simulator]:
    with Simulator("balanced", clock=clock) as simulator:
        yield simulator


@pytest.fixture
def caller(sim: Simulator) -> Iterator[Caller]:
    with Caller(sim) as caller:
        yield caller
