import pytest

from core.catalog import CatalogModel
from core.fit import MOST_BYTES_PER_TOKEN, abilities, unfit
from core.model import Abilities, Ask, Wire

ALL = Abilities(context=200_000, output=64_000, images=True, tools=True, thinking=True)
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


def test_what_nobody_says_stands_against_nobody() -> None:
    assert unfit(Abilities(), FULL, cached_tokens=10**9) is None


@pytest.mark.parametrize(
    ("model", "ask", "cached", "why"),
    [
        (
            Abilities(images=False),
            Ask(Wire.MESSAGES, "m", images=True),
            0,
            "takes no images",
        ),
        (
            Abilities(tools=False),
            Ask(Wire.MESSAGES, "m", fields=frozenset({"tools"})),
            0,
            "calls no tools",
        ),
        (
            Abilities(thinking=False),
            Ask(Wire.MESSAGES, "m", thinking=True),
            0,
            "does not think",
        ),
        (
            Abilities(output=8_192),
            Ask(Wire.MESSAGES, "m", max_tokens=32_000),
            0,
            "answers with at most 8,192 tokens, and 32,000 are asked for",
        ),
        (
            Abilities(context=128_000),
            Ask(Wire.MESSAGES, "m"),
            130_000,
            "takes at most 128,000 tokens, and 130,000 are cached already",
        ),
        (
            Abilities(context=200_000, prompt=100_000),
            Ask(Wire.MESSAGES, "m", size_bytes=int(150_000 * MOST_BYTES_PER_TOKEN)),
            0,
            "takes at most 100,000 tokens, and the request has more than 150,000",
        ),
        (
            Abilities(context=100_000, prompt=168_000),
            Ask(Wire.MESSAGES, "m"),
            150_000,
            "takes at most 100,000 tokens, and 150,000 are cached already",
        ),
    ],
)
def test_why_a_model_is_not_fit(model: Abilities, ask: Ask, cached: int, why: str) -> None:
    assert unfit(model, ask, cached) == why
    assert unfit(ALL, ask, cached_tokens=0) is None


def test_the_bytes_of_images_are_not_counted_as_words() -> None:
    ask = Ask(Wire.MESSAGES, "m", images=True, size_bytes=10**8)
    assert unfit(ALL, ask, cached_tokens=0) is None


# From whom it is known

LISTED = CatalogModel(
    "m",
    context=1_000_000,
    input=900_000,
    output=128_000,
    input_modalities=frozenset({"text", "image"}),
    tool_call=True,
    reasoning=False,
)


def test_the_catalogue_alone() -> None:
    assert abilities(None, LISTED) == Abilities(
        1_000_000, 900_000, 128_000, images=True, tools=True, thinking=False
    )
    silent = CatalogModel("m", input_modalities=frozenset({"text"}))
    assert abilities(Abilities(), silent) == Abilities(images=False)
    assert abilities(None, CatalogModel("m")) == abilities(None, None) == Abilities()


def test_the_provider_s_own_word_comes_first_field_by_field() -> None:
    told = Abilities(prompt=168_000, output=32_000, images=False, thinking=True)
    assert abilities(told, None) == told
    assert abilities(told, LISTED) == Abilities(
        1_000_000, 168_000, 32_000, images=False, tools=True, thinking=True
    )
