"""The model catalogue: what the models of each provider cost and can do. Pure: parses, reads no file.

Its shape is models.dev's, which OpenCode keeps a copy of. PROVIDERS F.1.
"""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

import msgspec

from core.model import Price
from core.reading import count, flag, mapping, number, sequence

_NOT_JSON = (msgspec.DecodeError, RecursionError, UnicodeDecodeError)


@dataclass(frozen=True, slots=True)
class Tariff:
    """A model's price, and the dearer ones of long prompts."""

    price: Price
    beyond: tuple[tuple[float, Price], ...] = ()
    """Tokens of prompt, rising, and the price of the whole request once there are more."""


@dataclass(frozen=True, slots=True)
class CatalogModel:
    """One model at one provider. None is what the catalogue does not say."""

    id: str
    """As the provider spells it."""
    name: str | None = None
    tariff: Tariff | None = None
    context: int | None = None
    """Tokens, of prompt and answer together."""
    input: int | None = None
    """Tokens of prompt alone, where that is a limit of its own."""
    output: int | None = None
    input_modalities: frozenset[str] = frozenset()
    """`text`, `image`, `pdf`, `audio`, `video`; empty is what the catalogue does not say."""
    output_modalities: frozenset[str] = frozenset()
    tool_call: bool | None = None
    reasoning: bool | None = None


type Catalog = Mapping[str, Mapping[str, CatalogModel]]
"""By the catalogue's id of the provider, which is OpenCode's, then by the model's."""

EMPTY: Catalog = {}


def parse(raw: bytes, wanted: Collection[str]) -> Catalog:
    """The wanted providers' part. Raises ValueError where the whole is no catalogue.

    What is odd in a provider or a model is left out of it alone.
    """
    try:
        # The others, some hundred, stay undecoded.
        everyone = msgspec.json.decode(raw, type=dict[str, msgspec.Raw])
    except _NOT_JSON:
        raise ValueError("not a JSON object") from None
    return {name: _provider(everyone[name]) for name in wanted if name in everyone}


def _provider(raw: msgspec.Raw) -> Mapping[str, CatalogModel]:
    try:
        found = msgspec.json.decode(raw)
    except _NOT_JSON:
        return {}
    models = mapping(mapping(found).get("models"))
    return {name: _model(name, mapping(told)) for name, told in models.items()}


def _model(name: str, told: Mapping[str, object]) -> CatalogModel:
    limit, modalities = mapping(told.get("limit")), mapping(told.get("modalities"))
    return CatalogModel(
        name,
        _text(told.get("name")),
        _tariff(mapping(told.get("cost"))),
        count(limit.get("context")),
        count(limit.get("input")),
        count(limit.get("output")),
        _words(modalities.get("input")),
        _words(modalities.get("output")),
        flag(told.get("tool_call")),
        flag(told.get("reasoning")),
    )


def _tariff(cost: Mapping[str, object]) -> Tariff | None:
    price = _price(cost)
    return None if price is None else Tariff(price, tuple(sorted(_beyond(cost), key=_size)))


def _price(cost: Mapping[str, object]) -> Price | None:
    """A price for both ways, or none: half a price would make a sum that is not one."""
    prompt, answer = _usd(cost.get("input")), _usd(cost.get("output"))
    if prompt is None or answer is None:
        return None
    return price_of(prompt, answer, _usd(cost.get("cache_read")), _usd(cost.get("cache_write")))


def price_of(
    prompt: float, answer: float, cache_read: float | None, cache_write: float | None
) -> Price:
    """Without a price of its own what goes through the cache costs what any prompt does."""
    return Price(
        prompt,
        answer,
        prompt if cache_read is None else cache_read,
        prompt if cache_write is None else cache_write,
    )


_OVER_200K = "context_over_200k"


def _beyond(cost: Mapping[str, object]) -> Iterator[tuple[float, Price]]:
    tiers = sequence(cost.get("tiers"))
    for each in tiers:
        tier, price = mapping(each), _price(mapping(each))
        kind = mapping(tier.get("tier"))
        size = _usd(kind.get("size"))
        if kind.get("type") == "context" and size is not None and price is not None:
            yield size, price
    older = _price(mapping(cost.get(_OVER_200K)))
    if not tiers and older is not None:
        yield 200_000.0, older


def _size(step: tuple[float, Price]) -> float:
    return step[0]


def _usd(value: object) -> float | None:
    figure = number(value)
    return figure if figure is not None and figure >= 0.0 else None


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value.strip() else None


def _words(value: object) -> frozenset[str]:
    return frozenset(word for word in sequence(value) if isinstance(word, str))
