"""Keeps what is known: asks the providers, hears of answers, writes the state file.

Told the time by a callable; sends nothing itself.
"""

import asyncio
import logging
import random
from collections.abc import AsyncIterator, Callable, Generator, Iterable
from contextlib import asynccontextmanager, suppress

from core import poller, scrub
from core import state as states
from core.errors import StateError, UsageError
from core.explain import span
from core.model import Abilities, Headers, HttpRequest, HttpResponse, State
from core.poller import Job, Question, Subject
from core.store import Store
from core.transport import TIMEOUT_S, Send

SAVE_DELAY_S = 0.5
IDLE_AFTER_S = 900.0
LONGEST_NAP_S = 60.0
"""A new sign-in is noticed within a minute."""
TURN_STEP_S = 0.1
LONGEST_TURN_S = TIMEOUT_S + 5.0
"""All are asked at once and none is waited for longer: a turn that lasts was stopped in its midst."""

log = logging.getLogger(__name__)

type Subjects = Callable[[], Iterable[Subject]]


class Knowledge:
    """The state in memory, and its life beside the state file that other processes share."""

    def __init__(self, store: Store, clock: Callable[[], float]) -> None:
        self._store = store
        self._clock = clock
        self._lists_after: dict[str, float] = {}
        self._dirty = asyncio.Event()
        self._writing = asyncio.Lock()
        self._memory_only = False
        self._in_use = asyncio.Event()
        self._used_at = clock()
        self._writer: str | None = None
        self.state: State = store.load()
        if store.problem is not None:
            log.warning("%s", store.problem)

    def apply(self, event: states.Event) -> None:
        self.state = states.apply(self.state, event)
        self._dirty.set()

    def count(self, ended: Callable[[str], states.RequestEnded]) -> None:
        """Count an answer, on from what this process's number in the state file stands at."""
        if self._writer is None:
            self._writer = self._store.writer
            self.state = states.merge(self.state, self._store.load())
        self.apply(ended(self._writer))

    async def run(self, subjects: Subjects, ready: Callable[[], None], send: Send) -> None:
        """Poll and save until cancelled. `ready` is called once every stale account was asked."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._save_changes())
            await self.poll(subjects, send)
            ready()
            while True:
                await asyncio.sleep(self._nap(subjects))
                await self._used_lately()
                await self.poll(subjects, send)

    def touch(self) -> None:
        """Somebody wants to be routed: what is known is worth keeping fresh."""
        self._used_at = self._clock()
        self._in_use.set()

    async def _used_lately(self) -> None:
        """Once nobody has asked for a while, return with the next request and not before."""
        if self._clock() - self._used_at > IDLE_AFTER_S:
            self._in_use.clear()
            await self._in_use.wait()

    def close(self) -> None:
        """Write what is not written yet."""
        if self._dirty.is_set():
            self._dirty.clear()
            self._save(self.state, self._clock())

    async def refresh(self) -> None:
        """Take up what other processes have read."""
        self.state = states.merge(self.state, await asyncio.to_thread(self._store.load))

    async def poll(self, subjects: Subjects, send: Send) -> None:
        """Ask all that is due, at the same time; what another process asks just now is awaited."""
        if not self._due(subjects):
            return
        async with self._turn():
            await asyncio.gather(*(self._ask(job, send) for job in self._due(subjects)))

    async def ask_now(
        self, subjects: Iterable[Subject], send: Send
    ) -> dict[str, UsageError | None]:
        """Ask each usage endpoint, whatever its interval; by provider what that failed with.

        One that has said 429 is left alone until its time; one that does not exist is left out.
        What another process has asked since this was called counts as asked.
        """
        called_at = self._clock()
        asked = [subject for subject in subjects if subject.has(Question.USAGE)]
        async with self._turn():
            outcomes = await asyncio.gather(*(self._ask_once(s, send, called_at) for s in asked))
        return {s.provider.id: outcome for s, outcome in zip(asked, outcomes, strict=True)}

    @asynccontextmanager
    async def _turn(self) -> AsyncIterator[None]:
        """Ask as the only process of those that share the folder, knowing what they have found.

        Two that ask Anthropic in the same second are both refused for minutes.
        """
        with suppress(TimeoutError):
            async with asyncio.timeout(LONGEST_TURN_S):
                while not self._store.take_turn():  # noqa: ASYNC110 - a lock tells nobody of its end
                    await asyncio.sleep(TURN_STEP_S)
        try:
            await self.refresh()
            yield
            await self._write()
        finally:
            self._store.give_turn()

    async def _ask_once(self, subject: Subject, send: Send, called_at: float) -> UsageError | None:
        known = self.state.of(subject.account)
        if (known.polled_at or 0.0) >= called_at:
            return None if known.error is None else UsageError(known.error)
        wait = (known.limited_until or 0.0) - self._clock()
        if wait > 0.0:
            again = f"it may be asked again in {span(wait)}"
            return UsageError(f"the usage endpoint limits how often it is asked; {again}")
        return await self._ask_usage(subject, send)

    def _due(self, subjects: Subjects) -> list[Job]:
        now = self._clock()
        upcoming = poller.schedule(subjects(), self.state, self._lists_after)
        return [job for at, job in upcoming if at <= now]

    def _nap(self, subjects: Subjects) -> float:
        upcoming = poller.schedule(subjects(), self.state, self._lists_after)
        wait = upcoming[0][0] - self._clock() if upcoming else LONGEST_NAP_S
        return min(max(wait, 1.0), LONGEST_NAP_S)

    async def _ask(self, job: Job, send: Send) -> None:
        if job.question is Question.USAGE:
            await self._ask_usage(job.subject, send)
        else:
            await self._ask_models(job.subject, send)

    async def _ask_usage(self, subject: Subject, send: Send) -> UsageError | None:
        provider, account, url = subject.provider, subject.account, subject.usage_url
        assert provider.usage is not None
        assert url is not None
        asked_at = self._clock()
        flow = provider.usage(url, subject.credential, asked_at)
        try:
            usage = await _drive(flow, send, provider.authorize(subject.credential))
        except UsageError as error:
            known = self.state.of(account)
            after = poller.after_failure(provider, known, asked_at, error.retry_after)
            limited = error.limited
            self.apply(states.UsageFailed(account, str(error), asked_at, after, limited))
            log.warning("limit-router: %s: %s", provider.name, error)
            return error
        usage = scrub.usage(usage, subject.credential.secret)
        after = poller.after_reading(provider, asked_at, jitter=random.random())  # noqa: S311
        self.apply(states.UsageRead(account, usage, asked_at, after))
        return None

    async def _ask_models(self, subject: Subject, send: Send) -> None:
        provider, account = subject.provider, subject.account
        assert provider.models is not None
        asked_at = self._clock()
        flow = provider.models(subject.base_url, next(iter(provider.paths)))
        try:
            told = await _drive(flow, send, provider.authorize(subject.credential))
        except UsageError as error:
            self._lists_after[account.id] = asked_at + poller.MODELS_RETRY
            log.warning("limit-router: %s: %s", provider.name, error)
        else:
            models = scrub.models(tuple(told), subject.credential.secret)
            abilities = {it: told[it] for it in models if told[it] != Abilities()}
            listed = models if provider.lists_all else None
            self.apply(states.ModelsRead(account, listed, asked_at, abilities))

    async def _save_changes(self) -> None:
        while True:
            await self._dirty.wait()
            await asyncio.sleep(SAVE_DELAY_S)
            await self._write()

    async def _write(self) -> None:
        """All that is known by now is in the file when this returns, whoever has written it."""
        async with self._writing:
            if not self._dirty.is_set():
                return
            self._dirty.clear()
            try:
                merged = await asyncio.to_thread(self._save, self.state, self._clock())
            except asyncio.CancelledError:
                # It may not have begun: close() writes it.
                self._dirty.set()
                raise
            if merged is not None:
                self.state = states.merge(self.state, merged)

    def _save(self, state: State, now: float) -> State | None:
        try:
            merged = self._store.save(state, now)
        except StateError as error:
            if not self._memory_only:
                log.warning("limit-router keeps its readings in memory alone: %s", error)
            self._memory_only = True
            return None
        self._memory_only = False
        return merged


async def _drive[T](
    flow: Generator[HttpRequest, HttpResponse, T], send: Send, credential: Headers
) -> T:
    """Run a provider's questions to their end. Raises UsageError."""
    try:
        request = next(flow)
        while True:
            request = flow.send(await send(request, credential))
    except StopIteration as done:
        result: T = done.value
        return result
