"""The simulator: four hosts on loopback, in a thread of their own."""

import asyncio
import json
import socket
import time
from collections.abc import Callable
from threading import Event, Thread
from types import TracebackType
from typing import Any, Self

from tornado.httpserver import HTTPServer
from tornado.web import Application

from core.simulator.anthropic import Anthropic
from core.simulator.copilot import Copilot, GitHub
from core.simulator.edge import Door, Host, Waiting
from core.simulator.exchange import Fault, Json, Recorded
from core.simulator.scenario import SCENARIOS, Scenario
from core.simulator.tokens import Tokens
from core.simulator.world import ANTHROPIC, COPILOT, World

_ADDRESS = "127.0.0.1"
_BACKLOG = 128
_MAX_BODY = 256 * 1024 * 1024
_GRACE_S = 1.0
_YEAR_S = 365 * 86_400
_MODELS = {
    "claude-sonnet-4-5": "Claude Sonnet 4.5 (Auto-Route)",
    "claude-opus-4-5": "Claude Opus 4.5 (Auto-Route)",
}


class Simulator:
    """Simulated providers. Use it as a context manager, or call `start` and `stop`.

    `port` is Anthropic's; Copilot, GitHub and the tokens take those after it. 0 takes free ones.
    `simple` skips the checks of a request's body and keeps no bodies: for benchmarks.
    """

    def __init__(
        self,
        scenario: Scenario | str = "balanced",
        *,
        port: int = 0,
        clock: Callable[[], float] = time.time,  # noqa: TID251 - the simulator is exempt
        simple: bool = False,
        percent_per_request: float = 0.0,
    ) -> None:
        self.scenario = SCENARIOS[scenario] if isinstance(scenario, str) else scenario
        self.world = World(self.scenario, clock, simple=simple, step=percent_per_request)
        self._hosts: tuple[Host, ...] = (
            Anthropic(self.world),
            Copilot(self.world),
            GitHub(self.world),
            Tokens(self.world),
        )
        self._port = port
        self._urls: list[str] = []
        self._waiting = Waiting()
        self._up = Event()
        self._problem: OSError | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopping: asyncio.Event | None = None
        self._thread = Thread(target=self._work, name="simulator", daemon=True)

    def start(self) -> None:
        """Returns when all hosts listen. Raises OSError where a port is taken."""
        self._thread.start()
        self._up.wait()
        if self._problem is not None:
            self._thread.join()
            raise self._problem

    def stop(self) -> None:
        """Lets go of what is held, gives it a moment to end, and closes everything."""
        if self._loop is None or self._stopping is None or not self._thread.is_alive():
            return
        self._loop.call_soon_threadsafe(self._stopping.set)
        self._thread.join()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    @property
    def anthropic_url(self) -> str:
        return self._urls[0]

    @property
    def copilot_url(self) -> str:
        return self._urls[1]

    @property
    def github_api_url(self) -> str:
        return self._urls[2]

    def token_url(self, provider: str) -> str:
        """Where its sign-in is renewed: Anthropic's or ChatGPT's."""
        path = "/v1/oauth/token" if provider == ANTHROPIC else "/oauth/token"
        return f"{self._urls[3]}{path}"

    @property
    def refresh_tokens(self) -> dict[str, str]:
        """The refresh tokens that work now, by provider."""
        return self.world.refresh_tokens

    @property
    def tokens(self) -> dict[str, str]:
        """The credentials that are accepted: by provider, and `anthropic-api-key`."""
        return self.world.tokens

    @property
    def usage_enabled(self) -> dict[str, bool]:
        """By provider; off, its usage endpoint refuses. Can be set."""
        return self.world.usage_enabled

    @property
    def limit_headers_enabled(self) -> dict[str, bool]:
        """By provider; off, its answers say nothing of its windows. Can be set."""
        return self.world.limit_headers_enabled

    @property
    def copilot_models(self) -> list[Json]:
        """Copilot's list. Can be edited: what it says is what is served."""
        return self.world.copilot_models

    @property
    def requests(self) -> list[Recorded]:
        """All that was received so far, oldest first."""
        return self.world.requests

    def served(self, provider: str | None = None) -> list[Recorded]:
        """The inference requests that were answered with 200."""
        return [
            it
            for it in self.requests
            if it.kind == "inference" and it.status == 200 and provider in (None, it.provider)  # noqa: PLR2004
        ]

    def windows(self, provider: str) -> dict[str, tuple[float, float]]:
        """The truth: used percent and reset (epoch seconds) by name."""
        return {it.name: (it.used_percent, it.resets_at) for it in self.world.meters(provider)}

    def inject(self, fault: Fault) -> None:
        """Queues a fault. A request that would be refused anyway does not use it up."""
        self.world.inject(fault)

    def release(self) -> None:
        """Lets go of the requests that have been received and are held or delayed by now."""
        assert self._loop is not None
        self._loop.call_soon_threadsafe(self._waiting.release)

    def config(self) -> dict[str, Any]:
        """The router's configuration for these hosts."""
        return {
            "providers": {
                ANTHROPIC: {
                    "oauth": True,
                    "base_url": self.anthropic_url,
                    "usage_url": f"{self.anthropic_url}/api/oauth/usage",
                    "token_url": self.token_url(ANTHROPIC),
                },
                COPILOT: {
                    "base_url": self.copilot_url,
                    "usage_url": f"{self.github_api_url}/copilot_internal/user",
                },
            },
            "models": {
                model: {"name": name, "providers": [ANTHROPIC, COPILOT]}
                for model, name in _MODELS.items()
            },
        }

    def auth_content(self) -> str:
        """OpenCode's auth.json, signed in to both."""
        claude, seat = self.tokens[ANTHROPIC], self.tokens[COPILOT]
        expires = int((self.world.clock() + _YEAR_S) * 1000)
        return json.dumps(
            {
                ANTHROPIC: {
                    "type": "oauth",
                    "refresh": self.refresh_tokens[ANTHROPIC],
                    "access": claude,
                    "expires": expires,
                },
                COPILOT: {"type": "oauth", "refresh": seat, "access": seat, "expires": 0},
            }
        )

    def _work(self) -> None:
        try:
            asyncio.run(self._run())
        except OSError as problem:
            self._problem = problem
        finally:
            self._up.set()

    async def _run(self) -> None:
        self._stopping = asyncio.Event()
        servers: list[HTTPServer] = []
        try:
            for offset, host in enumerate(self._hosts):
                servers.append(self._listen(host, self._port and self._port + offset))
            self._loop = asyncio.get_running_loop()
            self._up.set()
            await self._stopping.wait()
        finally:
            for server in servers:
                server.stop()
            self._waiting.release()
            if self._waiting.tasks:
                await asyncio.wait(self._waiting.tasks, timeout=_GRACE_S)
            for server in servers:
                await server.close_all_connections()

    def _listen(self, host: Host, port: int) -> HTTPServer:
        listener = socket.create_server((_ADDRESS, port), backlog=_BACKLOG)
        listener.setblocking(False)
        parts = {"host": host, "world": self.world, "waiting": self._waiting}
        app = Application([(r".*", Door, parts)], log_function=lambda _: None)
        server = HTTPServer(app, max_buffer_size=_MAX_BODY)
        server.add_socket(listener)
        own = f"{_ADDRESS}:{listener.getsockname()[1]}"
        host.hosts.add(own)
        self._urls.append(f"http://{own}")
        return server
