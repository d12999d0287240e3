"""Simulators and routing proxies, started once per scenario or afresh for one test."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from mitm import Routing

from core.simulator import Scenario, Simulator


@pytest.fixture(scope="session")
def confdir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One certificate authority for all, which none of them shares with the user's own."""
    return tmp_path_factory.mktemp("confdir")


@pytest.fixture
def start(tmp_path: Path, confdir: Path) -> Iterator[Callable[..., Routing]]:
    """Starts a simulator and a routing proxy for this test alone."""
    with ExitStack() as running:

        def start(scenario: Scenario | str = "under-pace", **more: Any) -> Routing:
            sim = more.pop("sim", None) or running.enter_context(Simulator(scenario))
            folder = more.pop("folder", tmp_path / "routing")
            return running.enter_context(Routing(folder, confdir, sim, **more))

        yield start


@pytest.fixture(scope="session")
def _shared(
    tmp_path_factory: pytest.TempPathFactory, confdir: Path
) -> Iterator[Callable[[str], Routing]]:
    with ExitStack() as running:
        routings: dict[str, Routing] = {}

        def shared(scenario: str) -> Routing:
            if scenario not in routings:
                sim = running.enter_context(Simulator(scenario))
                folder = tmp_path_factory.mktemp(scenario)
                routings[scenario] = running.enter_context(Routing(folder, confdir, sim))
            routings[scenario].forget()
            return routings[scenario]

        yield shared


@pytest.fixture
def shared(_shared: Callable[[str], Routing]) -> Callable[[str], Routing]:
    """A scenario's routing, shared with other tests: whoever asks leaves no fault behind."""
    return _shared


@pytest.fixture
def under_pace(shared: Callable[[str], Routing]) -> Routing:
    """Anthropic serves."""
    return shared("under-pace")


@pytest.fixture
def over_pace(shared: Callable[[str], Routing]) -> Routing:
    """Copilot serves."""
    return shared("over-pace")
