"""JSON text as spans: finds values and edits them without re-encoding what stands around them.

Knows bytes and JSON, nothing of requests or providers. Re-serialising a body would break the
prompt-cache prefixes and signatures that providers compute over its bytes.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any

import msgspec

MAX_DEPTH = 200

_QUOTED = re.compile(rb'"[^"]*"')
_NOT_STRUCTURE = bytes(set(range(256)) - set(b'"[]{}'))
_ONE_KIND = bytes.maketrans(b"{}", b"[]")
_STEP = tuple({ord("["): 1, ord("]"): -1}.get(byte, 0) for byte in range(256))
_SPACES = (b" ", b"\t", b"\n", b"\r")
_SPACE = re.compile(rb"[ \t\n\r]*")
_KEY = re.compile(rb'[ \t\n\r]*("[^"\\]*(?:\\.[^"\\]*)*")[ \t\n\r]*:[ \t\n\r]*', re.DOTALL)
_COMMA = re.compile(rb"[ \t\n\r]*,[ \t\n\r]*")

_members = msgspec.json.Decoder(dict[str, msgspec.Raw])
_elements = msgspec.json.Decoder(list[msgspec.Raw])
_text = msgspec.json.Decoder(str)
_any = msgspec.json.Decoder()
_raw = msgspec.json.Decoder(msgspec.Raw)


class JsonError(ValueError):
    """The text is not JSON, or not JSON that can be edited safely. Quotes no more of it than a key."""


@dataclass(frozen=True, slots=True)
class Splice:
    """Replace `text[start:end]` by `new`."""

    start: int
    end: int
    new: bytes


@dataclass(frozen=True, slots=True)
class _Member:
    key: str
    start: int
    """Where the key's opening quote stands."""
    value: "Node"


@dataclass(frozen=True, slots=True)
class Node:
    """A value inside a text that is known to be JSON."""

    text: bytes
    start: int
    end: int
    _walked: "list[_Member] | None" = field(default=None, init=False, repr=False, compare=False)
    """The members, once they were asked for: a body's are asked for many times."""

    @property
    def raw(self) -> bytes:
        return self.text[self.start : self.end]

    @property
    def is_object(self) -> bool:
        return self.text[self.start : self.start + 1] == b"{"

    @property
    def is_array(self) -> bool:
        return self.text[self.start : self.start + 1] == b"["

    def decode(self) -> Any:
        """The Python value. Raises JsonError where it is a number beyond what can be held."""
        return _decoded(_any, self.raw)

    def string(self) -> str | None:
        """The value if it is a string."""
        return self.decode() if self.text[self.start : self.start + 1] == b'"' else None

    def get(self, key: str) -> "Node | None":
        """The member's value; None where this is no object or has no such key."""
        return next((m.value for m in self._walk() if m.key == key), None)

    def members(self) -> Iterator[tuple[str, "Node"]]:
        """The members in order; none where this is no object. Raises JsonError on a repeated key."""
        return ((m.key, m.value) for m in self._walk())

    def items(self) -> list["Node"]:
        """The elements in order; none where this is no array."""
        if not self.is_array:
            return []
        nodes: list[Node] = []
        at = _skip(_SPACE, self.text, self.start + 1)
        for raw in _decoded(_elements, self.raw):
            size = len(bytes(raw))
            nodes.append(Node(self.text, at, at + size))
            at = _skip(_COMMA, self.text, at + size)
        return nodes

    def last_item(self) -> "Node | None":
        """The last element, found without walking the others."""
        raws = _decoded(_elements, self.raw) if self.is_array else []
        if not raws:
            return None
        end = self.end - 1
        while self.text[end - 1 : end] in _SPACES:
            end -= 1
        return Node(self.text, end - len(bytes(raws[-1])), end)

    def replace(self, new: bytes) -> Splice:
        return Splice(self.start, self.end, new)

    def with_first(self, key: str, raw: bytes) -> Splice:
        """Put a member before the others. The object has at least one, and none of that name."""
        at = self.start + 1
        return Splice(at, at, msgspec.json.encode(key) + b":" + raw + b",")

    def without(self, keys: Iterable[str]) -> Iterator[Splice]:
        """Splices that take these members out, commas included."""
        doomed = frozenset(keys)
        members = self._walk()
        spans = [(m.start, m.value.end) for m in members]
        return _cut(spans, [m.key in doomed for m in members])

    def without_items(self, indices: Iterable[int]) -> Iterator[Splice]:
        """Splices that take these elements out, commas included."""
        doomed = frozenset(indices)
        items = self.items()
        spans = [(item.start, item.end) for item in items]
        return _cut(spans, [index in doomed for index in range(len(items))])

    def _walk(self) -> list[_Member]:
        if self._walked is not None:
            return self._walked
        if not self.is_object:
            return []
        raws = _decoded(_members, self.raw)
        found: list[_Member] = []
        at = self.start + 1
        while (match := _KEY.match(self.text, at, self.end)) is not None:
            key = _decoded(_text, match[1])
            value = bytes(raws[key])
            start, end = match.end(), match.end() + len(value)
            # A repeated key decodes to its last value: an earlier one is met here with other bytes.
            if self.text[start:end] != value:
                raise JsonError(f"the key {key!r} stands twice")
            found.append(_Member(key, match.start(1), Node(self.text, start, end)))
            at = _skip(_COMMA, self.text, end)
        if len(found) != len(raws) or _skip(_SPACE, self.text, at) != self.end - 1:
            raise JsonError("a key stands twice")
        object.__setattr__(self, "_walked", found)
        return found


def parse(text: bytes) -> Node:
    """The whole text as a value.

    Raises JsonError where it is not JSON in UTF-8, or nested deeper than MAX_DEPTH.
    """
    try:
        text.decode("utf-8")
    except UnicodeDecodeError as error:
        raise JsonError(f"byte {error.start} is not UTF-8") from None
    _decoded(_raw, text)
    if _too_deep(text):
        raise JsonError(f"nested deeper than {MAX_DEPTH} levels")
    start = _skip(_SPACE, text, 0)
    return Node(text, start, len(text.rstrip(b" \t\n\r")))


def apply(text: bytes, splices: Iterable[Splice]) -> bytes:
    """The text with every splice made. Splices are given in any order and do not overlap."""
    parts: list[bytes] = []
    at = 0
    for splice in sorted(splices, key=lambda s: (s.start, s.end)):
        if splice.start < at:
            raise ValueError(f"splices overlap at byte {splice.start}")
        parts += (text[at : splice.start], splice.new)
        at = splice.end
    parts.append(text[at:])
    return b"".join(parts)


def _cut(spans: Sequence[tuple[int, int]], doomed: Sequence[bool]) -> Iterator[Splice]:
    """Splices that take out the doomed of the parts that commas separate."""
    kept_end: int | None = None
    run_start: int | None = None
    for (start, end), gone in zip(spans, doomed, strict=True):
        if gone:
            run_start = start if run_start is None else run_start
            continue
        if run_start is not None:
            yield Splice(run_start, start, b"")
            run_start = None
        kept_end = end
    if run_start is not None:
        yield Splice(run_start if kept_end is None else kept_end, spans[-1][1], b"")


def spelled(word: str) -> re.Pattern[bytes]:
    """Finds an ASCII word as a string of its own in JSON text, also where it is escaped."""
    return re.compile(b'"%b"' % escaped(word))


def escaped(word: str) -> bytes:
    """A pattern for an ASCII word inside a JSON string, however its letters are written."""
    letters = (rb"(?:%b|\\u00(?i:%02x))" % (re.escape(c.encode()), ord(c)) for c in word)
    return b"".join(letters)


def _skip(pattern: re.Pattern[bytes], text: bytes, at: int) -> int:
    match = pattern.match(text, at)
    return at if match is None else match.end()


def _too_deep(text: bytes) -> bool:
    if text.count(b"[") + text.count(b"{") <= MAX_DEPTH:
        return False
    unescaped = text.replace(rb"\\", b"").replace(rb"\"", b"")
    brackets = _QUOTED.sub(b"", unescaped.translate(_ONE_KIND, _NOT_STRUCTURE))
    return max(accumulate(map(_STEP.__getitem__, brackets)), default=0) > MAX_DEPTH


def _decoded[T](decoder: msgspec.json.Decoder[T], raw: bytes) -> T:
    try:
        return decoder.decode(raw)
    except msgspec.DecodeError as error:
        raise JsonError(str(error)) from None
    except RecursionError:
        raise JsonError(f"nested deeper than {MAX_DEPTH} levels") from None
