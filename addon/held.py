"""An answer that is read to its end before it goes on, within bounds. Decides nothing."""

from mitmproxy.proxy.commands import RequestWakeup
from mitmproxy.proxy.layers.http._base import HttpEvent
from mitmproxy.proxy.layers.http._events import ResponseData, ResponseHeaders

from addon import translate
from core import HttpResponse

HELD_BYTES = 64 << 10
HELD_S = 2.0
"""What has not ended by then goes on as it comes: a refusal is short, and comes at once."""


class Held:
    """The events of one answer so far."""

    def __init__(self, head: ResponseHeaders) -> None:
        self.events: list[HttpEvent] = [head]
        self.timer = RequestWakeup(HELD_S)
        self._head = head.response
        self._body = bytearray()

    def take(self, event: HttpEvent) -> None:
        self.events.append(event)
        if isinstance(event, ResponseData):
            self._body += event.data

    @property
    def is_too_long(self) -> bool:
        return len(self._body) > HELD_BYTES

    @property
    def answer(self) -> HttpResponse:
        headers = translate.headers_of(self._head)
        return HttpResponse(self._head.status_code, headers, bytes(self._body))
