"""Draws what each account used against its pace over time. Needs matplotlib, for development."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

from core.evaluation.case import Case, EvaluationError
from core.evaluation.drive import Course
from core.evaluation.fleet import Limit, Subject

COLOURS = ("#1f4e79", "#d98c21", "#3a8a4d")
REFUSED, REJECTED = "#c0392b", "#7f8c8d"


def draw(path: Path, case: Case, course: Course, title: str) -> None:
    """A panel for each account. Raises EvaluationError where it cannot be drawn or written."""
    try:
        # It takes a second to load, and only this needs it.
        from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: PLC0415
        from matplotlib.dates import DateFormatter  # noqa: PLC0415
        from matplotlib.figure import Figure  # noqa: PLC0415
    except ModuleNotFoundError:
        raise EvaluationError("--plot needs matplotlib: uv sync --dev") from None
    figure = Figure(figsize=(12, 2.6 * len(case.subjects) + 0.8), layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(title)
    axes = figure.subplots(len(case.subjects), 1, sharex=True, squeeze=False)[:, 0]
    refused = [it.request for it in course.log if it.account is None]
    for axis, subject in zip(axes, case.subjects, strict=True):
        name = subject.account.id
        for limit, colour in zip(_shortest_first(subject), COLOURS, strict=False):
            longest = limit is subject.longest
            x, y = _curve(limit, list(_taken(case, course, subject, limit)))
            style = {"lw": 1.6, "alpha": 1.0} if longest else {"lw": 0.7, "alpha": 0.75}
            axis.plot(x, y, color=colour, label=limit.name, **style)
        x, y = _pace(subject.longest)
        axis.plot(x, y, color="black", lw=0.9, ls="--", label="pace")
        missed = [_date(it.at) for it in refused if it.model in subject.models]
        turned = [_date(it.request.at) for it in course.log if name in it.rejected]
        axis.plot(missed, [-6.0] * len(missed), "|", color=REFUSED, ms=7, label="refused by all")
        axis.plot(turned, [106.0] * len(turned), "v", color=REJECTED, ms=4, label="429 here")
        axis.set(title=subject.account.provider, ylabel="% used", ylim=(-12, 112), xlim=_span(case))
        axis.set_yticks([0, 25, 50, 75, 100])
        axis.grid(visible=True, lw=0.3)
        axis.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False, fontsize=8)
        axis.xaxis.set_major_formatter(DateFormatter("%a %d %b"))  # type: ignore[no-untyped-call]
    try:
        figure.savefig(path, dpi=110)
    except (OSError, ValueError) as error:
        raise EvaluationError(f"{path}: {error}") from None


def _shortest_first(subject: Subject) -> list[Limit]:
    """So that the longest is drawn on top; the longest gets the first colour."""
    return sorted(subject.limits, key=lambda it: (it is not subject.longest, it.longest_run))


def _taken(
    case: Case, course: Course, subject: Subject, limit: Limit
) -> Iterator[tuple[float, int]]:
    name, scope = subject.account.id, limit.scope
    for served in course.log:
        if served.account == name and scope in (None, served.request.model):
            yield served.request.at, served.request.tokens
    for it in course.passed if case.outside else ():
        if it.account == name and scope in (None, it.model):
            yield it.at, it.tokens


def _curve(limit: Limit, taken: Sequence[tuple[float, int]]) -> tuple[list[datetime], list[float]]:
    """Used percent in steps, from 0 at the start of each run."""
    x: list[datetime] = []
    y: list[float] = []
    waiting = iter([*sorted(taken), (float("inf"), 0)])
    at, tokens = next(waiting)
    for run in limit.runs:
        used = 0.0
        x.append(_date(run.start))
        y.append(0.0)
        while at < run.end:
            used += 100.0 * tokens / run.capacity
            x.append(_date(at))
            y.append(used)
            at, tokens = next(waiting)
        x.append(_date(run.end))
        y.append(used)
    return x, y


def _pace(limit: Limit) -> tuple[list[datetime], list[float]]:
    x = [_date(at) for run in limit.runs for at in (run.start, run.end)]
    return x, [0.0, 100.0] * len(limit.runs)


def _span(case: Case) -> tuple[datetime, datetime]:
    return _date(case.start), _date(case.end)


def _date(at: float) -> datetime:
    return datetime.fromtimestamp(at, UTC)
