"""What is asked for: conversations of turns, each a tool loop, with sub-agents. Made up, by seed.

Nothing here knows an account or a policy.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import accumulate
from math import exp
from random import Random

from core.reading import DAY, HOUR

LONGEST_LOOP = 20
MEAN_LOOP = 4.0
MEAN_TURNS = 3.0
SUBAGENT_OF_TURN = 0.08
"""The share of turns that send a sub-agent off."""
FIRST_CONTEXT = (6_000, 16_000)
FULL_CONTEXT = 120_000
"""Where a client compacts the conversation."""
CACHE_READ, OUTPUT = 0.1, 5.0
"""In tokens of input, by the list prices: what quota seems to be counted in."""


class Pattern(StrEnum):
    """When people work."""

    CALM = "calm"
    """Working hours, Monday to Friday; little in the evening and at weekends."""
    BURSTY = "bursty"
    """Working hours, and every day or so some hours of many times as much, at any time."""
    WEEKEND = "weekend"
    """Saturdays and Sundays have most of it, evenings the rest."""


@dataclass(frozen=True, slots=True)
class Request:
    """One request of one conversation."""

    at: float
    session: str
    model: str
    tokens: int
    """What it takes of the windows, in quota tokens."""
    context: int = 0
    """Tokens of the conversation so far, which its account holds in its prompt cache."""
    tool_loop: bool = False
    """It hands back a tool's result."""
    parent: str | None = None
    """The session that sent this one off, where it is a sub-agent's."""


def sessions(
    pattern: Pattern, models: Sequence[tuple[str, float]], start: float, end: float, rng: Random
) -> Iterator[list[Request]]:
    """Conversations without end, each with its sub-agents, in no order of time.

    `models` are names with the share of conversations that use each.
    """
    weights = _hours(pattern, start, end, rng)
    cumulative = list(accumulate(weights))
    names, shares = [name for name, _ in models], [share for _, share in models]
    number = 0
    while True:
        number += 1
        hour = rng.choices(range(len(weights)), cum_weights=cumulative)[0]
        model = rng.choices(names, shares)[0]
        at = start + (hour + rng.random()) * HOUR
        found = _conversation(f"s{number}", model, names[-1], at, rng)
        yield [request for request in found if request.at < end]


def _hours(pattern: Pattern, start: float, end: float, rng: Random) -> list[float]:
    """How much is begun in each hour from the start on, relative to each other."""
    hours = int((end - start) // HOUR)
    weights = [_weight(pattern, start + n * HOUR) for n in range(hours)]
    if pattern is Pattern.BURSTY:
        for _ in range(round((end - start) / DAY * 0.8)):
            first, length = rng.randrange(hours), rng.randint(2, 4)
            for n in range(first, min(first + length, hours)):
                weights[n] += 3.0
    return weights


def _weight(pattern: Pattern, at: float) -> float:
    # The epoch was a Thursday.
    hour, weekday = at % DAY / HOUR, (at // DAY + 3) % 7
    weekend, working, evening = weekday >= 5, 8 <= hour < 18, 18 <= hour < 23  # noqa: PLR2004
    if pattern is Pattern.WEEKEND:
        if weekend:
            return 1.0 if working or evening else 0.1
        return 0.25 if evening else 0.02
    if weekend or not working:
        return 0.15 if evening else 0.03
    return 0.6 if 12 <= hour < 13 else 1.0  # noqa: PLR2004


def _conversation(
    session: str, model: str, lesser: str, at: float, rng: Random
) -> Iterator[Request]:
    context = rng.randint(*FIRST_CONTEXT)
    agents = 0
    for _ in range(_geometric(MEAN_TURNS, 30, rng)):
        if rng.random() < SUBAGENT_OF_TURN:
            agents += 1
            own = model if rng.random() < 0.5 else lesser  # noqa: PLR2004
            first = rng.randint(*FIRST_CONTEXT)
            yield from _turn(f"{session}.{agents}", own, at + 5.0, first, rng, parent=session)
        turn = list(_turn(session, model, at, context, rng))
        yield from turn
        context = turn[-1].context + 500
        if context > FULL_CONTEXT:
            context = rng.randint(*FIRST_CONTEXT)
        at = turn[-1].at + 20.0 + _lognormal(180.0, 1.2, rng)


def _turn(
    session: str, model: str, at: float, context: int, rng: Random, *, parent: str | None = None
) -> Iterator[Request]:
    for step in range(_geometric(MEAN_LOOP, LONGEST_LOOP, rng)):
        new, output = round(_lognormal(900.0, 0.6, rng)), round(_lognormal(450.0, 0.6, rng))
        tokens = round(CACHE_READ * context + new + OUTPUT * output)
        yield Request(round(at, 3), session, model, tokens, context, step > 0, parent)
        context += new + output
        at += 4.0 + _lognormal(8.0, 0.7, rng)


def _geometric(mean: float, most: int, rng: Random) -> int:
    count = 1
    while count < most and rng.random() < 1.0 - 1.0 / mean:
        count += 1
    return count


def _lognormal(median: float, sigma: float, rng: Random) -> float:
    return median * exp(rng.gauss(0.0, sigma))
