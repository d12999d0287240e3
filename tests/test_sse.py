from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.sse import LONGEST_EVENT, Event, Parser

MB = 1 << 20

_line = st.text(
    alphabet=st.characters(exclude_characters="\r\n", exclude_categories=("Cs",)), max_size=20
)
_noise = st.sampled_from([": ping", ":", "id: 7", "retry: 100", "unknown: x", "data-x: y", "dat"])


@st.composite
def streams(draw: st.DrawFn) -> tuple[bytes, list[Event]]:
    """What a server may write, and the events that it means."""
    text, events = [], []
    for _ in range(draw(st.integers(0, 5))):
        kind = draw(st.none() | _line)
        data = draw(st.lists(_line, max_size=3))
        lines = [] if kind is None else ["event:" + draw(st.sampled_from(["", " "])) + kind]
        if kind is not None and lines[0].startswith("event: "):
            kind = lines[0].removeprefix("event: ")
        lines += [f"data: {each}" for each in data]
        lines.insert(draw(st.integers(0, len(lines))), draw(_noise))
        text += [*lines, *[""] * draw(st.integers(1, 3))]
        if data:
            events.append(Event(kind or "", "\n".join(data).encode()))
    end = draw(st.sampled_from(["\n", "\r\n"]))
    return "".join(line + end for line in text).encode(), events


@given(streams(), st.data())
def test_the_same_events_however_the_chunks_are_cut(
    stream: tuple[bytes, list[Event]], data: st.DataObject
) -> None:
    text, events = stream
    inner = data.draw(st.lists(st.integers(0, len(text)), max_size=8))
    cuts = [0, *sorted(inner), len(text)]
    parser = Parser()
    assert [e for a, b in pairwise(cuts) for e in parser.feed(text[a:b])] == events


@given(streams())
def test_the_same_events_byte_by_byte(stream: tuple[bytes, list[Event]]) -> None:
    text, events = stream
    parser = Parser()
    assert [e for byte in text for e in parser.feed(bytes([byte]))] == events


@pytest.mark.parametrize(
    ("text", "events"),
    [
        (b"data: a\n\n", [Event("", b"a")]),
        (b"data:a\n\n", [Event("", b"a")]),
        (b"data:  a \n\n", [Event("", b" a ")]),
        (b"data\n\n", [Event("", b"")]),
        (b"event: ping\ndata: {}\n\n", [Event("ping", b"{}")]),
        (b"event: ping\r\ndata: {}\r\n\r\n", [Event("ping", b"{}")]),
        (b"data: a\ndata: b\n\n", [Event("", b"a\nb")]),
        (b"data: a: b\n\n", [Event("", b"a: b")]),
        (b": a comment\n\ndata: a\n\n", [Event("", b"a")]),
        (b"event: lost\n\ndata: a\n\n", [Event("", b"a")]),
        (b"data: a\n\ndata: unfinished\n", [Event("", b"a")]),
        (b"data: a\n\ndata: unfinished", [Event("", b"a")]),
        (b"data: a\n", []),
        (b"", []),
        (b"\n\n\n", []),
        (b"event: \xff\ndata: \xff\n\n", [Event("\ufffd", b"\xff")]),
    ],
)
def test_what_a_stream_means(text: bytes, events: list[Event]) -> None:
    assert Parser().feed(text) == events


def test_an_event_is_there_with_its_last_byte() -> None:
    parser = Parser()
    assert parser.feed(b"data: a\n") == []
    assert parser.feed(b"\r") == []
    assert parser.feed(b"\n") == [Event("", b"a")]


@pytest.mark.parametrize("step", [64 * 1024, MB, 64 * MB])
@pytest.mark.parametrize(
    "long",
    [
        b"data: " + b"x" * (LONGEST_EVENT + 1) + b"\n\n",
        b"event: " + b"x" * (LONGEST_EVENT + 1) + b"\ndata: a\n\n",
        b"data: " + b"x" * (LONGEST_EVENT + 1) + b"\ndata: tail\n\n",
        (b"data: " + b"x" * MB + b"\n") * 17 + b"\n",
    ],
    ids=["one line", "its type", "and a line after", "many lines"],
)
def test_an_event_that_is_too_long_is_passed_over(long: bytes, step: int) -> None:
    text = b"data: before\n\n" + long + b"data: after\n\n"
    parser = Parser()
    found = [e for at in range(0, len(text), step) for e in parser.feed(text[at : at + step])]
    assert found == [Event("", b"before"), Event("", b"after")]


def test_a_chunk_that_ends_inside_a_line_that_is_too_long_keeps_what_came_before_it() -> None:
    parser = Parser()
    start = b"data: before\n\ndata: " + b"x" * (LONGEST_EVENT + 1)
    assert parser.feed(start) == [Event("", b"before")]
    assert parser.feed(b"xxx\ndata: tail\n\ndata: after\n\n") == [Event("", b"after")]


def test_an_event_of_the_longest_length_is_read() -> None:
    data = b"x" * (LONGEST_EVENT - len(b"data: "))
    assert Parser().feed(b"data: " + data + b"\n\n") == [Event("", data)]


def test_a_line_without_end_takes_no_more_memory_than_the_longest_event() -> None:
    parser = Parser()
    for _ in range(40):
        parser.feed(b"x" * MB)
        assert len(parser._rest) <= LONGEST_EVENT
