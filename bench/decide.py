"""How long one decision takes: ten candidates of four windows each, as the engine asks for it.

    uv run python -m bench.decide

Microseconds of processor time, which what else the machine does is no part of. Nothing is asserted.
"""

from collections.abc import Callable
from itertools import accumulate
from time import thread_time_ns

from core.model import (
    Account,
    AccountKind,
    AccountState,
    Ask,
    Candidate,
    Decision,
    Policy,
    Source,
    State,
    Week,
    Window,
    Wire,
)
from core.routing import decide

NOW = 1_795_000_000.0
HOUR = 3600.0
MODEL = "claude-sonnet-4-5"
CANDIDATES = 10
WARM_UP, ROUNDS = 500, 20_000
WINDOWS = (
    ("five_hour", 5 * HOUR, None),
    ("seven_day", 168 * HOUR, None),
    ("seven_day_sonnet", 168 * HOUR, "sonnet"),
    ("month", 720 * HOUR, None),
)
WORKING_WEEK = tuple(5.0 if hour % 24 in range(9, 18) and hour // 24 < 5 else 0.1 for hour in range(168))  # fmt: skip  # noqa: PLR2004


def main() -> None:
    accounts = [Account(f"p{n}", "me", AccountKind.SUBSCRIPTION) for n in range(CANDIDATES)]
    candidates = [Candidate(it.provider, MODEL, it) for it in accounts]
    state = State({it.id: _known(n) for n, it in enumerate(accounts)})
    ask = Ask(Wire.MESSAGES, MODEL, session="s")
    week = Week(tuple(accumulate(WORKING_WEEK, initial=0.0)))
    print(f"decide, {CANDIDATES} candidates of {len(WINDOWS)} windows, {ROUNDS:,} times")
    for name, policy in (("by the clock", Policy()), ("by the usual week", Policy(week=week))):

        def once(policy: Policy = policy) -> Decision:
            return decide(ask, candidates, state, NOW, policy)

        p50, p99 = _measured(once)
        print(f"  {name:18} p50 {p50:6.1f} us   p99 {p99:6.1f} us")
    told = _measured(lambda: decide(ask, candidates, state, NOW).reason)
    print(f"  {'and its reason':18} p50 {told[0]:6.1f} us   p99 {told[1]:6.1f} us   (on demand)")


def _known(number: int) -> AccountState:
    windows = {
        name: Window(
            name,
            10.0 + 7.0 * number,
            NOW + length * (0.9 - 0.08 * number),
            length,
            Source.HEADER,
            NOW,
            scope,
        )
        for name, length, scope in WINDOWS
    }
    return AccountState(windows, explored_at=NOW)


def _measured(once: Callable[[], object]) -> tuple[float, float]:
    """The median and the 99th percentile, in microseconds."""
    for _ in range(WARM_UP):
        once()
    taken = []
    for _ in range(ROUNDS):
        began = thread_time_ns()
        once()
        taken.append(thread_time_ns() - began)
    taken.sort()
    return taken[ROUNDS // 2] / 1000, taken[ROUNDS * 99 // 100] / 1000


if __name__ == "__main__":
    main()
