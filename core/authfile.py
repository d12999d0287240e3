"""OpenCode's auth.json, where it is written: one sign-in's tokens, and no other byte of it.

OpenCode takes no lock of ours and writes in place, so the file is read again right before it is
replaced; what it writes in the microseconds between the two is lost.
Blocks: called from a thread. No token leaves it but inside a `Secret`.
"""

import errno
import hashlib
import os
import stat
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
from filelock import FileLock, Timeout

from core import jsonspan
from core.jsonspan import JsonError, Node, Splice
from core.model import Secret
from core.provider import Renewed

OWN_SUFFIX = ".limit-router"
"""What stands beside the file and is ours: the lock, the notes, files on their way."""
LARGEST = 4 * 2**20

_BOM = b"\xef\xbb\xbf"
_TRIES = 8


class Disk:
    """The steps that files are written in. Each raises OSError; a test may have one of them fail."""

    def user(self) -> int:
        """Whose process this is."""
        return os.geteuid()

    def read(self, file: Path) -> bytes:
        with file.open("rb") as opened:
            return opened.read(LARGEST + 1)

    def check(self, file: Path) -> os.stat_result:
        """Whether its owner lets it be written. A rename alone would not ask the file itself."""
        status = file.stat()
        if status.st_uid != self.user() != 0:
            raise PermissionError(errno.EPERM, "it belongs to another user")
        if not status.st_mode & stat.S_IWUSR or not os.access(file, os.W_OK):
            raise PermissionError(errno.EACCES, "it is read-only")
        return status

    def create(self, file: Path, data: bytes, owner: os.stat_result) -> None:
        """A file for its owner alone. One that cannot be written whole is not left behind."""
        file.unlink(missing_ok=True)
        handle = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with os.fdopen(handle, "wb") as opened:
                os.fchmod(handle, 0o600)
                if owner.st_uid != self.user():
                    os.fchown(handle, owner.st_uid, owner.st_gid)
                opened.write(data)
        except OSError:
            self.remove(file)
            raise

    def sync(self, place: Path) -> None:
        """What a file or folder holds survives a power cut from now on."""
        handle = os.open(place, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)

    def acquire(self, lock: FileLock) -> None:
        """Raises NotImplementedError, too: some file systems have no locks."""
        lock.acquire()

    def replace(self, new: Path, file: Path) -> None:
        new.replace(file)

    def remove(self, file: Path) -> None:
        with suppress(OSError):
            file.unlink(missing_ok=True)


DISK = Disk()


@dataclass(frozen=True, slots=True)
class Entry:
    """A sign-in that expires, as it stands in the file."""

    access: Secret
    refresh: Secret
    expires_at: float
    account_id: str | None


class AuthFile:
    """The file that a path leads to now: a link is followed, and stays a link."""

    def __init__(self, path: Path, disk: Disk = DISK) -> None:
        self.path = Path(os.path.realpath(path))
        self._disk = disk

    def lock(self) -> FileLock | None:
        """Held by one process for all users of the file, whatever their state folders.

        None while another has it. Raises OSError where there can be none.
        """
        place = self._beside(".lock")
        lock = FileLock(place, timeout=0, mode=0o600, thread_local=False)
        try:
            self._disk.acquire(lock)
            owner = self.path.stat()
            if owner.st_uid != self._disk.user():
                os.chown(place, owner.st_uid, owner.st_gid)
        except Timeout:
            return None
        except NotImplementedError:
            raise OSError(errno.ENOLCK, "the file system has no locks") from None
        except OSError:
            lock.release()
            raise
        return lock

    def entry(self, key: str) -> Entry | None:
        """None where there is no such sign-in. Raises OSError, JsonError."""
        return _entry(_members(self._read()), key)

    def rehearse(self) -> None:
        """Write the file's own bytes, in all the steps that new tokens would take.

        The one proof that they could be kept: a read-only mount, a full disk and a file that is
        mounted by itself look writable until they are written. Raises OSError, JsonError.
        """
        raw, new = self._read(), self._beside(".tmp")
        _members(raw)
        self._disk.create(new, raw, self._disk.check(self.path))
        try:
            self._disk.sync(new)
            if self._disk.read(self.path) != raw:
                raise _busy()
            self._disk.replace(new, self.path)
        except OSError:
            self._disk.remove(new)
            raise

    def store(
        self, key: str, replaced: Secret, renewed: Renewed, once_safe: Callable[[], None]
    ) -> bool:
        """Put new tokens in the place of those whose refresh token was `replaced`.

        False where the entry is another by now: what stands there is newer, and is kept. Raises
        OSError, JsonError: nothing was changed. `once_safe` is called when the tokens are on disk,
        just before the file is replaced. Until then they are in a file of their own, which
        `leftover` finds should the process end, so none is removed on the way.
        """
        staged = self._staged(key, replaced)
        for _ in range(_TRIES):
            raw = self._read()
            data = _with(raw, key, replaced, renewed)
            if data is None:
                self._disk.remove(staged)
                return False
            self._stage(staged, data)
            once_safe()
            if self._disk.read(self.path) == raw:
                self._disk.replace(staged, self.path)
                with suppress(OSError):  # it is replaced: a power cut alone could undo that
                    self._disk.sync(self.path.parent)
                return True
        raise _busy()

    def leftover(self, key: str, refresh: Secret) -> Renewed | None:
        """The tokens that succeed this refresh token, where a process ended before it replaced
        the file. Its provider has forgotten the old ones."""
        try:
            entry = _entry(_members(self._disk.read(self._staged(key, refresh))), key)
        except (OSError, JsonError):
            return None
        if entry is None:
            return None
        return Renewed(entry.access, entry.refresh, entry.expires_at, entry.account_id)

    def tidy(self) -> None:
        """Remove what ended processes have left that succeeds none of the tokens in the file.

        Raises OSError, JsonError.
        """
        entries = _members(self._read())
        found = {key: _entry(entries, key) for key in {key for key, _ in entries}}
        wanted = {self._staged(key, it.refresh) for key, it in found.items() if it is not None}
        prefix = self._beside(".").name
        for stray in self.path.parent.iterdir():
            if stray.name.startswith(prefix) and stray.suffix == ".tmp" and stray not in wanted:
                self._disk.remove(stray)

    def _stage(self, staged: Path, data: bytes) -> None:
        """Written whole under another name first: what `leftover` finds is never a part."""
        new = self._beside(".tmp")
        self._disk.create(new, data, self._disk.check(self.path))
        try:
            self._disk.replace(new, staged)
        except OSError:
            self._disk.remove(new)
            raise
        self._disk.sync(staged)

    def _read(self) -> bytes:
        raw = self._disk.read(self.path)
        if len(raw) > LARGEST:
            raise OSError(errno.EFBIG, "it is larger than 4 MB")
        return raw

    def _staged(self, key: str, replaced: Secret) -> Path:
        """Named for the token that its content succeeds, by a digest."""
        return self._beside(f".{token_digest(key, replaced)}.tmp")

    def _beside(self, ending: str) -> Path:
        return self.path.with_name(f"{self.path.name}{OWN_SUFFIX}{ending}")


def token_digest(key: str, token: Secret) -> str:
    """Tells one token of an entry from another, and tells nothing else."""
    text = f"{key}\0{token.reveal()}".encode("utf-8", "surrogatepass")
    return hashlib.sha256(text).hexdigest()[:16]


def _busy() -> OSError:
    return OSError(errno.EAGAIN, "another program is writing it")


def _members(raw: bytes) -> list[tuple[str, Node]]:
    """The entries by their keys, as OpenCode reads these. Raises JsonError."""
    root = jsonspan.parse(raw.removeprefix(_BOM))
    if not root.is_object:
        raise JsonError("it holds no JSON object")
    return [(key.rstrip("/"), node) for key, node in root.members()]


def _node(entries: Iterable[tuple[str, Node]], key: str) -> Node | None:
    return next((node for name, node in reversed(list(entries)) if name == key), None)


def _entry(entries: Iterable[tuple[str, Node]], key: str) -> Entry | None:
    node = _node(entries, key)
    fields: dict[str, Any] = {name: it.decode() for name, it in node.members()} if node else {}
    match fields:
        case {"type": "oauth", "access": str(access), "refresh": str(refresh)}:
            expires, account = fields.get("expires"), fields.get("accountId")
            if isinstance(expires, bool) or not isinstance(expires, int | float):
                return None
            named = account if isinstance(account, str) and account else None
            return Entry(Secret(access), Secret(refresh), expires / 1000, named)
    return None


def _with(raw: bytes, key: str, replaced: Secret, renewed: Renewed) -> bytes | None:
    """The file's bytes with the new tokens; None where the entry is not the one they are for."""
    entries = _members(raw)
    node, entry = _node(entries, key), _entry(entries, key)
    if node is None or entry is None or entry.refresh != replaced:
        return None
    rotated = renewed.refresh is not None and renewed.refresh != replaced
    if not rotated and entry.expires_at > renewed.expires_at:
        return None
    body = raw.removeprefix(_BOM)
    return raw[: len(raw) - len(body)] + jsonspan.apply(body, _splices(node, entry, renewed))


def _splices(node: Node, entry: Entry, renewed: Renewed) -> Iterator[Splice]:
    new: dict[str, Any] = {
        "access": renewed.access.reveal(),
        "expires": round(renewed.expires_at * 1000),
    }
    if renewed.refresh is not None:
        new["refresh"] = renewed.refresh.reveal()
    account = node.get("accountId")
    if entry.account_id is None and renewed.account_id is not None:
        new["accountId"] = renewed.account_id
        if account is None:
            yield node.with_first("accountId", msgspec.json.encode(new.pop("accountId")))
    for name, value in new.items():
        field = node.get(name)
        assert field is not None
        yield field.replace(msgspec.json.encode(value))
