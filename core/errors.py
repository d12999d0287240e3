"""The error tree: whose fault it is, and the sentence that the person at fault reads."""

from dataclasses import dataclass


class LimitRouterError(Exception):
    """Base of everything this package raises on purpose. `str()` is fit to be shown; no secrets."""


@dataclass(eq=False)
class ConfigError(LimitRouterError):
    """The user's configuration is wrong."""

    file: str
    problem: str
    line: int | None = None
    key: str | None = None
    found: str | None = None
    allowed: str | None = None
    hint: str | None = None

    def __str__(self) -> str:
        where = self.file if self.line is None else f"{self.file}, line {self.line}"
        parts = [f"{where}: " + (f"`{self.key}`: " if self.key else "") + self.problem]
        if self.found is not None:
            parts.append(f"found {self.found}")
        if self.allowed is not None:
            parts.append(f"allowed: {self.allowed}")
        if self.hint is not None:
            parts.append(self.hint)
        return "; ".join(parts) + "."


@dataclass(eq=False)
class CredentialError(LimitRouterError):
    """A credential source could not be read. Never holds what the source contained."""

    source: str
    problem: str

    def __str__(self) -> str:
        return f"{self.source}: {self.problem}."


@dataclass(eq=False)
class RequestError(LimitRouterError):
    """The client's request cannot be served as it is written: a 4xx, in the caller's format."""

    status: int
    problem: str

    def __str__(self) -> str:
        return self.problem


@dataclass(eq=False)
class UsageError(LimitRouterError):
    """A provider's usage endpoint (or model list) said something that is not a reading."""

    problem: str
    retry_after: float | None = None
    """Seconds, where the provider gave a wait that means something."""
    limited: bool = False
    """It was a 429: asking again before its time makes it worse."""

    def __str__(self) -> str:
        return self.problem


@dataclass(eq=False)
class RefreshError(LimitRouterError):
    """A provider's token endpoint gave no new tokens. Never holds what it was sent or answered."""

    problem: str
    retry_after: float | None = None
    """Seconds, where the provider gave a wait that means something."""
    final: bool = False
    """The refresh token is refused for good: the user has to sign in again."""

    def __str__(self) -> str:
        return self.problem


@dataclass(eq=False)
class StateError(LimitRouterError):
    """The state file could not be read or written."""

    file: str
    problem: str

    def __str__(self) -> str:
        return f"{self.file}: {self.problem}."
