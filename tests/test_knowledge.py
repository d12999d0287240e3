import asyncio
import json
import logging
import threading
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from core import providers
from core.errors import StateError, UsageError
from core.knowledge import LONGEST_NAP_S, Knowledge
from core.model import (
    Abilities,
    Account,
    AccountKind,
    AccountState,
    Credential,
    CredentialType,
    Headers,
    HttpRequest,
    HttpResponse,
    Secret,
    Source,
    State,
    Window,
)
from core.poller import MODELS_RETRY, Subject
from core.state import LimitsSeen
from core.store import Store

NOW = 1_783_000_000.0
TOKEN = "SECRET-TOKEN"
CLAUDE_USAGE, SEAT_USAGE, SEAT_MODELS = "/api/oauth/usage", "/copilot_internal/user", "/models"
KEY_MODELS = "/v1/models?limit=1000"
ANSWERS: dict[str, object] = {
    CLAUDE_USAGE: {"five_hour": {"utilization": 40, "resets_at": "2026-07-03T00:30:00Z"}},
    SEAT_USAGE: {
        "copilot_plan": "individual",
        "quota_snapshots": {"premium_models": {"entitlement": 300, "percent_remaining": 60}},
    },
    SEAT_MODELS: {"data": [{"id": "m", "supported_endpoints": ["/v1/messages"]}]},
}
FIVE_HOURS = Window("five_hour", 40.0, 1783038600.0, 18000.0, Source.ENDPOINT, NOW)
MONTH = Window("month", 40.0, None, None, Source.ENDPOINT, NOW)
SEEN = Window("five_hour", 41.0, 1783038600.0, 18000.0, Source.HEADER, NOW + 1)


@dataclass
class Clock:
    now: float = NOW

    def __call__(self) -> float:
        return self.now


class Providers:
    """What is asked of them, and what they answer: JSON, or an error to raise."""

    def __init__(self, **failing: UsageError) -> None:
        self.asked: list[str] = []
        self.credentials: list[Headers] = []
        self.answers = ANSWERS | {f"/{name}": error for name, error in failing.items()}
        self.on_ask: Callable[[str], Awaitable[None]] | None = None

    async def send(self, request: HttpRequest, credential: Headers) -> HttpResponse:
        self.asked.append(request.path)
        self.credentials.append(credential)
        if self.on_ask is not None:
            await self.on_ask(request.path)
        answer = self.answers[request.path]
        if isinstance(answer, UsageError):
            raise answer
        return HttpResponse(200, (), json.dumps(answer).encode())


def subject(provider: str) -> Subject:
    value = providers.known()[provider]
    credential = Credential(CredentialType.OAUTH, Secret(TOKEN), "TEST", "me")
    account = Account(provider, "me", AccountKind.SUBSCRIPTION)
    usage_url = value.endpoints(None).usage_url
    return Subject(account, value, credential, value.endpoints(None).base_url, usage_url)


CLAUDE, SEAT = subject("anthropic"), subject("github-copilot")


def both() -> Iterable[Subject]:
    return [CLAUDE, SEAT]


def knowledge(folder: Path, clock: Clock | None = None) -> Knowledge:
    return Knowledge(Store(folder), clock or Clock())


def windows(state: State) -> dict[str, Window]:
    return {w.name: w for known in state.accounts.values() for w in known.windows.values()}


async def soon(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110 - a file tells nobody of its change
            await asyncio.sleep(0.005)


def running(
    held: Knowledge,
    send: Providers,
    then: Callable[[], Awaitable[None]] | None = None,
    on_ready: Callable[[], None] = lambda: None,
) -> None:
    """Run until ready, do `then`, cancel."""

    async def main() -> None:
        ready = asyncio.Event()

        def tell() -> None:
            on_ready()
            ready.set()

        task = asyncio.create_task(held.run(both, tell, send.send))
        try:
            async with asyncio.timeout(5):
                await ready.wait()
            if then is not None:
                await then()
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    asyncio.run(main())


def test_at_start_every_stale_account_is_asked_and_ready_comes_after(tmp_path: Path) -> None:
    held, there = knowledge(tmp_path), Providers()
    at_ready: list[State] = []
    running(held, there, on_ready=lambda: at_ready.append(held.state))
    assert sorted(there.asked) == sorted([CLAUDE_USAGE, SEAT_USAGE, SEAT_MODELS])
    [state] = at_ready
    assert windows(state) == {"five_hour": FIVE_HOURS, "month": MONTH}
    seat = state.of(SEAT.account)
    assert (seat.models, seat.models_at, seat.plan) == (("m",), NOW, "individual")
    for known in state.accounts.values():
        assert (known.polled_at, known.failures, known.error) == (NOW, 0, None)
        assert known.poll_after is not None
        assert NOW + 300 <= known.poll_after <= NOW + 360


def test_all_are_asked_at_once(tmp_path: Path) -> None:
    """None answers before all have been asked: one after the other would never end."""
    there = Providers()
    asked = asyncio.Event()

    async def wait(_: str) -> None:
        if len(there.asked) == len(ANSWERS):
            asked.set()
        await asked.wait()

    there.on_ask = wait
    running(knowledge(tmp_path), there)
    assert len(there.asked) == 3


def test_each_is_asked_with_its_credential(tmp_path: Path) -> None:
    there = Providers()
    running(knowledge(tmp_path), there)
    assert there.credentials == [(("authorization", f"Bearer {TOKEN}"),)] * 3


def test_nothing_fresh_is_asked_again(tmp_path: Path) -> None:
    clock = Clock()
    held, there = knowledge(tmp_path, clock), Providers()

    async def main() -> None:
        await held.poll(both, there.send)
        there.asked.clear()
        clock.now = NOW + 299
        await held.poll(both, there.send)
        assert there.asked == []
        clock.now = NOW + 360
        await held.poll(both, there.send)
        assert sorted(there.asked) == [CLAUDE_USAGE, SEAT_USAGE]
        there.asked.clear()
        clock.now = NOW + 86400
        await held.poll(both, there.send)
        assert sorted(there.asked) == sorted(ANSWERS)

    asyncio.run(main())


def test_a_restart_asks_nothing_that_is_fresh(tmp_path: Path) -> None:
    first = knowledge(tmp_path)
    running(first, Providers())
    first.close()
    there = Providers()
    again = knowledge(tmp_path)
    running(again, there)
    assert there.asked == []
    assert windows(again.state) == {"five_hour": FIVE_HOURS, "month": MONTH}


def test_what_another_process_has_just_read_is_not_asked_again(tmp_path: Path) -> None:
    one, other = knowledge(tmp_path), knowledge(tmp_path)
    running(one, Providers())
    one.close()
    there = Providers()
    running(other, there)
    assert there.asked == []
    assert windows(other.state) == windows(one.state)


def test_an_endpoint_that_fails_does_not_stop_the_others(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    held, there = knowledge(tmp_path), Providers()
    there.answers[CLAUDE_USAGE] = UsageError("the usage endpoint answered 403", 1600.0)
    running(held, there)
    assert windows(held.state) == {"month": MONTH}
    assert held.state.of(CLAUDE.account) == AccountState(
        polled_at=NOW,
        poll_after=NOW + 1600,
        failures=1,
        error="the usage endpoint answered 403",
    )
    assert caplog.messages == ["limit-router: Anthropic: the usage endpoint answered 403"]


def test_failures_back_off_and_what_was_known_stays(tmp_path: Path) -> None:
    clock = Clock()
    held, there = knowledge(tmp_path, clock), Providers()
    waits = []

    async def main() -> None:
        await held.poll(both, there.send)
        there.answers[CLAUDE_USAGE] = UsageError("down")
        for _ in range(5):
            clock.now = held.state.of(CLAUDE.account).poll_after or 0.0
            await held.poll(both, there.send)
            waits.append((held.state.of(CLAUDE.account).poll_after or 0.0) - clock.now)
        assert windows(held.state)["five_hour"] == FIVE_HOURS
        del there.answers[CLAUDE_USAGE]
        there.answers[CLAUDE_USAGE] = ANSWERS[CLAUDE_USAGE]
        clock.now = held.state.of(CLAUDE.account).poll_after or 0.0
        await held.poll(both, there.send)
        known = held.state.of(CLAUDE.account)
        assert (known.failures, known.error, known.polled_at) == (0, None, clock.now)

    asyncio.run(main())
    assert waits == [300, 600, 1200, 2400, 3600]


def test_a_model_list_that_fails_is_left_alone_for_an_hour(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    clock = Clock()
    held, there = knowledge(tmp_path, clock), Providers(models=UsageError("no list"))

    async def main() -> None:
        await held.poll(both, there.send)
        for later, times in ((MODELS_RETRY - 1, 1), (MODELS_RETRY, 2)):
            clock.now = NOW + later
            await held.poll(both, there.send)
            assert there.asked.count(SEAT_MODELS) == times

    asyncio.run(main())
    assert caplog.messages == ["limit-router: GitHub Copilot: no list"] * 2
    assert held.state.of(SEAT.account).models is None


def test_what_a_list_says_of_its_models_is_kept_without_the_credential(tmp_path: Path) -> None:
    there = Providers()
    entry = {
        "supported_endpoints": ["/v1/messages"],
        "capabilities": {"limits": {"max_output_tokens": 32_000}},
    }
    silent = {"id": "silent", "supported_endpoints": ["/v1/messages"]}
    entries = [entry | {"id": "m"}, silent, entry | {"id": f"x-{TOKEN}"}]
    there.answers[SEAT_MODELS] = {"data": entries}
    held = knowledge(tmp_path)
    running(held, there)
    known = Store(tmp_path).load().of(SEAT.account)
    assert known == held.state.of(SEAT.account)
    assert known.models == ("m", "silent")
    assert known.abilities == {"m": Abilities(output=32_000)}


def test_a_list_that_is_not_all_leaves_open_what_there_is(tmp_path: Path) -> None:
    there, held = Providers(), knowledge(tmp_path)
    there.answers[KEY_MODELS] = {"data": [{"id": "m-20260101", "max_tokens": 64_000}]}
    credential = replace(CLAUDE.credential, type=CredentialType.API)
    key = replace(CLAUDE, credential=credential)
    asyncio.run(held.poll(lambda: [key], there.send))
    assert there.asked == [KEY_MODELS]
    known = held.state.of(key.account)
    assert (known.models, known.models_at) == (None, NOW)
    told = Abilities(output=64_000)
    assert known.abilities == {"m-20260101": told, "m": told}


def test_what_falls_due_later_is_asked_in_the_background(tmp_path: Path) -> None:
    clock = Clock()
    held, there = knowledge(tmp_path, clock), Providers()

    def later() -> None:
        clock.now = NOW + 360

    async def then() -> None:
        await soon(lambda: there.asked.count(CLAUDE_USAGE) == 2)

    running(held, there, then, on_ready=later)


@pytest.mark.parametrize(
    ("poll_after", "nap"),
    [(None, 1.0), (NOW - 5, 1.0), (NOW + 10, 10.0), (NOW + 3000, LONGEST_NAP_S)],
)
def test_it_naps_until_the_next_is_due(tmp_path: Path, poll_after: float, nap: float) -> None:
    held = knowledge(tmp_path)
    held.state = State({CLAUDE.account.id: AccountState(poll_after=poll_after)})
    assert held._nap(lambda: [CLAUDE]) == nap


def test_without_an_account_it_looks_for_one_every_minute(tmp_path: Path) -> None:
    assert knowledge(tmp_path)._nap(list) == LONGEST_NAP_S == 60.0


def on_disk(folder: Path) -> dict[str, Window]:
    return windows(Store(folder).load())


def test_a_change_is_on_disk_within_a_second(tmp_path: Path) -> None:
    held = knowledge(tmp_path)

    async def then() -> None:
        await soon(lambda: on_disk(tmp_path).get("five_hour") == FIVE_HOURS)
        loop = asyncio.get_running_loop()
        began = loop.time()
        held.apply(LimitsSeen(CLAUDE.account, (SEEN,)))
        await soon(lambda: on_disk(tmp_path)["five_hour"] == SEEN)
        assert loop.time() - began < 1.0

    running(held, Providers(), then)


def test_many_changes_are_one_write(tmp_path: Path) -> None:
    saves: list[State] = []

    class Counting(Store):
        def save(self, state: State, now: float) -> State:
            saves.append(state)
            return super().save(state, now)

    held = Knowledge(Counting(tmp_path), Clock())

    async def then() -> None:
        saves.clear()
        for used in range(100):
            held.apply(LimitsSeen(CLAUDE.account, (replace(SEEN, used_percent=used),)))
        await soon(lambda: on_disk(tmp_path).get("five_hour") == replace(SEEN, used_percent=99))

    running(held, Providers(), then)
    assert len(saves) == 1


def test_two_share_one_folder(tmp_path: Path) -> None:
    one, other = knowledge(tmp_path), knowledge(tmp_path)
    newer = replace(SEEN, used_percent=50.0, as_of=NOW + 9)
    weekly = Window("seven_day", 7.0, None, None, Source.HEADER, NOW)
    one.apply(LimitsSeen(CLAUDE.account, (newer,)))
    other.apply(LimitsSeen(CLAUDE.account, (SEEN, weekly)))
    one.close()
    there = Providers()

    async def then() -> None:
        await soon(lambda: other.state.of(CLAUDE.account).windows.get("five_hour") == newer)

    running(other, there, then)
    other.close()
    assert on_disk(tmp_path) == {"five_hour": newer, "seven_day": weekly, "month": MONTH}


def test_closing_writes_what_is_not_written_yet(tmp_path: Path) -> None:
    held = knowledge(tmp_path)
    held.close()
    assert not (tmp_path / "state.json").exists()
    held.apply(LimitsSeen(CLAUDE.account, (SEEN,)))
    held.close()
    assert on_disk(tmp_path) == {"five_hour": SEEN}


def test_a_write_that_was_cancelled_is_made_up_for(tmp_path: Path) -> None:
    """Cancelled while it waits for its thread, a write may never have begun."""
    entered, go_on = threading.Event(), threading.Event()
    saves: list[State] = []

    class Slow(Store):
        def save(self, state: State, now: float) -> State:
            saves.append(state)
            entered.set()
            assert go_on.wait(5)
            return super().save(state, now)

    held = Knowledge(Slow(tmp_path), Clock())

    async def main() -> None:
        task = asyncio.create_task(held.run(list, lambda: None, Providers().send))
        held.apply(LimitsSeen(CLAUDE.account, (SEEN,)))
        assert await asyncio.to_thread(entered.wait, 5)
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        go_on.set()

    asyncio.run(main())
    held.close()
    assert len(saves) == 2


def test_a_turn_ends_when_what_it_found_is_written_and_not_before(tmp_path: Path) -> None:
    """Also where a write is under way already: who is next reads the file."""
    entered, go_on = threading.Event(), threading.Event()
    saves: list[str] = []

    class Slow(Store):
        def save(self, state: State, now: float) -> State:
            saves.append("begins")
            entered.set()
            assert go_on.wait(5)
            merged = super().save(state, now)
            saves.append("ends")
            return merged

        def give_turn(self) -> None:
            saves.append("turn ends")
            super().give_turn()

    held, there = Knowledge(Slow(tmp_path), Clock()), Providers()

    async def write_is_under_way(_: str) -> None:
        held.apply(LimitsSeen(CLAUDE.account, (SEEN,)))
        assert await asyncio.to_thread(entered.wait, 5)
        asyncio.get_running_loop().call_later(0.05, go_on.set)

    there.on_ask = write_is_under_way

    async def main() -> None:
        writing = asyncio.create_task(held._save_changes())
        await held.poll(lambda: [CLAUDE], there.send)
        assert on_disk(tmp_path) == {"five_hour": SEEN}
        assert Store(tmp_path).load().of(CLAUDE.account).polled_at == NOW
        writing.cancel()
        with suppress(asyncio.CancelledError):
            await writing

    asyncio.run(main())
    assert saves == ["begins", "ends", "begins", "ends", "turn ends"]


class ReadOnly(Store):
    """A folder that can be read and not be written, also by root."""

    writable = False

    def save(self, state: State, now: float) -> State:
        if self.writable:
            return super().save(state, now)
        raise StateError("state.json", "cannot be written (Read-only file system)")


ONCE = (
    "limit-router keeps its readings in memory alone: "
    "state.json: cannot be written (Read-only file system)."
)


def test_where_nothing_can_be_written_memory_serves_and_one_warning_is_given(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store = ReadOnly(tmp_path)
    held = Knowledge(store, Clock())

    async def then() -> None:
        await soon(lambda: caplog.messages)
        held.apply(LimitsSeen(CLAUDE.account, (SEEN,)))

    running(held, Providers(), then)
    held.close()
    assert caplog.messages == [ONCE]
    assert caplog.records[0].levelno == logging.WARNING
    assert windows(held.state) == {"five_hour": SEEN, "month": MONTH}
    store.writable = True
    held.apply(LimitsSeen(CLAUDE.account, (replace(SEEN, as_of=NOW + 2),)))
    held.close()
    assert on_disk(tmp_path)["month"] == MONTH
    assert caplog.messages == [ONCE]


def test_a_state_file_that_is_none_of_ours_is_told_of(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "state.json").write_text("garbage")
    held = knowledge(tmp_path)
    assert held.state == State()
    assert len(caplog.messages) == 1
    assert "is not a state file of this version" in caplog.messages[0]


def test_no_token_is_written(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    held, there = knowledge(tmp_path), Providers(models=UsageError("no list"))
    running(held, there)
    held.close()
    for file in tmp_path.iterdir():
        assert TOKEN not in file.read_text()
    assert TOKEN not in caplog.text


def test_an_older_reading_does_not_replace_a_newer(tmp_path: Path) -> None:
    held = knowledge(tmp_path)
    held.apply(LimitsSeen(CLAUDE.account, (SEEN,)))
    running(held, Providers())
    assert windows(held.state)["five_hour"] == SEEN
