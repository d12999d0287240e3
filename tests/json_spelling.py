"""JSON as other programs write it: any spacing, any escapes, whatever they mean."""

import json
from random import Random
from typing import Any

from hypothesis import strategies as st

_SPACES = ("", "", "", " ", "\n", "\t ", "\r\n  ")
_SHORT = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\t": "\\t", "/": "\\/", "\b": "\\b"}

leaves = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
) | st.text(max_size=12)
values = st.recursive(
    leaves,
    lambda inner: (
        st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=6), inner, max_size=5)
    ),
    max_leaves=20,
)
objects = st.dictionaries(st.text(max_size=6), values, max_size=6)
seeds = st.integers(0, 2**32)


def spelled(value: Any, seed: int) -> bytes:
    """One of the many texts that mean this value."""
    return _space(random := Random(seed)).encode() + _value(value, random) + _space(random).encode()


def _value(value: Any, random: Random) -> bytes:
    if isinstance(value, str):
        return _string(value, random).encode()
    if isinstance(value, list):
        return b"[" + _list([_value(each, random) for each in value], random) + b"]"
    if isinstance(value, dict):
        members = [
            _string(key, random).encode()
            + f"{_space(random)}:{_space(random)}".encode()
            + _value(each, random)
            for key, each in value.items()
        ]
        return b"{" + _list(members, random) + b"}"
    return json.dumps(value).encode()


def _list(parts: list[bytes], random: Random) -> bytes:
    spaced = [_space(random).encode() + part + _space(random).encode() for part in parts]
    return b",".join(spaced) or _space(random).encode()


def _space(random: Random) -> str:
    return random.choice(_SPACES)


def _string(text: str, random: Random) -> str:
    return '"' + "".join(_character(character, random) for character in text) + '"'


def _character(character: str, random: Random) -> str:
    if random.random() < 0.3:
        units = character.encode("utf-16-be").hex()
        units = units.upper() if random.random() < 0.5 else units
        return "".join("\\u" + units[at : at + 4] for at in range(0, len(units), 4))
    if character in _SHORT and (character != "/" or random.random() < 0.5):
        return _SHORT[character]
    return json.dumps(character, ensure_ascii=False)[1:-1]
