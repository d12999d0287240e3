"""A conversation with signed thinking that moves: each provider refuses the other's signatures."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from mitm import VIRTUAL, Routing, until

from core.simulator import Fault, Simulator

MANUAL = {"type": "enabled", "budget_tokens": 1024}
BETA = "thinking-binding-controls-2026-08-01"
TOOL = {"name": "look", "input_schema": {"type": "object"}}


def say(
    routing: Routing, messages: list[Any], text: Any, *, stream: bool, **more: Any
) -> dict[str, Any]:
    """Ask, as a client does that replays all it was ever answered; returns what the answer is."""
    messages.append({"role": "user", "content": text})
    body = {
        "model": "claude-sonnet-4-5",
        "max_tokens": 4000,
        "thinking": MANUAL,
        "tools": [TOOL],
        "stream": stream,
        "messages": messages,
        **more,
    }
    headers = {"anthropic-version": "2023-06-01", "x-session-id": "ses_1", "anthropic-beta": BETA}
    with routing.client() as client:
        answer = client.post(f"{VIRTUAL}/v1/messages", json=body, headers=headers)
    assert answer.status_code == 200, answer.text
    content = streamed(answer.text) if stream else answer.json()["content"]
    messages.append({"role": "assistant", "content": content})
    return {
        "provider": answer.headers["x-limit-router-provider"],
        "kinds": [block["type"] for block in content],
    }


def streamed(text: str) -> list[dict[str, Any]]:
    """The content that the events build up."""
    content: list[dict[str, Any]] = []
    for line in text.splitlines():
        event = json.loads(line.removeprefix("data: ")) if line.startswith("data: ") else {}
        match event.get("type"):
            case "content_block_start":
                content.append(dict(event["content_block"]))
            case "content_block_delta":
                delta = event["delta"]
                for key in ("text", "thinking", "signature"):
                    if key in delta:
                        content[-1][key] = content[-1].get(key, "") + delta[key]
                if "partial_json" in delta:
                    content[-1]["json"] = content[-1].get("json", "") + delta["partial_json"]
    for block in content:
        if block["type"] == "tool_use":
            block["input"] = json.loads(block.pop("json", "{}"))
    return content


def spent(provider: str, reset: float) -> Fault:
    """Its next answer says that its account is spent until then: the next request goes elsewhere."""
    if provider == "anthropic":
        prefix = "anthropic-ratelimit-unified-5h"
        headers = {f"{prefix}-utilization": "1.0", f"{prefix}-reset": f"{reset:.0f}"}
    else:
        moment = datetime.fromtimestamp(reset, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        headers = {"x-quota-snapshot-premium_interactions": f"ent=300&rem=0.0&rst={moment}"}
    return Fault(provider, headers=headers)


@pytest.mark.parametrize("stream", [True, False])
def test_it_moves_twice_and_is_never_refused(start, stream):
    routing = start("under-pace")
    sim, messages, seen = routing.sim, [], []
    seen.append(say(routing, messages, "One.", stream=stream))
    soon = sim.world.clock() + 3.0
    sim.inject(spent("anthropic", soon))
    seen.append(say(routing, messages, "Two.", stream=stream))
    sim.inject(spent("github-copilot", soon + 86_400))
    seen.append(say(routing, messages, "Three, elsewhere.", stream=stream))
    until(lambda: sim.world.clock() > soon + 1, "Anthropic's window to reset")
    seen.append(say(routing, messages, "Four, back again.", stream=stream))
    assert [it["provider"] for it in seen] == [
        *("anthropic", "anthropic", "github-copilot", "anthropic")
    ]
    assert {tuple(it["kinds"]) for it in seen} == {("thinking", "text")}
    third, fourth = (json.loads(it.body)["messages"][1::2] for it in routing.served()[2:])
    assert [[b["type"] for b in m["content"]] for m in third] == [["text"], ["text"]]
    assert [[b["type"] for b in m["content"]] for m in fourth] == [
        *(["thinking", "text"], ["thinking", "text"], ["text"])
    ]


def test_a_tool_loop_that_has_to_move_goes_on_without_thinking(start):
    routing = start("under-pace")
    sim, messages = routing.sim, []
    sim.inject(spent("anthropic", sim.world.clock() + 86_400))
    first = say(routing, messages, "[call look {}]", stream=True)
    assert first == {"provider": "anthropic", "kinds": ["thinking", "tool_use"]}
    result = {
        "type": "tool_result",
        "tool_use_id": messages[-1]["content"][1]["id"],
        "content": "x",
    }
    second = say(routing, messages, [result], stream=True)
    assert second == {"provider": "github-copilot", "kinds": ["text"]}
    body = json.loads(routing.served()[1].body)
    assert "thinking" not in body
    assert [b["type"] for b in body["messages"][1]["content"]] == ["tool_use"]
    # The answer that the other one gave in this loop has no thinking to begin with either.
    messages[-1]["content"].append(
        {"type": "tool_use", "id": "toolu_2", "name": "look", "input": {}}
    )
    third = say(routing, messages, [result | {"tool_use_id": "toolu_2"}], stream=True)
    assert third == {"provider": "github-copilot", "kinds": ["text"]}


def test_a_tool_loop_after_the_move_keeps_its_thinking(start):
    routing = start("under-pace")
    sim, messages = routing.sim, []
    sim.inject(spent("anthropic", sim.world.clock() + 86_400))
    say(routing, messages, "One.", stream=True)
    second = say(routing, messages, "[call look {}]", stream=True)
    assert second == {"provider": "github-copilot", "kinds": ["thinking", "tool_use"]}
    call = messages[-1]["content"][1]["id"]
    result = {"type": "tool_result", "tool_use_id": call, "content": "x"}
    third = say(routing, messages, [result], stream=True)
    assert third == {"provider": "github-copilot", "kinds": ["thinking", "text"]}


DROP = {"prefix_mismatch_behavior": "drop_block"}


@pytest.mark.parametrize("binding", [{}, {"block_binding": DROP}])
def test_bound_thinking_moves_twice_too(start, binding):
    """From Claude 5.1 on a thought is bound to all that was sent before it."""
    model, more = "claude-opus-5-5", {"thinking": {"type": "adaptive", **binding}}
    with Simulator("under-pace") as sim:
        config = sim.config()
        config["models"] = {model: {"providers": ["anthropic", "github-copilot"]}}
        routing, messages, seen = start(sim=sim, config=config), [], []

        def go_on(text: Any) -> None:
            seen.append(say(routing, messages, text, stream=False, model=model, **more))

        go_on("One.")
        soon = sim.world.clock() + 3.0
        sim.inject(spent("anthropic", soon))
        go_on("Two.")
        go_on("[call look {}]")
        call = messages[-1]["content"][1]["id"]
        sim.inject(spent("github-copilot", soon + 86_400))
        go_on([{"type": "tool_result", "tool_use_id": call, "content": "x"}])
        until(lambda: sim.world.clock() > soon + 1, "Anthropic's window to reset")
        go_on("Four.")
        go_on("Five.")
    assert [it["provider"] for it in seen] == [
        *("anthropic", "anthropic", "github-copilot"),
        *("github-copilot", "anthropic", "anthropic"),
    ]
    # Nothing that the router took out made a provider drop what was left.
    answers = [json.loads(it.response) for it in routing.served()]
    assert [it["input_transformations"] for it in answers] == [[]] * 6
