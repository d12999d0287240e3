"""The committed set: 24 workloads of 30 days, each with its accounts, by name.

A table. What it says of a workload is relative; `build` makes requests and capacities of it.

A five-hour window holds from a twelfth to two fifths of a week; sold plans do not say what theirs
hold. Where every account's is small, what is lost is lost to hours that happen to be busy: whoever
knows them beforehand holds back for them, and nobody can.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from random import Random

from core.evaluation.case import Case, EvaluationError, Life, Outside
from core.evaluation.fleet import Monthly, Plan, Subject, Weekly, sized
from core.evaluation.workload import Pattern, Request, sessions
from core.reading import DAY

START = 1773619200.0
"""2026-03-16, a Monday, 00:00 UTC: a month ends within the 30 days."""
DAYS = 30
REQUESTS_A_DAY = 550
OUTSIDE = 0.2
"""The share of an account's use that passes by the router, in life."""

LARGE, MEDIUM, SMALL = "large", "medium", "small"
MODELS = ((LARGE, 0.35), (MEDIUM, 0.5), (SMALL, 0.15))
ALL = frozenset({LARGE, MEDIUM, SMALL})
LESSER = frozenset({MEDIUM, SMALL})
USD_PER_TOKEN = 3e-6

FLEETS: dict[str, tuple[Plan, ...]] = {
    "pair": (
        Weekly("week", ALL, 1.0, 1 / 12, 2.4 * DAY),
        Monthly("month", ALL, 1.0),
    ),
    "weeks": (
        Weekly("week-1", ALL, 1.0, 1 / 9, 1.2 * DAY),
        Weekly("week-2", ALL, 1.8, 1 / 3, 4.7 * DAY),
    ),
    "scoped": (
        Weekly("week", ALL, 1.5, 1 / 8, 5.5 * DAY, of_model=(LARGE, 0.4)),
        Monthly("month", ALL, 0.8),
    ),
    "three": (
        Weekly("week-1", ALL, 1.0, 1 / 10, 0.8 * DAY),
        Weekly("week-2", ALL, 1.0, 2 / 5, 4.1 * DAY),
        Monthly("month", LESSER, 0.9),
    ),
    "key": (
        Weekly("week", ALL, 1.6, 1 / 10, 3.3 * DAY),
        Monthly("key", ALL, 0.6, USD_PER_TOKEN),
    ),
    "overflow": (
        Weekly("week", ALL, 1.0, 1 / 11, 6.2 * DAY),
        Monthly("month", LESSER, 0.9),
        Monthly("key", ALL, 0.4, USD_PER_TOKEN),
    ),
    "four": (
        Weekly("week-1", ALL, 1.2, 1 / 8, 1.9 * DAY, of_model=(LARGE, 0.45)),
        Weekly("week-2", ALL, 0.7, 2 / 5, 5.2 * DAY),
        Monthly("month", LESSER, 0.8),
        Monthly("key", ALL, 0.4, USD_PER_TOKEN),
    ),
    "divided": (
        Weekly("week-1", ALL, 1.0, 1 / 6, 2.7 * DAY),
        Weekly("week-2", frozenset({LARGE}), 0.4, 1 / 3, 0.3 * DAY),
        Monthly("month", LESSER, 0.8),
    ),
}
LOADS: dict[Pattern, tuple[float, ...]] = {
    Pattern.CALM: (1.0, 1.05, 1.0, 0.98, 0.5, 1.05, 0.9, 1.2),
    Pattern.BURSTY: (1.1, 0.7, 0.95, 1.0, 1.05, 0.92, 2.0, 1.08),
    Pattern.WEEKEND: (0.98, 1.0, 1.3, 0.9, 1.2, 0.8, 1.2, 0.95),
}
"""Demand as a share of the capacity of all accounts, in the order of the fleets.

A budget counts as capacity. Where one would run out only late in its month, whoever knows that
spends it early, which no policy that keeps money for last may do: `weekend-overflow` stays low for
that reason."""


@dataclass(frozen=True, slots=True)
class Spec:
    """One row of the set."""

    name: str
    pattern: Pattern
    load: float
    fleet: str
    seed: int


SUITE: dict[str, Spec] = {
    spec.name: spec
    for spec in (
        Spec(f"{pattern}-{fleet}", pattern, load, fleet, 100 * row + column)
        for row, (pattern, loads) in enumerate(LOADS.items(), 1)
        for column, (fleet, load) in enumerate(zip(FLEETS, loads, strict=True))
    )
}
QUICK = ("calm-pair", "bursty-scoped", "weekend-overflow")
"""Few that differ in all: for a first look."""


def build(spec: Spec, *, days: int = DAYS, seed: int = 0, life: bool = False) -> Case:
    """Requests and accounts of a row. In life the router's own demand is the same: accounts are
    larger by what comes from outside."""
    end = START + days * DAY
    rng = Random(f"{spec.seed}/{seed}")
    requests = _own(spec.pattern, end, days * REQUESTS_A_DAY, rng)
    return over(spec, requests, START, end, seed=seed, life=life)


def over(
    spec: Spec, requests: tuple[Request, ...], start: float, end: float, *, seed: int, life: bool
) -> Case:
    """Requests, from wherever they are, before the accounts of a row, at its load."""
    capacity = sum(r.tokens for r in requests) / spec.load
    subjects = sized(FLEETS[spec.fleet], capacity, start, end)
    if not life:
        return Case(spec.name, start, end, subjects, requests)
    larger = tuple(_larger(it, 1.0 / (1.0 - OUTSIDE)) for it in subjects)
    rng = Random(f"{spec.seed}/{seed}/life")
    drawn = chain.from_iterable(_outside(spec, it, start, end, rng) for it in larger)
    outside = tuple(sorted(drawn, key=lambda it: it.at))
    unread = rng.choice(larger).account.id
    day = start + rng.randrange(max(int((end - start) // DAY), 1)) * DAY
    bad = Life(seed=rng.randrange(2**32), unread=unread, unread_from=day, unread_until=day + DAY)
    return Case(spec.name, start, end, larger, requests, outside, bad)


def named(name: str) -> Spec:
    """Raises EvaluationError where the set has none of this name."""
    try:
        return SUITE[name]
    except KeyError:
        known = ", ".join(SUITE)
        raise EvaluationError(f"no workload is called {name}; there are {known}") from None


def _own(pattern: Pattern, end: float, count: int, rng: Random) -> tuple[Request, ...]:
    found: list[Request] = []
    drawn = sessions(pattern, MODELS, START, end, rng)
    while len(found) < count:
        found += next(drawn)
    return tuple(sorted(found, key=lambda it: (it.at, it.session)))


def _outside(
    spec: Spec, subject: Subject, start: float, end: float, rng: Random
) -> Sequence[Outside]:
    if subject.metered:
        return ()
    models = tuple((name, share) for name, share in MODELS if name in subject.models)
    wanted = OUTSIDE * spec.load * subject.capacity
    found: list[Outside] = []
    drawn = sessions(spec.pattern, models, start, end, rng)
    while wanted > 0.0:
        session = next(drawn)
        found += [Outside(r.at, subject.account.id, r.model, r.tokens) for r in session]
        wanted -= sum(r.tokens for r in session)
    return found


def _larger(subject: Subject, factor: float) -> Subject:
    return subject if subject.metered else subject.scaled(factor)
