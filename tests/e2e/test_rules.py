"""What a provider refuses (PROVIDERS D.0 to D.2): the router avoids it, or hands the refusal on."""

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest
from mitm import VIRTUAL, Routing, question

from core.simulator import Recorded, Simulator

type Json = dict[str, Any]

CLAUDE, COPILOT = "anthropic", "github-copilot"
SCENARIOS = {CLAUDE: "under-pace", COPILOT: "over-pace"}
MODELS = (
    *("claude-sonnet-4-5", "claude-opus-4-5-20251101", "claude-opus-4-6", "claude-opus-4-1"),
    *("claude-sonnet-5", "claude-opus-5", "claude-opus-5-5", "claude-fable-5"),
)
BINDING = "thinking-binding-controls-2026-08-01"
INTERLEAVED = "interleaved-thinking-2025-05-14"
ADAPTIVE: Json = {"type": "adaptive"}
DISABLED: Json = {"type": "disabled"}
BOUND = ADAPTIVE | {"block_binding": {"prefix_mismatch_behavior": "drop_block"}}
SCOPED = {"cache_control": {"type": "ephemeral", "scope": "global"}}
MARKED = {"cache_control": {"type": "ephemeral"}}
TEXT: Json = {"type": "text", "text": "Hello."}
TOOL: Json = {"name": "look", "input_schema": {"type": "object"}}
DIALECT = {"$schema": "https://json-schema.org/draft/2020-12/schema"}
PICTURE: Json = {
    "type": "image",
    "source": {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo="},
}


def user(*blocks: Json) -> Json:
    return {"role": "user", "content": list(blocks)}


def assistant(*blocks: Json) -> Json:
    return {"role": "assistant", "content": list(blocks)}


def used(name: str) -> Json:
    return {"type": "tool_use", "id": name, "name": "look", "input": {}}


def result(name: str) -> Json:
    return {"type": "tool_result", "tool_use_id": name, "content": "ok"}


LOOP = [user(TEXT), assistant(used("toolu_1")), user(result("toolu_1"))]


@dataclass(frozen=True)
class Rule:
    """A request that this provider refuses as it is, though all else about it is right."""

    name: str
    at: str
    sends: Json = field(default_factory=dict)
    """Of the body."""
    betas: str = ""
    headers: dict[str, str | None] = field(default_factory=dict)
    """None leaves the field out."""
    spelled: str = ""
    """The model's name there. Empty: what the simulator takes for that model."""
    refused: int = 400
    arrives: Json = field(default_factory=dict)
    """What is different in the body that the provider gets; None is left out."""
    served_by: str = ""
    """Empty: the provider that would have refused it."""


AVOIDED = [
    Rule("no OAuth beta", CLAUDE, headers={"anthropic-beta": None}, refused=401),
    Rule("two credentials", CLAUDE, headers={"x-api-key": "x"}, refused=401),
    Rule("no version", CLAUDE, headers={"anthropic-version": None}),
    Rule("the key of another", COPILOT, headers={"x-api-key": "x"}, refused=401),
    Rule("no user agent", COPILOT, headers={"user-agent": None}, refused=403),
    Rule("no initiator", COPILOT, headers={"x-initiator": None}),
    Rule("no intent", COPILOT, headers={"openai-intent": None}),
    Rule("no API version", COPILOT, headers={"x-github-api-version": None}),
    Rule("a picture unannounced", COPILOT, {"messages": [user(PICTURE)]}),
    Rule("no picture", COPILOT, headers={"copilot-vision-request": "true"}),
    Rule("dashes", COPILOT, spelled="claude-sonnet-4-5"),
    Rule(
        "a date", COPILOT, {"model": "claude-opus-4-5-20251101"}, spelled="claude-opus-4.5-20251101"
    ),
    Rule("not on this wire", COPILOT, {"model": "claude-opus-4-1"}, served_by=CLAUDE),
    Rule("disabled", COPILOT, {"model": "claude-fable-5"}, refused=403, served_by=CLAUDE),
    Rule("another platform's field", COPILOT, {"inference_geo": "us"}, served_by=CLAUDE),
    Rule("prefill", COPILOT, {"messages": [user(TEXT), assistant(TEXT)]}, served_by=CLAUDE),
    *(
        Rule(f"beta {beta}", COPILOT, betas=beta)
        for beta in (
            "oauth-2025-04-20",
            "context-1m-2025-08-07",
            "fine-grained-tool-streaming-2025-05-14",
            "claude-code-20250219",
        )
    ),
    Rule(
        "interleaved and adaptive",
        COPILOT,
        {"model": "claude-opus-4-6", "thinking": ADAPTIVE},
        betas=INTERLEAVED,
    ),
    Rule(
        "block_binding without its beta",
        COPILOT,
        {"model": "claude-opus-5-5", "thinking": BOUND},
        arrives={"thinking": ADAPTIVE},
    ),
    Rule(
        "context_management without its beta",
        COPILOT,
        {"context_management": {"edits": []}},
        arrives={"context_management": None},
    ),
    Rule(
        "eager_input_streaming",
        COPILOT,
        {"tools": [TOOL | {"eager_input_streaming": True}]},
        arrives={"tools": [TOOL]},
    ),
    Rule(
        "$schema",
        COPILOT,
        {"tools": [TOOL | {"input_schema": {"type": "object", **DIALECT}}]},
        arrives={"tools": [TOOL]},
    ),
    Rule(
        "scope of the system prompt",
        COPILOT,
        {"system": [TEXT | SCOPED]},
        arrives={"system": [TEXT | MARKED]},
    ),
    Rule(
        "scope of a tool", COPILOT, {"tools": [TOOL | SCOPED]}, arrives={"tools": [TOOL | MARKED]}
    ),
    Rule(
        "scope in a message",
        COPILOT,
        {"messages": [user(TEXT | SCOPED)]},
        arrives={"messages": [user(TEXT | MARKED)]},
    ),
    Rule(
        "used tools without tools",
        COPILOT,
        {"messages": LOOP},
        arrives={
            "tools": [
                {
                    "name": "_noop",
                    "description": "Never call this: it stands for tools used earlier.",
                    "input_schema": {"type": "object", "properties": {}},
                }
            ]
        },
    ),
]

NEW: Json = {"model": "claude-sonnet-5"}
MANUAL: Json = {"thinking": {"type": "enabled", "budget_tokens": 1024}, "max_tokens": 2000}
THOUGHT: Json = {"type": "thinking", "thinking": "Hm.", "signature": "made up"}
FAULTS: dict[str, Json] = {
    "unknown field": {"foo": 1},
    "manual thinking of a new model": NEW | MANUAL,
    "adaptive thinking of an old model": {"thinking": ADAPTIVE},
    "temperature": NEW | {"temperature": 0.5},
    "top_p": NEW | {"top_p": 0.5},
    "top_k": NEW | {"top_k": 5},
    "no thinking of Opus 5 at most effort": {
        "model": "claude-opus-5",
        "thinking": DISABLED,
        "output_config": {"effort": "max"},
    },
    "tool id": {
        "tools": [TOOL],
        "messages": [user(TEXT), assistant(used("a.b")), user(result("a.b"))],
    },
    "no tool result": {"tools": [TOOL], "messages": [*LOOP[:2], user(TEXT)]},
    "a loop that began without thinking": MANUAL | {"tools": [TOOL], "messages": LOOP},
}
FAULTS_AT_ANTHROPIC: dict[str, Json] = {
    "block_binding without its beta": {"model": "claude-opus-5-5", "thinking": BOUND},
    "context_management without its beta": {"context_management": {"edits": []}},
}


@pytest.fixture(scope="module")
def routings(tmp_path_factory, confdir) -> Iterator[dict[str, Routing]]:
    """By the provider that serves."""
    with ExitStack() as running:
        started = {}
        for provider, scenario in SCENARIOS.items():
            sim = running.enter_context(Simulator(scenario))
            config = sim.config()
            config["models"] = {it: {"providers": [CLAUDE, COPILOT]} for it in MODELS}
            folder = tmp_path_factory.mktemp("rules")
            routing = Routing(folder, confdir, sim, config=config)
            started[provider] = running.enter_context(routing)
        yield started


@pytest.fixture
def routed(routings: dict[str, Routing]) -> Callable[[str], Routing]:
    def routed(provider: str) -> Routing:
        routings[provider].forget()
        return routings[provider]

    return routed


def send(client: httpx.Client, url: str, body: Json, headers: Json) -> httpx.Response:
    """With these fields and none that the client library would add, but for what HTTP needs."""
    request = client.build_request("POST", f"{url}/v1/messages", json=body)
    for name, value in ({"anthropic-version": "2023-06-01"} | headers).items():
        if value is None:
            request.headers.pop(name, None)
        else:
            request.headers[name] = value
    return client.send(request)


def straight(rule: Rule, sim: Simulator, body: Json) -> httpx.Response:
    """To the provider itself, with its credential and all that it wants but what the rule is on."""
    headers: Json = {"authorization": f"Bearer {sim.tokens[rule.at]}"}
    if rule.at == CLAUDE:
        url, spelled = sim.anthropic_url, body["model"]
        headers["anthropic-beta"] = ",".join(filter(None, ["oauth-2025-04-20", rule.betas]))
    else:
        url, spelled = sim.copilot_url, dotted(body["model"])
        headers |= {"x-initiator": "user", "openai-intent": "conversation-edits"}
        headers |= {"x-github-api-version": "2026-06-01", "anthropic-beta": rule.betas or None}
    body = body | {"model": rule.spelled or spelled}
    with httpx.Client(trust_env=False) as client:
        return send(client, url, body, headers | rule.headers)


def dotted(model: str) -> str:
    """As the simulated Copilot lists it."""
    head, _, last = model.removesuffix("-20251101").rpartition("-")
    return f"{head}.{last}" if head[-1].isdigit() else f"{head}-{last}"


def through(routing: Routing, body: Json, betas: str = "", headers: Json | None = None) -> Any:
    with routing.client() as client:
        beta = {"anthropic-beta": betas or None}
        return send(client, VIRTUAL, body, beta | (headers or {}))


def last_inference(routing: Routing) -> Recorded:
    return [it for it in routing.sim.requests if it.kind == "inference"][-1]


@pytest.mark.parametrize("rule", AVOIDED, ids=lambda it: f"{it.name} at {it.at}")
def test_what_would_be_refused_is_not_sent(routed, rule):
    routing = routed(rule.at)
    body = question(**rule.sends)
    assert straight(rule, routing.sim, body).status_code == rule.refused
    answer = through(routing, body, rule.betas, rule.headers)
    assert answer.status_code == 200, answer.text
    recorded = routing.served_one()
    server = rule.served_by or rule.at
    assert (recorded.provider, answer.headers["x-limit-router-provider"]) == (server, server)
    model = dotted(body["model"]) if server == COPILOT else body["model"]
    expected = body | rule.arrives | {"model": model}
    assert json.loads(recorded.body) == {k: v for k, v in expected.items() if v is not None}


@pytest.mark.parametrize(
    ("at", "sends"),
    [
        *(
            pytest.param(at, it, id=f"{name} at {at}")
            for name, it in FAULTS.items()
            for at in SCENARIOS
        ),
        *(
            pytest.param(CLAUDE, it, id=f"{name} at {CLAUDE}")
            for name, it in FAULTS_AT_ANTHROPIC.items()
        ),
    ],
)
def test_the_client_s_own_fault_is_told_by_the_provider(routed, at, sends):
    routing = routed(at)
    body = question(**sends)
    answer = through(routing, body)
    recorded = last_inference(routing)
    assert (answer.status_code, answer.content) == (400, recorded.response)
    assert (recorded.provider, recorded.status) == (at, 400)
    model = dotted(body["model"]) if at == COPILOT else body["model"]
    assert json.loads(recorded.body) == body | {"model": model}
    # It says nothing of the account: the next request goes there again.
    assert through(routing, question()).headers["x-limit-router-provider"] == at


def attempts(routing: Routing, status: int) -> list[Recorded]:
    """Inference that ended so, oldest first."""
    seen = [it for it in routing.sim.requests if it.kind == "inference"]
    return [it for it in seen if it.status == status]


@pytest.mark.parametrize("at", SCENARIOS)
def test_a_signature_that_nobody_knows_is_left_out_after_one_refusal(routed, at):
    routing = routed(at)
    before = len(attempts(routing, 400))
    told = [user(TEXT), assistant(THOUGHT, TEXT), user(TEXT)]
    answer = through(routing, question(messages=told))
    assert (answer.status_code, answer.headers["x-limit-router-attempts"]) == (200, "2")
    assert len(attempts(routing, 400)) == before + 1
    assert b"signature" not in last_inference(routing).body


@pytest.mark.parametrize("at", SCENARIOS)
def test_thinking_of_a_changed_conversation_is_left_out_unless_the_client_asks_to_drop(routed, at):
    routing = routed(at)
    first = question(model="claude-opus-5-5")
    content = through(routing, first).json()["content"]
    assert [it["type"] for it in content] == ["thinking", "text"]
    told = [user(TEXT), assistant(*content), user(TEXT)]
    changed = question(model="claude-opus-5-5", messages=told)
    dropped = through(routing, changed | {"thinking": BOUND}, BINDING)
    assert [it["path"] for it in dropped.json()["input_transformations"]] == [
        "messages.1.content.0"
    ]
    served = through(routing, changed)
    assert (served.status_code, served.headers["x-limit-router-attempts"]) == (200, "2")
    refused = attempts(routing, 400)[-1]
    assert b"The block is bound to a different conversation" in refused.response
    assert b"signature" not in last_inference(routing).body
