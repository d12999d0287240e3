"""What is known, and how an event changes it. Pure: no clock, no I/O."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import assert_never

from core.model import Account, AccountState, State, Usage, Window


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
class ModelsRead:
    """The provider's model list was read."""

    account: Account
    models: tuple[str, ...]
    at: float


type Event = UsageRead | UsageFailed | LimitsSeen | ModelsRead


def apply(state: State, event: Event) -> State:
    known = state.of(event.account)
    match event:
        case UsageRead(usage=usage, at=at, poll_after=poll_after):
            known = replace(
                known,
                windows=_newest(known.windows, {w.name: w for w in usage.windows}),
                plan=usage.plan or known.plan,
                polled_at=at,
                poll_after=poll_after,
                failures=0,
                error=None,
                limited_until=None,
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
            known = replace(known, windows=_newest(known.windows, {w.name: w for w in windows}))
        case ModelsRead(models=models, at=at):
            known = replace(known, models=models, models_at=at)
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
    return AccountState(
        windows=_newest(theirs.windows, ours.windows),
        plan=polled.plan or ours.plan or theirs.plan,
        polled_at=polled.polled_at,
        poll_after=polled.poll_after,
        failures=polled.failures,
        error=polled.error,
        limited_until=polled.limited_until,
        models=listed.models,
        models_at=listed.models_at,
    )


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
