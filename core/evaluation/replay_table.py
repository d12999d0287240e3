"""What `limit-router replay` shows: JSON values, and a table of 80 columns. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from core.evaluation.expired import Expired
from core.evaluation.replay import Course
from core.report import rfc3339

AS_THEY_WERE = (
    "The windows are as they were: those that what was done led to, not those that another "
    "policy would have caused. Whom a request never met is taken to have served it."
)
UNKNOWN_EXPIRED = (
    "what another policy would have left in them takes the windows that it would have caused"
)
UNKNOWN_SHARE = "how many tokens a window holds is not in the log"
LEGEND = (
    "elsewhere: served by another account than was done, or by none; in loops: moves inside a "
    "tool loop; cache lost: tokens that a move left in the prompt cache of the account before; "
    "cost: of pay-per-token accounts."
)


@dataclass(slots=True)
class Seen:
    """What was met in the log."""

    requests: int = 0
    passed_over: int = 0
    """Decisions that are damaged."""
    left_out: int = 0
    """Requests that were refused for what they were."""
    first_at: float = 0.0
    last_at: float = 0.0

    def meet(self, at: float) -> None:
        self.first_at = min(self.first_at, at) if self.requests else at
        self.last_at = max(self.last_at, at)
        self.requests += 1


@dataclass(frozen=True, slots=True)
class Replayed:
    seen: Seen
    done: Course
    others: Sequence[Course]
    """At least one, in the order in which they were asked for."""
    expired: Sequence[Expired]


def as_json(found: Replayed) -> dict[str, Any]:
    """The figures of the first policy, then what was done, then those of each."""
    seen, others = found.seen, [_course_json(course) for course in found.others]
    done = _course_json(found.done) | {
        "expired_quota": sum(it.windows for it in found.expired),
        # All that was asked for was served: nobody could have served more.
        "share_of_optimum": None if found.done.figures.refused else 1.0,
    }
    return others[0] | {
        "windows": "as they were",
        "not_known": {"expired_quota": UNKNOWN_EXPIRED, "share_of_optimum": UNKNOWN_SHARE},
        "requests": seen.requests,
        "left_out": seen.left_out,
        "passed_over": seen.passed_over,
        "from": rfc3339(seen.first_at),
        "to": rfc3339(seen.last_at),
        "done": done,
        "policies": others,
        "expired": [
            {
                "provider": it.provider,
                "account": it.account,
                "window": it.window,
                "unused_percent": list(it.unused_percent),
            }
            for it in found.expired
        ],
    }


def _course_json(course: Course) -> dict[str, Any]:
    it = course.figures
    return {
        "policy": course.way.name,
        "served": it.served,
        "refused": it.refused,
        "turned_away": it.turned_away,
        "elsewhere": it.elsewhere,
        "expired_quota": None,
        "switches": it.switches,
        "switches_in_tool_loop": it.switches_in_tool_loop,
        "cache_tokens_lost": it.cache_tokens_lost,
        "cost_usd": round(it.cost_usd, 6),
        "unpriced": it.unpriced,
        "share_of_optimum": None,
    }


def shown(found: Replayed) -> RenderableType:
    courses = [found.done, *found.others]
    width = max(len(course.way.name) for course in courses)
    parts: list[RenderableType] = [Text(_head(found.seen), "bold"), _table(courses)]
    parts += [Text(f"{it.way.name:{width}}  {it.way.summary}", "dim") for it in courses]
    parts += [Text(), Text(AS_THEY_WERE), Text(LEGEND, "dim")]
    parts += [Text(note) for note in _notes(found)]
    return Group(*parts)


def _head(seen: Seen) -> str:
    times = [(rfc3339(at) or "").replace("T", " ")[:16] for at in (seen.first_at, seen.last_at)]
    return f"{_counted(seen.requests, 'request')} from {times[0]} to {times[1]} UTC"


def _table(courses: Sequence[Course]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("policy", no_wrap=True)
    for title in (
        "served",
        "refused",
        "elsewhere",
        "moves",
        "in\nloops",
        "cache\nlost",
        "cost\nUSD",
    ):
        table.add_column(title, justify="right", no_wrap=True)
    for number, course in enumerate(courses):
        it = course.figures
        table.add_row(
            course.way.name,
            f"{it.served:,}",
            f"{it.refused:,}",
            f"{it.elsewhere:,}" if number else "",
            f"{it.switches:,}",
            f"{it.switches_in_tool_loop:,}",
            f"{it.cache_tokens_lost:,}",
            f"{it.cost_usd:.4f}{'+' if it.unpriced else ''}",
            end_section=not number,
        )
    return table


def _notes(found: Replayed) -> list[str]:
    notes = []
    seen, away = found.seen, found.done.figures.turned_away
    if away:
        notes.append(
            f"As done, accounts turned {away:,} of the refused away. What an account that a policy "
            "chose instead would have turned away is not known."
        )
    if any(course.figures.unpriced for course in (found.done, *found.others)):
        notes.append("+: and requests whose cost is not known.")
    for it in found.expired:
        runs = len(it.unused_percent)
        mean = 100.0 * it.windows / runs
        times = "once" if runs == 1 else f"{runs} times, on average"
        notes.append(
            f"As done, {it.window} of {it.provider} reset {times} with {mean:.1f} % unused."
        )
    if seen.left_out:
        answer = "was answered 400: it is" if seen.left_out == 1 else "were answered 400: they are"
        notes.append(f"{_counted(seen.left_out, 'request')} {answer} wrong under any policy.")
    if seen.passed_over:
        are = "is" if seen.passed_over == 1 else "are"
        notes.append(f"{_counted(seen.passed_over, 'decision')} in the log {are} damaged.")
    return notes


def _counted(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"
