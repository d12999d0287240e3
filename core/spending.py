"""What pay-per-token accounts may spend, and what their tokens cost: by mitm.yaml, the catalogue after it.

Looks up; decides and remembers nothing.
"""

import re
from collections.abc import Iterable, Iterator, Mapping

from core import budget
from core.catalog import Catalog, Tariff, price_of
from core.config import Config, PriceConfig
from core.model import Account, AccountKind, Budget, Period, Price, Spend, Tokens
from core.poller import Subject
from core.provider import Provider

_DATE = re.compile(r"-(\d{8}|\d{4}-\d{2}-\d{2})\Z")
"""`claude-sonnet-4-5-20250929`: answers name the snapshot, people and price lists the model."""


class Spending:
    """One configuration's view of the prices. Cheap to make: nothing is kept."""

    def __init__(self, config: Config, catalog: Catalog, known: Mapping[str, Provider]) -> None:
        self._config = config
        self._catalog = catalog
        self._known = known

    def budget(self, account: Account) -> Budget | None:
        """None where the user set none, and where nothing is paid by the token."""
        declared = self._config.provider(account.provider).budget
        if declared is None or account.kind is not AccountKind.METERED:
            return None
        return Budget(declared.usd, Period(declared.per))

    def price(self, account: Account, model: str) -> Price | None:
        """Of a prompt of usual length; None where it is not known or nothing is paid."""
        tariff = self.tariff(account.provider, model) if _is_paid(account) else None
        return None if tariff is None else tariff.price

    def charge(self, account: Account, model: str, tokens: Tokens) -> Spend:
        """What an answer cost. A subscription's are paid already."""
        if not _is_paid(account):
            return Spend()
        return budget.charge(self.tariff(account.provider, model), model, tokens)

    def cost(self, account: Account, model: str, tokens: Tokens) -> float | None:
        """Dollars; None where nothing is paid by the token, and where no price is known."""
        spend = self.charge(account, model, tokens)
        return spend.usd if _is_paid(account) and not spend.unpriced else None

    def tariff(self, provider: str, model: str) -> Tariff | None:
        """By the provider's spelling of the model."""
        spellings = (model, _DATE.sub("", model))
        for spelling in dict.fromkeys(spellings):
            found = self._declared(provider, spelling) or self._listed(provider, spelling)
            if found is not None:
                return found
        return None

    def _declared(self, provider: str, spelling: str) -> Tariff | None:
        for name, section in self._config.models.items():
            price = section.price_at(provider)
            if price is not None and self._spelled(provider, name) == spelling:
                return Tariff(_noun(price))
        return None

    def _listed(self, provider: str, spelling: str) -> Tariff | None:
        for key in self._known[provider].opencode_keys:
            model = self._catalog.get(key, {}).get(spelling)
            if model is not None and model.tariff is not None:
                return model.tariff
        return None

    def _spelled(self, provider: str, name: str) -> str | None:
        """None where the model is not had from that provider."""
        providers = self._config.models[name].providers
        if provider not in providers:
            return None
        return providers[provider] or self._known[provider].model_id(name)

    def warnings(self, subjects: Iterable[Subject]) -> Iterator[str]:
        """Budgets that do nothing, or cannot be kept."""
        for subject in subjects:
            account = subject.account
            key = f"providers.{account.provider}.budget"
            if self._config.provider(account.provider).budget is None:
                continue
            if not _is_paid(account):
                source = subject.credential.source
                yield f"{key} has no effect: the sign-in in {source} is not paid by the token"
            elif unpriced := self._unpriced(account.provider):
                yield (
                    f"{key} cannot be kept where these are used: no price for "
                    f"{', '.join(unpriced)}. A `price` under the model in mitm.yaml gives it one"
                )

    def _unpriced(self, provider: str) -> list[str]:
        spelled = {name: self._spelled(provider, name) for name in self._config.models}
        return [
            name
            for name, spelling in spelled.items()
            if spelling is not None and self.tariff(provider, spelling) is None
        ]


def _is_paid(account: Account) -> bool:
    return account.kind is AccountKind.METERED


def _noun(price: PriceConfig) -> Price:
    return price_of(price.input, price.output, price.cache_read, price.cache_write)
