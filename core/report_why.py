"""What `limit-router why` shows of a decision that was kept: JSON values and rich text. Pure."""

from collections.abc import Iterable, Sequence
from dataclasses import fields
from typing import Any

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from core import report
from core.explain import span
from core.model import Route, Verdict
from core.nouns import plain
from core.record import NOT_SENT, Attempt, End
from core.report import rfc3339


def why(attempts: Sequence[Attempt], now: float) -> RenderableType:
    """Every attempt at one request: where it went, why, the candidates as they stood, the end."""
    parts: list[RenderableType] = []
    for attempt in attempts:
        if parts:
            parts.append(Text())
        if len(attempts) > 1:
            parts.append(Text(f"attempt {attempt.number}", "dim"))
        parts += _attempt(attempt, now)
    return Group(*parts)


def _attempt(attempt: Attempt, now: float) -> Iterable[RenderableType]:
    decision = attempt.decision
    served = _name(decision.chosen) if isinstance(decision, Route) else None
    head = Text.assemble((f"limit-router/{attempt.model}", "bold"), " -> ")
    yield head.append(served or "nobody", "bold green" if served else "bold red")
    yield Padding(Text(_when(attempt, now), "dim"), (0, 0, 0, 2), expand=False)
    yield Padding(Text(f"{decision.reason}{_flags(attempt)}"), (0, 0, 0, 2), expand=False)
    yield Text()
    yield _ranking(attempt)
    accounts = {v.candidate.provider: v.windows for v in decision.verdicts if v.windows}
    if accounts:
        yield report.windows(accounts, attempt.at)
    else:
        yield Text()
    yield Padding(Text(end(attempt)), (0, 0, 0, 2), expand=False)


def _when(attempt: Attempt, now: float) -> str:
    moment = (rfc3339(attempt.at) or "").replace("T", " ").replace("Z", " UTC")
    parts = [f"request {attempt.request}", f"{moment} ({span(now - attempt.at)} ago)"]
    if attempt.session is not None:
        parts.append(f"session {attempt.session}")
    return ", ".join(parts)


def _flags(attempt: Attempt) -> str:
    """What of the request itself bears on where it may go."""
    told = [words for name, words in _FLAGS if attempt.flags.get(name)]
    return f" [{', '.join(told)}]" if told else ""


_FLAGS = (("tool_loop", "in a tool loop"), ("subagent", "of a sub-agent"), ("images", "has images"))


def _ranking(attempt: Attempt) -> Table:
    """`*` is who served it; who could not is out of the order of preference."""
    decision, standing = attempt.decision, attempt.standing
    table = Table.grid(padding=(0, 1))
    for place, verdict in enumerate(decision.verdicts, 1):
        chosen = isinstance(decision, Route) and verdict.candidate is decision.candidate
        number = f"{place}." if verdict.available else "-"
        account = verdict.candidate.account
        held = standing is not None and account is not None and account.id == standing.account
        rated = verdict.available and verdict.score is not None
        told = [f"score {verdict.score:+.1f}"] if rated else []
        told += ["the conversation was with it"] if held else []
        line = "; ".join([verdict.why, *told])
        name = Text(_name(verdict), "bold" if chosen else "")
        table.add_row(f"{'*' if chosen else ' '} {number}", name, line)
    return table


def _name(verdict: Verdict) -> str:
    return f"{verdict.candidate.provider} ({verdict.candidate.provider_model})"


def end(attempt: Attempt) -> str:
    """How it went, in a sentence."""
    ended = attempt.end
    if ended.error == NOT_SENT:
        return f"limit-router itself answered {ended.status}; nothing was sent."
    if ended.ended_at is None:
        came = "" if ended.status is None else f" after an answer of {ended.status} began"
        return f"No end is known{came}: it is under way, or the proxy was stopped."
    took = f"{_span(ended.ended_at - attempt.at)} in all"
    if ended.status is None:
        return f"No answer came; {took}."
    error = "" if ended.error is None else f" with {ended.error}"
    parts = [f"{ended.status}{error}"]
    if ended.complete is False:
        parts.append("broken off")
    if ended.first_content_at is not None:
        parts.append(f"first content after {_span(ended.first_content_at - attempt.at)}")
    parts += [took, *_tokens(ended)]
    if ended.cost_usd is not None:
        parts.append(f"{ended.cost_usd:.4f} USD")
    return f"Answered {', '.join(parts)}."


def _tokens(ended: End) -> Iterable[str]:
    known = [
        f"{count:,} {what}" for name, what in _TOKENS if (count := getattr(ended.tokens, name))
    ]
    if known:
        yield f"tokens: {', '.join(known)}"


_TOKENS = (
    ("input", "in"),
    ("output", "out"),
    ("cache_read", "out of the cache"),
    ("cache_write", "into it"),
)


def why_json(attempts: Sequence[Attempt]) -> dict[str, Any]:
    """All that is kept."""
    first = attempts[0]
    return {
        "request": first.request,
        "model": first.model,
        "wire": first.wire,
        "session": first.session,
        "attempts": [_attempt_json(attempt) for attempt in attempts],
    }


def _attempt_json(attempt: Attempt) -> dict[str, Any]:
    decision, ended = attempt.decision, attempt.end
    own = [it.name for it in fields(decision) if it.name not in ("candidate", "explain")]
    shown = report.route_json(attempt.model, decision)
    pairs = zip(shown["candidates"], decision.verdicts, strict=True)
    return shown | {
        "attempt": attempt.number,
        "at": rfc3339(attempt.at),
        "ask": plain(attempt.flags),
        "standing": plain(attempt.standing),
        "decision": {name: plain(getattr(decision, name)) for name in own},
        "candidates": [_candidate_json(candidate, verdict) for candidate, verdict in pairs],
        "end": plain(ended)
        | {
            "answered_at": rfc3339(ended.answered_at),
            "ended_at": rfc3339(ended.ended_at),
            "first_content_at": rfc3339(ended.first_content_at),
            "first_content_s": _after(attempt, ended.first_content_at),
            "total_s": _after(attempt, ended.ended_at),
        },
    }


def _span(seconds: float) -> str:
    """Answers take milliseconds to minutes."""
    return f"{max(seconds, 0.0):.1f} s" if seconds >= 1.0 else f"{max(seconds * 1000, 0.0):.0f} ms"


def _after(attempt: Attempt, moment: float | None) -> float | None:
    """Seconds from the decision on."""
    return None if moment is None else moment - attempt.at


def _candidate_json(shown: dict[str, Any], verdict: Verdict) -> dict[str, Any]:
    told = plain(verdict)
    candidate, views = told.pop("candidate"), told.pop("windows")
    windows = [
        {**view.pop("window"), **view, **it}
        for view, it in zip(views, shown["windows"], strict=True)
    ]
    relief = rfc3339(verdict.relief_at)
    return {**candidate, **told, **shown, "windows": windows, "relief_at": relief}
