import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from json_spelling import leaves, seeds, spelled, values

from core import wires
from core.jsonspan import parse
from core.model import StreamNote, Tokens, Wire
from core.sse import Event
from core.wires import messages

NOBODY_SAID: dict[str, Any] = {"type": "text", "text": messages.SYNTHETIC_ATTACHMENT}
TEXT: dict[str, Any] = {"type": "text", "text": "Hello."}
RESULT: dict[str, Any] = {"type": "tool_result", "tool_use_id": "t", "content": "ok"}
IMAGE: dict[str, Any] = {"type": "image", "source": {"type": "url", "url": "https://x.y/z"}}


@pytest.mark.parametrize(
    ("path", "wire"),
    [
        ("/v1/messages", Wire.MESSAGES),
        ("/api/anthropic/v1/messages", Wire.MESSAGES),
        ("/v1/chat/completions", Wire.CHAT),
        ("/chat/completions", Wire.CHAT),
        ("/v1/responses", Wire.RESPONSES),
        ("/v1/messages/count_tokens", None),
        ("/v1/messages/", None),
        ("/v1/models", None),
        ("/", None),
    ],
)
def test_a_path_says_its_wire(path: str, wire: Wire | None) -> None:
    assert wires.of_path(path) is wire


@pytest.mark.parametrize(
    ("path", "headers", "wire"),
    [
        ("/v1/messages", (), Wire.MESSAGES),
        ("/v1/responses", (("anthropic-version", "2023-06-01"),), Wire.RESPONSES),
        ("/v1/messages/count_tokens", (), Wire.MESSAGES),
        ("/nowhere", (("Anthropic-Version", "2023-06-01"),), Wire.MESSAGES),
        ("/nowhere", (("x-other", "anthropic-version"),), Wire.CHAT),
    ],
)
def test_an_unknown_path_is_answered_in_what_the_client_seems_to_speak(
    path: str, headers: tuple[tuple[str, str], ...], wire: Wire
) -> None:
    assert wires.guess(path, headers) is wire


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, "invalid_request_error"),
        (401, "authentication_error"),
        (402, "billing_error"),
        (403, "permission_error"),
        (404, "not_found_error"),
        (405, "invalid_request_error"),
        (413, "request_too_large"),
        (426, "invalid_request_error"),
        (429, "rate_limit_error"),
        (500, "api_error"),
        (503, "api_error"),
        (529, "overloaded_error"),
    ],
)
def test_an_error_on_the_messages_wire(status: int, kind: str) -> None:
    assert json.loads(wires.error_body(Wire.MESSAGES, status, "why")) == {
        "type": "error",
        "error": {"type": kind, "message": "why"},
    }


@pytest.mark.parametrize("wire", [Wire.CHAT, Wire.RESPONSES])
@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, "invalid_request_error"),
        (401, "authentication_error"),
        (403, "permission_error"),
        (404, "invalid_request_error"),
        (429, "rate_limit_error"),
        (500, "server_error"),
        (503, "server_error"),
    ],
)
def test_an_error_on_openai_s_wires(wire: Wire, status: int, kind: str) -> None:
    assert json.loads(wires.error_body(wire, status, "why")) == {
        "error": {"message": "why", "type": kind, "param": None, "code": None}
    }


@pytest.mark.parametrize("wire", Wire)
def test_an_error_may_quote_bytes_that_are_no_text(wire: Wire) -> None:
    """A path that is not UTF-8 comes with surrogates in it, which JSON cannot hold."""
    path = b"/caf\xe9".decode("utf-8", "surrogateescape")
    assert json.loads(wires.error_body(wire, 404, f"not {path}"))["error"]["message"] == "not /caf?"


def user(*blocks: Any) -> dict[str, Any]:
    return {"role": "user", "content": list(blocks)}


SAID: dict[str, Any] = {"role": "assistant", "content": "Well."}
ASKED: dict[str, Any] = {"role": "user", "content": [TEXT]}
HANDED: dict[str, Any] = {"role": "user", "content": [RESULT]}
BESIDE: dict[str, Any] = {"role": "user", "content": [NOBODY_SAID, IMAGE]}


@pytest.mark.parametrize(
    ("body", "start"),
    [
        ({}, None),
        ({"messages": "tool_result"}, None),
        ({"messages": []}, None),
        ({"messages": [ASKED]}, None),
        ({"messages": [ASKED, SAID, HANDED, SAID]}, None),
        ({"messages": [ASKED, SAID, HANDED, SAID, ASKED]}, None),
        ({"messages": [ASKED, SAID, HANDED]}, 1),
        ({"messages": [ASKED, SAID, HANDED, SAID, HANDED]}, 1),
        ({"messages": [ASKED, SAID, HANDED, BESIDE, SAID, HANDED, BESIDE]}, 1),
        ({"messages": [ASKED, SAID, ASKED, ASKED, SAID, SAID, HANDED]}, 4),
        ({"messages": [ASKED, "?", SAID, HANDED]}, 1),
        ({"messages": [SAID, HANDED]}, 0),
    ],
)
def test_where_the_pending_tool_loop_begins(body: dict[str, Any], start: int | None) -> None:
    assert messages.pending_loop(parse(json.dumps(body).encode())) == start


@pytest.mark.parametrize(
    ("message", "user_turn", "tool_result"),
    [
        pytest.param(user(TEXT), True, False, id="text"),
        pytest.param({"role": "user", "content": "Hi"}, True, False, id="a bare string"),
        pytest.param(user(IMAGE), True, False, id="an image alone"),
        pytest.param(user(RESULT), False, True, id="a tool result"),
        pytest.param(user(RESULT, RESULT), False, True, id="two tool results"),
        pytest.param(user(RESULT, TEXT), True, True, id="a tool result, and a person speaks"),
        pytest.param(user(TEXT, RESULT), True, True, id="a person speaks before the result"),
        pytest.param(user(RESULT, IMAGE), True, True, id="a tool result and an image"),
        pytest.param(user(NOBODY_SAID, IMAGE), False, False, id="a synthetic attachment"),
        pytest.param(user(NOBODY_SAID), False, False, id="a synthetic attachment's text"),
        pytest.param(user(RESULT, NOBODY_SAID, IMAGE), False, True, id="merged with the result"),
        pytest.param(user(NOBODY_SAID, IMAGE, NOBODY_SAID), False, False, id="two attachments"),
        pytest.param(user(NOBODY_SAID, IMAGE, TEXT), True, False, id="an attachment, then words"),
        pytest.param(
            {"role": "user", "content": messages.SYNTHETIC_ATTACHMENT}, False, False, id="bare"
        ),
        pytest.param(
            user({"type": "text", "text": messages.SYNTHETIC_ATTACHMENT + " see"}),
            True,
            False,
            id="not exactly its text",
        ),
        pytest.param(user(), False, False, id="no content"),
        pytest.param({"role": "user"}, False, False, id="content missing"),
        pytest.param({"role": "user", "content": None}, False, False, id="content null"),
        pytest.param({"role": "user", "content": ""}, True, False, id="an empty string"),
        pytest.param({"role": "assistant", "content": [TEXT]}, False, False, id="the assistant"),
        pytest.param({"content": [TEXT]}, False, False, id="nobody's"),
        pytest.param(user("a", 1, None), False, False, id="blocks that are none"),
        pytest.param(user({"type": "text", "text": ["x"]}), True, False, id="text that is none"),
        pytest.param(user({"type": ["text"]}), True, False, id="a type that is none"),
        pytest.param(None, False, False, id="no message"),
    ],
)
def test_who_spoke_last(message: Any, user_turn: bool, tool_result: bool) -> None:  # noqa: FBT001
    said = (messages.is_user_turn(message), messages.is_tool_result(message))
    assert said == (user_turn, tool_result)


@pytest.mark.parametrize(
    ("conversation", "found"),
    [
        ([user(TEXT)], False),
        ([user(IMAGE)], True),
        ([user(IMAGE), {"role": "assistant", "content": "I see"}, user(TEXT)], True),
        ([user(RESULT | {"content": [TEXT, IMAGE]})], True),
        ([user(RESULT | {"content": [TEXT]})], False),
        ([user(RESULT | {"content": [TEXT]}, {"type": "text", "text": "image"})], False),
        ([user({"type": "text", "text": "image"})], False),
        ([user({"type": "text", "text": '{"type": "image"}'})], False),
        ([user({"type": "tool_use", "input": {"type": "image"}})], False),
        ([user({"type": "document", "content": [IMAGE]})], False),
        ([{"role": "user", "content": "image"}], False),
        (["image", 1, {"image": "image"}], False),
        ({"type": "image"}, False),
        ("image", False),
        ([], False),
    ],
)
@pytest.mark.parametrize("seed", range(5))
def test_images_are_found_where_they_stand(conversation: Any, found: bool, seed: int) -> None:  # noqa: FBT001
    assert messages.has_images(parse(spelled({"messages": conversation}, seed))) is found


def test_no_messages_hold_no_image() -> None:
    assert not messages.has_images(parse(b"{}"))


@pytest.mark.parametrize(
    ("body", "last"),
    [
        (b"{}", None),
        (b'{"messages":[]}', None),
        (b'{"messages":{}}', None),
        (b'{"messages":"x"}', None),
        (b'{"messages":[{"a":1},"x"]}', None),
        (b'{"messages":[1,{"a":1}]}', {"a": 1}),
    ],
)
def test_the_last_message(body: bytes, last: Any) -> None:
    assert messages.last_message(parse(body)) == last


USAGE = {
    "input_tokens": 5,
    "output_tokens": 7,
    "cache_read_input_tokens": 11,
    "cache_creation_input_tokens": 13,
}
ALL = Tokens(5, 7, 11, 13)


@pytest.mark.parametrize(
    ("data", "note"),
    [
        ({"type": "message_start", "message": {"usage": USAGE}}, StreamNote(tokens=ALL)),
        ({"type": "message_start", "message": 1}, StreamNote(tokens=Tokens())),
        ({"type": "message_start"}, StreamNote(tokens=Tokens())),
        ({"type": "content_block_start", "index": 0}, StreamNote(content=True)),
        ({"type": "content_block_delta"}, StreamNote()),
        (
            {"type": "message_delta", "usage": {"output_tokens": 9}},
            StreamNote(tokens=Tokens(output=9)),
        ),
        ({"type": "message_stop"}, StreamNote(end=True)),
        ({"type": "ping"}, StreamNote()),
        (
            {"type": "error", "error": {"type": "overloaded_error"}},
            StreamNote(error="overloaded_error"),
        ),
        ({"type": "error", "error": {"type": None}}, StreamNote(error="error")),
        ({"type": "error", "error": "what"}, StreamNote(error="error")),
        ({"type": "error", "error": {"type": "x" * 200}}, StreamNote(error="x" * 80)),
        ({"type": ["message_stop"]}, StreamNote()),
        ({}, StreamNote()),
        ([{"type": "message_stop"}], StreamNote()),
        ("message_stop", StreamNote()),
    ],
)
def test_what_an_event_tells(data: Any, note: StreamNote) -> None:
    assert messages.note(Event("ignored", json.dumps(data).encode())) == note


@pytest.mark.parametrize(
    "data", [b"", b"[DONE]", b"{", b"\xff", b'"\xff"', b'{"type":"\xff"}', b"[" * 100_000]
)
def test_an_event_that_cannot_be_read_tells_nothing(data: bytes) -> None:
    assert messages.note(Event("message_stop", data)) == StreamNote()


@given(st.binary(max_size=50))
def test_any_event_is_survived(data: bytes) -> None:
    messages.note(Event("", data))


_TYPES = st.sampled_from(["message_start", "message_delta", "error", "content_block_start"])


@given(_TYPES, values, values, seeds)
def test_an_event_of_any_shape_is_survived(kind: str, message: Any, usage: Any, seed: int) -> None:
    shape = {"type": kind, "message": message, "error": message, "usage": usage}
    note = messages.note(Event("", spelled(shape, seed)))
    assert note.error is None or kind == "error"


@given(st.dictionaries(st.sampled_from(sorted(USAGE)), leaves))
def test_figures_that_are_none_say_nothing(usage: dict[str, Any]) -> None:
    def figure(name: str) -> int | None:
        value = usage.get(name)
        return value if type(value) is int and 0 <= value <= 10**9 else None

    assert messages.tokens({"usage": usage}) == Tokens(*[figure(name) for name in USAGE])


def test_no_usage_says_nothing() -> None:
    assert [messages.tokens(it) for it in ({}, {"usage": None}, {"usage": []})] == [Tokens()] * 3


@pytest.mark.parametrize(
    ("user_id", "session"),
    [
        ('"user_1a_account_2b_session_0f3c1122-ab"', "0f3c1122-ab"),
        (r'"{\"device_id\":\"d\",\"session_id\":\"0f3c1122-ab\"}"', "0f3c1122-ab"),
        ('"user_1a"', None),
        ('""', None),
        ("7", None),
        ("null", None),
    ],
)
def test_claude_codes_session(user_id: str, session: str | None) -> None:
    body = parse(b'{"metadata":{"user_id":' + user_id.encode() + b"}}")
    assert messages.session(body) == session
    assert messages.session(parse(b'{"metadata":{}}')) is None
    assert messages.session(parse(b"{}")) is None


@pytest.mark.parametrize(
    ("body", "seconds"),
    [
        (b'{"system":[{"cache_control":{"type":"ephemeral","ttl":"1h"}}]}', 3600.0),
        (b'{"system":[{"cache_control":{"type":"ephemeral", "ttl" : "5m"}}]}', 300.0),
        (b"{}", 300.0),
    ],
)
def test_how_long_the_prompt_cache_is_asked_to_be_kept(body: bytes, seconds: float) -> None:
    assert messages.cache_ttl_s(parse(body)) == seconds


@pytest.mark.parametrize(
    ("body", "thinks", "longest"),
    [
        (b'{"thinking":{"type":"enabled","budget_tokens":9},"max_tokens":10}', True, 10),
        (b'{"thinking":{"type":"adaptive"},"max_tokens":"10"}', True, None),
        (b'{"thinking":{"type":"disabled"},"max_tokens":0}', False, None),
        (b'{"thinking":null,"max_tokens":-1}', False, None),
        (b"{}", False, None),
    ],
)
def test_thinking_and_the_longest_answer(body: bytes, *, thinks: bool, longest: int | None) -> None:
    assert (messages.thinks(parse(body)), messages.max_tokens(parse(body))) == (thinks, longest)


def test_who_an_answer_is_by() -> None:
    start = '{"type":"message_start","message":{"model":"claude-sonnet-4-5","usage":{}}}'
    assert messages.note(Event("", start)).model == "claude-sonnet-4-5"
    assert messages.model({"model": "two words"}) is None
    assert messages.model({"model": 7}) is None
