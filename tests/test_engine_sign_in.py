"""An engine whose sign-in ends: renewed before its usage is read, signed out, or expired."""

import asyncio
import io
import json
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml
from rich.console import Console

from core import inspection, providers, report
from core.config import parse
from core.credentials import Credentials
from core.engine import Engine
from core.model import Ask, HttpRequest, Source, Usage, Window, Wire
from core.plan import Forward
from core.report import Reading, Status
from core.simulator import Fault, Simulator
from core.state import UsageRead
from core.store import Store

NOW = 1_795_000_000.0
WEEK = 604_800.0
ASK = Ask(Wire.MESSAGES, "claude-sonnet-4-5")
OVER = "signed out: run `opencode auth login`"


@dataclass
class Clock:
    now: float = NOW

    def __call__(self) -> float:
        return self.now


class Rig:
    """Signed in to a simulated Anthropic alone, for so many seconds more."""

    def __init__(self, folder: Path, sim: Simulator, lasts: float) -> None:
        self.sim = sim
        self.clock = Clock()
        self.file = folder / "opencode" / "auth.json"
        self.file.parent.mkdir()
        self.lasts = lasts
        self.sign_in(sim.refresh_tokens["anthropic"])
        self.folder = folder
        self.engine = self.made()

    def made(self) -> Engine:
        return Engine(
            parse(yaml.safe_dump(self.sim.config()), "mitm.yaml", providers.known().keys()),
            Credentials({}, self.folder),
            Store(self.folder / "state"),
            clock=self.clock,
        )

    def sign_in(self, refresh: str) -> None:
        entry = {
            "type": "oauth",
            "access": self.sim.tokens["anthropic"],
            "refresh": refresh,
            "expires": int((NOW + self.lasts) * 1000),
        }
        self.file.write_text(json.dumps({"anthropic": entry}))

    def running(self, then: Callable[[], Awaitable[None]]) -> None:
        async def main() -> None:
            ready = asyncio.Event()
            task = asyncio.create_task(self.engine.run(ready.set))
            try:
                async with asyncio.timeout(20):
                    await ready.wait()
                await then()
            finally:
                task.cancel()
                with suppress(asyncio.CancelledError):
                    await task

        asyncio.run(main())

    def problem(self) -> str | None:
        [found] = [it for it in self.engine.candidates(ASK) if it.provider == "anthropic"]
        return found.problem

    def usage(self, *, now: bool = False) -> Reading:
        [reading] = asyncio.run(inspection.usage(self.engine, "anthropic", asked_now=now))
        return reading

    def asked(self) -> list[tuple[str, int]]:
        return [(it.path, it.status) for it in self.sim.requests]


@pytest.fixture
def make(tmp_path: Path) -> Any:
    started: list[Simulator] = []

    def make(lasts: float) -> Rig:
        sim = Simulator("balanced", clock=lambda: NOW)
        sim.start()
        started.append(sim)
        return Rig(tmp_path, sim, lasts)

    yield make
    for sim in started:
        sim.stop()


async def nothing() -> None:
    pass


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110 - a file tells nobody of its change
            await asyncio.sleep(0.005)


def request() -> HttpRequest:
    body = b'{"model":"limit-router/claude-sonnet-4-5","max_tokens":1,"messages":[]}'
    fields = (("content-type", "application/json"), ("anthropic-version", "2023-06-01"))
    host = "limit-router.invalid"
    return HttpRequest("POST", "https", host, 443, "/v1/messages", fields, body)


RENEWED = ("/v1/oauth/token", 200)
READ = ("/api/oauth/usage", 200)


@pytest.mark.parametrize("lasts", [-60.0, 60.0])
def test_it_is_renewed_before_its_usage_is_read(make: Callable[[float], Rig], lasts: float) -> None:
    rig = make(lasts)
    rig.running(nothing)
    assert rig.asked() == [RENEWED, READ]
    assert rig.problem() is None
    [reading] = [it for it in rig.engine.state.accounts.values() if it.windows]
    assert reading.error is None


def test_a_request_that_finds_it_expired_goes_elsewhere_and_the_next_one_does_not(
    make: Callable[[float], Rig],
) -> None:
    rig = make(3600.0)
    old = rig.sim.tokens["anthropic"]

    async def then() -> None:
        rig.clock.now += 3600.0
        assert not isinstance(rig.engine.plan(request(), peer=None), Forward)
        await until(lambda: rig.problem() is None)
        forward = rig.engine.plan(request(), peer=None)
        assert isinstance(forward, Forward)
        new = rig.sim.tokens["anthropic"]
        assert forward.authorization == (("authorization", f"Bearer {new}"),)
        assert new != old

    rig.running(then)


def test_refused_for_good_it_is_signed_out_until_its_entry_changes(
    make: Callable[[float], Rig],
) -> None:
    rig = make(60.0)
    known = Usage((Window("seven_day", 40.0, NOW + WEEK / 2, WEEK, Source.ENDPOINT, NOW),))
    [subject] = rig.engine.subjects()
    rig.engine.knowledge.apply(UsageRead(subject.account, known, NOW, NOW))
    rig.sim.refresh_tokens["anthropic"] = "rt-another"
    rig.running(nothing)
    assert rig.asked() == [("/v1/oauth/token", 400)], "its usage is not asked for"
    assert rig.problem() == OVER
    reading = rig.usage()
    assert (reading.status, reading.error) == (Status.SIGNED_OUT, OVER)
    assert [view.window.used_percent for view in reading.windows] == [40.0], "as far as it is known"
    assert rig.usage(now=True) == Reading("anthropic", Status.SIGNED_OUT, error=OVER)
    assert len(rig.asked()) == 1
    rig.engine = rig.made()
    assert rig.problem() == OVER, "after a restart too"
    assert f"anthropic is {OVER}" in rig.engine.warnings()
    rig.sign_in("rt-another")
    assert rig.problem() is None
    rig.running(nothing)
    assert rig.asked()[1:] == [RENEWED, READ]
    assert (rig.problem(), rig.usage().status) == (None, Status.KNOWN)


def test_signed_out_as_json_and_for_people() -> None:
    reading = Reading("anthropic", Status.SIGNED_OUT, error=OVER)
    told = msgspec.json.decode(msgspec.json.encode(report.usage_json([reading], NOW)))
    assert told["providers"]["anthropic"]["status"] == "signed_out"
    assert told["providers"]["anthropic"]["error"] == OVER
    console = Console(file=io.StringIO(), width=80)
    console.print(report.usage([reading], NOW))
    assert isinstance(console.file, io.StringIO)
    lines = [line.rstrip() for line in console.file.getvalue().splitlines()]
    assert lines == ["anthropic: signed out", f"  {OVER}"]


def test_expired_its_usage_is_not_asked_for_and_that_is_said(make: Callable[[float], Rig]) -> None:
    rig = make(0.0)
    said = f"the sign-in in {rig.file} has expired"
    assert rig.usage() == Reading("anthropic", Status.ERROR, error=said)
    assert rig.usage(now=True) == Reading("anthropic", Status.ERROR, error=said)
    known = Usage((Window("seven_day", 40.0, NOW + WEEK / 2, WEEK, Source.ENDPOINT, NOW),))
    [subject] = rig.engine.subjects()
    rig.engine.knowledge.apply(UsageRead(subject.account, known, NOW, NOW))
    reading = rig.usage()
    assert (reading.status, reading.error, len(reading.windows)) == (Status.KNOWN, said, 1)
    assert rig.asked() == []


def test_a_fault_of_the_token_endpoint_signs_nobody_out(make: Callable[[float], Rig]) -> None:
    rig = make(60.0)
    rig.sim.inject(Fault(provider="tokens", status=500))
    rig.running(nothing)
    assert rig.asked() == [("/v1/oauth/token", 500), READ]
    assert (rig.problem(), rig.usage().status) == (None, Status.KNOWN)
