"""OpenCode's copy of the model catalogue, in its cache folder: read again when it changes.

Reads one file and writes none. What is broken is said once, and then nothing is known.
"""

import logging
from collections.abc import Collection, Mapping
from pathlib import Path

from core import catalog
from core.catalog import Catalog

LARGEST = 32 * 2**20
"""Bytes. The whole catalogue has about two million."""

log = logging.getLogger(__name__)

type _Stamp = tuple[int, int, int] | None


def opencode_path(environ: Mapping[str, str], home: Path) -> Path:
    """Where OpenCode keeps it. Its xdg-basedir does the same on every system."""
    chosen = environ.get("XDG_CACHE_HOME")
    return (Path(chosen) if chosen else home / ".cache") / "opencode" / "models.json"


class CatalogFile:
    """The file as it was last read. None is no file at all."""

    def __init__(self, path: Path | None, wanted: Collection[str]) -> None:
        self._path = path
        self._wanted = tuple(wanted)
        self._stamp: _Stamp = None
        self.catalog: Catalog = catalog.EMPTY
        self.refresh()

    def refresh(self) -> None:
        """Read it if it was changed since the last time. Never raises."""
        stamp = self._look()
        if stamp != self._stamp:
            self._stamp = stamp
            self.catalog = catalog.EMPTY if stamp is None else self._read()

    def _look(self) -> _Stamp:
        try:
            status = None if self._path is None else self._path.stat()
        except (OSError, ValueError):
            return None
        return None if status is None else (status.st_mtime_ns, status.st_size, status.st_ino)

    def _read(self) -> Catalog:
        assert self._path is not None
        try:
            with self._path.open("rb") as opened:
                raw = opened.read(LARGEST + 1)
            if len(raw) > LARGEST:
                return self._nothing(f"is larger than {LARGEST // 2**20} MB")
            return catalog.parse(raw, self._wanted)
        except OSError as error:
            return self._nothing(f"cannot be read ({error.strerror})")
        except ValueError as error:
            return self._nothing(f"is no model catalogue ({error})")

    def _nothing(self, problem: str) -> Catalog:
        log.warning("limit-router: %s %s: it gives no prices", self._path, problem)
        return catalog.EMPTY
