from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.model import (
    Account,
    AccountKind,
    Candidate,
    Price,
    Secret,
    Source,
    Speed,
    Verdict,
    Window,
    WindowView,
)
from core.nouns import plain, rebuilt

_FIGURES = st.floats(allow_nan=False, allow_infinity=False)
_MAYBE = st.none() | _FIGURES
_WORDS = st.text(st.characters(exclude_categories=["Cs"]))
_WINDOWS = st.builds(
    Window,
    _WORDS,
    _FIGURES,
    _MAYBE,
    st.none() | st.floats(min_value=1.0, max_value=1e9),
    st.sampled_from(Source),
    _FIGURES,
    st.none() | _WORDS,
    st.booleans(),
)
_ACCOUNTS = st.builds(Account, _WORDS, _WORDS, st.sampled_from(AccountKind))
_CANDIDATES = st.builds(
    Candidate,
    _WORDS,
    _WORDS,
    st.none() | _ACCOUNTS,
    st.none() | _WORDS,
    reserve=st.dictionaries(_WORDS, _FIGURES),
    price=st.none() | st.builds(Price, _FIGURES, _FIGURES, _FIGURES, _FIGURES),
    speed=st.none() | st.builds(Speed, _FIGURES, _FIGURES, _FIGURES, _FIGURES),
)
_VIEWS = st.builds(WindowView, _WINDOWS, _MAYBE, _MAYBE, _FIGURES)
_VERDICTS = st.builds(
    Verdict, _CANDIDATES, st.booleans(), _MAYBE, st.lists(_VIEWS).map(tuple), _WORDS, _MAYBE
)


class Colour(StrEnum):
    RED = "red"


@dataclass(frozen=True)
class Old:
    name: str
    share: float
    colour: Colour = Colour.RED


@dataclass(frozen=True)
class New:
    name: str
    count: int
    sure: bool
    share: float | None
    pair: tuple[str, float]
    tags: tuple[str, ...]
    by_name: Mapping[str, float]
    inner: Old
    call: Callable[[], int]
    kept: float = 0.5
    more: list[int] = field(default_factory=list)


@given(_VERDICTS)
def test_a_verdict_comes_back_as_it_was(verdict):
    text = msgspec.json.encode(plain(verdict))
    assert rebuilt(Verdict, msgspec.json.decode(text)) == verdict


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | _FIGURES | _WORDS,
    lambda inner: (
        st.lists(inner) | st.dictionaries(st.sampled_from(["name", "colour", "share"]), inner)
    ),
)


@given(_JSON)
def test_whatever_stands_there_makes_a_noun(value):
    assert isinstance(rebuilt(Old, value), Old)


def test_what_is_missing_says_nothing_and_what_is_unknown_is_passed_over():
    nothing = Old("", 0.0)
    assert rebuilt(New, {"name": "x", "later": 1}) == New(
        "x", 0, False, None, (), (), {}, nothing, None
    )
    values = {"share": 1, "pair": ["a", 2, 3], "by_name": {"a": 1}, "inner": {"share": "?"}}
    found = rebuilt(New, {**values, "count": "three", "tags": "abc", "kept": None})
    assert (found.share, found.pair, found.by_name) == (1.0, ("a", 2.0), {"a": 1.0})
    assert (found.inner, found.count, found.kept, found.tags) == (nothing, 0, 0.0, ())


def test_a_word_of_a_later_release_is_shown_as_it_is():
    assert rebuilt(Old, {"colour": "mauve"}).colour == "mauve"
    assert rebuilt(Old, {"colour": "red"}).colour is Colour.RED


def test_a_noun_that_cannot_be_is_refused():
    with pytest.raises(ValueError, match="duration_s"):
        rebuilt(Window, {"duration_s": -1.0})


def test_a_secret_and_what_has_no_place_in_a_file_are_left_out():
    @dataclass(frozen=True)
    class Holder:
        secret: Secret
        call: Callable[[], int]
        far: float

    held = Holder(Secret("sk-SECRET"), lambda: 1, float("inf"))
    assert plain([held, held.secret, {1: (2, True)}, "\ud800", object(), Holder]) == [
        {"secret": None, "call": None, "far": None},
        None,
        {"1": [2, True]},
        "?",
        None,
        None,
    ]
