import gzip
import tracemalloc
import zlib
from collections.abc import Callable

import brotli
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from core.codec import BoundedDecoder, CodecError, UnsupportedError


def raw_deflate(data: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-15)
    return packer.compress(data) + packer.flush()


PACKERS: dict[str, tuple[str | None, Callable[[bytes], bytes]]] = {
    "gzip": ("gzip", gzip.compress),
    "x-gzip": ("x-gzip", gzip.compress),
    "in capitals": (" GZIP ", gzip.compress),
    "deflate": ("deflate", zlib.compress),
    "raw deflate": ("deflate", raw_deflate),
    "br": ("br", brotli.compress),
    "zstd": ("zstd", zstandard.ZstdCompressor().compress),
    "identity": ("identity", bytes),
    "nothing said": (None, bytes),
    "an empty field": ("", bytes),
}
PACKED = [name for name, (_, pack) in PACKERS.items() if pack is not bytes]
ENCODINGS = ["gzip", "deflate", "br", "zstd", "identity"]
TEXT = b"".join(b"data: line %d of what they said\n\n" % n for n in range(200))
MB = 1 << 20


def decoded(encoding: str | None, data: bytes, step: int, limit: int = MB) -> bytes:
    decoder = BoundedDecoder(encoding, limit)
    return b"".join(decoder.feed(data[at : at + step]) for at in range(0, len(data), step))


@pytest.mark.parametrize("name", PACKERS)
@pytest.mark.parametrize("step", [1, 2, 3, 7, 63, 64, 65, 1000, MB])
def test_what_was_packed_comes_out(name: str, step: int) -> None:
    encoding, pack = PACKERS[name]
    for data in (b"", b"x", TEXT, bytes(300_000)):
        assert decoded(encoding, pack(data), step) == data


@given(st.sampled_from(sorted(PACKERS)), st.binary(max_size=3000), st.integers(1, 3000))
def test_anything_that_was_packed_comes_out(name: str, data: bytes, step: int) -> None:
    encoding, pack = PACKERS[name]
    assert decoded(encoding, pack(data), step) == data


@pytest.mark.parametrize("name", [*PACKED, "identity"])
@pytest.mark.parametrize("step", [100, 65_536])
def test_the_limit_is_exact(name: str, step: int) -> None:
    encoding, pack = PACKERS[name]
    assert decoded(encoding, pack(bytes(MB)), step, limit=MB) == bytes(MB)
    with pytest.raises(CodecError, match="more than is allowed"):
        decoded(encoding, pack(bytes(MB)), step, limit=MB - 1)


@pytest.mark.parametrize("name", PACKED)
def test_a_bomb_is_refused_before_it_takes_memory(name: str) -> None:
    encoding, pack = PACKERS[name]
    bomb = pack(bytes(60 * MB))
    decoder = BoundedDecoder(encoding, 4 * MB)
    tracemalloc.start()
    try:
        with pytest.raises(CodecError, match="more than is allowed"):
            decoder.feed(bomb)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 24 * MB


@pytest.mark.parametrize("name", PACKED)
def test_a_piece_is_there_as_soon_as_it_was_sent(name: str) -> None:
    """Streams flush after every event; a decoder that waits would hide the first token's time."""
    if name == "br":
        packer = brotli.Compressor()
        piece = packer.process(b"data: 1\n\n") + packer.flush()
    elif name == "zstd":
        writer = zstandard.ZstdCompressor().compressobj()
        piece = writer.compress(b"data: 1\n\n") + writer.flush(zstandard.COMPRESSOBJ_FLUSH_BLOCK)
    else:
        wbits = {"deflate": 15, "raw deflate": -15}.get(name, 31)
        deflater = zlib.compressobj(wbits=wbits)
        piece = deflater.compress(b"data: 1\n\n") + deflater.flush(zlib.Z_SYNC_FLUSH)
    assert BoundedDecoder(PACKERS[name][0], MB).feed(piece) == b"data: 1\n\n"


@pytest.mark.parametrize("name", PACKED)
@pytest.mark.parametrize("step", [1, 64, 77, MB])
@pytest.mark.parametrize("garbage", [b"x", b"garbage" * 30, None])
def test_what_goes_on_after_its_end_is_refused(name: str, step: int, garbage: bytes | None) -> None:
    """Else a second member would be dropped or read by how the chunks happen to be cut."""
    encoding, pack = PACKERS[name]
    with pytest.raises(CodecError):
        decoded(encoding, pack(TEXT) + (garbage or pack(b"more")), step)


@pytest.mark.parametrize("name", PACKED)
def test_what_is_cut_short_gives_what_there_is(name: str) -> None:
    encoding, pack = PACKERS[name]
    packed = pack(TEXT)
    assert TEXT.startswith(decoded(encoding, packed[: len(packed) // 2], 10))


@pytest.mark.parametrize("encoding", ["gzip", "x-gzip", "deflate", "br", "zstd"])
def test_garbage_is_refused(encoding: str) -> None:
    with pytest.raises(CodecError, match="not what its Content-Encoding says"):
        decoded(encoding, b'{"model": "limit-router/x"}' * 4, 1000)


@given(st.sampled_from(ENCODINGS), st.binary(max_size=200), st.integers(1, 200))
def test_any_bytes_decode_or_are_refused(encoding: str, data: bytes, step: int) -> None:
    try:
        out = decoded(encoding, data, step, limit=1000)
    except CodecError:
        return
    assert len(out) <= 1000


@given(st.sampled_from(PACKED), st.data())
def test_a_spoilt_body_decodes_or_is_refused(name: str, data: st.DataObject) -> None:
    encoding, pack = PACKERS[name]
    packed = bytearray(pack(TEXT))
    at = data.draw(st.integers(0, len(packed) - 1))
    packed[at] ^= data.draw(st.integers(1, 255))
    try:
        out = decoded(encoding, bytes(packed), data.draw(st.integers(1, 99)), limit=20_000)
    except CodecError:
        return
    assert len(out) <= 20_000


def test_a_window_larger_than_the_web_allows_is_refused() -> None:
    parameters = zstandard.ZstdCompressionParameters(window_log=25)
    packed = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
    body = packed.compress(bytes(70 * MB)) + packed.flush()
    with pytest.raises(CodecError, match="not what its Content-Encoding says"):
        decoded("zstd", body, 65_536)


@pytest.mark.parametrize("encoding", ["compress", "gzip, br", "gzip,gzip", "aes128gcm", "x" * 99])
def test_an_encoding_that_nobody_knows_is_named(encoding: str) -> None:
    with pytest.raises(UnsupportedError, match=repr(encoding[:40])):
        BoundedDecoder(encoding, MB)
