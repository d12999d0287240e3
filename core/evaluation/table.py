"""What `simulate` shows: JSON values and tables of 80 columns. Pure."""

from collections.abc import Callable, Sequence
from typing import Any

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from core.evaluation.case import Case
from core.evaluation.drive import Course
from core.evaluation.rules import POLICIES
from core.evaluation.score import Score, median
from core.evaluation.trial import Result

NO_SCIPY = "scipy is not installed: without it the optimum is not known (uv sync --dev)."
LEGEND = """
moves/session: of the median workload, and of the worst; in loops: moves inside
a tool loop that nothing forced; expired: of what subscriptions held; cost: of
pay-per-token accounts, where they take the overflow, against the least."""
READINGS = {False: "perfect readings", True: "readings as in life"}


def as_json(results: Sequence[Result]) -> dict[str, Any]:
    """The figures of the first policy, summed (the share is the median), and those of each run."""
    first = [it.score for it in results if it.policy == results[0].policy]
    shares = [s.share_of_optimum for s in first if s.share_of_optimum is not None]
    return {
        "policy": results[0].policy,
        "served": sum(s.served for s in first),
        "refused": sum(s.refused for s in first),
        "expired_quota": round(sum(s.expired_quota for s in first)),
        "switches": sum(s.switches for s in first),
        "switches_in_tool_loop": sum(s.switches_in_tool_loop for s in first),
        "cache_tokens_lost": sum(s.cache_tokens_lost for s in first),
        "cost_usd": round(sum(s.cost_usd for s in first), 6),
        "share_of_optimum": median(shares) if shares else None,
        "runs": [_run_json(it) for it in results],
    }


def _run_json(result: Result) -> dict[str, Any]:
    score, best = result.score, result.score.optimum
    return {
        "workload": result.workload,
        "load": round(result.load, 4),
        "readings": "life" if result.life else "perfect",
        "policy": result.policy,
        "served": score.served,
        "refused": score.refused,
        "served_tokens": score.served_tokens,
        "refused_tokens": score.refused_tokens,
        "expired_quota": round(score.expired_quota),
        "expired_share": score.expired_share,
        "sessions": score.sessions,
        "switches": score.switches,
        "switches_unforced": score.switches_unforced,
        "switches_in_tool_loop": score.switches_in_tool_loop,
        "switches_in_tool_loop_unforced": score.switches_in_tool_loop_unforced,
        "moves_per_session": score.moves_per_session,
        "cache_tokens_lost": score.cache_tokens_lost,
        "rejections": score.rejections,
        "cost_usd": round(score.cost_usd, 6),
        "optimum_tokens": best and best.tokens,
        "optimum_cost_usd": best and best.cost_usd,
        "share_of_optimum": score.share_of_optimum,
    }


def accounts_json(case: Case, course: Course) -> list[dict[str, Any]]:
    """Every window of a single run, so that a log can be checked against it."""
    return [
        {
            "account": it.account.id,
            "models": sorted(it.models),
            "usd_per_token": it.usd_per_token,
            "windows": [
                {
                    "name": limit.name,
                    "scope": limit.scope,
                    "start": run.start,
                    "end": run.end,
                    "capacity": run.capacity,
                    "used_from_outside": outside,
                }
                for limit in it.limits
                for run, outside in zip(
                    limit.runs, course.taken[it.account.id].outside[limit.name], strict=True
                )
            ],
        }
        for it in case.subjects
    ]


def shown(results: Sequence[Result]) -> RenderableType:
    """For each kind of readings a row for each workload, and the medians."""
    parts: list[RenderableType] = []
    for life, title in READINGS.items():
        chosen = [it for it in results if it.life is life]
        if chosen:
            heading = f"{title[0].upper()}{title[1:]}: what was served, as a share of the optimum"
            parts += [Text(heading, "bold")]
            parts += [_shares(chosen), _summary(chosen)]
    names = dict.fromkeys(it.policy for it in results)
    width = max(map(len, names))
    parts += [Text(f"{name:{width}}  {POLICIES[name].summary}", "dim") for name in names]
    parts.append(Text(LEGEND, "dim"))
    if any(it.score.optimum is None for it in results):
        parts.append(Text(NO_SCIPY))
    return Group(*parts)


def _shares(results: Sequence[Result]) -> Table:
    policies = list(dict.fromkeys(it.policy for it in results))
    table = _table("workload", ">load", *[f">{_broken(p)}" for p in policies])
    rows: dict[str, dict[str, Result]] = {}
    for it in results:
        rows.setdefault(it.workload, {})[it.policy] = it
    for workload, row in rows.items():
        cells = [_figure(row[p].score.share_of_optimum, 4) for p in policies]
        table.add_row(workload, f"{next(iter(row.values())).load:.2f}", *cells)
    if len(rows) > 1:
        table.add_section()
        summaries: tuple[tuple[str, Callable[[Sequence[float]], float]], ...]
        summaries = (("median", median), ("worst", min))
        for title, of in summaries:
            shares = [[row[p].score.share_of_optimum for row in rows.values()] for p in policies]
            known = [[s for s in each if s is not None] for each in shares]
            table.add_row(title, "", *[_figure(of(each) if each else None, 4) for each in known])
    return table


def _summary(results: Sequence[Result]) -> Table:
    table = _table(
        "policy",
        ">moves/\nsession",
        ">\nworst",
        ">in\nloops",
        ">\nexpired",
        ">cache\nlost",
        ">\nrefused",
        ">cost /\nleast",
    )
    for name in dict.fromkeys(it.policy for it in results):
        scores = [it.score for it in results if it.policy == name]
        ratios = [s.cost_ratio for s in scores if s.cost_ratio is not None]
        table.add_row(
            name,
            f"{median([s.moves_per_session for s in scores]):.3f}",
            f"{max(s.moves_per_session for s in scores):.3f}",
            f"{sum(s.switches_in_tool_loop_unforced for s in scores)}",
            f"{100.0 * median([s.expired_share for s in scores]):.1f} %",
            f"{_sum(scores, lambda s: s.cache_tokens_lost) / 1e6:.0f} M",
            f"{_sum(scores, lambda s: s.refused):.0f}",
            _figure(median(ratios) if ratios else None, 3),
        )
    return table


def _sum(scores: Sequence[Score], of: Callable[[Score], float]) -> float:
    return sum(of(score) for score in scores)


def _figure(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def _broken(name: str) -> str:
    return name.replace("-", "-\n")


def _table(*titles: str) -> Table:
    """`>` before a title puts its column to the right."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for title in titles:
        right = title.startswith(">")
        table.add_column(
            title.removeprefix(">"), justify="right" if right else "left", no_wrap=True
        )
    return table
