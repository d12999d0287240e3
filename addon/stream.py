"""The HTTP stream layer: the credential joins a routed request here, on its way out.

A request may be sent more than once before its client gets an answer: each attempt is built anew
from what the client sent, and of those that came to nothing no addon hears.
It leans on mitmproxy's layer classes, which are no documented API: hence the pin on mitmproxy.
Streams that are not routed behave exactly as mitmproxy's own.
"""

import logging
import traceback
from collections.abc import Iterator
from typing import Any

from mitmproxy import http
from mitmproxy.addons import clientplayback
from mitmproxy.connection import Connection, Server
from mitmproxy.options import Options
from mitmproxy.proxy import commands, events, layer
from mitmproxy.proxy.layers.http import (
    GetHttpConnection,
    GetHttpConnectionCompleted,
    HttpLayer,
    HttpStream,
    SendHttp,
)
from mitmproxy.proxy.layers.http._events import (
    ErrorCode,
    RequestData,
    RequestEndOfMessage,
    RequestHeaders,
    RequestProtocolError,
    ResponseData,
    ResponseEndOfMessage,
    ResponseHeaders,
    ResponseProtocolError,
    ResponseTrailers,
)

from addon.flows import FLOWS, Routed
from addon.held import Held
from addon.show import show
from core import CLIENT_CREDENTIALS, may_match

log = logging.getLogger(__name__)

type Commands = layer.CommandGenerator[None]


class Unstreamed:
    """mitmproxy's options, but for the one that would send a body on before it is whole."""

    def __init__(self, options: Options) -> None:
        self._options = options

    def __getattr__(self, name: str) -> Any:
        return None if name == "stream_large_bodies" else getattr(self._options, name)


class RoutedStream(HttpStream):
    """One request, the attempts at it, and the answer."""

    sent_upstream = False
    spent: tuple[Connection, ...] = ()
    """The connections of earlier attempts, which know this stream by those."""
    held: Held | None = None

    @property
    def routed(self) -> Routed | None:
        flow = getattr(self, "flow", None)
        routed = None if flow is None else FLOWS.get(flow.id)
        return routed if routed is not None and routed.live else None

    def _handle_event(self, event: events.Event) -> Commands:
        try:
            inner = self._attempted(event)
            command = next(inner, None)
            while command is not None:
                outgoing = self._outgoing(command)
                if outgoing is None:
                    inner.close()
                    yield from self._abort("the request was sent elsewhere than it was routed to")
                    return
                reply = yield outgoing
                try:
                    command = inner.send(reply)
                except StopIteration:
                    return
        except Exception as error:
            if self.routed is None:
                raise
            frames = "".join(traceback.format_tb(error.__traceback__))
            log.error("limit-router: %s in the stream layer\n%s", type(error).__name__, frames)  # noqa: TRY400 - the message may quote the request
            yield from self._abort("an error inside limit-router ended this request")

    def _attempted(self, event: events.Event) -> Commands:
        """mitmproxy's handling, but for an answer after which the request may be sent again."""
        held = self.held
        match event:
            case events.Wakeup():
                # One that comes late is of no interest any more.
                if held is not None and event.command is held.timer:
                    yield from self._release(held)
            case ResponseHeaders() if self._may_repeat(event):
                self.held = Held(event)
                yield self.held.timer
            case ResponseData() | ResponseTrailers() if held is not None:
                held.take(event)
                if held.is_too_long:
                    yield from self._release(held)
            case ResponseEndOfMessage() if held is not None:
                held.take(event)
                yield from self._judge(held)
            case _:
                if held is not None and isinstance(event, ResponseProtocolError):
                    yield from self._release(held)
                self.held = None
                yield from super()._handle_event(event)

    def _may_repeat(self, event: ResponseHeaders) -> bool:
        routed = self.routed
        status = event.response.status_code
        return routed is not None and not event.end_stream and routed.forward.may_repeat(status)

    def _judge(self, held: Held) -> Commands:
        """The answer is whole: it goes on, or the request is sent again in its place."""
        routed, engine = self.routed, FLOWS.engine
        if (yield from self.check_killed(True)):
            self.held = None
            return
        again = None
        if routed is not None and engine is not None and FLOWS.unsafe is None:
            again = engine.repeat(routed.forward, routed.original, held.answer)
        if routed is None or again is None:
            yield from self._release(held)
            return
        self.held = None
        routed.forward = again
        show(self.flow, again)
        yield from self._resend()

    def _release(self, held: Held) -> Commands:
        """The answer goes on as if it had not been held."""
        self.held = None
        for event in held.events:
            yield from super()._handle_event(event)

    def _resend(self) -> Commands:
        """Send the flow's request once more. Fresh events: HTTP/2 writes its own ids into them."""
        used = self.context.server
        self.spent = (*self.spent, used)
        # HTTP/1 closes the connection by it (mitmproxy opens five at most to one address). HTTP/2
        # ends the stream, of which the provider need not have read all: its reset would end ours.
        over = RequestProtocolError(self.stream_id, "sent again", ErrorCode.CANCEL)
        yield SendHttp(over, used)
        if not (yield from self.make_server_connection()):
            return
        if (yield from self.check_killed(True)):
            return
        request, content = self.flow.request, self.flow.request.raw_content
        server = self.context.server
        yield SendHttp(RequestHeaders(self.stream_id, request, not content), server)
        if content:
            yield SendHttp(RequestData(self.stream_id, content), server)
        yield SendHttp(RequestEndOfMessage(self.stream_id), server)

    def check_body_size(self, request: bool) -> layer.CommandGenerator[bool]:  # noqa: FBT001
        if not request or not (self._may_match() or self.flow.response):
            return (yield from super().check_body_size(request))
        options = self.context.options
        self.context.options = Unstreamed(options)  # type: ignore[assignment]
        try:
            return (yield from super().check_body_size(request))
        finally:
            self.context.options = options

    def start_request_stream(self) -> Commands:
        if self._may_match():
            yield from self._abort("an addon streams this request, so it cannot be routed")
            self.client_state = self.state_errored
        else:
            yield from super().start_request_stream()

    def _may_match(self) -> bool:
        request = self.flow.request
        return may_match(request.method, request.host, request.path)

    def _outgoing(self, command: commands.Command) -> commands.Command | None:
        """The command as it goes out: request headers of a routed flow get the credential.

        None where they would go elsewhere than the credential may.
        """
        routed = self.routed
        if routed is None:
            return command
        match command:
            case GetHttpConnection():
                # Not even a connection is opened to where it may not go.
                return command if _bound(routed, self.flow.request, command) else None
            case SendHttp(event=RequestHeaders() as event, connection=connection):
                if not _bound(routed, event.request, connection):
                    return None
                self.sent_upstream = True
                request = _authorized(routed, event.request)
                headers = RequestHeaders(self.stream_id, request, event.end_stream)
                return SendHttp(headers, connection)
        return command

    def _abort(self, message: str) -> Commands:
        if self.sent_upstream:
            gone = RequestProtocolError(self.stream_id, message, ErrorCode.CLIENT_DISCONNECTED)
            yield SendHttp(gone, self.context.server)
        yield from self.handle_protocol_error(
            ResponseProtocolError(self.stream_id, message, ErrorCode.GENERIC_SERVER_ERROR)
        )


class RoutedHttpLayer(HttpLayer):
    """mitmproxy's HTTP layer, with our streams in it."""

    def make_stream(self, stream_id: int) -> Commands:
        stream = RoutedStream(self.context.fork(), stream_id)
        self.streams[stream_id] = stream
        yield from self.event_to_child(stream, events.Start())

    def get_connection(self, event: GetHttpConnection, *, reuse: bool = True) -> Commands:
        stream = self.command_sources.get(event)
        if isinstance(stream, RoutedStream) and stream.routed is not None:
            # A failed connection would be handed out for the life of the client's connection.
            for failed in list(self._failed(event)):
                del self.connections[failed]
            if stream.spent:
                reuse = False
                if (fresh := self._fresh(event, stream)) is not None:
                    self.command_sources.pop(event)
                    found = GetHttpConnectionCompleted(event, (fresh, None))
                    yield from self.event_to_child(stream, found)
                    return
        yield from super().get_connection(event, reuse=reuse)

    def _failed(self, event: GetHttpConnection) -> Iterator[Server]:
        for connection in self.connections:
            if (
                isinstance(connection, Server)
                and connection.error
                and connection not in self.waiting_for_establishment
                and event.connection_spec_matches(connection)
            ):
                yield connection

    def _fresh(self, event: GetHttpConnection, stream: RoutedStream) -> Connection | None:
        """A connection that this stream has not used yet.

        Only HTTP/2's: HTTP/1's may be waited for by the answer to another stream.
        """
        return next(
            (
                connection
                for connection in self.connections
                if event.connection_spec_matches(connection)
                and connection.connected
                and connection.alpn == b"h2"
                and connection not in stream.spent
                and connection not in self.waiting_for_establishment
            ),
            None,
        )


class RoutedReplay(clientplayback.ReplayHandler):
    """Client replay builds its HTTP layer itself and asks no addon for one."""

    def __init__(self, flow: http.HTTPFlow, options: Options) -> None:
        super().__init__(flow, options)
        plain = self.layer
        self.layer = substitute(plain)
        self.layer.connections.update(plain.connections)


class StreamLayers:
    """Puts our HTTP layer in place of mitmproxy's. Added last, so that its hook runs last."""

    name = "limit_router_streams"

    def __init__(self) -> None:
        self._replay = clientplayback.ReplayHandler

    def load(self, _loader: object) -> None:
        clientplayback.ReplayHandler = RoutedReplay  # type: ignore[misc]

    def done(self) -> None:
        clientplayback.ReplayHandler = self._replay  # type: ignore[misc]

    def next_layer(self, nextlayer: layer.NextLayer) -> None:
        # Reverse and TLS-proxy modes nest the HTTP layer under others.
        parent: Any = None
        found: Any = nextlayer.layer
        while found is not None and type(found) is not HttpLayer:
            parent, found = found, getattr(found, "child_layer", None)
        if found is None:
            return
        if parent is None:
            nextlayer.layer = substitute(found)
        else:
            parent.child_layer = substitute(found)


def substitute(plain: HttpLayer) -> RoutedHttpLayer:
    """Our layer in the place of a fresh one of mitmproxy's."""
    stack = plain.context.layers
    ours = RoutedHttpLayer(plain.context, plain.mode)
    stack.remove(ours)
    stack[stack.index(plain)] = ours
    return ours


def _bound(routed: Routed, request: http.Request, connection: Any) -> bool:
    """Whether the request goes exactly where the credential may, on a connection to there."""
    secure = request.scheme == "https"
    direct = secure or not connection.via
    return (
        routed.forward.allows(request.scheme, request.host, request.port, request.path)
        and connection.address == (request.host, request.port)
        and connection.tls == secure
        # In upstream mode a plain request would show its credential to the upstream proxy.
        and direct
    )


def _authorized(routed: Routed, request: http.Request) -> http.Request:
    copy = request.copy()
    for name in CLIENT_CREDENTIALS:
        copy.headers.pop(name, None)
    for name, value in routed.forward.authorization:
        copy.headers[name] = value
    return copy
