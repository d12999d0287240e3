"""What a policy is driven through: requests, the accounts that they meet, and how much is read."""

from dataclasses import dataclass, field

from core.errors import LimitRouterError
from core.evaluation.fleet import Subject
from core.evaluation.workload import Request


class EvaluationError(LimitRouterError):
    """What was asked of the evaluation cannot be done."""


@dataclass(frozen=True, slots=True)
class Outside:
    """A request that reaches an account past the router."""

    at: float
    account: str
    model: str
    tokens: int


@dataclass(frozen=True, slots=True)
class Life:
    """What keeps readings from being perfect."""

    interval: float = 300.0
    """Seconds between readings."""
    noise: float = 3.0
    """Percentage points, at most, up or down."""
    seed: int = 0
    unread: str | None = None
    """The account of which nothing is known from `unread_from` to `unread_until`."""
    unread_from: float = 0.0
    unread_until: float = 0.0


@dataclass(frozen=True, slots=True)
class Case:
    """A workload and the accounts that it meets. Requests are in the order of time."""

    name: str
    start: float
    end: float
    subjects: tuple[Subject, ...]
    requests: tuple[Request, ...] = field(repr=False)
    outside: tuple[Outside, ...] = field(default=(), repr=False)
    life: Life | None = None
    """None reads every window as it is, at every decision."""

    @property
    def load(self) -> float:
        """Demand as a share of capacity, use from outside included."""
        demand = sum(r.tokens for r in self.requests) + sum(o.tokens for o in self.outside)
        return demand / sum(it.capacity for it in self.subjects)
