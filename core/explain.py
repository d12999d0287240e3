"""Says why: one candidate's standing, and a whole decision, in words. Rendered on demand."""

import re
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime

from core import pace
from core.model import (
    Explanation,
    Mode,
    Policy,
    Verdict,
    Window,
    WindowView,
)
from core.standing import Judged

TOOL_LOOP = "in the middle of a tool loop"


class Telling:
    """What a decision stands on, told once and only if somebody asks."""

    __slots__ = ("_make", "_told")

    def __init__(self, make: Callable[[], Explanation]) -> None:
        self._make = make
        self._told: Explanation | None = None

    def __call__(self) -> Explanation:
        if self._told is None:
            self._told = self._make()
        return self._told


def verdicts(
    ranked: Sequence[Judged], others: Sequence[Judged], now: float, policy: Policy
) -> tuple[Verdict, ...]:
    """In order of preference, those that cannot serve last."""
    return tuple(_verdict(judged, now, policy) for judged in (*ranked, *others))


def _verdict(judged: Judged, now: float, policy: Policy) -> Verdict:
    views = tuple(pace.view(window, now, policy.schedule) for window in judged.windows)
    why = _why(judged, now, policy)
    relief = None if judged.able or judged.not_pinned else relief_at(judged)
    return Verdict(judged.candidate, judged.able, judged.score, views, why, relief)


def relief_at(judged: Judged) -> float | None:
    """When the last of its spent windows resets; None where that is not known."""
    if judged.candidate.problem is not None or not judged.spent:
        return None
    resets = [window.resets_at for window in judged.spent]
    return None if None in resets else max(at for at in resets if at is not None)


def _why(judged: Judged, now: float, policy: Policy) -> str:
    candidate = judged.candidate
    if candidate.account is None or candidate.problem is not None:
        return candidate.problem or "no credential"
    if judged.not_pinned:
        return f"{policy.pin} is pinned"
    if judged.excluded_unknown:
        return "usage unknown, which the policy excludes"
    if not judged.able:
        return _spent(judged, now)
    return "; ".join([_standing(judged, now, policy), *_by_mode(judged, now, policy)])


def _spent(judged: Judged, now: float) -> str:
    kept = judged.candidate.reserve
    gone = [w.name for w in judged.spent if w.used_percent >= pace.SPENT]
    held = [w.name for w in judged.spent if w.used_percent < pace.SPENT]
    parts = []
    if gone:
        parts.append(f"{' and '.join(gone)} {'is' if len(gone) == 1 else 'are'} spent")
    parts += [f"{name} is down to its reserve of {kept[name]:g}%" for name in held]
    relief = relief_at(judged)
    why = " and ".join(parts) + ("" if relief is None else f", resets in {span(relief - now)}")
    if all(window.overage for window in judged.spent):
        why += "; what lies beyond costs money and needs `overage: true`"
    return why


def _standing(judged: Judged, now: float, policy: Policy) -> str:
    if judged.spent:
        names = " and ".join(window.name for window in judged.spent)
        return f"pays for what lies beyond {names}"
    prefix = "pay per token, " if judged.paid else ""
    if judged.carrier is None or judged.score is None:
        return prefix + ("after every subscription" if judged.paid else "usage unknown")
    carrier = pace.view(judged.carrier, now, policy.schedule)
    why = f"{prefix}{carrier.window.name} {carrier.window.used_percent:.1f}% used"
    if carrier.pace_delta is not None:
        usual = policy.week is not None and policy.schedule is None
        why += f", {points(judged.delta, usual=usual)}"
    if carrier.window.resets_at is not None:
        why += f", resets in {span(carrier.window.resets_at - now)}"
    if judged.short is not None:
        why += f", {left(judged.short, judged)} left of {judged.short.name}"
    return why


def left(window: Window, judged: Judged) -> str:
    kept = judged.candidate.reserve.get(window.name, 0.0)
    return f"{max(pace.SPENT - kept - window.used_percent, 0.0):.1f}%"


def _by_mode(judged: Judged, now: float, policy: Policy) -> list[str]:
    told = []
    price, speed = judged.candidate.price, judged.candidate.speed
    if Mode.DRAIN in policy.weights and judged.carrier and judged.carrier.resets_at:
        told.append(f"resets in {span(judged.carrier.resets_at - now)}")
    if Mode.CHEAPEST in policy.weights:
        if not judged.paid:
            told.append("costs nothing more")
        elif price is None:
            told.append("price unknown")
        else:
            told.append(f"{price.input:g} and {price.output:g} USD per million tokens")
    if Mode.FASTEST in policy.weights:
        told.append(
            "speed not known yet"
            if speed is None
            else f"first token in {speed.first_token_s:.1f} s, {speed.tokens_per_s:.0f} tokens/s"
        )
    if Mode.PRIORITY in policy.weights:
        told.append(f"number {judged.order + 1} in the configuration")
    return told


def points(delta: float, *, usual: bool = False) -> str:
    """`usual` is the pace by the usual week, and not by the clock."""
    pace_meant = "its usual pace" if usual else "pace"
    if abs(delta) < 0.05:  # noqa: PLR2004 - would print as 0.0
        return f"on {pace_meant}"
    return f"{abs(delta):.1f} points {'ahead of' if delta > 0 else 'behind'} {pace_meant}"


def chosen(ranked: Sequence[Verdict]) -> str:
    """The reason where the best one serves: what speaks for it, and the others beside it."""
    return ascii_only("; ".join(f"{v.candidate.provider}: {v.why}" for v in ranked))


def stays(provider: str, because: str, _: Sequence[Verdict]) -> str:
    """The reason where a conversation does not move."""
    return ascii_only(f"stays on {provider}: {because}")


def explores(provider: str, _: Sequence[Verdict]) -> str:
    """The reason where an account is tried."""
    return ascii_only(f"explores {provider}: usage unknown, and its answer may tell")


def worth(cached_tokens: int, gain: float) -> str:
    """Why a move is not worth what it gains, in points."""
    if cached_tokens:
        return f"{cached_tokens:,} cached tokens outweigh {gain:.1f} points of pace"
    return f"{gain:.1f} points of pace are not worth a move"


def worth_paying(cached_tokens: int) -> str:
    """Why it stays where it costs money, though a subscription could serve."""
    return f"{cached_tokens:,} cached tokens are worth paying for"


def nobody(
    all_of_them: Sequence[Verdict], *, exhausted: bool, relief: float | None, now: float
) -> str:
    listed = "; ".join(f"{v.candidate.provider}: {v.why}" for v in all_of_them)
    if not exhausted:
        return ascii_only(f"no provider can serve this model: {listed}")
    if relief is None:
        return ascii_only(f"every provider's quota is spent: {listed}")
    moment = datetime.fromtimestamp(relief, UTC).strftime("%Y-%m-%d %H:%M UTC")
    when = f"earliest relief in {span(relief - now)} ({moment})"
    return ascii_only(f"every provider's quota is spent, {when}: {listed}")


def ascii_only(text: str) -> str:
    """What a header can carry."""
    return re.sub(r"[^ -~]", "?", text)


def longest(views: Iterable[WindowView]) -> WindowView | None:
    """The window that carries the value; of two as long, the one further ahead of its pace.

    One whose reset is not known has no pace: then nothing is known, whatever a shorter one says.
    """
    measured = [v for v in views if v.window.duration_s is not None]
    unpaced = float("-inf")
    return max(
        measured,
        key=lambda v: (v.window.duration_s, unpaced if v.pace_delta is None else v.pace_delta),
        default=None,
    )


def span(seconds: float) -> str:
    """A length of time in words: `2 d 4 h`, `3 h 5 min`, `40 s`."""
    whole = max(round(seconds), 0)
    days, hours, minutes = whole // 86400, whole % 86400 // 3600, whole % 3600 // 60
    if days:
        return f"{days} d {hours} h"
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min" if minutes else f"{whole} s"
