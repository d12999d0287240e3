"""`limit-router simulate`: what is asked for on the command line, carried out."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console, RenderableType
from rich.progress import Progress

from core.evaluation import lines, plot, suite, table
from core.evaluation.case import Case, EvaluationError
from core.evaluation.rules import policy
from core.evaluation.trial import Result, Task, on, tried
from core.reading import DAY

BESIDE = ("pace", "longest", "worst", "round-robin", "one-shot", "naive")


@dataclass(frozen=True, slots=True)
class Wanted:
    """The options. None is what was not said."""

    workload: str | None = None
    """A name of the set, or a file of JSON lines; None is the whole set."""
    accounts: str | None = None
    """The workload of the set whose accounts a file's requests meet."""
    policies: tuple[str, ...] = BESIDE
    days: int | None = None
    seed: int = 0
    life: bool | None = None
    """None is both."""
    quick: bool = False
    plot: Path | None = None
    log: Path | None = None


@dataclass(frozen=True, slots=True)
class Found:
    as_json: dict[str, Any]
    shown: RenderableType


def policies(names: str | None) -> tuple[str, ...]:
    """`pace,longest`; without any the router's decision and the rules beside it."""
    return BESIDE if names is None else tuple(dict.fromkeys(names.split(",")))


def run(wanted: Wanted) -> Found:
    """Raises EvaluationError where what is asked for cannot be done."""
    for name in wanted.policies:
        policy(name)
    if wanted.days is not None and wanted.days < 1:
        raise EvaluationError(f"--days is {wanted.days}; a simulation lasts a day or more")
    if wanted.accounts is not None and not _is_file(wanted.workload):
        raise EvaluationError("--accounts says whose accounts the requests of a file meet")
    if wanted.log is None and wanted.plot is None and not _is_file(wanted.workload):
        return _set(wanted)
    return _one(wanted)


def _set(wanted: Wanted) -> Found:
    names: Sequence[str] = suite.QUICK if wanted.quick else tuple(suite.SUITE)
    if wanted.workload is not None:
        names = (suite.named(wanted.workload).name,)
    kinds = (False, True) if wanted.life is None else (wanted.life,)
    days = wanted.days or suite.DAYS
    tasks = [Task(it, life, wanted.policies, days, wanted.seed) for life in kinds for it in names]
    results: list[Result] = []
    with Progress(console=Console(stderr=True), transient=True) as progress:
        bar = progress.add_task("simulating", total=len(tasks))
        for found in tried(tasks):
            results += found
            progress.advance(bar)
    order = {(task.life, task.workload): number for number, task in enumerate(tasks)}
    results.sort(key=lambda it: (order[it.life, it.workload], wanted.policies.index(it.policy)))
    return Found(table.as_json(results), table.shown(results))


def _one(wanted: Wanted) -> Found:
    """One workload; what is drawn and logged is the first policy's run."""
    case = _case(wanted)
    found = list(on(case, wanted.policies))
    result, course = found[0]
    if wanted.log is not None:
        lines.write(wanted.log, course.log)
    if wanted.plot is not None:
        share = result.score.share_of_optimum
        told = "" if share is None else f", {share:.4f} of the optimum served"
        kind = table.READINGS[result.life]
        plot.draw(wanted.plot, case, course, f"{case.name}, {kind}: {result.policy}{told}")
    results = [each for each, _ in found]
    accounts = {"accounts": table.accounts_json(case, course)}
    return Found(table.as_json(results) | accounts, table.shown(results))


def _case(wanted: Wanted) -> Case:
    life = wanted.life or False
    if wanted.workload is None:
        raise EvaluationError("--plot and --log are of one workload: name it with --workload")
    if not _is_file(wanted.workload):
        days = wanted.days or suite.DAYS
        return suite.build(suite.named(wanted.workload), days=days, seed=wanted.seed, life=life)
    requests = lines.read(Path(wanted.workload))
    start = requests[0].at // DAY * DAY
    end = (requests[-1].at // DAY + 1) * DAY
    if wanted.days is not None:
        end = start + wanted.days * DAY
        requests = tuple(it for it in requests if it.at < end)
    spec = suite.named(wanted.accounts or next(iter(suite.SUITE)))
    return suite.over(spec, requests, start, end, seed=wanted.seed, life=life)


def _is_file(workload: str | None) -> bool:
    return workload is not None and workload not in suite.SUITE and Path(workload).exists()
