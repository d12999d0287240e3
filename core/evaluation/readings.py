"""What the router knows of the accounts: all as it is, or as it is in life: late, noisy, not at all.

What it learns goes through the state's own door, `core.state.apply`.
"""

from collections.abc import Iterable, Mapping
from random import Random
from typing import Protocol

from core import demand, state
from core.evaluation.case import Life
from core.evaluation.meters import SPENT, Meter, Meters
from core.model import Account, AccountState, State, Tokens, Usage, Window

WRITER = "evaluation"


class Readings(Protocol):
    """By account id everywhere. `now` never goes back."""

    def tick(self, now: float, /) -> None:
        """Before anything happens at `now`; every meter stands as after what happened last."""

    def state(self, accounts: Iterable[str], now: float, /) -> State:
        """What is known of these accounts, at the least."""

    def served(self, account: Account, model: str, tokens: int, now: float, /) -> None:
        """An answer passed."""

    def rejected(self, account: Account, full: Iterable[Meter], now: float, /) -> None:
        """An answer was 429 and named the windows that are spent."""


class Perfect:
    """Every window, as it is, at every decision."""

    def __init__(self, meters: Mapping[str, Meters]) -> None:
        self._meters = meters
        self._passed: dict[str, AccountState] = {}

    def tick(self, now: float) -> None:
        """Nothing is read ahead of a decision."""

    def state(self, accounts: Iterable[str], now: float) -> State:
        known = {name: self._known(self._meters[name], now) for name in accounts}
        return State({**self._passed, **known})

    def _known(self, meters: Meters, now: float) -> AccountState:
        meters.roll(now)
        windows = {m.limit.name: m.window(now, m.used_percent) for m in meters.all}
        passed = self._passed.get(meters.subject.account.id)
        return AccountState(windows, hours={} if passed is None else passed.hours)

    def served(self, account: Account, _model: str, tokens: int, now: float) -> None:
        """The next decision reads the windows; only when it was, is remembered."""
        passed = self._passed.get(account.id)
        hours = demand.counted({} if passed is None else passed.hours, tokens, now, WRITER)
        self._passed[account.id] = AccountState(hours=hours)

    def rejected(self, account: Account, full: Iterable[Meter], now: float) -> None:
        """The next decision reads it."""


class Late:
    """Each account is read at its interval, with noise; one is not read at all for a time."""

    def __init__(self, meters: Mapping[str, Meters], life: Life) -> None:
        self._meters = meters
        self._life = life
        self._rng = Random(life.seed)
        self._state = State()
        self._due = 0.0
        self._forgotten = False

    def tick(self, now: float) -> None:
        """Where several readings fell due since, only the newest counts: nothing happened since."""
        if now < self._due:
            return
        at = now // self._life.interval * self._life.interval
        self._due = at + self._life.interval
        for name, meters in self._meters.items():
            meters.roll(at)
            windows = tuple(self._read(m, at) for m in meters.all)
            if self._unread(name, at):
                # What was known before is forgotten, once; what a 429 says from then on is not.
                if not self._forgotten:
                    self._forgotten = True
                    self._forget(name)
                continue
            read = state.UsageRead(meters.subject.account, Usage(windows), at, self._due)
            self._state = state.apply(self._state, read)

    def _read(self, meter: Meter, at: float) -> Window:
        noise = self._rng.uniform(-self._life.noise, self._life.noise)
        # "Rejected" is a word, not a figure: there is no noise on it.
        used = SPENT if meter.closed else min(max(meter.used_percent + noise, 0.0), SPENT)
        return meter.window(at, used)

    def _unread(self, name: str, at: float) -> bool:
        life = self._life
        return name == life.unread and life.unread_from <= at < life.unread_until

    def _forget(self, name: str) -> None:
        known = self._state.accounts.get(name, AccountState())
        self._state = State({**self._state.accounts, name: AccountState(hours=known.hours)})

    def state(self, _accounts: Iterable[str], _now: float) -> State:
        return self._state

    def served(self, account: Account, model: str, tokens: int, now: float) -> None:
        # Quota tokens are counted as input, since all else is weighed into them already.
        ended = state.RequestEnded(account, model, Tokens(input=tokens), None, WRITER, at=now)
        self._state = state.apply(self._state, ended)

    def rejected(self, account: Account, full: Iterable[Meter], now: float) -> None:
        windows = tuple(meter.window(now, SPENT) for meter in full)
        self._state = state.apply(self._state, state.LimitsSeen(account, windows))
