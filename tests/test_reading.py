import math
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from core.errors import UsageError
from core.model import HttpResponse
from core.reading import (
    DAY,
    LATEST,
    day_end,
    epoch,
    epoch_ms,
    event_object,
    json_object,
    label,
    mapping,
    moment,
    month_before,
    month_end,
    number,
    retry_after,
    sequence,
    week_end,
    window_length,
    window_name,
)

NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (0, 0.0),
        (7000, 7000.0),
        (-0.33, -0.33),
        ("500", 500.0),
        (" 29.7 ", 29.7),
        ("-1", -1.0),
        ("1e3", 1000.0),
        ("", None),
        ("  ", None),
        ("many", None),
        ("12%", None),
        ("nan", None),
        ("Infinity", None),
        ("9" * 400, None),
        (True, None),
        (False, None),
        (None, None),
        (NAN, None),
        (INF, None),
        (-INF, None),
        (10**400, None),
        ([1], None),
        ({"a": 1}, None),
        (b"1", None),
        (1 + 0j, None),
    ],
)
def test_numbers(value: object, expected: float | None) -> None:
    assert number(value) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("2026-07-03T00:30:00.282668+00:00", 1783038600.282668),
        ("2026-07-03T02:30:00.282668+02:00", 1783038600.282668),
        ("2026-07-02T17:00:00-07:30", 1783038600.0),
        ("2026-07-03T00:30:00Z", 1783038600.0),
        ("2026-07-03T00:30:00.000Z", 1783038600.0),
        (" 2026-07-03 00:30:00 ", 1783038600.0),
        ("2026-10-01", 1790812800.0),
        ("2026-10-01T00:00:00", 1790812800.0),
        ("1970-01-01T00:00:00Z", None),
        ("1969-12-31", None),
        ("0001-01-01T00:00:00+14:00", None),
        ("9999-12-31T23:59:59-12:00", None),
        ("2026-02-30", None),
        ("2026-13-01", None),
        ("soon", None),
        ("1783038600", None),
        ("", None),
        (" ", None),
        (1783038600, None),
        (None, None),
        (["2026-10-01"], None),
    ],
)
def test_moments(value: object, expected: float | None) -> None:
    assert moment(value) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (1785518400, 1785518400.0),
        ("1785518400", 1785518400.0),
        (1785518400.5, 1785518400.5),
        (LATEST, LATEST),
        (0, None),
        ("0", None),
        (-1, None),
        (LATEST + 1, None),
        (1e300, None),
        (NAN, None),
        (True, None),
        (None, None),
        ("2026-10-01", None),
    ],
)
def test_epochs(value: object, expected: float | None) -> None:
    assert epoch(value) == expected


ANYTHING: st.SearchStrategy[Any] = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.binary()
    | st.datetimes().map(lambda it: it.isoformat()),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=5,
)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (1785816000000, 1785816000.0),
        ("1785816000500", 1785816000.5),
        (0, None),
        (-1, None),
        (1e300, None),
        (None, None),
        ("soon", None),
    ],
)
def test_epochs_in_milliseconds(value: object, expected: float | None) -> None:
    assert epoch_ms(value) == expected


@pytest.mark.parametrize(
    ("hours", "name"),
    [
        (5, "five_hour"),
        (299 / 60, "five_hour"),
        (168, "seven_day"),
        (167.99, "seven_day"),
        (672, "month"),
        (730, "month"),
        (744, "month"),
        (671, "window_671h"),
        (745, "window_745h"),
        (24, "window_24h"),
        (0.1, "window_1h"),
    ],
)
def test_a_window_is_called_by_its_length(hours: float, name: str) -> None:
    assert window_name(hours * 3600) == name


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (18000, 18000.0),
        ("604800", 604800.0),
        (366 * 86400, 366 * 86400.0),
        (366 * 86400 + 1, None),
        (0, None),
        (-1, None),
        (1e300, None),
        (None, None),
        ("long", None),
    ],
)
def test_a_length_is_positive_and_at_most_a_year(value: object, expected: float | None) -> None:
    assert window_length(value) == expected


@pytest.mark.parametrize(
    ("now", "day", "week", "month"),
    [
        # Thursday 2026-12-31, its last second
        (1798761599.0, 1798761600.0, 1799020800.0, 1798761600.0),
        # Monday 2026-03-02, its first second
        (1772409600.0, 1772496000.0, 1773014400.0, 1775001600.0),
        # Sunday 2024-02-25, noon
        (1708862400.0, 1708905600.0, 1708905600.0, 1709251200.0),
    ],
)
def test_when_the_calendars_units_end(now: float, day: float, week: float, month: float) -> None:
    assert (day_end(now), week_end(now), month_end(now)) == (day, week, month)


@given(st.floats(0, LATEST - 40 * 86400))
def test_every_unit_ends_after_now_and_within_its_length(now: float) -> None:
    assert 0 < day_end(now) - now <= 86400
    assert 0 < week_end(now) - now <= 7 * 86400
    assert 0 < month_end(now) - now <= 31 * 86400


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b'{"a": 1}', {"a": 1}),
        (b"[1]", {}),
        (b"[DONE]", {}),
        (b"", {}),
        (b'{"a": "\xff"}', {}),
        (b"[" * 100_000, {}),
    ],
)
def test_the_data_of_an_event(data: bytes, expected: dict[str, Any]) -> None:
    assert event_object(data) == expected


@given(ANYTHING)
@example("\ud800")
@example("2026-10-01T00:00:00\ud800")
@example("9" * 5000)
def test_whatever_it_is_no_reader_raises(value: Any) -> None:
    figure, at, since = number(value), moment(value), epoch(value)
    assert figure is None or math.isfinite(figure)
    assert at is None or 0 < at <= LATEST
    assert since is None or 0 < since <= LATEST
    assert mapping(value) == (value if isinstance(value, dict) else {})
    assert sequence(value) == (value if isinstance(value, list) else [])


@pytest.mark.parametrize(
    ("resets_at", "days"),
    [
        (1790812800, 30),  # 2026-10-01: September
        (1772323200, 28),  # 2026-03-01
        (1709251200, 29),  # 2024-03-01, a leap year
        (1767225600, 31),  # 2026-01-01: December, of the year before
        (1774915200, 31),  # 2026-03-31: from the last of February
        (1771113600, 31),  # 2026-02-15
        (1709208000, 31),  # 2024-02-29T12:00
    ],
)
def test_the_month_before(resets_at: float, days: int) -> None:
    assert month_before(resets_at) == days * 86400


@given(st.floats(1e-6, LATEST))
def test_every_month_has_28_to_31_days(resets_at: float) -> None:
    assert 28 * 86400 - 1 <= month_before(resets_at) <= 31 * 86400 + 1


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("7835", 7835.0),
        ("1.5", 1.5),
        ("0", None),
        ("-5", None),
        ("", None),
        ("Wed, 21 Oct 2026 07:28:00 GMT", None),
        ("inf", None),
    ],
)
def test_a_wait_that_means_something(value: str, expected: float | None) -> None:
    assert retry_after((("x", "1"), ("Retry-After", value))) == expected


AT = ("date", "Sun, 06 Nov 1994 08:49:37 GMT")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("Sun, 06 Nov 1994 08:50:37 GMT", 60.0),
        ("Sunday, 06-Nov-94 08:50:37 GMT", 60.0),
        ("Sun Nov  6 08:50:37 1994", 60.0),
        ("Sun, 06 Nov 1994 08:50:37 -0000", 60.0),
        ("Sun, 06 Nov 1994 09:50:37 +0100", 60.0),
        ("Sun, 20 Nov 1994 08:49:37 GMT", 14 * DAY),
        ("Sun, 06 Nov 1994 08:49:37 GMT", None),
        ("Sun, 06 Nov 1994 08:48:37 GMT", None),
        ("Sun, 06 Nov 99999999999 08:49:37 GMT", None),
        ("Mon", None),
    ],
)
def test_a_wait_until_a_date_counts_from_the_answers_own(
    value: str, expected: float | None
) -> None:
    assert retry_after((AT, ("Retry-After", value))) == expected


@pytest.mark.parametrize("date", [(), (("Date", ""),), (("Date", "today"),)])
def test_a_date_alone_says_nothing_of_how_long(date: tuple[tuple[str, str], ...]) -> None:
    assert retry_after((*date, ("Retry-After", "Sun, 06 Nov 1994 08:50:37 GMT"))) is None
    assert retry_after((*date, ("Retry-After", "60"))) == 60.0


@given(st.text(), st.text())
@example("Sun, 06 Nov 1994 08:49:37 +99999999999", "Sun, 06 Nov 0000 08:49:37 GMT")
@example("Sun, 06 Nov 1994 08:49:37 GMT", "Fri, 31 Dec 9999 23:59:59 -1200")
def test_any_fields_are_a_wait_or_none(value: str, date: str) -> None:
    wait = retry_after((("Retry-After", value), ("Date", date)))
    assert wait is None or wait > 0.0


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("individual_pro", "individual_pro"),
        (" GLM Coding Max (2.0) ", "GLM Coding Max (2.0)"),
        ("accounts/routers/kimi-k2:free", "accounts/routers/kimi-k2:free"),
        ("Équipe", "Équipe"),
        ("x" * 64, "x" * 64),
        ("x" * 65, None),
        ("", None),
        ("  ", None),
        ("two\nlines", None),
        ("\x1b[2J", None),
        ("<b>", None),
        ("Bearer\tx", None),
        (5, None),
        (None, None),
        (["pro"], None),
    ],
)
def test_a_label_is_short_and_plain(value: object, expected: str | None) -> None:
    assert label(value) == expected


def test_without_the_field_there_is_no_wait() -> None:
    assert retry_after((("x", "1"),)) is None


def test_a_body_that_is_an_object() -> None:
    assert json_object(HttpResponse(200, (), b' {"a": [1]} '), "it") == {"a": [1]}


@pytest.mark.parametrize(
    ("status", "body", "says"),
    [
        (401, b'{"message": "CONTENT"}', "it answered 401"),
        (403, b"<html>CONTENT</html>", "it answered 403"),
        (404, b"", "it answered 404"),
        (302, b"", "it answered 302"),
        (204, b"{}", "it answered 204"),
        (503, b"CONTENT", "it answered 503"),
        (200, b"", "it answered something that is not JSON"),
        (200, b"<!doctype html><p>CONTENT", "it answered something that is not JSON"),
        (200, b'{"CONTENT"', "it answered something that is not JSON"),
        (200, b'{"a": "\xff"}', "it answered something that is not JSON"),
        (200, b"[" * 100_000, "it answered something that is not JSON"),
        (200, b'{"a": 1e999}', "it answered something that is not JSON"),
        (200, b'{"a": ' + b"9" * 5000 + b"}", "it answered something that is not JSON"),
        (200, b'["CONTENT"]', "it answered JSON that is not an object"),
        (200, b"null", "it answered JSON that is not an object"),
        (200, b'"CONTENT"', "it answered JSON that is not an object"),
    ],
)
def test_an_answer_that_is_no_object_is_a_sentence(status: int, body: bytes, says: str) -> None:
    with pytest.raises(UsageError) as caught:
        json_object(HttpResponse(status, (), body), "it")
    assert (str(caught.value), caught.value.retry_after) == (says, None)
    assert caught.value.__cause__ is None


@pytest.mark.parametrize("status", [403, 429, 503])
def test_a_refusal_says_how_long_to_wait(status: int) -> None:
    with pytest.raises(UsageError) as caught:
        json_object(HttpResponse(status, (("Retry-After", "90"),)), "it")
    assert caught.value.retry_after == 90.0


@given(st.integers(100, 599), st.binary())
def test_any_answer_is_an_object_or_a_usage_error(status: int, body: bytes) -> None:
    try:
        assert isinstance(json_object(HttpResponse(status, (), body), "it"), dict)
    except UsageError as error:
        assert str(error).startswith(("it answered ", "it limits how often"))  # noqa: PT017
