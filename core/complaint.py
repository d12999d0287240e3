"""What the schema of mitm.yaml says against a value, turned into a `ConfigError`.

Words only: it reads no file and knows no key. Nothing that may be a credential is shown.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from difflib import get_close_matches
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails, PydanticCustomError

from core.errors import ConfigError

type Keys = tuple[str | int, ...]
"""The way to a value: names of keys and positions in lists."""

PLAIN, BY_PROVIDER = "[plain]", "[by provider]"
"""Tags of a value that may have either shape."""
NO_KEYS = frozenset({"[key]", PLAIN, BY_PROVIDER})
"""What pydantic puts in the way to a value, and no file has."""

_OURS = "limit_router"
_LONGEST_SHOWN = 60
_TOKEN = re.compile(
    r"(?i)(\bsk-|\bgh[opsur]_|github_pat_|\beyJ|\bxox[a-z]-|\bAIza|\bbearer\b)"
    r"|(?=[\w+/=-]*\d)(?=[\w+/=-]*[a-z])[\w+/=-]{40,}"
)
_CREDENTIAL_KEY = re.compile(
    r"(?i)api.?key|token|secret|passw|credential|authorization|cookie|(^|[._-])(key|auth|pat)$"
)
_ALLOWED: Mapping[str, Callable[[Mapping[str, Any]], str]] = {
    "string_type": lambda _: "text",
    "bool_type": lambda _: "true or false",
    "int_type": lambda _: "a whole number",
    "int_from_float": lambda _: "a whole number",
    "float_type": lambda _: "a number",
    "finite_number": lambda _: "a finite number",
    "dict_type": lambda _: "a mapping",
    "model_type": lambda _: "a mapping",
    "tuple_type": lambda _: "a list",
    "literal_error": lambda c: _choices(c["expected"]),
    "greater_than": lambda c: f"more than {c['gt']:g}",
    "greater_than_equal": lambda c: f"{c['ge']:g} or more",
    "less_than_equal": lambda c: f"{c['le']:g} or less",
}


def refuse(
    problem: str,
    *,
    at: Keys = (),
    key: bool = False,
    found: str | None = "",
    allowed: str | None = None,
    hint: str | None = None,
) -> PydanticCustomError:
    """What a validator raises. `at` leads on from the value that it was given.

    `key`: the error names `at` as well, instead of only taking its line. `found` left empty is
    the value as `shown`.
    """
    context = {"at": at, "key": key, "found": found, "allowed": allowed, "hint": hint}
    return PydanticCustomError(_OURS, "{problem}", {"problem": problem, **context})


def unknown_key(known: Iterable[str], key: str) -> PydanticCustomError:
    known = list(known)
    allowed = ", ".join(known)
    return refuse(
        "unknown key", at=(key,), key=True, found=None, allowed=allowed, hint=nearest(key, known)
    )


def nearest(word: str, known: Iterable[str]) -> str | None:
    """A hint: the valid spelling that is most like this word."""
    match = get_close_matches(word[:_LONGEST_SHOWN].lower(), list(known), n=1, cutoff=0.6)
    return f"the nearest valid spelling is `{match[0]}`" if match else None


def complaint(error: ValidationError, file: str, line: Callable[[Keys], int | None]) -> ConfigError:
    """About the first wrong value in the file."""
    found = [
        _one(details, file, line)
        for details in error.errors(include_url=False, include_context=True)
    ]
    return min(found, key=lambda one: one.line or 0)


def _one(details: ErrorDetails, file: str, line: Callable[[Keys], int | None]) -> ConfigError:
    path = tuple(part for part in details["loc"] if part not in NO_KEYS)
    context: Mapping[str, Any] = details.get("ctx", {})
    if details["type"] == _OURS:
        at = (*path, *context["at"])
        return ConfigError(
            file,
            context["problem"],
            line(at),
            dotted(at if context["key"] else path) or None,
            shown(path, details["input"]) if context["found"] == "" else context["found"],
            context["allowed"],
            context["hint"],
        )
    if details["type"] == "missing":
        return ConfigError(file, "is missing", line(path), dotted(path))
    known = _ALLOWED.get(details["type"])
    return ConfigError(
        file,
        "wrong value",
        line(path),
        dotted(path) or None,
        shown(path, details["input"]),
        known(context) if known else details["msg"],
        _nearest_choice(details, context),
    )


def _choices(expected: str) -> str:
    return expected.replace("'", "").replace(" or ", ", ")


def _nearest_choice(details: ErrorDetails, context: Mapping[str, Any]) -> str | None:
    value = details["input"]
    if details["type"] != "literal_error" or not isinstance(value, str):
        return None
    return nearest(value, _choices(context["expected"]).split(", "))


def dotted(path: Keys) -> str:
    """The path as people write it, `models.claude-sonnet-4-5.providers`; a token in it is hidden."""
    return ".".join(_part(str(part)) for part in path)


def _part(name: str) -> str:
    if _TOKEN.search(name):
        return "…"
    return _shortened(name if name and name.isprintable() else ascii(name))


def shown(path: Keys, value: Any) -> str:
    """A value as an error may show it: short, on one line, and never a credential."""
    match value:
        case dict():
            return "a mapping"
        case list() | tuple():
            return "a list"
        case None:
            return "nothing"
        case bool():
            return str(value).lower()
        case str() if _TOKEN.search(value):
            return "text that looks like a credential (not shown)"
    if any(isinstance(part, str) and _CREDENTIAL_KEY.search(part) for part in path):
        return "a value that is not shown"
    return _shortened(repr(value))


def _shortened(words: str) -> str:
    return words if len(words) <= _LONGEST_SHOWN else words[: _LONGEST_SHOWN - 1] + "…"
