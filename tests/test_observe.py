import gzip
import json
import zlib
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.model import Headers, Tokens, Wire
from core.observe import LONGEST_JSON, Observation, Tap

STREAM = (("Content-Type", "text/event-stream; charset=utf-8"),)
JSON = (("content-type", "application/json"),)
USAGE = {"input_tokens": 5, "output_tokens": 1, "cache_read_input_tokens": 11}


def event(kind: str, **fields: Any) -> bytes:
    return f"event: {kind}\ndata: {json.dumps({'type': kind} | fields)}\n\n".encode()


START = event("message_start", message={"usage": USAGE})
BLOCK = event("content_block_start", index=0)
DELTA = event("content_block_delta", delta={"text": "Hello"})
GROWN = event("message_delta", usage={"output_tokens": 42})
STOP = event("message_stop")
OVERLOADED = event("error", error={"type": "overloaded_error"})
WHOLE = START + event("ping") + BLOCK + DELTA + GROWN + STOP
TOKENS = Tokens(input=5, output=42, cache_read=11)


def watched(
    chunks: list[bytes],
    headers: Headers = STREAM,
    wire: Wire = Wire.MESSAGES,
    *,
    whole: bool = True,
) -> Observation:
    """What was seen of these chunks, the first of which came at 100."""
    tap = Tap(wire, headers)
    for at, chunk in enumerate(chunks):
        tap.feed(chunk, 100.0 + at)
    return tap.close(whole=whole)


@pytest.mark.parametrize(
    ("chunks", "whole", "seen"),
    [
        pytest.param([START, BLOCK, GROWN + STOP], True, Observation(True, 101.0, TOKENS, None)),
        pytest.param(
            [START, BLOCK, BLOCK, GROWN, STOP], True, Observation(True, 101.0, TOKENS, None)
        ),
        pytest.param([WHOLE], True, Observation(True, 100.0, TOKENS, None)),
        pytest.param(
            [WHOLE.replace(b"\n", b"\r\n")], True, Observation(True, 100.0, TOKENS, None), id="crlf"
        ),
        pytest.param(
            [START, BLOCK, DELTA],
            True,
            Observation(False, 101.0, Tokens(5, 1, 11), None),
            id="no closing event",
        ),
        pytest.param(
            [WHOLE], False, Observation(False, 100.0, TOKENS, None), id="a broken connection"
        ),
        pytest.param(
            [START, OVERLOADED],
            True,
            Observation(False, None, Tokens(5, 1, 11), "overloaded_error"),
            id="an error before any content",
        ),
        pytest.param(
            [START, BLOCK, OVERLOADED, event("error"), STOP],
            True,
            Observation(False, 101.0, Tokens(5, 1, 11), "overloaded_error"),
            id="the first error counts",
        ),
        pytest.param([], True, Observation(False, None, Tokens(), None), id="nothing came"),
    ],
)
def test_what_is_seen_of_a_stream(chunks: list[bytes], whole: bool, seen: Observation) -> None:  # noqa: FBT001
    assert watched(chunks, whole=whole) == seen


@pytest.mark.parametrize(
    ("body", "whole", "seen"),
    [
        (
            json.dumps({"usage": USAGE}).encode(),
            True,
            Observation(True, None, Tokens(5, 1, 11), None),
        ),
        (json.dumps({"usage": USAGE}).encode(), False, Observation(False, None, Tokens(), None)),
        (b"[]", True, Observation(True, None, Tokens(), None)),
        (b"<html>", True, Observation(True, None, Tokens(), None)),
        (b"", True, Observation(True, None, Tokens(), None)),
        (b'"\xff"', True, Observation(True, None, Tokens(), None)),
        (b"[" * 100_000, True, Observation(True, None, Tokens(), None)),
    ],
)
def test_what_is_seen_of_an_answer_in_one_piece(
    body: bytes,
    whole: bool,  # noqa: FBT001
    seen: Observation,
) -> None:
    assert watched([body[:5], body[5:]], JSON, whole=whole) == seen
    assert watched([body], (), whole=whole) == seen


def test_a_content_type_has_no_case() -> None:
    assert watched([WHOLE], (("CONTENT-TYPE", "Text/Event-Stream"),)).complete
    assert watched([WHOLE], (("CONTENT-TYPE", "Text/Event-Stream"),)).tokens == TOKENS


@given(st.lists(st.integers(0, len(WHOLE)), max_size=9), st.sampled_from(["", "gzip", "deflate"]))
def test_the_same_is_seen_however_the_chunks_are_cut(inner: list[int], encoding: str) -> None:
    pack = {"": bytes, "gzip": gzip.compress, "deflate": zlib.compress}[encoding]
    text = pack(WHOLE)
    cuts = [0, *sorted(min(at, len(text)) for at in inner), len(text)]
    chunks = [text[a:b] for a, b in pairwise(cuts)]
    seen = watched(chunks, (*STREAM, ("Content-Encoding", encoding)))
    assert (seen.complete, seen.tokens, seen.error) == (True, TOKENS, None)


def test_the_first_token_s_time_is_known_of_a_compressed_stream_too() -> None:
    packer = zlib.compressobj(wbits=31)
    chunks = [packer.compress(it) + packer.flush(zlib.Z_SYNC_FLUSH) for it in (START, BLOCK, STOP)]
    seen = watched(chunks, (*STREAM, ("content-encoding", "gzip")))
    assert (seen.first_content_at, seen.complete) == (101.0, True)


@pytest.mark.parametrize(
    ("headers", "wire"),
    [
        ((*STREAM, ("content-encoding", "compress")), Wire.MESSAGES),
        ((*STREAM, ("content-encoding", "gzip")), Wire.MESSAGES),
        (STREAM, Wire.CHAT),
        (STREAM, Wire.RESPONSES),
    ],
    ids=["an encoding nobody knows", "not what it says", "another wire", "yet another"],
)
def test_what_cannot_be_read_goes_by_unseen(headers: Headers, wire: Wire) -> None:
    assert watched([WHOLE, WHOLE], headers, wire) == Observation(None, None, Tokens(), None)


def test_a_bomb_goes_by_unseen() -> None:
    bomb = gzip.compress(bytes(80 << 20), 1)
    headers = (*STREAM, ("content-encoding", "gzip"))
    assert watched([bomb, WHOLE], headers) == Observation(None, None, Tokens(), None)


def test_of_a_long_answer_in_one_piece_a_part_is_kept() -> None:
    tap = Tap(Wire.MESSAGES, JSON)
    for _ in range(20):
        tap.feed(b" " * (1 << 20), 0.0)
    assert len(tap._json) == LONGEST_JSON + (1 << 20)
    assert tap.close(whole=True) == Observation(True, None, Tokens(), None)
    assert not tap._json


@given(
    st.lists(st.binary(max_size=40) | st.sampled_from([START, BLOCK, STOP, b'data: "\xff"\n\n'])),
    st.sampled_from(["", "gzip", "deflate", "br", "zstd", "no such thing"]),
    st.sampled_from([STREAM, JSON]),
)
def test_whatever_the_wire_holds_no_exception(
    chunks: list[bytes], encoding: str, headers: Headers
) -> None:
    watched(chunks, (*headers, ("content-encoding", encoding)))
