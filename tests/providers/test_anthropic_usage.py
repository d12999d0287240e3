"""Each test names the section of PROVIDERS that it holds the parser to."""

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import UsageError
from core.model import (
    AccountKind,
    Credential,
    CredentialType,
    HttpRequest,
    HttpResponse,
    Secret,
    Source,
    Usage,
    Window,
)
from core.providers.anthropic import PREFIX, PROVIDER

DATA = Path(__file__).parent.parent / "data" / "anthropic"
NOW = 1_783_000_000.0
HOUR = 3600.0
WEEK = 168 * HOUR
OAUTH = Credential(CredentialType.OAUTH, Secret("sk-ant-oat-TOKEN"), "TEST", "me")
URL = "https://api.anthropic.com/api/oauth/usage"


def recorded(name: str) -> Any:
    return json.loads((DATA / f"{name}.json").read_text())


def read(body: bytes, status: int = 200, *headers: tuple[str, str]) -> Usage:
    assert PROVIDER.usage is not None
    flow = PROVIDER.usage(URL, OAUTH, NOW)
    next(flow)
    with pytest.raises(StopIteration) as done:
        flow.send(HttpResponse(status, headers, body))
    usage = done.value.value
    assert isinstance(usage, Usage)
    return usage


def parsed(body: object) -> Usage:
    return read(json.dumps(body).encode())


def refused(body: bytes, status: int, *headers: tuple[str, str]) -> UsageError:
    with pytest.raises(UsageError) as caught:
        read(body, status, *headers)
    return caught.value


def limits(headers: dict[str, str]) -> tuple[Window, ...]:
    return PROVIDER.read_limits(tuple(headers.items()), NOW)


def polled(
    name: str, used: float, resets_at: float | None, duration: float, scope: str | None = None
) -> Window:
    return Window(name, used, resets_at, duration, Source.ENDPOINT, NOW, scope)


def headed(
    name: str, used: float, resets_at: float | None, duration: float, scope: str | None = None
) -> Window:
    return Window(name, used, resets_at, duration, Source.HEADER, NOW, scope)


# A.1, the usage endpoint


def test_a1_the_request_names_the_beta_and_no_credential() -> None:
    assert PROVIDER.usage is not None
    request = next(PROVIDER.usage(URL, OAUTH, NOW))
    headers = (("accept", "application/json"), ("anthropic-beta", "oauth-2025-04-20"))
    assert request == HttpRequest(
        "GET", "https", "api.anthropic.com", 443, "/api/oauth/usage", headers
    )
    assert PROVIDER.authorize(OAUTH) == (("authorization", "Bearer sk-ant-oat-TOKEN"),)
    assert PROVIDER.endpoints(OAUTH).usage_url == URL


def test_a1_an_api_key_has_no_usage_endpoint_and_is_metered() -> None:
    key = Credential(CredentialType.API, Secret("k"), "TEST", "me")
    assert (PROVIDER.has_usage(OAUTH), PROVIDER.has_usage(key)) == (True, False)
    assert PROVIDER.kind(CredentialType.API) is AccountKind.METERED
    assert PROVIDER.kind(CredentialType.OAUTH) is AccountKind.SUBSCRIPTION
    assert PROVIDER.authorize(key) == (("x-api-key", "k"),)


def test_a1_the_recorded_reply() -> None:
    windows = (
        polled("five_hour", 11.0, 1783038600.282668, 5 * HOUR),
        polled("seven_day", 9.0, 1783501200.282694, WEEK),
        polled("seven_day_opus", 0.0, None, WEEK, "opus"),
        polled("seven_day_fable", 5.0, 1783501200.28307, WEEK, "fable"),
    )
    # `extra_usage` is enabled: what lies beyond them is paid for.
    assert parsed(recorded("usage")) == Usage(tuple(replace(w, overage=True) for w in windows))


@pytest.mark.parametrize(
    ("extra", "overage"),
    [
        ({"is_enabled": True, "disabled_reason": None}, True),
        ({"is_enabled": True, "disabled_reason": "out_of_credits"}, False),
        ({"is_enabled": False, "disabled_reason": None}, False),
        ({"is_enabled": "true"}, False),
        (None, False),
    ],
)
def test_a1_what_lies_beyond_a_window_is_sold_where_the_account_says_so(
    extra: object, *, overage: bool
) -> None:
    body = {"five_hour": {"utilization": 1.0, "resets_at": None}, "extra_usage": extra}
    assert [window.overage for window in parsed(body).windows] == [overage]


@pytest.mark.parametrize("name", ["usage_free", "usage_enterprise"])
def test_a1_null_windows_say_nothing(name: str) -> None:
    assert parsed(recorded(name)) == Usage()


@pytest.mark.parametrize(
    "entry",
    [
        None,
        {},
        {"utilization": None, "resets_at": None},
        {"utilization": "", "resets_at": "2026-07-03T00:30:00Z"},
        {"utilization": True},
        {"utilization": {}},
        "12",
        12,
        [],
    ],
)
def test_a1_missing_is_not_zero(entry: object) -> None:
    assert parsed({"five_hour": entry}) == Usage()


@pytest.mark.parametrize(
    ("resets_at", "expected"),
    [
        ("2026-07-03T02:30:00.282668+02:00", 1783038600.282668),
        ("2026-07-03T00:30:00Z", 1783038600.0),
        (None, None),
        ("", None),
        ("tomorrow", None),
        (0, None),
    ],
)
def test_a1_resets(resets_at: object, expected: float | None) -> None:
    body = {"seven_day": {"utilization": "101.5", "resets_at": resets_at}}
    assert parsed(body) == Usage((polled("seven_day", 101.5, expected, WEEK),))


def scoped(scope: object, percent: object = 5, kind: object = "weekly_scoped") -> Usage:
    resets_at = "2026-07-08T09:00:00Z"
    limit = {"kind": kind, "percent": percent, "scope": scope, "resets_at": resets_at}
    return parsed({"limits": [limit]})


@pytest.mark.parametrize(
    ("scope", "family"),
    [
        ("opus", "opus"),
        ("Opus", "opus"),
        ("claude-opus-4-5", "opus"),
        ({"model": {"id": None, "display_name": "Fable"}, "surface": None}, "fable"),
        ({"model": {"display_name": "Opus 4.5"}}, "opus"),
        ({"model": {"display_name": "Claude Opus 4.5"}}, "opus"),
        ({"model": {"display_name": "Claude Sonnet"}}, "sonnet"),
        ({"model": {"display_name": "Claude 3 Opus"}}, "opus"),
        ({"model": {"id": "claude-sonnet-4-5", "display_name": None}}, "sonnet"),
    ],
)
def test_a1_per_model_limits(scope: object, family: str) -> None:
    window = polled(f"seven_day_{family}", 5.0, 1783501200.0, WEEK, family)
    assert scoped(scope) == Usage((window,))


@pytest.mark.parametrize(
    "scope",
    [
        None,
        "",
        "  ",
        "claude",
        "4.5",
        7,
        [],
        {},
        {"model": None, "surface": "cowork"},
        {"model": {"id": None, "display_name": None}},
        {"model": "opus-ish", "surface": None},
        {"model": {"display_name": 5}},
    ],
)
def test_a1_a_limit_of_no_model_binds_none(scope: object) -> None:
    assert scoped(scope) == Usage()


def test_a1_other_limits_are_those_of_the_flat_keys() -> None:
    assert scoped(None, kind="session") == scoped("opus", kind="weekly_all") == Usage()


@pytest.mark.parametrize("percent", [None, "", "high", False, []])
def test_a1_a_limit_without_a_figure_says_nothing(percent: object) -> None:
    assert scoped("opus", percent) == Usage()


def test_a1_limits_come_before_the_flat_key_of_the_same_model() -> None:
    body = {
        "seven_day_opus": {"utilization": 0.0, "resets_at": None},
        "limits": [
            {"kind": "weekly_scoped", "percent": 64, "scope": "opus", "resets_at": None},
            None,
            "x",
        ],
    }
    assert parsed(body) == Usage((polled("seven_day_opus", 64.0, None, WEEK, "opus"),))


@pytest.mark.parametrize(
    ("value", "wait"), [("0", None), (None, None), ("1600", 1600.0), ("-3", None), ("soon", None)]
)
def test_a1_asked_too_often(value: str | None, wait: float | None) -> None:
    headers = () if value is None else (("Retry-After", value),)
    error = refused((DATA / "usage_429.json").read_bytes(), 429, *headers)
    assert str(error) == "the usage endpoint limits how often it is asked"
    assert error.retry_after == wait


@pytest.mark.parametrize(
    ("status", "body", "says"),
    [
        (401, b'{"error": {"message": "CONTENT"}}', "the usage endpoint answered 401"),
        (403, b'{"error": {"message": "CONTENT user:profile"}}', "the usage endpoint answered 403"),
        (404, b"CONTENT", "the usage endpoint answered 404"),
        (502, b"<html>CONTENT</html>", "the usage endpoint answered 502"),
        (200, b"<html>CONTENT</html>", "the usage endpoint answered something that is not JSON"),
        (200, b'["CONTENT"]', "the usage endpoint answered JSON that is not an object"),
    ],
)
def test_a1_what_is_no_reading_is_a_sentence(status: int, body: bytes, says: str) -> None:
    error = refused(body, status)
    assert (str(error), error.retry_after) == (says, None)


# B.1, the headers of an answer


def test_b1_the_recorded_429() -> None:
    assert limits(recorded("headers_429")) == (
        headed("five_hour", 101.0, 1785518400.0, 5 * HOUR),
        headed("seven_day", 100 * 0.69, 1786006800.0, WEEK),
    )


def test_b1_an_api_keys_limits_per_minute_are_no_quota() -> None:
    assert limits(recorded("headers_api_key")) == ()


def test_b1_a_windowless_429_says_nothing() -> None:
    assert limits({"x-should-retry": "true"}) == ()


@pytest.mark.parametrize(
    ("status", "overage"), [("allowed", True), ("allowed_warning", True), ("rejected", False)]
)
def test_b1_whether_an_account_goes_on_for_money(status: str, *, overage: bool) -> None:
    [window] = limits({f"{PREFIX}5h-utilization": "0.5", f"{PREFIX}overage-status": status})
    assert (window.used_percent, window.overage) == (50.0, overage)


@pytest.mark.parametrize("own", [{}, {f"{PREFIX}5h-utilization": "0.99"}], ids=["unsaid", "said"])
def test_b1_an_answer_that_is_paid_for_tells_that_its_window_is_spent(own: dict[str, str]) -> None:
    [window] = limits(
        {
            **own,
            f"{PREFIX}status": "allowed",
            f"{PREFIX}overage-status": "allowed",
            f"{PREFIX}overage-in-use": "true",
            f"{PREFIX}representative-claim": "five_hour",
        }
    )
    assert (window.name, window.used_percent, window.overage) == ("five_hour", 100.0, True)


def unified(short: str, **fields: str) -> tuple[Window, ...]:
    return limits({f"Anthropic-RateLimit-Unified-{short}-{k}": v for k, v in fields.items()})


@pytest.mark.parametrize(
    ("short", "name", "duration", "scope"),
    [
        ("5h", "five_hour", 5 * HOUR, None),
        ("7d", "seven_day", WEEK, None),
        ("7d_opus", "seven_day_opus", WEEK, "opus"),
        ("7d_sonnet", "seven_day_sonnet", WEEK, "sonnet"),
        ("7d_oi", "seven_day_fable", WEEK, "fable"),
    ],
)
def test_b1_shares_are_0_to_1(short: str, name: str, duration: float, scope: str | None) -> None:
    window = headed(name, 50.0, 1785518400.0, duration, scope)
    assert unified(short, utilization="0.5", reset="1785518400", status="allowed") == (window,)


@pytest.mark.parametrize(
    "status", ["rejected", "Rejected ", "blocked", "rate_limited", "payment_required"]
)
@pytest.mark.parametrize("share", ["0.97", "0", "x", None])
def test_b1_a_rejected_window_is_spent_whatever_its_share(status: str, share: str | None) -> None:
    fields = {} if share is None else {"utilization": share}
    assert unified("5h", status=status, **fields) == (headed("five_hour", 100.0, None, 5 * HOUR),)


@pytest.mark.parametrize(
    "status", ["allowed", "allowed_warning", "queueing_soft", "queueing_hard", "new_word", ""]
)
def test_b1_any_other_status_leaves_the_share(status: str) -> None:
    window = headed("five_hour", 75.0, None, 5 * HOUR)
    assert unified("5h", utilization="0.75", status=status) == (window,)


def test_b1_a_rejection_of_one_model_is_that_models() -> None:
    assert unified("7d_opus", utilization="1.0", status="rejected") == (
        headed("seven_day_opus", 100.0, None, WEEK, "opus"),
    )


@pytest.mark.parametrize("share", ["", "nan", "inf", "1e308", "half", "-inf"])
def test_b1_a_share_that_is_no_figure_says_nothing(share: str) -> None:
    assert unified("5h", utilization=share, reset="1785518400") == ()


@pytest.mark.parametrize("reset", ["0", "-1", "soon", "1e300", ""])
def test_b1_a_reset_that_is_no_time_is_none(reset: str) -> None:
    window = headed("five_hour", 50.0, None, 5 * HOUR)
    assert unified("5h", utilization="0.5", reset=reset) == (window,)


def test_b1_a_rejection_that_names_its_window_alone() -> None:
    """A few proxies leave the windows' own fields out."""
    claim = recorded("headers_claim")
    spent = headed("five_hour", 100.0, 1785518400.0, 5 * HOUR)
    assert limits(claim) == (spent,)
    own = {"anthropic-ratelimit-unified-7d-utilization": "0.5"}
    assert limits(claim | own) == (headed("seven_day", 50.0, None, WEEK), spent)
    own = {"anthropic-ratelimit-unified-5h-utilization": "0.5"}
    assert limits(claim | own) == (headed("five_hour", 50.0, None, 5 * HOUR),)


@pytest.mark.parametrize(
    ("claim", "name", "scope"),
    [
        ("seven_day", "seven_day", None),
        ("seven_day_opus", "seven_day_opus", "opus"),
        ("seven_day_sonnet", "seven_day_sonnet", "sonnet"),
        ("seven_day_overage_included", "seven_day_fable", "fable"),
    ],
)
def test_b1_what_a_rejection_rests_on(claim: str, name: str, scope: str | None) -> None:
    found = recorded("headers_claim") | {"anthropic-ratelimit-unified-representative-claim": claim}
    assert limits(found) == (headed(name, 100.0, 1785518400.0, WEEK, scope),)


@pytest.mark.parametrize(
    "odd",
    [
        {"anthropic-ratelimit-unified-representative-claim": "something_new"},
        {"anthropic-ratelimit-unified-status": "allowed"},
    ],
)
def test_b1_a_claim_without_a_rejection_says_nothing(odd: dict[str, str]) -> None:
    assert limits(recorded("headers_claim") | odd) == ()


# Whatever comes

JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=6,
)
ENTRY = JSON | st.fixed_dictionaries(
    {},
    optional={
        "utilization": st.floats() | JSON,
        "percent": st.floats() | JSON,
        "resets_at": st.datetimes().map(lambda it: it.isoformat()) | JSON,
        "kind": st.just("weekly_scoped") | JSON,
        "scope": JSON
        | st.fixed_dictionaries({"model": st.fixed_dictionaries({"id": JSON}) | JSON}),
    },
)
BODY = JSON | st.fixed_dictionaries(
    {},
    optional={
        "five_hour": ENTRY,
        "seven_day": ENTRY,
        "seven_day_opus": ENTRY,
        "limits": st.lists(ENTRY, max_size=3) | JSON,
    },
)


@given(BODY)
def test_any_json_is_windows_or_a_usage_error(body: Any) -> None:
    try:
        usage = parsed(body)
    except UsageError:
        return
    names = [window.name for window in usage.windows]
    assert len(names) == len(set(names))
    assert all(math.isfinite(window.used_percent) for window in usage.windows)


VALUE = st.text() | st.floats().map(str) | st.integers().map(str) | st.just("rejected")
FIELD = st.sampled_from(
    [
        f"anthropic-ratelimit-unified-{short}-{part}"
        for short in ("5h", "7d", "7d_opus", "7d_oi", "overage")
        for part in ("utilization", "reset", "status")
    ]
)


@given(st.lists(st.tuples(FIELD | st.text(), VALUE)))
def test_any_headers_are_windows(headers: list[tuple[str, str]]) -> None:
    windows = PROVIDER.read_limits(tuple(headers), NOW)
    assert all(window.source is Source.HEADER for window in windows)
