"""Answers that pass through unrouted: they arrive as they are, at once, and their limits count."""

import json

import pytest
from mitm import Routing, question, until

from core.simulator import Fault

ANTHROPIC = {"anthropic-version": "2023-06-01", "anthropic-beta": "oauth-2025-04-20"}


def week(routing: Routing) -> tuple[str, float]:
    accounts = json.loads(routing.state.read_text())["accounts"]
    (windows,) = [it["windows"] for name, it in accounts.items() if name.startswith("anthropic/")]
    return windows["seven_day"]["source"], windows["seven_day"]["used_percent"]


def ask_directly(routing: Routing, client, token: str, **more):
    return client.build_request(
        "POST",
        f"{routing.sim.anthropic_url}/v1/messages",
        json=question(**more),
        headers={**ANTHROPIC, "authorization": f"Bearer {token}", "accept-encoding": "identity"},
    )


def test_the_limits_of_an_unrouted_answer_count(start):
    routing = start("under-pace")
    until(lambda: routing.state.is_file() and week(routing)[0] == "endpoint", "the first poll")
    limits = {"anthropic-ratelimit-unified-7d-utilization": "0.77"}
    routing.sim.inject(Fault("anthropic", headers=limits))
    with routing.client() as client:
        request = ask_directly(routing, client, routing.sim.tokens["anthropic"])
        answer = client.send(request)
    assert answer.status_code == 200
    assert "x-limit-router-provider" not in answer.headers
    recorded = routing.served_one()
    assert recorded.body == request.content
    until(lambda: week(routing) == ("header", 77.0), "the limits in the state file")


def test_somebody_else_s_answer_does_not_count(start):
    routing = start("under-pace")
    until(lambda: routing.state.is_file() and week(routing)[0] == "endpoint", "the first poll")
    before = week(routing)
    with routing.client() as client:
        refused = client.send(ask_directly(routing, client, "sk-ant-oat01-of-somebody-else"))
        assert refused.status_code == 401
        routed = client.post(
            "https://limit-router.invalid/v1/messages", json=question(), headers=ANTHROPIC
        )
        assert routed.status_code == 200
    until(lambda: week(routing)[0] == "header", "the routed answer's limits")
    assert week(routing)[1] == pytest.approx(before[1], abs=0.01)


def test_an_unrouted_stream_is_not_held_back(start):
    routing = start("under-pace")
    routing.sim.inject(Fault("anthropic", hold_after_events=2))
    with routing.client() as client:
        request = ask_directly(routing, client, routing.sim.tokens["anthropic"], stream=True)
        answer = client.send(request, stream=True)
        chunks = answer.iter_raw()
        first = next(chunks)
        assert b"message_start" in first
        assert b"message_stop" not in first
        routing.sim.release()
        rest = b"".join(chunks)
        answer.close()
    assert first + rest == routing.served_one().response
