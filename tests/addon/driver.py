"""Drives an HTTP layer without a network: answers its commands, and keeps what it did."""

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from mitmproxy.connection import Client, Connection, ConnectionState, Server
from mitmproxy.http import HTTPFlow
from mitmproxy.options import Options
from mitmproxy.proxy import commands, events
from mitmproxy.proxy.context import Context
from mitmproxy.proxy.layers.http import HttpLayer, HTTPMode
from mitmproxy.proxy.mode_specs import ProxyMode

type Hook = Callable[[HTTPFlow], None]
HOOKS = ("requestheaders", "request", "responseheaders", "response", "error")


@dataclass
class Driver:
    """Feed it with what a client and a server do; read off what the layer does."""

    make: type[HttpLayer]
    options: Options
    hooks: Mapping[str, Hook] = field(default_factory=dict)
    """What addons do, by the hook's name."""
    refusals: list[str] = field(default_factory=list)
    """Errors of the next attempts to connect."""
    on_open: Callable[[], None] = lambda: None
    """What happens while a connection is made."""
    slow: bool = False
    """Whether a connection is made only when `opened` is called."""
    did: list[tuple[Any, ...]] = field(default_factory=list)
    flows: list[HTTPFlow] = field(default_factory=list)
    servers: list[Server] = field(default_factory=list)
    wire: list[tuple[Connection, bytes]] = field(default_factory=list)
    """What was sent, and to whom."""
    timers: list[commands.RequestWakeup] = field(default_factory=list)
    """That were asked for and have not run out."""
    opening: list[commands.OpenConnection] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.client = Client(
            peername=("127.0.0.1", 50_000),
            sockname=("127.0.0.1", 8080),
            timestamp_start=0.0,
            state=ConnectionState.OPEN,
            proxy_mode=ProxyMode.parse("regular"),
        )
        self.layer = self.make(Context(self.client, self.options), HTTPMode.regular)
        self._give(events.Start())

    @property
    def server(self) -> Server:
        return self.servers[-1]

    def client_sends(self, data: bytes) -> None:
        self._give(events.DataReceived(self.client, data))

    def server_sends(self, data: bytes, server: Server | None = None) -> None:
        """The latest one, unless another is named."""
        self._give(events.DataReceived(server or self.server, data))

    def client_closes(self) -> None:
        self.client.state &= ~ConnectionState.CAN_READ
        self._give(events.ConnectionClosed(self.client))

    def server_closes(self) -> None:
        self.server.state &= ~ConnectionState.CAN_READ
        self._give(events.ConnectionClosed(self.server))

    def time_passes(self) -> None:
        """All timers run out."""
        timers, self.timers = self.timers, []
        for timer in timers:
            self._give(events.Wakeup(timer))

    def opened(self) -> None:
        """The slow connection is made."""
        command = self.opening.pop()
        self._give(self._open(command, command.connection))

    def sent(self, who: str) -> bytes:
        """All that the layer has sent to the `client`, or to all of the `server`s."""
        return b"".join(it[2] for it in self.did if it[:2] == ("send", who))

    def sent_to(self, server: Server) -> bytes:
        return b"".join(data for to, data in self.wire if to is server)

    def hooked(self) -> list[str]:
        return [it[1] for it in self.did if it[0] == "hook"]

    def _give(self, event: events.Event) -> None:
        waiting = deque([event])
        while waiting:
            for command in self.layer.handle_event(waiting.popleft()):
                reply = self._do(command)
                if reply is not None:
                    waiting.append(reply)

    def _do(self, command: commands.Command) -> events.Event | None:
        match command:
            case commands.OpenConnection() if self.slow:
                self.opening.append(command)
            case commands.OpenConnection(connection=connection):
                return self._open(command, connection)
            case commands.RequestWakeup():
                self.timers.append(command)
            case commands.SendData(connection=connection, data=data):
                self.did.append(("send", self._name(connection), data))
                self.wire.append((connection, data))
            case commands.CloseConnection(connection=connection):
                connection.state = ConnectionState.CLOSED
                self.did.append(("close", self._name(connection)))
            case commands.StartHook():
                return self._hook(command)
            case commands.Log(message=message, level=level):
                self.did.append(("log", message, level))
            case _:
                raise AssertionError(command)
        return None

    def _open(self, command: commands.OpenConnection, connection: Server) -> events.Event:
        self.servers.append(connection)
        self.on_open()
        error = self.refusals.pop(0) if self.refusals else None
        self.did.append(("open", connection.address, connection.tls, error))
        connection.error = error
        if error is None:
            connection.state, connection.timestamp_start = ConnectionState.OPEN, 0.0
        return events.OpenConnectionCompleted(command, error)

    def _hook(self, command: commands.StartHook) -> events.Event | None:
        (flow,) = command.args()
        self.did.append(("hook", command.name))
        if flow not in self.flows:
            self.flows.append(flow)
        self.hooks.get(command.name, lambda _: None)(flow)
        return events.HookCompleted(command) if command.blocking else None

    def _name(self, connection: object) -> str:
        return "client" if connection is self.client else "server"
