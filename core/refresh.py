"""Renews sign-ins before they expire: when it is due, by whom, and where the new tokens go.

Told the time by a callable; sends nothing itself.

A provider that has answered has ended the old refresh token, so from then on the new ones are the
only ones there are: they are used from memory at once, written to disk in a few steps (`authfile`),
and the file's lock is kept until they are there. What no order of steps can help: a process that is
killed after the provider has made new tokens and before these are whole on disk leaves the old ones
in the file. The provider will refuse those, and the user has to sign in again.
"""

import asyncio
import logging
from collections.abc import Callable, Coroutine, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from filelock import FileLock

from core.accounts import SIGNED_OUT, Accounts
from core.authfile import DISK, AuthFile, Disk, token_digest
from core.credentials import Credentials, sign_in_digest
from core.errors import RefreshError, UsageError
from core.explain import span
from core.jsonspan import JsonError
from core.knowledge import IDLE_AFTER_S
from core.model import Account, Credential, Secret
from core.poller import LONGEST_WAIT
from core.provider import Provider, Renewed
from core.transport import Send

MARGIN_S = 300.0
"""How long before its end a token is renewed.

OpenCode waits until it has expired, so whoever runs both is renewed here first. Five minutes leave
time for four tries before a request finds the token expired, and the tokens last an hour at least.
"""
TIMEOUT_S = 30.0
"""An answer that is not waited for is a pair of tokens lost: longer than for any other question."""
FIRST_RETRY_S = 30.0
LONGEST_RETRY_S = 900.0
BUSY_S = 2.0
"""Another process is renewing it, or OpenCode is writing the file."""
UNWRITABLE_S = 60.0
LONGEST_NAP_S = 60.0
"""A new sign-in, or the user's consent, is noticed within a minute."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Renewable:
    """A sign-in that can be renewed."""

    account: Account
    provider: Provider
    credential: Credential
    entry: str
    refresh: Secret
    expires_at: float
    token_url: str


@dataclass(frozen=True, slots=True)
class _Unwritten:
    """New tokens that are in memory alone, and the lock that keeps others from the old ones."""

    subject: Renewable
    renewed: Renewed
    file: AuthFile
    lock: FileLock


def renewable(accounts: Accounts, credentials: Credentials) -> Iterator[Renewable]:
    """The sign-ins that expire, that the user lets us use, and whose new tokens have a place."""
    for subject in accounts.all():
        credential, url = subject.credential, accounts.token_url(subject)
        entry, refresh, expires_at = credential.entry, credential.refresh, credential.expires_at
        if subject.provider.refresh is None or url is None or expires_at is None:
            continue
        if entry is None or refresh is None or credentials.is_signed_out(credential):
            continue
        if accounts.missing_consent(subject) is None:
            yield Renewable(
                subject.account, subject.provider, credential, entry, refresh, expires_at, url
            )


def due_at(subject: Renewable, not_before: float) -> float:
    return max(subject.expires_at - MARGIN_S, not_before)


def after_failure(now: float, failures: int, retry_after: float | None) -> float:
    """When to try again: twice as long each time, a quarter of an hour at most.

    A wait that the provider names is honoured where it is longer.
    """
    wait = min(FIRST_RETRY_S * 2.0 ** min(failures, 8), LONGEST_RETRY_S)
    return now + max(wait, min(retry_after or 0.0, LONGEST_WAIT))


class Refresher:
    """Keeps the sign-ins of one engine fresh while it is in use."""

    def __init__(
        self,
        accounts: Callable[[], Accounts],
        credentials: Credentials,
        clock: Callable[[], float],
        *,
        disk: Disk = DISK,
        previous: "Refresher | None" = None,
    ) -> None:
        """`previous` is the one in whose place this one comes: what it could not write goes on."""
        self._accounts = accounts
        self._credentials = credentials
        self._clock = clock
        self._disk = disk
        self.unwritten: dict[str, _Unwritten] = previous.unwritten if previous else {}
        """By account id, what the file could not be given yet."""
        self._written: dict[str, tuple[Renewable, Renewed]] = {}
        """By account id, what the file was given last."""
        self._not_before: dict[str, float] = {}
        self._failures: dict[str, int] = {}
        self._told: dict[str, str] = {}
        self._wake = asyncio.Event()
        self._used_at = clock()

    async def run(self, send: Send, settled: Callable[[], None]) -> None:
        """Renew until cancelled. `settled` is called once all that was due has been tried."""
        try:
            await self.round(send)
            settled()
            while True:
                await self._nap()
                await self.round(send)
        finally:
            for held in list(self.unwritten.values()):
                await self._write(held)
            for held in self.unwritten.values():
                log.warning("limit-router: %s: %s", held.subject.provider.name, _UNWRITTEN_AT_END)

    def touch(self) -> None:
        """Somebody wants to be routed: sign-ins are worth keeping fresh."""
        idle, self._used_at = self._is_idle(), self._clock()
        if idle:
            self._wake.set()

    def hurry(self) -> None:
        """A request has found a sign-in expired: look again at once."""
        self._wake.set()

    async def round(self, send: Send) -> None:
        """Renew all that is due, one after the other: they stand in one file."""
        await self._write_again()
        await self._put_back()
        for subject in list(renewable(self._accounts(), self._credentials)):
            if self._due_at(subject) <= self._clock():
                await _to_its_end(self._renew(subject, send))

    async def _nap(self) -> None:
        """Until something is due; once nobody has asked for a while, until the next request."""
        self._wake.clear()
        if self._is_idle() and not self.unwritten:
            await self._wake.wait()
            return
        due = [self._due_at(it) for it in renewable(self._accounts(), self._credentials)]
        due += [self._not_before.get(name, 0.0) for name in self.unwritten]
        wait = min(due, default=float("inf")) - self._clock()
        with suppress(TimeoutError):
            await asyncio.wait_for(self._wake.wait(), min(max(wait, 1.0), LONGEST_NAP_S))

    def _is_idle(self) -> bool:
        return self._clock() - self._used_at > IDLE_AFTER_S

    def _due_at(self, subject: Renewable) -> float:
        return due_at(subject, self._not_before.get(subject.account.id, 0.0))

    async def _renew(self, subject: Renewable, send: Send) -> None:
        """Under the file's lock, so that of all processes one asks."""
        file = AuthFile(self._credentials.file, self._disk)
        lock = self._locked(subject, file)
        if lock is None:
            return
        renewed = None
        try:
            renewed = await self._tokens(subject, file, send)
        except (OSError, JsonError) as error:
            self._cannot_write(subject, error)
        finally:
            if renewed is None:
                lock.release()
        if renewed is not None:
            await self._write(_Unwritten(subject, renewed, file, lock))

    def _locked(self, subject: Renewable, file: AuthFile) -> FileLock | None:
        """None where it is not to be had now: it is tried again later."""
        try:
            lock = file.lock()
        except OSError as error:
            self._cannot_write(subject, error)
            return None
        if lock is None:
            self._later(subject, BUSY_S)
        return lock

    async def _tokens(self, subject: Renewable, file: AuthFile, send: Send) -> Renewed | None:
        """New tokens, which nobody else has asked for. Raises OSError, JsonError."""
        if not await self._is_unchanged(subject, file):
            return None
        await asyncio.to_thread(file.tidy)
        left = await asyncio.to_thread(file.leftover, subject.entry, subject.refresh)
        if left is not None:
            return left
        await asyncio.to_thread(file.rehearse)
        try:
            return await _asked(subject, send, self._clock())
        except RefreshError as error:
            if not error.final:
                self._failed(subject, error)
            elif await self._is_unchanged(subject, file):
                notes = self._credentials.notes
                notes.refuse(token_digest(subject.entry, subject.refresh))
                await asyncio.to_thread(notes.save)
                log.warning("limit-router: %s is %s", subject.provider.name, SIGNED_OUT)
        return None

    async def _is_unchanged(self, subject: Renewable, file: AuthFile) -> bool:
        """Otherwise somebody else has renewed it, or signed in anew: theirs counts."""
        entry = await asyncio.to_thread(file.entry, subject.entry)
        ours = (subject.refresh, subject.expires_at)
        return entry is not None and (entry.refresh, entry.expires_at) == ours

    async def _write_again(self) -> None:
        for name, held in list(self.unwritten.items()):
            self._credentials.keep(held.subject.entry, held.subject.refresh, held.renewed)
            if self._not_before.get(name, 0.0) <= self._clock():
                await _to_its_end(self._write(held))

    async def _put_back(self) -> None:
        """OpenCode writes the whole file from what it has read, which may have been the old tokens.

        Those are dead, and until the file has the new ones again they are used from memory.
        """
        for name, (subject, renewed) in list(self._written.items()):
            waits = name in self.unwritten or self._not_before.get(name, 0.0) > self._clock()
            if waits or not self._credentials.is_ahead(subject.entry):
                continue
            file = AuthFile(self._credentials.file, self._disk)
            lock = self._locked(subject, file)
            if lock is not None:
                await _to_its_end(self._write(_Unwritten(subject, renewed, file, lock)))

    async def _write(self, held: _Unwritten) -> None:
        """From here on the tokens are in memory; they stay there until they are in the file."""
        subject, renewed = held.subject, held.renewed
        name = subject.account.id
        self.unwritten[name] = held
        notes = self._credentials.notes
        # First: with the new tokens it would be another account, without its readings.
        notes.go_on(subject.account.sign_in, _sign_in(subject, renewed))
        self._credentials.keep(subject.entry, subject.refresh, renewed)
        try:
            written = await asyncio.to_thread(
                held.file.store, subject.entry, subject.refresh, renewed, notes.save
            )
        except (OSError, JsonError) as error:
            self._later(subject, BUSY_S)
            self._tell(subject, f"{_IN_MEMORY} {held.file.path} can be written ({_why(error)})")
            return
        self.unwritten.pop(name, None)
        held.lock.release()
        self._failures.pop(name, None)
        self._told.pop(name, None)
        if not written:  # somebody has signed in anew, or out
            self._credentials.let_go(subject.entry)
            return
        self._written[name] = subject, renewed
        # A token that lasts no longer than the margin must not be renewed without end.
        self._later(subject, FIRST_RETRY_S)
        left = span(renewed.expires_at - self._clock())
        log.info("limit-router: %s: the sign-in was renewed, for %s", subject.provider.name, left)

    def _failed(self, subject: Renewable, error: RefreshError) -> None:
        name, now = subject.account.id, self._clock()
        failures = self._failures.get(name, 0)
        self._failures[name] = failures + 1
        at = self._not_before[name] = after_failure(now, failures, error.retry_after)
        log.warning(
            "limit-router: %s: the sign-in could not be renewed: %s; next try in %s",
            subject.provider.name,
            error,
            span(at - now),
        )

    def _cannot_write(self, subject: Renewable, error: OSError | JsonError) -> None:
        """Nothing was asked, so nothing is lost: whoever can write it may still renew it."""
        self._later(subject, UNWRITABLE_S)
        file = self._credentials.file
        self._tell(subject, f"{_NOT_RENEWED} {file} cannot be written ({_why(error)})")

    def _later(self, subject: Renewable, seconds: float) -> None:
        self._not_before[subject.account.id] = self._clock() + seconds

    def _tell(self, subject: Renewable, sentence: str) -> None:
        """Once, until it is another."""
        if self._told.get(subject.account.id) != sentence:
            self._told[subject.account.id] = sentence
            log.warning("limit-router: %s: %s", subject.provider.name, sentence)


_IN_MEMORY = "its new tokens are in use, and kept in memory alone until"
_NOT_RENEWED = "the sign-in is not renewed, since"
_UNWRITTEN_AT_END = (
    "its new tokens could not be written; after the end of this process sign in again with "
    "`opencode auth login`"
)


async def _asked(subject: Renewable, send: Send, now: float) -> Renewed:
    """The provider's answer. Raises RefreshError."""
    assert subject.provider.refresh is not None
    flow = subject.provider.refresh(subject.token_url, subject.refresh, now)
    try:
        request = next(flow)
        while True:
            request = flow.send(await send(request, ()))
    except StopIteration as done:
        renewed: Renewed = done.value
        return renewed
    except UsageError as error:
        raise RefreshError(str(error)) from None


def _sign_in(subject: Renewable, renewed: Renewed) -> str:
    """The digest that credentials will make of the new tokens."""
    account_id = subject.credential.account_id or renewed.account_id
    stable = account_id or (renewed.refresh or subject.refresh).reveal()
    return sign_in_digest(subject.provider.id, stable)


async def _to_its_end(work: Coroutine[Any, Any, None]) -> None:
    """Also where we are cancelled: tokens that are on their way would be lost."""
    task = asyncio.create_task(work)
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task])
        raise


def _why(error: OSError | JsonError) -> str:
    if isinstance(error, JsonError):
        return "it is not JSON that can be edited"
    return error.strerror or "no reason given"
