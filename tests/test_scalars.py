from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from core.scalars import BaseUrl, Folder, Network, Seconds, Text, Url, working_spans

LIKE_A_URL = st.from_regex(r"\A(https?|ftp)://[a-z0-9.:@\[\]%\\/?# -]{0,20}\Z")


def accepts(kind: Any, value: Any) -> Any:
    return TypeAdapter(kind).validate_python(value)


def refuses(kind: Any, value: Any) -> str:
    with pytest.raises(ValidationError) as caught:
        accepts(kind, value)
    (error,) = caught.value.errors()
    return error["msg"]


@pytest.mark.parametrize(
    ("text", "seconds"), [("60s", 60.0), ("5m", 300.0), ("2h", 7200.0), ("0.5s", 0.5)]
)
def test_durations(text: str, seconds: float) -> None:
    assert accepts(Seconds, text) == seconds


@pytest.mark.parametrize("value", ["60", 60, "0s", "-1s", "1 s", "1d", "", "1s\n", "\u0661s", None])
def test_no_durations(value: Any) -> None:
    assert refuses(Seconds, value) == "wrong value"


@pytest.mark.parametrize("text", ["127.0.0.0/8", "::1", "10.0.0.1", "fe80::/10"])
def test_networks(text: str) -> None:
    assert accepts(Network, text) == ip_network(text)


@pytest.mark.parametrize("value", ["localhost", "10.0.0.1/8", "300.1.1.1", "", 1, None, ["::1"]])
def test_no_networks(value: Any) -> None:
    assert refuses(Network, value) == "wrong value"


@pytest.mark.parametrize(
    "url",
    [
        "https://api.anthropic.com",
        "https://api.anthropic.com:8443/prefix/",
        "https://[2001:db8::1]/x",
        "https://intranet",
        "http://127.0.0.1:8080",
        "http://127.8.9.10",
        "http://[::1]:80/x",
        "http://localhost:1",
        "HTTP://LOCALHOST",
    ],
)
def test_urls(url: str) -> None:
    assert accepts(Url, url) == url
    assert accepts(BaseUrl, url) == url.rstrip("/")


NO_URLS: dict[str, list[Any]] = {
    "wrong value": [None, 4, ["https://example.com"]],
    "not a URL that can be used": [
        "",
        "example.com",
        "ftp://example.com",
        "https://",
        "https:///path",
        "https://exa mple.com",
        "https://example.com\\@evil.com",
        "https://exämple.com",
        "https://example.com\n",
        "https://example.com:0",
        "https://example.com:65536",
        "https://example.com:x",
        "https://[::1",
        "https://[::1%25eth0]",
        "https://-",
        "https://a..b",
        "https://*.example.com",
        "https://exam%70le.com",
    ],
    "a URL here holds no user name or password": [
        "https://me@example.com",
        "https://me:secret@example.com",
        "https://@example.com",
        "http://127.0.0.1@example.com",
    ],
    "a URL here has no query and no fragment": [
        "https://example.com/?a=b",
        "https://example.com?",
        "https://example.com/#",
    ],
    "credentials would cross the network unencrypted": [
        "http://example.com",
        "http://127.0.0.1.example.com",
        "http://localhost.example.com",
        "http://10.0.0.1",
        "http://2130706433",
        "http://127.1",
        "http://0.0.0.0",
        "http://[::2]",
    ],
}


@pytest.mark.parametrize(
    ("url", "problem"), [(url, problem) for problem, urls in NO_URLS.items() for url in urls]
)
def test_no_urls(url: Any, problem: str) -> None:
    assert refuses(Url, url) == problem


@settings(deadline=None)
@given(LIKE_A_URL | st.text())
def test_any_text_is_a_url_or_refused(text: str) -> None:
    try:
        url = accepts(Url, text)
    except ValidationError:
        return
    assert url == text
    assert "@" not in url.split("/")[2]


def test_a_url_that_may_hold_a_secret_is_not_shown() -> None:
    with pytest.raises(ValidationError) as caught:
        accepts(Url, "ftp://me:secret@example.com")
    (error,) = caught.value.errors()
    assert error["ctx"]["found"] == "a value that is not shown"


def test_folders(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/u")
    assert accepts(Folder, "/var/lib/x") == Path("/var/lib/x")
    assert accepts(Folder, "~/x") == Path("/home/u/x")


@pytest.mark.parametrize("value", ["x", "./x", "", "~no-such-user/x", "/x\0", 4, None])
def test_no_folders(value: Any) -> None:
    assert refuses(Folder, value) == "wrong value"


@pytest.mark.parametrize("value", ["", " ", "a\nb", "\ud800", "\x1b[2J"])
def test_no_text(value: str) -> None:
    assert refuses(Text, value) in {
        "wrong value",
        "Input should be a valid string, unable to parse raw data as a unicode string",
    }


@pytest.mark.parametrize(
    ("text", "hours"),
    [
        ("mon 9-17", [(9, 17)]),
        ("Tue 9:30-24", [(33.5, 48)]),
        ("mon-tue 9-12, mon-tue 13-17", [(9, 12), (13, 17), (33, 36), (37, 41)]),
        ("sun-mon 0-1", [(0, 1), (144, 145)]),
    ],
)
def test_working_hours(text: str, hours: list[tuple[float, float]]) -> None:
    assert working_spans(text) == tuple((a * 3600.0, b * 3600.0) for a, b in hours)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "9-17",
        "mon",
        "mon 17-9",
        "mon 9-9",
        "mon 9-25",
        "mon 9:60-10",
        "mom 9-17",
        "mon-fry 9-17",
        "mon 9-12, mon 11-13",
        "mon 9-17,",
    ],
)
def test_what_are_no_working_hours(text: str) -> None:
    assert working_spans(text) is None
