"""What is remembered of auth.json's tokens, in a file beside it: digests alone, no token.

Beside that file and not in the state folder: every router of its user has to know, whatever its
state folder, that a sign-in goes on under another token, and that a token is dead.
"""

import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from threading import Lock

import msgspec

from core.authfile import DISK, LARGEST, OWN_SUFFIX, Disk

KEPT = 64
"""Of each kind, the newest."""


class _File(msgspec.Struct, frozen=True, omit_defaults=False):
    version: int = 1
    continues: dict[str, str] = {}
    """By a sign-in's digest, the digest that its account was first known by."""
    refused: tuple[str, ...] = ()
    """Digests of refresh tokens that their provider has refused for good."""


class Notes:
    """The notes, for one process. What cannot be written is remembered in memory."""

    def __init__(self, auth_file: Path, disk: Disk = DISK) -> None:
        self._auth_file = auth_file
        self._disk = disk
        self._real: tuple[tuple[int, int], Path] | None = None
        self._stamp: tuple[int, int, int] | None = None
        self._held = _File()
        self._turn = Lock()
        """They are saved in a thread, and looked at meanwhile."""

    def first(self, sign_in: str) -> str:
        """What the account was first known by: its readings are under that name."""
        return self._newest().continues.get(sign_in, sign_in)

    def is_refused(self, token: str) -> bool:
        return token in self._newest().refused

    def go_on(self, old: str, new: str) -> None:
        """The sign-in whose digest was `old` has the digest `new` from now on."""
        with self._turn:
            self._look()
            if old != new:
                continues = self._held.continues
                self._remember({**continues, new: continues.get(old, old)}, self._held.refused)

    def refuse(self, token: str) -> None:
        """Its provider will never take this refresh token again."""
        with self._turn:
            self._look()
            self._remember(self._held.continues, [*self._held.refused, token])

    def save(self) -> None:
        """Tell other processes, and later ones. Called under auth.json's lock."""
        with self._turn, suppress(OSError):
            self._look()
            place = self._place()
            new = place.with_name(f"{place.name}.tmp")
            self._disk.create(new, msgspec.json.encode(self._held), self._auth_file.stat())
            self._disk.replace(new, place)
            self._stamp = _stamp(place)

    def _newest(self) -> _File:
        with self._turn:
            self._look()
            return self._held

    def _remember(self, continues: dict[str, str], refused: Iterable[str]) -> None:
        newest = dict(list(continues.items())[-KEPT:])
        self._held = _File(1, newest, tuple(dict.fromkeys(refused))[-KEPT:])

    def _look(self) -> None:
        """Read the file if it is another one than the one last read."""
        with suppress(OSError, msgspec.DecodeError, RecursionError):
            place = self._place()
            stamp = _stamp(place)
            if stamp != self._stamp:
                self._stamp = stamp
                raw = self._disk.read(place)
                if len(raw) <= LARGEST:
                    self._merge(msgspec.json.decode(raw, type=_File))

    def _merge(self, read: _File) -> None:
        """What this process alone knows, because it could not write it, is not forgotten."""
        continues = {**read.continues, **self._held.continues}
        self._remember(continues, (*read.refused, *self._held.refused))

    def _place(self) -> Path:
        """Beside the file itself, where a link leads to it. Raises OSError where there is none."""
        status = self._auth_file.stat()
        which = status.st_dev, status.st_ino
        if self._real is None or self._real[0] != which:
            self._real = which, Path(os.path.realpath(self._auth_file))
        real = self._real[1]
        return real.with_name(f"{real.name}{OWN_SUFFIX}.json")


def _stamp(place: Path) -> tuple[int, int, int]:
    status = place.stat()
    return status.st_mtime_ns, status.st_size, status.st_ino
