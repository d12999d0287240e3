"""What goes in and out of the simulator: requests, answers, refusals, faults, and their record."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

type Json = dict[str, Any]
type Fields = tuple[tuple[str, str], ...]
type Kind = Literal["inference", "usage", "models", "other"]


@dataclass(slots=True)
class Fault:
    """What goes wrong with the next inference requests that a provider would have served."""

    provider: str | None = None
    """None matches any."""
    status: int = 0
    """Answer with this status and the provider's own error envelope. 0: do not."""
    error: str = ""
    """The error's type or code. Empty: the provider's usual one for the status."""
    message: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    delay_s: float = 0.0
    """Wait before answering, or until `Simulator.release()`."""
    hold_after_events: int | None = None
    """Stream so many events, then wait for `Simulator.release()`. An answer that is not a stream
    counts as one event, and nothing of it is sent before its end."""
    cut_after_events: int | None = None
    """Stream so many events, then close the connection. Less than 0: before the status line."""
    in_stream_error: str | None = None
    """Answer 200 with `event: error` of this type as the first event."""
    times: int = 1


@dataclass(frozen=True, slots=True)
class Recorded:
    """One request that was received, of any kind."""

    provider: str
    kind: Kind
    at: float
    method: str
    path: str
    """With the query."""
    headers: Fields
    """In the order received; tornado has put their names in Title-Case."""
    body: bytes
    status: int
    """What was answered; 0 while nothing was."""
    response: bytes
    """The body written so far, before compression."""
    http_version: str


@dataclass(frozen=True, slots=True)
class Received:
    """A request as a provider sees it."""

    method: str
    path: str
    """Without the query."""
    query: Mapping[str, str]
    headers: Fields
    body: bytes

    def header(self, name: str) -> str | None:
        """A field by its lower-case name. Repeated ones are joined, as HTTP has it."""
        found = [value for key, value in self.headers if key.lower() == name]
        return ", ".join(found) if found else None

    def listed(self, name: str) -> frozenset[str]:
        """The members of a comma-separated field."""
        return frozenset(filter(None, map(str.strip, (self.header(name) or "").split(","))))


@dataclass(frozen=True, slots=True)
class Answer:
    """What to send. `chunks` of a stream are flushed one by one."""

    status: int
    headers: Fields
    chunks: tuple[bytes, ...]
    stream: bool = False
    fault: Fault | None = None


class Refusal(Exception):  # noqa: N818 - it is an answer, not a fault of ours
    """The provider says no. Its own envelope is put around it by the provider."""

    def __init__(self, status: int, message: str, error: str = "", headers: Fields = ()) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.error = error
        self.headers = headers
        self.fault: Fault | None = None


def json_answer(
    status: int, value: Json, headers: Fields = (), fault: Fault | None = None
) -> Answer:
    fields = (("content-type", "application/json"), *headers)
    body = json.dumps(value, ensure_ascii=False).encode()
    return Answer(status, fields, (body,), fault=fault)
