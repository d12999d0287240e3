"""What could have been served by whoever knows all that will be asked: a linear programme.

Requests may be cut and put in any order between two window boundaries, so no schedule serves more.
Needs scipy, which is a development dependency.
"""

from bisect import bisect_right
from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any

from core.evaluation.case import Case
from core.evaluation.drive import Taken

try:
    from scipy.optimize import linprog
    from scipy.sparse import coo_array
except ModuleNotFoundError:  # pragma: no cover - the development environment has it
    linprog = None

SLACK = 1e-9
"""The share of the served tokens that may be given up for rounding when the cost is minimised."""


@dataclass(frozen=True, slots=True)
class Optimum:
    tokens: float
    """The most that can be served."""
    cost_usd: float
    """The least that this costs."""


def available() -> bool:
    return linprog is not None


def optimum(case: Case, taken: dict[str, Taken] | None = None) -> Optimum:
    """By what the windows have left after the use from outside, as it came in one course.

    Without `taken` nothing comes from outside.
    """
    programme = _Programme(case, taken or {})
    if not programme.gain:
        return Optimum(0.0, 0.0)
    served = -programme.solve([-1.0] * len(programme.gain))
    if not any(programme.gain):
        return Optimum(served, 0.0)
    return Optimum(served, programme.solve(programme.gain, at_least=served * (1.0 - SLACK)))


@dataclass(slots=True)
class _Rows:
    """A sparse matrix of ones with a bound for each row."""

    bounds: list[float] = field(default_factory=list)
    rows: list[int] = field(default_factory=list)
    columns: list[int] = field(default_factory=list)

    def add(self, columns: list[int], bound: float) -> None:
        self.rows += [len(self.bounds)] * len(columns)
        self.columns += columns
        self.bounds.append(bound)


class _Programme:
    """A variable is what one account serves of one model between two boundaries."""

    def __init__(self, case: Case, taken: dict[str, Taken]) -> None:
        self.gain: list[float] = []
        """Dollars a token, by variable."""
        self._rows = _Rows()
        boundaries = sorted(
            {run.start for it in case.subjects for limit in it.limits for run in limit.runs}
        )
        demand: defaultdict[tuple[int, str], float] = defaultdict(float)
        for request in case.requests:
            demand[bisect_right(boundaries, request.at) - 1, request.model] += request.tokens
        binding: defaultdict[tuple[str, str, int], list[int]] = defaultdict(list)
        for (interval, model), tokens in demand.items():
            serving = [it for it in case.subjects if model in it.models]
            first = len(self.gain)
            self._rows.add(list(range(first, first + len(serving))), tokens)
            for variable, subject in enumerate(serving, first):
                self.gain.append(subject.usd_per_token)
                for limit in subject.limits:
                    if limit.scope in (None, model):
                        starts = [run.start for run in limit.runs]
                        run = bisect_right(starts, boundaries[interval]) - 1
                        binding[subject.account.id, limit.name, run].append(variable)
        limits = {(it.account.id, each.name): each for it in case.subjects for each in it.limits}
        for (account, name, run), variables in binding.items():
            outside = taken[account].outside[name][run] if account in taken else 0.0
            self._rows.add(variables, limits[account, name].runs[run].capacity - outside)

    def solve(self, objective: list[float], at_least: float | None = None) -> float:
        """The least value of the objective."""
        rows = self._rows
        values, lines, columns = [1.0] * len(rows.rows), list(rows.rows), list(rows.columns)
        bounds = list(rows.bounds)
        if at_least is not None:
            values += [-1.0] * len(objective)
            lines += [len(bounds)] * len(objective)
            columns += range(len(objective))
            bounds.append(-at_least)
        matrix: Any = coo_array((values, (lines, columns)), shape=(len(bounds), len(objective)))
        found = linprog(objective, A_ub=matrix.tocsr(), b_ub=bounds, method="highs")
        assert found.success, found.message
        return float(found.fun)
