"""Each thing that a provider refuses, beside the same request put right."""

from dataclasses import dataclass, field
from typing import Any

import pytest
from simulator_caller import (
    PICTURE,
    PROVIDERS,
    TOOL,
    Caller,
    Json,
    assistant,
    body,
    error_of,
    result,
    used,
    user,
)

BINDING = "thinking-binding-controls-2026-08-01"
CONTEXT = "context-management-2025-06-27"
INTERLEAVED = "interleaved-thinking-2025-05-14"
MID_SYSTEM = "mid-conversation-system-2026-04-07"
BOTH = PROVIDERS
CLAUDE, COPILOT = ("anthropic",), ("github-copilot",)
SCOPED = {"type": "ephemeral", "scope": "global"}
MARK = {"type": "ephemeral"}
ENABLED = {"type": "enabled", "budget_tokens": 1024}
ADAPTIVE = {"type": "adaptive"}
DISABLED = {"type": "disabled"}


@dataclass(frozen=True)
class Case:
    """`bad` and `good` are bodies; a pair of header sets where the difference is in those."""

    name: str
    at: tuple[str, ...]
    bad: Json
    good: Json
    says: str
    status: int = 400
    error: dict[str, str] = field(default_factory=dict)
    bad_headers: dict[str, Any] = field(default_factory=dict)
    good_headers: dict[str, Any] = field(default_factory=dict)


def tool(**fields: Any) -> Json:
    return body(tools=[TOOL | fields])


def schema(**fields: Any) -> Json:
    return tool(input_schema=TOOL["input_schema"] | fields)


def history(*messages: Json, **fields: Any) -> Json:
    return body(user("Go."), *messages, **{"tools": [TOOL]} | fields)


def without(value: Json, name: str) -> Json:
    return {key: it for key, it in value.items() if key != name}


PLAIN = body()
NOT_PERMITTED = "Extra inputs are not permitted"

BODIES = [
    Case("no max_tokens", BOTH, without(PLAIN, "max_tokens"), PLAIN, "max_tokens: Field required"),
    Case("max_tokens 0", BOTH, body(max_tokens=0), PLAIN, "max_tokens: "),
    Case("max_tokens true", BOTH, body(max_tokens=True), PLAIN, "max_tokens: "),
    Case("no messages", BOTH, without(PLAIN, "messages"), PLAIN, "messages: Field required"),
    Case("empty messages", BOTH, PLAIN | {"messages": []}, PLAIN, "at least one message"),
    Case("messages no list", BOTH, PLAIN | {"messages": {}}, PLAIN, "at least one message"),
    Case("message no object", BOTH, PLAIN | {"messages": ["x"]}, PLAIN, "messages.0: Input"),
    Case("model no string", BOTH, body(model=5), PLAIN, "model: Input"),
    Case("stream no boolean", BOTH, body(stream=1), PLAIN, "stream: Input"),
    Case("unknown field", BOTH, body(foo=1), PLAIN, f"foo: {NOT_PERMITTED}"),
    Case(
        "field that only Anthropic knows",
        COPILOT,
        body(inference_geo="us"),
        PLAIN,
        f"inference_geo: {NOT_PERMITTED}",
    ),
    Case(
        "unknown field of a message",
        BOTH,
        body(user("x") | {"id": "1"}),
        PLAIN,
        f"messages.0.id: {NOT_PERMITTED}",
    ),
    Case("unknown role", BOTH, body({"role": "tool", "content": "x"}), PLAIN, "messages.0.role: "),
    Case(
        "system message without its beta",
        BOTH,
        body(user("x"), {"role": "system", "content": "y"}, user("z")),
        body(user("x"), {"role": "system", "content": "y"}, user("z")),
        "messages.1.role: ",
        good_headers={"betas": MID_SYSTEM},
    ),
    Case("no content", BOTH, body(user()), PLAIN, "messages.0: all messages must have non-empty"),
    Case("content no list", BOTH, body({"role": "user", "content": 5}), PLAIN, "valid list"),
    Case("empty text", BOTH, body(user("")), PLAIN, "text content blocks must be non-empty"),
    Case(
        "unknown block", BOTH, body(user({"type": "x"})), PLAIN, "messages.0.content.0: Input tag"
    ),
    Case("block no object", BOTH, body({"role": "user", "content": ["x"]}), PLAIN, "Input tag"),
    Case("system no list", BOTH, body(system=5), body(system="x"), "system: Input"),
    Case("picture as system", BOTH, body(system=[PICTURE]), body(system=[]), "system.0.type"),
    Case(
        "tool result no list",
        BOTH,
        history(assistant(used()), user(result(5))),
        history(assistant(used()), user(result(None))),
        "messages.2.content.0.tool_result.content: Input",
    ),
    Case(
        "tool use by the user",
        BOTH,
        history(user(used())),
        history(assistant(used()), user(result())),
        "cannot be in `user` messages",
    ),
    Case(
        "tool use without result",
        BOTH,
        history(assistant(used()), user("And?")),
        history(assistant(used()), user(result(), "And?")),
        "`tool_use` ids were found without `tool_result` blocks",
    ),
    Case(
        "tool use at the end",
        BOTH,
        history(assistant(used())),
        history(assistant(used()), user(result())),
        "`tool_use` ids were found without `tool_result` blocks",
    ),
    Case(
        "tool result without use",
        BOTH,
        history(assistant("Hm."), user(result())),
        history(assistant(used()), user(result())),
        "unexpected `tool_use_id`",
    ),
    Case(
        "tool id with a dot",
        BOTH,
        history(assistant(used("a.b")), user(result(tool_id="a.b"))),
        history(assistant(used("a_b")), user(result(tool_id="a_b"))),
        "String should match pattern '^[a-zA-Z0-9_-]+$'",
    ),
    Case(
        "tool history without tools",
        COPILOT,
        history(assistant(used()), user(result()), tools=[]),
        history(assistant(used()), user(result())),
        "must define tools",
    ),
    Case("tools no list", BOTH, body(tools={}), body(tools=[]), "tools: Input"),
    Case("tool name", BOTH, tool(name="a.b"), tool(name="a_b"), "tools.0.custom.name: "),
    Case("no schema", BOTH, tool(input_schema=None), tool(), "tools.0.custom.input_schema.type"),
    Case("schema type", BOTH, schema(type="array"), tool(), "tools.0.custom.input_schema.type"),
    Case(
        "unknown field of a tool",
        BOTH,
        tool(foo=1),
        tool(strict=True, type="custom"),
        f"tools.0.custom.foo: {NOT_PERMITTED}",
    ),
    Case(
        "eager_input_streaming",
        COPILOT,
        body(tools=[TOOL, TOOL | {"name": "b", "eager_input_streaming": True}]),
        tool(),
        f"tools.1.custom.eager_input_streaming: {NOT_PERMITTED}",
    ),
    Case("$schema", COPILOT, schema(**{"$schema": "x"}), tool(), f"$schema: {NOT_PERMITTED}"),
    Case(
        "$schema of a property",
        COPILOT,
        schema(properties={"a": {"$schema": "x"}}),
        schema(properties={"$schema": {"type": "string", "default": {"$schema": "x"}}}),
        f"tools.0.custom.input_schema.properties.a.$schema: {NOT_PERMITTED}",
    ),
    Case(
        "$schema in a choice",
        COPILOT,
        schema(properties={"a": {"anyOf": [{"type": "null"}, {"$schema": "x"}]}}),
        schema(properties={"a": {"anyOf": [{"type": "null"}, {"enum": [{"$schema": "x"}]}]}}),
        f"properties.a.anyOf.1.$schema: {NOT_PERMITTED}",
    ),
    Case("scope", COPILOT, body(cache_control=SCOPED), body(cache_control=MARK), "cache_control."),
    Case(
        "scope in the system prompt",
        COPILOT,
        body(system=[{"type": "text", "text": "x", "cache_control": SCOPED}]),
        body(system=[{"type": "text", "text": "x", "cache_control": MARK}]),
        f"system.0.cache_control.ephemeral.scope: {NOT_PERMITTED}",
    ),
    Case(
        "scope in a tool",
        COPILOT,
        tool(cache_control=SCOPED),
        tool(cache_control=MARK),
        f"tools.0.cache_control.ephemeral.scope: {NOT_PERMITTED}",
    ),
    Case(
        "scope in a message",
        COPILOT,
        body(user({"type": "text", "text": "x", "cache_control": SCOPED})),
        body(user({"type": "text", "text": "x", "cache_control": MARK})),
        f"messages.0.content.0.cache_control.ephemeral.scope: {NOT_PERMITTED}",
    ),
    Case(
        "scope in a tool's result",
        COPILOT,
        history(
            assistant(used()),
            user(result([{"type": "text", "text": "x", "cache_control": SCOPED}])),
        ),
        history(
            assistant(used()), user(result([{"type": "text", "text": "x", "cache_control": MARK}]))
        ),
        f"messages.2.content.0.tool_result.content.0.cache_control.ephemeral.scope: {NOT_PERMITTED}",
    ),
    Case(
        "context_management without its beta",
        BOTH,
        body(context_management={"edits": []}),
        body(context_management={"edits": []}),
        f"context_management: {NOT_PERMITTED}",
        good_headers={"betas": CONTEXT},
    ),
    Case(
        "prefill",
        COPILOT,
        body(user("x"), assistant("It is")),
        body(user("x"), assistant("It is"), user("Go on.")),
        "does not support assistant message prefill",
    ),
    Case(
        "unknown beta",
        COPILOT,
        PLAIN,
        PLAIN,
        "Unexpected value(s) `fine-grained-tool-streaming-2025-05-14` for the `anthropic-beta` header",
        bad_headers={"betas": f"{INTERLEAVED},fine-grained-tool-streaming-2025-05-14"},
        good_headers={"betas": INTERLEAVED},
    ),
    Case(
        "no beta at all",
        CLAUDE,
        PLAIN,
        PLAIN,
        "Unexpected value(s) `nonsense` for the `anthropic-beta` header",
        bad_headers={"betas": "nonsense"},
    ),
    Case(
        "interleaved thinking that is adaptive",
        COPILOT,
        body(model="claude-sonnet-4-6", thinking=ADAPTIVE),
        body(model="claude-sonnet-4-6", thinking=ENABLED),
        f"Unexpected value(s) `{INTERLEAVED}`",
        bad_headers={"betas": INTERLEAVED},
        good_headers={"betas": INTERLEAVED},
    ),
    Case(
        "block_binding without its beta",
        BOTH,
        body(model="claude-opus-5-5", thinking=ADAPTIVE | {"block_binding": {}}),
        body(model="claude-opus-5-5", thinking=ADAPTIVE | {"block_binding": {}}),
        f"thinking.adaptive.block_binding: {NOT_PERMITTED}",
        good_headers={"betas": BINDING},
    ),
    Case(
        "thinking of an unknown type",
        BOTH,
        body(thinking={"type": "deep"}),
        body(thinking={"type": "disabled"}),
        "thinking: Input tag",
    ),
    Case(
        "thinking no object", BOTH, body(thinking=True), body(thinking=ENABLED), "thinking: Input"
    ),
    Case(
        "unknown field of thinking",
        BOTH,
        body(thinking=ENABLED | {"depth": 1}),
        body(thinking=ENABLED | {"display": "summarized"}),
        f"thinking.enabled.depth: {NOT_PERMITTED}",
    ),
    Case(
        "no budget",
        BOTH,
        body(thinking={"type": "enabled"}),
        body(thinking=ENABLED),
        "thinking.enabled.budget_tokens: ",
    ),
    Case(
        "budget over max_tokens",
        BOTH,
        body(max_tokens=1024, thinking=ENABLED),
        body(max_tokens=1024, thinking=ENABLED),
        "`max_tokens` must be greater than `thinking.budget_tokens`",
        good_headers={"betas": INTERLEAVED},
    ),
    Case(
        "adaptive thinking of an old model",
        BOTH,
        body(thinking=ADAPTIVE),
        body(thinking=ADAPTIVE, model="claude-opus-4-6"),
        "adaptive thinking is not supported",
    ),
    Case(
        "manual thinking of a new model",
        BOTH,
        body(thinking=ENABLED, model="claude-opus-4-7"),
        body(thinking=ENABLED, model="claude-opus-4-6"),
        '"thinking.type.enabled" is not supported for this model',
    ),
    *(
        Case(
            f"no thinking of Opus 5 at effort {effort}",
            BOTH,
            body(model="claude-opus-5", thinking=DISABLED, output_config={"effort": effort}),
            body(model=model, thinking=thinking, output_config={"effort": best}),
            f'"thinking.type.disabled" is not supported for this model at effort "{effort}"',
        )
        for effort, model, thinking, best in [
            ("xhigh", "claude-opus-5", DISABLED, "high"),
            ("max", "claude-opus-5", ADAPTIVE, "max"),
            ("max", "claude-sonnet-5", DISABLED, "max"),
        ]
    ),
    *(
        Case(
            f"{name} of a new model",
            BOTH,
            body(model=model, **{name: value}),
            body(model="claude-opus-4-6", **{name: value}),
            f"`{name}` is deprecated for this model",
        )
        for name, value in {"temperature": 0.5, "top_p": 0.5, "top_k": 5}.items()
        for model in ("claude-opus-4-7", "claude-sonnet-5", "claude-opus-5", "claude-fable-5-1")
    ),
    Case(
        "temperature while thinking",
        BOTH,
        body(temperature=0.5, thinking=ENABLED),
        body(temperature=1, thinking=ENABLED),
        "`temperature` may only be set to 1",
    ),
    Case(
        "thought without signature",
        BOTH,
        body(user("x"), assistant({"type": "thinking", "thinking": "y"}, "z"), user("w")),
        body(user("x"), assistant("z"), user("w")),
        "messages.1.content.0.thinking.signature: Field required",
    ),
    Case(
        "redacted thought of others",
        BOTH,
        body(user("x"), assistant({"type": "redacted_thinking", "data": "y"}, "z"), user("w")),
        body(user("x"), assistant("z"), user("w")),
        "messages.1.content.0: Invalid `data` in `redacted_thinking` block",
    ),
    Case(
        "manual thinking in a loop that began without",
        BOTH,
        history(assistant(used()), user(result()), thinking=ENABLED),
        history(assistant(used()), user(result())),
        "messages.1.content.0.type: Expected `thinking` or `redacted_thinking`, but found `tool_use`",
    ),
    Case(
        "model in Anthropic's spelling only",
        CLAUDE,
        body(model="claude-sonnet-4.5"),
        PLAIN,
        "model: claude-sonnet-4.5",
        404,
    ),
    Case(
        "picture that is not announced",
        COPILOT,
        body(user("x", PICTURE)),
        body(user("x", PICTURE)),
        "missing required Copilot-Vision-Request header",
        good_headers={"copilot_vision_request": "true"},
    ),
    Case(
        "picture in a tool's result that is not announced",
        COPILOT,
        history(assistant(used()), user(result([PICTURE]))),
        history(assistant(used()), user(result([PICTURE]))),
        "missing required Copilot-Vision-Request header",
        good_headers={"copilot_vision_request": "true"},
    ),
    Case(
        "announced picture that is not there",
        COPILOT,
        PLAIN,
        PLAIN,
        "there is no image",
        bad_headers={"copilot_vision_request": "true"},
    ),
    Case(
        "content type",
        BOTH,
        PLAIN,
        PLAIN,
        "content-type: must be application/json",
        bad_headers={"content_type": "text/plain"},
        good_headers={"content_type": "application/json; charset=utf-8"},
    ),
    Case(
        "compressed body",
        BOTH,
        PLAIN,
        PLAIN,
        "content-encoding: compressed requests are not supported",
        bad_headers={"content_encoding": "gzip"},
        good_headers={"content_encoding": "identity"},
    ),
]

HEADERS = [
    ("anthropic", "anthropic_version", None, 400, "anthropic-version: header is required"),
    ("anthropic", "anthropic_version", "1", 400, 'anthropic-version: "1" is not a valid version'),
    ("anthropic", "authorization", None, 401, "Invalid bearer token"),
    ("anthropic", "authorization", "Bearer wrong", 401, "Invalid bearer token"),
    ("anthropic", "anthropic_beta", None, 401, "OAuth authentication is currently not supported."),
    ("anthropic", "x_api_key", "x", 401, "x-api-key and authorization are both set"),
    ("github-copilot", "authorization", None, 401, "unauthorized: token expired or invalid"),
    ("github-copilot", "authorization", "Bearer x", 401, "unauthorized: token expired or invalid"),
    ("github-copilot", "x_api_key", "x", 401, "unauthorized: x-api-key"),
    ("github-copilot", "user_agent", None, 403, "access denied: User-Agent is required"),
    ("github-copilot", "x_initiator", None, 400, "invalid x-initiator header"),
    ("github-copilot", "x_initiator", "me", 400, "invalid x-initiator header: me"),
    ("github-copilot", "openai_intent", None, 400, "missing required Openai-Intent"),
    ("github-copilot", "x_github_api_version", None, 400, "missing required X-GitHub-Api-Version"),
]
LEAKS = {
    "cookie": "a=b",
    "proxy_authorization": "Basic x",
    "x_limit_router_provider": "anthropic",
    "X_Limit_Router_Anything": "x",
    "x_goog_api_key": "x",
    "api_key": "x",
    "chatgpt_account_id": "x",
    "openai_organization": "x",
    "host": "api.anthropic.com",
}
ENVELOPES = {
    "anthropic": {
        400: "invalid_request_error",
        401: "authentication_error",
        403: "permission_error",
        404: "not_found_error",
    },
    "github-copilot": {400: "invalid_request_body", 401: "unauthorized", 403: "forbidden"},
}


def assert_refused(response: Any, provider: str, status: int, says: str) -> None:
    found, error, message = error_of(response)
    assert (found, error) == (status, ENVELOPES[provider][status]), message
    assert says in message
    assert ("type" in response.json()) == (provider == "anthropic")


@pytest.mark.parametrize(
    ("case", "provider"),
    [pytest.param(it, at, id=f"{it.name} at {at}") for it in BODIES for at in it.at],
)
def test_refused_and_then_put_right(caller: Caller, case: Case, provider: str) -> None:
    bad = caller.ask(provider, case.bad, **case.bad_headers)
    assert_refused(bad, provider, case.status, case.says)
    good = caller.ask(provider, case.good, **case.good_headers)
    assert good.status_code == 200, good.text


@pytest.mark.parametrize("case", HEADERS)
def test_a_wrong_header(caller: Caller, case: tuple[str, str, str | None, int, str]) -> None:
    provider, name, value, status, says = case
    assert_refused(caller.ask(provider, PLAIN, **{name: value}), provider, status, says)
    assert caller.ask(provider, PLAIN).status_code == 200


@pytest.mark.parametrize("provider", PROVIDERS)
@pytest.mark.parametrize("name", LEAKS)
def test_a_leak(caller: Caller, provider: str, name: str) -> None:
    leaky = caller.ask(provider, PLAIN, **{name: LEAKS[name]})
    leaked = f"unexpected header: {name.lower().replace('_', '-')}"
    assert_refused(leaky, provider, 400, leaked)
    assert caller.ask(provider, PLAIN).status_code == 200


def test_a_key_in_the_query(caller: Caller) -> None:
    url = f"{caller.sim.anthropic_url}/v1/messages"
    question = caller.question("anthropic", PLAIN)
    for query, status in [("?key=x", 400), ("?beta=true", 200)]:
        fields = dict(question.headers)
        again = caller.request("POST", url + query, fields, question.content)
        assert caller.http.send(again).status_code == status


@pytest.mark.parametrize("provider", PROVIDERS)
@pytest.mark.parametrize(
    ("raw", "says"),
    [
        (b'{"model": ', "not valid JSON"),
        (b"[]", "expected an object"),
        (b'{"model": "\xff"}', "not valid JSON"),
        (b'{"max_tokens": NaN}', "NaN is not JSON"),
        (b'{"a": 1, "b": {"c": 1, "c": 2}}', "duplicate key 'c'"),
        (b'{"a": ' + b"[" * 100_000, "nested too deeply"),
    ],
)
def test_a_body_that_is_not_json(caller: Caller, provider: str, raw: bytes, says: str) -> None:
    refused = caller.http.send(caller.question(provider, raw))
    assert_refused(refused, provider, 400, says)
    assert caller.ask(provider, PLAIN).status_code == 200


def test_a_body_too_large_for_anthropic(caller: Caller) -> None:
    large = body(user("x" * (32 * 1024 * 1024)))
    assert error_of(caller.ask("anthropic", large))[:2] == (413, "request_too_large")
    assert caller.ask("anthropic", body(user("x" * (2 * 1024 * 1024)))).status_code == 200


def test_copilot_serves_what_it_lists(caller: Caller) -> None:
    def ask(model: str) -> tuple[int, str, str]:
        raw = caller.question("github-copilot", body(model="claude-sonnet-4-5")).content
        raw = raw.replace(b"claude-sonnet-4.5", model.encode())
        return error_of(caller.http.send(caller.question("github-copilot", raw)))

    assert ask("claude-sonnet-4-5")[:2] == (400, "model_not_supported")
    assert ask("claude-opus-4.1")[:2] == (400, "unsupported_api_for_model")
    assert ask("claude-fable-5")[:2] == (403, "model_disabled")
    assert caller.ask("github-copilot", body(model="claude-sonnet-4-5")).status_code == 200
    caller.sim.copilot_models.append({"id": "nova", "supported_endpoints": ["/v1/messages"]})
    raw = caller.question("github-copilot", body()).content.replace(b"claude-sonnet-4.5", b"nova")
    assert caller.http.send(caller.question("github-copilot", raw)).status_code == 200


@pytest.mark.parametrize("dated", ["claude-sonnet-4-5-20250929", "claude-opus-4-5-20251101"])
def test_anthropic_takes_dated_ids(caller: Caller, dated: str) -> None:
    answer = caller.ask("anthropic", body(model=dated))
    assert answer.json()["content"][0]["text"] == f"Served by anthropic as {dated}. "


def test_an_api_key(caller: Caller) -> None:
    key = caller.sim.tokens["anthropic-api-key"]
    alone = {"authorization": None, "anthropic_beta": None}
    served = caller.ask("anthropic", PLAIN, x_api_key=key, **alone)
    assert served.status_code == 200
    assert served.headers["anthropic-ratelimit-requests-limit"] == "4000"
    assert served.headers["anthropic-ratelimit-output-tokens-reset"].endswith("Z")
    assert "anthropic-ratelimit-unified-status" not in served.headers
    refused = caller.ask("anthropic", PLAIN, x_api_key="sk-ant-wrong", **alone)
    assert error_of(refused) == (401, "authentication_error", "invalid x-api-key")


def test_what_anthropic_takes_and_copilot_does_not(caller: Caller) -> None:
    everything = body(
        user("x"),
        assistant("It is"),
        tools=[
            TOOL | {"eager_input_streaming": True, "cache_control": SCOPED},
            {"type": "web_search_20250305", "name": "web_search", "max_uses": 5},
        ],
        inference_geo="us",
    )
    assert caller.ask("anthropic", everything, betas="context-1m-2025-08-07").status_code == 200


@pytest.mark.parametrize(
    ("method", "path"), [("POST", "/v1/message"), ("GET", "/v1/messages"), ("PUT", "/models")]
)
def test_a_wrong_path(caller: Caller, method: str, path: str) -> None:
    for provider, url in zip(
        PROVIDERS, [caller.sim.anthropic_url, caller.sim.copilot_url], strict=True
    ):
        request = caller.request(method, url + path, caller.headers(provider))
        assert error_of(caller.http.send(request))[:2] == (
            404,
            "not_found_error" if provider == "anthropic" else "not_found",
        )
