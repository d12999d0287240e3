"""Drives one policy through one case, request by request, on the clock of the requests."""

from collections.abc import Iterator
from dataclasses import dataclass
from heapq import merge

from core.continuity import Conversations
from core.evaluation.case import Case, Outside
from core.evaluation.meters import Meters
from core.evaluation.readings import Late, Perfect, Readings
from core.evaluation.rules import Choose, Policy, Situation, spent
from core.evaluation.workload import Request
from core.model import Ask, Candidate, State, Wire

CACHE_S = 300.0
"""How long a prompt cache is kept after its last use, where nobody pays for longer."""


@dataclass(frozen=True, slots=True)
class Served:
    """What became of one request."""

    request: Request
    account: str | None
    """The id of the account that served it. None was refused."""
    rejected: tuple[str, ...] = ()
    """The accounts that turned it away before."""
    moved_from: str | None = None
    """The account that served the session before, where it is another."""
    forced: bool = False
    """It moved because that account was exhausted: known to be, or just found to be."""
    cache_lost: int = 0
    """Tokens that the account before still held in its prompt cache."""


@dataclass(frozen=True, slots=True)
class Taken:
    """What one account's windows have taken, by window and run, in quota tokens."""

    own: dict[str, tuple[float, ...]]
    outside: dict[str, tuple[float, ...]]


@dataclass(frozen=True, slots=True)
class Course:
    """All that happened."""

    log: tuple[Served, ...]
    passed: tuple[Outside, ...]
    """What came from outside and was served."""
    taken: dict[str, Taken]
    """By account id."""


def drive(case: Case, policy: Policy) -> Course:
    drive = _Drive(case, policy)
    log = tuple(drive.run())
    taken = {name: _taken(meters) for name, meters in drive.meters.items()}
    return Course(log, tuple(drive.passed), taken)


class _Drive:
    def __init__(self, case: Case, policy: Policy) -> None:
        self.meters = {it.account.id: Meters(it) for it in case.subjects}
        self.passed: list[Outside] = []
        self._cached_until: dict[str, float] = {}
        self._case = case
        self._failover = policy.failover
        self._choose: Choose = policy.begin()
        self._conversations = Conversations()
        self._candidates = _candidates(case)
        self._readings: Readings = (
            Perfect(self.meters) if case.life is None else Late(self.meters, case.life)
        )

    def run(self) -> Iterator[Served]:
        events: Iterator[Request | Outside]
        events = merge(self._case.outside, self._case.requests, key=lambda event: event.at)
        for event in events:
            self._readings.tick(event.at)
            if isinstance(event, Outside):
                meters = self.meters[event.account]
                meters.roll(event.at)
                if not meters.take(event.model, event.tokens, outside=True):
                    self.passed.append(event)
            else:
                yield self._serve(event)

    def _serve(self, request: Request) -> Served:
        ask, now = _ask(request), request.at
        candidates = self._candidates[request.model]
        incumbent = self._conversations.incumbent(ask)
        cached_until = self._cached_until.get(request.session, 0.0)
        cached = request.context if now < cached_until else 0
        rejected: list[str] = []
        while True:
            names = [c.account.id for c in candidates if c.account is not None]
            state = self._readings.state(names, now)
            situation = Situation(ask, candidates, state, now, incumbent, cached, cached_until)
            chosen = self._choose(situation)
            account = None if chosen is None else chosen.account
            # A policy that insists would ask for ever.
            if account is None or account.id in rejected:
                return Served(request, None, tuple(rejected))
            meters = self.meters[account.id]
            meters.roll(now)
            full = meters.take(request.model, request.tokens)
            if not full:
                self._readings.served(account, request.model, request.tokens, now)
                self._conversations.served(ask, account)
                self._cached_until[request.session] = now + CACHE_S
                moved = None if incumbent in (None, account.id) else incumbent
                forced = moved is not None and (
                    moved in rejected or _spent(moved, candidates, state, now)
                )
                lost = cached if moved is not None else 0
                return Served(request, account.id, tuple(rejected), moved, forced, lost)
            self._readings.rejected(account, full, now)
            rejected.append(account.id)
            if not self._failover:
                return Served(request, None, tuple(rejected))


def _candidates(case: Case) -> dict[str, list[Candidate]]:
    models = dict.fromkeys(request.model for request in case.requests)
    return {
        model: [
            Candidate(it.account.provider, model, it.account)
            for it in case.subjects
            if model in it.models
        ]
        for model in models
    }


def _ask(request: Request) -> Ask:
    return Ask(
        Wire.MESSAGES,
        request.model,
        session=request.session,
        subagent=request.parent is not None,
        tool_loop=request.tool_loop,
        user_turn=not request.tool_loop,
    )


def _spent(account: str, candidates: list[Candidate], state: State, now: float) -> bool:
    held = (c for c in candidates if c.account is not None and c.account.id == account)
    return any(spent(candidate, state, now) for candidate in held)


def _taken(meters: Meters) -> Taken:
    return Taken(
        {m.limit.name: tuple(m.own) for m in meters.all},
        {m.limit.name: tuple(m.outside) for m in meters.all},
    )
