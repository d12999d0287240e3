"""A replay of a routed flow is routed afresh, from what the client sent."""

import json
import random
import socket

import httpx
import pytest
from mitm import DEADLINE_S, VIRTUAL, Routing, ask, assert_as_provider_wants, assert_no_token, until

from core.simulator import Fault, Simulator

PASSWORD = "only-of-this-test"
SPENT = {
    "anthropic-ratelimit-unified-7d-utilization": "1.0",
    "anthropic-ratelimit-unified-7d-status": "rejected",
}


class Mitmweb:
    """Its HTTP interface, as its own pages use it."""

    def __init__(self, port: int) -> None:
        xsrf = "0123456789abcdef"
        self._http = httpx.Client(
            base_url=f"http://127.0.0.1:{port}",
            headers={"authorization": f"Bearer {PASSWORD}", "x-xsrftoken": xsrf},
            cookies={"_mitmproxy_xsrf": xsrf},
            trust_env=False,
            timeout=DEADLINE_S,
        )

    def close(self) -> None:
        self._http.close()

    def flows(self) -> list[dict]:
        return self._http.get("/flows").raise_for_status().json()

    def replay(self, flow_id: str) -> None:
        self._http.post(f"/flows/{flow_id}/replay").raise_for_status()

    def everything(self, flow_id: str) -> bytes:
        """All that it can show of a flow."""
        paths = ["/flows", "/flows/dump", "/events", "/state"]
        paths += [
            f"/flows/{flow_id}/{message}/content{how}"
            for message in ("request", "response")
            for how in (".data", "/Auto")
        ]
        return b"".join(self._http.get(it).raise_for_status().content for it in paths)


@pytest.fixture
def web_port() -> int:
    """mitmweb does not say which port it was given. Below those that systems give by themselves."""
    for port in random.sample(range(20_000, 30_000), 100):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise AssertionError("no free port")


def start_mitmweb(start, sim: Simulator, port: int, *more: str) -> Routing:
    options = ["--no-web-open-browser", "--web-port", str(port)]
    options += ["--set", f"web_password={PASSWORD}", *more]
    return start(sim=sim, tool="mitmweb", options=options)


def test_a_replay_goes_where_there_is_headroom_now(start, web_port):
    with Simulator("under-pace") as sim:
        sim.inject(Fault("anthropic", headers=SPENT))
        routing = start_mitmweb(start, sim, web_port)
        with routing.client() as client:
            ask(client)
        web = Mitmweb(web_port)
        (flow,) = web.flows()
        assert flow["comment"].startswith("anthropic claude-sonnet-4-5")
        assert flow["marked"]
        web.replay(flow["id"])
        until(lambda: len(sim.served()) == 2, "the replayed request")
        until(lambda: web.flows()[0]["response"], "its answer in mitmweb")
        (replayed,) = web.flows()
        shown = web.everything(flow["id"])
        web.close()
    first, second = sim.served()
    assert (first.provider, second.provider) == ("anthropic", "github-copilot")
    assert json.loads(second.body)["model"] == "claude-sonnet-4.5"
    assert_as_provider_wants(second, sim)
    assert replayed["comment"].startswith("github-copilot claude-sonnet-4.5")
    fields = {name.lower(): value for name, value in replayed["response"]["headers"]}
    assert fields["x-limit-router-provider"] == "github-copilot"
    assert_no_token(shown, sim)


def test_replays_of_one_flow_again_and_again(start, web_port):
    with Simulator("over-pace") as sim:
        routing = start_mitmweb(start, sim, web_port)
        with routing.client() as client:
            ask(client)
        web = Mitmweb(web_port)
        (flow,) = web.flows()
        for count in (2, 3, 4):
            web.replay(flow["id"])
            until(lambda count=count: len(sim.served()) == count, "the replayed request")
            until(lambda: web.flows()[0]["response"], "its answer in mitmweb")
        web.close()
    assert {it.body for it in sim.served()} == {sim.served()[0].body}


def test_a_flow_of_an_earlier_run_is_not_sent(start, tmp_path):
    """What its client sent is gone with that run: what the file holds is a target's rewrite."""
    file = tmp_path / "flows"
    earlier = start("under-pace", options=["-w", file], folder=tmp_path / "earlier")
    with earlier.client() as client:
        client.post(
            f"{VIRTUAL}/v1/messages",
            json={
                "model": "claude-sonnet-4-5",
                "max_tokens": 5,
                "messages": [{"role": "user", "content": "hi"}],
            },
        )
    earlier.stop()
    later = start("under-pace", options=["-C", file], sim=earlier.sim, folder=tmp_path / "later")
    later.proxy.wait_for("410")
    assert later.served() == []
