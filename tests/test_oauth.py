import base64
import json
import traceback
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import RefreshError
from core.model import HttpRequest, HttpResponse, Secret
from core.oauth import LONGEST_LIFETIME_S, as_form, as_json, claims, granted, renewed
from core.provider import Renewed

NOW = 1_795_000_000.0
URL = "https://auth.example:8443/oauth/token"
FIELDS = {"grant_type": "refresh_token", "refresh_token": "r/+&= SECRET"}
DEAD = {"invalid_grant", "refresh_token_reused"}


def answer(status: int, body: object, *headers: tuple[str, str]) -> HttpResponse:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return HttpResponse(status, headers, raw)


def refused(status: int, body: object, *headers: tuple[str, str]) -> RefreshError:
    with pytest.raises(RefreshError) as caught:
        granted(answer(status, body, *headers), DEAD)
    return caught.value


def test_a_form() -> None:
    assert as_form(URL, FIELDS) == HttpRequest(
        "POST",
        "https",
        "auth.example",
        8443,
        "/oauth/token",
        (("accept", "application/json"), ("content-type", "application/x-www-form-urlencoded")),
        b"grant_type=refresh_token&refresh_token=r%2F%2B%26%3D+SECRET",
    )


def test_the_same_as_json() -> None:
    request = as_json(URL, FIELDS)
    assert request.headers[1] == ("content-type", "application/json")
    assert json.loads(request.body) == FIELDS


def test_no_token_is_shown() -> None:
    response = answer(200, {"access_token": "SECRET", "refresh_token": "SECRET"})
    found = renewed(granted(response, ()), NOW)
    shown = [as_form(URL, FIELDS), as_json(URL, FIELDS), response, found]
    shown.append(refused(400, {"error": "SECRET", "error_description": "SECRET"}))
    assert "SECRET" not in repr(shown)


def test_no_token_is_in_a_traceback() -> None:
    token = " ".join(("a", "SEC" + "RET"))
    with pytest.raises(RefreshError) as caught:
        renewed(granted(answer(200, {"access_token": token}), ()), NOW)
    assert "SECRET" not in "".join(traceback.format_exception(caught.value))


# What an answer gives


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (
            {"access_token": "a", "refresh_token": "r", "expires_in": 28800},
            Renewed(Secret("a"), Secret("r"), NOW + 28800),
        ),
        ({"access_token": "a"}, Renewed(Secret("a"), None, NOW + 3600)),
        (
            {"access_token": "a", "refresh_token": "", "expires_in": None},
            Renewed(Secret("a"), None, NOW + 3600),
        ),
        ({"access_token": "a", "expires_in": "60"}, Renewed(Secret("a"), None, NOW + 60)),
        ({"access_token": "a", "expires_in": 0}, Renewed(Secret("a"), None, NOW + 3600)),
        ({"access_token": "a", "expires_in": -1}, Renewed(Secret("a"), None, NOW + 3600)),
        (
            {"access_token": "a", "expires_in": 1e300},
            Renewed(Secret("a"), None, NOW + LONGEST_LIFETIME_S),
        ),
    ],
)
def test_tokens(body: dict[str, Any], expected: Renewed) -> None:
    assert renewed(granted(answer(200, body), ()), NOW) == expected


def test_the_account_that_the_provider_has_read_is_passed_on() -> None:
    assert renewed({"access_token": "a"}, NOW, "acc").account_id == "acc"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>",
        [],
        {},
        {"access_token": None},
        {"access_token": 1},
        {"access_token": ""},
        {"access_token": "a b"},
        {"access_token": "a\r\nx: 1"},
        {"access_token": "\u00e4"},
    ],
)
def test_an_answer_without_a_token_may_be_a_passing_fault(body: object) -> None:
    with pytest.raises(RefreshError) as caught:
        renewed(granted(answer(200, body), DEAD), NOW)
    assert str(caught.value) == "the token endpoint answered without a token that can be used"
    assert not caught.value.final


# What a refusal means


@pytest.mark.parametrize("status", [400, 401, 403])
@pytest.mark.parametrize(
    "body",
    [
        {"error": "invalid_grant", "error_description": "Refresh token not found or invalid"},
        {"error": {"message": "…", "type": "invalid_request_error", "code": "invalid_grant"}},
        {"type": "error", "error": {"type": "invalid_grant", "message": "…"}},
        {"code": "refresh_token_reused", "message": "…"},
    ],
)
def test_a_refusal_for_good(status: int, body: object) -> None:
    error = refused(status, body)
    assert (str(error), error.final) == (f"the token endpoint answered {status}", True)


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (400, {"error": "invalid_request"}),
        (401, {"error": "invalid_client"}),
        (400, {"error": ["invalid_grant"]}),
        (400, {"error_description": "invalid_grant"}),
        (403, b"<html>invalid_grant</html>"),
        (404, {}),
        (500, {"error": "invalid_grant"}),
        (502, b""),
        (302, {"error": "invalid_grant"}),
    ],
)
def test_another_refusal_may_pass(status: int, body: object) -> None:
    error = refused(status, body)
    assert (str(error), error.final) == (f"the token endpoint answered {status}", False)


def test_how_long_to_wait() -> None:
    limited = refused(429, {"error": "invalid_grant"}, ("Retry-After", "120"))
    assert str(limited) == "the token endpoint limits how often it is asked"
    assert (limited.retry_after, limited.final) == (120.0, False)
    assert refused(429, {}).retry_after is None
    assert refused(503, {}, ("retry-after", "7")).retry_after == 7.0


# What a token says of itself


def jwt(payload: bytes) -> str:
    return f"e30.{base64.urlsafe_b64encode(payload).decode().rstrip('=')}.c2ln"


@pytest.mark.parametrize("said", [{}, {"a": 1}, {"a": "?>?>"}, {"a": {"b": "ä"}}])
def test_claims(said: dict[str, Any]) -> None:
    assert claims(jwt(json.dumps(said).encode())) == said


@pytest.mark.parametrize(
    "token", [None, 1, "", "a.b", "a.b.c.d", "a.é.c", "a.b.c", jwt(b"[]"), jwt(b"{")]
)
def test_what_is_no_jwt_says_nothing(token: object) -> None:
    assert claims(token) == {}


@given(st.integers(100, 599), st.binary() | st.text().map(str.encode))
def test_any_answer_is_tokens_or_a_refusal(status: int, body: bytes) -> None:
    with suppress(RefreshError):
        assert renewed(granted(HttpResponse(status, (), body), DEAD), NOW).expires_at > NOW


@given(st.text() | st.binary().map(jwt))
def test_any_text_says_something_or_nothing(token: str) -> None:
    assert isinstance(claims(token), dict)
