"""mitmproxy's messages to core's and back, whatever bytes their fields hold."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mitmproxy import http

from addon import translate
from core import HttpRequest, HttpResponse

NAMES = st.binary(min_size=1, max_size=20).filter(lambda it: it.lower() != b"host")
FIELDS = st.lists(st.tuples(NAMES, st.binary(max_size=40)), max_size=8)


def request(fields=(), body: bytes | None = b"", version: str = "HTTP/1.1") -> http.Request:
    made = http.Request.make("POST", "https://example.invalid:8443/a?b=c", body or b"")
    made.http_version = version
    made.headers = http.Headers(fields)
    made.raw_content = body
    return made


@given(fields=FIELDS, body=st.binary())
def test_there_and_back(fields, body):
    there = translate.request_of(request([(b"Host", b"example.invalid"), *fields], body))
    assert (there.method, there.scheme, there.host) == ("POST", "https", "example.invalid")
    assert (there.port, there.path, there.body) == (8443, "/a?b=c", body)
    back = request()
    translate.set_request(back, there)
    assert back.headers.fields == ((b"Host", b"example.invalid:8443"), *fields)
    assert back.raw_content == body
    assert back.path == "/a?b=c"


@given(fields=FIELDS, body=st.binary())
def test_a_response(fields, body):
    headers = tuple((name.decode("utf-8", "surrogateescape"), "v") for name, _ in fields)
    made = translate.response_of(HttpResponse(418, headers, body))
    assert made.status_code == 418
    assert made.raw_content == body
    assert made.headers.get_all("content-length")[-1] == str(len(body))


@pytest.mark.parametrize("port", [443, 8443])
@pytest.mark.parametrize("version", ["HTTP/1.1", "HTTP/2.0"])
def test_where_it_goes_is_said_as_the_version_says_it(version, port):
    target = HttpRequest("POST", "https", "provider.invalid", port, "/v1/messages", (("a", "b"),))
    made = request([(b"Host", b"example.invalid"), (b"gone", b"1")], version=version)
    translate.set_request(made, target)
    authority = "provider.invalid" if port == 443 else "provider.invalid:8443"
    assert (made.host, made.port, made.scheme) == ("provider.invalid", port, "https")
    if version == "HTTP/2.0":
        assert made.authority == authority
        assert list(made.headers.items()) == [("a", "b")]
    else:
        assert made.authority == ""
        assert list(made.headers.items()) == [("Host", authority), ("a", "b")]


def test_repeated_fields_stay_as_they_are():
    fields = [(b"Cookie", b"a=1"), (b"x", b"1"), (b"cookie", b"b=2")]
    assert translate.request_of(request(fields)).headers == (
        ("Cookie", "a=1"),
        ("x", "1"),
        ("cookie", "b=2"),
    )


def test_a_body_that_is_missing_is_empty():
    assert translate.request_of(request(body=None)).body == b""
