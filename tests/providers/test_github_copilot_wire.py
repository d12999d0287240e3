import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from json_spelling import objects, seeds, spelled

from core import jsonspan, rewrite
from core.jsonspan import JsonError, parse
from core.match import Matched, match
from core.model import Ask, Credential, CredentialType, Headers, HttpRequest, Secret, Wire
from core.provider import Changes, Endpoints, Outgoing
from core.providers.github_copilot import PLACEHOLDER_TOOL, PROVIDER
from core.rewrite import Target
from core.simulator import Simulator
from core.wires.messages import SYNTHETIC_ATTACHMENT

OAUTH = CredentialType.OAUTH
TEXT: dict[str, Any] = {"type": "text", "text": "Hello."}
RESULT: dict[str, Any] = {"type": "tool_result", "tool_use_id": "toolu_1", "content": "ok"}
IMAGE: dict[str, Any] = {
    "type": "image",
    "source": {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo="},
}
SYNTHETIC: dict[str, Any] = {"type": "text", "text": SYNTHETIC_ATTACHMENT}
USED: dict[str, Any] = {"type": "tool_use", "id": "toolu_1", "name": "bash", "input": {}}

INTERLEAVED = "interleaved-thinking-2025-05-14"
CONTEXT = "context-management-2025-06-27"
BINDING = "thinking-binding-controls-2026-08-01"
ACCEPTED = [
    INTERLEAVED,
    CONTEXT,
    BINDING,
    "advanced-tool-use-2025-11-20",
    "extended-cache-ttl-2025-04-11",
    "mid-conversation-system-2026-04-07",
    "pdfs-2024-09-25",
    "structured-outputs-2025-11-13",
]
REFUSED = [
    "oauth-2025-04-20",
    "claude-code-20250219",
    "context-1m-2025-08-07",
    "fine-grained-tool-streaming-2025-05-14",
    "no-such-beta-2099-01-01",
]


def user(*blocks: Any) -> dict[str, Any]:
    return {"role": "user", "content": list(blocks)}


def matched(body: bytes, headers: Headers = (), path: str = "/v1/messages") -> Matched:
    request = HttpRequest("POST", "https", "limit-router.invalid", 443, path, headers, body)
    found = match(request, ("claude-opus-4-5", "claude-sonnet-4-6"))
    assert isinstance(found, Matched)
    return found


def prepared(fields: dict[str, Any], headers: Headers = ()) -> Changes:
    body = {"model": "limit-router/claude-opus-4-5", "messages": [user(TEXT)]} | fields
    found = matched(json.dumps(body).encode(), headers)
    return PROVIDER.prepare(Outgoing(found.ask, headers, found.body, OAUTH))


def edited(text: bytes, headers: Headers = ()) -> bytes:
    """The body as the provider's splices leave it."""
    body = parse(text)
    changes = PROVIDER.prepare(Outgoing(Ask(Wire.MESSAGES, "x"), headers, body, OAUTH))
    return jsonspan.apply(text, changes.splices)


def betas(*names: str) -> Headers:
    return (("anthropic-beta", ",".join(names)),)


# Header fields


def test_all_that_is_set() -> None:
    headers = (("X-Session-Id", "ses_1"), ("User-Agent", "opencode/1.18.33"), *betas(CONTEXT))
    assert prepared({"messages": [user(IMAGE)]}, headers) == Changes(
        {
            "x-initiator": "user",
            "openai-intent": "conversation-edits",
            "x-github-api-version": "2026-06-01",
            "copilot-vision-request": "true",
            "x-interaction-id": "ses_1",
            "anthropic-beta": CONTEXT,
        }
    )


def test_a_client_without_a_name_is_given_ours() -> None:
    assert prepared({}).set_headers["user-agent"] == "limit-router"


@pytest.mark.parametrize(
    ("messages", "headers", "initiator"),
    [
        pytest.param([user(TEXT)], (), "user", id="a person"),
        pytest.param([{"role": "user", "content": "Hi"}], (), "user", id="a bare string"),
        pytest.param([user(IMAGE)], (), "user", id="an image alone"),
        pytest.param([user(RESULT)], (), "agent", id="a tool result"),
        pytest.param([user(RESULT, RESULT)], (), "agent", id="two tool results"),
        pytest.param([user(RESULT, TEXT)], (), "user", id="a tool result and words"),
        pytest.param([user(SYNTHETIC, IMAGE)], (), "agent", id="a synthetic attachment"),
        pytest.param([user(RESULT, SYNTHETIC, IMAGE)], (), "agent", id="merged with the result"),
        pytest.param([user(SYNTHETIC, TEXT)], (), "user", id="a synthetic attachment and words"),
        pytest.param(
            [user(TEXT)], (("X-Parent-Session-Id", "ses_0"),), "agent", id="a sub-agent speaks"
        ),
        pytest.param(
            [user(RESULT)], (("x-parent-session-id", "ses_0"),), "agent", id="a sub-agent's tool"
        ),
        pytest.param(
            [user(TEXT), {"role": "assistant", "content": "Well"}], (), "agent", id="the assistant"
        ),
        pytest.param([user()], (), "agent", id="no content"),
        pytest.param([], (), "agent", id="no message"),
        pytest.param([user(TEXT)], (("x-initiator", "agent"),), "user", id="a client's own word"),
    ],
)
def test_the_initiator(messages: Any, headers: Headers, initiator: str) -> None:
    assert prepared({"messages": messages}, headers).set_headers["x-initiator"] == initiator


@pytest.mark.parametrize(
    ("messages", "vision"),
    [
        ([user(TEXT)], None),
        ([user(IMAGE, TEXT)], "true"),
        ([user(IMAGE), {"role": "assistant", "content": "I see"}, user(TEXT)], "true"),
        ([user(RESULT | {"content": [TEXT, IMAGE]})], "true"),
        ([user({"type": "text", "text": "image"})], None),
    ],
)
def test_the_vision_field_stands_with_images_alone(messages: Any, vision: str | None) -> None:
    """None takes a client's own field out."""
    assert prepared({"messages": messages}).set_headers["copilot-vision-request"] == vision


def test_without_a_session_a_client_s_own_interaction_is_removed() -> None:
    assert prepared({}, (("x-interaction-id", "x"),)).set_headers["x-interaction-id"] is None


@pytest.mark.parametrize("beta", ACCEPTED)
def test_a_beta_that_is_known_there_stays(beta: str) -> None:
    assert prepared({}, betas(beta)).set_headers["anthropic-beta"] == beta


@pytest.mark.parametrize("beta", REFUSED)
def test_a_beta_that_is_not_known_there_goes(beta: str) -> None:
    assert prepared({}, betas(beta)).set_headers["anthropic-beta"] is None


@pytest.mark.parametrize(
    ("fields", "headers", "left"),
    [
        ({}, (), None),
        ({}, betas(*REFUSED, *ACCEPTED), ",".join(ACCEPTED)),
        ({}, (*betas(CONTEXT, "x"), ("Anthropic-Beta", f" {BINDING} ,")), f"{CONTEXT},{BINDING}"),
        ({"thinking": {"type": "adaptive"}}, betas(INTERLEAVED, CONTEXT), CONTEXT),
        ({"thinking": {"type": "adaptive"}}, betas(INTERLEAVED), None),
        ({"thinking": {"type": "enabled"}}, betas(INTERLEAVED), INTERLEAVED),
        ({"thinking": {"type": "disabled"}}, betas(INTERLEAVED), INTERLEAVED),
        ({"thinking": {}}, betas(INTERLEAVED), INTERLEAVED),
        ({"thinking": "adaptive"}, betas(INTERLEAVED), INTERLEAVED),
        ({"thinking": {"type": ["adaptive"]}}, betas(INTERLEAVED), INTERLEAVED),
    ],
)
def test_the_betas_that_are_left(
    fields: dict[str, Any], headers: Headers, left: str | None
) -> None:
    assert prepared(fields, headers).set_headers["anthropic-beta"] == left


# The body


@pytest.mark.parametrize(
    ("text", "headers", "expected"),
    [
        pytest.param(
            b'{"thinking": {"type":"adaptive", "block_binding":{"a":1}}}',
            (),
            b'{"thinking": {"type":"adaptive"}}',
            id="binding without its beta",
        ),
        pytest.param(
            b'{"thinking": {"type":"adaptive", "block_binding":{"a":1}}}',
            betas(BINDING),
            b'{"thinking": {"type":"adaptive", "block_binding":{"a":1}}}',
            id="binding with its beta",
        ),
        pytest.param(
            b'{"context_management":{"edits":[]}, "a" : 1}',
            betas("context-management-2099-01-01"),
            b'{"a" : 1}',
            id="context management without its beta",
        ),
        pytest.param(
            b'{"context_management":{"edits":[]}, "a" : 1}',
            betas(CONTEXT),
            b'{"context_management":{"edits":[]}, "a" : 1}',
            id="context management with its beta",
        ),
        pytest.param(
            b'{"tools":[{"eager_input_streaming":true,"name":"a"},{"name":"b"},'
            b'{"name":"c" , "eager_input_\\u0073treaming" : false}]}',
            (),
            b'{"tools":[{"name":"a"},{"name":"b"},{"name":"c"}]}',
            id="eager input streaming",
        ),
        pytest.param(
            b'{"tools":[{"input_schema":{"eager_input_streaming":true}}],"eager_input_streaming":1}',
            (),
            b'{"tools":[{"input_schema":{"eager_input_streaming":true}}],"eager_input_streaming":1}',
            id="eager input streaming elsewhere",
        ),
    ],
)
def test_fields_that_it_refuses(text: bytes, headers: Headers, expected: bytes) -> None:
    assert edited(text, headers) == expected


SCOPED = {"type": "ephemeral", "scope": "global", "ttl": "1h"}
MARKED: dict[str, Any] = {"cache_control": SCOPED}
CLEAN: dict[str, Any] = {"cache_control": {"type": "ephemeral", "ttl": "1h"}}


@pytest.mark.parametrize(
    "place",
    [
        lambda mark: mark,
        lambda mark: {"system": [TEXT, TEXT | mark]},
        lambda mark: {"tools": [{"name": "a"} | mark, {"name": "b"} | mark]},
        lambda mark: {"messages": [user(TEXT | mark), user(TEXT, IMAGE | mark)]},
        lambda mark: {"messages": [user(RESULT | mark)]},
        lambda mark: {"messages": [user(RESULT | {"content": [TEXT | mark, IMAGE | mark]} | mark)]},
        lambda mark: {"messages": [user(RESULT | {"content": [{"content": [TEXT | mark]}]})]},
    ],
    ids=["request", "system", "tools", "messages", "result", "inside a result", "deeper still"],
)
@pytest.mark.parametrize("seed", range(4))
def test_a_cache_mark_has_no_scope_anywhere(place: Any, seed: int) -> None:
    assert json.loads(edited(spelled(place(MARKED), seed))) == place(CLEAN)


@pytest.mark.parametrize(
    "value",
    [
        {"tools": [{"name": "bash"}], "messages": [user(USED | {"input": MARKED})]},
        {"messages": [user({"type": "text", "text": json.dumps(MARKED)})]},
        {"tools": [{"input_schema": {"properties": MARKED}}]},
        {"metadata": MARKED, "scope": "global"},
        {"system": [{"scope": "global"}], "cache_control": ["scope"]},
        {"system": "scope", "tools": {"cache_control": SCOPED}, "messages": "scope"},
    ],
    ids=["a tool's input", "words", "a schema", "elsewhere", "no mark", "no lists"],
)
@pytest.mark.parametrize("seed", range(4))
def test_a_scope_that_is_no_cache_mark_s_stays(value: dict[str, Any], seed: int) -> None:
    assert edited(text := spelled(value, seed)) == text


DRAFT = {"$schema": "https://json-schema.org/draft/2020-12/schema"}
STRING = {"type": "string"}


@pytest.mark.parametrize(
    "place",
    [
        lambda mark: mark,
        lambda mark: {"type": "object"} | mark,
        lambda mark: {"properties": {"a": STRING | mark, "b": mark}},
        lambda mark: {"properties": {"a": {"properties": {"b": {"items": mark}}}}},
        lambda mark: {"items": [mark, STRING | mark]},
        lambda mark: {"anyOf": [STRING | mark, {"allOf": [mark]}], "oneOf": [mark]},
        lambda mark: {"additionalProperties": mark, "not": mark, "if": mark, "then": mark},
        lambda mark: {"$defs": {"a": mark}, "definitions": {"b": STRING | mark}},
        lambda mark: {"patternProperties": {"^a": mark}, "dependentSchemas": {"a": mark}},
        lambda mark: {"dependencies": {"a": STRING | mark, "b": ["c"]}},
        lambda mark: {"properties": {"properties": {"properties": {"enum": mark}}}},
        lambda mark: {"properties": {"default": mark, "enum": STRING | mark}},
    ],
)
@pytest.mark.parametrize("seed", range(4))
def test_no_schema_names_its_dialect(place: Any, seed: int) -> None:
    tools = [{"name": "a", "input_schema": place(DRAFT)}, {"input_schema": place(DRAFT)}]
    clean = [{"name": "a", "input_schema": place({})}, {"input_schema": place({})}]
    assert json.loads(edited(spelled({"tools": tools}, seed))) == {"tools": clean}


@pytest.mark.parametrize(
    "schema",
    [
        {"properties": {"$schema": STRING}, "required": ["$schema"]},
        {"properties": {"a": {"properties": {"$schema": {"type": "object"}}}}},
        {"$defs": {"$schema": STRING}, "patternProperties": {"$schema": STRING}},
        {"dependentRequired": {"$schema": ["a"]}, "dependencies": {"$schema": ["a"]}},
        {"enum": [DRAFT], "const": DRAFT, "default": DRAFT, "examples": [DRAFT], "example": DRAFT},
        {"properties": {"a": {"default": {"properties": {"b": DRAFT}}}}},
        {"description": '"$schema"', "title": "$schema"},
        True,
        [["$schema"]],
    ],
)
@pytest.mark.parametrize("seed", range(4))
def test_a_property_of_that_name_and_data_stay(schema: Any, seed: int) -> None:
    text = spelled({"tools": [{"input_schema": schema}], "$schema": "x", "input": DRAFT}, seed)
    assert edited(text) == text


def test_what_stands_around_the_edits_keeps_its_bytes() -> None:
    text = (
        b'{ "tools" : [ {"name":"\\u0061", "input_schema" : {"$schema" : "x" , "type":"object"},'
        b' "eager_input_streaming":true } ],\n\t"context_management":{} , "max_tokens":1.0e1,'
        b'"system":[{"text":"\xc3\xa9\\/","cache_control":{ "type":"ephemeral" ,"scope":"s"} }]}'
    )
    assert edited(text) == (
        b'{ "tools" : [ {"name":"\\u0061", "input_schema" : {"type":"object"} } ],'
        b'\n\t"max_tokens":1.0e1,'
        b'"system":[{"text":"\xc3\xa9\\/","cache_control":{ "type":"ephemeral"} }]}'
    )


@given(objects, seeds, st.sampled_from(["messages", "tools", "system", "thinking"]))
def test_a_body_of_any_shape_without_such_fields_keeps_every_byte(
    value: dict[str, Any], seed: int, name: str
) -> None:
    text = spelled(value | {name: [value]}, seed)
    assert edited(text) == text
    text = spelled({name: value}, seed)
    assert edited(text) == text


PLACEHOLDER = PLACEHOLDER_TOOL.decode()
HISTORY = '"messages":[{"role":"assistant","content":[{"type":"tool_use","id":"t"}]}]'


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{%s}", '{"tools":' + PLACEHOLDER + ",%s}"),
        ('{"tools" : [ ],%s}', '{"tools" : ' + PLACEHOLDER + ",%s}"),
        ('{"context_management":{},%s}', '{"tools":' + PLACEHOLDER + ",%s}"),
        ('{"tools":[{"name":"bash"}],%s}', '{"tools":[{"name":"bash"}],%s}'),
    ],
)
def test_a_conversation_that_used_tools_has_some(text: str, expected: str) -> None:
    assert edited((text % HISTORY).encode()).decode() == expected % HISTORY


def test_a_conversation_that_used_none_is_given_none() -> None:
    text = b'{"messages":[{"role":"user","content":"what is a tool_use block?"}]}'
    assert edited(text) == text


@pytest.mark.parametrize(
    "text",
    [
        b'{"thinking":{"type":"a","type":"b"}}',
        b'{"tools":[{"name":"a","name":"a"}]}',
        b'{"tools":[{"input_schema":{"$schema":1,"$schema":1}}]}',
        b'{"cache_control":{"scope":1,"scope":1}}',
    ],
)
def test_a_repeated_key_where_it_edits_is_refused(text: bytes) -> None:
    found = matched(b'{"model":"claude-opus-4-5","messages":[],' + text[1:])
    with pytest.raises(JsonError, match="twice"):
        rewrite.apply(found, Target(PROVIDER, "https://x.y", "claude-opus-4.5", OAUTH))


# Spelling, hosts, the credential


@pytest.mark.parametrize(
    ("model", "spelling"),
    [
        ("claude-opus-4-5", "claude-opus-4.5"),
        ("claude-opus-4-5-20251101", "claude-opus-4.5"),
        ("claude-sonnet-4-5-20250929", "claude-sonnet-4.5"),
        ("claude-sonnet-4-20250514", "claude-sonnet-4"),
        ("claude-sonnet-5", "claude-sonnet-5"),
        ("claude-fable-5-1", "claude-fable-5.1"),
        ("claude-opus-5-5", "claude-opus-5.5"),
        ("claude-3-5-sonnet-20241022", "claude-3.5-sonnet"),
        ("claude-3-7-sonnet", "claude-3.7-sonnet"),
        ("claude-3-opus-20240229", "claude-3-opus"),
        ("claude-opus-4-10", "claude-opus-4.10"),
        ("claude-opus-4.5", "claude-opus-4.5"),
        ("claude-haiku-4.5-20251001", "claude-haiku-4.5"),
        ("gpt-5-mini", "gpt-5-mini"),
        ("gpt-5.1-codex", "gpt-5.1-codex"),
    ],
)
def test_the_spelling_of_a_model(model: str, spelling: str) -> None:
    assert PROVIDER.model_id(model) == spelling
    assert PROVIDER.model_id(spelling) == spelling


@pytest.mark.parametrize(("prefill", "fit"), [(False, True), (True, False)])
def test_a_prefill_is_not_for_it(prefill: bool, fit: bool) -> None:  # noqa: FBT001
    assert (PROVIDER.unfit(Ask(Wire.MESSAGES, "x", prefill=prefill)) is None) is fit


def test_what_only_anthropic_knows_is_not_for_it() -> None:
    ask = Ask(Wire.MESSAGES, "x", fields=frozenset({"model", "speed", "container"}))
    assert PROVIDER.unfit(ask) == "does not know the field container"
    assert PROVIDER.unfit(Ask(Wire.MESSAGES, "x", fields=frozenset({"model", "foo"}))) is None


def credential(token: str = "gho_1", host: str | None = None) -> Credential:
    return Credential(OAUTH, Secret(token), "here", "digest", enterprise_host=host)


USUAL = Endpoints("https://api.githubcopilot.com", "https://api.github.com/copilot_internal/user")


@pytest.mark.parametrize(
    ("sign_in", "endpoints"),
    [
        (None, USUAL),
        (credential(), USUAL),
        (
            credential(host="company.ghe.com"),
            Endpoints(
                "https://copilot-api.company.ghe.com",
                "https://api.company.ghe.com/copilot_internal/user",
            ),
        ),
    ],
)
def test_an_enterprise_has_its_own_hosts(sign_in: Credential | None, endpoints: Endpoints) -> None:
    assert PROVIDER.endpoints(sign_in) == endpoints


def test_the_credential_s_header_field() -> None:
    assert PROVIDER.authorize(credential("gho_1")) == (("authorization", "Bearer gho_1"),)


# Against the simulated provider


@pytest.fixture(scope="module")
def sim() -> Iterator[Simulator]:
    with Simulator("balanced", clock=lambda: 1_795_000_000.0) as simulator:
        yield simulator


CLIENT: Headers = (("content-type", "application/json"), ("user-agent", "opencode/1.18.33"))
NASTY_CLIENT: Headers = (
    ("Authorization", "Bearer client's"),
    ("X-Api-Key", "client's"),
    ("Cookie", "client's"),
    ("x-limit-router-debug", "1"),
    ("x-initiator", "nobody"),
    ("anthropic-version", "2023-06-01"),
    ("X-Session-Id", "ses_1"),
)


def unprepared(outgoing: Outgoing) -> Changes:
    """The fields that it asks of every request, and nothing that the body would need."""
    headers = {"x-initiator": "user", "openai-intent": "x", "x-github-api-version": "2026-06-01"}
    return Changes(headers)


def answer(sim: Simulator, found: Matched, model: str, *, edit: bool = True) -> httpx.Response:
    provider = PROVIDER if edit else replace(PROVIDER, prepare=unprepared)
    request = rewrite.apply(found, Target(provider, sim.copilot_url, model, OAUTH))
    url = f"{request.scheme}://{request.host}:{request.port}{request.path}"
    headers = [*request.headers, *PROVIDER.authorize(credential(sim.tokens["github-copilot"]))]
    with httpx.Client(trust_env=False, timeout=10) as client:
        return client.request(request.method, url, headers=headers, content=request.body)


TOOL: dict[str, Any] = {
    "name": "bash",
    "input_schema": {"type": "object", "properties": {"$schema": STRING}},
}
HARMLESS: dict[str, Any] = {
    "model": "limit-router/claude-sonnet-4-6",
    "max_tokens": 4000,
    "messages": [user(TEXT)],
}
LOOP = [
    user(TEXT),
    {"role": "assistant", "content": [USED]},
    user(RESULT | {"content": [TEXT | MARKED, IMAGE]} | MARKED),
]
ADAPTIVE = {"type": "adaptive"}
NOT_PERMITTED = "Extra inputs are not permitted"

NASTY: list[Any] = [
    pytest.param(
        {"tools": [TOOL, TOOL | {"name": "b", "eager_input_streaming": True}]},
        (),
        f"tools.1.custom.eager_input_streaming: {NOT_PERMITTED}",
        id="eager input streaming",
    ),
    pytest.param(
        {"tools": [TOOL | {"input_schema": {"type": "object"} | DRAFT}]},
        (),
        f"tools.0.custom.input_schema.$schema: {NOT_PERMITTED}",
        id="a schema's dialect",
    ),
    pytest.param(
        {"tools": [TOOL | {"input_schema": {"type": "object", "properties": {"a": DRAFT}}}]},
        (),
        f"tools.0.custom.input_schema.properties.a.$schema: {NOT_PERMITTED}",
        id="a dialect further in",
    ),
    pytest.param(
        {"context_management": {"edits": []}},
        (),
        f"context_management: {NOT_PERMITTED}",
        id="context management",
    ),
    pytest.param(
        {"thinking": ADAPTIVE | {"block_binding": {"prefix_mismatch_behavior": "drop_block"}}},
        (),
        f"thinking.adaptive.block_binding: {NOT_PERMITTED}",
        id="block binding",
    ),
    pytest.param(
        MARKED, (), f"cache_control.ephemeral.scope: {NOT_PERMITTED}", id="the request's scope"
    ),
    pytest.param(
        {"system": [TEXT | MARKED]},
        (),
        f"system.0.cache_control.ephemeral.scope: {NOT_PERMITTED}",
        id="a scope in system",
    ),
    pytest.param(
        {"tools": [TOOL | MARKED]},
        (),
        f"tools.0.cache_control.ephemeral.scope: {NOT_PERMITTED}",
        id="a tool's scope",
    ),
    pytest.param(
        {"tools": [TOOL], "messages": LOOP},
        (),
        f"cache_control.ephemeral.scope: {NOT_PERMITTED}",
        id="a result's scope",
    ),
    pytest.param(
        {"messages": [user(TEXT), {"role": "assistant", "content": [USED]}, user(RESULT)]},
        (),
        "Requests which include `tool_use` or `tool_result` blocks must define tools",
        id="a history of tools without tools",
    ),
    pytest.param(
        {"messages": [user(TEXT, IMAGE)]},
        (),
        "missing required Copilot-Vision-Request header",
        id="an image",
    ),
    pytest.param(
        {},
        (("Copilot-Vision-Request", "true"),),
        "unexpected Copilot-Vision-Request header",
        id="no image",
    ),
    *[pytest.param({}, betas(it), "Unexpected value(s)", id=it) for it in REFUSED],
    pytest.param(
        {"thinking": ADAPTIVE}, betas(INTERLEAVED), "Unexpected value(s)", id="interleaved"
    ),
    pytest.param(
        {
            "tools": [
                TOOL
                | MARKED
                | {"eager_input_streaming": True}
                | {"input_schema": TOOL["input_schema"] | DRAFT | {"items": DRAFT}}
            ],
            "system": [TEXT | MARKED],
            "messages": LOOP,
            "thinking": ADAPTIVE | {"block_binding": {"prefix_mismatch_behavior": "drop_block"}},
            "context_management": {"edits": []},
        }
        | MARKED,
        betas(*REFUSED, INTERLEAVED, "pdfs-2024-09-25"),
        "Unexpected value(s)",
        id="everything",
    ),
]


@pytest.mark.parametrize(("fields", "headers", "refusal"), NASTY)
def test_what_it_refuses_raw_it_accepts_prepared(
    sim: Simulator, fields: dict[str, Any], headers: Headers, refusal: str
) -> None:
    body = json.dumps(HARMLESS | fields, ensure_ascii=False, indent=1).encode()
    client = (*CLIENT, *NASTY_CLIENT, *headers)
    found = matched(body, client, path="/v1/messages?beta=true&key=client's")
    raw = answer(sim, found, "claude-sonnet-4.6", edit=False)
    assert raw.status_code == 400, raw.text
    assert refusal in raw.json()["error"]["message"]
    accepted = answer(sim, found, "claude-sonnet-4.6")
    assert accepted.status_code == 200, accepted.text
    received = sim.requests[-1]
    assert received.status == 200
    assert b"client's" not in received.body
    assert "client's" not in str(received.headers)


def test_what_it_knows_is_accepted_as_it_is(sim: Simulator) -> None:
    fields = {
        "thinking": ADAPTIVE | {"block_binding": {"prefix_mismatch_behavior": "drop_block"}},
        "context_management": {"edits": []},
        "tools": [TOOL],
    }
    body = json.dumps(HARMLESS | fields).encode()
    headers = (*CLIENT, *betas(*[it for it in ACCEPTED if it != INTERLEAVED]))
    accepted = answer(sim, matched(body, headers), "claude-sonnet-4.6")
    assert accepted.status_code == 200, accepted.text
    assert sim.requests[-1].body == body.replace(
        b"limit-router/claude-sonnet-4-6", b"claude-sonnet-4.6"
    )
