"""Every parser of every provider, whatever it is thrown: windows, or one sentence."""

import json
import math
from collections.abc import Iterable
from typing import Any
from urllib.parse import urlencode

import pytest
from asking import KEY, TOKEN
from hypothesis import example, given
from hypothesis import strategies as st

from core.errors import UsageError
from core.model import HttpResponse, Source, Usage, Window
from core.pace import view
from core.provider import Provider
from core.providers import known
from core.sse import Event

NOW = 1_785_800_000.0
ALL = pytest.mark.parametrize("provider", known().values(), ids=lambda it: it.id)
ASKED = pytest.mark.parametrize(
    "provider", [it for it in known().values() if it.usage], ids=lambda it: it.id
)

JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=5,
)
NUMBER = st.floats() | st.integers() | st.floats().map(str) | JSON
TIME = st.datetimes().map(lambda it: it.isoformat()) | NUMBER


def some(**fields: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Objects with any of these fields, and now and then something else altogether."""
    return st.fixed_dictionaries({}, optional=fields) | JSON


def many(entry: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.lists(entry, max_size=3) | JSON


CODEX_WINDOW = some(
    used_percent=NUMBER,
    limit_window_seconds=st.sampled_from([18000, 604800, 0]) | NUMBER,
    window_minutes=st.sampled_from([300, 10080, 0]) | NUMBER,
    reset_at=NUMBER,
    reset_after_seconds=NUMBER,
)
INDIVIDUAL = some(limit=NUMBER, used=NUMBER, remaining_percent=NUMBER, reset_at=NUMBER)
CODEX_LIMIT = some(
    primary_window=CODEX_WINDOW, secondary_window=CODEX_WINDOW, individual_limit=INDIVIDUAL
)
NAME = st.sampled_from(["GPT-5.3-Codex-Spark", "codex"]) | JSON
BODIES: dict[str, st.SearchStrategy[Any]] = {
    "anthropic": some(
        five_hour=some(utilization=NUMBER, resets_at=TIME),
        limits=many(some(kind=st.just("weekly_scoped"), percent=NUMBER, scope=st.just("opus"))),
    ),
    "chatgpt": some(
        plan_type=JSON,
        rate_limit=CODEX_LIMIT,
        additional_rate_limits=many(some(limit_name=NAME, rate_limit=CODEX_LIMIT)),
        spend_control=some(individual_limit=INDIVIDUAL),
    ),
    "github-copilot": some(
        quota_snapshots=some(
            premium_interactions=some(
                entitlement=NUMBER, percent_remaining=NUMBER, quota_reset_at=NUMBER
            )
        ),
        quota_reset_date_utc=TIME,
    ),
    "opencode-go": some(
        usage=some(
            **dict.fromkeys(
                ("rolling", "weekly", "monthly"),
                some(status=st.just("rate-limited") | JSON, percent=NUMBER, resetsAt=TIME),
            )
        )
    ),
    "openrouter": some(
        data=some(
            limit=NUMBER,
            limit_remaining=NUMBER,
            limit_reset=st.sampled_from(["daily", "weekly", "monthly"]) | JSON,
            is_free_tier=JSON,
        )
    ),
    "zai": some(
        success=JSON,
        code=st.just(200) | NUMBER,
        data=some(
            planName=JSON,
            limits=many(
                some(
                    type=st.just("TOKENS_LIMIT") | JSON,
                    unit=st.sampled_from([1, 3, 5, 6]) | NUMBER,
                    number=NUMBER,
                    percentage=NUMBER,
                    nextResetTime=NUMBER,
                )
            ),
        ),
    ),
}


def check(windows: Iterable[Window], source: Source) -> None:
    found = list(windows)
    assert all(isinstance(window, Window) for window in found)
    assert len({window.name for window in found}) == len(found)
    assert all(math.isfinite(window.used_percent) for window in found)
    assert {window.source for window in found} <= {source}
    assert {window.as_of for window in found} <= {NOW}
    for window in found:
        view(window, NOW)


def answered(provider: Provider, body: bytes, status: int = 200) -> None:
    assert provider.usage is not None
    flow = provider.usage("https://example.com/usage", KEY, NOW)
    next(flow)
    try:
        flow.send(HttpResponse(status, (("retry-after", "5"),), body))
    except StopIteration as done:
        usage = done.value
        assert isinstance(usage, Usage)
        assert usage.plan is None or isinstance(usage.plan, str)
        check(usage.windows, Source.ENDPOINT)
        return
    except UsageError as error:
        sentence = str(error)
    else:
        pytest.fail("asked for more")
    assert "\n" not in sentence
    assert TOKEN not in sentence


def test_each_provider_that_is_asked_has_bodies_here() -> None:
    assert set(BODIES) == {name for name, provider in known().items() if provider.usage}


@ASKED
@given(data=st.data())
def test_any_json_is_a_reading_or_a_sentence(provider: Provider, data: st.DataObject) -> None:
    answered(provider, json.dumps(data.draw(BODIES[provider.id] | JSON)).encode())


@ASKED
@given(body=st.binary(), status=st.integers(100, 599))
@example(body=b"<!doctype html>", status=200)
@example(body=b"[" * 100_000, status=200)
@example(body=b'{"limits": [' + b'{"a":' * 2000, status=200)
def test_any_bytes_are_a_reading_or_a_sentence(
    provider: Provider, body: bytes, status: int
) -> None:
    answered(provider, body, status)


CODEX = [
    f"X-Codex-{family}{place}-{part}"
    for family in ("", "Bengalfox-", "-")
    for place in ("Primary", "Secondary")
    for part in ("Used-Percent", "Window-Minutes", "Reset-At", "Reset-After-Seconds")
]
UNIFIED = [
    f"anthropic-ratelimit-unified-{short}{part}"
    for short in ("", "5h-", "7d_opus-")
    for part in ("utilization", "reset", "status", "representative-claim")
]
COPILOT = ["x-quota-snapshot-premium_models", "x-usage-ratelimit-session"]
NAMED = ["X-Codex-Bengalfox-Limit-Name", "X-Codex-Active-Limit"]
BURSTS = [
    f"{prefix}-{part}"
    for prefix in ("x-ratelimit", "anthropic-ratelimit")
    for part in (
        *("limit", "remaining", "reset", "limit-requests", "remaining-tokens", "reset-requests"),
        *("requests-limit", "requests-remaining", "tokens-reset", "input-tokens-remaining"),
    )
]
SNAPSHOT = st.fixed_dictionaries(
    {"ent": st.just("300") | st.text(max_size=4), "rem": st.floats().map(str)},
    optional={"rst": st.datetimes().map(lambda it: it.isoformat())},
).map(lambda it: urlencode(it, errors="replace"))
VALUE = (
    st.text(max_size=12)
    | st.floats().map(str)
    | st.integers().map(str)
    | st.sampled_from(["rejected", "five_hour", "codex_bengalfox", "6m0s"])
    | SNAPSHOT
)
FIELD = st.sampled_from(CODEX + UNIFIED + COPILOT + NAMED) | st.text(max_size=12)


@ALL
@given(headers=st.lists(st.tuples(FIELD, VALUE), max_size=12))
def test_any_headers_are_windows(provider: Provider, headers: list[tuple[str, str]]) -> None:
    check(provider.read_limits(tuple(headers), NOW), Source.HEADER)


@ALL
@given(headers=st.lists(st.tuples(st.sampled_from(BURSTS), VALUE), max_size=8))
def test_a_burst_limit_is_never_a_window(
    provider: Provider, headers: list[tuple[str, str]]
) -> None:
    assert provider.read_limits(tuple(headers), NOW) == ()


EVENT = some(
    type=st.just("codex.rate_limits") | JSON,
    rate_limits=some(primary=CODEX_WINDOW, secondary=CODEX_WINDOW),
    limit_name=NAME,
    metered_limit_name=NAME,
    copilot_quota_snapshots=some(
        premium_models=some(entitlement=NUMBER, percent_remaining=NUMBER, reset_date=TIME)
    ),
)


@ALL
@given(type_=st.just("codex.rate_limits") | st.text(max_size=8), body=EVENT)
def test_any_event_is_windows(provider: Provider, type_: str, body: Any) -> None:
    check(provider.read_event(Event(type_, json.dumps(body).encode()), NOW), Source.HEADER)


@ALL
@given(data=st.binary())
@example(data=b'{"codex.rate_limits copilot_quota_snapshots')
@example(data=b"\xff codex.rate_limits copilot_quota_snapshots")
@example(data=b"[" * 100_000 + b"codex.rate_limits copilot_quota_snapshots")
def test_any_bytes_of_an_event_are_windows(provider: Provider, data: bytes) -> None:
    check(provider.read_event(Event("", data), NOW), Source.HEADER)
