"""The configuration in use and the file it came from: read again when that changes.

A broken edit keeps what was good. Reads one file; the words for what is wrong are config's.
"""

from collections.abc import Collection
from pathlib import Path

from core import config as configuration
from core.config import Config
from core.errors import ConfigError

type _Stamp = tuple[int, int, int] | None


class ConfigFile:
    """Raises ConfigError where the file is broken from the start."""

    def __init__(
        self, path: Path, provider_ids: Collection[str], routable: Collection[str] | None = None
    ) -> None:
        self.path = path
        self._provider_ids = tuple(provider_ids)
        self._routable = routable
        self._stamp = self._look()
        self.config: Config = self._load()

    def changed(self) -> bool:
        """Whether the file was changed since the last look and is in effect now.

        Raises ConfigError, once for each broken edit: the last good configuration stays in use.
        """
        stamp = self._look()
        if stamp == self._stamp:
            return False
        self._stamp = stamp
        config = self._load()
        if config == self.config:
            return False
        self.config = config
        return True

    def _load(self) -> Config:
        return configuration.load(self.path, self._provider_ids, self._routable)

    def _look(self) -> _Stamp:
        try:
            status = self.path.stat()
        except OSError:
            return None
        return status.st_mtime_ns, status.st_size, status.st_ino


def kept(error: ConfigError) -> str:
    """The sentence for a broken edit."""
    return f"{error} The last good configuration stays in use."
