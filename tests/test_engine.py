import asyncio
import json
import logging
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from core import providers
from core.config import parse
from core.continuity import SESSIONS
from core.credentials import Credentials
from core.engine import Engine, Forward
from core.errors import UsageError
from core.match import VIRTUAL_HOST
from core.model import (
    Ask,
    Credential,
    Explanation,
    Headers,
    HttpRequest,
    HttpResponse,
    NoRoute,
    Refusal,
    Route,
    Source,
    Usage,
    Window,
    Wire,
)
from core.observe import Tap
from core.provider import Provider
from core.simulator import SCENARIOS, Simulator
from core.state import ModelsRead, UsageRead
from core.store import Store

NOW = 1_795_000_000.0
WEEK = 604_800.0
KEY, BEARER, SEAT = "sk-ant-api-SECRET", "sk-ant-oat-SECRET", "gho_SECRET"
SIGNED_IN: dict[str, Any] = {
    "anthropic": {"type": "oauth", "access": BEARER, "refresh": "r-SECRET", "expires": 0},
    "github-copilot": {"type": "oauth", "access": SEAT, "refresh": SEAT, "expires": 0},
}
MODELS = """
models:
  claude-sonnet-4-5: {providers: [anthropic, github-copilot]}
  claude-opus-4-5: {providers: [anthropic, github-copilot]}
"""
OAUTH = "providers: {anthropic: {oauth: true}}\n" + MODELS
ASK = Ask(Wire.MESSAGES, "claude-sonnet-4-5")


@dataclass
class Clock:
    now: float = NOW

    def __call__(self) -> float:
        return self.now


class Rig:
    """An engine on a folder of its own, both subscriptions signed in unless told otherwise."""

    def __init__(
        self,
        folder: Path,
        config: str = OAUTH,
        auth: dict[str, Any] | None = None,
        **environ: str,
    ) -> None:
        self.folder = folder
        self.clock = Clock()
        content = json.dumps(SIGNED_IN if auth is None else auth)
        variables = {"OPENCODE_AUTH_CONTENT": content} | environ
        self.engine = Engine(
            parse(config, "mitm.yaml", providers.known().keys()),
            Credentials(variables, folder / "data"),
            Store(folder / "state"),
            clock=self.clock,
        )

    def uses(self, **used: float) -> None:
        """Weeks half over, by provider."""
        for subject in self.engine.subjects():
            name = subject.provider.id
            if (percent := used.get(name.replace("-", "_"))) is not None:
                window = Window(
                    "seven_day", percent, NOW + WEEK / 2, WEEK, Source.ENDPOINT, self.clock()
                )
                usage = Usage((window,))
                self.engine.knowledge.apply(
                    UsageRead(subject.account, usage, self.clock(), self.clock() + 300)
                )

    def copilot_lists(self, *models: str) -> None:
        [account] = [s.account for s in self.engine.subjects() if s.provider.id != "anthropic"]
        self.engine.knowledge.apply(ModelsRead(account, models, NOW))

    def plan(self, request: HttpRequest | None = None, peer: str | None = "127.0.0.1") -> Any:
        return self.engine.plan(request or request_for(), peer=peer)

    def forward(self, request: HttpRequest | None = None) -> Forward:
        planned = self.plan(request)
        assert isinstance(planned, Forward)
        return planned

    def answer(self, request: HttpRequest | None = None) -> tuple[int, dict[str, str], str]:
        planned = self.plan(request)
        assert isinstance(planned, HttpResponse)
        return told(planned)


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    return Rig(tmp_path)


BODY = b'{ "model":"limit-router/claude-sonnet-4-5","max_tokens":1, "messages":[%s]}'
PERSON = b'{"role":"user","content":"Hello"}'
TOOL = b'{"role":"user","content":[{"type":"tool_result","tool_use_id":"t","content":"x"}]}'


def request_for(
    body: bytes = BODY % PERSON, *headers: tuple[str, str], host: str = VIRTUAL_HOST
) -> HttpRequest:
    fields = (("content-type", "application/json"), ("anthropic-version", "2023-06-01"), *headers)
    return HttpRequest("POST", "https", host, 443, "/v1/messages", fields, body)


def told(response: HttpResponse) -> tuple[int, dict[str, str], str]:
    error = json.loads(response.body)
    assert error["type"] == "error", "in the caller's own wire format"
    return response.status, dict(response.headers), error["error"]["message"]


# From a request to where it goes


def test_to_anthropic(rig: Rig) -> None:
    rig.uses(anthropic=10, github_copilot=60)
    forward = rig.forward(request_for(BODY % PERSON, ("authorization", "Bearer client's")))
    body = BODY.replace(b"limit-router/", b"") % PERSON
    assert forward.request == HttpRequest(
        "POST",
        "https",
        "api.anthropic.com",
        443,
        "/v1/messages",
        (
            ("content-type", "application/json"),
            ("anthropic-version", "2023-06-01"),
            ("anthropic-beta", "oauth-2025-04-20"),
            ("accept-encoding", "identity"),
            ("content-length", str(len(body))),
        ),
        body,
    )
    assert forward.authorization == (("authorization", f"Bearer {BEARER}"),)
    assert forward.ask == ASK
    assert forward.response_headers == (
        ("x-limit-router-provider", "anthropic"),
        ("x-limit-router-model", "claude-sonnet-4-5"),
        (
            "x-limit-router-reason",
            (
                "anthropic: seven_day 10.0% used, 40.0 points behind pace, resets in 3 d 12 h; "
                "github-copilot: seven_day 60.0% used, 10.0 points ahead of pace, "
                "resets in 3 d 12 h"
            ),
        ),
        ("x-limit-router-attempts", "1"),
        ("x-limit-router-request", forward.request_id),
    )


def test_to_copilot(rig: Rig) -> None:
    rig.uses(anthropic=60, github_copilot=10)
    forward = rig.forward()
    headers = dict(forward.request.headers)
    assert forward.request.origin == ("https", "api.githubcopilot.com", 443)
    assert forward.request.path == "/v1/messages"
    assert json.loads(forward.request.body)["model"] == "claude-sonnet-4.5"
    assert headers["x-initiator"] == "user"
    assert "anthropic-beta" not in headers
    assert forward.authorization == (("authorization", f"Bearer {SEAT}"),)
    assert dict(forward.response_headers)["x-limit-router-model"] == "claude-sonnet-4.5"


def test_to_an_enterprise(tmp_path: Path) -> None:
    auth = {"github-copilot": SIGNED_IN["github-copilot"] | {"enterpriseUrl": "company.ghe.com"}}
    rig = Rig(tmp_path, auth=auth)
    assert rig.forward().request.origin == ("https", "copilot-api.company.ghe.com", 443)
    [subject] = rig.engine.subjects()
    assert subject.usage_url == "https://api.company.ghe.com/copilot_internal/user"


def test_to_a_configured_address(tmp_path: Path) -> None:
    section = "{base_url: 'http://127.0.0.1:8080/p', usage_url: 'http://127.0.0.1:8080/u'}"
    rig = Rig(tmp_path, f"providers: {{github-copilot: {section}}}\n{MODELS}")
    forward = rig.forward()
    assert forward.request.origin == ("http", "127.0.0.1", 8080)
    assert forward.request.path == "/p/v1/messages"
    assert {s.usage_url for s in rig.engine.subjects()} == {
        "https://api.anthropic.com/api/oauth/usage",
        "http://127.0.0.1:8080/u",
    }


def test_in_the_spelling_that_the_configuration_gives(tmp_path: Path) -> None:
    config = "models: {smart: {providers: {github-copilot: my-cläude}}}"
    rig = Rig(tmp_path, config)
    forward = rig.forward(request_for(b'{"model":"limit-router/smart","messages":[]}'))
    assert json.loads(forward.request.body)["model"] == "my-cläude"
    headers = forward.response_headers
    assert dict(headers)["x-limit-router-model"] == "my-cl?ude"
    assert all(value.isascii() and value.isprintable() for _, value in headers)


def test_what_is_not_ours_is_left_alone(rig: Rig) -> None:
    other = request_for(b'{"model":"claude-sonnet-4-5"}', host="api.anthropic.com")
    assert rig.plan(other) is None
    assert rig.plan(other, peer="192.0.2.1") is None


def test_a_client_may_name_an_intercepted_host(rig: Rig) -> None:
    rig.uses(anthropic=60, github_copilot=10)
    forward = rig.forward(request_for(host="api.anthropic.com"))
    assert forward.request.host == "api.githubcopilot.com"


def test_what_we_can_answer_ourselves_is_answered(rig: Rig) -> None:
    listing = rig.plan(HttpRequest("GET", "https", VIRTUAL_HOST, 443, "/v1/models"))
    assert [it["id"] for it in json.loads(listing.body)["data"]] == list(rig.engine.config.models)


def test_a_key_that_stands_twice_where_it_would_be_edited_is_a_400(rig: Rig) -> None:
    rig.uses(anthropic=60, github_copilot=10)
    tools = b'[{"name":"a","name":"b","input_schema":{}}]'
    body = b'{"model":"claude-opus-4-5","messages":[],"tools":' + tools + b"}"
    status, _, message = rig.answer(request_for(body))
    assert status == 400
    assert message == "the body is not JSON that can be routed: the key 'name' stands twice"


def test_an_unknown_model_names_what_there_is(rig: Rig) -> None:
    status, _, message = rig.answer(request_for(b'{"model":"limit-router/gpt","messages":[]}'))
    assert status == 404
    assert "claude-sonnet-4-5, claude-opus-4-5" in message


def test_a_body_that_cannot_be_edited_safely_is_refused(rig: Rig) -> None:
    rig.uses(anthropic=60, github_copilot=10)
    tools = b'{"model":"limit-router/claude-sonnet-4-5","messages":[],"tools":[{"a":1,"a":2}]}'
    status, _, message = rig.answer(request_for(tools))
    assert (status, "JSON that can be routed" in message) == (400, True)


class Fickle(Credentials):
    """Signs out after so many looks."""

    looks = 2

    def get(self, provider: Provider) -> Credential | None:
        self.looks -= 1
        return super().get(provider) if self.looks >= 0 else None


def test_a_sign_in_that_goes_away_in_between_is_not_guessed_at(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    variables = {"OPENCODE_AUTH_CONTENT": json.dumps(SIGNED_IN)}
    rig.engine.credentials = Fickle(variables, tmp_path)
    status, _, message = rig.answer()
    assert (status, message) == (503, "the sign-in of Anthropic changed just now; try again")


class Changing(Credentials):
    """Another person signs in between the decision and the request."""

    looks = 2

    def get(self, provider: Provider) -> Credential | None:
        self.looks -= 1
        found = super().get(provider)
        return found if self.looks >= 0 or found is None else replace(found, sign_in="another")


def test_a_sign_in_that_changes_in_between_is_not_taken_for_the_other(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    variables = {"OPENCODE_AUTH_CONTENT": json.dumps(SIGNED_IN)}
    rig.engine.credentials = Changing(variables, tmp_path)
    status, _, message = rig.answer()
    assert (status, message) == (503, "the sign-in of Anthropic changed just now; try again")


# The binding of a credential


@pytest.mark.parametrize(
    ("scheme", "host", "port", "path", "expected"),
    [
        ("https", "api.anthropic.com", 443, "/v1/messages", True),
        ("https", "API.Anthropic.COM", 443, "/v1/messages", True),
        ("http", "api.anthropic.com", 443, "/v1/messages", False),
        ("https", "api.anthropic.com", 8443, "/v1/messages", False),
        ("https", "api.anthropic.com.evil.example", 443, "/v1/messages", False),
        ("https", "api.githubcopilot.com", 443, "/v1/messages", False),
        ("https", "api.anthropic.com", 443, "/v1/messages?beta=true", False),
        ("https", "api.anthropic.com", 443, "/v1/messages/", False),
        ("https", "api.anthropic.com", 443, "/V1/messages", False),
    ],
)
def test_a_credential_goes_to_the_decided_target_alone(  # noqa: PLR0917
    rig: Rig,
    scheme: str,
    host: str,
    port: int,
    path: str,
    expected: bool,  # noqa: FBT001
) -> None:
    assert rig.forward().allows(scheme, host, port, path) is expected


def test_the_query_is_part_of_the_target(rig: Rig) -> None:
    forward = rig.forward(replace(request_for(), path="/v1/messages?beta=true"))
    assert forward.allows("https", "api.anthropic.com", 443, "/v1/messages?beta=true")
    assert not forward.allows("https", "api.anthropic.com", 443, "/v1/messages")


def test_a_token_is_shown_nowhere(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    auth = SIGNED_IN | {"anthropic": SIGNED_IN["anthropic"] | {"access": "has a space SECRET"}}
    with caplog.at_level(logging.DEBUG):
        rig = Rig(tmp_path, auth=auth, ANTHROPIC_API_KEY=KEY)

        async def fail(_: HttpRequest, credential: Headers) -> HttpResponse:
            assert "SECRET" in str(credential)
            raise UsageError("could not be asked")

        run(rig.engine, send=fail)
        shown = [repr(rig.forward()), str(rig.forward()), repr(rig.engine.subjects())]
        shown += [repr(rig.engine.state), rig.engine.summary(), *rig.engine.warnings()]
        shown += [repr(rig.plan(request_for(b"{"))), repr(rig.plan(peer="192.0.2.1"))]
        rig.engine.close()
    shown += [file.read_text() for file in (tmp_path / "state").iterdir()]
    shown += [caplog.text]
    assert [text for text in shown if "SECRET" in text] == []


# Nobody


def test_without_a_credential_the_sources_are_named(tmp_path: Path) -> None:
    status, headers, message = Rig(tmp_path, auth={}).answer()
    assert status == 503
    assert headers["x-should-retry"] == "false"
    assert message == (
        "limit-router has no credential for this model. Looked for anthropic in ANTHROPIC_API_KEY, "
        "OPENCODE_AUTH_CONTENT; for github-copilot in GITHUB_COPILOT_TOKEN, OPENCODE_AUTH_CONTENT. "
        "Set one of the variables, or sign in with `opencode auth login`."
    )


def test_when_all_is_spent_the_earliest_relief_is_named(rig: Rig) -> None:
    rig.uses(anthropic=100, github_copilot=101)
    status, headers, message = rig.answer()
    assert (status, headers["retry-after"]) == (429, "60")
    assert message.startswith("every provider's quota is spent, earliest relief in 3 d 12 h (2026-")


@pytest.mark.parametrize(
    ("before", "seconds"), [(0.2, "1"), (1.2, "1"), (30, "30"), (59.4, "59"), (61, "60")]
)
def test_a_client_is_told_to_wait_a_minute_at_most(rig: Rig, before: float, seconds: str) -> None:
    rig.uses(anthropic=100, github_copilot=100)
    rig.clock.now = NOW + WEEK / 2 - before
    assert rig.answer()[1]["retry-after"] == seconds


def test_where_the_relief_is_not_known_it_is_a_minute(rig: Rig) -> None:
    nobody = NoRoute(Refusal.EXHAUSTED, lambda: Explanation("every provider's quota is spent", ()))
    response = rig.engine._nobody(request_for(), nobody)
    assert told(response)[1]["retry-after"] == "60"


# What stands against a candidate


def problems(rig: Rig, ask: Ask = ASK) -> dict[str, str | None]:
    return {it.provider: it.problem for it in rig.engine.candidates(ask)}


FORBIDDEN = (
    "Anthropic forbids Pro/Max sign-ins in third-party clients; "
    "set providers.anthropic.oauth to true to route to it all the same"
)


def test_a_subscription_without_consent_is_not_routed_to(tmp_path: Path) -> None:
    rig = Rig(tmp_path, MODELS)
    rig.uses(anthropic=0, github_copilot=99)
    forward = rig.forward()
    assert forward.route.account.provider == "github-copilot"
    assert f"anthropic: {FORBIDDEN}" in forward.route.reason
    assert f"anthropic is not routed to: {FORBIDDEN}" in rig.engine.warnings()


def test_but_its_usage_is_read_and_shown(tmp_path: Path) -> None:
    rig = Rig(tmp_path, MODELS)
    asked: list[str] = []

    async def send(request: HttpRequest, _: Headers) -> HttpResponse:
        asked.append(request.host + request.path)
        body = {"seven_day": {"utilization": 10, "resets_at": "2026-11-20T00:00:00Z"}}
        return HttpResponse(200, (), json.dumps(body).encode())

    run(rig.engine, send=send)
    assert "api.anthropic.com/api/oauth/usage" in asked
    assert "anthropic (known)" in rig.engine.summary()
    decision = rig.engine.decide(ASK)
    [verdict] = [v for v in decision.verdicts if v.candidate.provider == "anthropic"]
    assert [(seen.window.name, seen.window.used_percent) for seen in verdict.windows] == [
        ("seven_day", 10.0)
    ]


def test_an_api_key_needs_no_consent_and_comes_last(tmp_path: Path) -> None:
    rig = Rig(tmp_path, MODELS, ANTHROPIC_API_KEY=KEY)
    rig.uses(github_copilot=99)
    assert rig.forward().route.account.provider == "github-copilot"
    rig.uses(github_copilot=100)
    forward = rig.forward()
    assert forward.authorization == (("x-api-key", KEY),)
    assert "oauth-2025-04-20" not in str(forward.request.headers)


@pytest.mark.parametrize(("later", "expired"), [(-0.001, False), (0, True), (60, True)])
def test_an_expired_sign_in_is_not_used(tmp_path: Path, later: float, expired: bool) -> None:  # noqa: FBT001
    auth = SIGNED_IN | {"anthropic": SIGNED_IN["anthropic"] | {"expires": int(NOW * 1000)}}
    rig = Rig(tmp_path, auth=auth)
    rig.clock.now = NOW + later
    said = "the sign-in in OPENCODE_AUTH_CONTENT has expired" if expired else None
    assert problems(rig) == {"anthropic": said, "github-copilot": None}


def test_a_model_that_is_not_in_the_accounts_list(rig: Rig) -> None:
    assert problems(rig) == {"anthropic": None, "github-copilot": None}
    rig.copilot_lists("claude-opus-4.5", "claude-sonnet-4.6")
    said = "claude-sonnet-4.5 is not in the account's model list"
    assert problems(rig) == {"anthropic": None, "github-copilot": said}
    assert problems(rig, replace(ASK, model="claude-opus-4-5"))["github-copilot"] is None
    rig.uses(anthropic=100, github_copilot=0)
    assert rig.answer()[0] == 429


def test_a_list_of_nothing_is_a_list(rig: Rig) -> None:
    rig.copilot_lists()
    assert problems(rig)["github-copilot"] is not None


def test_a_wire_that_nobody_speaks(rig: Rig) -> None:
    said = "does not speak openai-chat"
    assert problems(rig, replace(ASK, wire=Wire.CHAT)) == dict.fromkeys(
        ("anthropic", "github-copilot"), said
    )


def test_a_request_that_a_provider_would_refuse_goes_elsewhere(rig: Rig) -> None:
    rig.uses(anthropic=99, github_copilot=0)
    prefill = BODY % (PERSON + b',{"role":"assistant","content":"{"}')
    assert rig.forward(request_for(prefill)).route.account.provider == "anthropic"


def test_nobody_for_mixed_reasons_says_each(tmp_path: Path) -> None:
    rig = Rig(tmp_path, MODELS, auth={"anthropic": SIGNED_IN["anthropic"]})
    status, _, message = rig.answer()
    assert status == 503
    assert message == (
        f"no provider can serve this model: anthropic: {FORBIDDEN}; github-copilot: no credential"
    )


# Who may be routed


@pytest.mark.parametrize(
    ("peer", "admitted"),
    [
        ("127.0.0.1", True),
        ("127.8.9.10", True),
        ("::1", True),
        ("::ffff:127.0.0.1", True),
        ("::ffff:7f00:1", True),
        (None, True),  # a replay in mitmweb has no peer
        ("10.0.0.1", False),
        ("::ffff:10.0.0.1", False),
        ("192.0.2.1", False),
        ("fe80::1%eth0", False),
        ("::", False),
        ("0.0.0.0", False),
        ("", False),
        ("localhost", False),
        ("127.0.0.1.evil.example", False),
        ("127.1", False),
    ],
)
def test_only_this_machine_is_admitted(rig: Rig, peer: str | None, admitted: bool) -> None:  # noqa: FBT001
    assert rig.engine.admits(peer) is admitted
    planned = rig.plan(peer=peer)
    if admitted:
        assert isinstance(planned, Forward)
    else:
        status, _, message = told(planned)
        assert status == 403
        assert "--listen-host 127.0.0.1" in message


@pytest.mark.parametrize(
    ("peer", "admitted"),
    [
        ("10.1.2.3", True),
        ("::ffff:10.1.2.3", True),
        ("fe80::1%eth0", True),
        ("fe80::1", True),
        ("11.0.0.1", False),
        ("127.0.0.1", False),
    ],
)
def test_or_the_networks_that_the_configuration_names(
    tmp_path: Path,
    peer: str,
    admitted: bool,  # noqa: FBT001
) -> None:
    config = "allow_clients: [10.0.0.0/8, 'fe80::/10']\n" + OAUTH
    assert Rig(tmp_path, config).engine.admits(peer) is admitted


@pytest.mark.parametrize(
    "request_",
    [
        request_for(b"{"),
        request_for(b'{"model":"limit-router/none"}'),
        HttpRequest("GET", "https", VIRTUAL_HOST, 443, "/v1/models"),
        HttpRequest("GET", "https", VIRTUAL_HOST, 443, "/v1/messages"),
    ],
)
def test_a_stranger_learns_nothing(rig: Rig, request_: HttpRequest) -> None:
    planned = rig.plan(request_, peer="192.0.2.1")
    assert planned.status == 403
    assert b"claude-sonnet" not in planned.body


# What is intercepted

USUAL = {(VIRTUAL_HOST, 443), ("api.anthropic.com", 443), ("api.githubcopilot.com", 443)}


def test_what_we_route_and_what_we_route_to_is_intercepted(rig: Rig) -> None:
    assert set(rig.engine.intercepted()) == USUAL


def test_without_sign_ins_too(tmp_path: Path) -> None:
    assert set(Rig(tmp_path, auth={}).engine.intercepted()) == USUAL


def test_an_enterprises_host_as_well_as_the_usual_one(tmp_path: Path) -> None:
    auth = {"github-copilot": SIGNED_IN["github-copilot"] | {"enterpriseUrl": "company.ghe.com"}}
    hosts = Rig(tmp_path, auth=auth).engine.intercepted()
    assert set(hosts) == USUAL | {("copilot-api.company.ghe.com", 443)}


def test_a_configured_host_with_its_port_and_nothing_without_tls(tmp_path: Path) -> None:
    section = "{anthropic: {base_url: 'https://proxy.example:8443/a'},"
    section += " github-copilot: {base_url: 'http://127.0.0.1:1/b'}}"
    hosts = Rig(tmp_path, f"providers: {section}\n{MODELS}").engine.intercepted()
    assert set(hosts) == USUAL | {("proxy.example", 8443)}


def test_usage_hosts_are_never_intercepted(tmp_path: Path) -> None:
    auth = {"github-copilot": SIGNED_IN["github-copilot"] | {"enterpriseUrl": "company.ghe.com"}}
    names = {host for host, _ in Rig(tmp_path, auth=auth).engine.intercepted()}
    assert names.isdisjoint({"api.github.com", "github.com", "api.company.ghe.com"})


# What answers tell


def limits(share: float) -> Headers:
    prefix = "Anthropic-RateLimit-Unified-7d"
    reset = str(int(NOW + WEEK / 2))
    return ((f"{prefix}-utilization", str(share)), (f"{prefix}-reset", reset))


def test_the_headers_of_an_answer_are_the_newest_reading(rig: Rig) -> None:
    rig.uses(anthropic=10, github_copilot=60)
    forward = rig.forward()
    rig.clock.now = NOW + 1
    rig.engine.observe_headers(forward, 429, limits(1.01))
    known = rig.engine.state.of(forward.route.account).windows["seven_day"]
    assert known == Window("seven_day", 101.0, NOW + WEEK / 2, WEEK, Source.HEADER, NOW + 1)
    assert rig.forward().route.account.provider == "github-copilot"


def test_headers_without_limits_change_nothing(rig: Rig) -> None:
    rig.uses(anthropic=10, github_copilot=60)
    forward = rig.forward()
    before = rig.engine.state
    rig.engine.observe_headers(forward, 200, (("content-type", "text/plain"),))
    assert rig.engine.state is before


def test_a_tap_reads_the_wire_of_the_ask(rig: Rig) -> None:
    tap = rig.engine.tap(rig.forward(), (("content-type", "application/json"),))
    assert isinstance(tap, Tap)
    tap.feed(b'{"usage":{"input_tokens":3,"output_tokens":4}}', NOW)
    assert (tap.close(whole=True).tokens.input, rig.engine.clock()) == (3, NOW)


def turn(session: str, last: bytes = PERSON, model: str = "claude-sonnet-4-5") -> HttpRequest:
    body = (BODY % last).replace(b"claude-sonnet-4-5", model.encode())
    return request_for(body, ("X-Session-Id", session))


def serving(rig: Rig, request: HttpRequest) -> str:
    return rig.forward(request).route.account.provider


def served(rig: Rig, request: HttpRequest, status: int = 200) -> str:
    forward = rig.forward(request)
    rig.engine.observe_headers(forward, status, ())
    return forward.route.account.provider


def test_a_session_in_a_tool_loop_stays_when_the_pace_changes(rig: Rig) -> None:
    rig.uses(anthropic=10, github_copilot=60)
    assert served(rig, turn("s")) == "anthropic"
    rig.clock.now = NOW + 1
    rig.uses(anthropic=99, github_copilot=0)
    assert served(rig, turn("s", TOOL)) == "anthropic"
    assert serving(rig, turn("other", TOOL)) == "github-copilot"
    assert served(rig, turn("s")) == "github-copilot", "a new turn moves"
    rig.clock.now = NOW + 2
    rig.uses(anthropic=0, github_copilot=99)
    assert serving(rig, turn("s", TOOL)) == "github-copilot"
    rig.clock.now = NOW + 3
    rig.uses(github_copilot=100)
    assert serving(rig, turn("s", TOOL)) == "anthropic", "unless it is excluded"


@pytest.mark.parametrize(
    ("status", "remembered"), [(200, True), (302, True), (400, False), (429, False), (529, False)]
)
def test_a_session_is_remembered_where_it_was_answered(
    rig: Rig,
    status: int,
    remembered: bool,  # noqa: FBT001
) -> None:
    rig.uses(anthropic=10, github_copilot=60)
    served(rig, turn("s"), status)
    rig.clock.now = NOW + 1
    rig.uses(anthropic=90, github_copilot=10)
    expected = "anthropic" if remembered else "github-copilot"
    assert serving(rig, turn("s", TOOL)) == expected


def test_another_model_of_the_session_does_not_move_its_tool_loop(rig: Rig) -> None:
    """OpenCode asks a small model for the title, under the same session."""
    rig.uses(anthropic=10, github_copilot=60)
    served(rig, turn("s"))
    rig.clock.now = NOW + 1
    rig.uses(anthropic=90, github_copilot=10)
    assert served(rig, turn("s", model="claude-opus-4-5")) == "github-copilot"
    assert serving(rig, turn("s", TOOL)) == "anthropic"


def test_the_sessions_that_are_remembered_are_bounded(rig: Rig) -> None:
    rig.uses(anthropic=10, github_copilot=60)
    forward = rig.forward(turn("first"))
    rig.engine.observe_headers(forward, 200, ())
    for n in range(SESSIONS + 1):
        ask = replace(forward.ask, session=str(n))
        rig.engine.observe_headers(replace(forward, ask=ask), 200, ())
        if n == SESSIONS // 2:
            rig.engine.observe_headers(
                replace(forward, ask=replace(forward.ask, session="0")), 200, ()
            )
    rig.clock.now = NOW + 1
    rig.uses(anthropic=90, github_copilot=10)
    assert len(rig.engine.conversations.sessions) == SESSIONS
    assert serving(rig, turn("first", TOOL)) == "github-copilot", "forgotten: the longest unseen"
    assert serving(rig, turn("0", TOOL)) == "anthropic", "kept: seen again"
    assert serving(rig, turn("1", TOOL)) == "github-copilot", "forgotten: the next one"
    assert serving(rig, turn("2", TOOL)) == "anthropic"


def test_a_request_without_a_session_is_not_remembered(rig: Rig) -> None:
    rig.uses(anthropic=10, github_copilot=60)
    served(rig, request_for())
    assert len(rig.engine.conversations.sessions) == 0


def test_readings_belong_to_a_sign_in(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    rig.uses(anthropic=100, github_copilot=50)
    rig.engine.close()
    auth = SIGNED_IN | {"anthropic": SIGNED_IN["anthropic"] | {"refresh": "another"}}
    again = Rig(tmp_path, auth=auth)
    whys = [v.why for v in again.engine.decide(ASK).verdicts]
    assert whys == ["seven_day 50.0% used, on pace, resets in 3 d 12 h", "usage unknown"]


# What is said at start


@pytest.mark.parametrize(
    ("config", "auth", "said"),
    [
        (MODELS, {}, "2 models, usage of no account"),
        (MODELS, SIGNED_IN, "2 models, usage of anthropic (unknown), github-copilot (unknown)"),
        (
            "models: {m: {providers: [anthropic]}}",
            {"anthropic": SIGNED_IN["anthropic"]},
            "1 model, usage of anthropic (unknown)",
        ),
    ],
)
def test_the_summary(tmp_path: Path, config: str, auth: dict[str, Any], said: str) -> None:
    assert Rig(tmp_path, config, auth).engine.summary() == said


def test_the_summary_says_what_is_known(rig: Rig) -> None:
    rig.uses(github_copilot=1)
    said = "2 models, usage of anthropic (unknown), github-copilot (known)"
    assert rig.engine.summary() == said


def test_nothing_to_warn_of(rig: Rig) -> None:
    assert rig.engine.warnings() == ()


def test_no_credential_is_warned_of(tmp_path: Path) -> None:
    [warning] = Rig(tmp_path, auth={}).engine.warnings()
    assert warning.startswith("no credential found. Looked for anthropic in ANTHROPIC_API_KEY, ")


def test_a_credential_that_cannot_be_used_is_warned_of_at_once(tmp_path: Path) -> None:
    engine = Rig(tmp_path, auth={}, GITHUB_COPILOT_TOKEN="two words").engine
    first, second = engine.warnings()
    assert first.startswith("GITHUB_COPILOT_TOKEN: the token for github-copilot holds a space")
    assert second.startswith("no credential found.")


def test_what_has_no_effect_yet_is_warned_of(tmp_path: Path) -> None:
    engine = Rig(tmp_path, OAUTH + "discover: all\n").engine
    assert engine.warnings() == ("discover in the configuration is not in effect in this version",)


# At work


def run(engine: Engine, **options: Any) -> None:
    """Until every account was asked."""

    async def main() -> None:
        ready = asyncio.Event()
        task = asyncio.create_task(engine.run(ready.set, **options))
        try:
            async with asyncio.timeout(10):
                await ready.wait()
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    asyncio.run(main())


@pytest.mark.parametrize("scenario", SCENARIOS.values(), ids=lambda it: it.name)
def test_from_the_real_endpoints_to_the_winner(tmp_path: Path, scenario: Any) -> None:
    """Over sockets, by the strict simulator: usage, model list, parsing, state, decision."""
    clock = Clock()
    with Simulator(scenario, clock=clock) as sim:
        engine = Engine(
            parse(yaml.safe_dump(sim.config()), "mitm.yaml", providers.known().keys()),
            Credentials({"OPENCODE_AUTH_CONTENT": sim.auth_content()}, tmp_path),
            Store(tmp_path / "state"),
            clock=clock,
        )
        run(engine)
        asked = {(it.provider, it.kind): it.status for it in sim.requests}
        planned = engine.plan(request_for(), peer="127.0.0.1")
        models = engine.state.of(engine.subjects()[1].account).models
    known = 200 if scenario.copilot is not None else 404
    assert asked == {
        ("anthropic", "usage"): 200,
        ("github-copilot", "usage"): known,
        ("github-copilot", "models"): 200,
    }
    assert models is not None
    assert {"claude-sonnet-4.5", "claude-opus-4.5"} <= set(models)
    if scenario.winner is None:
        assert told(planned)[0] == 429
    else:
        assert isinstance(planned, Forward)
        assert planned.route.account.provider == scenario.winner
        assert isinstance(planned.route, Route)
    engine.close()
    state = (tmp_path / "state" / "state.json").read_text()
    assert not any(token in state for token in sim.tokens.values())


def test_only_the_providers_that_are_given_are_known(tmp_path: Path) -> None:
    copilot = providers.known()["github-copilot"]
    engine = Engine(
        parse("models: {m: {providers: [github-copilot]}}", "mitm.yaml", ["github-copilot"]),
        Credentials({"GITHUB_COPILOT_TOKEN": SEAT}, tmp_path),
        Store(tmp_path / "state"),
        known={"github-copilot": copilot},
    )
    assert engine.intercepted() == (("api.githubcopilot.com", 443), (VIRTUAL_HOST, 443))
    assert [it.provider.id for it in engine.subjects()] == ["github-copilot"]
