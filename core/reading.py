"""Reads figures and times out of what providers send: whatever it may hold, no exception.

Knows notations, no provider. A value that says nothing is None: unknown is not zero.
"""

from calendar import monthrange
from datetime import UTC, datetime
from math import isfinite
from typing import Any

import msgspec

from core.errors import UsageError
from core.model import Headers, HttpResponse

LATEST = 253402300799.0
"""9999-12-31: what lies beyond is no time."""


def number(value: object) -> float | None:
    """A finite number, also one that came as a string."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        figure = float(value)
    except (ValueError, OverflowError):
        return None
    return figure if isfinite(figure) else None


def moment(value: object) -> float | None:
    """Epoch seconds from RFC 3339 (with any offset; a bare date is midnight UTC)."""
    if not isinstance(value, str) or not value.strip():
        return None
    try:
        parsed = datetime.fromisoformat(value.strip())
    except ValueError:
        return None
    if parsed.tzinfo is None:
        parsed = parsed.replace(tzinfo=UTC)
    return epoch(parsed.timestamp())


def epoch(value: object) -> float | None:
    """Epoch seconds from a number of them. 0 is what a field without a time holds."""
    figure = number(value)
    return figure if figure is not None and 0.0 < figure <= LATEST else None


def retry_after(headers: Headers) -> float | None:
    """Seconds. 0 is what Anthropic says in mid-ban too: it means nothing."""
    wait = number(next((v for name, v in headers if name.lower() == "retry-after"), None))
    return wait if wait is not None and wait > 0.0 else None


def month_before(resets_at: float) -> float:
    """The length in seconds of the calendar month that ends at this time (UTC)."""
    end = datetime.fromtimestamp(resets_at, UTC)
    year, month = (end.year - 1, 12) if end.month == 1 else (end.year, end.month - 1)
    day = min(end.day, monthrange(year, month)[1])
    return resets_at - end.replace(year=max(year, 1), month=month, day=day).timestamp()


def json_object(response: HttpResponse, what: str) -> dict[str, Any]:
    """The body of a 200 as an object. Raises UsageError, which quotes nothing of the body."""
    if response.status != 200:  # noqa: PLR2004
        limited = response.status == 429  # noqa: PLR2004
        said = "limits how often it is asked" if limited else f"answered {response.status}"
        raise UsageError(f"{what} {said}", retry_after(response.headers), limited)
    try:
        body = msgspec.json.decode(response.body)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        raise UsageError(f"{what} answered something that is not JSON") from None
    if not isinstance(body, dict):
        raise UsageError(f"{what} answered JSON that is not an object")
    return body


def mapping(value: object) -> dict[str, Any]:
    """The value if it is an object, else an empty one."""
    return value if isinstance(value, dict) else {}


def sequence(value: object) -> list[Any]:
    """The value if it is an array, else an empty one."""
    return value if isinstance(value, list) else []
