"""The scalars of mitm.yaml: what a duration, a URL, a network or a folder looks like in it.

Text in, checked values out. Each refuses what it does not take, and says what it does.
"""

import re
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import SplitResult, urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, StrictStr

from core.complaint import refuse, shown

_DURATION = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,3})?)(s|m|h)")
_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0}
_HOST = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?")


def _text(value: str) -> str:
    if not value.strip() or not value.isprintable():
        raise refuse("wrong value", allowed="text on one line, not empty")
    return value


def _duration(value: Any) -> float:
    match = _DURATION.fullmatch(value) if isinstance(value, str) else None
    if match is None or not (seconds := float(match[1]) * _UNITS[match[2]]):
        raise refuse("wrong value", allowed="a number with its unit, such as 60s, 5m or 2h")
    return seconds


def _network(value: Any) -> IPv4Network | IPv6Network:
    allowed = "an address or a network, such as 127.0.0.0/8"
    if not isinstance(value, str):
        raise refuse("wrong value", allowed=allowed)
    try:
        return ip_network(value)
    except ValueError:
        refusal = refuse("wrong value", allowed=allowed, hint=_network_hint(value))
    raise refusal


def _network_hint(value: str) -> str | None:
    try:
        return f"the network of that address is `{ip_network(value, strict=False)}`"
    except ValueError:
        return None


_URL = "https://host/path (http:// only to this machine: 127.0.0.1, ::1 or localhost)"


def _url(value: Any) -> str:
    if not isinstance(value, str):
        raise refuse("wrong value", allowed=_URL)
    parts = _split(value)
    if parts is None or parts.scheme not in ("http", "https") or not _is_host(parts.hostname):
        raise refuse("not a URL that can be used", allowed=_URL, found=_found_url(value))
    if parts.username is not None or parts.password is not None:
        raise refuse("a URL here holds no user name or password", found=None, allowed=_URL)
    if "?" in value or "#" in value:
        raise refuse("a URL here has no query and no fragment", found=None, allowed=_URL)
    if parts.scheme == "http" and not _is_loopback(parts.hostname):
        raise refuse("credentials would cross the network unencrypted", allowed=_URL)
    return value


def _found_url(value: str) -> str:
    return "a value that is not shown" if set(value) & set("@?#") else shown((), value)


def _split(value: str) -> SplitResult | None:
    # urlsplit drops tabs and line ends, and reads ports only when asked.
    if not value.isascii() or not value.isprintable() or " " in value or "\\" in value:
        return None
    try:
        parts = urlsplit(value)
        usable = parts.port != 0
    except ValueError:
        return None
    return parts if usable else None


def _is_host(host: str | None) -> bool:
    if host is None:
        return False
    if ":" not in host:
        return _HOST.fullmatch(host) is not None and ".." not in host
    return "%" not in host


def _is_loopback(host: str | None) -> bool:
    if host is None or host == "localhost":
        return host is not None
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def _folder(value: Any) -> Path:
    allowed = "the full path of a folder, or one that begins with ~/"
    if not isinstance(value, str) or not value.isprintable():
        raise refuse("wrong value", allowed=allowed)
    try:
        path = Path(value).expanduser()
    except RuntimeError:
        path = Path()
    if not path.is_absolute():
        raise refuse("wrong value", allowed=allowed)
    return path


_DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_SHIFT = re.compile(
    r"(?P<first>[a-z]{3})(?:-(?P<last>[a-z]{3}))?"
    r" +(?P<begin>[0-9]{1,2}(?::[0-5][0-9])?)-(?P<end>[0-9]{1,2}(?::[0-5][0-9])?)"
)
_HOURS = "days and hours, such as `mon-fri 9-19` or `mon-thu 9-18, fri 9-14:30`"


def _hours(value: Any) -> str:
    if not isinstance(value, str) or working_spans(value) is None:
        raise refuse("wrong value", allowed=_HOURS)
    return value


def working_spans(text: str) -> tuple[tuple[float, float], ...] | None:
    """`mon-fri 9-19` as spans of seconds from Monday's midnight, in order and apart.

    None where it cannot be read, names no time, or names one twice.
    """
    found: list[tuple[float, float]] = []
    for part in text.lower().split(","):
        match = _SHIFT.fullmatch(part.strip())
        if match is None or not {match["first"], match["last"] or "mon"} <= set(_DAYS):
            return None
        first = _DAYS.index(match["first"])
        last = first if match["last"] is None else _DAYS.index(match["last"])
        begin, end = _time(match["begin"]), _time(match["end"])
        if not begin < end <= 86400.0:  # noqa: PLR2004
            return None
        # `sat-tue` goes over the end of the week.
        days = [day % 7 for day in range(first, last + 1 if first <= last else last + 8)]
        found += [(day * 86400.0 + begin, day * 86400.0 + end) for day in days]
    found.sort()
    apart = all(before[1] <= after[0] for before, after in pairwise(found))
    return tuple(found) if apart else None


def _time(text: str) -> float:
    hours, _, minutes = text.partition(":")
    return float(hours) * 3600.0 + float(minutes or 0) * 60.0


type WorkingHours = Annotated[str, BeforeValidator(_hours)]
type Text = Annotated[StrictStr, AfterValidator(_text)]
type Seconds = Annotated[float, BeforeValidator(_duration)]
type Number = Annotated[float, Field(strict=True, allow_inf_nan=False)]
type Network = Annotated[IPv4Network | IPv6Network, BeforeValidator(_network)]
type Url = Annotated[str, BeforeValidator(_url)]
type BaseUrl = Annotated[Url, AfterValidator(lambda url: url.rstrip("/"))]
type Folder = Annotated[Path, BeforeValidator(_folder)]
