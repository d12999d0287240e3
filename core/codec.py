"""Content-Encoding undone, piece by piece and bounded: a bomb ends in an error, not in memory."""

import zlib
from typing import Any, Protocol

import brotli
import zstandard

STEP = 1 << 20
"""How much a decoder may write out at a time."""
ZLIB_HEADER = 2


class CodecError(ValueError):
    """The bytes are not what their Content-Encoding says, or decode to too much."""


class UnsupportedError(CodecError):
    """Nobody here knows this Content-Encoding."""


class _Decoder(Protocol):
    def feed(self, data: bytes, room: int) -> bytes:
        """At least one byte more than `room` where there is that much."""


class _Identity:
    def feed(self, data: bytes, _room: int) -> bytes:
        return data


class _Gzip:
    def __init__(self) -> None:
        self._inner = zlib.decompressobj(31)

    def feed(self, data: bytes, room: int) -> bytes:
        out = self._inner.decompress(data, room + 1)
        _check_end(self._inner.unused_data)
        return out


class _Deflate:
    """RFC 9110 means zlib by "deflate"; some servers send the bare format."""

    def __init__(self) -> None:
        self._head = b""
        self._inner: Any = None

    def feed(self, data: bytes, room: int) -> bytes:
        if self._inner is None:
            self._head += data
            if len(self._head) < ZLIB_HEADER:
                return b""
            data = self._head
            zlib_like = data[0] & 15 == zlib.DEFLATED and int.from_bytes(data[:2]) % 31 == 0
            self._inner = zlib.decompressobj(15 if zlib_like else -15)
        out: bytes = self._inner.decompress(data, room + 1)
        _check_end(self._inner.unused_data)
        return out


class _Brotli:
    def __init__(self) -> None:
        self._inner = brotli.Decompressor()

    def feed(self, data: bytes, room: int) -> bytes:
        out = bytearray(self._inner.process(data, output_buffer_limit=STEP))
        while len(out) <= room and not self._inner.can_accept_more_data():
            out += self._inner.process(b"", output_buffer_limit=STEP)
        return bytes(out)


class _Zstd:
    def __init__(self) -> None:
        # Windows above 8 MB are outside what RFC 9659 lets a Content-Encoding use.
        self._inner = zstandard.ZstdDecompressor(max_window_size=1 << 23).decompressobj()

    def feed(self, data: bytes, room: int) -> bytes:
        out = bytearray()
        # A zstd block makes at most 128 KB, and costs at least 3 bytes: small bites bound the rest.
        for at in range(0, len(data), 64):
            out += self._inner.decompress(data[at : at + 64])
            _check_end(self._inner.unused_data)
            if len(out) > room:
                break
        return bytes(out)


def _check_end(rest: bytes) -> None:
    """Bytes after the end would be dropped without a word, or not, by how the chunks were cut."""
    if rest:
        raise CodecError("the body goes on after its Content-Encoding ends")


def _decoder(encoding: str) -> _Decoder:
    match encoding:
        case "" | "identity":
            return _Identity()
        case "gzip" | "x-gzip":
            return _Gzip()
        case "deflate":
            return _Deflate()
        case "br":
            return _Brotli()
        case "zstd":
            return _Zstd()
        case _:
            raise UnsupportedError(f"the Content-Encoding {encoding[:40]!r} is not supported")


class BoundedDecoder:
    """Undoes one Content-Encoding (a list of them is not supported), up to `limit` bytes in all."""

    def __init__(self, encoding: str | None, limit: int) -> None:
        """Raises UnsupportedError."""
        self._inner = _decoder((encoding or "").strip().lower())
        self._room = limit

    def feed(self, data: bytes) -> bytes:
        """Raises CodecError, after which the decoder is of no use."""
        try:
            out = self._inner.feed(data, self._room)
        except (zlib.error, brotli.error, zstandard.ZstdError):
            raise CodecError("the body is not what its Content-Encoding says") from None
        self._room -= len(out)
        if self._room < 0:
            raise CodecError("the body decodes to more than is allowed")
        return out
