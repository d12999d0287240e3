"""PROVIDERS F.1."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.catalog import CatalogModel, Tariff, parse
from core.model import Price

SONNET: dict[str, Any] = {
    "id": "claude-sonnet-4-5",
    "name": "Claude Sonnet 4.5",
    "family": "claude-sonnet",
    "attachment": True,
    "reasoning": True,
    "tool_call": True,
    "modalities": {"input": ["text", "image", "pdf"], "output": ["text"]},
    "limit": {"context": 1000000, "output": 64000},
    "cost": {
        "input": 3,
        "output": 15,
        "cache_read": 0.3,
        "cache_write": 3.75,
        "tiers": [
            {
                "input": 6,
                "output": 22.5,
                "cache_read": 0.6,
                "cache_write": 7.5,
                "tier": {"type": "context", "size": 200000},
            }
        ],
        "context_over_200k": {"input": 6, "output": 22.5, "cache_read": 0.6, "cache_write": 7.5},
    },
}
SHORT, LONG = Price(3.0, 15.0, 0.3, 3.75), Price(6.0, 22.5, 0.6, 7.5)


def read(**models: Any) -> Any:
    raw = json.dumps({"other": 5, "anthropic": {"id": "anthropic", "models": models}}).encode()
    return parse(raw, ("anthropic", "absent"))["anthropic"]


def cost(**figures: Any) -> Tariff | None:
    model: CatalogModel = read(m={"cost": figures})["m"]
    return model.tariff


def test_f1_a_model_as_it_is_published() -> None:
    assert read(**{"claude-sonnet-4-5": SONNET}) == {
        "claude-sonnet-4-5": CatalogModel(
            "claude-sonnet-4-5",
            "Claude Sonnet 4.5",
            Tariff(SHORT, ((200_000.0, LONG),)),
            1_000_000,
            None,
            64_000,
            frozenset({"text", "image", "pdf"}),
            frozenset({"text"}),
            tool_call=True,
            reasoning=True,
        )
    }


def test_the_providers_that_are_not_wanted_are_left_out() -> None:
    raw = b'{"a": {"models": {"m": {}}}, "b": {"models": {"m": {}}}}'
    assert parse(raw, ("b", "c")) == {"b": {"m": CatalogModel("m")}}


@pytest.mark.parametrize(
    "entry",
    [5, [], None, "x", {}, {"models": 5}, {"models": []}, {"id": "a", "models": None}],
)
def test_a_provider_of_another_shape_has_no_models(entry: Any) -> None:
    assert parse(json.dumps({"a": entry}).encode(), ("a",)) == {"a": {}}


def test_a_provider_that_is_no_json_after_all_has_no_models() -> None:
    assert parse(b'{"a": {"id": "\xff"}}', ("a",)) == {"a": {}}


def test_what_is_nested_too_deep_is_refused() -> None:
    deep = b"[" * 100_000 + b"]" * 100_000
    with pytest.raises(ValueError, match="not a JSON object"):
        parse(b'{"a": ' + deep + b"}", ("a",))


@pytest.mark.parametrize("entry", [5, [], None, "x", {}, {"limit": 5, "cost": [], "modalities": 1}])
def test_a_model_of_another_shape_says_nothing_of_itself(entry: Any) -> None:
    assert read(m=entry) == {"m": CatalogModel("m")}


@pytest.mark.parametrize("raw", [b"", b"{", b"[]", b"5", b"null", b"\xff", b'{"a": }', b"<html>"])
def test_what_is_no_catalogue_is_refused(raw: bytes) -> None:
    with pytest.raises(ValueError, match="not a JSON object") as caught:
        parse(raw, ("a",))
    assert caught.value.__cause__ is None


@pytest.mark.parametrize(
    "figures",
    [{}, {"input": 3}, {"output": 3}, {"input": -1, "output": 3}, {"input": 3, "output": "much"}],
)
def test_half_a_price_is_none(figures: dict[str, Any]) -> None:
    assert cost(**figures) is None


def test_what_goes_through_the_cache_costs_as_any_input_where_nothing_is_said() -> None:
    assert cost(input=3, output=15) == Tariff(Price(3.0, 15.0, 3.0, 3.0))
    assert cost(input=3, output=15, cache_read=0) == Tariff(Price(3.0, 15.0, 0.0, 3.0))
    assert cost(input="3", output="15", cache_write=3.75) == Tariff(Price(3.0, 15.0, 3.0, 3.75))


def test_free_is_a_price() -> None:
    assert cost(input=0, output=0) == Tariff(Price(0.0, 0.0, 0.0, 0.0))


def test_long_prompts_have_prices_of_their_own_the_longest_last() -> None:
    def tier(size: Any, kind: str = "context", **more: Any) -> dict[str, Any]:
        return {"input": 6, "output": 30, "tier": {"type": kind, "size": size}} | more

    steps = [tier(500_000, input=9), tier(200_000), tier(1, "time"), tier(None), {"input": 1}, 7]
    dear = Price(6.0, 30.0, 6.0, 6.0)
    found = cost(input=3, output=15, tiers=steps)
    assert found == Tariff(
        Price(3.0, 15.0, 3.0, 3.0),
        ((200_000.0, dear), (500_000.0, Price(9.0, 30.0, 9.0, 9.0))),
    )


def test_the_older_field_for_long_prompts_is_read_where_there_are_no_tiers() -> None:
    figures = {key: value for key, value in SONNET["cost"].items() if key != "tiers"}
    assert cost(**figures) == Tariff(SHORT, ((200_000.0, LONG),))
    assert cost(**figures | {"context_over_200k": {"input": 6}}) == Tariff(SHORT)


@pytest.mark.parametrize("limit", [0, -1, None, True, "many", 0.5, "1e999"])
def test_a_limit_that_is_none_is_left_out(limit: Any) -> None:
    assert read(m={"limit": {"context": limit}})["m"].context is None


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
fields = st.sampled_from(
    ["id", "name", "cost", "limit", "modalities", "input", "output", "tiers", "tier", "size"]
)
models = st.recursive(json_values, lambda inner: st.dictionaries(fields, inner, max_size=4))


@given(models)
def test_whatever_a_model_holds_is_read_or_left_out(model: Any) -> None:
    [found] = read(m=model).values()
    assert isinstance(found, CatalogModel)


@given(st.binary())
def test_whatever_the_file_holds_is_a_catalogue_or_a_value_error(raw: bytes) -> None:
    try:
        assert set(parse(raw, ("a",))) <= {"a"}
    except ValueError as error:
        assert str(error) == "not a JSON object"  # noqa: PT017
