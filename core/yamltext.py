"""YAML with the line of every key. Knows nothing of what the file is for.

Refuses what a configuration never needs and a reader never expects: repeats, anchors, tags.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from core.complaint import Keys, dotted
from core.errors import ConfigError

_LARGEST = 2**20
_DEEPEST = 20
_PLAIN: tuple[tuple[re.Pattern[str], Callable[[str], Any]], ...] = (
    # YAML 1.2's core schema. PyYAML's 1.1 makes `off` a boolean, `1:30` ninety and dates dates.
    (re.compile(r"|~|null|Null|NULL"), lambda _: None),
    (re.compile(r"true|True|TRUE"), lambda _: True),
    (re.compile(r"false|False|FALSE"), lambda _: False),
    (re.compile(r"[-+]?[0-9]{1,18}"), int),
    (re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?"), float),
)


@dataclass(frozen=True, slots=True)
class Document:
    """Plain values, and the line (from 1) of each key and list item."""

    value: Any
    lines: dict[Keys, int] = field(default_factory=dict)

    def line(self, path: Keys) -> int | None:
        """Of the value, or of the nearest one around it that has a line."""
        return next(
            (self.lines[path[:n]] for n in range(len(path), -1, -1) if path[:n] in self.lines),
            None,
        )


def decoded(path: Path, file: str) -> str:
    """The file's text. Raises `ConfigError`."""
    try:
        with path.open("rb") as opened:
            raw = opened.read(_LARGEST + 1)
        if len(raw) > _LARGEST:
            raise ConfigError(file, "is larger than 1 MB")
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        refusal = ConfigError(file, "is not UTF-8 text", raw.count(b"\n", 0, error.start) + 1)
    except OSError as error:
        refusal = ConfigError(file, f"cannot be read ({error.strerror})")
    raise refusal


def read(text: str, file: str) -> Document:
    """Raises `ConfigError`."""
    try:
        return _Reader(file, text).document()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        refusal = _not_yaml(file, error.problem, None if mark is None else mark.line + 1)
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        refusal = _not_yaml(file, f"the character U+{ord(text[error.position]):04X}", line)
    except (ValueError, OverflowError):
        # PyYAML lets chr() and int() speak for "\UFFFFFFFF" and an endless %YAML version.
        refusal = _not_yaml(file, "an escape or a version out of range", None)
    raise refusal


def _not_yaml(file: str, why: str | None, line: int | None) -> ConfigError:
    tabs = "indent with spaces, not tabs" if why and "\\t" in why else None
    return ConfigError(file, f"is not valid YAML ({why})", line, hint=tabs)


class _Reader:
    def __init__(self, file: str, text: str) -> None:
        self._file = file
        self._events: Iterator[yaml.Event] = yaml.parse(text, Loader=yaml.SafeLoader)
        self._lines: dict[Keys, int] = {}

    def document(self) -> Document:
        next(self._events)  # the stream's start
        event = next(self._events)
        if isinstance(event, yaml.StreamEndEvent):
            return Document(None)
        event = next(self._events)
        self._lines[()] = _line(event)
        value = self._value(event, ())
        next(self._events)  # the document's end
        event = next(self._events)
        if not isinstance(event, yaml.StreamEndEvent):
            raise self._refusal(event, "a second document begins here; one is enough")
        return Document(value, self._lines)

    def _value(self, event: yaml.Event, path: Keys) -> Any:
        self._check(event, path)
        if isinstance(event, yaml.MappingStartEvent):
            return self._mapping(path)
        if isinstance(event, yaml.SequenceStartEvent):
            return self._sequence(path)
        assert isinstance(event, yaml.ScalarEvent)
        return _scalar(event)

    def _check(self, event: yaml.Event, path: Keys) -> None:
        if getattr(event, "anchor", None) is not None:
            raise self._refusal(event, "anchors and aliases (`&name`, `*name`) are not used here")
        if getattr(event, "tag", None) is not None:
            raise self._refusal(event, "tags (`!name`) are not used here")
        if len(path) > _DEEPEST:
            raise self._refusal(event, f"nested more than {_DEEPEST} levels deep")

    def _mapping(self, path: Keys) -> dict[str, Any]:
        found: dict[str, Any] = {}
        while not isinstance(event := next(self._events), yaml.MappingEndEvent):
            self._check(event, path)
            if not isinstance(event, yaml.ScalarEvent):
                raise self._refusal(event, "a key must be text, not a list or a mapping")
            key: str = event.value
            line = _line(event)
            if key in found:
                first = self._lines[*path, key]
                raise self._refusal(event, f"this key stands on line {first} already", *path, key)
            self._lines[*path, key] = line
            found[key] = self._value(next(self._events), (*path, key))
        return found

    def _sequence(self, path: Keys) -> list[Any]:
        found: list[Any] = []
        while not isinstance(event := next(self._events), yaml.SequenceEndEvent):
            inner = (*path, len(found))
            self._lines[inner] = _line(event)
            found.append(self._value(event, inner))
        return found

    def _refusal(self, event: yaml.Event, problem: str, *path: str | int) -> ConfigError:
        key = dotted(path) if path else None
        return ConfigError(self._file, problem, _line(event), key)


def _line(event: yaml.Event) -> int:
    assert event.start_mark is not None
    return event.start_mark.line + 1


def _scalar(event: yaml.ScalarEvent) -> Any:
    text: str = event.value
    if event.style is not None:
        return text
    return next((make(text) for form, make in _PLAIN if form.fullmatch(text)), text)
