"""The policies that are compared: the router's own decision, and simple rules beside it."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import count

from core import model, pace, routing
from core.demand import Usual
from core.evaluation.case import EvaluationError
from core.model import AccountKind, AccountState, Ask, Candidate, Route, Standing, State, WindowView


@dataclass(frozen=True, slots=True)
class Situation:
    """All that a policy may look at."""

    ask: Ask
    candidates: Sequence[Candidate]
    """The accounts that have the model."""
    state: State
    now: float
    incumbent: str | None
    """The id of the account that served this session last."""
    cached: int
    """Tokens that the incumbent holds of this conversation in its prompt cache."""
    cached_until: float


type Choose = Callable[[Situation], Candidate | None]
"""None refuses the request."""


@dataclass(frozen=True, slots=True)
class Policy:
    """A way to choose. `begin` makes one for one run: it may remember."""

    name: str
    summary: str
    begin: Callable[[], Choose]
    failover: bool = True
    """A request that an account turns away is decided again, among the rest."""


def _decided() -> Choose:
    """The router's own decision, asked as the engine asks."""
    usual = Usual()

    def choose(situation: Situation) -> Candidate | None:
        held, state, now = situation.incumbent, situation.state, situation.now
        standing = Standing(held, situation.cached, situation.cached_until) if held else None
        policy = model.Policy(week=usual.week(state.accounts, now))
        decision = routing.decide(
            situation.ask, situation.candidates, state, now, policy, standing=standing
        )
        if not isinstance(decision, Route):
            return None
        return next(c for c in situation.candidates if c.account == decision.account)

    return choose


def spent(candidate: Candidate, state: State, now: float) -> bool:
    """Whether the account is known to be exhausted for this model."""
    return any(view.window.used_percent >= pace.SPENT for view in _views(candidate, state, now))


def _views(candidate: Candidate, state: State, now: float) -> list[WindowView]:
    return [
        pace.view(window, now)
        for window in _known(candidate, state).windows.values()
        if window.scope in (None, candidate.provider_model)
    ]


def _known(candidate: Candidate, state: State) -> AccountState:
    assert candidate.account is not None
    return state.of(candidate.account)


def _able(situation: Situation) -> list[Candidate]:
    """Metered accounts come after every subscription, as they do for the router."""
    able = [c for c in situation.candidates if not spent(c, situation.state, situation.now)]
    return [c for c in able if not _metered(c)] or able


def _metered(candidate: Candidate) -> bool:
    return candidate.account is not None and candidate.account.kind is AccountKind.METERED


def _incumbent(situation: Situation, among: Iterable[Candidate]) -> Candidate | None:
    held = (c for c in among if c.account is not None and c.account.id == situation.incumbent)
    return next(held, None)


def _longest(candidate: Candidate, situation: Situation) -> float:
    views = _views(candidate, situation.state, situation.now)
    carrier = max(views, key=lambda v: v.window.duration_s or 0.0, default=None)
    return 0.0 if carrier is None or carrier.pace_delta is None else carrier.pace_delta


def _worst(candidate: Candidate, situation: Situation) -> float:
    views = _views(candidate, situation.state, situation.now)
    return max((v.pace_delta for v in views if v.pace_delta is not None), default=0.0)


def _least(score: Callable[[Candidate, Situation], float], *, sticky: bool) -> Choose:
    def choose(situation: Situation) -> Candidate | None:
        able = _able(situation)
        stays = [c for c in situation.candidates if not spent(c, situation.state, situation.now)]
        held = _incumbent(situation, stays) if sticky else None
        return held or min(able, key=lambda c: score(c, situation), default=None)

    return choose


def _round_robin() -> Choose:
    """Each conversation to the next account."""
    turn = count()

    def choose(situation: Situation) -> Candidate | None:
        able = [c for c in situation.candidates if not spent(c, situation.state, situation.now)]
        held = _incumbent(situation, able)
        if held is not None or not able:
            return held
        return able[next(turn) % len(able)]

    return choose


def _naive(situation: Situation) -> Candidate | None:
    """The longest window's pace in whole points and nothing else: no exclusion, ties by order."""
    return min(situation.candidates, key=lambda c: round(_longest(c, situation)), default=None)


POLICIES: dict[str, Policy] = {
    policy.name: policy
    for policy in (
        Policy("pace", "limit-router's own decision", _decided),
        Policy(
            "longest",
            "longest window's pace, exclusion, failover, sticky sessions",
            lambda: _least(_longest, sticky=True),
        ),
        Policy("restless", "the same, without stickiness", lambda: _least(_longest, sticky=False)),
        Policy(
            "worst", "worst window's pace, else as longest", lambda: _least(_worst, sticky=True)
        ),
        Policy("round-robin", "each session to the next account, failover", _round_robin),
        Policy(
            "one-shot",
            "as longest, without failover",
            lambda: _least(_longest, sticky=True),
            failover=False,
        ),
        Policy("naive", "longest window's pace alone, no failover", lambda: _naive, failover=False),
    )
}


def policy(name: str) -> Policy:
    """Raises EvaluationError where none has this name."""
    try:
        return POLICIES[name]
    except KeyError:
        known = ", ".join(POLICIES)
        raise EvaluationError(f"no policy is called {name}; there are {known}") from None
