"""A plain HTTP client is routed, streaming and not."""

import json

import pytest
from mitm import VIRTUAL, Routing, ask, assert_as_provider_wants, field, question

from core.simulator import SCENARIOS

EXPECTED = {
    "anthropic": "claude-sonnet-4-5",
    "github-copilot": "claude-sonnet-4.5",
}


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("scenario", ["over-pace", "under-pace"])
def test_the_provider_with_headroom_serves(shared, scenario, stream):
    routing: Routing = shared(scenario)
    winner = SCENARIOS[scenario].winner
    with routing.client() as client:
        answer = ask(client, json=question(stream=stream))
    recorded = routing.served_one()
    assert answer.status_code == 200
    assert answer.headers["x-limit-router-provider"] == winner
    assert answer.headers["x-limit-router-model"] == EXPECTED[winner]
    assert answer.headers["x-limit-router-attempts"] == "1"
    assert winner in answer.headers["x-limit-router-reason"]
    assert answer.content == recorded.response
    assert recorded.provider == winner
    assert recorded.path == "/v1/messages"
    assert json.loads(recorded.body) == question(model=EXPECTED[winner], stream=stream)
    assert_as_provider_wants(recorded, routing.sim)
    assert field(recorded, "accept-encoding") == "identity"


@pytest.mark.parametrize("scenario", ["over-pace", "under-pace"])
def test_tools_and_images_arrive_as_they_were_sent(shared, scenario):
    routing: Routing = shared(scenario)
    png = {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo="}
    content = [{"type": "image", "source": png}, {"type": "text", "text": "[call look {}]"}]
    tools = [{"name": "look", "input_schema": {"type": "object", "properties": {}}}]
    sent = question(messages=[{"role": "user", "content": content}], tools=tools)
    with routing.client() as client:
        answer = ask(client, json=sent)
    assert answer.json()["stop_reason"] == "tool_use"
    recorded = routing.served_one()
    body = json.loads(recorded.body)
    assert (body["messages"], body["tools"]) == (sent["messages"], tools)
    copilot = recorded.provider == "github-copilot"
    assert field(recorded, "copilot-vision-request") == ("true" if copilot else "")


def test_the_virtual_models_are_listed(under_pace):
    with under_pace.client() as client:
        answer = client.get(f"{VIRTUAL}/v1/models")
    assert answer.status_code == 200
    listed = {entry["id"]: entry["display_name"] for entry in answer.json()["data"]}
    assert listed == {
        "claude-sonnet-4-5": "Claude Sonnet 4.5 (Auto-Route)",
        "claude-opus-4-5": "Claude Opus 4.5 (Auto-Route)",
    }
    assert under_pace.served() == []


def test_a_routed_model_is_taken_off_another_host(under_pace):
    """mitmproxy connects lazily, so nothing is sent to that host, not even a handshake."""
    with under_pace.client() as client:
        answer = ask(
            client,
            "https://api.anthropic.com/v1/messages?beta=true&key=OF-THE-CLIENT",
            json=question(model="limit-router/claude-sonnet-4-5"),
        )
    recorded = under_pace.served_one()
    assert answer.status_code == 200
    assert recorded.path == "/v1/messages?beta=true"
    assert json.loads(recorded.body)["model"] == "claude-sonnet-4-5"
    assert_as_provider_wants(recorded, under_pace.sim)
