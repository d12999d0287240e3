"""Through the real mitmdump, with one source of what is known switched off."""

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import httpx
import pytest
from mitm import Routing, ask, until

from core.simulator import Simulator

CLAUDE, COPILOT = "anthropic", "github-copilot"


@pytest.fixture
def without(start: Callable[..., Routing]) -> Iterator[Callable[..., Routing]]:
    """Starts a scenario with a source off before anybody has asked."""
    with ExitStack() as running:

        def begin(scenario: str, *, endpoints: bool = True, headers: bool = True) -> Routing:
            sim = running.enter_context(Simulator(scenario))
            sim.usage_enabled.update(dict.fromkeys((CLAUDE, COPILOT), endpoints))
            sim.limit_headers_enabled.update(dict.fromkeys((CLAUDE, COPILOT), headers))
            return start(sim=sim)

        yield begin


def served(client: httpx.Client, times: int) -> list[tuple[str, str]]:
    """Who served, and what was said of why."""
    answers = [ask(client) for _ in range(times)]
    assert [it.status_code for it in answers] == [200] * times
    told = ("x-limit-router-provider", "x-limit-router-reason")
    return [(it.headers[told[0]], it.headers[told[1]]) for it in answers]


def sources(routing: Routing) -> dict[str, set[str]]:
    """By provider where its windows on disk are known from."""
    accounts: dict[str, Any] = json.loads(routing.state.read_text())["accounts"]
    return {
        name.partition("/")[0]: {window["source"] for window in known["windows"].values()}
        for name, known in accounts.items()
    }


def test_without_the_endpoints_routing_follows_the_headers(without: Callable[..., Routing]) -> None:
    """Anthropic's first answer says that it is ahead of its pace; Copilot's, that it is not."""
    routing = without("over-pace", endpoints=False)
    found = []
    # Each on a connection of its own: a conversation would stay.
    for _ in range(3):
        with routing.client() as client:
            found += served(client, 1)
    first, second, third = found
    assert [first[0], second[0], third[0]] == [CLAUDE, COPILOT, COPILOT]
    assert "unknown" in first[1]
    assert "60.0% used" in second[1]
    assert "unknown" not in third[1]
    assert [it.provider for it in routing.served()] == [CLAUDE, COPILOT, COPILOT]
    both = {CLAUDE: {"header"}, COPILOT: {"header"}}
    until(lambda: sources(routing) == both, "both accounts' headers on disk")
    assert "the usage endpoint answered 403" in routing.proxy.log
    assert "the usage endpoint answered 404" in routing.proxy.log


def test_without_the_headers_routing_follows_the_endpoints(without: Callable[..., Routing]) -> None:
    routing = without("over-pace", headers=False)
    with routing.client() as client:
        assert [provider for provider, _ in served(client, 2)] == [COPILOT] * 2
    both = {CLAUDE: {"endpoint"}, COPILOT: {"endpoint"}}
    until(lambda: sources(routing) == both, "both accounts' readings on disk")


def test_without_either_each_is_unknown_and_the_configurations_order_decides(
    without: Callable[..., Routing],
) -> None:
    routing = without("anthropic-high", endpoints=False, headers=False)
    with routing.client() as client:
        found = served(client, 2)
    assert [provider for provider, _ in found] == [CLAUDE] * 2
    assert all(reason.count("unknown") == 2 for _, reason in found)
