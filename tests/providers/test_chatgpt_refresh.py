"""PROVIDERS E.1 and C.3: how a ChatGPT sign-in is renewed."""

import base64
import json
from typing import Any

import pytest

from core.errors import RefreshError
from core.model import HttpRequest, HttpResponse, Secret
from core.provider import RefreshFlow, Renewed
from core.providers.chatgpt import PROVIDER

NOW = 1_795_000_000.0
GIVEN = {"access_token": "eyJ.a", "refresh_token": "rt_2", "token_type": "Bearer"}


def asked() -> tuple[RefreshFlow, HttpRequest]:
    assert PROVIDER.refresh is not None
    assert PROVIDER.token_url is not None
    flow = PROVIDER.refresh(PROVIDER.token_url, Secret("rt_1"), NOW)
    return flow, next(flow)


def given(body: object, status: int = 200) -> Renewed:
    flow, _ = asked()
    with pytest.raises(StopIteration) as done:
        flow.send(HttpResponse(status, (), json.dumps(body).encode()))
    found = done.value.value
    assert isinstance(found, Renewed)
    return found


def jwt(said: Any) -> str:
    coded = base64.urlsafe_b64encode(json.dumps(said).encode()).decode().rstrip("=")
    return f"e30.{coded}.c2ln"


def test_the_question() -> None:
    _, request = asked()
    assert request == HttpRequest(
        "POST",
        "https",
        "auth.openai.com",
        443,
        "/oauth/token",
        (("accept", "application/json"), ("content-type", "application/x-www-form-urlencoded")),
        b"grant_type=refresh_token&refresh_token=rt_1&client_id=app_EMoamEEZ73f0CkXaXp7hrann",
    )
    assert "rt_1" not in repr(request)


def test_new_tokens_and_how_long_they_last() -> None:
    assert given(GIVEN | {"expires_in": 864000}) == Renewed(
        Secret("eyJ.a"), Secret("rt_2"), NOW + 864000
    )
    assert given(GIVEN).expires_at == NOW + 3600


OWN = "https://api.openai.com/auth"
ACCOUNTS = {
    "the token's own": ({"chatgpt_account_id": "acc-1", OWN: {"chatgpt_account_id": "2"}}, "acc-1"),
    "in OpenAI's claim": (
        {OWN: {"chatgpt_account_id": "acc-2"}, "organizations": [{"id": "org-3"}]},
        "acc-2",
    ),
    "the first organization": ({"organizations": [{"id": "org-3"}, {"id": "org-4"}]}, "org-3"),
    "no header could carry it": ({"chatgpt_account_id": "a b", OWN: {}}, None),
    "nothing": ({"organizations": []}, None),
    "other shapes": ({OWN: [], "organizations": ["x"], "chatgpt_account_id": 7}, None),
}


@pytest.mark.parametrize("case", ACCOUNTS)
@pytest.mark.parametrize("field", ["id_token", "access_token"])
def test_the_account_that_a_token_is_for(case: str, field: str) -> None:
    said, expected = ACCOUNTS[case]
    assert given(GIVEN | {field: jwt(said)}).account_id == expected


def test_the_id_token_is_asked_first() -> None:
    one, other = jwt({"chatgpt_account_id": "one"}), jwt({"chatgpt_account_id": "other"})
    assert given(GIVEN | {"id_token": one, "access_token": other}).account_id == "one"


@pytest.mark.parametrize("status", [400, 401])
@pytest.mark.parametrize(
    ("code", "final"),
    [
        ("refresh_token_reused", True),
        ("refresh_token_expired", True),
        ("refresh_token_invalidated", True),
        ("invalid_grant", True),
        ("invalid_request", False),
        (None, False),
    ],
)
def test_refusals(status: int, code: str | None, final: bool) -> None:  # noqa: FBT001
    error = {"message": "…", "type": "invalid_request_error", "param": None, "code": code}
    flow, _ = asked()
    with pytest.raises(RefreshError) as caught:
        flow.send(HttpResponse(status, (), json.dumps({"error": error}).encode()))
    assert caught.value.final is final
