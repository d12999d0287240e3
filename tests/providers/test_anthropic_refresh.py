"""PROVIDERS E.2: how a Claude sign-in is renewed."""

import json

import pytest

from core.errors import RefreshError
from core.model import HttpRequest, HttpResponse, Secret
from core.provider import RefreshFlow, Renewed
from core.providers.anthropic import PROVIDER

NOW = 1_795_000_000.0
GIVEN = {
    "token_type": "Bearer",
    "access_token": "sk-ant-oat01-2",
    "expires_in": 28800,
    "refresh_token": "sk-ant-ort01-2",
    "scope": "user:inference user:profile",
    "account": {"uuid": "a", "email_address": "me@example.com"},
    "organization": {"uuid": "o", "name": "Me"},
}


def asked() -> tuple[RefreshFlow, HttpRequest]:
    assert PROVIDER.refresh is not None
    assert PROVIDER.token_url is not None
    flow = PROVIDER.refresh(PROVIDER.token_url, Secret("sk-ant-ort01-1"), NOW)
    return flow, next(flow)


def test_the_question() -> None:
    _, request = asked()
    assert request.origin == ("https", "platform.claude.com", 443)
    assert (request.method, request.path) == ("POST", "/v1/oauth/token")
    assert request.headers == (
        ("accept", "application/json"),
        ("content-type", "application/json"),
    )
    assert json.loads(request.body) == {
        "grant_type": "refresh_token",
        "refresh_token": "sk-ant-ort01-1",
        "client_id": "9d1c250a-e61b-44d9-88ed-5944d1962f5e",
    }
    assert "ort01" not in repr(request)


@pytest.mark.parametrize(
    ("left_out", "refresh"), [((), "sk-ant-ort01-2"), (("refresh_token",), None)]
)
def test_new_tokens(left_out: tuple[str, ...], refresh: str | None) -> None:
    body = {name: value for name, value in GIVEN.items() if name not in left_out}
    flow, _ = asked()
    with pytest.raises(StopIteration) as done:
        flow.send(HttpResponse(200, (), json.dumps(body).encode()))
    assert done.value.value == Renewed(
        Secret("sk-ant-oat01-2"), Secret(refresh) if refresh else None, NOW + 28800
    )


@pytest.mark.parametrize(
    ("status", "body", "final", "wait"),
    [
        (400, {"error": "invalid_grant", "error_description": "…"}, True, None),
        (400, {"error": "invalid_request"}, False, None),
        (429, {"error": {"type": "rate_limit_error", "message": "…"}}, False, 60.0),
        (529, {"type": "error", "error": {"type": "overloaded_error"}}, False, 60.0),
    ],
)
def test_refusals(status: int, body: object, final: bool, wait: float | None) -> None:  # noqa: FBT001
    headers = (("retry-after", "60"),) if wait else ()
    flow, _ = asked()
    with pytest.raises(RefreshError) as caught:
        flow.send(HttpResponse(status, headers, json.dumps(body).encode()))
    assert (caught.value.final, caught.value.retry_after) == (final, wait)
