"""Each test names the section of PROVIDERS that it holds the parser to."""

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import UsageError
from core.model import (
    Abilities,
    AccountKind,
    Credential,
    CredentialType,
    HttpRequest,
    HttpResponse,
    Secret,
    Source,
    Usage,
    Window,
    Wire,
)
from core.provider import Endpoints
from core.providers.github_copilot import PROVIDER
from core.sse import Event

DATA = Path(__file__).parent.parent / "data" / "github_copilot"
NOW = 1_789_900_000.0
DAY = 86400.0
SEAT = Credential(CredentialType.OAUTH, Secret("gho_TOKEN"), "TEST", "me")
ENTERPRISE = Credential(
    CredentialType.OAUTH, Secret("t"), "TEST", "me", enterprise_host="company.ghe.com"
)
URL = "https://api.github.com/copilot_internal/user"
OCTOBER = 1790812800.0
"""2026-10-01."""


def recorded(name: str) -> Any:
    return json.loads((DATA / f"{name}.json").read_text())


def read(body: bytes, status: int = 200, *headers: tuple[str, str]) -> Usage:
    assert PROVIDER.usage is not None
    flow = PROVIDER.usage(URL, SEAT, NOW)
    next(flow)
    with pytest.raises(StopIteration) as done:
        flow.send(HttpResponse(status, headers, body))
    usage = done.value.value
    assert isinstance(usage, Usage)
    return usage


def parsed(body: object) -> Usage:
    return read(json.dumps(body).encode())


def described(body: bytes, status: int = 200) -> dict[str, Abilities]:
    """What the list says of each of its models."""
    assert PROVIDER.models is not None
    flow = PROVIDER.models("https://api.githubcopilot.com", Wire.MESSAGES)
    next(flow)
    with pytest.raises(StopIteration) as done:
        flow.send(HttpResponse(status, (), body))
    found = done.value.value
    assert isinstance(found, dict)
    return found


def models(body: bytes, status: int = 200) -> tuple[str, ...]:
    return tuple(described(body, status))


def listed(*entries: object) -> tuple[str, ...]:
    return models(json.dumps({"data": entries}).encode())


def limits(headers: dict[str, str]) -> tuple[Window, ...]:
    return PROVIDER.read_limits(tuple(headers.items()), NOW)


def month(used: Any, resets_at: float | None, days: float | None, source: Source) -> Window:
    return Window("month", used, resets_at, None if days is None else days * DAY, source, NOW)


def polled(used: Any, resets_at: float | None, days: float | None) -> Usage:
    return Usage((month(used, resets_at, days, Source.ENDPOINT),))


def snapshot(name: str = "premium_interactions", **fields: object) -> dict[str, object]:
    return {"quota_snapshots": {name: {"entitlement": 300, "percent_remaining": 60} | fields}}


# A.2, the usage endpoint


def test_a2_the_request_names_the_version_and_no_credential() -> None:
    assert PROVIDER.usage is not None
    headers = (("accept", "application/json"), ("x-github-api-version", "2025-04-01"))
    request = HttpRequest("GET", "https", "api.github.com", 443, "/copilot_internal/user", headers)
    assert next(PROVIDER.usage(URL, SEAT, NOW)) == request
    assert PROVIDER.authorize(SEAT) == (("authorization", "Bearer gho_TOKEN"),)
    assert PROVIDER.kind(CredentialType.OAUTH) is AccountKind.SUBSCRIPTION
    assert PROVIDER.has_usage(SEAT)


def test_a2_an_enterprise_has_its_own_hosts() -> None:
    assert PROVIDER.endpoints(None) == Endpoints("https://api.githubcopilot.com", URL)
    assert PROVIDER.endpoints(SEAT) == PROVIDER.endpoints(None)
    assert PROVIDER.endpoints(ENTERPRISE) == Endpoints(
        "https://copilot-api.company.ghe.com",
        "https://api.company.ghe.com/copilot_internal/user",
    )


def test_a2_the_recorded_reply() -> None:
    left = replace(month(100 - 92.9, OCTOBER, 30, Source.ENDPOINT), overage=True)
    assert parsed(recorded("usage")) == Usage((left,), plan="individual_pro")


@pytest.mark.parametrize(("said", "overage"), [("true", True), ("false", False), ("", False)])
def test_b2_a_header_says_whether_overage_is_permitted(said: str, *, overage: bool) -> None:
    value = f"ent=300&ov=0.0&ovPerm={said}&rem=29.7&rst=2026-10-01T00%3A00%3A00Z"
    [window] = PROVIDER.read_limits((("x-quota-snapshot-premium_interactions", value),), NOW)
    assert window.overage is overage


def test_a2_the_older_shape_of_a_free_seat() -> None:
    """What is left of the month's chats, 125 of "500"; figures may be strings."""
    assert parsed(recorded("usage_free")) == polled(75.0, OCTOBER, 30)


@pytest.mark.parametrize(
    ("left", "total"),
    [(None, 500), (125, None), (125, 0), (0, "0"), ("x", "y"), (5, -1), (1e308, 1e-308)],
)
def test_a2_a_free_seat_without_figures_says_nothing(left: object, total: object) -> None:
    body = {"limited_user_quotas": {"chat": left}, "monthly_quotas": {"chat": total}}
    assert parsed(body) == Usage()


def test_a2_a_seat_whose_figures_are_placeholders_is_unknown() -> None:
    """`entitlement: 0, percent_remaining: 100` says nothing: it is not untouched."""
    assert parsed(recorded("usage_seat")) == Usage(plan="business")


def test_a2_no_access_is_unknown() -> None:
    assert parsed(recorded("usage_no_access")) == Usage(plan="free")


@pytest.mark.parametrize(
    ("remaining", "used"),
    [(60, 40.0), ("60", 40.0), (-0.33, 100.33), (0, 100.0), (0.0, 100.0), (100, 0.0)],
)
def test_a2_what_remains_may_be_negative(remaining: object, used: float) -> None:
    assert parsed(snapshot(percent_remaining=remaining)) == polled(used, None, None)


@pytest.mark.parametrize("remaining", [None, "", "most", True, [], {}])
def test_a2_missing_is_not_zero(remaining: object) -> None:
    assert parsed(snapshot(percent_remaining=remaining)) == Usage()


@pytest.mark.parametrize("entitlement", [0, "0", 0.0, -1, None, "", "many"])
def test_a2_without_an_entitlement_the_percentage_says_nothing(entitlement: object) -> None:
    assert parsed(snapshot(entitlement=entitlement)) == Usage()


@pytest.mark.parametrize("entitlement", [7000, "300", 0.5])
def test_a2_an_entitlement_may_be_a_string(entitlement: object) -> None:
    assert parsed(snapshot(entitlement=entitlement)) == polled(40.0, None, None)


def test_a2_the_key_of_the_snapshot_varies() -> None:
    assert parsed(snapshot("premium_models")) == polled(40.0, None, None)
    assert parsed(snapshot("something_new")) == parsed(snapshot("chat")) == Usage()


def test_a2_a_placeholder_under_one_key_leaves_the_other() -> None:
    empty = {"entitlement": 0, "remaining": 0, "percent_remaining": 100}
    body = snapshot("premium_models")
    body["quota_snapshots"]["premium_interactions"] = empty  # type: ignore[index]
    assert parsed(body) == polled(40.0, None, None)


@pytest.mark.parametrize(
    ("at", "utc", "date", "expected", "days"),
    [
        (1790812800, None, None, OCTOBER, 30),
        ("1790812800", None, None, OCTOBER, 30),
        (0, "2026-10-01T00:00:00.000Z", "2026-12-01", OCTOBER, 30),
        (None, "", "2026-10-01", OCTOBER, 30),
        (None, None, "2026-03-01", 1772323200.0, 28),
        (-1, "", "", None, None),
        (None, "never", None, None, None),
    ],
)
def test_a2_the_reset(
    at: object, utc: object, date: object, expected: float | None, days: float | None
) -> None:
    body = snapshot(quota_reset_at=at) | {"quota_reset_date_utc": utc, "quota_reset_date": date}
    assert parsed(body) == polled(40.0, expected, days)


@pytest.mark.parametrize("plan", [None, 5, ["pro"], "", "two\nlines", "x" * 65])
def test_a2_a_plan_is_a_word(plan: object) -> None:
    assert parsed({"copilot_plan": plan}) == Usage()


@pytest.mark.parametrize(
    ("status", "body", "says"),
    [
        (401, b'{"message": "Bad credentials CONTENT"}', "the usage endpoint answered 401"),
        (403, b"CONTENT", "the usage endpoint answered 403"),
        (404, b'{"message": "Not Found CONTENT"}', "the usage endpoint answered 404"),
        (200, b"<html>CONTENT</html>", "the usage endpoint answered something that is not JSON"),
        (200, b"[]", "the usage endpoint answered JSON that is not an object"),
    ],
)
def test_a2_what_is_no_reading_is_a_sentence(status: int, body: bytes, says: str) -> None:
    with pytest.raises(UsageError) as caught:
        read(body, status)
    assert (str(caught.value), caught.value.retry_after) == (says, None)


@pytest.mark.parametrize(
    ("value", "wait"),
    [
        ("0", None),
        ("120", 120.0),
        ("180000", 180000.0),
        ("Sun, 04 Oct 2026 10:00:00 GMT", 14 * DAY),
        ("Sun, 20 Sep 2026 09:00:00 GMT", None),
    ],
)
def test_b2_a_wait_is_in_seconds_or_until_a_date(value: str, wait: float | None) -> None:
    with pytest.raises(UsageError) as caught:
        read(b"", 429, ("Date", "Sun, 20 Sep 2026 10:00:00 GMT"), ("retry-after", value))
    assert caught.value.retry_after == wait


# B.2, the headers of an answer

MAY = 1777593600.0


def test_b2_the_recorded_headers() -> None:
    assert limits(recorded("headers")) == (
        month(100 - 29.7, MAY, 30, Source.HEADER),
        Window("session", 18.5, 1776697200.0, None, Source.HEADER, NOW),
        Window("weekly", 60.0, 1777075200.0, None, Source.HEADER, NOW),
    )


def premium(value: str, name: str = "premium_interactions") -> tuple[Window, ...]:
    return limits({f"X-Quota-Snapshot-{name}": value})


@pytest.mark.parametrize("name", ["premium_interactions", "premium_models"])
def test_b2_the_name_varies(name: str) -> None:
    value = "ent=300&rem=29.5&rst=2026-05-01T00%3A00%3A00Z"
    assert premium(value, name) == (month(70.5, MAY, 30, Source.HEADER),)


def test_b2_a_value_encoded_as_a_whole() -> None:
    value = quote("ent=300&rem=29.5&rst=2026-05-01T00:00:00Z", safe="")
    assert premium(value) == (month(70.5, MAY, 30, Source.HEADER),)


@pytest.mark.parametrize("name", ["chat", "completions"])
def test_b2_chat_and_completions_are_not_what_agents_spend(name: str) -> None:
    assert premium("ent=300&rem=0", name) == ()


@pytest.mark.parametrize(
    "value",
    [
        "ent=-1&rem=100.0",
        "ent=0&rem=100.0",
        "rem=50.0",
        "ent=300",
        "ent=300&rem=",
        "ent=300&rem=nan",
        "ent=many&rem=5",
        "",
        "&&&",
        "=",
        "&".join(f"k{n}=1" for n in range(40)),
    ],
)
def test_b2_unlimited_and_unreadable_say_nothing(value: str) -> None:
    assert premium(value) == ()


@pytest.mark.parametrize(("rem", "used"), [("-0.5", 100.5), ("0", 100.0), ("0.0", 100.0)])
def test_b2_spent(rem: str, used: float) -> None:
    assert premium(f"ent=300&rem={rem}") == (month(used, None, None, Source.HEADER),)


@pytest.mark.parametrize("name", ["session", "weekly"])
def test_b2_of_session_and_weekly_only_what_remains_counts(name: str) -> None:
    window = Window(name, 100.0, None, None, Source.HEADER, NOW)
    assert limits({f"x-usage-ratelimit-{name}": "ent=0&rem=0&rst="}) == (window,)
    assert limits({f"x-usage-ratelimit-{name}": "ent=0&ov=0.0"}) == ()


# B.2, inside a stream


def told(body: object) -> tuple[Window, ...]:
    return PROVIDER.read_event(Event("", json.dumps(body).encode()), NOW)


def streamed(**fields: object) -> tuple[Window, ...]:
    return told({"copilot_quota_snapshots": snapshot(**fields)["quota_snapshots"]})


def test_b2_the_recorded_last_event() -> None:
    assert told(recorded("event")) == (month(100 - 29.7, MAY, 30, Source.HEADER),)


def test_b2_a_snapshot_in_a_stream_is_one_as_elsewhere() -> None:
    assert streamed() == (month(40.0, None, None, Source.HEADER),)
    assert streamed(entitlement="0", percent_remaining=100) == ()
    assert streamed(entitlement="-1", percent_remaining=100) == ()
    assert streamed(percent_remaining=None) == ()
    assert streamed(quota_reset_at=1790812800) == (month(40.0, OCTOBER, 30, Source.HEADER),)


@pytest.mark.parametrize(
    "data",
    [
        b"[DONE]",
        b'{"type":"message_stop"}',
        b'{"text":"copilot_quota_snapshots"}',
        b'{"copilot_quota_snapshots":null}',
        b'{"copilot_quota_snapshots":[1]}',
        b'{"copilot_quota_snapshots"',
    ],
)
def test_b2_any_other_event_says_nothing(data: bytes) -> None:
    assert PROVIDER.read_event(Event("", data), NOW) == ()


# F.2, the model list

CLAUDE = {"id": "claude-x", "supported_endpoints": ["/chat/completions", "/v1/messages"]}


def test_f2_the_request_names_the_version_and_no_credential() -> None:
    assert PROVIDER.models is not None
    headers = (("accept", "application/json"), ("x-github-api-version", "2026-06-01"))
    request = HttpRequest("GET", "https", "copilot-api.company.ghe.com", 443, "/models", headers)
    base = PROVIDER.endpoints(ENTERPRISE).base_url
    assert next(PROVIDER.models(base, Wire.MESSAGES)) == request


def test_f2_the_recorded_list() -> None:
    assert described((DATA / "models.json").read_bytes()) == {
        "claude-sonnet-4.6": Abilities(
            context=200_000,
            prompt=168_000,
            output=32_000,
            images=True,
            tools=True,
            thinking=True,
        )
    }


@pytest.mark.parametrize(
    ("capabilities", "abilities"),
    [
        (None, Abilities()),
        ({}, Abilities()),
        ({"limits": [], "supports": "all"}, Abilities()),
        ({"limits": {"max_output_tokens": 0}}, Abilities()),
        ({"limits": {"max_output_tokens": "16000"}}, Abilities(output=16_000)),
        ({"limits": {"max_prompt_tokens": -5, "max_context_window_tokens": 1e300}}, Abilities()),
        ({"limits": {"max_prompt_tokens": True}}, Abilities()),
        (
            {"supports": {"vision": False, "tool_calls": False}},
            Abilities(images=False, tools=False),
        ),
        ({"supports": {"vision": "yes", "tool_calls": 1}}, Abilities()),
        ({"supports": {"adaptive_thinking": True}}, Abilities(thinking=True)),
        ({"supports": {"max_thinking_budget": 32_000}}, Abilities(thinking=True)),
        ({"supports": {"adaptive_thinking": False, "max_thinking_budget": 0}}, Abilities()),
    ],
)
def test_f2_what_an_entry_says_of_its_model(capabilities: object, abilities: Abilities) -> None:
    entry = CLAUDE | {"capabilities": capabilities}
    assert described(json.dumps({"data": [entry]}).encode()) == {"claude-x": abilities}


@pytest.mark.parametrize(
    "policy",
    [{"state": "enabled"}, {"terms": "…"}, {}, None],
    ids=["enabled", "terms", "{}", "null"],
)
def test_f2_a_model_without_a_policy_against_it(policy: object) -> None:
    assert listed(CLAUDE | {"policy": policy}) == ("claude-x",)


@pytest.mark.parametrize("state", ["disabled", "unconfigured", "", None, 1])
def test_f2_a_disabled_model_is_not_there(state: object) -> None:
    assert listed(CLAUDE | {"policy": {"state": state}}, CLAUDE | {"id": "b"}) == ("b",)


@pytest.mark.parametrize(
    "endpoints", [None, [], ["/chat/completions"], ["/responses", "ws:/responses"], "/v1/messages"]
)
def test_f2_a_model_of_another_wire_is_not_there(endpoints: object) -> None:
    assert listed(CLAUDE | {"supported_endpoints": endpoints}) == ()


def test_f2_a_model_that_names_no_endpoint_is_served_by_chat_completions() -> None:
    assert listed({"id": "claude-x"}) == ()


def test_f2_garbage_among_the_entries() -> None:
    assert listed(None, 5, "x", [], {}, CLAUDE | {"id": 5}, CLAUDE, CLAUDE | {"id": None}) == (
        "claude-x",
    )


def test_f2_a_list_of_nothing_is_a_list() -> None:
    assert listed() == ()


@pytest.mark.parametrize("body", [b"{}", b'{"data": null}', b'{"data": {}}', b'{"models": []}'])
def test_f2_no_list_is_not_a_list_of_nothing(body: bytes) -> None:
    with pytest.raises(UsageError, match=r"^the model list answered an object without a list$"):
        models(body)


@pytest.mark.parametrize(
    ("status", "body", "says"),
    [
        (401, b"CONTENT", "the model list answered 401"),
        (200, b"CONTENT", "the model list answered something that is not JSON"),
        (200, b"[]", "the model list answered JSON that is not an object"),
    ],
)
def test_f2_what_is_no_list_is_a_sentence(status: int, body: bytes, says: str) -> None:
    with pytest.raises(UsageError) as caught:
        models(body, status)
    assert str(caught.value) == says


# Whatever comes

JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=6,
)
SNAPSHOT = JSON | st.fixed_dictionaries(
    {"entitlement": st.floats() | JSON, "percent_remaining": st.floats() | JSON},
    optional={"quota_reset_at": st.floats() | st.integers() | JSON},
)
QUOTAS = JSON | st.fixed_dictionaries({"chat": st.floats() | JSON})
BODY = JSON | st.fixed_dictionaries(
    {},
    optional={
        "quota_snapshots": JSON | st.fixed_dictionaries({"premium_interactions": SNAPSHOT}),
        "quota_reset_date_utc": st.datetimes().map(lambda it: it.isoformat()) | JSON,
        "quota_reset_date": st.dates().map(lambda it: it.isoformat()) | JSON,
        "copilot_plan": JSON,
        "limited_user_quotas": QUOTAS,
        "monthly_quotas": QUOTAS,
    },
)


@given(BODY)
def test_any_json_is_windows_or_a_usage_error(body: Any) -> None:
    try:
        usage = parsed(body)
    except UsageError:
        return
    assert all(window.name == "month" for window in usage.windows)
    assert all(math.isfinite(window.used_percent) for window in usage.windows)


ENTRY = JSON | st.fixed_dictionaries(
    {},
    optional={
        "id": JSON,
        "policy": JSON,
        "supported_endpoints": st.just(["/v1/messages"]) | JSON,
        "capabilities": JSON
        | st.fixed_dictionaries(
            {"limits": JSON | st.dictionaries(st.just("max_prompt_tokens"), JSON)}
        ),
    },
)


@given(JSON | st.fixed_dictionaries({"data": JSON | st.lists(ENTRY, max_size=4)}))
def test_any_json_is_a_list_or_a_usage_error(body: Any) -> None:
    try:
        found = described(json.dumps(body).encode())
    except UsageError:
        return
    assert all(isinstance(name, str) for name in found)
    assert all(it.prompt is None or it.prompt >= 1 for it in found.values())


VALUE = st.text() | st.fixed_dictionaries(
    {"ent": st.just("300") | st.text(), "rem": st.floats().map(str) | st.text()},
    optional={"rst": st.datetimes().map(lambda it: it.isoformat()) | st.text()},
).map(lambda it: urlencode(it, errors="replace"))
FIELD = st.sampled_from(["x-quota-snapshot-premium_models", "x-usage-ratelimit-weekly"])


@given(st.lists(st.tuples(FIELD | st.text(), VALUE)))
def test_any_headers_are_windows(headers: list[tuple[str, str]]) -> None:
    windows = PROVIDER.read_limits(tuple(headers), NOW)
    assert all(window.source is Source.HEADER for window in windows)
