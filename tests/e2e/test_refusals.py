"""What cannot be routed is answered by us, in the wire format that the caller speaks."""

import gzip
import socket

import pytest
from mitm import CLIENT_HEADERS, VIRTUAL, ask, question

from core.simulator import Simulator

VERSION = {"anthropic-version": "2023-06-01"}
BAD_BODIES = {
    "no JSON": b'{"model": ',
    "no object": b"[]",
    "nothing": b"",
    "two models": b'{"model":"claude-sonnet-4-5","messages":[],"model":"claude-opus-4-5"}',
    "two models, one spelled oddly": b'{"model":"claude-sonnet-4-5","messages":[],'
    b'"m\\u006fdel":"claude-opus-4-5"}',
    "no model": b'{"messages":[]}',
    "model is a number": b'{"model":5,"messages":[]}',
    "no UTF-8": b'{"model":"claude-sonnet-4-5","messages":[],"system":"\xff"}',
    "half a surrogate pair": rb'{"model":"claude-sonnet-4-5","messages":[],"system":"\ud83d"}',
    "too deep": b'{"model":"claude-sonnet-4-5","messages":[],"system":'
    + b"[" * 5000
    + b"]" * 5000
    + b"}",
}


def assert_anthropic_error(answer, status: int, kind: str) -> str:
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/json"
    body = answer.json()
    assert body["type"] == "error"
    assert body["error"]["type"] == kind
    return body["error"]["message"]


@pytest.mark.parametrize("name", BAD_BODIES)
def test_a_body_that_cannot_be_routed(under_pace, name):
    with under_pace.client() as client:
        answer = ask(client, content=BAD_BODIES[name])
    assert_anthropic_error(answer, 400, "invalid_request_error")
    assert under_pace.served() == []


def test_a_model_that_there_is_not(under_pace):
    with under_pace.client() as client:
        answer = ask(client, json=question(model="limit-router/claude-sonnet-4-6"))
    message = assert_anthropic_error(answer, 404, "not_found_error")
    assert "did you mean claude-sonnet-4-5?" in message
    assert "claude-opus-4-5" in message


@pytest.mark.parametrize("path", ["/v1/complete", "/v1/messages/batches", "/", "/v1//messages"])
def test_a_path_that_there_is_not(under_pace, path):
    with under_pace.client() as client:
        answer = client.post(f"{VIRTUAL}{path}", headers=VERSION, json=question())
    message = assert_anthropic_error(answer, 404, "not_found_error")
    assert "POST /v1/messages" in message


def test_an_openai_client_reads_its_own_format(under_pace):
    with under_pace.client() as client:
        answer = client.post(f"{VIRTUAL}/v1/chat/completions", json=question())
    assert answer.status_code == 404
    assert answer.json()["error"].keys() >= {"message", "type", "code", "param"}
    assert "type" not in answer.json()


def test_another_method(under_pace):
    with under_pace.client() as client:
        answer = client.get(f"{VIRTUAL}/v1/messages", headers=VERSION)
    assert_anthropic_error(answer, 405, "invalid_request_error")


def test_upgrade(under_pace):
    asked = {
        "connection": "Upgrade",
        "upgrade": "websocket",
        "sec-websocket-version": "13",
        "sec-websocket-key": "dGhlIHNhbXBsZSBub25jZQ==",
    }
    with under_pace.client() as client:
        answer = client.get(f"{VIRTUAL}/v1/messages", headers={**VERSION, **asked})
    assert answer.status_code == 426
    assert answer.json()["type"] == "error"


def test_nobody_can_serve_for_now(shared):
    routing = shared("nobody")
    with routing.client() as client:
        answer = ask(client)
    assert_anthropic_error(answer, 429, "rate_limit_error")
    assert 1 <= int(answer.headers["retry-after"]) <= 60


def test_a_body_in_an_unknown_coding(under_pace):
    with under_pace.client() as client:
        answer = ask(client, content=b"x" * 20, headers={"content-encoding": "lzma"})
    assert_anthropic_error(answer, 415, "invalid_request_error")


PACKED = {
    "cut": gzip.compress(b'{"model":"claude-sonnet-4-5","max_tokens":50}')[:-20],
    "not what it says": b'{"model":"claude-sonnet-4-5"}',
    "a bomb": gzip.compress(b" " * (65 << 20)),
}


@pytest.mark.parametrize("name", PACKED)
def test_a_compressed_body_that_cannot_be_read(under_pace, name):
    with under_pace.client() as client:
        answer = ask(client, content=PACKED[name], headers={"content-encoding": "gzip"})
    assert answer.status_code in (400, 413)
    assert answer.json()["type"] == "error"
    assert under_pace.served() == []


def test_without_a_configuration_the_proxy_does_not_start(start):
    with pytest.raises(AssertionError, match=r"modles.*unknown key"):
        start("under-pace", config={"modles": {}})


def test_a_provider_that_cannot_be_reached(start):
    """The client is told, and nothing hangs."""
    with Simulator("under-pace") as sim, socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        config = sim.config()
        config["providers"]["anthropic"]["base_url"] = f"http://127.0.0.1:{nobody.getsockname()[1]}"
        routing = start(sim=sim, config=config)
        with routing.client() as client:
            answer = client.post(
                f"{VIRTUAL}/v1/messages", json=question(), headers={**VERSION, **CLIENT_HEADERS}
            )
    assert answer.status_code == 502
