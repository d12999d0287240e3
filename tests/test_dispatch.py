"""A request that is made again after a refusal, and what an engine makes of it."""

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from core import historyfile, providers
from core.config import parse
from core.continuity import Thinking
from core.credentials import Credentials
from core.engine import Engine
from core.history import History
from core.model import HttpRequest, HttpResponse, Source, Usage, Window
from core.plan import Forward
from core.record import attempt
from core.state import UsageRead
from core.store import Store

NOW = 1_795_000_000.0
WEEK = 604_800.0
ACCESS = "sk-ant-oat-SECRET"
CONFIG = """
providers: {anthropic: {oauth: true}}
models:
  claude-sonnet-4-5: {providers: [anthropic]}
"""
MANUAL = {"type": "enabled", "budget_tokens": 1024}
ASKED = {"role": "user", "content": "Go on."}
RESULT = {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "toolu_1"}]}
TEXT = {"type": "text", "text": "So be it."}
USE = {"type": "tool_use", "id": "toolu_1", "name": "look", "input": {}}
THOUGHT = {"type": "thinking", "thinking": "Hm.", "signature": "of-a-stranger"}
SIGNATURE = "messages.1.content.0: Invalid `signature` in `thinking` block"
LOOP = "messages.1.content.0.type: Expected `thinking` or `redacted_thinking`, but found `tool_use`"
LIMITS = (("anthropic-ratelimit-unified-5h-utilization", "0.25"),)


@dataclass
class Clock:
    now: float = NOW

    def __call__(self) -> float:
        return self.now


class Rig:
    """An engine with Anthropic alone."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.clock = Clock()
        self.signed_in = {"OPENCODE_AUTH_CONTENT": self.auth("a")}
        self.engine = Engine(
            parse(CONFIG, "mitm.yaml", providers.known().keys()),
            Credentials(self.signed_in, folder / "data"),
            Store(folder / "state"),
            clock=self.clock,
            history=History(folder / "state"),
        )
        [self.subject] = self.engine.subjects()
        self.account = self.subject.account
        window = Window("seven_day", 10, NOW + WEEK / 2, WEEK, Source.ENDPOINT, NOW)
        self.engine.knowledge.apply(
            UsageRead(self.account, Usage((window,)), self.clock(), self.clock() + 300)
        )

    @staticmethod
    def auth(account: str) -> str:
        entry = {"type": "oauth", "access": f"{ACCESS}-{account}", "refresh": account, "expires": 0}
        return json.dumps({"anthropic": entry})

    def forward(self, request: HttpRequest) -> Forward:
        planned = self.engine.plan(request, peer="127.0.0.1")
        assert isinstance(planned, Forward)
        return planned

    @property
    def in_flight(self) -> tuple[float, ...]:
        return self.engine.state.of(self.account).in_flight

    def history(self, forward: Forward) -> list[tuple[int, int | None, str | None, bool | None]]:
        self.engine.history.close()
        assert self.engine.history.path is not None
        kept = map(attempt, historyfile.find(self.engine.history.path, forward.request_id))
        return [(it.number, it.end.status, it.end.error, it.end.complete) for it in kept]


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    return Rig(tmp_path)


def asked(*conversation: dict[str, Any], **fields: Any) -> HttpRequest:
    body = {"model": "limit-router/claude-sonnet-4-5", "max_tokens": 9, **fields}
    headers = (("content-type", "application/json"), ("x-session-id", "ses_1"))
    text = json.dumps(body | {"messages": conversation}, indent=1).encode()
    return HttpRequest("POST", "https", "limit-router.invalid", 443, "/v1/messages", headers, text)


def said(*blocks: dict[str, Any]) -> dict[str, Any]:
    return {"role": "assistant", "content": list(blocks)}


def no(text: str) -> HttpResponse:
    body = {"type": "error", "error": {"type": "invalid_request_error", "message": text}}
    return HttpResponse(400, LIMITS, json.dumps(body).encode())


STRANGE = asked(ASKED, said(THOUGHT, TEXT), ASKED)


def test_it_is_made_again_of_what_the_client_sent(rig: Rig) -> None:
    first = rig.forward(STRANGE)
    assert first.may_repeat(400)
    rig.clock.now += 1
    again = rig.engine.repeat(first, STRANGE, no(SIGNATURE))
    assert again is not None
    body = json.loads(again.request.body)
    assert body["messages"] == [ASKED, said(TEXT), ASKED]
    assert (again.attempt, again.request_id, again.sent_at) == (2, first.request_id, NOW + 1)
    assert again.thinking == Thinking(removed=1)
    assert (again.ask, again.route.candidate) == (first.ask, first.route.candidate)
    length = str(len(again.request.body))
    kept = [it for it in first.request.headers if it[0] != "content-length"]
    assert again.request == replace(
        first.request, headers=(*kept, ("content-length", length)), body=again.request.body
    )
    assert dict(again.response_headers)["x-limit-router-attempts"] == "2"
    assert not again.may_repeat(400)


def test_the_next_request_is_made_so_at_once(rig: Rig) -> None:
    rig.engine.repeat(rig.forward(STRANGE), STRANGE, no(SIGNATURE))
    again = rig.forward(STRANGE)
    assert again.thinking == Thinking(removed=1)
    assert not again.may_repeat(400)


def test_each_attempt_is_counted_once(rig: Rig) -> None:
    first = rig.forward(STRANGE)
    assert rig.in_flight == (NOW,)
    rig.clock.now += 1
    again = rig.engine.repeat(first, STRANGE, no(SIGNATURE))
    assert again is not None
    assert rig.in_flight == (NOW + 1,)
    rig.engine.observe_headers(again, 200, ())
    tap = rig.engine.tap(again, ())
    tap.feed(b"{}", rig.clock())
    rig.engine.observe_end(again, tap.close(whole=True))
    assert rig.in_flight == ()
    assert rig.history(again) == [(1, 400, "thinking_refused", True), (2, 200, None, True)]


def test_the_limits_in_a_refusal_count(rig: Rig) -> None:
    rig.engine.repeat(rig.forward(STRANGE), STRANGE, no(SIGNATURE))
    windows = rig.engine.state.of(rig.account).windows
    assert {it.name: it.used_percent for it in windows.values()} == {
        "seven_day": 10.0,
        "five_hour": 25.0,
    }


def test_a_tool_loop_is_made_again_without_thinking(rig: Rig) -> None:
    loop = asked(ASKED, said(THOUGHT, TEXT), ASKED, said(USE), RESULT, thinking=MANUAL)
    again = rig.engine.repeat(rig.forward(loop), loop, no(LOOP))
    assert again is not None
    assert again.thinking == Thinking(removed=1, off=True)
    body = json.loads(again.request.body)
    assert "thinking" not in body
    assert body["messages"] == [ASKED, said(TEXT), ASKED, said(USE), RESULT]


def test_the_loop_goes_on_without_after_an_answer_that_was_given_without(rig: Rig) -> None:
    loop = asked(ASKED, said(THOUGHT, USE), RESULT, thinking=MANUAL)
    again = rig.engine.repeat(rig.forward(loop), loop, no(SIGNATURE))
    assert again is not None
    tap = rig.engine.tap(again, ())
    use = USE | {"id": "toolu_2"}
    tap.feed(json.dumps({"type": "message", **said(use)}).encode(), rig.clock())
    rig.engine.observe_end(again, tap.close(whole=True))
    result = {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "toolu_2"}]}
    # Compaction may have taken its beginning away.
    later = rig.forward(asked(ASKED, said(use), result, thinking=MANUAL))
    assert later.thinking == Thinking(off=True)


@pytest.mark.parametrize(
    "answer",
    [
        no("max_tokens: Input should be a valid integer"),
        replace(no(SIGNATURE), status=422),
        replace(no(SIGNATURE), headers=(("content-encoding", "gzip"),)),
    ],
)
def test_another_refusal_is_let_through(rig: Rig, answer: HttpResponse) -> None:
    first = rig.forward(STRANGE)
    assert rig.engine.repeat(first, STRANGE, answer) is None
    assert rig.in_flight == (NOW,)
    assert rig.forward(STRANGE).thinking == Thinking(carried=1)


def test_what_would_be_the_same_again_is_not_made(rig: Rig) -> None:
    """Adaptive thinking needs nothing to begin with, and there is nothing to leave out."""
    adaptive = asked(ASKED, said(TEXT), ASKED, thinking={"type": "adaptive"})
    first = rig.forward(adaptive)
    assert not first.may_repeat(400)
    assert rig.engine.repeat(first, adaptive, no(LOOP)) is None
    assert rig.in_flight == (NOW,)


def test_a_model_that_is_gone_from_the_configuration(rig: Rig) -> None:
    first = rig.forward(STRANGE)
    without = CONFIG.replace("sonnet", "opus")
    rig.engine.config = parse(without, "mitm.yaml", providers.known().keys())
    assert rig.engine.repeat(first, STRANGE, no(SIGNATURE)) is None


def test_what_the_client_sent_is_no_request_of_ours(rig: Rig) -> None:
    first = rig.forward(STRANGE)
    other = replace(STRANGE, host="example.invalid", path="/")
    assert rig.engine.repeat(first, other, no(SIGNATURE)) is None


def test_a_sign_in_that_is_another_one_since(rig: Rig) -> None:
    first = rig.forward(STRANGE)
    rig.engine.credentials = Credentials(
        {"OPENCODE_AUTH_CONTENT": rig.auth("b")}, rig.folder / "data"
    )
    assert rig.engine.repeat(first, STRANGE, no(SIGNATURE)) is None
    assert rig.in_flight == (NOW,)
