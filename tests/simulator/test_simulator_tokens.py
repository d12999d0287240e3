"""The token endpoints: as strict as the real ones, and each refresh token works once."""

import base64
import json
from typing import Any

import pytest
from simulator_caller import Caller, body

from core.simulator import Fault

CLIENTS = {
    "chatgpt": "app_EMoamEEZ73f0CkXaXp7hrann",
    "anthropic": "9d1c250a-e61b-44d9-88ed-5944d1962f5e",
}


def ask(caller: Caller, provider: str, **more: Any) -> tuple[int, dict[str, Any]]:
    fields = {
        "grant_type": "refresh_token",
        "refresh_token": caller.sim.refresh_tokens[provider],
        "client_id": CLIENTS[provider],
    }
    fields = {name: it for name, it in (fields | more).items() if it is not None}
    send = {"data": fields} if provider == "chatgpt" else {"json": fields}
    answer = caller.http.post(caller.sim.token_url(provider), **send)
    return answer.status_code, answer.json()


def code_of(provider: str, told: dict[str, Any]) -> str:
    code: str = told["error"]["code"] if provider == "chatgpt" else told["error"]
    return code


@pytest.mark.parametrize(
    ("provider", "reused"),
    [("chatgpt", "refresh_token_reused"), ("anthropic", "invalid_grant")],
)
def test_a_refresh_token_works_once(caller: Caller, provider: str, reused: str) -> None:
    old = caller.sim.refresh_tokens[provider]
    status, told = ask(caller, provider)
    assert (status, told["token_type"], told["expires_in"]) == (200, "Bearer", 3600)
    assert told["refresh_token"] == caller.sim.refresh_tokens[provider] != old
    status, refused = ask(caller, provider, refresh_token=old)
    assert (status, code_of(provider, refused)) == (400, reused)
    assert ask(caller, provider)[0] == 200


def test_a_new_access_token_of_anthropics_takes_the_old_ones_place(caller: Caller) -> None:
    old = caller.question("anthropic", body())
    assert ask(caller, "anthropic")[0] == 200
    assert caller.http.send(old).status_code == 401
    assert caller.ask("anthropic", body()).status_code == 200


def test_chatgpts_token_says_whose_it_is(caller: Caller) -> None:
    _, told = ask(caller, "chatgpt")
    said = json.loads(base64.urlsafe_b64decode(told["access_token"].split(".")[1] + "=="))
    assert said["https://api.openai.com/auth"]["chatgpt_account_id"].startswith("00000000-")


@pytest.mark.parametrize("provider", CLIENTS)
@pytest.mark.parametrize(
    ("more", "status", "code"),
    [
        ({"refresh_token": "rt-nobody's"}, 400, "invalid_grant"),
        ({"client_id": "another"}, 401, "invalid_client"),
        ({"grant_type": "password"}, 400, "unsupported_grant_type"),
        ({"client_id": None}, 400, "invalid_request"),
        ({"scope": "all"}, 400, "invalid_request"),
    ],
)
def test_what_is_refused(
    caller: Caller, provider: str, more: dict[str, Any], status: int, code: str
) -> None:
    answered, told = ask(caller, provider, **more)
    assert (answered, code_of(provider, told)) == (status, code)
    assert ask(caller, provider)[0] == 200, "a refusal uses nothing up"


@pytest.mark.parametrize("provider", CLIENTS)
@pytest.mark.parametrize(
    ("method", "more", "status"),
    [
        ("GET", {}, 404),
        ("POST", {"headers": {"authorization": "Bearer x"}}, 400),
        ("POST", {"params": {"a": "b"}}, 400),
        ("POST", {"content": b"{", "headers": {"content-type": "text/plain"}}, 415),
        ("POST", {"content": b"\xff", "headers": {"content-type": "application/json"}}, None),
        ("POST", {"headers": {"x-limit-router-provider": "x"}}, 400),
    ],
)
def test_what_is_no_question(
    caller: Caller, provider: str, method: str, more: dict[str, Any], status: int | None
) -> None:
    answer = caller.http.request(method, caller.sim.token_url(provider), **more)
    wanted = {None: 400 if provider == "anthropic" else 415}.get(status, status)
    assert answer.status_code == wanted


def test_nothing_else_is_there(caller: Caller) -> None:
    elsewhere = caller.sim.token_url("chatgpt") + "/x"
    answer = caller.http.post(elsewhere)
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "server_error")


@pytest.mark.parametrize("status", [429, 500])
def test_a_fault_of_its_own(caller: Caller, status: int) -> None:
    caller.sim.inject(Fault(provider="tokens", status=status, headers={"retry-after": "60"}))
    assert ask(caller, "chatgpt")[0] == status
    assert ask(caller, "chatgpt")[0] == 200, "the refresh token was not used up"
