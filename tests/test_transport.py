import asyncio
import logging
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from core.errors import UsageError
from core.model import Headers, HttpRequest, HttpResponse
from core.transport import LARGEST_ANSWER, TIMEOUT_S, USER_AGENT, Transport

TOKEN = "sk-ant-SECRET-TOKEN"
CREDENTIAL: Headers = (("authorization", f"Bearer {TOKEN}"),)

type Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class Server:
    """Speaks just enough HTTP: keeps what it was sent, and leaves the answer to a handler."""

    def __init__(self, handler: Handler) -> None:
        self.handler = handler
        self.received: list[tuple[str, dict[str, str]]] = []
        self.port = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
            fields = dict(line.split(": ", 1) for line in head[1:] if line)
            self.received.append((head[0], {name.lower(): it for name, it in fields.items()}))
            await self.handler(reader, writer)
            await writer.drain()
        except ConnectionError:
            pass
        finally:
            writer.close()

    @asynccontextmanager
    async def running(self) -> AsyncIterator["Server"]:
        server = await asyncio.start_server(self.serve, "127.0.0.1", 0)
        async with server:
            self.port = server.sockets[0].getsockname()[1]
            yield self
            server.close()


def answering(data: bytes) -> Handler:
    async def handler(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(data)

    return handler


async def silent(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
    assert await reader.read() == b""  # until the client has gone


async def dripping(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 100000\r\n\r\n")
    while not writer.is_closing():
        writer.write(b" ")
        await writer.drain()
        await asyncio.sleep(0.01)


async def huge(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % (50 << 20))
    for _ in range(50):
        writer.write(b" " * (1 << 20))
        await writer.drain()
    raise AssertionError("all of it was taken")


async def cut(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n" + TOKEN.encode())


def reply(body: bytes, status: str = "200 OK", *fields: str) -> bytes:
    head = [f"HTTP/1.1 {status}", f"content-length: {len(body)}", *fields]
    return "\r\n".join(head).encode() + b"\r\n\r\n" + body


def ask(handler: Handler, **options: Any) -> tuple[HttpResponse, Server]:
    async def main() -> tuple[HttpResponse, Server]:
        async with Server(handler).running() as server, Transport(**options) as transport:
            question = HttpRequest(
                "GET", "http", "127.0.0.1", server.port, "/u?a=b%20c", (("Accept", "text/x"),)
            )
            async with asyncio.timeout(5):
                return await transport.send(question, CREDENTIAL), server

    return asyncio.run(main())


def refused(handler: Handler, **options: Any) -> str:
    with pytest.raises(UsageError) as caught:
        ask(handler, **options)
    return sentence(caught.value)


def sentence(error: UsageError) -> str:
    assert error.__cause__ is None
    assert TOKEN not in f"{error!s}{error!r}{error.args}"
    assert error.__suppress_context__ or error.__context__ is None
    return str(error)


def test_an_answer_and_what_was_sent_for_it() -> None:
    response, server = ask(answering(reply(b'{"a": 1}', "201 Created", "X-A: 1", "x-a: 2")))
    fields = (("content-length", "8"), ("x-a", "1"), ("x-a", "2"))
    names = tuple((name.lower(), value) for name, value in response.headers)
    assert (response.status, names, response.body) == (201, fields, b'{"a": 1}')
    [(line, headers)] = server.received
    assert line == "GET /u?a=b%20c HTTP/1.1"
    assert headers["authorization"] == f"Bearer {TOKEN}"
    assert headers["accept"] == "text/x"
    assert headers["host"] == f"127.0.0.1:{server.port}"


def test_we_say_who_we_are() -> None:
    _, server = ask(answering(reply(b"")))
    assert server.received[0][1]["user-agent"] == USER_AGENT
    assert USER_AGENT.startswith("limit-router/")


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_an_answer(status: int) -> None:
    moved = reply(b"", f"{status} Moved", "location: /elsewhere")
    response, server = ask(answering(moved))
    assert (response.status, len(server.received)) == (status, 1)


def test_an_error_is_an_answer() -> None:
    response, _ = ask(answering(reply(b"no", "503 Unavailable")))
    assert (response.status, response.body) == (503, b"no")


def test_no_proxy_variable_is_heeded(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        proxy = f"http://127.0.0.1:{listening.getsockname()[1]}"
        for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy"):
            monkeypatch.setenv(name, proxy)
        monkeypatch.delenv("NO_PROXY", raising=False)
        listening.setblocking(False)
        response, server = ask(answering(reply(b"straight")))
        with pytest.raises(BlockingIOError):
            listening.accept()
    assert (response.body, len(server.received)) == (b"straight", 1)


def test_a_megabyte_is_taken() -> None:
    response, _ = ask(answering(reply(b" " * LARGEST_ANSWER)))
    assert len(response.body) == LARGEST_ANSWER == 1 << 20


def test_more_is_not_taken() -> None:
    assert refused(huge) == "the answer is larger than 1 MB"


@pytest.mark.parametrize("handler", [silent, dripping])
def test_an_answer_that_does_not_come_in_time(handler: Handler) -> None:
    assert refused(handler, timeout_s=0.2) == "127.0.0.1 did not answer within 0.2 s"


def test_nobody_is_waited_for_longer_than_ten_seconds() -> None:
    assert TIMEOUT_S == 10.0


@pytest.mark.parametrize(
    ("handler", "says"),
    [
        (cut, "127.0.0.1 could not be asked (RemoteProtocolError)"),
        (answering(b""), "127.0.0.1 could not be asked (RemoteProtocolError)"),
        (
            answering(TOKEN.encode() + b"\r\n\r\n"),
            "127.0.0.1 could not be asked (RemoteProtocolError)",
        ),
        (
            answering(reply(b"not gzip", "200 OK", "content-encoding: gzip")),
            "127.0.0.1 could not be asked (DecodingError)",
        ),
    ],
    ids=["cut", "empty", "no HTTP", "no gzip"],
)
def test_an_answer_that_is_none(handler: Handler, says: str) -> None:
    assert refused(handler) == says


def test_a_connection_that_is_refused() -> None:
    async def main() -> None:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
        async with Transport() as transport:
            await transport.send(HttpRequest("GET", "http", "127.0.0.1", port, "/"), CREDENTIAL)

    with pytest.raises(UsageError) as caught:
        asyncio.run(main())
    assert sentence(caught.value) == "127.0.0.1 could not be asked (ConnectError)"


def test_nothing_of_a_request_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        ask(answering(reply(b"")))
    assert [it for it in caplog.messages if "127.0.0.1" in it or TOKEN in it] == []


def test_no_cookie_is_kept_from_one_question_to_the_next() -> None:
    async def main() -> list[dict[str, str]]:
        handler = answering(reply(b"{}", "200 OK", "set-cookie: tracked=1; path=/"))
        async with Server(handler).running() as server, Transport() as transport:
            question = HttpRequest("GET", "http", "127.0.0.1", server.port, "/")
            for _ in range(2):
                await transport.send(question, ())
            return [headers for _, headers in server.received]

    assert ["cookie" in headers for headers in asyncio.run(main())] == [False, False]


def test_nothing_compressed_is_asked_for() -> None:
    _, server = ask(answering(reply(b"{}")))
    assert server.received[0][1]["accept-encoding"] == "identity"


@pytest.mark.parametrize("host", ["999.999.1.1", "xn--", "a" * 300])
def test_a_host_that_is_none_is_an_error_like_any_other(host: str) -> None:
    async def main() -> None:
        async with Transport() as transport:
            await transport.send(HttpRequest("GET", "https", host, 443, "/"), CREDENTIAL)

    with pytest.raises(UsageError) as caught:
        asyncio.run(main())
    assert sentence(caught.value).startswith(f"{host} could not be asked (")


def posted(handler: Handler, body: bytes) -> tuple[HttpResponse, Server, bytes]:
    """What was answered to a body, and what the server has read of it."""
    read: list[bytes] = []

    async def reading(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        read.append(await reader.readexactly(len(body)))
        await handler(reader, writer)

    async def main() -> tuple[HttpResponse, Server]:
        async with Server(reading).running() as server, Transport() as transport:
            fields = (("content-type", "application/json"),)
            question = HttpRequest("POST", "http", "127.0.0.1", server.port, "/t", fields, body)
            async with asyncio.timeout(5):
                return await transport.send(question, ()), server

    answer, server = asyncio.run(main())
    return answer, server, b"".join(read)


def test_a_body_is_sent_as_it_is_and_with_no_credential_beside_it() -> None:
    answer, server, read = posted(answering(reply(b"{}")), TOKEN.encode())
    assert (answer.status, read) == (200, TOKEN.encode())
    [(line, headers)] = server.received
    assert line == "POST /t HTTP/1.1"
    assert headers["content-type"] == "application/json"
    assert headers["content-length"] == str(len(TOKEN))
    assert TOKEN not in str(headers)
    assert "authorization" not in headers


@pytest.mark.parametrize("status", ["307 Temporary Redirect", "308 Permanent Redirect"])
def test_a_body_follows_no_redirect(status: str) -> None:
    elsewhere = "location: http://127.0.0.1:9/elsewhere"
    answer, server, _ = posted(answering(reply(b"", status, elsewhere)), TOKEN.encode())
    assert (answer.status, len(server.received)) == (int(status[:3]), 1)


@pytest.mark.parametrize("handler", [cut, huge])
def test_a_body_is_in_no_error_and_no_log(
    handler: Handler, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    with pytest.raises(UsageError) as caught:
        posted(handler, TOKEN.encode())
    assert sentence(caught.value)
    assert TOKEN not in caplog.text
