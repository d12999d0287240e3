"""What limits had left when they reset, as far as a log of decisions tells."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from core.model import AccountKind, Verdict, Window
from core.pace import SPENT

SAME_RUN = 0.5
"""Of a window's length. Resets of one run differ by seconds, those of the next by all of it."""

JUST_BEGUN_S = 60.0


@dataclass(frozen=True, slots=True)
class Expired:
    """The runs of one account's longest window that ended while the log was kept."""

    provider: str
    account: str
    """Its id."""
    window: str
    unused_percent: tuple[float, ...]
    """Of each run, by its last figure."""

    @property
    def windows(self) -> float:
        """1 is a whole window that nobody used."""
        return sum(self.unused_percent) / SPENT


class Expiry:
    """Told of the windows at each decision, in the order of time.

    Runs in which nothing was decided were not seen, and are not in it.
    """

    def __init__(self) -> None:
        self._seen: dict[tuple[str, str, str], list[Window]] = {}
        """The last figure of each run, by provider, account and name."""

    def look(self, verdicts: Iterable[Verdict], now: float) -> None:
        for verdict in verdicts:
            account = verdict.candidate.account
            if account is None or account.kind is AccountKind.METERED:
                continue
            longest = _longest([view.window for view in verdict.windows], now)
            if longest is not None:
                runs = self._seen.setdefault((account.provider, account.id, longest.name), [])
                if runs and _is_same_run(runs[-1], longest):
                    runs.pop()
                runs.append(longest)

    def found(self, now: float) -> Iterator[Expired]:
        """Those that have reset by now."""
        for (provider, account, window), runs in sorted(self._seen.items()):
            over = [it for it in runs if it.resets_at is not None and it.resets_at <= now]
            unused = tuple(min(max(SPENT - it.used_percent, 0.0), SPENT) for it in over)
            if unused:
                yield Expired(provider, account, window, unused)


def _longest(windows: Sequence[Window], now: float) -> Window | None:
    """Of those that bind every model: what one model alone may use is a part of it."""
    measured = [
        (it.duration_s, it)
        for it in windows
        if it.duration_s is not None and it.resets_at is not None and it.scope is None
    ]
    length, longest = max(measured, key=lambda each: each[0], default=(0.0, None))
    if longest is None or longest.resets_at is None:
        return None
    # Until somebody uses it, it does not run: its reset goes with the clock.
    waits = longest.used_percent <= 0.0 and longest.resets_at > now + length - JUST_BEGUN_S
    return None if waits else longest


def _is_same_run(held: Window, seen: Window) -> bool:
    assert held.resets_at is not None
    assert seen.resets_at is not None
    assert seen.duration_s is not None
    return seen.resets_at - held.resets_at < SAME_RUN * seen.duration_s
