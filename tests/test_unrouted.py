"""What the engine makes of answers that it did not route, and when it polls no more."""

import asyncio
from contextlib import suppress
from dataclasses import dataclass

import pytest

from core import providers
from core.config import parse
from core.credentials import Credentials
from core.engine import Engine
from core.knowledge import IDLE_AFTER_S, Knowledge
from core.model import HttpRequest, Source, Window
from core.store import Store

NOW = 1_783_000_000.0
WEEK = 604_800.0
AUTH = '{"anthropic":{"type":"oauth","access":"at","refresh":"rt","expires":0}}'
LIMITS = (("anthropic-ratelimit-unified-7d-utilization", "0.5"),)


@dataclass
class Clock:
    now: float = NOW

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def engine(tmp_path):
    config = parse("", "mitm.yaml", providers.known().keys())
    credentials = Credentials({"OPENCODE_AUTH_CONTENT": AUTH}, tmp_path)
    return Engine(config, credentials, Store(tmp_path), clock=Clock())


def sent(token="Bearer at", host="api.anthropic.com", path="/v1/messages?beta=true"):
    return HttpRequest("POST", "https", host, 443, path, (("Authorization", token),))


def windows(engine):
    return [w for known in engine.state.accounts.values() for w in known.windows.values()]


def test_the_limits_of_an_account_that_is_known_count(engine):
    assert engine.witness(sent(), LIMITS) is not None
    assert windows(engine) == [Window("seven_day", 50.0, None, WEEK, Source.HEADER, NOW)]


@pytest.mark.parametrize(
    "request_",
    [
        sent("Bearer another"),
        sent("Bearer rt"),
        sent("at"),
        sent(host="api.githubcopilot.com"),
        sent(host="example.com"),
        sent(path="/v1/models"),
        HttpRequest("POST", "https", "api.anthropic.com", 443, "/v1/messages"),
    ],
)
def test_nobody_else_s_do(engine, request_):
    assert engine.witness(request_, LIMITS) is None
    assert windows(engine) == []


def test_an_answer_without_limits_changes_nothing(engine):
    before = engine.state
    assert engine.witness(sent(), ()) is not None
    assert engine.state is before


def test_limits_told_inside_a_stream_count_at_its_end(engine):
    witnessed = engine.witness(sent(), (("content-type", "text/event-stream"),))
    inside = Window("month", 7.0, None, None, Source.HEADER, NOW)
    witnessed.tap._read_event = lambda event, now: (inside,) if event.data == b"{}" else ()
    witnessed.tap.feed(b"data: {}\n\n", NOW)
    engine.witness_end(witnessed, witnessed.tap.close(whole=True))
    assert windows(engine) == [inside]


def test_after_a_quarter_of_an_hour_without_a_request_it_polls_no_more(tmp_path):
    clock = Clock()
    knowledge = Knowledge(Store(tmp_path), clock)

    async def main() -> None:
        clock.now = NOW + IDLE_AFTER_S
        async with asyncio.timeout(5):
            await knowledge._used_lately()  # not yet
        clock.now += 1
        waiting = asyncio.create_task(knowledge._used_lately())
        with suppress(TimeoutError):
            await asyncio.wait_for(asyncio.shield(waiting), 0.05)
        assert not waiting.done()
        knowledge.touch()
        async with asyncio.timeout(5):
            await waiting
            await knowledge._used_lately()

    asyncio.run(main())


def test_a_request_that_is_routed_wakes_it(engine):
    engine.knowledge._in_use.clear()
    body = b'{"model":"limit-router/nonesuch"}'
    refused = HttpRequest("POST", "https", "limit-router.invalid", 443, "/v1/messages", (), body)
    engine.plan(refused, peer="127.0.0.1")
    assert not engine.knowledge._in_use.is_set()
    engine.config = parse(
        "models: {m: {providers: [anthropic]}}", "mitm.yaml", providers.known().keys()
    )
    routed = HttpRequest(
        "POST", "https", "limit-router.invalid", 443, "/v1/messages", (), b'{"model":"m"}'
    )
    engine.plan(routed, peer="127.0.0.1")
    assert engine.knowledge._in_use.is_set()


def test_without_a_model_nobody_is_told_to_sign_in(tmp_path):
    config = parse("", "mitm.yaml", providers.known().keys())
    engine = Engine(config, Credentials({}, tmp_path), Store(tmp_path), clock=Clock())
    assert engine.warnings() == (
        "no credential found. The configuration names no model, so there is nothing to sign in to.",
    )
