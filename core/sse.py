"""Server-sent events, parsed as the bytes arrive. Bounded; nothing of the text is kept."""

from dataclasses import dataclass

LONGEST_EVENT = 16 << 20
"""Bytes. A longer event is passed over: nothing that we read in a stream is that long."""


@dataclass(frozen=True, slots=True)
class Event:
    """One event: its type (empty where the stream names none) and its data lines, joined."""

    type: str
    data: bytes


class Parser:
    """Feed it chunks cut anywhere; it returns the events that they complete."""

    def __init__(self) -> None:
        self._rest = bytearray()
        self._type = ""
        self._data: list[bytes] = []
        self._size = 0

    def feed(self, chunk: bytes) -> list[Event]:
        self._rest += chunk
        lines: list[bytes] = []
        if b"\n" in chunk:
            # A line may end with CR alone, but no provider does that; a CRLF cut in two waits.
            lines = bytes(self._rest).replace(b"\r\n", b"\n").split(b"\n")
            self._rest = bytearray(lines.pop())
        events: list[Event] = []
        for line in lines:
            if line:
                self._line(line)
            else:
                events += self._dispatch()
        if len(self._rest) > LONGEST_EVENT:
            self._rest.clear()
            self._size = LONGEST_EVENT + 1
        return events

    def _line(self, line: bytes) -> None:
        self._size += len(line)
        name, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if name == b"data" and self._size <= LONGEST_EVENT:
            self._data.append(value)
        elif name == b"event":
            self._type = value.decode("utf-8", "replace")

    def _dispatch(self) -> list[Event]:
        whole = bool(self._data) and self._size <= LONGEST_EVENT
        event = Event(self._type, b"\n".join(self._data))
        self._type, self._data, self._size = "", [], 0
        return [event] if whole else []
