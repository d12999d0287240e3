"""What both providers share: the clock, the tokens, the windows, the faults and the record."""

import base64
import hashlib
import hmac
import secrets
from collections.abc import Callable
from dataclasses import dataclass, replace
from threading import Lock

from core.simulator.claude import copilot_models
from core.simulator.exchange import Fault, Json, Recorded
from core.simulator.scenario import Meter, Scenario, open_meters

ANTHROPIC = "anthropic"
ANTHROPIC_KEY = "anthropic-api-key"
COPILOT = "github-copilot"
CHATGPT = "chatgpt"


@dataclass(slots=True)
class _Queued:
    fault: Fault
    left: int


class World:
    """Used by the servers' thread and by the tests' at once: what both touch is behind a lock."""

    def __init__(
        self, scenario: Scenario, clock: Callable[[], float], *, simple: bool, step: float
    ) -> None:
        self.scenario = scenario
        self.clock = clock
        self.simple = simple
        self.percent_per_request = step
        self.tokens = {
            ANTHROPIC: f"sk-ant-oat01-SECRET-SIM-{secrets.token_urlsafe(24)}",
            ANTHROPIC_KEY: f"sk-ant-api03-SECRET-SIM-{secrets.token_urlsafe(24)}",
            COPILOT: f"gho_SECRET-SIM-{secrets.token_urlsafe(24)}",
        }
        self.refresh_tokens = {
            it: f"rt-SECRET-SIM-{secrets.token_urlsafe(24)}" for it in (ANTHROPIC, CHATGPT)
        }
        readable = {ANTHROPIC: scenario.anthropic, COPILOT: scenario.copilot}
        self.usage_enabled = {it: specs is not None for it, specs in readable.items()}
        self.limit_headers_enabled = dict(self.usage_enabled)
        self.copilot_models: list[Json] = copilot_models()
        self.polls: dict[str, float] = {}
        """When each token's usage was last answered."""
        self._meters = open_meters(scenario, clock())
        self._signing_key = secrets.token_bytes(32)
        self._faults: list[_Queued] = []
        self._log: list[Recorded] = []
        self._lock = Lock()

    def meters(self, provider: str) -> tuple[Meter, ...]:
        """A copy of an account's windows as they are now."""
        now = self.clock()
        with self._lock:
            for meter in self._meters[provider].values():
                meter.advance(now)
            return tuple(replace(meter) for meter in self._meters[provider].values())

    def spend(self, provider: str) -> None:
        """Charges one served request."""
        with self._lock:
            for meter in self._meters[provider].values():
                meter.used_percent += self.percent_per_request

    def sign(self, account: str, text: str) -> str:
        """What only this account of this run can say of a text."""
        signed = f"{account}\0{text}".encode()
        return base64.b64encode(hmac.digest(self._signing_key, signed, hashlib.sha256)).decode()

    def inject(self, fault: Fault) -> None:
        with self._lock:
            self._faults.append(_Queued(fault, fault.times))

    def take_fault(self, provider: str) -> Fault | None:
        with self._lock:
            for queued in self._faults:
                if queued.fault.provider in (None, provider):
                    queued.left -= 1
                    if queued.left <= 0:
                        self._faults.remove(queued)
                    return queued.fault
            return None

    def record(self, entry: Recorded) -> int:
        """Adds a request to the record and returns its place there."""
        with self._lock:
            self._log.append(entry)
            return len(self._log) - 1

    def answered(self, place: int, status: int, response: bytes) -> None:
        with self._lock:
            self._log[place] = replace(self._log[place], status=status, response=response)

    @property
    def requests(self) -> list[Recorded]:
        with self._lock:
            return list(self._log)
