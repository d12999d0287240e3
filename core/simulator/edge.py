"""The HTTP side: tornado in front of one provider. It records, compresses, waits and cuts."""

import asyncio
import zlib
from contextlib import suppress
from typing import Any, Protocol, override
from urllib.parse import parse_qsl

from tornado.http1connection import HTTP1Connection
from tornado.iostream import StreamClosedError
from tornado.web import RequestHandler

from core.simulator.exchange import Answer, Fault, Kind, Received, Recorded
from core.simulator.world import World


class Pack(Protocol):
    """The compression of one answer, as zlib has it."""

    def compress(self, data: bytes, /) -> bytes: ...

    def flush(self, mode: int = zlib.Z_FINISH, /) -> bytes: ...


_NO_FAULT = Fault()


class Host(Protocol):
    """A provider's host."""

    provider: str
    hosts: set[str]

    def kind(self, received: Received) -> Kind: ...

    def answer(self, received: Received) -> Answer: ...


class Waiting:
    """The requests in hand. Lives in the servers' thread alone."""

    def __init__(self) -> None:
        self.gates: set[asyncio.Event] = set()
        self.tasks: set[asyncio.Task[Any]] = set()

    def release(self) -> None:
        for gate in self.gates:
            gate.set()


class Door(RequestHandler):
    """Every request to a host comes in here."""

    SUPPORTED_METHODS = ("GET", "HEAD", "POST", "DELETE", "PATCH", "PUT", "OPTIONS")

    @override
    def initialize(self, host: Host, world: World, waiting: Waiting) -> None:
        self.host = host
        self.world = world
        self.waiting = waiting
        self.gate = asyncio.Event()

    @override
    async def prepare(self) -> None:
        """Answers whatever the method is: a host knows its own."""
        task = asyncio.current_task()
        assert task is not None
        self.waiting.tasks.add(task)
        self.waiting.gates.add(self.gate)
        try:
            await self._serve()
        except StreamClosedError:
            self._finished = True  # the client has gone; what it was sent is on record
        finally:
            self.waiting.gates.discard(self.gate)
            self.waiting.tasks.discard(task)

    @override
    def on_connection_close(self) -> None:
        self.gate.set()

    @override
    def compute_etag(self) -> None:
        return None

    async def _serve(self) -> None:
        request = self.request
        headers = tuple(request.headers.get_all())
        query = dict(parse_qsl(request.query, keep_blank_values=True))
        received = Received(request.method or "", request.path, query, headers, request.body)
        place = self.world.record(
            Recorded(
                provider=self.host.provider,
                kind=self.host.kind(received),
                at=self.world.clock(),
                method=received.method,
                path=request.uri or "",
                headers=headers,
                body=b"" if self.world.simple else received.body,
                status=0,
                response=b"",
                http_version=request.version,
            )
        )
        pack = zlib.compressobj(wbits=31) if _accepts_gzip(received) else None
        await self._send(self.host.answer(received), place, pack)

    async def _send(self, answer: Answer, place: int, pack: Pack | None) -> None:
        fault = answer.fault or _NO_FAULT
        if fault.delay_s:
            await self._wait(fault.delay_s)
        if fault.cut_after_events is not None and fault.cut_after_events < 0:
            self._cut()
            return
        self._head(answer, place, pack)
        if answer.stream:
            await self.flush()
        if await self._chunks(answer, fault, place, pack):
            if pack is not None:
                self.write(pack.flush())
            await self.finish()
        else:
            self._cut()

    def _head(self, answer: Answer, place: int, pack: Pack | None) -> None:
        self.set_status(answer.status)
        for name in ("Server", "Content-Type"):
            self.clear_header(name)
        for name, value in answer.headers:
            self.add_header(name, value)
        self.set_header("vary", "accept-encoding")
        if pack is not None:
            self.set_header("content-encoding", "gzip")
        self.world.answered(place, answer.status, b"")

    async def _chunks(self, answer: Answer, fault: Fault, place: int, pack: Pack | None) -> bool:
        """Writes them. False where the fault cuts them short."""
        written = b""
        for count, chunk in enumerate((*answer.chunks, None)):
            if fault.hold_after_events == count:
                await self._wait(None)
            if fault.cut_after_events == count:
                return False
            if chunk is not None:
                written += chunk
                self.world.answered(place, answer.status, b"" if self.world.simple else written)
                self.write(_packed(pack, chunk))
                if answer.stream:
                    await self.flush()
        return True

    async def _wait(self, seconds: float | None) -> None:
        """Until it is released, or the client goes, or the time is over."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self.gate.wait(), seconds)

    def _cut(self) -> None:
        connection = self.request.connection
        assert isinstance(connection, HTTP1Connection)
        connection.stream.close()
        self._finished = True


def _packed(pack: Pack | None, chunk: bytes) -> bytes:
    return chunk if pack is None else pack.compress(chunk) + pack.flush(zlib.Z_SYNC_FLUSH)


def _accepts_gzip(received: Received) -> bool:
    for offer in received.listed("accept-encoding"):
        coding, _, quality = offer.lower().partition(";")
        if coding.strip() in ("gzip", "*"):
            return quality.strip() not in ("q=0", "q=0.0", "q=0.00", "q=0.000")
    return False
