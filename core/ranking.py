"""Puts candidates in order: what each mode makes of them, blended, and how ties are settled."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import exp

from core.model import Mode, Policy, Speed
from core.standing import TIE, Judged, Rank

FORGIVEN_S = 600.0
"""How fast a slow answer is forgotten."""
OPTIMISM = 0.98
"""What is not known is a little better than the best: it gets tried, once in a while."""
USUAL_ANSWER_TOKENS = 300.0
"""For how long an answer takes as a whole."""
PROMPT_SHARE, CACHE_SHARE, ANSWER_SHARE = 0.09, 0.89, 0.02
"""Of an agent's tokens: most of them come out of the cache."""
SPREAD = 1.0
"""Points for each request under way, by which sub-agents go to different accounts."""


@dataclass(slots=True)
class Value:
    """What the policy makes of a candidate: less is better."""

    rank: Rank
    inner: Rank
    """Among metered accounts, the rank that each would have if it were none."""
    points: float


type Values = Mapping[int, Value]
"""By `Judged.order`."""


def values(
    able: Sequence[Judged], now: float, policy: Policy, under_way: Sequence[int] | None
) -> Values:
    """`under_way` is how busy each is, where requests are to be spread."""
    weights = policy.weights
    total = sum(weights.values())
    between = any(judged.rank is Rank.UNKNOWN for judged in able)
    columns = [(weight / total, _POINTS[mode](able, now)) for mode, weight in weights.items()]
    found = {}
    alone = columns[0][1] if len(columns) == 1 else None
    for at, judged in enumerate(able):
        points = alone[at] if alone else sum(weight * column[at] for weight, column in columns)
        if under_way is not None:
            points += SPREAD * under_way[at]
        found[judged.order] = Value(*_ranks(judged, policy, between), points)
    return found


def _ranks(judged: Judged, policy: Policy, between: bool) -> tuple[Rank, Rank]:  # noqa: FBT001
    """Modes other than pace go by their own measure alone among the accounts that rank alike.

    Accounts of which all is known go by points, whether ahead of their pace or behind it, unless
    one that is unknown has its place between those.
    """
    if Mode.PRIORITY in policy.weights and len(policy.weights) == 1:
        return Rank.HEADROOM, Rank.HEADROOM
    metered = judged.rank is Rank.METERED
    if Mode.PACE not in policy.weights:
        return Rank.METERED if metered else Rank.HEADROOM, Rank.HEADROOM
    if not metered:
        ahead = judged.rank is Rank.AHEAD_OF_PACE and not between
        rank = Rank.HEADROOM if ahead else judged.rank
        return rank, rank
    if judged.score is None:
        return Rank.METERED, Rank.UNKNOWN
    return Rank.METERED, Rank.HEADROOM if judged.delta <= TIE else Rank.AHEAD_OF_PACE


def best(able: Sequence[Judged], found: Values) -> Judged:
    """Points that tie are settled by the order."""
    if len(able) == 1:
        return able[0]
    first = min((found[j.order].rank, found[j.order].inner) for j in able)
    peers = [j for j in able if (found[j.order].rank, found[j.order].inner) == first]
    lowest = min(found[j.order].points for j in peers)
    return next(j for j in peers if found[j.order].points <= lowest + TIE)


def ranked(able: Sequence[Judged], found: Values) -> list[Judged]:
    """Best first."""
    rest = list(able)
    order: list[Judged] = []
    while rest:
        first = best(rest, found)
        order.append(first)
        rest.remove(first)
    return order


def _pace(able: Sequence[Judged], _now: float) -> list[float]:
    return [judged.score or 0.0 for judged in able]


def _drain(able: Sequence[Judged], now: float) -> list[float]:
    """How long it is until the window that carries an account's value resets."""
    resets = [None if j.carrier is None else j.carrier.resets_at for j in able]
    return _of_the_most([None if at is None else at - now for at in resets])


def _cheapest(able: Sequence[Judged], _now: float) -> list[float]:
    """What an agent's usual tokens cost; a subscription's are paid already."""
    return _of_the_most([_cost(judged) for judged in able])


def _cost(judged: Judged) -> float | None:
    price = judged.candidate.price
    if not judged.paid:
        return 0.0
    if price is None:
        return None
    return PROMPT_SHARE * price.input + CACHE_SHARE * price.cache_read + ANSWER_SHARE * price.output


def _fastest(able: Sequence[Judged], now: float) -> list[float]:
    """How long a usual answer took of late. What was slow is forgiven as time goes by."""
    speeds = [judged.candidate.speed for judged in able]
    own = [None if it is None else _seconds(it) for it in speeds]
    hoped = OPTIMISM * min((it for it in own if it is not None), default=0.0)
    expected: list[float | None] = []
    for speed, seconds in zip(speeds, own, strict=True):
        if speed is None or seconds is None:
            expected.append(hoped)
        else:
            sure = exp(-max(now - speed.at, 0.0) / FORGIVEN_S)
            expected.append(sure * seconds + (1.0 - sure) * min(seconds, hoped))
    return _of_the_most(expected)


def _seconds(speed: Speed) -> float:
    return speed.first_token_s + speed.spread_s / 2 + USUAL_ANSWER_TOKENS / speed.tokens_per_s


def _priority(able: Sequence[Judged], _now: float) -> list[float]:
    return _of_the_most([float(judged.order) for judged in able])


def _of_the_most(figures: Sequence[float | None]) -> list[float]:
    """Each as percent of the largest; one that is not known is a little worse than that."""
    most = max((figure for figure in figures if figure is not None), default=0.0)
    if most <= 0.0:
        return [0.0 if figure is not None else 1.0 for figure in figures]
    return [101.0 if figure is None else 100.0 * figure / most for figure in figures]


_POINTS = {
    Mode.PACE: _pace,
    Mode.DRAIN: _drain,
    Mode.CHEAPEST: _cheapest,
    Mode.FASTEST: _fastest,
    Mode.PRIORITY: _priority,
}
