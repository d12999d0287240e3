"""Simulated accounts: what they serve, and every run of their windows from start to end.

The grid is cut at both ends of the time simulated, and capacity with it, in proportion: else the
optimum, which knows when all ends, would empty windows that nobody should have emptied by then.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from core.model import Account, AccountKind
from core.reading import DAY, HOUR, month_before, month_end

SIGN_IN = "simulated"
FIVE_HOURS, WEEK, MONTH = 5 * HOUR, 7 * DAY, 30 * DAY


@dataclass(frozen=True, slots=True)
class Run:
    """One window from its start to its reset."""

    start: float
    end: float
    capacity: float
    """Quota tokens."""


@dataclass(frozen=True, slots=True)
class Limit:
    """One kind of window, with all its runs: they follow each other without a gap."""

    name: str
    runs: tuple[Run, ...]
    scope: str | None = None
    """The model that it binds; None binds every model."""

    @property
    def capacity(self) -> float:
        return sum(run.capacity for run in self.runs)

    @property
    def longest_run(self) -> float:
        """Seconds."""
        return max(run.end - run.start for run in self.runs)


@dataclass(frozen=True, slots=True)
class Subject:
    """One account."""

    account: Account
    models: frozenset[str]
    limits: tuple[Limit, ...]
    usd_per_token: float = 0.0

    @property
    def metered(self) -> bool:
        return self.account.kind is AccountKind.METERED

    @property
    def longest(self) -> Limit:
        """The longest of the windows that bind every model."""
        return max((it for it in self.limits if it.scope is None), key=lambda it: it.longest_run)

    @property
    def capacity(self) -> float:
        """Quota tokens, if all of its windows were always asked for."""
        return min(it.capacity for it in self.limits if it.scope is None)

    def scaled(self, factor: float) -> "Subject":
        """The same account with so many times the capacity."""
        return replace(self, limits=tuple(_scaled(it, factor) for it in self.limits))


@dataclass(frozen=True, slots=True)
class Weekly:
    """An account with five-hour and seven-day windows, as Claude's and ChatGPT's subscriptions."""

    name: str
    models: frozenset[str]
    rate: float
    """Quota tokens a second of its longest window; in a plan, relative to the other accounts."""
    five_hours_of_week: float
    """A five-hour window's capacity as a share of the week's."""
    phase: float = 0.0
    """When a week resets, in seconds after the start of the time simulated."""
    of_model: tuple[str, float] | None = None
    """A model that has a week of its own, and what share of the whole week that is."""

    def build(self, unit: float, start: float, end: float) -> Subject:
        week = self.rate * unit * WEEK
        short = week * self.five_hours_of_week
        # Five hours begin when they were first used, so not on the hour, nor together.
        first = start + self.phase % FIVE_HOURS
        limits = [
            Limit("five_hour", tuple(grid(first, FIVE_HOURS, short, start, end))),
            Limit("seven_day", tuple(grid(start + self.phase, WEEK, week, start, end))),
        ]
        if self.of_model is not None:
            model, share = self.of_model
            runs = tuple(grid(start + self.phase, WEEK, week * share, start, end))
            limits.append(Limit(f"seven_day_{model}", runs, model))
        account = Account(self.name, SIGN_IN, AccountKind.SUBSCRIPTION)
        return Subject(account, self.models, tuple(limits))


@dataclass(frozen=True, slots=True)
class Monthly:
    """An account with calendar months: a subscription as Copilot's, or a key with a budget."""

    name: str
    models: frozenset[str]
    rate: float
    usd_per_token: float = 0.0
    """Above zero it is a pay-per-token account, and the months are its budget."""

    def build(self, unit: float, start: float, end: float) -> Subject:
        runs = tuple(months(self.rate * unit * MONTH, start, end))
        metered = self.usd_per_token > 0.0
        kind = AccountKind.METERED if metered else AccountKind.SUBSCRIPTION
        limit = Limit("budget" if metered else "month", runs)
        account = Account(self.name, SIGN_IN, kind)
        return Subject(account, self.models, (limit,), self.usd_per_token)


def _scaled(limit: Limit, factor: float) -> Limit:
    runs = tuple(replace(run, capacity=factor * run.capacity) for run in limit.runs)
    return replace(limit, runs=runs)


type Plan = Weekly | Monthly


def sized(
    plans: tuple[Plan, ...], capacity: float, start: float, end: float
) -> tuple[Subject, ...]:
    """The accounts at such a scale that together they have so many quota tokens."""
    relative = sum(plan.build(1.0, start, end).capacity for plan in plans)
    return tuple(plan.build(capacity / relative, start, end) for plan in plans)


def grid(
    boundary: float, length: float, capacity: float, start: float, end: float
) -> Iterator[Run]:
    """Windows of one length, of which one begins at `boundary`, cut to start and end."""
    at = boundary - ((boundary - start) // length + 1) * length
    while at < end:
        lower, upper = max(at, start), min(at + length, end)
        if lower < upper:
            yield Run(lower, upper, capacity * (upper - lower) / length)
        at += length


def months(capacity: float, start: float, end: float) -> Iterator[Run]:
    """Calendar months in UTC, cut to start and end."""
    at = start
    while at < end:
        reset = month_end(at)
        upper = min(reset, end)
        yield Run(at, upper, capacity * (upper - at) / month_before(reset))
        at = reset
