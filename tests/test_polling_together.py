"""Proxies and command lines that share a state folder ask as one, however many there are.

Time is virtual where only the order of things matters; files and their locks are always real.
"""

import asyncio
import json
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest
import virtual_time
import yaml

from core import inspection, providers
from core.config import parse
from core.credentials import Credentials
from core.engine import Engine
from core.errors import UsageError
from core.knowledge import IDLE_AFTER_S, LONGEST_TURN_S, Knowledge
from core.model import (
    Account,
    AccountKind,
    Credential,
    CredentialType,
    Headers,
    HttpRequest,
    HttpResponse,
    Secret,
)
from core.poller import Subject
from core.simulator import Recorded, Simulator
from core.store import Store
from core.transport import Transport

type Clock = Callable[[], float]

HALF_AN_HOUR = 1800.0
STRICT_S = 300.0
"""Anthropic refuses a token that asks oftener, and goes on refusing."""
LATENCY_S = 0.5

CLAUDE = providers.known()["anthropic"]
SUBJECT = Subject(
    Account("anthropic", "me", AccountKind.SUBSCRIPTION),
    CLAUDE,
    Credential(CredentialType.OAUTH, Secret("sk-ant-oat-SECRET"), "TEST", "me"),
    "https://base.example",
    "https://usage.example/u",
)
READING = {"seven_day": {"utilization": 40, "resets_at": "2026-07-08T00:00:00Z"}}


class Endpoint:
    """Anthropic's: it takes a while, and is as strict as the real one."""

    def __init__(self, clock: Clock, answer: HttpResponse | None = None) -> None:
        self.asked: list[float] = []
        """Seconds from the start."""
        self.refused = 0
        self._clock = clock
        self._answer = answer

    async def send(self, _: HttpRequest, credential: Headers) -> HttpResponse:
        assert credential == CLAUDE.authorize(SUBJECT.credential)
        now = self._clock() - virtual_time.START
        often = bool(self.asked) and now - self.asked[-1] < STRICT_S
        self.asked.append(now)
        await asyncio.sleep(LATENCY_S)
        if often:
            self.refused += 1
            return HttpResponse(429, (("retry-after", "0"),))
        return self._answer or HttpResponse(200, (), json.dumps(READING).encode())


def subjects() -> list[Subject]:
    return [SUBJECT]


@asynccontextmanager
async def proxy(folder: Path, clock: Clock, there: Endpoint) -> AsyncIterator[Knowledge]:
    """What a proxy runs from its start to its end."""
    held = Knowledge(Store(folder), clock)
    task = asyncio.create_task(held.run(subjects, lambda: None, there.send))
    try:
        yield held
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        held.close()


async def command_line(folder: Path, clock: Clock, there: Endpoint) -> Knowledge:
    """What `limit-router usage` does."""
    held = Knowledge(Store(folder), clock)
    await held.refresh()
    await held.poll(subjects, there.send)
    held.close()
    return held


async def every(seconds: float, act: Callable[[], Awaitable[object]]) -> None:
    while True:
        await act()
        await asyncio.sleep(seconds)


@asynccontextmanager
async def going_on(*habits: Awaitable[None]) -> AsyncIterator[None]:
    tasks = [asyncio.ensure_future(it) for it in habits]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def half_an_hour_of_use(
    folder: Path, clock: Clock, there: Endpoint, later: float = 0.0
) -> list[Knowledge]:
    """Two proxies in constant use, the second a moment later, and somebody who keeps looking."""
    async with proxy(folder, clock, there) as one:
        await asyncio.sleep(later)
        async with proxy(folder, clock, there) as other:

            async def use() -> None:
                one.touch()
                other.touch()

            async def look() -> None:
                await command_line(folder, clock, there)

            async with going_on(every(5.0, use), every(7.0, look)):
                await asyncio.sleep(virtual_time.START + HALF_AN_HOUR - clock() - 1.0)
        return [one, other, await command_line(folder, clock, there)]


@pytest.mark.parametrize("later", [0.0, 0.2, 5.0, 299.0, 301.0])
def test_half_an_hour_of_use_asks_anthropic_six_times_at_most(tmp_path: Path, later: float) -> None:
    async def main(clock: Clock) -> None:
        there = Endpoint(clock)
        found = await half_an_hour_of_use(tmp_path, clock, there, later)
        assert 5 <= len(there.asked) <= 6
        assert there.refused == 0
        [known] = {held.state.of(SUBJECT.account).windows["seven_day"] for held in found}
        assert known.used_percent == 40.0
        assert virtual_time.START + there.asked[-1] == known.as_of

    virtual_time.run(main)


@pytest.mark.parametrize(
    ("fields", "waits"),
    [((), [300, 600]), ((("retry-after", "0"),), [300, 600]), ((("retry-after", "1600"),), [1600])],
)
def test_a_refusal_is_waited_out_by_all(
    tmp_path: Path, fields: Headers, waits: list[float]
) -> None:
    """`retry-after: 0` is what it says in mid-ban too: no less than the back-off, which doubles."""

    async def main(clock: Clock) -> None:
        there = Endpoint(clock, HttpResponse(429, fields))
        found = await half_an_hour_of_use(tmp_path, clock, there)
        gaps = [at - before for before, at in zip(there.asked, there.asked[1:], strict=False)]
        assert gaps == pytest.approx(waits, abs=2.0)
        assert there.refused == 0
        for held in found:
            known = held.state.of(SUBJECT.account)
            assert (known.failures, dict(known.windows)) == (len(waits) + 1, {})
            assert known.error == "the usage endpoint limits how often it is asked"

    virtual_time.run(main)


def test_two_that_start_in_the_same_instant_ask_once_and_both_know(tmp_path: Path) -> None:
    async def main(clock: Clock) -> None:
        there = Endpoint(clock)
        found = await asyncio.gather(*(command_line(tmp_path, clock, there) for _ in range(2)))
        assert there.asked == [0.0]
        assert [dict(held.state.of(SUBJECT.account).windows) for held in found] == [
            dict(found[0].state.of(SUBJECT.account).windows)
        ] * 2
        assert found[0].state.of(SUBJECT.account).windows.keys() == {"seven_day"}

    virtual_time.run(main)


def test_a_proxy_is_ready_with_what_another_was_asking_at_its_start(tmp_path: Path) -> None:
    async def main(clock: Clock) -> None:
        there = Endpoint(clock)
        async with proxy(tmp_path, clock, there):
            await asyncio.sleep(LATENCY_S / 2)
            second, ready = Knowledge(Store(tmp_path), clock), asyncio.Event()
            async with going_on(second.run(subjects, ready.set, there.send)):
                await ready.wait()
                assert second.state.of(SUBJECT.account).windows.keys() == {"seven_day"}
        assert there.asked == [0.0]

    virtual_time.run(main)


def test_asked_now_by_two_at_once_it_is_asked_once(tmp_path: Path) -> None:
    """`--no-cache` asks whatever the interval, and yet not twice in a second."""

    async def main(clock: Clock) -> None:
        there = Endpoint(clock)
        await command_line(tmp_path, clock, there)
        await asyncio.sleep(STRICT_S)
        both = [Knowledge(Store(tmp_path), clock) for _ in range(2)]
        outcomes = await asyncio.gather(*(it.ask_now(subjects(), there.send) for it in both))
        assert outcomes == [{"anthropic": None}] * 2
        assert there.asked == [0.0, pytest.approx(STRICT_S + LATENCY_S)]
        asked_at = virtual_time.START + there.asked[-1]
        assert {it.state.of(SUBJECT.account).polled_at for it in both} == {asked_at}

    virtual_time.run(main)


def test_what_two_ask_now_fails_for_both(tmp_path: Path) -> None:
    async def main(clock: Clock) -> None:
        there = Endpoint(clock, HttpResponse(503))
        both = [Knowledge(Store(tmp_path), clock) for _ in range(2)]
        outcomes = await asyncio.gather(*(it.ask_now(subjects(), there.send) for it in both))
        said = [str(outcome["anthropic"]) for outcome in outcomes]
        assert said == ["the usage endpoint answered 503"] * 2
        assert there.asked == [0.0]

    virtual_time.run(main)


def test_now_is_not_asked_of_one_that_has_us_wait(tmp_path: Path) -> None:
    async def main(clock: Clock) -> None:
        there = Endpoint(clock, HttpResponse(429, (("retry-after", "1600"),)))
        await command_line(tmp_path, clock, there)
        held = Knowledge(Store(tmp_path), clock)
        await asyncio.sleep(400)
        outcome = (await held.ask_now(subjects(), there.send))["anthropic"]
        assert isinstance(outcome, UsageError)
        assert str(outcome) == (
            "the usage endpoint limits how often it is asked; it may be asked again in 20 min"
        )
        assert len(there.asked) == 1

    virtual_time.run(main)


def test_unused_for_a_quarter_of_an_hour_it_asks_no_more_until_the_next_request(
    tmp_path: Path,
) -> None:
    async def main(clock: Clock) -> None:
        there = Endpoint(clock)
        async with proxy(tmp_path, clock, there) as held:
            await asyncio.sleep(100)
            held.touch()
            await asyncio.sleep(10_000)
            until_idle = list(there.asked)
            assert 3 <= len(until_idle) <= 4
            assert until_idle[-1] <= 100 + IDLE_AFTER_S
            held.touch()
            await asyncio.sleep(LATENCY_S)
            assert there.asked == [*until_idle, 10_100.0]

    virtual_time.run(main)


def test_one_that_was_stopped_in_the_midst_of_asking_holds_nobody_up_for_long(
    tmp_path: Path,
) -> None:
    async def main(clock: Clock) -> None:
        there = Endpoint(clock)
        stopped = Store(tmp_path)
        assert stopped.take_turn()
        held = await command_line(tmp_path, clock, there)
        stopped.give_turn()
        assert there.asked == [LONGEST_TURN_S]
        assert held.state.of(SUBJECT.account).windows.keys() == {"seven_day"}

    virtual_time.run(main)


HOLDER = """
import sys
from pathlib import Path
from core.store import Store
print(store.take_turn() if (store := Store(Path(sys.argv[1]))) else None, flush=True)
sys.stdin.read()
"""


def test_the_turn_of_a_process_that_was_killed_is_free_at_once(tmp_path: Path) -> None:
    command = [sys.executable, "-c", HOLDER, str(tmp_path)]
    with subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=Path(__file__).parents[1],
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"True\n"
        own = Store(tmp_path)
        assert not own.take_turn()
        other.kill()
        other.wait()
        assert own.take_turn()
        own.give_turn()


@pytest.mark.parametrize("fails", [OSError("no space left"), NotImplementedError("no locks")])
def test_where_there_are_no_locks_each_asks_for_itself(tmp_path: Path, fails: Exception) -> None:
    class Locks:
        def acquire(self) -> None:
            raise fails

        def release(self) -> None: ...

    store = Store(tmp_path)
    store._turn = Locks()  # type: ignore[assignment]
    assert store.take_turn()
    store.give_turn()


@dataclass
class Hand:
    """A clock that is set by hand."""

    now: float = virtual_time.START

    def __call__(self) -> float:
        return self.now


def test_proxies_and_usage_leave_a_strict_endpoint_content(tmp_path: Path) -> None:
    """Engines as they are built, real requests to the simulated providers, `limit-router usage`."""
    clock = Hand()
    with Simulator("over-pace", clock=clock) as sim:
        config = parse(yaml.safe_dump(sim.config()), "mitm.yaml", providers.known().keys())

        def engine() -> Engine:
            credentials = Credentials(
                {"OPENCODE_AUTH_CONTENT": sim.auth_content()}, tmp_path / "data"
            )
            return Engine(config, credentials, Store(tmp_path / "state"), clock=clock)

        async def main() -> None:
            proxies = [engine(), engine()]
            async with Transport() as transport:
                while clock.now < virtual_time.START + HALF_AN_HOUR:
                    polls = [it.knowledge.poll(it.subjects, transport.send) for it in proxies]
                    looks = inspection.usage(engine(), None, asked_now=False)
                    *_, readings = await asyncio.gather(*polls, looks)
                    shown = {reading.provider: reading.status for reading in readings}
                    assert shown["anthropic"] == shown["github-copilot"] == "known"
                    clock.now += 20.0

        asyncio.run(main())
        polls: list[Recorded] = [it for it in sim.requests if it.kind == "usage"]
    for provider in ("anthropic", "github-copilot"):
        answered = [it.status for it in polls if it.provider == provider]
        assert 5 <= len(answered) <= 6
        assert set(answered) == {200}
