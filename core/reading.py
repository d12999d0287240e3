"""Reads figures and times out of what providers send: whatever it may hold, no exception.

Knows notations, no provider. A value that says nothing is None: unknown is not zero.
"""

import re
from calendar import monthrange
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from math import isfinite
from typing import Any

import msgspec

from core.errors import UsageError
from core.model import Headers, HttpResponse

LATEST = 253402300799.0
"""9999-12-31: what lies beyond is no time."""
MOST = 2.0**53
"""Beyond it a float is no exact count any more."""
_NOT_JSON = (msgspec.DecodeError, RecursionError, UnicodeDecodeError)
HOUR = 3600.0
DAY = 24 * HOUR
LONGEST_WINDOW = 366 * DAY
LONGEST_LABEL = 64
_LABEL = re.compile(r"[\w .+/:()-]+")


def number(value: object) -> float | None:
    """A finite number, also one that came as a string."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        figure = float(value)
    except (ValueError, OverflowError):
        return None
    return figure if isfinite(figure) else None


def count(value: object) -> int | None:
    """A limit. 0 is what a field without one holds."""
    figure = number(value)
    return int(figure) if figure is not None and 1.0 <= figure <= MOST else None


def flag(value: object) -> bool | None:
    return value if isinstance(value, bool) else None


def moment(value: object) -> float | None:
    """Epoch seconds from RFC 3339 (with any offset; a bare date is midnight UTC)."""
    if not isinstance(value, str) or not value.strip():
        return None
    try:
        parsed = datetime.fromisoformat(value.strip())
    except ValueError:
        return None
    return _epoch(parsed)


def epoch(value: object) -> float | None:
    """Epoch seconds from a number of them. 0 is what a field without a time holds."""
    figure = number(value)
    return figure if figure is not None and 0.0 < figure <= LATEST else None


def window_name(length: float) -> str:
    """What a window of so many seconds is called. Plans put them in any order, some a minute out."""
    hours = round(length / HOUR)
    if 28 * 24 <= hours <= 31 * 24:
        return "month"
    return {5: "five_hour", 7 * 24: "seven_day"}.get(hours, f"window_{max(hours, 1)}h")


def day_end(now: float) -> float:
    """The next midnight in UTC."""
    return (now // 86400.0 + 1.0) * 86400.0


def week_end(now: float) -> float:
    """The next Monday's midnight in UTC."""
    # The epoch was a Thursday.
    return ((now // 86400.0 + 3.0) // 7.0 + 1.0) * 604800.0 - 3 * 86400.0


def month_end(now: float) -> float:
    """The next first of a month's midnight in UTC."""
    moment = datetime.fromtimestamp(now, UTC)
    year, month = (moment.year + 1, 1) if moment.month == 12 else (moment.year, moment.month + 1)  # noqa: PLR2004
    return datetime(year, month, 1, tzinfo=UTC).timestamp()


def epoch_ms(value: object) -> float | None:
    """Epoch seconds from a number of milliseconds."""
    figure = number(value)
    return None if figure is None else epoch(figure / 1000.0)


def retry_after(headers: Headers) -> float | None:
    """Seconds. 0 is what Anthropic says in mid-ban too: it means nothing.

    A date counts from the answer's own `Date`, so that it does not depend on how our clock is set.
    """
    fields = {name.lower(): value for name, value in reversed(headers)}
    wait = number(fields.get("retry-after"))
    if wait is None:
        until, since = _http_date(fields.get("retry-after")), _http_date(fields.get("date"))
        wait = None if until is None or since is None else until - since
    return wait if wait is not None and wait > 0.0 else None


def _http_date(value: str | None) -> float | None:
    """Epoch seconds of any of the three forms that HTTP has had for a date."""
    try:
        return None if value is None else _epoch(parsedate_to_datetime(value))
    except (ValueError, OverflowError):
        return None


def _epoch(time: datetime) -> float | None:
    """A time without a zone is UTC's."""
    return epoch((time if time.tzinfo is not None else time.replace(tzinfo=UTC)).timestamp())


def label(value: object) -> str | None:
    """What a plan or a limit is called, where it is called anything.

    It is shown and written down, so no more than a short plain name passes.
    """
    found = value.strip() if isinstance(value, str) else ""
    return found if len(found) <= LONGEST_LABEL and _LABEL.fullmatch(found) else None


def month_before(resets_at: float) -> float:
    """The length in seconds of the calendar month that ends at this time (UTC)."""
    end = datetime.fromtimestamp(resets_at, UTC)
    year, month = (end.year - 1, 12) if end.month == 1 else (end.year, end.month - 1)
    day = min(end.day, monthrange(year, month)[1])
    return resets_at - end.replace(year=max(year, 1), month=month, day=day).timestamp()


def window_length(seconds: object) -> float | None:
    """How long a window is, in seconds. 0 is what a field without a length holds."""
    figure = number(seconds)
    return figure if figure is not None and 0.0 < figure <= LONGEST_WINDOW else None


def json_object(response: HttpResponse, what: str) -> dict[str, Any]:
    """The body of a 200 as an object. Raises UsageError, which quotes nothing of the body."""
    if response.status != 200:  # noqa: PLR2004
        limited = response.status == 429  # noqa: PLR2004
        said = "limits how often it is asked" if limited else f"answered {response.status}"
        raise UsageError(f"{what} {said}", retry_after(response.headers), limited)
    try:
        body = msgspec.json.decode(response.body)
    except _NOT_JSON:
        raise UsageError(f"{what} answered something that is not JSON") from None
    if not isinstance(body, dict):
        raise UsageError(f"{what} answered JSON that is not an object")
    return body


def event_object(data: bytes) -> dict[str, Any]:
    """The data of one streamed event if it is an object, else an empty one."""
    try:
        return mapping(msgspec.json.decode(data))
    except _NOT_JSON:
        return {}


def mapping(value: object) -> dict[str, Any]:
    """The value if it is an object, else an empty one."""
    return value if isinstance(value, dict) else {}


def sequence(value: object) -> list[Any]:
    """The value if it is an array, else an empty one."""
    return value if isinstance(value, list) else []
