"""The truth of an account's windows, as its provider keeps it."""

from core.evaluation.fleet import Limit, Run, Subject
from core.model import Source, Window

SPENT = 100.0


class Meter:
    """One kind of window. Time only goes forward."""

    __slots__ = ("_at", "closed", "limit", "outside", "own", "run")

    def __init__(self, limit: Limit) -> None:
        self.limit = limit
        self.own = [0.0] * len(limit.runs)
        """Quota tokens that the router's requests took, by run."""
        self.outside = [0.0] * len(limit.runs)
        self.closed = False
        """The current run has turned a request away: it turns all away until it resets."""
        self.run: Run = limit.runs[0]
        self._at = 0

    def roll(self, now: float) -> None:
        while now >= self.run.end and self._at + 1 < len(self.limit.runs):
            self._at += 1
            self.run = self.limit.runs[self._at]
            self.closed = False

    @property
    def used(self) -> float:
        return self.own[self._at] + self.outside[self._at]

    @property
    def used_percent(self) -> float:
        return SPENT if self.closed else SPENT * self.used / self.run.capacity

    def fits(self, tokens: int) -> bool:
        return not self.closed and self.used + tokens <= self.run.capacity

    def charge(self, tokens: int, *, outside: bool) -> None:
        (self.outside if outside else self.own)[self._at] += tokens

    def window(self, now: float, used_percent: float) -> Window:
        run, limit = self.run, self.limit
        length = run.end - run.start
        return Window(limit.name, used_percent, run.end, length, Source.ENDPOINT, now, limit.scope)


class Meters:
    """All windows of one account."""

    __slots__ = ("_binding", "all", "subject")

    def __init__(self, subject: Subject) -> None:
        self.subject = subject
        self.all = tuple(Meter(limit) for limit in subject.limits)
        self._binding = {
            model: tuple(m for m in self.all if m.limit.scope in (None, model))
            for model in subject.models
        }

    def roll(self, now: float) -> None:
        for meter in self.all:
            meter.roll(now)

    def take(self, model: str, tokens: int, *, outside: bool = False) -> tuple[Meter, ...]:
        """Charge a request to every window that binds its model, or turn it away.

        Empty where it was served; else the windows that it did not fit into, closed by now.
        """
        binding = self._binding[model]
        full = tuple(m for m in binding if not m.fits(tokens))
        for meter in full:
            meter.closed = True
        if not full:
            for meter in binding:
                meter.charge(tokens, outside=outside)
        return full
