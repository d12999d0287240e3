"""`limit-router replay`: asks other policies about the decisions in the log. Prints nothing."""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

from rich.console import Console, RenderableType
from rich.progress import Progress

from core import historyfile, policies, record
from core.config import Config
from core.engine import Engine
from core.errors import StateError
from core.evaluation import replay, replay_table, rules
from core.evaluation.case import EvaluationError
from core.evaluation.expired import Expiry
from core.evaluation.replay import Asked, Course, Way
from core.evaluation.replay_table import Replayed, Seen
from core.model import Ask, Mode, Policy
from core.reading import DAY
from core.record import Attempt

CONFIGURED = "configured"
DEFAULT = (CONFIGURED, *(str(mode) for mode in Mode))
PROGRESS_EVERY = 100
"""Rows."""

_SUMMARIES = {
    Mode.PACE: "most headroom against the pace of its limits",
    Mode.DRAIN: "the limit that resets soonest",
    Mode.CHEAPEST: "what the request costs",
    Mode.FASTEST: "how soon answers came of late",
    Mode.PRIORITY: "the configuration's order",
}


@dataclass(frozen=True, slots=True)
class Found:
    as_json: dict[str, Any]
    shown: RenderableType


def names(text: str | None) -> tuple[str, ...]:
    """`drain,longest`; without any mitm.yaml's own policy and each mode by itself."""
    return DEFAULT if text is None else tuple(dict.fromkeys(text.split(",")))


def run(engine: Engine, wanted: Sequence[str], days: float | None = None) -> Found:
    """Raises EvaluationError for a policy that there is not, StateError where nothing is logged."""
    ways = [_way(engine.config, name) for name in wanted]
    if days is not None and not days > 0:
        raise EvaluationError(f"--days is {days:g}; it says how much of the log is asked about")
    path, now = engine.history.path, engine.clock()
    assert path is not None
    found = _replayed(path, engine.config, ways, now, 0.0 if days is None else now - days * DAY)
    if not found.seen.requests:
        kept = "" if days is None else f" of the last {days:g} days"
        damaged = f"; {found.seen.passed_over} that are damaged" if found.seen.passed_over else ""
        raise StateError(str(path), f"no decision{kept} is kept in it yet{damaged}")
    return Found(replay_table.as_json(found), replay_table.shown(found))


def _replayed(
    path: Path, config: Config, ways: Sequence[Way], now: float, since: float
) -> Replayed:
    done, others = Course(replay.as_done()), [Course(way) for way in ways]
    seen, expiry = Seen(), Expiry()
    for request in _requests(path, config, since, seen):
        for it in request:
            expiry.look(it.attempt.decision.verdicts, it.attempt.at)
        if replay.is_wrong(request):
            seen.left_out += 1
            continue
        came = done.follow(request)
        for course in others:
            course.follow(request, came)
    return Replayed(seen, done, others, tuple(expiry.found(now)))


def _requests(path: Path, config: Config, since: float, seen: Seen) -> Iterator[list[Asked]]:
    """Each request with all its attempts. `seen` is told what is met on the way."""
    for _, rows in groupby(_rows(path, since), key=lambda row: row["request"]):
        request = []
        for row in rows:
            attempt = _attempt(row)
            if attempt is None:
                seen.passed_over += 1
            else:
                request.append(replay.asked(attempt, _order(config, attempt.model)))
        if request:
            seen.meet(request[0].attempt.at)
            yield request


def _rows(path: Path, since: float) -> Iterator[dict[str, Any]]:
    total = historyfile.count(path, since)
    with Progress(console=Console(stderr=True), transient=True) as progress:
        bar = progress.add_task("asking", total=total)
        for number, row in enumerate(historyfile.every(path, since), 1):
            yield row
            if number % PROGRESS_EVERY == 0:
                progress.update(bar, completed=number)


def _attempt(row: dict[str, Any]) -> Attempt | None:
    with suppress(ValueError):
        return record.attempt(row)
    return None


def _order(config: Config, model: str) -> Sequence[str]:
    """What was first in the order of preference then is in the log; the configuration's is not."""
    known = config.models.get(model)
    return () if known is None else tuple(known.providers)


def _way(config: Config, name: str) -> Way:
    """Raises EvaluationError where no policy has this name."""

    def policy(ask: Ask, now: float) -> Policy:
        return policies.by(config, config.models.get(ask.model), ask.pin, now)

    if name == CONFIGURED:
        return replay.by_mode(name, "as mitm.yaml says now", None, policy)
    with suppress(ValueError):
        return replay.by_mode(name, _SUMMARIES[Mode(name)], Mode(name), policy)
    if name not in rules.POLICIES:
        known = dict.fromkeys([*DEFAULT, *rules.POLICIES])
        raise EvaluationError(f"no policy is called {name}; there are {', '.join(known)}")
    return replay.by_rule(rules.POLICIES[name])
