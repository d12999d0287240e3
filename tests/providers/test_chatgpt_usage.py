"""Each test names the section of PROVIDERS that it holds the parser to."""

import json
from dataclasses import replace
from typing import Any

import pytest
from asking import KEY, TOKEN, asks, read, recorded, refused

from core.model import AccountKind, CredentialType, HttpRequest, Source, Usage, Window
from core.pace import binds
from core.providers.chatgpt import PROVIDER
from core.sse import Event

NOW = 1_766_939_068.0
HOUR = 3600.0
WEEK = 168 * HOUR
SIGN_IN = replace(KEY, type=CredentialType.OAUTH, account_id="acc-1")
SPARK = "gpt-5.3-codex-spark"
FIVE_AT, WEEK_AT = 1766948068.0, 1767407914.0


def polled(
    name: str,
    used: float,
    resets_at: float | None = None,
    length: float | None = None,
    scope: str | None = None,
) -> Window:
    return Window(name, used, resets_at, length, Source.ENDPOINT, NOW, scope)


def headed(
    name: str,
    used: float,
    resets_at: float | None = None,
    length: float | None = None,
    scope: str | None = None,
) -> Window:
    return Window(name, used, resets_at, length, Source.HEADER, NOW, scope)


# A.3, the usage endpoint


def test_a3_the_request_holds_no_credential() -> None:
    assert asks(PROVIDER, NOW, SIGN_IN) == HttpRequest(
        *("GET", "https", "chatgpt.com", 443, "/backend-api/wham/usage"),
        (("accept", "application/json"),),
    )
    assert PROVIDER.endpoints(SIGN_IN).base_url == "https://chatgpt.com/backend-api/codex"
    assert PROVIDER.kind(CredentialType.OAUTH) is AccountKind.SUBSCRIPTION
    assert PROVIDER.opt_in(CredentialType.OAUTH) is None


def test_a3_the_account_goes_beside_the_token() -> None:
    bearer = ("authorization", f"Bearer {TOKEN}")
    assert PROVIDER.authorize(SIGN_IN) == (bearer, ("chatgpt-account-id", "acc-1"))
    assert PROVIDER.authorize(replace(SIGN_IN, account_id=None)) == (bearer,)


def test_a3_the_recorded_reply() -> None:
    assert read(PROVIDER, recorded("chatgpt", "usage"), NOW) == Usage(
        (
            polled("five_hour", 22.0, FIVE_AT, 5 * HOUR),
            polled("seven_day", 43.0, WEEK_AT, WEEK),
            polled(f"five_hour_{SPARK}", 30.0, FIVE_AT, 5 * HOUR, SPARK),
            polled(f"seven_day_{SPARK}", 100.0, WEEK_AT, WEEK, SPARK),
            polled("individual_limit", 12.5, WEEK_AT),
        ),
        "plus",
    )


def test_a3_a_week_in_the_first_place_is_a_week() -> None:
    week = polled("seven_day", 6.0, WEEK_AT, WEEK)
    assert read(PROVIDER, recorded("chatgpt", "usage_weekly_only"), NOW) == Usage((week,), "free")


def test_a3_a_business_has_what_its_members_may_spend() -> None:
    limit = polled("individual_limit", 25.0, 1785542400.0)
    assert read(PROVIDER, recorded("chatgpt", "usage_business"), NOW) == Usage((limit,), "business")


def test_a3_a_spent_limit_of_one_model_binds_no_other() -> None:
    usage = read(PROVIDER, recorded("chatgpt", "usage"), NOW)
    spent = next(window for window in usage.windows if window.used_percent >= 100.0)
    bound = [
        m for m in (SPARK, "gpt-5.3-codex", "gpt-5.5", "gpt-5-3-codex-spark") if binds(spent, m)
    ]
    assert bound == [SPARK, "gpt-5-3-codex-spark"]


PLANS = (
    *("guest", "free", "go", "plus", "pro", "prolite", "team", "business", "education", "edu"),
    *("k12", "enterprise", "free_workspace", "quorum", "self_serve_business_usage_based"),
)


@pytest.mark.parametrize("plan", PLANS)
def test_a3_a_plan_is_a_word(plan: str) -> None:
    assert read(PROVIDER, {"plan_type": plan, "rate_limit": None}, NOW) == Usage((), plan)


@pytest.mark.parametrize("plan", [None, 5, "", {"plan": "plus"}, "two\nlines", "x" * 65])
def test_a3_what_is_no_word_is_no_plan(plan: object) -> None:
    assert read(PROVIDER, {"plan_type": plan}, NOW) == Usage()


def first(**fields: object) -> tuple[Window, ...]:
    return read(PROVIDER, {"rate_limit": {"primary_window": fields}}, NOW).windows


@pytest.mark.parametrize(
    ("seconds", "name"),
    [
        (18000, "five_hour"),
        (17940, "five_hour"),
        ("604800", "seven_day"),
        (2628000, "month"),
        (28 * 86400, "month"),
        (31 * 86400, "month"),
        (86400, "window_24h"),
        (900, "window_1h"),
    ],
)
def test_a3_windows_are_told_by_their_length(seconds: Any, name: str) -> None:
    window = polled(name, 7.0, None, float(seconds))
    assert first(used_percent=7, limit_window_seconds=seconds) == (window,)


@pytest.mark.parametrize("length", [None, 0, -1, "long", 1e300, True, []])
def test_a3_a_window_of_no_length_keeps_the_providers_word(length: object) -> None:
    assert first(used_percent=7, limit_window_seconds=length) == (polled("primary", 7.0),)


@pytest.mark.parametrize("used", [None, "", "half", True, [], {}, "nan"])
def test_a3_missing_is_not_zero(used: object) -> None:
    assert first(used_percent=used, limit_window_seconds=18000, reset_at=FIVE_AT) == ()


@pytest.mark.parametrize(("used", "read_as"), [("22.5", 22.5), (-3, -3.0), (104, 104.0), (0, 0.0)])
def test_a3_odd_figures(used: object, read_as: float) -> None:
    window = polled("five_hour", read_as, FIVE_AT, 5 * HOUR)
    assert first(used_percent=used, limit_window_seconds=18000, reset_at=FIVE_AT) == (window,)


@pytest.mark.parametrize(
    ("at", "after", "expected"),
    [
        (FIVE_AT, 1, FIVE_AT),
        (str(FIVE_AT), None, FIVE_AT),
        (None, 9000, NOW + 9000),
        (0, "60", NOW + 60),
        (0, 0, None),
        (None, -5, None),
        (None, 1e300, None),
        ("soon", "later", None),
    ],
)
def test_a3_the_reset(at: object, after: object, expected: float | None) -> None:
    window = polled("five_hour", 1.0, expected, 5 * HOUR)
    fields = {"limit_window_seconds": 18000, "reset_at": at, "reset_after_seconds": after}
    assert first(used_percent=1, **fields) == (window,)


def test_a3_a_window_of_all_zeros_is_none() -> None:
    zeros = {"limit_window_seconds": 0, "reset_after_seconds": 0, "reset_at": 0}
    assert first(used_percent=0, **zeros) == ()


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"rate_limit": None, "additional_rate_limits": None, "spend_control": None},
        {"rate_limit": {"primary_window": None, "secondary_window": None}},
        {"rate_limit": [], "additional_rate_limits": {}, "spend_control": "x", "plan_type": 5},
        {"additional_rate_limits": [None, 5, "x", [], {}, {"limit_name": "gpt-5"}]},
    ],
)
def test_a3_garbage_says_nothing(body: object) -> None:
    assert read(PROVIDER, body, NOW) == Usage()


def additional(**names: object) -> tuple[str, ...]:
    limit = {"primary_window": {"used_percent": 1, "limit_window_seconds": 18000}}
    body = {"additional_rate_limits": [{**names, "rate_limit": limit}]}
    return tuple(window.name for window in read(PROVIDER, body, NOW).windows)


def test_a3_a_limit_without_a_name_is_called_by_its_feature_and_without_both_is_nobodys() -> None:
    assert additional(limit_name=None, metered_feature="gpt_x") == ("five_hour_gpt_x",)
    assert additional(limit_name=" ", metered_feature="gpt_x") == ("five_hour_gpt_x",)
    assert additional(limit_name=5, metered_feature="…") == additional() == ()


def individual(**fields: object) -> list[float]:
    body = {"spend_control": {"individual_limit": fields}}
    return [window.used_percent for window in read(PROVIDER, body, NOW).windows]


def test_a3_what_remains_of_no_limit_is_a_placeholder() -> None:
    assert individual(limit=None, used=None, remaining_percent=100) == []
    assert individual(limit=None, used=None, remaining_percent=87) == [13.0]
    assert individual(limit="100", used=None, remaining_percent=100) == []
    assert individual(limit="100", used="120", remaining_percent=0) == [120.0]
    assert individual(limit="0", used="0", remaining_percent="-2") == [102.0]
    assert individual(limit=1e-308, used=1e308, remaining_percent=5) == []
    assert individual(limit="100") == []


def test_a3_of_two_windows_of_one_length_the_fuller_counts() -> None:
    def windows(one: int, other: int) -> tuple[Window, ...]:
        limit = {
            "primary_window": {"used_percent": one, "limit_window_seconds": 604800},
            "secondary_window": {"used_percent": other, "limit_window_seconds": 604800},
        }
        return read(PROVIDER, {"rate_limit": limit}, NOW).windows

    assert windows(3, 8) == windows(8, 3) == (polled("seven_day", 8.0, None, WEEK),)


@pytest.mark.parametrize(
    ("status", "body", "says"),
    [
        (401, {"detail": "CONTENT"}, "the usage endpoint answered 401"),
        (403, b"<html>CONTENT</html>", "the usage endpoint answered 403"),
        (200, b"<html>CONTENT</html>", "the usage endpoint answered something that is not JSON"),
        (200, ["CONTENT"], "the usage endpoint answered JSON that is not an object"),
    ],
)
def test_a3_what_is_no_reading_is_a_sentence(status: int, body: object, says: str) -> None:
    assert str(refused(PROVIDER, body, NOW, status)) == says


# B.4, the headers of an answer


def limits(headers: dict[str, str]) -> tuple[Window, ...]:
    return PROVIDER.read_limits(tuple(headers.items()), NOW)


SPARK_HEADED = (
    headed(f"five_hour_{SPARK}", 1.0, 1766950000.0, 5 * HOUR, SPARK),
    headed(f"seven_day_{SPARK}", 2.0, 1767410000.0, WEEK, SPARK),
)


def test_b4_the_recorded_headers() -> None:
    assert limits(recorded("chatgpt", "headers")) == (
        headed("five_hour", 12.5, FIVE_AT, 5 * HOUR),
        headed("seven_day", 34.0, WEEK_AT, WEEK),
        *SPARK_HEADED,
    )


def test_b4_the_plain_fields_may_repeat_the_limit_of_the_model_that_was_asked() -> None:
    found = recorded("chatgpt", "headers_active_limit")
    spark = (replace(SPARK_HEADED[0], used_percent=0.0), SPARK_HEADED[1])
    assert limits(found) == spark
    other = found | {"x-codex-primary-used-percent": "13"}
    assert [w.name for w in limits(other)][:2] == ["five_hour", "seven_day"]
    assert [w.name for w in limits(found | {"x-codex-active-limit": "premium"})][:2] == [
        *("five_hour", "seven_day")
    ]


def primary(**fields: str) -> tuple[Window, ...]:
    return limits({f"X-Codex-Primary-{key.replace('_', '-')}": v for key, v in fields.items()})


def test_b4_a_window_of_all_zeros_is_absent() -> None:
    assert primary(used_percent="0", window_minutes="0", reset_at="") == ()
    assert primary(used_percent="0.0", reset_after_seconds="0", reset_at="0") == ()
    assert primary(used_percent="0", window_minutes="300") == (
        headed("five_hour", 0.0, None, 5 * HOUR),
    )
    assert primary(used_percent="", window_minutes="300", reset_at="1766948068") == ()


def test_b4_the_older_field_of_the_reset() -> None:
    window = headed("five_hour", 1.0, NOW + 60, 299 * 60.0)
    found = primary(used_percent="1", window_minutes="299", reset_after_seconds="60")
    assert found == (window,)


def test_b4_without_a_length_the_windows_keep_their_places() -> None:
    found = limits({"x-codex-primary-used-percent": "9", "x-codex-secondary-used-percent": "8"})
    assert found == (headed("primary", 9.0), headed("secondary", 8.0))


def test_b4_a_family_without_a_name_binds_no_model() -> None:
    assert limits({"x-codex-bengalfox-primary-used-percent": "80"}) == ()
    assert limits({"x-other-primary-used-percent": "80"}) == ()


def test_b4_one_window_in_the_second_place_alone() -> None:
    named = {
        "x-codex-fox-secondary-used-percent": "80",
        "x-codex-fox-secondary-window-minutes": "10080",
        "x-codex-fox-limit-name": " GPT-X ",
    }
    assert limits(named) == (headed("seven_day_gpt-x", 80.0, None, WEEK, "gpt-x"),)


# B.4, inside a stream


def told(body: object, type_: str = "codex.rate_limits") -> tuple[Window, ...]:
    return PROVIDER.read_event(Event(type_, json.dumps(body).encode()), NOW)


def test_b4_the_recorded_event() -> None:
    windows = (
        headed("five_hour", 40.0, FIVE_AT, 5 * HOUR),
        headed("seven_day", 5.0, WEEK_AT, WEEK),
    )
    event = recorded("chatgpt", "event")
    assert told(event) == told(event, "") == windows
    assert told(event | {"metered_limit_name": None}) == windows
    assert told({k: v for k, v in event.items() if k != "metered_limit_name"}) == windows


def test_b4_the_event_of_one_models_limit() -> None:
    event = recorded("chatgpt", "event") | {"metered_limit_name": "codex_bengalfox"}
    assert {window.scope for window in told(event)} == {"codex_bengalfox"}
    assert {window.scope for window in told(event | {"limit_name": "GPT-X"})} == {"gpt-x"}
    assert told(event | {"metered_limit_name": 5}) == told(event | {"metered_limit_name": ""}) == ()


@pytest.mark.parametrize(
    "body",
    [
        {"type": "response.completed", "text": "codex.rate_limits"},
        {"type": "codex.rate_limits"},
        {"type": "codex.rate_limits", "rate_limits": {"primary": None, "secondary": 5}},
        ["codex.rate_limits"],
    ],
)
def test_b4_any_other_event_says_nothing(body: object) -> None:
    assert told(body) == ()
    assert PROVIDER.read_event(Event("codex.rate_limits", b"{codex.rate_limits"), NOW) == ()
    assert PROVIDER.read_event(Event("codex.rate_limits", b"{}"), NOW) == ()
