"""What mitmproxy writes down (`-w`) and what we write down hold no credential."""

import signal
from pathlib import Path

import httpx
import pytest
from mitm import VIRTUAL, assert_no_token, question
from mitmproxy.http import HTTPFlow
from mitmproxy.io import FlowReader

from core.simulator import SCENARIOS, Fault

REQUEST = {"json": question(stream=True), "headers": {"anthropic-version": "2023-06-01"}}


def flows_in(path: Path) -> list[HTTPFlow]:
    with path.open("rb") as file:
        return list(FlowReader(file).stream())


@pytest.mark.parametrize("by", [signal.SIGINT, signal.SIGTERM])
def test_a_run_interrupted_in_mid_stream(start, tmp_path, by):
    file = tmp_path / "flows"
    routing = start("under-pace", options=["-w", file])
    routing.sim.inject(Fault("anthropic", hold_after_events=2))
    with (
        routing.client() as client,
        client.stream("POST", f"{VIRTUAL}/v1/messages", **REQUEST) as answer,
    ):
        chunks = answer.iter_raw()
        next(chunks)
        routing.stop(by)
        with pytest.raises(httpx.TransportError):
            list(chunks)
    routing.assert_secret(file)
    (flow,) = flows_in(file)
    assert flow.request.path == "/v1/messages"
    assert flow.metadata["limit_router.provider"] == "anthropic"
    assert "authorization" not in flow.request.headers
    assert routing.state.is_file()


@pytest.mark.parametrize("scenario", ["over-pace", "under-pace"])
def test_a_complete_run(start, tmp_path, scenario):
    file = tmp_path / "flows"
    routing = start(scenario, options=["-w", file, "--set", "flow_detail=4", "-v"])
    with routing.client() as client:
        answer = client.post(f"{VIRTUAL}/v1/messages", **REQUEST)
    routing.stop()
    routing.assert_secret(file)
    (flow,) = flows_in(file)
    winner = SCENARIOS[scenario].winner
    assert flow.response.raw_content == answer.content
    assert flow.metadata["limit_router.provider"] == winner
    assert flow.metadata["limit_router.complete"] is True
    assert flow.metadata["limit_router.output_tokens"] > 0
    assert flow.comment.startswith(f"{winner} claude-sonnet-4")
    assert flow.marked
    assert_no_token(repr(flow.get_state()).encode(), routing.sim)
    # Nothing of what was said is kept by us.
    assert b"Served by" not in routing.state.read_bytes()
