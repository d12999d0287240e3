"""The candidates for an ask: a model's providers, each with what stands against it.

Looks up what the configuration, the sign-ins, the readings, the providers' own lists and the
catalogue say; decides nothing.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from core import fit
from core.accounts import Accounts
from core.catalog import Catalog
from core.config import Config
from core.model import Ask, Candidate, Standing, State
from core.poller import Subject
from core.provider import Provider
from core.speeds import Speeds
from core.spending import Spending


@dataclass(frozen=True, slots=True)
class Candidates:
    """One moment's view. Cheap to make: nothing is kept."""

    config: Config
    accounts: Accounts
    known: Mapping[str, Provider]
    spending: Spending
    catalog: Catalog
    speeds: Speeds
    hurry: Callable[[], None]
    """Called where a sign-in is over: it had better be renewed."""

    def of(
        self, ask: Ask, state: State, now: float, standing: Standing | None = None
    ) -> list[Candidate]:
        """In the configuration's order. `standing` tells how long the conversation is."""
        cached = 0 if standing is None else standing.cached_tokens
        found = []
        for name, wanted in self.config.models[ask.model].providers.items():
            spelled = wanted or self.known[name].model_id(ask.model)
            subject = self.accounts.of(name)
            if subject is None:
                found.append(Candidate(name, spelled, None, "no credential"))
                continue
            problem = self._problem(ask, subject, spelled, state, now)
            problem = problem or self._unfit(ask, subject, spelled, state, cached)
            found.append(self._candidate(subject, spelled, problem))
        return found

    def _candidate(self, subject: Subject, spelled: str, problem: str | None) -> Candidate:
        account, settings = subject.account, self.config.provider(subject.provider.id)
        return Candidate(
            subject.provider.id,
            spelled,
            account,
            problem,
            reserve=settings.reserve,
            overage=settings.overage,
            price=self.spending.price(account, spelled),
            speed=self.speeds.of(account, spelled),
            budget=self.spending.budget(account),
        )

    def _problem(
        self, ask: Ask, subject: Subject, spelled: str, state: State, now: float
    ) -> str | None:
        consent = self.accounts.missing_consent(subject)
        if consent is not None:
            return consent
        over = self.accounts.over(subject, now)
        if over is not None:
            self.hurry()
            return over
        if ask.wire not in subject.provider.paths:
            return f"does not speak {ask.wire}"
        models = state.of(subject.account).models
        if models is not None and spelled not in models:
            return f"{spelled} is not in the account's model list"
        return subject.provider.unfit(ask)

    def _unfit(
        self, ask: Ask, subject: Subject, spelled: str, state: State, cached: int
    ) -> str | None:
        told = state.of(subject.account).abilities.get(spelled)
        entries = (self.catalog.get(key, {}).get(spelled) for key in subject.provider.opencode_keys)
        listed = next((it for it in entries if it is not None), None)
        return fit.unfit(fit.abilities(told, listed), ask, cached)
