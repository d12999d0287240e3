"""Watches an answer go by: tokens, first content, errors inside it. Changes and keeps no byte."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import msgspec

from core import sse
from core.codec import BoundedDecoder, CodecError
from core.model import Headers, Tokens, Window, Wire
from core.provider import header, no_windows
from core.wires import messages

LONGEST_ANSWER = 64 << 20
"""Bytes of decoded answer that are looked at; what comes after goes by unseen."""
LONGEST_JSON = 8 << 20

type ReadEvent = Callable[[sse.Event, float], tuple[Window, ...]]


@dataclass(frozen=True, slots=True)
class Observation:
    """What was seen of an answer."""

    complete: bool | None
    """It ended as its format ends: a stream with its closing event, another one with its body.

    None is an answer that could not be read."""
    first_content_at: float | None
    tokens: Tokens
    error: str | None
    """The type of an error inside a stream that began well."""
    signatures: tuple[str, ...] = ()
    """Of the thinking in it."""
    tool_calls: tuple[str, ...] = ()
    """Their ids."""
    model: str | None = None
    """Who answered, as the provider spells it."""
    windows: tuple[Window, ...] = ()
    """Limits that were told inside the stream."""


class Tap:
    """Told of every chunk of one answer; `feed` never raises on anything the wire may hold."""

    def __init__(self, wire: Wire, headers: Headers, read_event: ReadEvent = no_windows) -> None:
        self._streamed = (
            (header(headers, "content-type") or "").lower().startswith("text/event-stream")
        )
        self._readable = True
        self._known_wire = wire is Wire.MESSAGES
        self._read_event = read_event
        self._windows: dict[str, Window] = {}
        self._sse = sse.Parser()
        self._json = bytearray()
        self._first_content_at: float | None = None
        self._tokens = Tokens()
        self._model: str | None = None
        self._ended = False
        self._error: str | None = None
        self._signatures: list[str] = []
        self._tool_calls: list[str] = []
        try:
            encoding = header(headers, "content-encoding")
            self._decoder = BoundedDecoder(encoding, LONGEST_ANSWER)
        except CodecError:
            self._readable = False

    def feed(self, chunk: bytes, now: float) -> None:
        if not self._readable:
            return
        try:
            data = self._decoder.feed(chunk)
        except CodecError:
            self._readable = False
            return
        if self._streamed:
            for event in self._sse.feed(data):
                self._windows |= {w.name: w for w in self._read_event(event, now)}
                if self._known_wire:
                    self._note(event, now)
        elif self._known_wire and len(self._json) <= LONGEST_JSON:
            self._json += data

    def close(self, *, whole: bool) -> Observation:
        """The answer is over; `whole` says whether the connection ended it properly."""
        if not self._streamed and whole:
            message = _json_message(bytes(self._json))
            self._tokens = messages.tokens(message)
            self._model = messages.model(message)
            self._signatures += messages.made_signatures(message)
            self._tool_calls += messages.made_calls(message)
        self._json.clear()
        ended = whole and (self._ended or not self._streamed) and self._error is None
        complete = ended if self._readable and self._known_wire else None
        return Observation(
            complete,
            self._first_content_at,
            self._tokens,
            self._error,
            tuple(self._signatures),
            tuple(self._tool_calls),
            self._model,
            tuple(self._windows.values()),
        )

    def _note(self, event: sse.Event, now: float) -> None:
        note = messages.note(event)
        if note.content and self._first_content_at is None:
            self._first_content_at = now
        if note.tokens is not None:
            self._tokens = self._tokens.updated(note.tokens)
        self._model = note.model or self._model
        if note.signature is not None:
            self._signatures.append(note.signature)
        if note.tool_call is not None:
            self._tool_calls.append(note.tool_call)
        self._ended = self._ended or note.end
        self._error = self._error or note.error


def _json_message(body: bytes) -> dict[str, Any]:
    try:
        message = msgspec.json.decode(body)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        return {}
    return message if isinstance(message, dict) else {}
