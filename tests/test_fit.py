import pytest

from core.catalog import CatalogModel
from core.fit import FEWEST_BYTES_PER_TOKEN, unfit
from core.model import Ask, Wire

ALL = CatalogModel(
    "m",
    context=200_000,
    output=64_000,
    input_modalities=frozenset({"text", "image"}),
    tool_call=True,
    reasoning=True,
)
FULL = Ask(
    Wire.MESSAGES,
    "m",
    images=True,
    thinking=True,
    max_tokens=64_000,
    fields=frozenset({"tools", "messages"}),
)


def test_a_model_that_can_do_it_all_is_fit() -> None:
    assert unfit(ALL, FULL, cached_tokens=200_000) is None


def test_what_the_catalogue_does_not_say_stands_against_nobody() -> None:
    assert unfit(CatalogModel("m"), FULL, cached_tokens=10**9) is None


@pytest.mark.parametrize(
    ("model", "ask", "cached", "why"),
    [
        (
            CatalogModel("m", input_modalities=frozenset({"text"})),
            Ask(Wire.MESSAGES, "m", images=True),
            0,
            "takes no images",
        ),
        (
            CatalogModel("m", tool_call=False),
            Ask(Wire.MESSAGES, "m", fields=frozenset({"tools"})),
            0,
            "calls no tools",
        ),
        (
            CatalogModel("m", reasoning=False),
            Ask(Wire.MESSAGES, "m", thinking=True),
            0,
            "does not think",
        ),
        (
            CatalogModel("m", output=8_192),
            Ask(Wire.MESSAGES, "m", max_tokens=32_000),
            0,
            "answers with at most 8,192 tokens, and 32,000 are asked for",
        ),
        (
            CatalogModel("m", context=128_000),
            Ask(Wire.MESSAGES, "m"),
            130_000,
            "takes at most 128,000 tokens, and 130,000 are cached already",
        ),
        (
            CatalogModel("m", context=200_000, input=100_000),
            Ask(Wire.MESSAGES, "m", size_bytes=int(150_000 * FEWEST_BYTES_PER_TOKEN)),
            0,
            "takes at most 100,000 tokens, and the request has more than 150,000",
        ),
    ],
)
def test_why_a_model_is_not_fit(model: CatalogModel, ask: Ask, cached: int, why: str) -> None:
    assert unfit(model, ask, cached) == why
    assert unfit(ALL, ask, cached_tokens=0) is None


def test_the_bytes_of_images_are_not_counted_as_words() -> None:
    ask = Ask(Wire.MESSAGES, "m", images=True, size_bytes=10**8)
    assert unfit(ALL, ask, cached_tokens=0) is None
