"""The one place that sends requests of our own: usage, model lists, refreshes; never inference.

A refresh has its token in the body, which is shown in no exception and no log.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Self

import httpx

from core.errors import UsageError
from core.model import Headers, HttpRequest, HttpResponse
from core.version import __version__

type Send = Callable[[HttpRequest, Headers], Awaitable[HttpResponse]]
"""Sends a request with these credential fields. Raises UsageError where no answer came."""

TIMEOUT_S = 10.0
LARGEST_ANSWER = 1 << 20
USER_AGENT = f"limit-router/{__version__}"


class Transport:
    """An HTTP client that follows no redirect and heeds no proxy variable.

    With HTTPS_PROXY exported it would otherwise go through ourselves.
    """

    def __init__(self, timeout_s: float = TIMEOUT_S) -> None:
        # At mitmproxy's log level httpx tells of every request, httpcore of every header.
        for name in ("httpx", "httpcore"):
            logging.getLogger(name).setLevel(logging.WARNING)
        self._timeout_s = timeout_s
        self._client = httpx.AsyncClient(
            trust_env=False,
            follow_redirects=False,
            timeout=timeout_s,
            headers={"user-agent": USER_AGENT, "accept-encoding": "identity"},
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._client.aclose()

    async def send(self, request: HttpRequest, credential: Headers) -> HttpResponse:
        headers = [*request.headers, *credential]
        self._client.cookies.clear()
        try:
            url = httpx.URL(
                scheme=request.scheme,
                host=request.host,
                port=request.port,
                raw_path=request.path.encode("ascii", "replace"),
            )
            # httpx measures each read: an answer that drips in would never time out.
            async with (
                asyncio.timeout(self._timeout_s),
                self._client.stream(
                    request.method, url, headers=headers, content=request.body or None
                ) as response,
            ):
                body = bytearray()
                async for chunk in response.aiter_bytes():
                    body += chunk
                    if len(body) > LARGEST_ANSWER:
                        raise UsageError("the answer is larger than 1 MB")
                fields = tuple(response.headers.multi_items())
                return HttpResponse(response.status_code, fields, bytes(body))
        except (TimeoutError, httpx.TimeoutException):
            raise UsageError(
                f"{request.host} did not answer within {self._timeout_s:g} s"
            ) from None
        except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
            # The class alone: a message may quote a header.
            raise UsageError(
                f"{request.host} could not be asked ({type(error).__name__})"
            ) from None
