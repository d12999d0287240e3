"""What is answered: texts, tools, thoughts, streams, and compression."""

import gzip
import json
from typing import Any

import pytest
from simulator_caller import (
    PROVIDERS,
    TOOL,
    Caller,
    Json,
    assistant,
    body,
    error_of,
    events,
    result,
    user,
)

ENABLED = {"type": "enabled", "budget_tokens": 1024}
CALL = user('Now [call bash {"command": "ls [a] \\"b\\""}] please.')
FIELDS = {
    "text_delta": "text",
    "thinking_delta": "thinking",
    "input_json_delta": "partial_json",
}
DOTTED = {"anthropic": "claude-sonnet-4-5", "github-copilot": "claude-sonnet-4.5"}


def put_together(stream: list[Json]) -> list[Json]:
    """The content blocks that a stream builds up."""
    blocks: list[Json] = []
    parts: list[str] = []
    for event in stream:
        if event["type"] == "content_block_start":
            blocks.append(event["content_block"])
            parts.clear()
        if event["type"] == "content_block_delta":
            kind = event["delta"]["type"]
            if kind == "signature_delta":
                blocks[-1]["signature"] = event["delta"]["signature"]
            else:
                parts.append(event["delta"][FIELDS[kind]])
        if event["type"] == "content_block_stop":
            if blocks[-1]["type"] == "tool_use":
                blocks[-1]["input"] = json.loads("".join(parts))
            else:
                blocks[-1][blocks[-1]["type"]] = "".join(parts)
    return blocks


@pytest.mark.parametrize("provider", PROVIDERS)
def test_a_text_says_who_served(caller: Caller, provider: str) -> None:
    answer = caller.ask(provider, body(user("What is my secret plan?")))
    message = answer.json()
    text = f"Served by {provider} as {DOTTED[provider]}. "
    assert message["content"] == [{"type": "text", "text": text}]
    assert message["stop_reason"] == "end_turn"
    assert message["usage"]["input_tokens"] == len(answer.request.content) // 4
    assert message["usage"]["output_tokens"] > 0
    assert "secret plan" not in answer.text


@pytest.mark.parametrize("provider", PROVIDERS)
def test_a_stream_is_the_same_in_pieces(caller: Caller, provider: str) -> None:
    answer = caller.ask(provider, body(stream=True))
    assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
    stream = events(answer.text)
    kinds = list(dict.fromkeys(it["type"] for it in stream))
    assert kinds == [
        "message_start",
        "content_block_start",
        "ping",
        "content_block_delta",
        "content_block_stop",
        "message_delta",
        "message_stop",
    ]
    assert stream[0]["message"]["content"] == []
    text = f"Served by {provider} as {DOTTED[provider]}. "
    assert put_together(stream) == [{"type": "text", "text": text}]
    assert stream[-2]["delta"]["stop_reason"] == "end_turn"
    assert stream[-2]["usage"]["output_tokens"] > 0


@pytest.mark.parametrize("provider", PROVIDERS)
def test_a_tool_is_called_where_the_user_asks_for_it(caller: Caller, provider: str) -> None:
    arguments = {"command": 'ls [a] "b"'}
    message = caller.ask(provider, body(CALL, tools=[TOOL])).json()
    (use,) = message["content"]
    assert (use["name"], use["input"]) == ("bash", arguments)
    assert message["stop_reason"] == "tool_use"
    stream = events(caller.ask(provider, body(CALL, tools=[TOOL], stream=True)).text)
    assert put_together(stream)[0]["input"] == arguments
    assert stream[-2]["delta"]["stop_reason"] == "tool_use"


@pytest.mark.parametrize(
    "asked",
    [
        body(CALL),
        body(CALL, tools=[TOOL | {"name": "read"}]),
        body(user('[call bash {"command": }]'), tools=[TOOL]),
        body(user('[call bash {"command": "ls"}'), tools=[TOOL]),
        body(user("[call bash ls]"), tools=[TOOL]),
        body(CALL, assistant("No."), user("Well?"), tools=[TOOL]),
    ],
    ids=["no tools", "another tool", "no JSON", "not closed", "no arguments", "not now"],
)
def test_no_tool_is_called_otherwise(caller: Caller, asked: Json) -> None:
    (block,) = caller.ask("anthropic", asked).json()["content"]
    assert block["type"] == "text"


@pytest.mark.parametrize(
    ("content", "said"),
    [("x" * 100, "x" * 80), ([{"type": "text", "text": "one"}], "one"), (None, ""), ("", "")],
)
def test_what_a_tool_said_is_told_back(caller: Caller, content: Any, said: str) -> None:
    use = caller.ask("anthropic", body(CALL, tools=[TOOL])).json()["content"]
    told = user(result(content, use[0]["id"]))
    again = body(CALL, assistant(*use), told, tools=[TOOL])
    (block,) = caller.ask("anthropic", again).json()["content"]
    assert block["text"] == f"Tool said: {said}"


def test_messages_of_one_role_in_a_row_are_one_turn(caller: Caller) -> None:
    use = caller.ask("anthropic", body(CALL, tools=[TOOL])).json()["content"]
    told = user(result("x", use[0]["id"]))
    row = body(CALL, assistant("Well."), assistant(*use), told, user("And?"), tools=[TOOL])
    assert caller.ask("anthropic", row).json()["content"][0]["text"] == "Tool said: x"


@pytest.mark.parametrize("provider", PROVIDERS)
@pytest.mark.parametrize("mode", ["whole", "stream"])
def test_own_thoughts_may_be_sent_back(caller: Caller, provider: str, mode: str) -> None:
    asked = body(CALL, tools=[TOOL], thinking=ENABLED)
    answer = caller.ask(provider, asked | {"stream": mode == "stream"})
    whole = mode == "whole"
    content = answer.json()["content"] if whole else put_together(events(answer.text))
    assert [it["type"] for it in content] == ["thinking", "tool_use"]
    loop = [CALL, assistant(*content), user(result("x", content[1]["id"]))]
    assert caller.ask(provider, asked | {"messages": loop}).status_code == 200


@pytest.mark.parametrize("provider", PROVIDERS)
def test_an_altered_thought_is_refused(caller: Caller, provider: str) -> None:
    asked = body(thinking=ENABLED)
    thought, text = caller.ask(provider, asked).json()["content"]
    altered = thought | {"thinking": thought["thinking"] + "!"}
    for block, status in [(altered, 400), (thought, 200)]:
        again = body(user("Hello."), assistant(block, text), user("And?"), thinking=ENABLED)
        answer = caller.ask(provider, again)
        assert answer.status_code == status
        if status == 400:
            message = "messages.1.content.0: Invalid `signature` in `thinking` block"
            assert error_of(answer)[2] == message


@pytest.mark.parametrize(("mine", "other"), [PROVIDERS, PROVIDERS[::-1]])
def test_a_foreign_thought_is_refused(caller: Caller, mine: str, other: str) -> None:
    content = caller.ask(mine, body(thinking=ENABLED)).json()["content"]
    again = body(user("Hello."), assistant(*content), user("And?"))
    assert "Invalid `signature`" in error_of(caller.ask(other, again))[2]
    assert caller.ask(mine, again).status_code == 200


def test_thoughts_are_of_one_account_and_at_copilot_of_one_model(caller: Caller) -> None:
    key = {
        "x_api_key": caller.sim.tokens["anthropic-api-key"],
        "authorization": None,
    }
    content = caller.ask("anthropic", body(thinking=ENABLED)).json()["content"]
    again = body(user("Hello."), assistant(*content), user("And?"))
    assert caller.ask("anthropic", again, **key).status_code == 400
    assert caller.ask("anthropic", again | {"model": "claude-opus-4-5"}).status_code == 200
    content = caller.ask("github-copilot", body(thinking=ENABLED)).json()["content"]
    again = body(user("Hello."), assistant(*content), user("And?"))
    assert caller.ask("github-copilot", again | {"model": "claude-opus-4-5"}).status_code == 400


def test_adaptive_thinking_thinks(caller: Caller) -> None:
    asked = body(thinking={"type": "adaptive"}, model="claude-sonnet-5")
    assert caller.ask("anthropic", asked).json()["content"][0]["type"] == "thinking"


@pytest.mark.parametrize(
    ("offered", "coding"),
    [
        ("gzip, deflate", "gzip"),
        ("*", "gzip"),
        ("gzip;q=0.5", "gzip"),
        ("gzip;q=0", None),
        ("identity", None),
        (None, None),
    ],
)
@pytest.mark.parametrize("mode", ["whole", "stream"])
def test_compressed_where_it_is_offered(
    caller: Caller, offered: str | None, coding: str | None, mode: str
) -> None:
    question = caller.question("anthropic", body(stream=mode == "stream"), accept_encoding=offered)
    answer = caller.http.send(question, stream=True)
    raw = b"".join(answer.iter_raw())
    answer.close()
    assert answer.headers.get("content-encoding") == coding
    plain = gzip.decompress(raw) if coding else raw
    assert caller.sim.requests[-1].response == plain
    assert b"Served by" in plain


def test_errors_are_compressed_as_well(caller: Caller) -> None:
    refused = caller.ask("anthropic", {})
    assert refused.headers["content-encoding"] == "gzip"
    assert refused.headers["request-id"] == refused.json()["request_id"]
