"""Options and encodings that change how mitmproxy reads a body: it is routed all the same."""

import gzip
import json
import zlib
from collections.abc import Iterator

import brotli
import pytest
import zstandard
from mitm import VIRTUAL, Listener, Routing, ask, assert_as_provider_wants, field, question

from core.simulator import Simulator

BODY = json.dumps(question("hi " * 500)).encode()
CODINGS = {
    "gzip": gzip.compress,
    "deflate": zlib.compress,
    "br": brotli.compress,
    "zstd": zstandard.ZstdCompressor().compress,
}


@pytest.fixture(scope="module")
def limited(tmp_path_factory, confdir) -> Iterator[Routing]:
    """Told to stream whatever is larger than a byte, and to refuse what is larger than 100 kB."""
    options = ["--set", "stream_large_bodies=1", "--set", "body_size_limit=100k"]
    folder = tmp_path_factory.mktemp("limited")
    with (
        Simulator("under-pace") as sim,
        Routing(folder, confdir, sim, options=options) as routing,
    ):
        yield routing


@pytest.fixture(params=["as usual", "limited"])
def routing(request) -> Routing:
    name = "limited" if request.param == "limited" else "under_pace"
    found = request.getfixturevalue(name)
    found.forget()
    return found


def assert_routed(routing: Routing, answer) -> None:
    recorded = routing.served_one()
    assert answer.status_code == 200
    assert answer.content == recorded.response
    assert json.loads(recorded.body)["messages"] == json.loads(BODY)["messages"]
    assert field(recorded, "content-length") == str(len(recorded.body))
    assert not field(recorded, "transfer-encoding")
    assert not field(recorded, "expect")
    assert_as_provider_wants(recorded, routing.sim)


@pytest.mark.parametrize("stream", [False, True])
def test_as_it_is(routing, stream):
    body = BODY[:-1] + b', "stream": true}' if stream else BODY
    with routing.client() as client:
        answer = ask(client, content=body)
    assert_routed(routing, answer)


def test_chunked(routing):
    pieces = (BODY[at : at + 100] for at in range(0, len(BODY), 100))
    with routing.client() as client:
        answer = ask(client, content=pieces)
    assert "content-length" not in answer.request.headers
    assert_routed(routing, answer)


def test_expect_100_continue(routing):
    with routing.client() as client:
        answer = ask(client, content=BODY, headers={"expect": "100-continue"})
    assert_routed(routing, answer)


@pytest.mark.parametrize("coding", CODINGS)
def test_compressed(routing, coding):
    with routing.client() as client:
        answer = ask(client, content=CODINGS[coding](BODY), headers={"content-encoding": coding})
    assert_routed(routing, answer)
    assert not field(routing.served_one(), "content-encoding")


def test_on_another_host(routing):
    """There, the model is known only when the body has been read whole."""
    body = BODY.replace(b'"claude-sonnet-4-5"', b'"limit-router/claude-sonnet-4-5"')
    with routing.client() as client:
        answer = ask(client, "http://other.invalid/v1/messages", content=body)
    assert_routed(routing, answer)


@pytest.mark.parametrize("chunked", [False, True])
def test_the_size_limit_holds(limited, chunked):
    limited.forget()
    body = json.dumps(question("x" * 200_000)).encode()
    with limited.client() as client:
        answer = ask(client, content=iter([body[:50], body[50:]]) if chunked else body)
    assert answer.status_code == 413
    assert limited.served() == []


def test_a_refusal_of_a_streamed_upload(limited):
    with limited.client() as client:
        answer = client.post(f"{VIRTUAL}/v1/nothing", content=BODY)
    assert answer.status_code == 404


def test_what_is_not_ours_is_streamed_as_told(limited):
    with Listener() as other, limited.client() as client:
        answer = client.post(f"http://127.0.0.1:{other.port}/upload", content=BODY)
    assert answer.content == b"{}"
    assert other.received[0].endswith(BODY)
    assert limited.proxy.wait_for("Streaming request to 127.0.0.1")


def test_proxy_debug_prints_what_is_sent_so_nothing_is(start):
    routing = start("under-pace", options=["--set", "proxy_debug=true", "-v"])
    with routing.client() as client:
        answer = ask(client)
        listed = client.get(f"{VIRTUAL}/v1/models")
    assert answer.status_code == 503
    assert "proxy_debug" in answer.json()["error"]["message"]
    assert routing.served() == []
    assert listed.status_code == 200
    routing.assert_secret()
