"""The simulator itself: starting, stopping, its record, and what it tells others."""

import json
import socket
import time
import urllib.parse

import httpx
import pytest
from simulator_caller import PROVIDERS, Caller, Clock, body, error_of, user

from core.simulator import SCENARIOS, Simulator


def test_it_tells_the_router_where_it_is(caller: Caller) -> None:
    sim = caller.sim
    config = sim.config()
    assert config["providers"] == {
        "anthropic": {
            "oauth": True,
            "base_url": sim.anthropic_url,
            "usage_url": f"{sim.anthropic_url}/api/oauth/usage",
            "token_url": sim.token_url("anthropic"),
        },
        "github-copilot": {
            "base_url": sim.copilot_url,
            "usage_url": f"{sim.github_api_url}/copilot_internal/user",
        },
    }
    assert list(config["models"]) == ["claude-sonnet-4-5", "claude-opus-4-5"]
    for model in config["models"].values():
        assert model["providers"] == list(PROVIDERS)
    assert len({sim.anthropic_url, sim.copilot_url, sim.github_api_url}) == 3


def test_it_writes_opencode_s_sign_ins(caller: Caller, clock: Clock) -> None:
    found = json.loads(caller.sim.auth_content())
    claude, seat = found["anthropic"], found["github-copilot"]
    assert claude["type"] == seat["type"] == "oauth"
    assert claude["access"] == caller.sim.tokens["anthropic"]
    assert claude["refresh"] == caller.sim.refresh_tokens["anthropic"]
    assert seat["access"] == seat["refresh"] == caller.sim.tokens["github-copilot"]
    assert claude["expires"] == (clock.now + 365 * 86_400) * 1000
    assert seat["expires"] == 0


def test_tokens_are_new_each_time_and_easy_to_find() -> None:
    one, other = Simulator(), Simulator()
    assert not set(one.tokens.values()) & set(other.tokens.values())
    assert all("SECRET-SIM" in it for it in one.tokens.values())


def test_everything_received_is_on_record(caller: Caller, clock: Clock) -> None:
    asked = caller.question("anthropic", body(user("Hi.")), x_session_id="s1")
    answer = caller.http.send(asked)
    caller.ask("github-copilot", {})
    first, second = caller.sim.requests
    assert (first.provider, first.kind, first.at) == ("anthropic", "inference", clock.now)
    assert (first.method, first.path, first.http_version) == ("POST", "/v1/messages", "HTTP/1.1")
    assert ("X-Session-Id", "s1") in first.headers
    assert (first.body, first.status) == (asked.content, 200)
    assert first.response == answer.content
    assert (second.provider, second.status) == ("github-copilot", 400)
    assert caller.sim.served() == caller.sim.served("anthropic") == [first]
    assert caller.sim.served("github-copilot") == []


def test_the_path_on_record_has_its_query(caller: Caller) -> None:
    caller.get(f"{caller.sim.anthropic_url}/v1/other?a=b")
    assert (caller.sim.requests[0].path, caller.sim.requests[0].kind) == ("/v1/other?a=b", "other")
    caller.get(f"{caller.sim.copilot_url}/other")
    assert caller.sim.requests[1].kind == "other"


def test_the_real_clock_is_the_default() -> None:
    sim = Simulator("over-pace")
    now = time.time()  # noqa: TID251 - the default is the clock itself
    assert sim.windows("anthropic")["seven_day"][1] == pytest.approx(now + 0.6 * 604_800, abs=60)


def test_a_scenario_of_one_s_own() -> None:
    assert Simulator(SCENARIOS["nobody"]).scenario.winner is None
    with pytest.raises(KeyError):
        Simulator("no such scenario")


def test_ports_in_a_row_and_one_that_is_taken() -> None:
    base = _free_ports()
    with Simulator(port=base) as sim:
        urls = [sim.anthropic_url, sim.copilot_url, sim.github_api_url]
        assert [urllib.parse.urlsplit(it).port for it in urls] == [base, base + 1, base + 2]
        with pytest.raises(OSError, match="in use"):
            Simulator(port=base).start()


def _free_ports() -> int:
    """The first of four ports in a row that nobody listens on."""
    for base in range(21_000, 30_000, 4):
        try:
            for port in range(base, base + 4):
                with socket.create_server(("127.0.0.1", port)):
                    pass
        except OSError:
            continue
        return base
    raise AssertionError("no ports")


def test_stopping_twice_or_before_the_start_is_no_matter() -> None:
    Simulator().stop()
    sim = Simulator()
    sim.start()
    url = sim.anthropic_url
    sim.stop()
    sim.stop()
    with httpx.Client(trust_env=False) as client, pytest.raises(httpx.ConnectError):
        client.get(url)


def test_simple_serves_without_looking_and_keeps_no_bodies(clock: Clock) -> None:
    with Simulator(clock=clock, simple=True) as sim, Caller(sim) as caller:
        for provider in PROVIDERS:
            odd = body(tools=[{"eager_input_streaming": True}], foo=1)
            assert caller.ask(provider, odd).status_code == 200
            assert error_of(caller.ask(provider, odd, authorization=None))[0] == 401
        assert len(sim.served()) == 2
        assert all(it.body == it.response == b"" for it in sim.requests)


def test_a_client_that_says_half_a_request(caller: Caller) -> None:
    where = urllib.parse.urlsplit(caller.sim.anthropic_url)
    with socket.create_connection((where.hostname, where.port)) as raw:
        raw.sendall(b"POST /v1/messages HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\n{")
    assert caller.ask("anthropic", body()).status_code == 200
    assert len(caller.sim.requests) == 1
