"""A usage endpoint that refuses, hangs or talks nonsense: its account is unknown, others are not.

For every provider that has such an endpoint, from its recorded replies.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest
from test_transport import Server, answering, dripping, huge, reply, silent

from core import providers, routing
from core.knowledge import Knowledge
from core.model import (
    Account,
    AccountKind,
    Ask,
    Candidate,
    Credential,
    CredentialType,
    Headers,
    HttpRequest,
    HttpResponse,
    Route,
    Secret,
    Verdict,
    Window,
    Wire,
)
from core.poller import Subject
from core.store import Store
from core.transport import Transport

NOW = 1_785_800_000.0
DATA = Path(__file__).parent / "data"
REPLIES = {
    "anthropic": "anthropic/usage",
    "chatgpt": "chatgpt/usage",
    "github-copilot": "github_copilot/usage",
    "opencode-go": "opencode_go/usage",
    "openrouter": "openrouter/key",
    "zai": "zai/quota",
}
EACH = pytest.mark.parametrize("provider", REPLIES)


def test_every_provider_that_is_asked_is_here() -> None:
    assert set(REPLIES) == {name for name, it in providers.known().items() if it.usage}


def recorded(provider: str) -> bytes:
    return (DATA / f"{REPLIES[provider]}.json").read_bytes()


def subject(provider: str, usage_url: str = "https://usage.example/u", base: str = "") -> Subject:
    credential = Credential(CredentialType.OAUTH, Secret("SECRET-TOKEN"), "TEST", "me")
    account = Account(provider, "me", AccountKind.SUBSCRIPTION)
    value = providers.known()[provider]
    return Subject(account, value, credential, base or "https://base.example", usage_url)


@dataclass
class Clock:
    now: float = NOW

    def __call__(self) -> float:
        return self.now


class Rig:
    """What is known of one account, and the endpoint that tells of it."""

    def __init__(self, folder: Path, provider: str) -> None:
        self.clock = Clock()
        self.subject = subject(provider)
        self.held = Knowledge(Store(folder), self.clock)
        self.answer = HttpResponse(200, (), recorded(provider))

    async def _send(self, request: HttpRequest, _: Headers) -> HttpResponse:
        # The list of models is another question.
        return self.answer if request.host == "usage.example" else HttpResponse(404)

    def poll(self, answer: HttpResponse | None = None) -> None:
        self.answer = answer or self.answer
        asyncio.run(self.held.poll(lambda: [self.subject], self._send))

    @property
    def windows(self) -> dict[str, Window]:
        return dict(self.held.state.of(self.subject.account).windows)

    def verdict(self) -> Verdict:
        candidate = Candidate(self.subject.provider.id, "some-model", self.subject.account)
        ask = Ask(Wire.MESSAGES, "some-model")
        decision = routing.decide(ask, [candidate], self.held.state, self.clock())
        assert isinstance(decision, Route)
        return decision.chosen


REFUSALS = pytest.mark.parametrize("status", [401, 403, 404])


@EACH
@REFUSALS
def test_a_refusal_leaves_what_was_known_with_its_age_and_the_account_in_service(
    tmp_path: Path, provider: str, status: int
) -> None:
    rig = Rig(tmp_path, provider)
    rig.poll()
    before = rig.windows
    assert before
    assert {window.as_of for window in before.values()} == {NOW}
    rig.clock.now += 400.0
    rig.poll(HttpResponse(status, (), b'{"error": {"message": "no"}}'))
    known = rig.held.state.of(rig.subject.account)
    assert rig.windows == before
    assert (known.as_of, known.polled_at, known.failures) == (NOW, NOW + 400.0, 1)
    assert known.error == f"the usage endpoint answered {status}"
    assert known.limited_until is None
    assert rig.verdict().available
    assert {it.window.name for it in rig.verdict().windows} <= before.keys()


@EACH
@REFUSALS
def test_an_account_that_was_never_read_is_unknown_after_a_refusal_and_not_exhausted(
    tmp_path: Path, provider: str, status: int
) -> None:
    rig = Rig(tmp_path, provider)
    rig.poll(HttpResponse(status))
    verdict = rig.verdict()
    assert rig.windows == {}
    assert (verdict.available, verdict.score, verdict.windows) == (True, None, ())
    assert "unknown" in verdict.why


@EACH
def test_an_endpoint_that_answers_again_is_believed_again(tmp_path: Path, provider: str) -> None:
    rig = Rig(tmp_path, provider)
    good = rig.answer
    rig.poll(HttpResponse(403))
    rig.clock.now += 400.0
    rig.poll(good)
    known = rig.held.state.of(rig.subject.account)
    assert (known.failures, known.error, known.as_of) == (0, None, NOW + 400.0)


# Endpoints that do worse than refuse


def moved(port: Callable[[], int]) -> Callable[..., Awaitable[None]]:
    """Sends whoever asks to another host."""

    async def handler(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(reply(b"", "302 Found", f"location: http://localhost:{port()}/u"))

    return handler


TIMEOUT_S = 1.0
LATE = "127.0.0.1 did not answer within 1 s"
MODELS = json.dumps({"data": [{"id": "m", "supported_endpoints": ["/v1/messages"]}]}).encode()


def test_each_costs_no_more_than_its_own_slot(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """All are asked at once, and who answers is known before the last has run out of time."""
    elsewhere = Server(answering(reply(recorded("chatgpt"))))
    servers = {
        "anthropic": Server(silent),
        "chatgpt": Server(moved(lambda: elsewhere.port)),
        "github-copilot": Server(answering(reply(b"<!doctype html><title>Sign in</title>"))),
        "opencode-go": Server(huge),
        "openrouter": Server(answering(reply(recorded("openrouter")))),
        "zai": Server(dripping),
    }
    lists = Server(answering(reply(MODELS)))
    held = Knowledge(Store(tmp_path), Clock())

    async def main() -> None:
        async with AsyncExitStack() as stack:
            for server in (*servers.values(), elsewhere, lists):
                await stack.enter_async_context(server.running())
            transport = await stack.enter_async_context(Transport(TIMEOUT_S))
            base = f"http://127.0.0.1:{lists.port}"
            asked = [
                subject(name, f"http://127.0.0.1:{it.port}/u", base) for name, it in servers.items()
            ]
            began = asyncio.get_running_loop().time()
            polling = asyncio.create_task(held.poll(lambda: asked, transport.send))
            while not known("openrouter").windows or known("github-copilot").models is None:
                assert not polling.done()
                await asyncio.sleep(0.005)
            assert not polling.done()
            await polling
            assert asyncio.get_running_loop().time() - began < 2 * TIMEOUT_S

    def known(provider: str):
        return held.state.of(subject(provider).account)

    asyncio.run(main())
    assert {name: known(name).error for name in servers} == {
        "anthropic": LATE,
        "chatgpt": "the usage endpoint answered 302",
        "github-copilot": "the usage endpoint answered something that is not JSON",
        "opencode-go": "the answer is larger than 1 MB",
        "openrouter": None,
        "zai": LATE,
    }
    assert {name for name in servers if known(name).windows} == {"openrouter"}
    assert known("github-copilot").models == ("m",)
    assert elsewhere.received == []
    assert [len(it.received) for it in servers.values()] == [1] * len(servers)
    assert len(caplog.messages) == 5
