"""Nouns as plain values that a file can hold, and back again. Pure; knows no noun by name.

A file outlives the release that wrote it: what today's noun lacks is passed over, what the file
lacks takes the field's default, or the value that says nothing.
"""

from collections.abc import Mapping, Sequence
from dataclasses import MISSING, Field, fields, is_dataclass
from enum import Enum
from functools import cache
from math import isfinite
from types import NoneType, UnionType
from typing import Any, TypeAliasType, Union, get_args, get_origin, get_type_hints

from core.model import Secret

_NEUTRAL: Mapping[Any, Any] = {float: 0.0, int: 0, bool: False, str: ""}


def plain(value: object) -> Any:
    """Fit for JSON. A secret, and what has no place in a file, is None."""
    match value:
        case None | bool() | int() | Secret():
            return None if isinstance(value, Secret) else value
        case float():
            return value if isfinite(value) else None
        case Enum():
            return value.value
        case str():
            return value.encode("utf-8", "replace").decode()
        case Mapping():
            return {str(key): plain(inner) for key, inner in value.items()}
        case list() | tuple():
            return [plain(inner) for inner in value]
        case _ if is_dataclass(value) and not isinstance(value, type):
            # Not msgspec's own way: that would write down what a Secret holds.
            return {it.name: plain(getattr(value, it.name)) for it in fields(value)}
        case _:
            return None


def rebuilt(hint: Any, value: Any) -> Any:
    """The value as the type says. Raises ValueError where the noun itself refuses it."""
    hint = hint.__value__ if isinstance(hint, TypeAliasType) else hint
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in (Union, UnionType):
        rest = [each for each in arguments if each is not NoneType]
        nothing = value is None and len(rest) < len(arguments)
        return None if nothing else rebuilt(rest[0], value)
    if is_dataclass(hint):
        return _noun(hint, value if isinstance(value, Mapping) else {})
    if origin is tuple:
        return _row(arguments, value if isinstance(value, list | tuple) else ())
    if isinstance(origin, type) and issubclass(origin, Mapping):
        pairs = value.items() if isinstance(value, Mapping) else ()
        return {rebuilt(arguments[0], key): rebuilt(arguments[1], it) for key, it in pairs}
    if isinstance(hint, type) and issubclass(hint, Enum):
        # A word of a later release is shown as it is.
        return next((each for each in hint if each.value == value), value)
    return _leaf(hint, value)


def _noun(noun: Any, values: Mapping[str, Any]) -> Any:
    hints = _hints(noun)
    given = {}
    for it in fields(noun):
        if it.name in values:
            given[it.name] = rebuilt(hints[it.name], values[it.name])
        elif _is_required(it):
            given[it.name] = rebuilt(hints[it.name], None)
    return noun(**given)


def _row(arguments: tuple[Any, ...], values: Sequence[Any]) -> tuple[Any, ...]:
    if len(arguments) == 2 and arguments[1] is Ellipsis:  # noqa: PLR2004 - tuple[X, ...]
        return tuple(rebuilt(arguments[0], each) for each in values)
    return tuple(rebuilt(each, value) for each, value in zip(arguments, values, strict=False))


def _leaf(hint: Any, value: Any) -> Any:
    if hint not in _NEUTRAL:
        return value
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    return value if isinstance(value, hint) else _NEUTRAL[hint]


def _is_required(it: Field[Any]) -> bool:
    return it.default is MISSING and it.default_factory is MISSING


@cache
def _hints(noun: type) -> Mapping[str, Any]:
    return get_type_hints(noun)
