"""Small cases, built by hand."""

from core.evaluation.case import Case, Life, Outside
from core.evaluation.fleet import Limit, Run, Subject
from core.evaluation.workload import Request
from core.model import Account, AccountKind

START = 1_773_619_200.0
HOUR = 3600.0
MODELS = frozenset({"large", "small"})


def limit(name: str, *capacities: float, hours: float = 10.0, scope: str | None = None) -> Limit:
    """Runs of so many hours, one after the other, from the start on."""
    runs = [
        Run(START + n * hours * HOUR, START + (n + 1) * hours * HOUR, capacity)
        for n, capacity in enumerate(capacities)
    ]
    return Limit(name, tuple(runs), scope)


def subject(
    name: str, *limits: Limit, usd: float = 0.0, models: frozenset[str] = MODELS
) -> Subject:
    kind = AccountKind.METERED if usd else AccountKind.SUBSCRIPTION
    return Subject(Account(name, "simulated", kind), models, limits, usd)


def ask(
    hours: float, tokens: int = 10, session: str = "s", model: str = "small", **more: object
) -> Request:
    return Request(START + hours * HOUR, session, model, tokens, **more)


def case(
    subjects: list[Subject],
    requests: list[Request],
    outside: tuple[Outside, ...] = (),
    life: Life | None = None,
) -> Case:
    end = max(run.end for it in subjects for each in it.limits for run in each.runs)
    return Case("small", START, end, tuple(subjects), tuple(requests), outside, life)
