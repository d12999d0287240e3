"""What is known, and how an event changes it. Pure: no clock, no I/O."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import assert_never

from core import budget, demand, estimate
from core.model import (
    Abilities,
    Account,
    AccountState,
    Cost,
    Source,
    Spend,
    State,
    Tokens,
    ToldSpend,
    Usage,
    Window,
)

type Meter = Mapping[str, Mapping[str, float]]

_FREE = Spend()
MEAN_STEP = 0.2
"""How much the latest answer weighs in the mean of them."""


@dataclass(frozen=True, slots=True)
class UsageRead:
    """The usage endpoint answered with a reading."""

    account: Account
    usage: Usage
    at: float
    poll_after: float


@dataclass(frozen=True, slots=True)
class UsageFailed:
    """The usage endpoint was asked and gave no reading. What was known stays known."""

    account: Account
    error: str
    at: float
    poll_after: float
    limited: bool = False


@dataclass(frozen=True, slots=True)
class LimitsSeen:
    """The headers of an answer named windows."""

    account: Account
    windows: tuple[Window, ...]


@dataclass(frozen=True, slots=True)
class RequestSent:
    """A request is on its way to the provider, and will take of the account's windows."""

    account: Account
    at: float


@dataclass(frozen=True, slots=True)
class RequestEnded:
    """A request is over. One that was only watched has no `sent_at`."""

    account: Account
    model: str
    """As the provider spells it."""
    tokens: Tokens
    sent_at: float | None
    writer: str
    """Which process counted it."""
    at: float = 0.0
    spend: Spend = _FREE
    """What it cost, where it is paid for by the token."""


@dataclass(frozen=True, slots=True)
class ModelsRead:
    """The provider's model list was read."""

    account: Account
    models: tuple[str, ...] | None
    """None is a list that may lack what the account may use."""
    at: float
    abilities: Mapping[str, Abilities] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Explored:
    """A session is sent to an account of whose limits nothing is known."""

    account: Account
    at: float


type Event = (
    UsageRead | UsageFailed | LimitsSeen | RequestSent | RequestEnded | ModelsRead | Explored
)


def apply(state: State, event: Event) -> State:
    known = state.of(event.account)
    match event:
        case UsageRead(usage=usage, at=at, poll_after=poll_after):
            known = replace(
                _read(known, usage.windows, _later(known.read_at, at if usage.windows else None)),
                plan=usage.plan or known.plan,
                polled_at=at,
                poll_after=poll_after,
                failures=0,
                error=None,
                limited_until=None,
                told_spend=budget.told(usage.spent, known.spent, at)
                if usage.spent
                else known.told_spend,
            )
        case UsageFailed(error=error, at=at, poll_after=poll_after, limited=limited):
            known = replace(
                known,
                polled_at=at,
                poll_after=poll_after,
                failures=known.failures + 1,
                error=error,
                limited_until=poll_after if limited else None,
            )
        case LimitsSeen(windows=windows):
            known = _read(known, windows, known.read_at)
        case RequestSent(at=at):
            known = replace(known, in_flight=(*known.in_flight, at))
        case RequestEnded(model=model, tokens=tokens, sent_at=sent_at, writer=writer) as ended:
            units = estimate.units(tokens)
            known = _passed(known, model, units, sent_at, writer)
            spent = budget.charged(known.spent, ended.spend, ended.at, writer)
            hours = demand.counted(known.hours, units, ended.at, writer)
            known = replace(known, spent=spent, hours=hours)
        case Explored(at=at):
            known = replace(known, explored_at=at)
        case ModelsRead(models=models, at=at, abilities=abilities):
            known = replace(known, models=models, abilities=abilities, models_at=at)
        case _:
            assert_never(event)
    return State({**state.accounts, event.account.id: known})


def merge(ours: State, theirs: State) -> State:
    """The newest of two views of the same accounts: per window, per poll, per model list."""
    merged = dict(theirs.accounts)
    for account_id, known in ours.accounts.items():
        other = merged.get(account_id)
        merged[account_id] = known if other is None else _merge_account(known, other)
    return State(merged)


def _merge_account(ours: AccountState, theirs: AccountState) -> AccountState:
    polled = ours if (ours.polled_at or 0.0) >= (theirs.polled_at or 0.0) else theirs
    listed = ours if (ours.models_at or 0.0) >= (theirs.models_at or 0.0) else theirs
    read_at = _later(ours.read_at, theirs.read_at)
    return AccountState(
        windows=_without_unsaid(_newest(theirs.windows, ours.windows), read_at),
        plan=polled.plan or ours.plan or theirs.plan,
        polled_at=polled.polled_at,
        poll_after=polled.poll_after,
        failures=polled.failures,
        error=polled.error,
        limited_until=polled.limited_until,
        models=listed.models,
        abilities=listed.abilities,
        models_at=listed.models_at,
        read_at=read_at,
        metered=_most(ours.metered, theirs.metered),
        hours=_most(ours.hours, theirs.hours),
        costs=_newest_costs(theirs.costs, ours.costs),
        spent=budget.merged(ours.spent, theirs.spent),
        told_spend=_newest_told(ours.told_spend, theirs.told_spend),
        in_flight=ours.in_flight,
        mean_units=ours.mean_units,
        explored_at=_later(ours.explored_at, theirs.explored_at),
    )


def _read(known: AccountState, windows: Iterable[Window], read_at: float | None) -> AccountState:
    """With these readings, each marked with the tokens that had passed by then."""
    marked = {w.name: replace(w, mark=estimate.metered(w, known.metered)) for w in windows}
    costs = dict(known.costs)
    for name, window in marked.items():
        held = known.windows.get(name)
        cost = None if held is None else estimate.learned(known, held, window)
        if cost is not None:
            costs[name] = cost
    newest = _without_unsaid(_newest(known.windows, marked), read_at)
    return replace(known, windows=newest, costs=costs, read_at=read_at)


def _without_unsaid(windows: Mapping[str, Window], read_at: float | None) -> dict[str, Window]:
    """Without those that the usage endpoint told of once and, asked again, no longer does."""
    return {
        name: window
        for name, window in windows.items()
        if window.source is not Source.ENDPOINT or read_at is None or window.as_of >= read_at
    }


def _passed(
    known: AccountState, model: str, units: float, sent_at: float | None, writer: str
) -> AccountState:
    under_way = list(known.in_flight)
    if sent_at in under_way:
        under_way.remove(sent_at)
    if units <= 0.0:
        return replace(known, in_flight=tuple(under_way))
    by_writer = known.metered.get(model, {})
    counted = {**by_writer, writer: by_writer.get(writer, 0.0) + units}
    mean = known.mean_units
    return replace(
        known,
        in_flight=tuple(under_way),
        metered={**known.metered, model: counted},
        mean_units=units if mean <= 0.0 else mean + MEAN_STEP * (units - mean),
    )


def _later(one: float | None, other: float | None) -> float | None:
    return max((at for at in (one, other) if at is not None), default=None)


def _most[K](
    ours: Mapping[K, Mapping[str, float]], theirs: Mapping[K, Mapping[str, float]]
) -> Mapping[K, Mapping[str, float]]:
    """Each writer's count where it is furthest: they only grow."""
    return {
        key: {
            writer: max(ours.get(key, {}).get(writer, 0.0), theirs.get(key, {}).get(writer, 0.0))
            for writer in {**theirs.get(key, {}), **ours.get(key, {})}
        }
        for key in {**theirs, **ours}
    }


def _newest_told(ours: ToldSpend | None, theirs: ToldSpend | None) -> ToldSpend | None:
    if ours is None or theirs is None:
        return ours or theirs
    return ours if ours.at >= theirs.at else theirs


def _newest_costs(old: Mapping[str, Cost], new: Mapping[str, Cost]) -> dict[str, Cost]:
    merged = dict(old)
    for name, cost in new.items():
        held = merged.get(name)
        if held is None or held.at <= cost.at:
            merged[name] = cost
    return merged


def _newest(old: Mapping[str, Window], new: Mapping[str, Window]) -> dict[str, Window]:
    merged = dict(old)
    for name, window in new.items():
        held = merged.get(name)
        if held is None or held.as_of <= window.as_of:
            merged[name] = window if held is None else _completed(window, held)
    return merged


def _completed(window: Window, held: Window) -> Window:
    """A newer reading that does not say when the window resets leaves that as it was known."""
    if window.resets_at is not None or (held.resets_at or 0.0) <= window.as_of:
        return window
    return replace(
        window, resets_at=held.resets_at, duration_s=window.duration_s or held.duration_s
    )
