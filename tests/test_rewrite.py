import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from json_spelling import objects, seeds, spelled

from core import rewrite
from core.jsonspan import Splice
from core.match import Matched, match
from core.model import AccountKind, CredentialType, Headers, HttpRequest, Wire
from core.provider import Changes, Endpoints, Outgoing, Provider, no_changes
from core.rewrite import Target

PROVIDER = Provider(
    id="example",
    name="Example",
    endpoints=lambda _: Endpoints("https://api.example.com", None),
    paths={Wire.MESSAGES: "/v1/messages"},
    env=(),
    opencode_keys=(),
    opencode_token=lambda _: None,
    kind=lambda _: AccountKind.SUBSCRIPTION,
    opt_in=lambda _: None,
    authorize=lambda credential: (("authorization", credential.secret.reveal()),),
    model_id=lambda model: model,
)
TARGET = Target(PROVIDER, "https://api.example.com", "claude-opus-4.5", CredentialType.API)
MODEL = "limit-router/claude-opus-4-5"
BODY = b'{"model": "limit-router/claude-opus-4-5", "messages": []}'
SENT = b'{"model": "claude-opus-4.5", "messages": []}'
ADDED = (("accept-encoding", "identity"), ("content-length", str(len(SENT))))


def matched(body: bytes = BODY, headers: Headers = (), path: str = "/v1/messages") -> Matched:
    request = HttpRequest("POST", "https", "limit-router.invalid", 443, path, headers, body)
    found = match(request, ("claude-opus-4-5",))
    assert isinstance(found, Matched)
    return found


def sent(headers: Headers = (), path: str = "/v1/messages", target: Target = TARGET) -> HttpRequest:
    return rewrite.apply(matched(headers=headers, path=path), target)


def preparing(changes: Changes) -> Target:
    return replace(TARGET, provider=replace(PROVIDER, prepare=lambda _: changes))


def test_the_whole_request() -> None:
    headers = (
        ("Content-Type", "application/json"),
        ("x-api-key", "client's"),
        ("User-Agent", "opencode/1.18"),
        ("Accept-Encoding", "gzip, br"),
        ("content-length", "999"),
    )
    assert sent(headers, "/v1/messages?beta=true") == HttpRequest(
        "POST",
        "https",
        "api.example.com",
        443,
        "/v1/messages?beta=true",
        (("Content-Type", "application/json"), ("User-Agent", "opencode/1.18"), *ADDED),
        SENT,
    )


# The body


@given(objects, seeds, st.text(max_size=10))
def test_no_byte_changes_but_the_model_s(value: dict[str, Any], seed: int, name: str) -> None:
    text = spelled({"first": 1} | value | {"model": MODEL, "last": [MODEL]}, seed)
    found = matched(text)
    request = rewrite.apply(found, replace(TARGET, provider_model=name))
    before, after = text[: found.model.start], text[found.model.end :]
    assert json.loads(text[found.model.start : found.model.end]) == MODEL
    assert request.body.startswith(before)
    assert request.body.endswith(after)
    middle = request.body[len(before) : len(request.body) - len(after)]
    assert json.loads(middle) == name
    assert dict(request.headers)["content-length"] == str(len(request.body))


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b' {"model":"%b"}\n', b' {"model":"claude-opus-4.5"}\n'),
        (b'{"x":"%b","model" :\t"%b"}', b'{"x":"%b","model" :\t"claude-opus-4.5"}'),
        (b'{"mod\\u0065l":"%b"}', b'{"mod\\u0065l":"claude-opus-4.5"}'),
        (b'{"a":{"model":"%b"},"model":"%b"}', b'{"a":{"model":"%b"},"model":"claude-opus-4.5"}'),
        (b'{"a":"\\"model\\":","model":"%b"}', b'{"a":"\\"model\\":","model":"claude-opus-4.5"}'),
    ],
)
def test_the_model_is_replaced_where_it_stands(body: bytes, expected: bytes) -> None:
    name = MODEL.encode()
    request = rewrite.apply(matched(body.replace(b"%b", name)), TARGET)
    assert request.body == expected.replace(b"%b", name)


@pytest.mark.parametrize("spelling", [b"limit-router\\/claude-opus-4-5", b"claude\\u002dopus-4-5"])
def test_an_escaped_model_is_replaced(spelling: bytes) -> None:
    assert rewrite.apply(matched(b'{"model":"' + spelling + b'"}'), TARGET).body == (
        b'{"model":"claude-opus-4.5"}'
    )


def test_a_provider_s_splices_and_the_model_go_together() -> None:
    body = b'{"drop": 1, "model": "claude-opus-4-5", "also": 2}'
    target = preparing(Changes(splices=(Splice(38, 49, b""), Splice(1, 12, b""))))
    request = rewrite.apply(matched(body), target)
    assert request.body == b'{"model": "claude-opus-4.5"}'
    assert ("content-length", "28") in request.headers


def test_a_provider_sees_the_request_without_the_client_s_credentials() -> None:
    seen = []

    def prepare(outgoing: Outgoing) -> Changes:
        seen.append(outgoing)
        return no_changes(outgoing)

    found = matched(headers=(("cookie", "c"), ("a", "1"), ("Content-Encoding", "identity")))
    target = replace(TARGET, provider=replace(PROVIDER, prepare=prepare))
    rewrite.apply(found, replace(target, credential_type=CredentialType.OAUTH))
    assert seen == [Outgoing(found.ask, (("a", "1"),), found.body, CredentialType.OAUTH)]


# The header fields


@pytest.mark.parametrize(
    "name",
    [
        "authorization",
        "Authorization",
        "X-API-KEY",
        "x-api-key",
        "api-key",
        "x-goog-api-key",
        "cookie",
        "Proxy-Authorization",
        "ChatGPT-Account-Id",
        "OpenAI-Organization",
        "OpenAI-Project",
        "x-limit-router-provider",
        "X-Limit-Router-Anything",
        "Connection",
        "content-encoding",
        "Content-Length",
        "content-length",
        "Expect",
        "Host",
        "HTTP2-Settings",
        "Keep-Alive",
        "Proxy-Connection",
        "TE",
        "Trailer",
        "Transfer-Encoding",
        "Accept-Encoding",
        "accept-encoding",
    ],
)
def test_what_is_the_client_s_own_is_not_forwarded(name: str) -> None:
    value = "identity" if name == "content-encoding" else "SECRET"
    headers = (("a", "1"), (name, value), ("b", "2"), (name, value))
    assert sent(headers).headers == (("a", "1"), ("b", "2"), *ADDED)


def test_an_upgrade_is_not_forwarded() -> None:
    found = matched()
    asked = replace(found, request=replace(found.request, headers=(("Upgrade", "h2c"),)))
    assert rewrite.apply(asked, TARGET).headers == ADDED


@pytest.mark.parametrize(
    "connection",
    [
        (("Connection", "close, X-Hop,x-Other"),),
        (("connection", "x-hop"), ("Connection", " X-OTHER ")),
    ],
)
def test_what_connection_names_is_not_forwarded(connection: Headers) -> None:
    headers = (("x-hop", "1"), ("a", "1"), ("X-Other", "2"), *connection)
    assert sent(headers).headers == (("a", "1"), *ADDED)


_LETTERS = st.characters(min_codepoint=32, max_codepoint=255)
_NAMES = st.sampled_from(
    ["Accept", "x-A", "X-a", "User-Agent", "anthropic-beta", "x-keys", "hosts"]
)


@given(st.lists(st.tuples(_NAMES, st.text(_LETTERS, max_size=8))))
def test_every_other_field_is_forwarded_as_it_is(headers: list[tuple[str, str]]) -> None:
    assert sent(tuple(headers)).headers == (*headers, *ADDED)


def test_a_value_that_is_no_text_is_forwarded_as_it_is() -> None:
    value = b"\xff\xe9 \x80".decode("utf-8", "surrogateescape")
    assert sent((("x-name", value),)).headers == (("x-name", value), *ADDED)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, (("A", "1"), ("b", "2"), ("a", "3"))),
        ({"a": "new"}, (("A", "new"), ("b", "2"))),
        ({"a": None}, (("b", "2"),)),
        ({"b": "new", "c": "added"}, (("A", "1"), ("b", "new"), ("a", "3"), ("c", "added"))),
        ({"c": None}, (("A", "1"), ("b", "2"), ("a", "3"))),
        ({"a": ""}, (("A", ""), ("b", "2"))),
    ],
)
def test_a_provider_sets_fields_in_their_place(
    changes: dict[str, str | None], expected: Headers
) -> None:
    headers = (("A", "1"), ("b", "2"), ("a", "3"))
    assert sent(headers, target=preparing(Changes(changes))).headers == (*expected, *ADDED)


# Where it goes


@pytest.mark.parametrize(
    ("base_url", "origin", "path"),
    [
        ("https://api.example.com", ("https", "api.example.com", 443), "/v1/messages"),
        ("https://API.example.com/", ("https", "api.example.com", 443), "/v1/messages"),
        ("http://api.example.com", ("http", "api.example.com", 80), "/v1/messages"),
        ("https://x.y:8443/a/b", ("https", "x.y", 8443), "/a/b/v1/messages"),
        ("https://x.y/a/b/", ("https", "x.y", 443), "/a/b/v1/messages"),
        ("http://127.0.0.1:8080", ("http", "127.0.0.1", 8080), "/v1/messages"),
        ("http://[::1]:8080/a", ("http", "::1", 8080), "/a/v1/messages"),
        ("https://[2001:db8::1]", ("https", "2001:db8::1", 443), "/v1/messages"),
    ],
)
def test_where_a_base_url_leads(base_url: str, origin: tuple[str, str, int], path: str) -> None:
    request = sent(path="/v1/messages?beta=true", target=replace(TARGET, base_url=base_url))
    assert request.origin == origin
    assert request.path == f"{path}?beta=true"


@pytest.mark.parametrize("path", ["/v1/messages", "/anything/before/v1/messages"])
def test_the_path_is_the_provider_s(path: str) -> None:
    assert sent(path=path).path == "/v1/messages"


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("", ""),
        ("?", ""),
        ("?beta=true", "?beta=true"),
        ("?beta=true#part", "?beta=true"),
        ("#part?beta=true", ""),
        ("?key=SECRET", ""),
        ("?key", ""),
        ("?a=1&key=SECRET&b=2", "?a=1&b=2"),
        ("?key=SECRET&key=SECRET&b=2", "?b=2"),
        ("?%6bey=SECRET", ""),
        ("?%6B%65%79=SECRET&b", "?b"),
        ("?keys=1&a=key&monkey=2", "?keys=1&a=key&monkey=2"),
        ("?a=%20%FF+&b=?x", "?a=%20%FF+&b=?x"),
        ("?a=1&&b=2&", "?a=1&b=2"),
    ],
)
def test_the_query_goes_on_without_a_key(query: str, expected: str) -> None:
    assert sent(path=f"/v1/messages{query}").path == f"/v1/messages{expected}"
