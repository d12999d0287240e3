"""history.db in the state folder: the decision log on disk, which several processes write.

SQLite in WAL mode; a row for each attempt at a request. No thread and no clock of its own.
"""

import logging
import os
import sqlite3
import stat
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock

from core.errors import StateError

FILE_NAME = "history.db"
VERSION = 1
APPLICATION = 0x4C696D52
"""`LimR`: by which SQLite's own files tell whose they are."""
BUSY_S = 1.0
"""How long another process may be in the midst of writing."""
BAD_NAME = f"{FILE_NAME}.bad-1"
"""One is kept: it may be as large as the log."""

log = logging.getLogger(__name__)

_SIDECARS = ("", "-wal", "-shm")
_SCHEMA = (
    """CREATE TABLE attempts (
      seq INTEGER PRIMARY KEY,
      request TEXT NOT NULL,
      attempt INTEGER NOT NULL,
      at REAL NOT NULL,
      model TEXT NOT NULL,
      wire TEXT NOT NULL,
      session TEXT,
      provider TEXT,
      provider_model TEXT,
      account TEXT,
      reason TEXT NOT NULL,
      decision TEXT NOT NULL,
      status INTEGER,
      answered_at REAL,
      first_content_at REAL,
      ended_at REAL,
      complete INTEGER,
      error TEXT,
      input_tokens INTEGER,
      output_tokens INTEGER,
      cache_read_tokens INTEGER,
      cache_write_tokens INTEGER,
      cost_usd REAL,
      UNIQUE (request, attempt)
    )""",
    "CREATE INDEX attempts_at ON attempts (at)",
    f"PRAGMA application_id = {APPLICATION}",
    f"PRAGMA user_version = {VERSION}",
)


@dataclass(frozen=True, slots=True)
class Limits:
    """What is kept; the oldest goes first."""

    seconds: float = 30 * 86400.0
    """The longest limits are a month: how the last one went can still be looked at."""
    bytes: int = 100 << 20
    """A decision takes some 2.5 KB: 1,300 requests a day, every day of the month."""


class _ForeignError(Exception):
    """It is no decision log, or a damaged one."""


class _LaterError(Exception):
    """A later release has written it."""


class HistoryFile:
    """The file, for one thread. Nothing is made or opened before the first write."""

    def __init__(self, folder: Path, limits: Limits | None = None) -> None:
        self.path = folder / FILE_NAME
        self._limits = limits or Limits()
        self._connection: sqlite3.Connection | None = None
        self._opened: os.stat_result | None = None
        self._swept_at: float | None = None

    def write(self, rows: Sequence[Mapping[str, Any]], now: float) -> None:
        """All of them or none; those with a `decision` begin rows. Raises StateError."""
        try:
            try:
                self._append(rows, now)
            except (_ForeignError, sqlite3.DatabaseError) as error:
                if not _is_damage(error):
                    raise
                self._set_aside()
                self._append(rows, now)
        except _FAILURES as error:
            self.close()
            refusal = _error(self.path, f"cannot be written ({_why(error)})")
        else:
            return
        raise refusal

    def close(self) -> None:
        """SQLite then folds the log that it writes ahead into the file."""
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(sqlite3.Error):
                connection.close()

    def _append(self, rows: Sequence[Mapping[str, Any]], now: float) -> None:
        connection = self._open()
        connection.execute("BEGIN IMMEDIATE")
        try:
            for row in rows:
                connection.execute(_insert(row) if "decision" in row else _update(row), row)
            self._sweep(connection, now)
            connection.execute("COMMIT")
        except BaseException:
            with suppress(sqlite3.Error):
                connection.execute("ROLLBACK")
            raise

    def _open(self) -> sqlite3.Connection:
        if self._connection is not None and self._is_in_place():
            return self._connection
        self.close()
        folder = self.path.parent
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with self._lock():
            # Never opened but by SQLite once it is there: to close a file drops its locks.
            with suppress(FileExistsError):
                os.close(os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
            self._tighten()
            connection = sqlite3.connect(self.path, timeout=BUSY_S, isolation_level=None)
            try:
                _prepare(connection)
            except BaseException:
                connection.close()
                raise
        self._connection, self._opened, self._swept_at = connection, self.path.stat(), None
        return connection

    def _is_in_place(self) -> bool:
        """Whether the path still leads to it: somebody may have removed it, or set it aside."""
        try:
            return self._opened is not None and os.path.samestat(self.path.stat(), self._opened)
        except FileNotFoundError:
            return False

    def _tighten(self) -> None:
        for suffix in _SIDECARS:
            path = _beside(self.path, suffix)
            with suppress(FileNotFoundError):
                if stat.S_IMODE(path.stat().st_mode) & 0o077:
                    path.chmod(0o600)

    def _sweep(self, connection: sqlite3.Connection, now: float) -> None:
        """Of what is too old now and then, of what is too much at once."""
        swept = 0
        if self._swept_at is None or abs(now - self._swept_at) >= _SWEEP_EVERY_S:
            self._swept_at = now
            oldest = now - self._limits.seconds
            swept = connection.execute("DELETE FROM attempts WHERE at < ?", (oldest,)).rowcount
        while _size(connection) > self._limits.bytes:
            gone = connection.execute(_DELETE_OLDEST).rowcount
            swept += gone
            if gone <= 0:
                break
        if swept:
            connection.execute("PRAGMA incremental_vacuum").fetchall()

    def _set_aside(self) -> None:
        self.close()
        with self._lock():
            if _is_sound(self.path):
                return  # another process was first
            for suffix in _SIDECARS:
                with suppress(FileNotFoundError):
                    _beside(self.path.with_name(BAD_NAME), suffix).unlink()
                with suppress(FileNotFoundError):
                    path = _beside(self.path, suffix)
                    path.replace(_beside(self.path.with_name(BAD_NAME), suffix))
        log.warning("%s", _error(self.path, f"{_UNSOUND}; it is kept as {BAD_NAME}"))

    def _lock(self) -> FileLock:
        return FileLock(_beside(self.path, ".lock"), timeout=BUSY_S, mode=0o600)


def find(path: Path, request: str | None) -> list[dict[str, Any]]:
    """The rows of the request whose id begins so, in order; of the last one if None.

    Raises StateError where there is none, or more than one.
    """
    with _reading(path) as connection:
        ids = [] if connection is None else _ids(connection, request)
        if connection is not None and len(ids) == 1:
            every = "SELECT * FROM attempts WHERE request = ? ORDER BY attempt"
            return [dict(row) for row in connection.execute(every, ids)]
    raise _error(path, _not_one(ids, request))


def count(path: Path, since: float) -> int:
    """How many rows there are of decisions from then on. Raises StateError."""
    with _reading(path) as connection:
        if connection is None:
            return 0
        asked = "SELECT count(*) FROM attempts WHERE at >= ?"
        return int(connection.execute(asked, (since,)).fetchone()[0])


def every(path: Path, since: float) -> Iterator[dict[str, Any]]:
    """The rows of decisions from then on, in the order of the requests. Raises StateError."""
    with _reading(path) as connection:
        if connection is not None:
            # Later ids sort later, and an index has them in order.
            asked = "SELECT * FROM attempts WHERE at >= ? ORDER BY request, attempt"
            for row in connection.execute(asked, (since,)):
                yield dict(row)


@contextmanager
def _reading(path: Path) -> Iterator[sqlite3.Connection | None]:
    """None where nothing is in the file yet. Raises StateError, also for what fails within."""
    if not path.exists():
        raise _error(path, "there is no decision log yet; a proxy that routes writes one")
    try:
        # What is wrong with the file is put right by who writes it.
        address = f"{path.absolute().as_uri()}?mode=ro"
        with closing(sqlite3.connect(address, timeout=BUSY_S, uri=True)) as connection:
            connection.row_factory = sqlite3.Row
            yield connection if _is_ours(connection) else None
    except _FAILURES as error:
        damaged = _is_damage(error)
        problem = _UNSOUND if damaged else f"cannot be read ({_why(error)})"
    else:
        return
    raise _error(path, problem)


def _ids(connection: sqlite3.Connection, request: str | None) -> list[str]:
    """Those that it may be; some are enough to say that there are several."""
    if request is None:
        rows = connection.execute("SELECT request FROM attempts ORDER BY seq DESC LIMIT 1")
    else:
        begins = "SELECT DISTINCT request FROM attempts WHERE substr(request, 1, ?) = ? LIMIT 4"
        rows = connection.execute(begins, (len(request), request))
    return [row["request"] for row in rows]


def _not_one(ids: Sequence[str], request: str | None) -> str:
    if request is None:
        return "no decision is kept in it yet"
    if not ids:
        return f"no decision in it has an id that begins with {request!r}"
    return f"several ids begin with {request!r}, among them {', '.join(ids)}"


_UNSOUND = "is no sound decision log"


_FAILURES = (OSError, sqlite3.Error, _ForeignError, _LaterError, NotImplementedError)
_SWEEP_EVERY_S = 3600.0
_DELETE_OLDEST = """DELETE FROM attempts WHERE seq <=
  (SELECT min(seq) + (max(seq) - min(seq)) / 10 FROM attempts)"""


def _prepare(connection: sqlite3.Connection) -> None:
    """Make it a log of this version. Called by one process at a time."""
    if not _is_ours(connection):
        connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
        connection.execute("PRAGMA journal_mode = WAL").fetchall()
        connection.execute("BEGIN IMMEDIATE")
        for statement in _SCHEMA:
            connection.execute(statement)
        connection.execute("COMMIT")
    # A power cut may take the latest decisions; it does not harm the file.
    connection.execute("PRAGMA synchronous = NORMAL")
    connection.execute(f"PRAGMA journal_size_limit = {4 << 20}").fetchall()


def _is_ours(connection: sqlite3.Connection) -> bool:
    """False where nothing is in it yet."""
    application = _figure(connection, "PRAGMA application_id")
    version = _figure(connection, "PRAGMA user_version")
    if application == APPLICATION:
        if version > VERSION:
            raise _LaterError("a later release of limit-router has written it")
        return True
    if application or version or _figure(connection, "SELECT count(*) FROM sqlite_master"):
        raise _ForeignError(f"it {_UNSOUND}")
    return False


def _is_sound(path: Path) -> bool:
    try:
        with closing(sqlite3.connect(path, timeout=BUSY_S, isolation_level=None)) as connection:
            _is_ours(connection)
            return bool(connection.execute("PRAGMA quick_check(1)").fetchone()[0] == "ok")
    except (_ForeignError, sqlite3.DatabaseError) as error:
        if not _is_damage(error):
            raise
        return False


def _is_damage(error: Exception) -> bool:
    if isinstance(error, _ForeignError):
        return True
    # Extended codes have the plain one in their lowest byte.
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    return code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


def _size(connection: sqlite3.Connection) -> int:
    """Bytes in use."""
    pages = _figure(connection, "PRAGMA page_count") - _figure(connection, "PRAGMA freelist_count")
    return pages * _figure(connection, "PRAGMA page_size")


def _figure(connection: sqlite3.Connection, question: str) -> int:
    return int(connection.execute(question).fetchone()[0])


def _insert(row: Mapping[str, Any]) -> str:
    """The names are this program's own. Ids that meet by chance are not worth an error."""
    names = ", ".join(row)
    values = ", ".join(f":{name}" for name in row)
    return (
        f"INSERT INTO attempts ({names}) VALUES ({values}) "  # noqa: S608
        "ON CONFLICT (request, attempt) DO NOTHING"
    )


def _update(row: Mapping[str, Any]) -> str:
    told = ", ".join(f"{name} = :{name}" for name in row if name not in ("request", "attempt"))
    return f"UPDATE attempts SET {told} WHERE request = :request AND attempt = :attempt"  # noqa: S608


def _beside(path: Path, suffix: str) -> Path:
    return path.with_name(path.name + suffix)


def _error(path: Path, problem: str) -> StateError:
    return StateError(str(path), problem)


def _why(error: Exception) -> str:
    match error:
        case TimeoutError():
            return f"another process has held its lock for {BUSY_S:g} s"
        case OSError(strerror=str() as words):
            return words
        case NotImplementedError():
            return "the file system has no locks"
        case _:
            return str(error)
