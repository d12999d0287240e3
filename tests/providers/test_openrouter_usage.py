"""Each test names the section of PROVIDERS that it holds the parser to."""

from typing import Any

import pytest
from asking import KEY, TOKEN, asks, read, recorded, refused

from core.model import AccountKind, CredentialType, HttpRequest, Period, Source, Usage, Window
from core.providers.openrouter import PROVIDER
from core.sse import Event

NOW = 1_784_894_400.0  # Friday 2026-07-24, 12:00
DAY = 86400.0
AUGUST = 1_785_542_400.0


def test_a4_the_request_holds_no_credential() -> None:
    assert asks(PROVIDER, NOW) == HttpRequest(
        *("GET", "https", "openrouter.ai", 443, "/api/v1/key"), (("accept", "application/json"),)
    )
    assert PROVIDER.authorize(KEY) == (("authorization", f"Bearer {TOKEN}"),)
    assert PROVIDER.kind(CredentialType.API) is AccountKind.METERED


def budget(used: float, resets_at: float | None, length: float | None) -> Window:
    return Window("budget", used, resets_at, length, Source.ENDPOINT, NOW)


def test_a4_the_recorded_reply() -> None:
    used = 100 - 100 * (7.42 / 20)
    assert read(PROVIDER, recorded("openrouter", "key"), NOW) == Usage(
        (budget(used, AUGUST, 31 * DAY),),
        "pay as you go",
        {Period.DAY: 0.4, Period.WEEK: 2.1, Period.MONTH: 12.58},
    )
    assert used == pytest.approx(100 * 12.58 / 20)


def test_a4_no_cap_is_not_an_endless_one() -> None:
    assert read(PROVIDER, recorded("openrouter", "key_without_cap"), NOW) == Usage((), "free tier")


def key(**fields: object) -> tuple[Window, ...]:
    data = {"limit": 20, "limit_remaining": 15, "limit_reset": "monthly"} | fields
    return read(PROVIDER, {"data": data}, NOW).windows


@pytest.mark.parametrize(
    ("reset", "resets_at", "length"),
    [
        ("daily", 1784937600.0, DAY),
        ("weekly", 1785110400.0, 7 * DAY),  # Monday 2026-07-27
        ("monthly", AUGUST, 31 * DAY),
        (None, None, None),
        ("yearly", None, None),
        (["daily"], None, None),
    ],
)
def test_a4_the_cap_ends_with_the_calendar_in_utc(
    reset: object, resets_at: float | None, length: float | None
) -> None:
    assert key(limit_reset=reset) == (budget(25.0, resets_at, length),)


@pytest.mark.parametrize(
    ("limit", "left", "used"),
    [("20", "5", 75.0), (20, -1, 105.0), (20, 30, -50.0), (20, 0, 100.0), (0.5, 0.25, 50.0)],
)
def test_a4_odd_figures(limit: object, left: object, used: float) -> None:
    assert [window.used_percent for window in key(limit=limit, limit_remaining=left)] == [used]


@pytest.mark.parametrize(
    ("limit", "left"),
    [(None, 5), (20, None), (0, 0), (-1, 1), ("much", 1), (True, 1), (20, {}), (1e-308, 1e308)],
)
def test_a4_missing_is_not_zero(limit: object, left: object) -> None:
    assert key(limit=limit, limit_remaining=left) == ()


@pytest.mark.parametrize("daily", [None, "much", -1, True, [1]])
def test_a4_what_was_spent_is_told_or_left_out(daily: object) -> None:
    data = {"usage_daily": daily, "usage_weekly": "2.5", "usage_monthly": 0}
    assert read(PROVIDER, {"data": data}, NOW).spent == {Period.WEEK: 2.5, Period.MONTH: 0.0}


@pytest.mark.parametrize("free", [None, "false", 0, []])
def test_a4_a_tier_is_true_or_false(free: object) -> None:
    assert read(PROVIDER, {"data": {"is_free_tier": free}}, NOW) == Usage()


@pytest.mark.parametrize("data", [None, [], "x"])
def test_a4_a_key_of_nothing_says_nothing(data: object) -> None:
    assert read(PROVIDER, {"data": data}, NOW) == Usage()


@pytest.mark.parametrize(
    ("status", "body", "says"),
    [
        (401, {"error": {"message": "CONTENT"}}, "the usage endpoint answered 401"),
        (500, b"CONTENT", "the usage endpoint answered 500"),
        (200, b"<html>CONTENT", "the usage endpoint answered something that is not JSON"),
        (200, {"error": "CONTENT"}, "the usage endpoint answered an object without a key"),
    ],
)
def test_a4_what_is_no_reading_is_a_sentence(status: int, body: object, says: str) -> None:
    assert str(refused(PROVIDER, body, NOW, status)) == says


def test_b5_a_limit_per_minute_is_no_window() -> None:
    headers: dict[str, Any] = recorded("openrouter", "headers_429")
    assert PROVIDER.read_limits(tuple(headers.items()), NOW) == ()
    assert PROVIDER.read_event(Event("", b'{"usage":{"cost":0.01}}'), NOW) == ()
