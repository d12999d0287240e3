"""Policies tried on cases: each pair gives a result. Many at once run in a pool of processes."""

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from multiprocessing import get_context

from core.evaluation import optimum, suite
from core.evaluation.case import Case
from core.evaluation.drive import Course, drive
from core.evaluation.optimum import Optimum
from core.evaluation.rules import policy
from core.evaluation.score import Score, score


@dataclass(frozen=True, slots=True)
class Task:
    """A row of the set and what is tried on it."""

    workload: str
    life: bool
    policies: tuple[str, ...]
    days: int = suite.DAYS
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Result:
    """One policy on one case."""

    workload: str
    load: float
    life: bool
    policy: str
    score: Score


def tried(tasks: Sequence[Task]) -> Iterator[tuple[Result, ...]]:
    """The results of each task, in the order in which they come."""
    workers = min(os.cpu_count() or 1, len(tasks))
    if workers <= 1:
        yield from map(carry_out, tasks)
        return
    # A fork would share what the parent's threads hold.
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        running = [pool.submit(carry_out, task) for task in tasks]
        for done in as_completed(running):
            yield done.result()


def carry_out(task: Task) -> tuple[Result, ...]:
    spec = suite.named(task.workload)
    case = suite.build(spec, days=task.days, seed=task.seed, life=task.life)
    return tuple(result for result, _ in on(case, task.policies))


def on(case: Case, policies: Sequence[str]) -> Iterator[tuple[Result, Course]]:
    """Without use from outside the optimum is the same for all."""
    best: Optimum | None = None
    for name in policies:
        course = drive(case, policy(name))
        if optimum.available() and (best is None or case.outside):
            best = optimum.optimum(case, course.taken)
        life = case.life is not None
        yield Result(case.name, case.load, life, name, score(case, course, best)), course
