"""state.json in the state folder: what is known, shared by every proxy and CLI of one user.

Reads, merges and writes. No clock of its own, and nothing in the file is a secret.
"""

import os
import secrets
from contextlib import suppress
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Literal

from filelock import FileLock, Timeout
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, FiniteFloat

from core import budget, demand
from core.errors import StateError
from core.model import (
    Abilities,
    AccountState,
    Cost,
    Period,
    Source,
    Spend,
    State,
    ToldSpend,
    Window,
)
from core.reading import DAY, HOUR
from core.state import merge

FILE_NAME = "state.json"

_VERSION = 1
_LARGEST = 16 * 2**20
_LOCK_TIMEOUT_S = 5.0
_TURN_NAME = "asking.lock"
_BAD_KEPT = 3
_WRITERS = 64
_FORGET_AFTER_S = 40 * 86400.0
_CLOCK_SLACK_S = 86400.0
_LAST_MOMENT = 253402300799.0  # the last second of 9999: no later time can be shown


def _moment(value: Any) -> Any:
    """A time that no calendar has is one that is not known."""
    out_of_range = isinstance(value, int | float) and not 0 <= value <= _LAST_MOMENT
    return None if out_of_range else value


type _Time = Annotated[FiniteFloat, Field(ge=0, le=_LAST_MOMENT)]
type _Count = Annotated[FiniteFloat, Field(ge=0)]
type _Day = Annotated[int, Field(ge=0, le=_LAST_MOMENT // DAY)]
type _Hour = Annotated[int, Field(ge=0, le=_LAST_MOMENT // HOUR)]
type _Tokens = Annotated[int, Field(ge=1)] | None
type _Moment = Annotated[FiniteFloat | None, BeforeValidator(_moment)]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, from_attributes=True, hide_input_in_errors=True)


class _Window(_Part):
    used_percent: FiniteFloat
    resets_at: _Moment = None
    duration_s: Annotated[FiniteFloat, Field(gt=0)] | None = None
    source: Source
    as_of: _Time
    scope: str | None = None
    overage: bool = False
    confidence: Annotated[FiniteFloat, Field(ge=0, le=1)] = 1.0
    mark: _Count = 0.0


class _Cost(_Part):
    percent: FiniteFloat
    units: Annotated[FiniteFloat, Field(gt=0)]
    at: _Time


class _Spend(_Part):
    usd: _Count = 0.0
    unpriced: dict[str, _Count] = Field(default_factory=dict)


class _Told(_Part):
    usd: dict[Period, _Count]
    at: _Time
    counted: dict[Period, _Spend] = Field(default_factory=dict)


class _Abilities(_Part):
    context: _Tokens = None
    prompt: _Tokens = None
    output: _Tokens = None
    images: bool | None = None
    tools: bool | None = None
    thinking: bool | None = None


class _Account(_Part):
    windows: dict[str, _Window] = Field(default_factory=dict)
    plan: str | None = None
    polled_at: _Moment = None
    poll_after: _Moment = None
    failures: Annotated[int, Field(ge=0, le=2**31)] = 0
    error: str | None = None
    limited_until: _Moment = None
    models: tuple[str, ...] | None = None
    abilities: dict[str, _Abilities] = Field(default_factory=dict)
    models_at: _Moment = None
    read_at: _Moment = None
    explored_at: _Moment = None
    metered: dict[str, dict[str, _Count]] = Field(default_factory=dict)
    hours: dict[_Hour, dict[str, _Count]] = Field(default_factory=dict)
    costs: dict[str, _Cost] = Field(default_factory=dict)
    spent: dict[_Day, dict[str, _Spend]] = Field(default_factory=dict)
    told_spend: _Told | None = None


class _File(_Part):
    version: Literal[1]
    accounts: dict[str, _Account] = Field(default_factory=dict)


class Store:
    """The file, for one process. `problem` is what the last read of it found wrong."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._file = folder / FILE_NAME
        self._writer: str | None = None
        self._writer_lock: FileLock | None = None
        # Whichever thread takes the turn, another may give it up.
        self._turn = FileLock(folder / _TURN_NAME, timeout=0, mode=0o600, thread_local=False)
        self.problem: StateError | None = None

    def load(self) -> State:
        """Never raises: what cannot be read is `problem` and counts as nothing known."""
        self.problem = None
        try:
            return self._read()
        except OSError as error:
            self.problem = self._error(f"cannot be read ({_why(error)})")
        except ValueError:
            return self._load_alone()
        return State()

    def save(self, state: State, now: float) -> State:
        """Merge with what stands there and write. Raises `StateError`: memory is all there is."""
        self.problem = None
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            with self._lock():
                merged = _kept(merge(state, self._read_or_set_aside()), now)
                self._write(_dumped(merged))
                return merged
        except _FAILURES as error:
            refusal = self._error(f"cannot be written ({_why(error)})")
        raise refusal

    @property
    def writer(self) -> str:
        """Which of the processes that count at the same time this is: `0`, `1` …

        Held for the life of this store; the next process that takes it goes on counting there.
        """
        if self._writer is None:
            self._writer = self._take_writer()
        return self._writer

    def _take_writer(self) -> str:
        with suppress(*_FAILURES):
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            for number in range(_WRITERS):
                lock = FileLock(self._folder / f"writer-{number}.lock", timeout=0, mode=0o600)
                with suppress(Timeout):
                    lock.acquire()
                    self._writer_lock = lock
                    return str(number)
        return f"p{secrets.token_hex(4)}"

    def take_turn(self) -> bool:
        """Be the one process that asks the providers. Does not wait: False while another is it.

        A turn ends with `give_turn`, and with its process: nobody waits for one that has died.
        """
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._turn.acquire()
        except Timeout:
            return False
        except _FAILURES:
            pass  # a folder that cannot be written is shared with nobody
        return True

    def give_turn(self) -> None:
        """A turn that was never taken is given as well."""
        self._turn.release()

    def _lock(self) -> FileLock:
        return FileLock(f"{self._file}.lock", timeout=_LOCK_TIMEOUT_S, mode=0o600)

    def _read(self) -> State:
        """Raises ValueError where the content is none of ours."""
        try:
            with self._file.open("rb") as opened:
                return _loaded(opened.read(_LARGEST))
        except FileNotFoundError:
            return State()

    def _load_alone(self) -> State:
        # Another process may have replaced the file since: look again before moving it.
        try:
            with self._lock():
                return self._read_or_set_aside()
        except _FAILURES as error:
            self.problem = self._error(f"{_FOREIGN}, and it cannot be set aside ({_why(error)})")
        return State()

    def _read_or_set_aside(self) -> State:
        try:
            return self._read()
        except ValueError:
            self.problem = self._error(f"{_FOREIGN}{self._set_aside()}")
        return State()

    def _set_aside(self) -> str:
        """Move the file away, the newest as `bad-1`. Returns what became of it."""
        bad = [self._file.with_name(f"{FILE_NAME}.bad-{n + 1}") for n in range(_BAD_KEPT)]
        try:
            for newer, older in reversed(list(pairwise(bad))):
                with suppress(FileNotFoundError):
                    newer.replace(older)
            self._file.replace(bad[0])
        except OSError as error:
            return f", and it cannot be set aside ({_why(error)})"
        return f"; it is kept as {bad[0].name}"

    def _write(self, data: bytes) -> None:
        temporary = self._file.with_name(f"{FILE_NAME}.tmp")
        temporary.unlink(missing_ok=True)
        try:
            handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(handle, "wb") as opened:
                opened.write(data)
                opened.flush()
                os.fsync(opened.fileno())
            temporary.replace(self._file)
        except OSError:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)
            raise

    def _error(self, problem: str) -> StateError:
        return StateError(str(self._file), problem)


_FOREIGN = "is not a state file of this version"
_FAILURES = (OSError, ValueError, NotImplementedError)  # filelock: a file system without locks


def _why(error: Exception) -> str:
    match error:
        case Timeout():
            return "another process has held its lock for 5 seconds"
        case OSError(strerror=str() as words):
            return words
        case ValueError():
            return "a value in it has no place in a file"
        case _:
            return "the file system has no locks"


def _loaded(raw: bytes) -> State:
    file = _File.model_validate_json(raw)
    return State({name: _account(known) for name, known in file.accounts.items()})


def _account(known: _Account) -> AccountState:
    windows = {name: Window(name, **dict(window)) for name, window in known.windows.items()}
    costs = {name: Cost(**dict(cost)) for name, cost in known.costs.items()}
    spent = {
        day: {writer: _spend(spend) for writer, spend in writers.items()}
        for day, writers in known.spent.items()
    }
    told = None if known.told_spend is None else _told(known.told_spend)
    able = {name: Abilities(**dict(it)) for name, it in known.abilities.items()}
    nouns = {"windows": windows, "costs": costs, "spent": spent, "told_spend": told}
    return AccountState(**{**dict(known), **nouns, "abilities": able})


def _spend(spend: _Spend) -> Spend:
    return Spend(**dict(spend))


def _told(told: _Told) -> ToldSpend:
    counted = {per: _spend(spend) for per, spend in told.counted.items()}
    return ToldSpend(told.usd, told.at, counted)


def _dumped(state: State) -> bytes:
    file = _File.model_validate({"version": _VERSION, "accounts": dict(state.accounts)})
    return file.model_dump_json(indent=1).encode()


def _kept(state: State, now: float) -> State:
    sane = {name: _without_future(known, now) for name, known in state.accounts.items()}
    return State(
        {name: known for name, known in sane.items() if _last_heard(known) >= now - _FORGET_AFTER_S}
    )


def _last_heard(known: AccountState) -> float:
    counted = max(known.spent, default=0) * DAY
    return max(known.as_of or 0.0, known.polled_at or 0.0, known.models_at or 0.0, counted)


def _without_future(known: AccountState, now: float) -> AccountState:
    """Readings made while the clock was wrong would be the newest for ever."""
    latest = now + _CLOCK_SLACK_S
    known = replace(
        known, windows={name: w for name, w in known.windows.items() if w.as_of <= latest}
    )
    if (known.polled_at or 0.0) > latest:
        known = replace(
            known, polled_at=None, poll_after=None, failures=0, error=None, limited_until=None
        )
    if (known.models_at or 0.0) > latest:
        known = replace(known, models_at=None)
    told = known.told_spend
    if told is not None and told.at > latest:
        known = replace(known, told_spend=None)
    spent = {day: by for day, by in budget.kept(known.spent, now).items() if day * DAY <= latest}
    return replace(known, spent=spent, hours=demand.kept(known.hours, latest))
