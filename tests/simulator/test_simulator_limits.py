"""Windows: in headers, at the usage endpoints, and what happens when they are spent."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from urllib.parse import parse_qs

import httpx
import pytest
from simulator_caller import PROVIDERS, Caller, Clock, body, error_of

from core.simulator import SCENARIOS, Scenario, Simulator, WindowSpec

UNIFIED = "anthropic-ratelimit-unified-"
SNAPSHOT = "x-quota-snapshot-premium_interactions"


@contextmanager
def caller_in(scenario: Scenario | str, clock: Clock, step: float = 0.0) -> Iterator[Caller]:
    with (
        Simulator(scenario, clock=clock, percent_per_request=step) as sim,
        Caller(sim) as caller,
    ):
        yield caller


def claude_usage(caller: Caller, **changes: str | None) -> httpx.Response:
    url = caller.sim.config()["providers"]["anthropic"]["usage_url"]
    renamed = {name.replace("_", "-"): value for name, value in changes.items()}
    return caller.http.send(caller.request("GET", url, caller.headers("anthropic") | renamed))


def seat_usage(caller: Caller, scheme: str = "Bearer", **changes: str | None) -> httpx.Response:
    url = caller.sim.config()["providers"]["github-copilot"]["usage_url"]
    token = caller.sim.tokens["github-copilot"]
    return caller.get(url, **{"authorization": f"{scheme} {token}"} | changes)


def models(caller: Caller, **changes: str | None) -> httpx.Response:
    token = caller.sim.tokens["github-copilot"]
    headers = {"authorization": f"Bearer {token}", "x_github_api_version": "2026-06-01"}
    return caller.get(f"{caller.sim.copilot_url}/models", **headers | changes)


def claude_models(caller: Caller, query: str = "", **changes: str | None) -> httpx.Response:
    key = {"x-api-key": caller.sim.tokens["anthropic-api-key"], "anthropic-version": "2023-06-01"}
    renamed = {name.replace("_", "-"): value for name, value in changes.items()}
    url = f"{caller.sim.anthropic_url}/v1/models{query}"
    return caller.http.send(caller.request("GET", url, key | renamed))


def snapshot(answer: httpx.Response) -> dict[str, str]:
    return {name: values[0] for name, values in parse_qs(answer.headers[SNAPSHOT]).items()}


def test_anthropic_s_headers_say_the_truth(clock: Clock) -> None:
    with caller_in("over-pace", clock) as caller:
        headers = caller.ask("anthropic", body()).headers
        windows = caller.sim.windows("anthropic")
    for claim, name in [("5h", "five_hour"), ("7d", "seven_day")]:
        used, resets_at = windows[name]
        assert float(headers[f"{UNIFIED}{claim}-utilization"]) == used / 100
        assert headers[f"{UNIFIED}{claim}-reset"] == str(int(resets_at))
        assert headers[f"{UNIFIED}{claim}-status"] == "allowed"
    assert headers[f"{UNIFIED}status"] == "allowed"
    assert headers[f"{UNIFIED}representative-claim"] == "seven_day"


def test_a_window_that_is_nearly_spent_warns(clock: Clock) -> None:
    with caller_in("anthropic-high", clock) as caller:
        headers = caller.ask("anthropic", body()).headers
    assert headers[f"{UNIFIED}7d-status"] == headers[f"{UNIFIED}status"] == "allowed_warning"


def test_copilot_s_header_says_what_remains(clock: Clock) -> None:
    with caller_in("copilot-high", clock) as caller:
        found = snapshot(caller.ask("github-copilot", body()))
        ((used, resets_at),) = caller.sim.windows("github-copilot").values()
    assert used == 97
    assert float(found["rem"]) == 3
    assert datetime.fromisoformat(found["rst"]).timestamp() == resets_at
    assert found["ovPerm"] == "false"


def test_a_spent_window_refuses_at_anthropic(clock: Clock) -> None:
    with caller_in("exhausted", clock) as caller:
        refused = caller.ask("anthropic", body())
        assert error_of(refused)[:2] == (429, "rate_limit_error")
        assert refused.headers[f"{UNIFIED}status"] == "rejected"
        assert refused.headers[f"{UNIFIED}5h-status"] == "rejected"
        assert refused.headers[f"{UNIFIED}7d-status"] == "allowed"
        assert refused.headers[f"{UNIFIED}representative-claim"] == "five_hour"
        wait = int(refused.headers["retry-after"])
        assert wait == pytest.approx(0.3 * 18_000, abs=1)
        key = {"x_api_key": caller.sim.tokens["anthropic-api-key"], "authorization": None}
        assert caller.ask("anthropic", body(), **key).status_code == 200
        clock.now += wait + 1
        assert caller.ask("anthropic", body()).status_code == 200


def test_a_spent_month_refuses_at_copilot(clock: Clock) -> None:
    with caller_in("nobody", clock) as caller:
        refused = caller.ask("github-copilot", body())
        assert error_of(refused) == (402, "quota_exceeded", "You have no quota")
        assert snapshot(refused)["rem"] == "0"
        clock.now = caller.sim.windows("github-copilot")["month"][1]
        assert caller.ask("github-copilot", body()).status_code == 200


def test_each_served_request_costs(clock: Clock) -> None:
    with caller_in("under-pace", clock, step=30.0) as caller:
        before = caller.sim.windows("anthropic")["seven_day"][0]
        statuses = [caller.ask("anthropic", body()).status_code for _ in range(4)]
        assert statuses == [200, 200, 200, 429]
        assert caller.sim.windows("anthropic")["seven_day"][0] == before + 90


@pytest.mark.parametrize("provider", PROVIDERS)
def test_limit_headers_can_be_switched_off(caller: Caller, provider: str) -> None:
    key = {"x_api_key": caller.sim.tokens["anthropic-api-key"], "authorization": None}
    for shown in (True, False):
        caller.sim.limit_headers_enabled[provider] = shown
        named = [*caller.ask(provider, body()).headers]
        if provider == "anthropic":
            named += caller.ask("anthropic", body(), **key).headers
        assert any("ratelimit" in it or "quota" in it for it in named) == shown


def test_a_spent_window_without_headers_says_little(clock: Clock) -> None:
    with caller_in("exhausted", clock) as caller:
        caller.sim.limit_headers_enabled["anthropic"] = False
        refused = caller.ask("anthropic", body())
    assert refused.status_code == 429
    assert refused.headers["x-should-retry"] == "true"
    assert "retry-after" not in refused.headers


@pytest.mark.parametrize("provider", PROVIDERS)
def test_an_unknown_account_serves_and_says_nothing(clock: Clock, provider: str) -> None:
    scenario = replace(SCENARIOS["unknown"], anthropic=None, copilot=None)
    with caller_in(scenario, clock) as caller:
        answer = caller.ask(provider, body())
        assert answer.status_code == 200
        assert not any("ratelimit" in it or "quota" in it for it in answer.headers)
        assert error_of(claude_usage(caller))[:2] == (403, "permission_error")
        assert seat_usage(caller).status_code == 404
        assert caller.sim.windows(provider) == {}


def test_the_usage_of_a_seat_without_windows(clock: Clock) -> None:
    with caller_in("unknown", clock) as caller:
        caller.sim.usage_enabled["github-copilot"] = True
        caller.sim.limit_headers_enabled["anthropic"] = True
        assert "premium_interactions" not in seat_usage(caller).json()["quota_snapshots"]


def test_anthropic_s_usage_is_the_truth(caller: Caller) -> None:
    found = claude_usage(caller).json()
    for name, (used, resets_at) in caller.sim.windows("anthropic").items():
        assert found[name]["utilization"] == used
        assert datetime.fromisoformat(found[name]["resets_at"]).timestamp() == pytest.approx(
            resets_at, abs=1e-3
        )
    assert [it["kind"] for it in found["limits"]] == ["session", "weekly_all"]
    assert found["iguana_necktie"] is None
    assert caller.sim.requests[-1].kind == "usage"


def test_a_window_of_one_model_is_listed_as_such(clock: Clock) -> None:
    opus = WindowSpec("seven_day_opus", 100.0, 50.0, 604_800.0)
    scenario = replace(SCENARIOS["under-pace"], anthropic=(opus,))
    with caller_in(scenario, clock) as caller:
        (limit,) = claude_usage(caller).json()["limits"]
        refused = caller.ask("anthropic", body())
    assert (limit["kind"], limit["severity"]) == ("weekly_scoped", "critical")
    assert limit["scope"]["model"]["display_name"] == "Opus"
    assert refused.headers[f"{UNIFIED}7d_opus-status"] == "rejected"


def test_anthropic_answers_one_poll_in_five_minutes(caller: Caller, clock: Clock) -> None:
    assert claude_usage(caller).status_code == 200
    for wait, status in [(0, 429), (299, 429), (1, 200), (1, 429)]:
        clock.now += wait
        found = claude_usage(caller)
        assert found.status_code == status
        if status == 429:
            message = "Rate limited. Please try again later."
            assert found.json() == {"error": {"message": message, "type": "rate_limit_error"}}
            assert found.headers["retry-after"] == "0"


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"authorization": "Bearer x"}, "Invalid bearer token"),
        ({"anthropic_beta": None}, "OAuth authentication is currently not supported."),
        ({"x_api_key": "x"}, "x-api-key and authorization are both set"),
        ({"authorization": None, "x_api_key": "x"}, "Invalid bearer token"),
    ],
)
def test_anthropic_s_usage_is_for_subscriptions(
    caller: Caller, changes: dict[str, str | None], says: str
) -> None:
    assert error_of(claude_usage(caller, **changes)) == (401, "authentication_error", says)
    assert claude_usage(caller).status_code == 200


@pytest.mark.parametrize("scheme", ["Bearer", "token"])
def test_a_seat_s_usage_is_the_truth(caller: Caller, clock: Clock, scheme: str) -> None:
    found = seat_usage(caller, scheme).json()
    ((used, resets_at),) = caller.sim.windows("github-copilot").values()
    snapshot = found["quota_snapshots"]["premium_interactions"]
    assert snapshot["percent_remaining"] == pytest.approx(100 - used)
    assert snapshot["quota_reset_at"] == resets_at
    assert snapshot["remaining"] + snapshot["credits_used"] == pytest.approx(7000, abs=1)
    assert found["quota_reset_date"] == f"{datetime.fromtimestamp(resets_at, UTC):%Y-%m-%d}"
    assert found["quota_snapshots"]["chat"]["unlimited"] is True
    assert seat_usage(caller, scheme).status_code == 200


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"authorization": "Bearer x"}, 401),
        ({"authorization": None}, 401),
        ({"x_api_key": "x"}, 401),
        ({"user_agent": None}, 403),
        ({"cookie": "a=b"}, 400),
    ],
)
def test_a_seat_s_usage_refuses(caller: Caller, changes: dict[str, str], status: int) -> None:
    refused = seat_usage(caller, **changes)
    assert refused.status_code == status
    assert refused.json()["message"]
    assert seat_usage(caller).status_code == 200


def test_github_has_nothing_else(caller: Caller) -> None:
    assert caller.get(f"{caller.sim.github_api_url}/user").status_code == 404
    assert caller.sim.requests[-1].kind == "other"


@pytest.mark.parametrize("provider", PROVIDERS)
def test_usage_can_be_switched_off(caller: Caller, provider: str) -> None:
    caller.sim.usage_enabled[provider] = False
    refused = {"anthropic": claude_usage, "github-copilot": seat_usage}[provider](caller)
    assert refused.status_code == {"anthropic": 403, "github-copilot": 404}[provider]


def test_copilot_s_list(caller: Caller) -> None:
    listed = {it["id"]: it for it in models(caller).json()["data"]}
    for name in ("claude-sonnet-4.5", "claude-opus-4.5", "claude-sonnet-5", "claude-opus-5.5"):
        assert "/v1/messages" in listed[name]["supported_endpoints"]
        assert listed[name]["policy"]["state"] == "enabled"
    assert listed["claude-opus-4.1"]["supported_endpoints"] == ["/chat/completions"]
    assert listed["claude-fable-5"]["policy"]["state"] == "disabled"
    assert "adaptive_thinking" not in listed["claude-sonnet-4.5"]["capabilities"]["supports"]
    limits = listed["claude-sonnet-4.5"]["capabilities"]["limits"]
    assert (limits["max_prompt_tokens"], limits["max_output_tokens"]) == (168_000, 32_000)
    assert caller.sim.requests[-1].kind == "models"
    caller.sim.copilot_models.clear()
    assert models(caller).json()["data"] == []


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"authorization": "token x"}, 401),
        ({"x_github_api_version": None}, 400),
        ({"user_agent": None}, 403),
    ],
)
def test_copilot_s_list_refuses(
    caller: Caller, changes: dict[str, str | None], status: int
) -> None:
    assert error_of(models(caller, **changes))[0] == status
    assert models(caller).status_code == 200


def test_anthropic_s_list_names_snapshots_where_there_are_some(caller: Caller) -> None:
    told = claude_models(caller, "?limit=1000").json()
    listed = {it["id"]: it for it in told["data"]}
    assert "claude-sonnet-4-5-20250929" in listed
    assert "claude-sonnet-4-5" not in listed
    sonnet = listed["claude-sonnet-4-5-20250929"]
    assert (sonnet["display_name"], sonnet["max_tokens"]) == ("Claude Sonnet 4 5", 64_000)
    assert not sonnet["capabilities"]["thinking"]["types"]["adaptive"]["supported"]
    assert listed["claude-sonnet-5"]["capabilities"]["thinking"]["types"]["adaptive"]["supported"]
    assert (told["has_more"], told["first_id"]) == (False, told["data"][0]["id"])
    assert caller.sim.requests[-1].kind == "models"


def test_anthropic_s_list_comes_in_pages(caller: Caller) -> None:
    told = claude_models(caller, "?limit=2").json()
    assert (len(told["data"]), told["has_more"]) == (2, True)
    assert told["last_id"] == told["data"][1]["id"]


@pytest.mark.parametrize(
    ("query", "changes", "status"),
    [
        ("", {"x_api_key": "another"}, 401),
        ("", {"x_api_key": None, "authorization": "Bearer x"}, 401),
        ("", {"anthropic_version": None}, 400),
        ("?limit=0", {}, 400),
        ("?limit=1001", {}, 400),
        ("?limit=all", {}, 400),
    ],
)
def test_anthropic_s_list_refuses(
    caller: Caller, query: str, changes: dict[str, str | None], status: int
) -> None:
    assert claude_models(caller, query, **changes).status_code == status
    assert claude_models(caller).status_code == 200
