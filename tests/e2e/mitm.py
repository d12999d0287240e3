"""mitmproxy's real tools as subprocesses, the router in them, and what both sides saw."""

import os
import re
import signal
import socket
import ssl
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from threading import Condition, Thread
from time import monotonic
from typing import Any, Self, override

import httpx
import yaml

from core.simulator import Recorded, Simulator

REPOSITORY = Path(__file__).resolve().parents[2]
ROUTER = REPOSITORY / "addon" / "router.py"
READY = "limit-router is ready"
VIRTUAL = "https://limit-router.invalid"
DEADLINE_S = 30.0
BACKSTOP_S = 0.01
"""How often a condition is looked at that nothing announces."""

CLIENT_MARK = "OF-THE-CLIENT"
CLIENT_HEADERS = {
    "authorization": f"Bearer {CLIENT_MARK}",
    "x-api-key": f"key-{CLIENT_MARK}",
    "api-key": f"key-{CLIENT_MARK}",
    "x-goog-api-key": f"key-{CLIENT_MARK}",
    "cookie": f"session={CLIENT_MARK}",
    "chatgpt-account-id": CLIENT_MARK,
    "openai-organization": CLIENT_MARK,
    "openai-project": CLIENT_MARK,
    "x-limit-router-reason": CLIENT_MARK,
    "x-limit-router-anything": CLIENT_MARK,
}
"""All that a client might send and no provider may see."""

_KEPT_VARIABLES = ("PATH", "LANG", "LC_ALL", "TMPDIR")
_OUR_BUG = re.compile(r'limit-router: \w+ (while|in)|File ".*/(addon|core)/(?!router)')
"""mitmproxy itself prints a traceback where it is stopped in mid-connection (Python 3.12.1)."""
_LISTENING = r" listening at .*:(\d+)"


def until[T](condition: Callable[[], T], what: str, seconds: float = DEADLINE_S) -> T:
    """What the condition returns once it is true."""
    end = monotonic() + seconds
    pause = Condition()
    with pause:
        while not (found := condition()):
            assert monotonic() < end, f"waited {seconds} s for {what}"
            pause.wait(BACKSTOP_S)
    return found


def environment(home: Path, more: Mapping[str, str] | None = None) -> dict[str, str]:
    """A process's variables, with a home of its own and nothing of the developer's."""
    home.mkdir(parents=True, exist_ok=True)
    kept = {name: os.environ[name] for name in _KEPT_VARIABLES if name in os.environ}
    return {**kept, "HOME": str(home), "PYTHONUNBUFFERED": "1", **(more or {})}


class Tool:
    """A process whose output is collected while it runs. Ended by its own id."""

    def __init__(self, command: Iterable[str | Path], env: Mapping[str, str], cwd: Path) -> None:
        self._lines: list[str] = []
        self._news = Condition()
        self._ended = False
        self.process = subprocess.Popen(
            [str(word) for word in command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=dict(env),
            cwd=cwd,
        )
        self._reader = Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            with self._news:
                self._lines.append(line.decode(errors="replace"))
                self._news.notify_all()
        with self._news:
            self._ended = True
            self._news.notify_all()

    @property
    def log(self) -> str:
        with self._news:
            return "".join(self._lines)

    def wait_for(self, pattern: str, *, times: int = 1) -> re.Match[str]:
        """Until its output holds the pattern so many times."""

        def found() -> list[re.Match[str]]:
            return list(re.finditer(pattern, "".join(self._lines)))

        with self._news:
            self._news.wait_for(lambda: self._ended or len(found()) >= times, DEADLINE_S)
            matches = found()
        assert len(matches) >= times, f"no {pattern!r} in:\n{self.log}"
        return matches[times - 1]

    def stop(self, by: signal.Signals = signal.SIGTERM) -> int:
        if self.process.poll() is None:
            self.process.send_signal(by)
        try:
            status = self.process.wait(DEADLINE_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise
        self._reader.join(DEADLINE_S)
        assert self.process.stdout is not None
        self.process.stdout.close()
        return status

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def tool_path(name: str) -> Path:
    return Path(sys.executable).with_name(name)


class Proxy(Tool):
    """One of mitmproxy's tools, listening on a port of its own choice."""

    def __init__(
        self,
        folder: Path,
        confdir: Path,
        *,
        tool: str = "mitmdump",
        host: str = "127.0.0.1",
        scripts: Iterable[Path] = (),
        options: Iterable[str] = (),
        env: Mapping[str, str] | None = None,
        ready: str = _LISTENING,
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.ca = confdir / "mitmproxy-ca-cert.pem"
        command: list[str | Path] = [tool_path(tool), "--set", f"confdir={confdir}", "-p", "0"]
        command += ["--listen-host", host] if host else []
        for script in scripts:
            command += ["-s", script]
        super().__init__([*command, *options], environment(folder / "home", env), folder)
        try:
            self.port = int(self.wait_for(_LISTENING)[1])
            self.wait_for(ready)
        except BaseException:
            self.stop()
            raise

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


class Routing:
    """A simulator and a proxy with the router that knows it. Both end with the `with`."""

    def __init__(
        self,
        folder: Path,
        confdir: Path,
        sim: Simulator,
        *,
        config: Mapping[str, Any] | None = None,
        signed_in: bool = True,
        router: Path = ROUTER,
        before: Iterable[Path] = (),
        after: Iterable[Path] = (),
        **more: Any,
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.sim = sim
        self.state = folder / "state" / "state.json"
        settings = folder / "mitm.yaml"
        settings.write_text(
            yaml.safe_dump({**(config or sim.config()), "state": str(self.state.parent)})
        )
        auth = {"OPENCODE_AUTH_CONTENT": sim.auth_content()} if signed_in else {}
        options = ["--set", f"limit_router_config={settings}", *more.pop("options", ())]
        self.proxy = Proxy(
            folder,
            confdir,
            scripts=(*before, router, *after),
            options=options,
            env={**auth, **more.pop("env", {})},
            **{"ready": READY, **more},
        )
        self._seen = 0
        self.forget()

    def forget(self) -> None:
        """A new test begins: what was served before does not count."""
        self._seen = len(self.sim.served())

    def served(self) -> list[Recorded]:
        return self.sim.served()[self._seen :]

    def served_one(self) -> Recorded:
        (one,) = self.served()
        return one

    def client(self, **more: Any) -> httpx.Client:
        return httpx.Client(
            **{
                "proxy": self.proxy.url,
                "verify": trusting(self.proxy.ca),
                "trust_env": False,
                "timeout": DEADLINE_S,
                **more,
            }
        )

    def assert_secret(self, *files: Path) -> None:
        """No credential in what was printed or written down."""
        written = [self.proxy.log.encode()]
        written += [it.read_bytes() for it in (self.state, *files) if it.is_file()]
        for text in written:
            assert_no_token(text, self.sim)

    def stop(self, by: signal.Signals = signal.SIGTERM) -> int:
        return self.proxy.stop(by)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self.proxy.stop()
        if kind is None:
            self.assert_secret()
            assert not _OUR_BUG.search(self.proxy.log), self.proxy.log


def assert_no_token(text: bytes, sim: Simulator) -> None:
    for token in (*sim.tokens.values(), "SECRET-SIM"):
        assert token.encode() not in text


def assert_as_provider_wants(recorded: Recorded, sim: Simulator) -> None:
    """Its own credential and nothing of the client's or of ours."""
    fields = [(name.lower(), value) for name, value in recorded.headers]
    token = sim.tokens[recorded.provider]
    assert [value for name, value in fields if name == "authorization"] == [f"Bearer {token}"]
    assert [name for name, _ in fields if name in CLIENT_HEADERS] == ["authorization"]
    assert not [name for name, _ in fields if name.startswith("x-limit-router")]
    assert CLIENT_MARK not in repr((fields, recorded.path))
    assert CLIENT_MARK.encode() not in recorded.body
    if recorded.provider == "anthropic":
        assert "oauth-2025-04-20" in field(recorded, "anthropic-beta").split(",")
    else:
        assert field(recorded, "x-initiator") in ("user", "agent")


def field(recorded: Recorded, name: str) -> str:
    """A header field as the provider received it; empty where it did not."""
    return ", ".join(value for key, value in recorded.headers if key.lower() == name)


class _Http2First(ssl.SSLContext):
    """httpx offers http/1.1 before h2, and mitmproxy obeys the order."""

    @override
    def set_alpn_protocols(self, alpn_protocols: Iterable[str]) -> None:
        super().set_alpn_protocols(["h2", "http/1.1"])


def trusting(ca: Path, *, http2: bool = False) -> ssl.SSLContext:
    context = (_Http2First if http2 else ssl.SSLContext)(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(ca)
    return context


def question(text: str = "hi", model: str = "claude-sonnet-4-5", **more: Any) -> dict[str, Any]:
    """A Messages request's body."""
    return {
        "model": model,
        "max_tokens": 50,
        "messages": [{"role": "user", "content": text}],
        **more,
    }


def ask(client: httpx.Client, url: str = f"{VIRTUAL}/v1/messages", **more: Any) -> httpx.Response:
    """One Messages request, with all that a client might leave in it."""
    headers = {"anthropic-version": "2023-06-01", **CLIENT_HEADERS, **more.pop("headers", {})}
    if not more.keys() & {"content", "json"}:
        more["json"] = question()
    elif "content" in more:
        headers = {"content-type": "application/json", **headers}
    return client.post(url, headers=headers, **more)


class Listener:
    """Another host: it records what it is sent, raw, and answers everything with one answer."""

    def __init__(self, *, tls: ssl.SSLContext | None = None, body: bytes = b"{}") -> None:
        self.received: list[bytes] = []
        """By connection, as far as it came."""
        self._tls = tls
        self._body = body
        self._socket = socket.socket()
        self._socket.bind(("127.0.0.1", 0))
        self.port: int = self._socket.getsockname()[1]
        """Bound from the start; connections are refused until `listen`."""
        self._open: list[socket.socket] = []

    def listen(self) -> None:
        self._socket.listen()
        Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._socket.accept()
                self._open.append(connection)
                self.received.append(b"")
                place = len(self.received) - 1
                Thread(target=self._serve, args=(connection, place), daemon=True).start()

    def _serve(self, connection: socket.socket, place: int) -> None:
        with suppress(OSError), connection:
            stream = (
                self._tls.wrap_socket(connection, server_side=True) if self._tls else connection
            )
            with stream:
                waiting = b""
                while chunk := stream.recv(1 << 16):
                    self.received[place] += chunk
                    waiting += chunk
                    head, blank, body = waiting.partition(b"\r\n\r\n")
                    length = re.search(rb"(?i)content-length: *(\d+)", head)
                    if blank and len(body) >= int(length[1] if length else 0):
                        waiting = b""
                        stream.sendall(
                            b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n"
                            b"content-length: %d\r\n\r\n%s" % (len(self._body), self._body)
                        )

    def __enter__(self) -> Self:
        self.listen()
        return self

    def __exit__(self, *_: object) -> None:
        for it in (self._socket, *self._open):
            with suppress(OSError):
                it.shutdown(socket.SHUT_RDWR)
            it.close()
