"""Thinking of unknown origin: it is refused once, and the client never learns of it."""

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from conversation import CALL, post, say, spent, tool_said
from mitm import REPOSITORY, Proxy, Routing, Tool, tool_path, trusting

from core.simulator import Fault, Simulator

ASKED = {"role": "user", "content": "Go on."}
TEXT = {"type": "text", "text": "So be it."}
USE = {"type": "tool_use", "id": "toolu_1", "name": "look", "input": {}}


def stranger(name: str) -> dict[str, Any]:
    """A thought of nobody whom any provider here knows."""
    return {"type": "thinking", "thinking": "Hm.", "signature": f"of-{name}"}


def said(*blocks: dict[str, Any]) -> dict[str, Any]:
    return {"role": "assistant", "content": list(blocks)}


def asked_of(sim: Simulator, provider: str) -> list[tuple[int, list[list[str]], bool]]:
    """Of each request that it got: its answer, the kinds of block in its answers, and thinking."""
    bodies = [
        (it.status, json.loads(it.body))
        for it in sim.requests
        if it.kind == "inference" and it.provider == provider
    ]
    return [
        (
            status,
            [
                [block["type"] for block in message["content"]]
                for message in body["messages"]
                if message["role"] == "assistant"
            ],
            "thinking" in body,
        )
        for status, body in bodies
    ]


def told(answer: httpx.Response) -> tuple[int, str, str]:
    fields = answer.headers
    return (
        answer.status_code,
        fields.get("x-limit-router-provider", ""),
        fields.get("x-limit-router-attempts", ""),
    )


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("provider", ["anthropic", "github-copilot"])
def test_the_request_is_sent_again_without_it(start, provider, stream):
    routing, messages = start("under-pace"), [ASKED, said(stranger("a"), TEXT)]
    seen = [say(routing, messages, text, stream=stream, pin=provider) for text in ("1", "2")]
    assert seen == [
        {"provider": provider, "kinds": ["thinking", "text"], "attempts": attempts}
        for attempts in ("2", "1")
    ]
    assert asked_of(routing.sim, provider) == [
        (400, [["thinking", "text"]], True),
        (200, [["text"]], True),
        # What was refused is known from then on, and the account's own goes back to it.
        (200, [["text"], ["thinking", "text"]], True),
    ]


def test_what_another_account_made_before_the_proxy_was_started(start, tmp_path):
    """Refused by the one to which it moves, and then by the one from which it came: it made half."""
    messages: list[Any] = []
    first = start("under-pace", folder=tmp_path / "first")
    say(first, messages, "One.", stream=True, pin="github-copilot")
    first.stop()
    routing = start(sim=first.sim, folder=tmp_path / "second")
    moves = ("anthropic", "github-copilot", "anthropic", "github-copilot")
    seen = [say(routing, messages, "More.", stream=True, pin=pin) for pin in moves]
    assert [(it["provider"], it["attempts"]) for it in seen] == [
        ("anthropic", "2"),
        # Its own thought is there, and the other one's is known by now.
        *(("github-copilot", "1"), ("anthropic", "1"), ("github-copilot", "1")),
    ]


@pytest.mark.parametrize("blocks", [[stranger("a"), USE], [USE]])
def test_a_tool_loop_goes_on_without_thinking(start, blocks):
    """Its thought is refused, or that it has none to begin with."""
    routing = start("under-pace")
    # Signed thinking elsewhere in the conversation, which is its own.
    messages: list[Any] = []
    say(routing, messages, "One.", stream=True, pin="anthropic")
    messages += [ASKED, said(*blocks)]
    seen = [
        say(routing, messages, tool_said(messages, then), stream=True, pin="anthropic")
        for then in (CALL, None)
    ]
    assert [(*it["kinds"], it["attempts"]) for it in seen] == [("tool_use", "2"), ("text", "1")]
    assert asked_of(routing.sim, "anthropic")[1:] == [
        (400, [["thinking", "text"], [it["type"] for it in blocks]], True),
        (200, [["thinking", "text"], ["tool_use"]], False),
        (200, [["thinking", "text"], ["tool_use"], ["tool_use"]], False),
    ]
    again = say(routing, messages, "And now?", stream=True, pin="anthropic")
    assert again == {"provider": "anthropic", "kinds": ["thinking", "text"], "attempts": "1"}


@pytest.fixture(scope="module")
def behind_tls(tmp_path_factory, confdir) -> Iterator[Routing]:
    """The simulated Anthropic behind TLS and HTTP/2."""
    folder = tmp_path_factory.mktemp("behind-tls")
    with Simulator("under-pace") as sim:
        reverse = ["--mode", f"reverse:{sim.anthropic_url}"]
        with Proxy(folder / "front", folder / "front-ca", options=reverse) as front:
            config = sim.config()
            config["providers"]["anthropic"]["base_url"] = f"https://127.0.0.1:{front.port}"
            trust = ["--set", f"ssl_verify_upstream_trusted_ca={front.ca}"]
            with Routing(folder, confdir, sim, config=config, options=trust) as routing:
                routing.front = front
                yield routing


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("http2", [True, False])
def test_it_happens_on_one_connection_as_often_as_need_be(behind_tls, http2, stream):
    """mitmproxy opens no more than five connections to one address for a client's connection."""
    routing, before = behind_tls, len(behind_tls.front.log)
    requests = len(routing.sim.requests)
    tls = trusting(routing.proxy.ca, http2=http2)
    with routing.client(http2=http2, verify=tls) as client:
        answers = [
            post(
                client, [ASKED, said(stranger(f"{http2}{stream}{at}"), TEXT), ASKED], stream=stream
            )
            for at in range(7)
        ]
    assert [told(it) for it in answers] == [(200, "anthropic", "2")] * 7
    assert {it.http_version for it in answers} == {"HTTP/2" if http2 else "HTTP/1.1"}
    inference = [it for it in routing.sim.requests[requests:] if it.kind == "inference"]
    assert [it.status for it in inference] == [400, 200] * 7
    forwarded = [it for it in routing.front.log[before:].splitlines() if "POST" in it]
    assert ["HTTP/2.0" in it for it in forwarded] == [http2] * 14


def test_requests_at_once_on_one_connection_do_not_disturb_each_other(behind_tls):
    async def ask() -> list[httpx.Response]:
        tls = trusting(behind_tls.proxy.ca, http2=True)
        async with httpx.AsyncClient(
            proxy=behind_tls.proxy.url, verify=tls, http2=True, trust_env=False, timeout=30
        ) as client:
            conversations = [
                [ASKED, said(stranger(f"at-once-{at}"), TEXT), ASKED] if at % 2 else [ASKED]
                for at in range(12)
            ]
            return await asyncio.gather(
                *(post(client, messages, stream=True) for messages in conversations)
            )

    answers = asyncio.run(ask())
    assert [told(it) for it in answers] == [
        (200, "anthropic", "2" if at % 2 else "1") for at in range(12)
    ]
    assert all("message_stop" in it.text for it in answers)


def test_a_second_refusal_is_the_client_s(start):
    routing = start("under-pace")
    words = "messages.0: what it does not like now, Invalid `signature` in `thinking` block"
    routing.sim.inject(Fault("anthropic", status=400, message=words))
    with routing.client() as client:
        answer = post(client, [ASKED, said(stranger("a"), TEXT), ASKED], stream=True)
    assert told(answer) == (400, "anthropic", "2")
    assert answer.json()["error"]["message"] == words
    assert [status for status, *_ in asked_of(routing.sim, "anthropic")] == [400, 400]


@pytest.mark.parametrize(
    "more",
    [{"thinking": {"type": "enabled", "budget_tokens": 1}}, {"max_tokens": 0}],
)
def test_another_400_goes_to_the_client_as_it_is(start, more):
    routing, messages = start("under-pace"), []
    say(routing, messages, "One.", stream=True)
    with routing.client() as client:
        answer = post(client, [*messages, ASKED], stream=True, **more)
    recorded = routing.sim.requests[-1]
    assert told(answer) == (400, "anthropic", "1")
    assert answer.content == recorded.response
    assert [status for status, *_ in asked_of(routing.sim, "anthropic")] == [200, 400]


def test_both_attempts_are_in_the_log(start):
    routing = start("under-pace")
    with routing.client() as client:
        answer = post(client, [ASKED, said(stranger("a"), TEXT), ASKED], stream=True)
    request = answer.headers["x-limit-router-request"]
    routing.stop()
    config = {"LIMIT_ROUTER_CONFIG": str(routing.proxy.folder / "mitm.yaml")}
    command = [tool_path("limit-router"), "why", request, "--json"]
    with Tool(command, config, REPOSITORY) as why:
        assert why.process.wait(30) == 0
    attempts = json.loads(why.log)["attempts"]
    ends = [(it["attempt"], it["end"]["status"], it["end"]["error"]) for it in attempts]
    assert ends == [(1, 400, "thinking_refused"), (2, 200, None)]
    assert attempts[0]["decision"] == attempts[1]["decision"]


REPLAYS_ONCE = """
import logging
from mitmproxy import ctx

def response(flow):
    logging.info("the flow says: %s", flow.comment)
    if flow.is_replay is None:
        # The flow itself is still at work here.
        ctx.master.commands.call("replay.client", [flow.copy()])
"""


def test_a_replay_is_sent_again_too(start, tmp_path):
    """From what the client sent, as the first time; it goes to who has not refused it yet."""
    script = tmp_path / "replays_once.py"
    script.write_text(REPLAYS_ONCE)
    routing = start("under-pace", after=[script])
    sim = routing.sim
    sim.inject(spent("anthropic", sim.world.clock() + 86_400))
    with routing.client() as client:
        post(client, [ASKED, said(stranger("a"), TEXT), ASKED], stream=True)
    routing.proxy.wait_for("the flow says: ", times=2)
    for provider in ("anthropic", "github-copilot"):
        assert asked_of(sim, provider) == [
            (400, [["thinking", "text"]], True),
            (200, [["text"]], True),
        ]
    says = [it.partition("says: ")[2] for it in routing.proxy.log.splitlines() if "says: " in it]
    assert [it.partition(":")[0] for it in says] == [
        *("anthropic claude-sonnet-4-5", "github-copilot claude-sonnet-4.5")
    ]
    assert all(it.endswith(" (1 thinking block left out after a refusal)") for it in says)
