"""Two sources tell of the quota, the usage endpoints and the answers' headers: either is enough.

Engines on the simulated providers, with one or the other switched off.
"""

import asyncio
import io
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from rich.console import Console

from core import inspection, providers, report
from core.config import parse
from core.credentials import Credentials
from core.engine import Engine, Forward
from core.match import VIRTUAL_HOST
from core.model import HttpRequest, Source
from core.report import Reading, Status
from core.simulator import Simulator
from core.store import Store
from core.transport import Transport

NOW = 1_783_000_000.0
CLAUDE, COPILOT = "anthropic", "github-copilot"
BODY = json.dumps(
    {
        "model": "limit-router/claude-sonnet-4-5",
        "max_tokens": 50,
        "messages": [{"role": "user", "content": "hi"}],
    }
).encode()
FIELDS = (("content-type", "application/json"), ("anthropic-version", "2023-06-01"))
REQUEST = HttpRequest("POST", "https", VIRTUAL_HOST, 443, "/v1/messages", FIELDS, BODY)


@dataclass
class Clock:
    now: float = NOW

    def __call__(self) -> float:
        return self.now


class Rig:
    """A router whose requests are sent for it, and what the simulated providers make of them."""

    def __init__(self, folder: Path, sim: Simulator, clock: Clock) -> None:
        self.sim, self.clock, self._folder = sim, clock, folder
        self.engine = self._engine()

    def _engine(self) -> Engine:
        config = parse(yaml.safe_dump(self.sim.config()), "mitm.yaml", providers.known().keys())
        sign_ins = {"OPENCODE_AUTH_CONTENT": self.sim.auth_content()}
        credentials = Credentials(sign_ins, self._folder / "data")
        return Engine(config, credentials, Store(self._folder / "state"), clock=self.clock)

    def poll(self) -> None:
        async def main() -> None:
            async with Transport() as transport:
                await self.engine.knowledge.poll(self.engine.subjects, transport.send)

        asyncio.run(main())

    def ask(self) -> tuple[str, str]:
        """Who served the next request, and why."""
        planned = self.engine.plan(REQUEST, peer="127.0.0.1")
        assert isinstance(planned, Forward)
        scheme, host, port = planned.request.origin
        answer = httpx.post(
            f"{scheme}://{host}:{port}{planned.request.path}",
            headers=[*planned.request.headers, *planned.authorization],
            content=planned.request.body,
            trust_env=False,
        )
        fields = tuple(answer.headers.multi_items())
        self.engine.observe_headers(planned, answer.status_code, fields)
        assert answer.status_code == 200, answer.text
        told = dict(planned.response_headers)
        return told["x-limit-router-provider"], told["x-limit-router-reason"]

    def served(self, times: int) -> list[str]:
        return [self.ask()[0] for _ in range(times)]

    def sources(self) -> dict[str, set[Source]]:
        found = {it.provider.id: self.engine.state.of(it.account) for it in self.engine.subjects()}
        return {name: {w.source for w in it.windows.values()} for name, it in found.items()}

    def usage(self, *, asked_now: bool = False) -> list[Reading]:
        """What the command line finds, which is another process."""
        self.engine.close()
        return asyncio.run(inspection.usage(self._engine(), None, asked_now=asked_now))

    def said(self, readings: list[Reading]) -> tuple[dict[str, Any], str]:
        text = io.StringIO()
        Console(file=text, width=80, highlight=False).print(report.usage(readings, self.clock()))
        found: dict[str, Any] = report.usage_json(readings, self.clock())["providers"]
        return found, "\n".join(line.rstrip() for line in text.getvalue().splitlines())


@contextmanager
def simulated(
    folder: Path, scenario: str, *, endpoints: bool, headers: bool, **more: Any
) -> Iterator[Rig]:
    clock = Clock()
    with Simulator(scenario, clock=clock, **more) as sim:
        sim.usage_enabled.update(dict.fromkeys((CLAUDE, COPILOT), endpoints))
        sim.limit_headers_enabled.update(dict.fromkeys((CLAUDE, COPILOT), headers))
        rig = Rig(folder, sim, clock)
        rig.poll()
        yield rig


# The first in the configuration begins. Over its pace it gives way; under it, Copilot is tried once,
# since its answer may tell of it, and does tell.
SERVED_BY_HEADERS = {
    "over-pace": [CLAUDE, COPILOT, COPILOT, COPILOT],
    "anthropic-high": [CLAUDE, COPILOT, COPILOT, COPILOT],
    "under-pace": [CLAUDE, COPILOT, CLAUDE, CLAUDE],
    "copilot-high": [CLAUDE, COPILOT, CLAUDE, CLAUDE],
}


@pytest.mark.parametrize("scenario", SERVED_BY_HEADERS)
def test_with_the_endpoints_off_it_follows_the_headers(tmp_path: Path, scenario: str) -> None:
    """Nothing is known at first; what an answer says of its account is known from then on."""
    with simulated(tmp_path, scenario, endpoints=False, headers=True) as rig:
        assert rig.sources() == {CLAUDE: set(), COPILOT: set()}
        assert rig.served(4) == SERVED_BY_HEADERS[scenario]
        assert rig.sources() == {CLAUDE: {Source.HEADER}, COPILOT: {Source.HEADER}}
        for name in (CLAUDE, COPILOT):
            truth = {key: used for key, (used, _) in rig.sim.windows(name).items()}
            [known] = [
                rig.engine.state.of(it.account)
                for it in rig.engine.subjects()
                if it.provider.id == name
            ]
            read = {key: window.used_percent for key, window in known.windows.items()}
            assert read == pytest.approx(truth, abs=0.001)


def test_with_the_endpoints_off_a_window_that_fills_up_moves_the_next_request(
    tmp_path: Path,
) -> None:
    """20 % at 75 % of the week: at 4 % each, the 15th answer tells that the pace is passed."""
    step = {"percent_per_request": 4.0}
    with simulated(tmp_path, "under-pace", endpoints=False, headers=True, **step) as rig:
        rig.sim.limit_headers_enabled[COPILOT] = False
        assert rig.served(17) == [CLAUDE, COPILOT, *[CLAUDE] * 14, COPILOT]
        assert rig.sim.windows(CLAUDE)["seven_day"][0] == pytest.approx(80.0)


@pytest.mark.parametrize(
    ("scenario", "by"), [("over-pace", COPILOT), ("under-pace", CLAUDE), ("exhausted", COPILOT)]
)
def test_with_the_headers_off_it_follows_the_endpoints(
    tmp_path: Path, scenario: str, by: str
) -> None:
    with simulated(tmp_path, scenario, endpoints=True, headers=False) as rig:
        assert rig.served(3) == [by] * 3
        assert rig.sources() == {CLAUDE: {Source.ENDPOINT}, COPILOT: {Source.ENDPOINT}}


def test_with_the_headers_off_a_window_that_fills_up_is_seen_at_the_next_poll(
    tmp_path: Path,
) -> None:
    step = {"percent_per_request": 12.0}
    with simulated(tmp_path, "under-pace", endpoints=True, headers=False, **step) as rig:
        assert rig.served(6) == [CLAUDE] * 6
        rig.clock.now += 360.0
        rig.poll()
        assert rig.ask()[0] == COPILOT


def test_with_both_off_each_is_unknown_and_the_configurations_order_decides(
    tmp_path: Path,
) -> None:
    """Anthropic is far ahead of its pace, but nobody says so."""
    with simulated(tmp_path, "anthropic-high", endpoints=False, headers=False) as rig:
        assert rig.served(3) == [CLAUDE] * 3
        assert rig.sources() == {CLAUDE: set(), COPILOT: set()}
        decision = asyncio.run(inspection.route(rig.engine, "claude-sonnet-4-5"))
        assert [
            (it.candidate.provider, it.available, it.score, it.windows) for it in decision.verdicts
        ] == [(CLAUDE, True, None, ()), (COPILOT, True, None, ())]
        assert all("unknown" in it.why for it in decision.verdicts)


REFUSALS = {CLAUDE: "the usage endpoint answered 403", COPILOT: "the usage endpoint answered 404"}


def test_with_both_off_usage_says_unknown(tmp_path: Path) -> None:
    with simulated(tmp_path, "anthropic-high", endpoints=False, headers=False) as rig:
        rig.ask()
        found, text = rig.said(rig.usage())
        assert found == {
            name: {
                "status": Status.UNKNOWN,
                "windows": [],
                "plan": None,
                "error": REFUSALS[name],
                "as_of": "2026-07-02T13:46:40Z",
            }
            for name in (CLAUDE, COPILOT)
        }
        assert text.splitlines() == [
            "anthropic: unknown",
            f"  {REFUSALS[CLAUDE]}",
            "github-copilot: unknown",
            f"  {REFUSALS[COPILOT]}",
        ]


def test_unknown_stands_behind_headroom_and_before_ahead_of_pace(tmp_path: Path) -> None:
    """Copilot says nothing of itself, not even when it is tried; Anthropic says all."""
    for scenario, by in (("over-pace", COPILOT), ("under-pace", CLAUDE)):
        with simulated(tmp_path / scenario, scenario, endpoints=True, headers=False) as rig:
            rig.sim.usage_enabled[COPILOT] = False
            fresh = Rig(tmp_path / f"{scenario}-fresh", rig.sim, rig.clock)
            rig.clock.now += 360.0
            fresh.poll()
            assert fresh.sources() == {CLAUDE: {Source.ENDPOINT}, COPILOT: set()}
            assert fresh.served(4) == [COPILOT, by, by, by]


def test_an_endpoint_that_begins_to_refuse_leaves_what_was_known_with_its_age(
    tmp_path: Path,
) -> None:
    with simulated(tmp_path, "over-pace", endpoints=True, headers=False) as rig:
        rig.sim.usage_enabled.update({CLAUDE: False, COPILOT: False})
        rig.clock.now += 1200.0
        rig.poll()
        assert rig.served(2) == [COPILOT] * 2
        readings = rig.usage()
        assert [(it.provider, it.status, it.error, it.as_of) for it in readings] == [
            (name, Status.KNOWN, said, NOW) for name, said in REFUSALS.items()
        ]
        _, text = rig.said(readings)
        assert text.count("endpoint, 20 min ago") == 3
        assert text.count("the usage endpoint answered") == 2
