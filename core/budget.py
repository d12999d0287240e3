"""What a pay-per-token account has spent of what it may spend. Pure: `now` is an argument."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from core.catalog import Tariff
from core.model import (
    AccountState,
    Budget,
    Period,
    Price,
    Source,
    Spend,
    Tokens,
    ToldSpend,
    Window,
)
from core.pace import SPENT
from core.reading import DAY, day_end, month_before, month_end, week_end

NAME = "budget"
KEPT_DAYS = 40
"""More than the longest period has."""
MOST_PERCENT = 1e6
"""What is beyond that is as spent, and a cent's budget makes no figure too large to be one."""

type ByDay = Mapping[int, Mapping[str, Spend]]

_NOTHING = Spend()
_MILLION = 1e6
_ENDS: Mapping[Period, Callable[[float], float]] = {
    Period.DAY: day_end,
    Period.WEEK: week_end,
    Period.MONTH: month_end,
}
_LENGTHS: Mapping[Period, Callable[[float], float]] = {
    Period.DAY: lambda _: DAY,
    Period.WEEK: lambda _: 7 * DAY,
    Period.MONTH: month_before,
}


@dataclass(frozen=True, slots=True)
class Spent:
    """What went out in the running period, as far as it is known."""

    usd: float
    """Of what has a price."""
    unpriced: tuple[str, ...] = ()
    """The models that have none and were used, in order."""
    as_of: float = 0.0
    told: bool = False
    """The provider's own figure is in it, which has all up to its reading."""

    @property
    def known(self) -> bool:
        """Whether `usd` is all of it, at `as_of`."""
        return self.told or not self.unpriced


def charge(tariff: Tariff | None, model: str, tokens: Tokens) -> Spend:
    """What an answer cost. `model` is the provider's spelling."""
    prompt = (tokens.input or 0) + (tokens.cache_read or 0) + (tokens.cache_write or 0)
    everything = float(prompt + (tokens.output or 0))
    if tariff is None:
        return Spend(unpriced={model: everything}) if everything else _NOTHING
    price = _price(tariff, prompt)
    usd = (
        (tokens.input or 0) * price.input
        + (tokens.output or 0) * price.output
        + (tokens.cache_read or 0) * price.cache_read
        + (tokens.cache_write or 0) * price.cache_write
    )
    return Spend(usd / _MILLION)


def _price(tariff: Tariff, prompt: int) -> Price:
    return next((p for size, p in reversed(tariff.beyond) if prompt > size), tariff.price)


def window(budget: Budget, known: AccountState, now: float) -> Window | None:
    """The budget as a window of the account, full when it is spent.

    None where something was used that has no price: what is spent is not known then, unless the
    rest alone is as much as the budget.
    """
    found = spent(known, budget.per, now)
    used = min(100.0 * found.usd / budget.usd, MOST_PERCENT)
    if not found.known and used < SPENT:
        return None
    end = _ENDS[budget.per](now)
    length = _LENGTHS[budget.per](end)
    return Window(NAME, used, end, length, Source.DECLARED, found.as_of)


def spent(known: AccountState, per: Period, now: float) -> Spent:
    """The provider's own figure, where it is of this period, and what we have counted since."""
    counted = _counted(known.spent, per, now)
    told = known.told_spend
    if told is None or per not in told.usd or not _start(per, now) <= told.at <= now:
        return Spent(counted.usd, tuple(sorted(counted.unpriced)), now)
    then = told.counted.get(per, _NOTHING)
    since = max(counted.usd - then.usd, 0.0)
    unpriced = [m for m, tokens in counted.unpriced.items() if tokens > then.unpriced.get(m, 0.0)]
    # What has no price is in the figure as of its reading, and in none since.
    as_of = told.at if unpriced else now
    return Spent(told.usd[per] + since, tuple(sorted(unpriced)), as_of, told=True)


def told(usd: Mapping[Period, float], by_day: ByDay, at: float) -> ToldSpend:
    """The provider's own figures as they are kept: beside what we had counted by then."""
    return ToldSpend(usd, at, {per: _counted(by_day, per, at) for per in usd})


def _start(per: Period, now: float) -> float:
    end = _ENDS[per](now)
    return end - _LENGTHS[per](end)


def _counted(by_day: ByDay, per: Period, now: float) -> Spend:
    """In the running period. Periods begin and end with a day."""
    begin, end = _start(per, now), _ENDS[per](now)
    return _sum(
        spend
        for day, writers in by_day.items()
        if begin <= day * DAY < end
        for spend in writers.values()
    )


def _sum(spends: Iterable[Spend]) -> Spend:
    usd, unpriced = 0.0, dict[str, float]()
    for spend in spends:
        usd += spend.usd
        for model, tokens in spend.unpriced.items():
            unpriced[model] = unpriced.get(model, 0.0) + tokens
    return Spend(usd, unpriced)


def charged(by_day: ByDay, spend: Spend, at: float, writer: str) -> ByDay:
    """With what an answer cost that ended at this time."""
    if not spend.usd and not spend.unpriced:
        return by_day
    day = int(at // DAY)
    writers = by_day.get(day, {})
    counted = _sum((writers.get(writer, _NOTHING), spend))
    return {**kept(by_day, at), day: {**writers, writer: counted}}


def kept(by_day: ByDay, now: float) -> ByDay:
    """Without the days that no period reaches back to."""
    first = now // DAY - KEPT_DAYS
    return {day: writers for day, writers in by_day.items() if day >= first}


def merged(ours: ByDay, theirs: ByDay) -> ByDay:
    """Each writer's count where it is furthest: they only grow."""
    return {
        day: {
            writer: _most(
                ours.get(day, {}).get(writer, _NOTHING), theirs.get(day, {}).get(writer, _NOTHING)
            )
            for writer in {**theirs.get(day, {}), **ours.get(day, {})}
        }
        for day in {**theirs, **ours}
    }


def _most(one: Spend, other: Spend) -> Spend:
    models = {**one.unpriced, **other.unpriced}
    tokens = {m: max(one.unpriced.get(m, 0.0), other.unpriced.get(m, 0.0)) for m in models}
    return Spend(max(one.usd, other.usd), tokens)
