"""What the command line shows: JSON values and rich tables. Pure: no clock, no I/O."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Any

import msgspec
from rich import box
from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from core.explain import longest, span
from core.model import Budget, Decision, Route, Source, Verdict, Window, WindowView
from core.pace import runs_out_in

BAR_WIDTH = 16
NARROW_BAR = 12
LONGEST_NAME = 18
"""A window's name that is longer has its scope on a line of its own: tables fit 80 columns."""

LONGEST_OUTLOOK = 39


class Status(StrEnum):
    """What is known of an account's usage."""

    KNOWN = "known"
    UNKNOWN = "unknown"
    UNAUTHENTICATED = "unauthenticated"
    SIGNED_OUT = "signed_out"
    """The provider has refused for good to renew the sign-in."""
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class Setting:
    """A value of the configuration in effect."""

    key: str
    value: Any
    """Fit for JSON."""
    origin: str
    """`default`, or the line it stands on."""


@dataclass(frozen=True, slots=True)
class Spending:
    """What went out of a declared budget."""

    budget: Budget
    usd: float
    """Of what has a price, or the provider's own figure."""
    known: bool = True
    """Whether that is all."""
    unpriced: tuple[str, ...] = ()
    """The models that were used and have no price."""


@dataclass(frozen=True, slots=True)
class Reading:
    """One account's usage, as it is shown."""

    provider: str
    status: Status
    windows: tuple[WindowView, ...] = ()
    plan: str | None = None
    error: str | None = None
    as_of: float | None = None
    spending: Spending | None = None


def rfc3339(moment: float | None) -> str | None:
    """UTC, to the second."""
    if moment is None:
        return None
    return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def usage_json(readings: Iterable[Reading], now: float) -> dict[str, Any]:
    return {
        "providers": {
            reading.provider: {
                "status": reading.status,
                "windows": [
                    _window_json(view) | {"empty_in_s": runs_out_in(view, now)}
                    for view in reading.windows
                ],
                "plan": reading.plan,
                "error": reading.error,
                "as_of": rfc3339(reading.as_of),
                **_spending_json(reading.spending),
            }
            for reading in readings
        }
    }


def _spending_json(found: Spending | None) -> dict[str, Any]:
    """Where a budget is declared."""
    if found is None:
        return {}
    return {
        "spent_usd": found.usd if found.known else None,
        "budget_usd": found.budget.usd,
        "budget_per": found.budget.per,
        "unpriced": list(found.unpriced),
    }


def route_json(model: str, decision: Decision) -> dict[str, Any]:
    chosen = decision.chosen.candidate if isinstance(decision, Route) else None
    return {
        "model": model,
        "provider": chosen and chosen.provider,
        "provider_model": chosen and chosen.provider_model,
        "reason": decision.reason,
        "candidates": [_candidate_json(verdict) for verdict in decision.verdicts],
    }


def _candidate_json(verdict: Verdict) -> dict[str, Any]:
    carrier = longest(verdict.windows)
    return {
        "provider": verdict.candidate.provider,
        "provider_model": verdict.candidate.provider_model,
        "available": verdict.available,
        "score": verdict.score,
        "pace_delta": carrier and carrier.pace_delta,
        "used_percent": carrier and carrier.window.used_percent,
        "windows": [_window_json(view) for view in verdict.windows],
        "why": verdict.why,
    }


def _window_json(view: WindowView) -> dict[str, Any]:
    window = view.window
    return {
        "name": window.name,
        "used_percent": window.used_percent,
        "pace_delta": view.pace_delta,
        "resets_at": rfc3339(window.resets_at),
        "duration_s": window.duration_s,
        "source": window.source,
        "as_of": rfc3339(window.as_of),
        "confidence": view.confidence,
    }


def bar(used_percent: float, elapsed_percent: float | None, width: int = BAR_WIDTH) -> str:
    """A window as a bar: `#` is used, `|` stands where the pace says it should be, `.` is left."""
    filled = round(min(max(used_percent, 0.0), 100.0) / 100.0 * width)
    cells = ["#"] * filled + ["."] * (width - filled)
    if elapsed_percent is not None:
        cells[min(round(elapsed_percent / 100.0 * width), width - 1)] = "|"
    return "".join(cells)


def windows(accounts: Mapping[str, Sequence[WindowView]], now: float) -> Table:
    """By provider, a row for each window."""
    table = _table("account", "window", "used (| pace)", ">", ">points", "resets in")
    long = any("\n" in _name(view.window) for views in accounts.values() for view in views)
    width = NARROW_BAR if long else BAR_WIDTH
    for provider, views in accounts.items():
        if not views:
            table.add_row(provider, "-", "unknown", "", "", "")
        for view in views:
            table.add_row(provider, *_cells(view, now, width))
    return table


def usage(readings: Iterable[Reading], now: float) -> RenderableType:
    """By account a row for each window, with where the figure comes from and how old it is."""
    parts: list[RenderableType] = []
    for reading in readings:
        plan = f", plan {reading.plan}" if reading.plan else ""
        status = reading.status.replace("_", " ")
        parts.append(Text.assemble((reading.provider, "bold"), f": {status}{plan}"))
        if reading.error is not None:
            parts.append(Padding(Text(reading.error), (0, 0, 0, 2)))
        if reading.spending is not None and reading.spending.unpriced:
            parts.append(Padding(Text(_unpriced(reading.spending)), (0, 0, 0, 2)))
        if reading.windows:
            parts.append(_usage_table(reading.windows, reading.spending, now))
    return Group(*parts)


def _unpriced(spending: Spending) -> str:
    missing = f"no price for {', '.join(spending.unpriced)}"
    if spending.known:
        return f"{missing}: what that costs counts from the provider's next reading on"
    return f"spend unknown: {missing}; the rest is {_of_budget(spending)}"


def _of_budget(spending: Spending) -> str:
    return f"{dollars(spending.usd)} of {dollars(spending.budget.usd)}"


def dollars(usd: float) -> str:
    """Cents; where there is less than one, as far as there is something to tell."""
    return f"${usd:,.2f}" if usd == 0.0 or usd >= 0.01 else f"${usd:.1g}"  # noqa: PLR2004


def _usage_table(views: Iterable[WindowView], spending: Spending | None, now: float) -> Table:
    table = _table("  window", "used (| pace)", ">", "outlook; source, age")
    table.columns[-1].no_wrap = False
    for view in views:
        name, drawn, used, _, resets = _cells(view, now, NARROW_BAR)
        reset = f"resets in {resets}" if resets else "reset not known"
        if spending is not None and view.window.source is Source.DECLARED:
            reset = _joined(f"{_of_budget(spending)},", reset)
        short, _, scope = name.partition("\n")
        table.add_row(f"  {short}", drawn, used, reset)
        second = _joined(f"{_outlook(view, now)};", _told(view, now))
        table.add_row(f"  {scope}", "", "", Text(second, "dim"))
    return table


def _joined(one: str, other: str) -> str:
    """Side by side where there is room for both."""
    return f"{one} {other}" if len(one) + len(other) < LONGEST_OUTLOOK else f"{one}\n{other}"


def _told(view: WindowView, now: float) -> str:
    """Where a figure comes from, how sure it is if that is in doubt, and how old unless it is new."""
    told: str = view.window.source
    if view.window.source is Source.ESTIMATE:
        told += f", {100.0 * view.confidence:.0f} % sure"
    if view.window.source is Source.DECLARED and view.window.as_of >= now:
        return told
    return f"{told}, {span(now - view.window.as_of)} ago"


def _outlook(view: WindowView, now: float) -> str:
    empty_in = runs_out_in(view, now)
    if empty_in is not None:
        return "spent" if empty_in <= 0.0 else f"empty in {span(empty_in)}"
    return "lasts to reset" if view.elapsed_percent is not None else "pace not known"


def route(model: str, decision: Decision, now: float) -> RenderableType:
    """The decision, and what became of every candidate."""
    ranking = Table.grid(padding=(0, 1))
    for place, verdict in enumerate(decision.verdicts, 1):
        name = f"{verdict.candidate.provider} ({verdict.candidate.provider_model})"
        ranking.add_row(f"  {place}.", name, verdict.why)
    parts: list[RenderableType] = [_head(model, _served_by(decision)), ranking]
    accounts = {v.candidate.provider: v.windows for v in decision.verdicts if v.windows}
    if accounts:
        parts.append(windows(accounts, now))
    return Group(*parts)


def settings(path: Path, found: Iterable[Setting]) -> RenderableType:
    """Every value in effect but the empty ones, and where it comes from."""
    table = _table("key", "from", "value")
    table.columns[-1].no_wrap = False
    for setting in found:
        if setting.value not in (None, [], {}):
            value = msgspec.json.encode(setting.value).decode()
            table.add_row(setting.key, setting.origin, Text(value, overflow="fold"))
    return Group(Text(str(path)), table, Text("Empty values are left out; --json has all.", "dim"))


def request(
    model: str, served_by: str | None, outcome: str, reason: str, text: str
) -> RenderableType:
    """A model asked for, who served it, how that went, why there, and what was answered."""
    lines = [_head(model, served_by), Text(f"  {outcome}" + (f': "{text}"' if text else ""))]
    lines += [Text(f"  {part}", "dim") for part in reason.split("; ")]
    return Group(*lines, Text())


def _head(model: str, served_by: str | None) -> Text:
    head = Text.assemble((model, "bold"), " -> ")
    return head.append(served_by or "nobody", "bold green" if served_by else "bold red")


def _served_by(decision: Decision) -> str | None:
    if not isinstance(decision, Route):
        return None
    return f"{decision.chosen.candidate.provider} ({decision.chosen.candidate.provider_model})"


def _cells(view: WindowView, now: float, width: int) -> tuple[str, str, str, str, str]:
    window, delta = view.window, view.pace_delta
    return (
        _name(window),
        bar(window.used_percent, view.elapsed_percent, width),
        f"{window.used_percent:.1f} %",
        "" if delta is None else f"{delta:+.1f}",
        "" if window.resets_at is None else span(window.resets_at - now),
    )


def _name(window: Window) -> str:
    """On two lines where it is long for the scope in it."""
    short = window.name.removesuffix(f"_{window.scope}")
    if len(window.name) <= LONGEST_NAME or short == window.name:
        return window.name
    return f"{short}\n{window.scope}"


def _table(*titles: str) -> Table:
    """`>` before a title puts its column to the right."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for title in titles:
        table.add_column(
            title.removeprefix(">"),
            justify="right" if title.startswith(">") else "left",
            no_wrap=True,
        )
    return table
