"""Each test names the section of PROVIDERS that it holds the parser to."""

import pytest
from asking import KEY, TOKEN, asks, read, recorded, refused

from core.model import AccountKind, CredentialType, HttpRequest, Source, Usage, Window
from core.providers.opencode_go import PROVIDER

NOW = 1_783_036_800.0  # 2026-07-03
HOUR = 3600.0
DAY = 24 * HOUR
ROLLING_AT, MONDAY, AUGUST = 1_783_054_800.0, 1_783_296_000.0, 1_785_542_400.0


def test_a7_the_request_holds_no_credential() -> None:
    assert asks(PROVIDER, NOW) == HttpRequest(
        *("GET", "https", "opencode.ai", 443, "/zen/go/v1/usage"),
        (("accept", "application/json"),),
    )
    assert PROVIDER.authorize(KEY) == (("authorization", f"Bearer {TOKEN}"),)
    assert PROVIDER.kind(CredentialType.API) is AccountKind.SUBSCRIPTION


def window(name: str, used: float, resets_at: float | None, length: float | None) -> Window:
    return Window(name, used, resets_at, length, Source.ENDPOINT, NOW)


def test_a7_the_recorded_reply() -> None:
    assert read(PROVIDER, recorded("opencode_go", "usage"), NOW) == Usage(
        (
            window("five_hour", 12.5, ROLLING_AT, 5 * HOUR),
            window("seven_day", 40.0, MONDAY, 7 * DAY),
            window("month", 7.25, AUGUST, 31 * DAY),
        )
    )


def test_a7_what_is_limited_is_spent_and_null_is_not_zero() -> None:
    spent = window("five_hour", 100.0, ROLLING_AT, 5 * HOUR)
    assert read(PROVIDER, recorded("opencode_go", "usage_limited"), NOW) == Usage((spent,))


@pytest.mark.parametrize(
    ("entry", "used"),
    [
        ({"status": "ok", "percent": "12.5"}, [12.5]),
        ({"status": "ok", "percent": -1}, [-1.0]),
        ({"status": "new", "percent": 104}, [104.0]),
        ({"status": "rate-limited", "percent": 104}, [104.0]),
        ({"status": "rate-limited"}, [100.0]),
        ({"status": ["ok"], "percent": ""}, []),
        ({"percent": True}, []),
        ({}, []),
        (None, []),
        ("x", []),
    ],
)
def test_a7_odd_entries(entry: object, used: list[float]) -> None:
    windows = read(PROVIDER, {"usage": {"weekly": entry, "unknown": {"percent": 5}}}, NOW).windows
    assert [it.used_percent for it in windows] == used


@pytest.mark.parametrize("at", [None, "", "soon", 1785542400, []])
def test_a7_a_month_without_its_end_has_no_length(at: object) -> None:
    body = {"usage": {"monthly": {"percent": 1, "resetsAt": at}}}
    assert read(PROVIDER, body, NOW).windows == (window("month", 1.0, None, None),)


@pytest.mark.parametrize(
    ("status", "name", "says"),
    [
        (401, "refused_401", "the usage endpoint answered 401"),
        (403, "refused_403", "the key has no OpenCode Go subscription"),
        (403, "refused_401", "the usage endpoint answered 403"),
        (200, "refused_403", "the usage endpoint answered an object without a usage"),
    ],
)
def test_a7_refusals(status: int, name: str, says: str) -> None:
    error = refused(PROVIDER, recorded("opencode_go", name), NOW, status)
    assert (str(error), error.limited) == (says, False)


@pytest.mark.parametrize("body", [b"<html>", b"", b"[]", b'{"usage": null}'])
def test_a7_what_is_no_reading_is_a_sentence(body: bytes) -> None:
    assert str(refused(PROVIDER, body, NOW)).startswith("the usage endpoint answered ")
    assert str(refused(PROVIDER, body, NOW, 403)) == "the usage endpoint answered 403"
