import gzip
import json
import zlib
from dataclasses import replace
from typing import Any

import brotli
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st
from json_spelling import leaves, objects, seeds, spelled

from core import match as matching
from core.errors import RequestError
from core.match import LARGEST_BODY, Matched, match
from core.model import Ask, Headers, HttpRequest, HttpResponse, Wire
from core.wires.messages import SYNTHETIC_ATTACHMENT

VIRTUAL = "limit-router.invalid"
FOREIGN = "api.anthropic.com"
MODELS = ("claude-sonnet-4-5", "claude-opus-4-5")
SONNET = "limit-router/claude-sonnet-4-5"
HELLO = [{"role": "user", "content": "Hello."}]
ASK = Ask(Wire.MESSAGES, "claude-sonnet-4-5")


def body(model: Any = SONNET, messages: Any = HELLO, **fields: Any) -> bytes:
    return json.dumps({"model": model, "messages": messages} | fields).encode()


def post(
    content: bytes, *headers: tuple[str, str], host: str = VIRTUAL, path: str = "/v1/messages"
) -> HttpRequest:
    return HttpRequest("POST", "https", host, 443, path, headers, content)


def asked(request: HttpRequest) -> Matched:
    matched = match(request, MODELS)
    assert isinstance(matched, Matched)
    return matched


def refused(request: HttpRequest) -> RequestError:
    with pytest.raises(RequestError) as caught:
        match(request, MODELS)
    return caught.value


# Whose request it is


@pytest.mark.parametrize("host", [VIRTUAL, "LIMIT-ROUTER.INVALID", "limit-router.invalid."])
@pytest.mark.parametrize("model", [SONNET, "claude-sonnet-4-5"])
def test_the_virtual_host_takes_a_model_with_and_without_prefix(host: str, model: str) -> None:
    request = post(body(model), host=host)
    matched = asked(request)
    assert (matched.ask, matched.request) == (ASK, request)
    assert matched.body.text == request.body
    assert matched.model.raw == json.dumps(model).encode()


@pytest.mark.parametrize("host", [FOREIGN, "api.githubcopilot.com", "127.0.0.1"])
@pytest.mark.parametrize(
    "path", ["/v1/messages", "/v1/messages?beta=true", "/api/v1/messages", "/v1/messages?a=b&c#d"]
)
def test_a_prefixed_model_is_ours_on_any_host(host: str, path: str) -> None:
    request = post(body(), host=host, path=path)
    matched = asked(request)
    assert (matched.ask, matched.request) == (ASK, request)


@pytest.mark.parametrize(
    "request_",
    [
        pytest.param(post(body("claude-sonnet-4-5"), host=FOREIGN), id="a bare id"),
        pytest.param(post(body("x/limit-router/y"), host=FOREIGN), id="not at the start"),
        pytest.param(post(body("limit-router"), host=FOREIGN), id="no slash"),
        pytest.param(post(body(None), host=FOREIGN), id="no string"),
        pytest.param(post(body([SONNET]), host=FOREIGN), id="a list"),
        pytest.param(post(b'{"messages":[]}', host=FOREIGN), id="no model"),
        pytest.param(post(b'["limit-router"]', host=FOREIGN), id="no object"),
        pytest.param(post(b"", host=FOREIGN), id="no body"),
        pytest.param(post(b'{"model":', host=FOREIGN), id="broken"),
        pytest.param(post(b'{"model":1,"model":1}', host=FOREIGN), id="a key twice"),
        pytest.param(
            post(b'{"a":1,"a":1,"text":"use limit-router/x"}', host=FOREIGN), id="broken, a mention"
        ),
        pytest.param(post(b"[" * 300 + b"]" * 300, host=FOREIGN), id="deep"),
        pytest.param(post(b"\xff limit-router", host=FOREIGN), id="not UTF-8"),
        pytest.param(
            post(body("gpt", [{"role": "user", "content": f"what is {SONNET}?"}]), host=FOREIGN),
            id="a prompt that mentions us",
        ),
        pytest.param(
            post(body("gpt", [{"role": "user", "content": SONNET}]), host=FOREIGN),
            id="a prompt that is our name",
        ),
        pytest.param(post(body("gpt", metadata={"model": SONNET}), host=FOREIGN), id="further in"),
        pytest.param(post(b"x", ("content-encoding", "gzip"), host=FOREIGN), id="not gzip"),
        pytest.param(post(body(), host=FOREIGN, path="/v1/other"), id="another path"),
        pytest.param(post(body(), host=FOREIGN, path="/x?/v1/messages"), id="only in the query"),
        pytest.param(replace(post(body(), host=FOREIGN), method="PUT"), id="another method"),
        pytest.param(
            replace(post(b"", host=FOREIGN, path="/v1/models"), method="GET"), id="models"
        ),
        pytest.param(post(body(), host=f"{VIRTUAL}.example.com", path="/x"), id="a look-alike"),
        pytest.param(post(body("claude-sonnet-4-5"), host=f"x.{VIRTUAL}"), id="a host below ours"),
    ],
)
def test_what_is_not_ours_is_left_alone(request_: HttpRequest) -> None:
    assert match(request_, MODELS) is None


def test_a_large_foreign_body_is_left_alone() -> None:
    assert match(post(b" " * (LARGEST_BODY + 1), host=FOREIGN), MODELS) is None


@pytest.mark.parametrize(
    ("encoding", "text", "status"),
    [
        ("gzip", gzip.compress(bytes(LARGEST_BODY + 1), 1), 400),
        ("gzip", gzip.compress(b"{}") + b"x", 400),
        ("gzip", b"{}", 400),
        ("gzip, gzip", b"x", 415),
        ("what", b"x", 415),
    ],
)
def test_what_cannot_be_decoded_goes_nowhere(encoding: str, text: bytes, status: int) -> None:
    with pytest.raises(RequestError) as caught:
        match(post(text, ("content-encoding", encoding), host=FOREIGN), MODELS)
    assert caught.value.status == status


@pytest.mark.parametrize(
    "path",
    [
        "/v1/messages/count_tokens",
        "/v1/messages/",
        "/v1/messages/batches",
        "/V1/Messages",
        "/v1/m%65ssages",
        "/v1/messages;x",
        "/v1/completions",
        "/v1/complete",
        "/v1/chat/completions",
        "/v1/responses",
        "/v1/embeddings",
    ],
)
def test_another_path_of_a_wire_is_refused_and_not_let_through(path: str) -> None:
    with pytest.raises(RequestError) as caught:
        match(post(body(), host=FOREIGN, path=path), MODELS)
    assert caught.value.status == 404


@pytest.mark.parametrize(
    "text",
    [
        body().decode().encode("utf-16"),
        body().decode().encode("utf-32-be"),
        rb'{"model":"\u006cimit-router/x","model":1}',
        b'{"model":"\\u006cimit-router\\/x","a":"\xff"}',
        b'{"model":"limit-router\\u002Fx",',
    ],
)
def test_what_cannot_be_read_safely_and_is_ours_goes_nowhere(text: bytes) -> None:
    with pytest.raises(RequestError) as caught:
        match(post(text, host=FOREIGN), MODELS)
    assert caught.value.status == 400


@pytest.mark.parametrize("host", [FOREIGN, VIRTUAL])
@pytest.mark.parametrize(
    ("field", "served"),
    [
        (("Origin", "https://evil.example"), False),
        (("origin", "null"), False),
        (("Sec-Fetch-Site", "cross-site"), False),
        (("Sec-Fetch-Site", "same-origin"), False),
        (("Sec-Fetch-Site", "none"), True),
        (("Sec-Fetch-Mode", "cors"), True),
    ],
)
def test_a_web_page_is_not_served(host: str, field: tuple[str, str], served: bool) -> None:  # noqa: FBT001
    if served:
        assert isinstance(match(post(body(), field, host=host), MODELS), Matched)
        return
    with pytest.raises(RequestError) as caught:
        match(post(body(), field, host=host), MODELS)
    assert caught.value.status == 403


@given(objects, seeds)
def test_foreign_json_is_left_alone(value: dict[str, Any], seed: int) -> None:
    assert match(post(spelled(value | {"model": "gpt"}, seed), host=FOREIGN), MODELS) is None


@given(st.binary(max_size=200))
def test_foreign_bytes_are_left_alone(content: bytes) -> None:
    assert match(post(content, host=FOREIGN), MODELS) is None


@given(st.binary(max_size=200))
def test_any_bytes_on_the_virtual_host_are_a_client_s_mistake(content: bytes) -> None:
    assert refused(post(content)).status == 400


@pytest.mark.parametrize(
    ("content", "status"),
    [
        (b'{"model":"limit-router/x","model":"limit-router/x"}', 400),
        (b'{"model":"limit-router\\/x"', 400),
        (b'{"model":"limit-router/x","text":"\xff"}', 400),
        (b'{"model":"limit-router/x","deep":' + b"[" * 201 + b"]" * 201 + b"}", 400),
        (b'{"model":"limit-router/x"}' + b" " * LARGEST_BODY, 413),
    ],
    ids=["twice", "cut short", "not UTF-8", "deep", "large"],
)
def test_what_claims_us_is_not_let_through_unread(content: bytes, status: int) -> None:
    assert refused(post(content, host=FOREIGN)).status == status


def test_what_claims_us_under_a_compression_is_not_let_through_either() -> None:
    content = gzip.compress(b'{"model":"limit-router/x","model":"limit-router/x"}')
    assert refused(post(content, ("content-encoding", "gzip"), host=FOREIGN)).status == 400


@given(objects, seeds)
def test_every_spelling_of_our_model_is_ours(value: dict[str, Any], seed: int) -> None:
    whole = value | {"model": SONNET, "messages": HELLO}
    for host in (VIRTUAL, FOREIGN):
        request = post(spelled(whole, seed), host=host)
        matched = asked(request)
        assert matched.request == request
        assert matched.model.decode() == SONNET
        assert matched.body.decode() == whole


@pytest.mark.parametrize(
    ("method", "host", "path", "may"),
    [
        ("GET", VIRTUAL, "/anything", True),
        ("POST", VIRTUAL, "/v1/messages", True),
        ("POST", FOREIGN, "/v1/messages", True),
        ("POST", FOREIGN, "/v1/messages?beta=true", True),
        ("POST", FOREIGN, "/v1/responses", True),
        ("POST", FOREIGN, "/v1/chat/completions", True),
        ("GET", FOREIGN, "/v1/messages", False),
        ("POST", FOREIGN, "/v1/other?x=/v1/messages", False),
    ],
)
def test_which_bodies_have_to_be_read(method: str, host: str, path: str, may: bool) -> None:  # noqa: FBT001
    assert matching.may_match(method, host, path) is may


# What is refused, and in what words

_OURS = "limit-router serves: claude-sonnet-4-5, claude-opus-4-5"


@pytest.mark.parametrize(
    ("model", "said"),
    [
        (
            "limit-router/claude-sonet-4-5",
            f"there is no model 'claude-sonet-4-5' (did you mean claude-sonnet-4-5?); {_OURS}",
        ),
        (
            "gemini",
            f"there is no model 'gemini'; {_OURS}",
        ),
        (
            "limit-router/",
            f"there is no model ''; {_OURS}",
        ),
        (
            "q" * 5000,
            f"there is no model '{'q' * 80}'; {_OURS}",
        ),
    ],
)
def test_an_unknown_model(model: str, said: str) -> None:
    error = refused(post(body(model)))
    assert (error.status, str(error)) == (404, said)


_NO_MODEL = "the body has no `model`, or one that is not a string"
_NOT_JSON = "the body is not JSON that can be routed: "


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"{}", _NO_MODEL),
        (b'{"model":null}', _NO_MODEL),
        (b'{"model":""}', _NO_MODEL),
        (b'{"model":["x"]}', _NO_MODEL),
        (b"[]", _NOT_JSON + "it is not an object"),
        (b"", _NOT_JSON + "Input data was truncated"),
        (b'{"model":"a","model":"a"}', _NOT_JSON + "a key stands twice"),
        (b'{"model":"ab","model":"a"}', _NOT_JSON + "the key 'model' stands twice"),
        (b'{"model":"a","mod\\u0065l":"b"}', _NOT_JSON + "the key 'model' stands twice"),
        (b'{"model":"\xff"}', _NOT_JSON + "byte 10 is not UTF-8"),
        (b"[" * 201 + b"]" * 201, _NOT_JSON + "nested deeper than 200 levels"),
    ],
)
def test_a_body_that_names_no_model(content: bytes, said: str) -> None:
    error = refused(post(content))
    assert (error.status, str(error)) == (400, said)


@pytest.mark.parametrize(
    "messages",
    [b'[{"content":1e999}]', b'[{"content":"\\ud800 and on"}]'],
)
def test_a_conversation_that_cannot_be_read_safely(messages: bytes) -> None:
    error = refused(post(b'{"messages":' + messages + b',"model":"claude-opus-4-5"}'))
    assert error.status == 400
    assert str(error).startswith(_NOT_JSON)


_SERVED = "limit-router serves POST /v1/messages and GET /v1/models, not "


@pytest.mark.parametrize(
    ("method", "path", "status", "said"),
    [
        ("POST", "/v1/other?x=1", 404, _SERVED + "/v1/other"),
        ("GET", "/", 404, _SERVED + "/"),
        ("POST", "/v1/messages/count_tokens", 404, _SERVED + "/v1/messages/count_tokens"),
        ("POST", "/v1/chat/completions", 404, _SERVED + "/v1/chat/completions"),
        ("GET", "/v1/models/claude-sonnet-4-5", 404, _SERVED + "/v1/models/claude-sonnet-4-5"),
        ("GET", "/" + "x" * 200, 404, _SERVED + "/" + "x" * 79),
        ("GET", "/v1/messages", 405, "/v1/messages takes POST, not GET"),
        ("PUT", "/v1/messages?beta=true", 405, "/v1/messages takes POST, not PUT"),
        ("X" * 50, "/v1/messages", 405, "/v1/messages takes POST, not " + "X" * 16),
        ("POST", "/v1/models", 405, "/v1/models takes GET, not POST"),
    ],
)
def test_a_target_that_does_not_exist(method: str, path: str, status: int, said: str) -> None:
    error = refused(replace(post(body(), path=path), method=method))
    assert (error.status, str(error)) == (status, said)


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/responses"])
def test_our_model_on_a_wire_that_is_not_served(path: str) -> None:
    error = refused(post(body(), host="api.openai.com", path=path))
    assert (error.status, str(error)) == (404, _SERVED + path)


@pytest.mark.parametrize("path", ["/v1/messages", "/v1/realtime"])
def test_upgrades_are_refused(path: str) -> None:
    error = refused(post(body(), ("Upgrade", "websocket"), path=path))
    assert (error.status, str(error)) == (
        426,
        "limit-router serves no upgraded connections, only HTTP requests",
    )


@pytest.mark.parametrize(
    ("path", "headers", "expected"),
    [
        (
            "/v1/messages",
            (),
            {"type": "error", "error": {"type": "not_found_error", "message": "why"}},
        ),
        (
            "/v1/nothing",
            (("Anthropic-Version", "2023-06-01"),),
            {"type": "error", "error": {"type": "not_found_error", "message": "why"}},
        ),
        (
            "/v1/responses?x=/v1/messages",
            (),
            {
                "error": {
                    "message": "why",
                    "type": "invalid_request_error",
                    "param": None,
                    "code": None,
                }
            },
        ),
    ],
)
def test_a_refusal_is_in_the_caller_s_own_format(
    path: str, headers: Headers, expected: Any
) -> None:
    response = matching.refuse(post(b"", *headers, path=path), RequestError(404, "why"))
    assert (response.status, response.headers) == (404, (("content-type", "application/json"),))
    assert json.loads(response.body) == expected


def test_a_failure_carries_further_fields() -> None:
    response = matching.failure(post(b""), 429, "spent", (("retry-after", "7"),))
    assert (response.status, response.headers) == (
        429,
        (("content-type", "application/json"), ("retry-after", "7")),
    )


def test_a_path_that_is_no_text_is_refused_in_words_all_the_same() -> None:
    request = post(b"", path=b"/caf\xe9".decode("utf-8", "surrogateescape"))
    response = matching.refuse(request, refused(request))
    assert json.loads(response.body)["error"]["message"] == _SERVED + "/caf?"


# Compressed bodies


def raw_deflate(data: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-15)
    return packer.compress(data) + packer.flush()


@pytest.mark.parametrize(
    ("encoding", "pack"),
    [
        ("gzip", gzip.compress),
        ("GZip", gzip.compress),
        ("deflate", zlib.compress),
        ("deflate", raw_deflate),
        ("br", brotli.compress),
        ("zstd", zstandard.ZstdCompressor().compress),
        ("identity", bytes),
    ],
)
@pytest.mark.parametrize("host", [VIRTUAL, FOREIGN])
def test_a_compressed_body_is_read_and_goes_on_decoded(encoding: str, pack: Any, host: str) -> None:
    content = body(text="x" * 200_000)
    fields = (("A", "1"), ("Content-Encoding", encoding), ("b", "2"))
    matched = asked(post(pack(content), *fields, host=host))
    assert matched.ask == ASK
    assert matched.request == post(content, ("A", "1"), ("b", "2"), host=host)
    assert matched.body.text == content


@pytest.mark.parametrize(
    ("encoding", "content", "status", "said"),
    [
        ("gzip", body(), 400, "the body is not what its Content-Encoding says"),
        ("compress", body(), 415, "the Content-Encoding 'compress' is not supported"),
        ("gzip, br", body(), 415, "the Content-Encoding 'gzip, br' is not supported"),
        (
            "gzip",
            gzip.compress(bytes(LARGEST_BODY + 1), 1),
            400,
            "the body decodes to more than is allowed",
        ),
        ("gzip", bytes(LARGEST_BODY + 1), 413, "the body is larger than 64 MB"),
    ],
    ids=["garbage", "unknown", "a list", "a bomb", "large"],
)
def test_a_body_that_cannot_be_decoded(
    encoding: str, content: bytes, status: int, said: str
) -> None:
    error = refused(post(content, ("content-encoding", encoding)))
    assert (error.status, str(error)) == (status, said)


def test_the_largest_body_and_one_byte_more() -> None:
    content = body()
    padding = b" " * (LARGEST_BODY - len(content))
    assert asked(post(content + padding)).ask == ASK
    error = refused(post(content + padding + b" "))
    assert (error.status, str(error)) == (413, "the body is larger than 64 MB")


# The model list


@pytest.mark.parametrize("path", ["/v1/models", "/v1/models?limit=1000"])
def test_the_model_list(path: str) -> None:
    response = match(HttpRequest("GET", "https", VIRTUAL, 443, path), MODELS)
    assert isinstance(response, HttpResponse)
    assert (response.status, response.headers) == (200, (("content-type", "application/json"),))

    def entry(name: str) -> dict[str, Any]:
        return {
            "id": name,
            "object": "model",
            "type": "model",
            "display_name": name,
            "owned_by": "limit-router",
            "created": 0,
            "created_at": "1970-01-01T00:00:00Z",
        }

    assert json.loads(response.body) == {
        "object": "list",
        "data": [entry("claude-sonnet-4-5"), entry("claude-opus-4-5")],
        "has_more": False,
        "first_id": "claude-sonnet-4-5",
        "last_id": "claude-opus-4-5",
    }


def test_an_empty_model_list() -> None:
    response = match(HttpRequest("GET", "https", VIRTUAL, 443, "/v1/models"), ())
    assert isinstance(response, HttpResponse)
    assert json.loads(response.body) == {
        "object": "list",
        "data": [],
        "has_more": False,
        "first_id": None,
        "last_id": None,
    }


def test_the_head_of_the_model_list() -> None:
    response = match(HttpRequest("HEAD", "https", VIRTUAL, 443, "/v1/models"), MODELS)
    assert response == HttpResponse(200, (("content-type", "application/json"),), b"")


# What is asked for

TEXT = {"type": "text", "text": "Hello."}
RESULT = {"type": "tool_result", "tool_use_id": "t", "content": "ok"}
IMAGE = {"type": "image", "source": {"type": "url", "url": "https://x.y/z"}}
SYNTHETIC = {"type": "text", "text": SYNTHETIC_ATTACHMENT}
SAID = {"role": "assistant", "content": [TEXT]}


def user(*blocks: Any) -> dict[str, Any]:
    return {"role": "user", "content": list(blocks)}


@pytest.mark.parametrize(
    ("messages", "facts"),
    [
        pytest.param([user(TEXT)], {}, id="text"),
        pytest.param(HELLO, {}, id="a bare string"),
        pytest.param([user(TEXT), SAID, user(RESULT)], {"user_turn": False, "tool_loop": True}),
        pytest.param([user(RESULT), SAID, user(TEXT)], {}, id="after a tool loop"),
        pytest.param([user(RESULT, TEXT)], {"tool_loop": True}, id="a result, and words"),
        pytest.param([user(IMAGE)], {"images": True}, id="an image"),
        pytest.param([user(IMAGE), SAID, user(TEXT)], {"images": True}, id="an earlier image"),
        pytest.param(
            [user(RESULT | {"content": [TEXT, IMAGE]})],
            {"user_turn": False, "tool_loop": True, "images": True},
            id="an image inside a result",
        ),
        pytest.param(
            [user(RESULT, SYNTHETIC, IMAGE)],
            {"user_turn": False, "tool_loop": True, "images": True},
            id="a synthetic attachment, merged",
        ),
        pytest.param(
            [user(SYNTHETIC, IMAGE)], {"user_turn": False, "images": True}, id="a synthetic one"
        ),
        pytest.param([user()], {"user_turn": False}, id="no content"),
        pytest.param([], {"user_turn": False}, id="no message"),
        pytest.param("what", {"user_turn": False}, id="no messages"),
        pytest.param([user(TEXT), SAID], {"user_turn": False, "prefill": True}, id="a prefill"),
        pytest.param([user({"type": "text", "text": [1]})], {}, id="text that is none"),
    ],
)
@pytest.mark.parametrize("seed", range(3))
def test_what_a_conversation_says(messages: Any, facts: dict[str, Any], seed: int) -> None:
    content = spelled({"model": SONNET, "messages": messages}, seed)
    call = "t" if facts.get("tool_loop") else None
    assert asked(post(content)).ask == replace(ASK, tool_call=call, **facts)


@pytest.mark.parametrize(
    ("headers", "facts"),
    [
        ((("X-Session-Id", "ses_1"),), {"session": "ses_1"}),
        ((("X-Claude-Code-Session-Id", "u-1"),), {"session": "u-1"}),
        (
            (("x-claude-code-session-id", "u-1"), ("x-session-id", "ses_1")),
            {"session": "ses_1"},
        ),
        (
            (("x-session-id", "ses_2"), ("X-Parent-Session-Id", "ses_1")),
            {"session": "ses_2", "subagent": True},
        ),
        ((("x-session-affinity", "ses_1"),), {}),
    ],
)
def test_what_the_headers_say(headers: Headers, facts: dict[str, Any]) -> None:
    assert asked(post(body(), *headers)).ask == replace(ASK, **facts)


@pytest.mark.parametrize(
    ("stream", "streamed"),
    [(b"true", True), (b"false", False), (b"1", False), (b'"true"', False), (b"null", False)],
)
def test_whether_it_streams(stream: bytes, streamed: bool) -> None:  # noqa: FBT001
    content = b'{"stream" : ' + stream + b' ,"model":"claude-sonnet-4-5","messages":["x"]}'
    assert asked(post(content)).ask == replace(ASK, user_turn=False, stream=streamed)


_NAMES = st.sampled_from(["role", "content", "type", "text", "source", "tool_use_id"])
_WORDS = st.sampled_from(
    ["user", "assistant", "tool_result", "image", "text", SYNTHETIC_ATTACHMENT]
)
_shapes = st.recursive(
    _WORDS | leaves, lambda it: st.lists(it, max_size=3) | st.dictionaries(_NAMES, it, max_size=4)
)


@given(_shapes, seeds)
def test_a_conversation_of_any_shape_is_routed(messages: Any, seed: int) -> None:
    """What a provider makes of it is between it and the client."""
    matched = asked(post(spelled({"model": SONNET, "messages": messages}, seed)))
    assert matched.ask.model == "claude-sonnet-4-5"


def test_the_fields_at_the_top_are_known() -> None:
    content = b'{"model":"claude-sonnet-4-5","messages":[],"sp\\u0065ed":{"a":1}}'
    assert asked(post(content)).ask.fields == {"model", "messages", "speed"}
