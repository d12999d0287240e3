"""`limit-router demo`: simulated providers, the real mitmdump, a client. No account, no network.

Shows only what was observed: by the client, or by the simulated provider.
"""

import os
import queue
import re
import ssl
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import httpx
import msgspec
import yaml
from rich.console import Group, RenderableType
from rich.text import Text

from core import pace, providers, report
from core.errors import LimitRouterError
from core.match import VIRTUAL_HOST
from core.model import Source, Window, WindowView
from core.reading import month_before
from core.setup import addon_script
from core.simulator import Scenario, Simulator
from core.sse import Parser

START_TIMEOUT_S = 40.0
REQUEST_TIMEOUT_S = 30.0
READY = "limit-router is ready"
CLIENT_KEY = "the-client's-own-key-which-must-arrive-nowhere"
PROMPTS = {
    "claude-sonnet-4-5": "Say hello from wherever you are.",
    "claude-opus-4-5": "And you?",
}


class DemoError(LimitRouterError):
    """The demo could not be carried out."""


@dataclass(frozen=True, slots=True)
class Observed:
    """One request of the demo, as the client and the simulated provider saw it."""

    model: str
    provider: str | None
    provider_model: str | None
    status: int
    ttft_ms: float | None
    reason: str
    text: str


@dataclass(frozen=True, slots=True)
class Result:
    scenario: Scenario
    windows: dict[str, tuple[WindowView, ...]]
    """By provider: the simulated providers' truth, also where nothing of it can be read."""
    at: float
    requests: tuple[Observed, ...]
    faults: tuple[str, ...]
    """What did not go as the scenario says it must."""

    def as_json(self) -> dict[str, Any]:
        return {
            "scenario": self.scenario.name,
            "requests": [asdict(seen) for seen in self.requests],
            "ok": not self.faults,
        }


def shown(result: Result, scenarios: Sequence[str]) -> RenderableType:
    """The result for people."""
    scenario = result.scenario
    parts: list[RenderableType] = [
        Text.assemble((f"{scenario.name}: ", "bold"), scenario.summary),
        report.windows(result.windows, result.at),
    ]
    for seen in result.requests:
        served_by = f"{seen.provider} ({seen.provider_model})" if seen.provider else None
        wait = "" if seen.ttft_ms is None else f", first byte after {seen.ttft_ms:.0f} ms"
        asked, outcome = f"limit-router/{seen.model}", f"{seen.status}{wait}"
        parts.append(report.request(asked, served_by, outcome, seen.reason, seen.text.strip()))
    others = ", ".join(name for name in scenarios if name != scenario.name)
    return Group(*parts, Text(f"Other scenarios (--scenario NAME): {others}", "dim"))


def run(scenario: Scenario) -> Result:
    """Carry one scenario out. Raises DemoError where that cannot be done."""
    with tempfile.TemporaryDirectory(prefix="limit-router-demo-") as folder:
        root = Path(folder)
        with Simulator(scenario) as simulator, _proxy(root, simulator) as port:
            now = simulator.world.clock()
            windows = {
                name: _windows(simulator, name, now) for name in simulator.config()["providers"]
            }
            seen = tuple(_requests(port, root))
            faults = tuple(_faults(scenario, seen, simulator))
            return Result(scenario, windows, now, seen, faults)


def _windows(simulator: Simulator, provider: str, now: float) -> tuple[WindowView, ...]:
    return tuple(
        pace.view(
            Window(
                meter.name,
                meter.used_percent,
                meter.resets_at,
                meter.duration_s or month_before(meter.resets_at),
                Source.DECLARED,
                now,
            ),
            now,
        )
        for meter in simulator.world.meters(provider)
    )


def _requests(port: int, root: Path) -> Iterator[Observed]:
    client = httpx.Client(
        proxy=f"http://127.0.0.1:{port}",
        verify=ssl.create_default_context(cafile=root / "ca" / "mitmproxy-ca-cert.pem"),
        trust_env=False,
        timeout=REQUEST_TIMEOUT_S,
        headers={"x-api-key": CLIENT_KEY, "anthropic-version": "2023-06-01"},
    )
    with client:
        for model, prompt in PROMPTS.items():
            yield _ask(client, model, prompt)


def _ask(client: httpx.Client, model: str, prompt: str) -> Observed:
    body = {
        "model": f"limit-router/{model}",
        "max_tokens": 256,
        "stream": True,
        "messages": [{"role": "user", "content": prompt}],
    }
    started = time.perf_counter()
    url = f"https://{VIRTUAL_HOST}/v1/messages"
    ttft_ms: float | None = None
    received = bytearray()
    with client.stream("POST", url, json=body) as response:
        for chunk in response.iter_bytes():
            ttft_ms = ttft_ms or round((time.perf_counter() - started) * 1000, 1)
            received += chunk
    route = response.headers
    served = response.is_success
    return Observed(
        model,
        route.get("x-limit-router-provider"),
        route.get("x-limit-router-model"),
        response.status_code,
        ttft_ms if served else None,
        route.get("x-limit-router-reason") or _error_message(bytes(received)),
        _text(bytes(received)) if served else "",
    )


def _text(stream: bytes) -> str:
    """The text deltas of a streamed answer, joined."""
    parts = []
    for event in Parser().feed(stream):
        delta = msgspec.json.decode(event.data).get("delta", {})
        parts.append(delta.get("text", ""))
    return "".join(parts)


def _error_message(body: bytes) -> str:
    return str(msgspec.json.decode(body)["error"]["message"])


def _faults(scenario: Scenario, seen: tuple[Observed, ...], simulator: Simulator) -> Iterator[str]:
    for request in seen:
        if request.provider != scenario.winner:
            yield f"{request.model} went to {request.provider}, not to {scenario.winner}"
    served = [(record.provider, record.path) for record in simulator.served()]
    told = [(r.provider, "/v1/messages") for r in seen if r.provider is not None]
    if served != told:
        yield f"the client was told of {told}, the providers served {served}"
    for record in simulator.requests:
        if any(CLIENT_KEY in value for _, value in record.headers):
            yield f"the client's own key reached {record.provider}"


@contextmanager
def _proxy(root: Path, simulator: Simulator) -> Iterator[int]:
    """The real mitmdump with the addon; yields its port once the addon has said it is ready."""
    config = root / "mitm.yaml"
    config.write_text(yaml.safe_dump({**simulator.config(), "state": str(root / "state")}))
    process = subprocess.Popen(  # noqa: S603 - our own interpreter, fixed arguments
        _command(root, config),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        stdin=subprocess.DEVNULL,
        env=_environment(root, simulator),
        text=True,
        errors="replace",
    )
    lines: queue.Queue[str | None] = queue.Queue()
    reader = threading.Thread(target=_read, args=(process, lines), daemon=True)
    reader.start()
    try:
        yield _port(lines)
    finally:
        process.terminate()
        process.wait()
        reader.join()


def _command(root: Path, config: Path) -> list[str]:
    return [
        sys.executable,
        "-c",
        "from mitmproxy.tools.main import mitmdump; mitmdump()",
        *("-s", str(addon_script())),
        *("--set", f"limit_router_config={config}"),
        *("--set", f"confdir={root / 'ca'}"),
        *("--listen-host", "127.0.0.1", "--listen-port", "0"),
    ]


def _environment(root: Path, simulator: Simulator) -> dict[str, str]:
    """The process's own, but for the user's sign-ins and folders: those stay out of it."""
    own = {name for provider in providers.known().values() for name in provider.env}
    kept = {name: value for name, value in os.environ.items() if name not in own}
    return {
        **kept,
        "HOME": str(root),
        "OPENCODE_AUTH_CONTENT": simulator.auth_content(),
        "PYTHONUNBUFFERED": "1",
    }


def _port(lines: "queue.Queue[str | None]") -> int:
    """Where the proxy listens. Raises DemoError where it does not come up."""
    deadline = time.monotonic() + START_TIMEOUT_S
    log: list[str] = []
    port: int | None = None
    while True:
        try:
            line = lines.get(timeout=max(deadline - time.monotonic(), 0.0))
        except queue.Empty:
            raise DemoError(f"mitmdump was not ready in {START_TIMEOUT_S:.0f} s") from None
        if line is None:
            raise DemoError("mitmdump ended at its start:\n" + "".join(log[-12:]))
        log.append(line)
        found = re.search(r"listening at \S*:(\d+)", line)
        port = int(found[1]) if found else port
        if READY in line and port is not None:
            return port


def _read(process: subprocess.Popen[str], lines: queue.Queue[str | None]) -> None:
    assert process.stdout is not None
    with process.stdout:
        for line in process.stdout:
            lines.put(line)
    lines.put(None)
