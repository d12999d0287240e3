"""A conversation with signed thinking that moves: each provider refuses the other's signatures."""

import json
from typing import Any

import pytest
from conversation import CALL, say, spent, tool_said
from mitm import until

from core.simulator import Simulator


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


def test_a_tool_loop_that_moves_twice_goes_on_without_thinking(start):
    """Once an answer of it was given without, none may be asked for with manual thinking."""
    routing = start("under-pace")
    sim, messages, seen = routing.sim, [], []

    def go_on(text: Any) -> None:
        seen.append(say(routing, messages, text, stream=True))

    soon = sim.world.clock() + 4.0
    sim.inject(spent("anthropic", soon))
    go_on(CALL)
    go_on(tool_said(messages, then=CALL))
    sim.inject(spent("github-copilot", soon + 86_400))
    go_on(tool_said(messages, then=CALL))
    until(lambda: sim.world.clock() > soon + 1, "Anthropic's window to reset")
    go_on(tool_said(messages, then=CALL))
    go_on(tool_said(messages))
    go_on("And now?")
    assert [(it["provider"], *it["kinds"]) for it in seen] == [
        ("anthropic", "thinking", "tool_use"),
        ("github-copilot", "tool_use"),
        ("github-copilot", "tool_use"),
        ("anthropic", "tool_use"),
        ("anthropic", "text"),
        ("anthropic", "thinking", "text"),
    ]
    assert {it["attempts"] for it in seen} == {"1"}
    asked = [json.loads(it.body) for it in routing.served()]
    assert [it.get("thinking") is not None for it in asked] == [True, *[False] * 4, True]
    # What Anthropic made itself goes back to it, thinking on or not.
    first = [it["messages"][1]["content"][0]["type"] for it in asked[1:]]
    assert first == ["tool_use", "tool_use", "thinking", "thinking", "thinking"]


def test_a_tool_loop_after_the_move_keeps_its_thinking(start):
    routing = start("under-pace")
    sim, messages, seen = routing.sim, [], []
    sim.inject(spent("anthropic", sim.world.clock() + 86_400))
    seen.append(say(routing, messages, "One.", stream=True))
    seen.append(say(routing, messages, CALL, stream=True))
    seen.append(say(routing, messages, tool_said(messages), stream=True))
    assert [(it["provider"], *it["kinds"], it["attempts"]) for it in seen] == [
        ("anthropic", "thinking", "text", "1"),
        ("github-copilot", "thinking", "tool_use", "1"),
        ("github-copilot", "thinking", "text", "1"),
    ]


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
        go_on(CALL)
        sim.inject(spent("github-copilot", soon + 86_400))
        go_on(tool_said(messages))
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
