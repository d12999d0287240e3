"""Each test names the section of PROVIDERS that it holds the parser to."""

import pytest
from asking import KEY, TOKEN, asks, read, recorded, refused

from core.model import AccountKind, CredentialType, HttpRequest, Source, Usage, Window
from core.providers.zai import PROVIDER

NOW = 1_785_800_000.0
HOUR = 3600.0
WEEK = 168 * HOUR


def test_a6_the_request_holds_no_credential() -> None:
    assert asks(PROVIDER, NOW) == HttpRequest(
        *("GET", "https", "api.z.ai", 443, "/api/monitor/usage/quota/limit"),
        (("accept", "application/json"),),
    )
    assert PROVIDER.authorize(KEY) == (("authorization", f"Bearer {TOKEN}"),)
    assert PROVIDER.kind(CredentialType.API) is AccountKind.SUBSCRIPTION


def window(name: str, used: float, resets_at: float | None, length: float) -> Window:
    return Window(name, used, resets_at, length, Source.ENDPOINT, NOW)


def test_a6_the_recorded_reply() -> None:
    assert read(PROVIDER, recorded("zai", "quota"), NOW) == Usage(
        (
            window("five_hour", 25.0, 1785816000.0, 5 * HOUR),
            window("seven_day", 9.0, 1786300000.0, WEEK),
        ),
        "Pro",
    )


def test_a6_limits_at_the_root_and_more_than_all_of_one_used() -> None:
    usage = Usage((window("seven_day", 104.0, 1786300000.0, WEEK),))
    assert read(PROVIDER, recorded("zai", "quota_root"), NOW) == usage


def limits(*limits: object) -> tuple[Window, ...]:
    return read(PROVIDER, {"data": {"limits": limits}}, NOW).windows


def limit(**fields: object) -> dict[str, object]:
    return {"type": "TOKENS_LIMIT", "unit": 3, "number": 5, "percentage": 25} | fields


@pytest.mark.parametrize(
    ("unit", "number", "name", "hours"),
    [
        (3, 5, "five_hour", 5),
        ("3", "5", "five_hour", 5),
        (6, 1, "seven_day", 168),
        (1, 7, "seven_day", 168),
        (1, 1, "window_24h", 24),
        (5, 1, "month", 730),
        (1, 30, "month", 720),
    ],
)
def test_a6_windows_are_told_by_unit_times_number(
    unit: object, number: object, name: str, hours: int
) -> None:
    found = limits(limit(unit=unit, number=number))
    assert found == (window(name, 25.0, None, hours * HOUR),)


@pytest.mark.parametrize(("said", "used"), [(-3, -3.0), (104, 104.0), ("61.5", 61.5), (0, 0.0)])
def test_a6_odd_figures(said: object, used: float) -> None:
    found = limits(limit(percentage=said))
    assert found == (window("five_hour", used, None, 5 * HOUR),)


@pytest.mark.parametrize("name", [None, 5, "", "Pro\x1b[2J", "x" * 65])
def test_a6_a_plan_is_a_word(name: object) -> None:
    assert read(PROVIDER, {"data": {"planName": name}}, NOW) == Usage()


@pytest.mark.parametrize(
    "odd",
    [
        {"type": "TIME_LIMIT"},
        {"type": None},
        {"type": ["TOKENS_LIMIT"]},
        {"unit": 2},
        {"unit": None},
        {"number": 0},
        {"number": -1},
        {"number": None},
        {"number": 1e300},
        {"percentage": None},
        {"percentage": ""},
        {"percentage": True},
    ],
)
def test_a6_what_is_not_known_is_not_zero(odd: dict[str, object]) -> None:
    assert limits(limit(**odd)) == ()


@pytest.mark.parametrize(
    ("at", "expected"),
    [
        (1785816000000, 1785816000.0),
        ("1785816000500", 1785816000.5),
        (0, None),
        (-1, None),
        (None, None),
        (1e300, None),
        ("soon", None),
    ],
)
def test_a6_resets_are_milliseconds(at: object, expected: float | None) -> None:
    assert limits(limit(nextResetTime=at)) == (window("five_hour", 25.0, expected, 5 * HOUR),)


def test_a6_of_two_limits_of_one_length_the_fuller_counts() -> None:
    one, other = limit(percentage=-3), limit(type="CREDIT_LIMIT", percentage="61.5")
    fuller = (window("five_hour", 61.5, None, 5 * HOUR),)
    assert limits(one, other) == limits(other, one) == limits(None, "x", 5, other) == fuller


@pytest.mark.parametrize("body", [{}, {"data": None}, {"data": {"limits": None, "planName": 1}}])
def test_a6_nothing_says_nothing(body: object) -> None:
    assert read(PROVIDER, body, NOW) == Usage()


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ({"success": False, "msg": "CONTENT"}, "the usage endpoint answered a failure"),
        ({"code": 500, "success": True}, "the usage endpoint answered code 500"),
        ({"code": "1113", "msg": "CONTENT"}, "the usage endpoint answered code 1113"),
        ({"code": "x", "success": False}, "the usage endpoint answered a failure"),
        ({"code": 200, "success": False}, "the usage endpoint answered a failure"),
        ({"code": 1e300, "success": True}, "the usage endpoint answered a failure"),
        (b"<html>CONTENT", "the usage endpoint answered something that is not JSON"),
    ],
)
def test_a6_a_200_may_be_a_failure(body: object, says: str) -> None:
    error = refused(PROVIDER, body, NOW)
    assert (str(error), error.limited) == (says, False)


def test_a6_the_recorded_failure() -> None:
    error = refused(PROVIDER, recorded("zai", "refused"), NOW)
    assert str(error) == "the usage endpoint answered code 401"


def test_a6_a_429_inside_a_200_is_one() -> None:
    assert refused(PROVIDER, {"code": 429}, NOW).limited
    assert refused(PROVIDER, {}, NOW, 429).limited
