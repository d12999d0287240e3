"""What the engine gives a decision to go by, and what it makes of one."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from test_engine import BODY, NOW, OAUTH, PERSON, Rig, request_for, told, turn

from core.model import Account, Tokens
from core.observe import Observation
from core.plan import Forward

KILO = Observation(True, NOW + 1.0, Tokens(1000, 40, 30_000, 1_000), None)


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    return Rig(tmp_path)


def account(rig: Rig, provider: str) -> Account:
    return next(s.account for s in rig.engine.subjects() if s.provider.id == provider)


def connected(rig: Rig, connection: str | None) -> Forward:
    planned = rig.engine.plan(request_for(), peer="127.0.0.1", connection=connection)
    assert isinstance(planned, Forward)
    rig.engine.observe_headers(planned, 200, ())
    return planned


def test_a_request_under_way_counts_until_its_end(rig: Rig) -> None:
    rig.uses(anthropic=10, github_copilot=60)
    forward = rig.forward()
    known = rig.engine.state.of(account(rig, "anthropic"))
    assert (known.in_flight, known.metered) == ((NOW,), {})
    rig.engine.observe_end(forward, KILO)
    known = rig.engine.state.of(account(rig, "anthropic"))
    assert known.in_flight == ()
    assert known.metered == {"claude-sonnet-4-5": {"0": 1000 + 200 + 3000 + 1250}}


def test_a_request_that_no_answer_came_to_is_over_too(rig: Rig) -> None:
    rig.uses(anthropic=10, github_copilot=60)
    rig.engine.observe_end(rig.forward(), None)
    known = rig.engine.state.of(account(rig, "anthropic"))
    assert (known.in_flight, known.metered) == ((), {})


def test_a_client_without_sessions_is_told_by_its_connection(rig: Rig) -> None:
    rig.uses(anthropic=45, github_copilot=48)
    assert connected(rig, "one").route.account.provider == "anthropic"
    rig.clock.now = NOW + 1
    rig.uses(anthropic=50, github_copilot=48)
    assert connected(rig, "one").route.account.provider == "anthropic", "2 points move nobody"
    assert connected(rig, "two").route.account.provider == "github-copilot"
    assert connected(rig, None).route.account.provider == "github-copilot"


def test_a_cache_keeps_a_conversation_until_it_lapses(rig: Rig) -> None:
    rig.uses(anthropic=45, github_copilot=48)
    rig.engine.observe_end(rig.forward(turn("s")), KILO)
    rig.clock.now = NOW + 1
    rig.uses(anthropic=95, github_copilot=40)
    stays = rig.forward(turn("s")).route
    assert stays.reason == "stays on anthropic: 31,000 cached tokens outweigh 125.0 points of pace"
    rig.clock.now = NOW + 400
    rig.uses(anthropic=95, github_copilot=40)
    assert rig.forward(turn("s")).route.account.provider == "github-copilot"


def test_an_unknown_account_is_tried_once(rig: Rig) -> None:
    rig.uses(anthropic=10)
    first, second = rig.forward(turn("one")).route, rig.forward(turn("two")).route
    assert (first.account.provider, first.explores) == ("github-copilot", True)
    assert (second.account.provider, second.explores) == ("anthropic", False)
    assert rig.engine.state.of(first.account).explored_at == NOW


def test_the_fastest_is_learned_from_the_answers(tmp_path: Path) -> None:
    rig = Rig(tmp_path, OAUTH + "policy: {mode: fastest}\n")
    rig.uses(anthropic=10, github_copilot=10)
    slow = replace(KILO, first_content_at=NOW + 9.0, tokens=Tokens(output=400))
    quick = replace(KILO, first_content_at=NOW + 0.5, tokens=Tokens(output=400))
    seen = {}
    for session, observation in (("one", slow), ("two", quick)):
        forward = rig.forward(turn(session))
        rig.clock.now = NOW + 12
        rig.engine.observe_end(forward, observation)
        rig.clock.now = NOW
        seen[session] = forward.route.account.provider
    assert seen == {"one": "anthropic", "two": "github-copilot"}, "each is tried first"
    assert rig.forward(turn("three")).route.account.provider == "github-copilot"


def test_a_pin_on_a_provider_that_the_model_has_not_is_refused(rig: Rig) -> None:
    planned: Any = rig.plan(request_for(BODY % PERSON, ("x-limit-router-provider", "zai")))
    assert told(planned)[0] == 400


def test_the_provider_s_settings_stand_in_its_candidate(tmp_path: Path) -> None:
    config = OAUTH.replace("oauth: true", "oauth: true, reserve: {seven_day: 20}, overage: true")
    rig = Rig(tmp_path, config)
    by = {it.provider: it for it in rig.engine.candidates(rig.forward().ask)}
    assert (dict(by["anthropic"].reserve), by["anthropic"].overage) == ({"seven_day": 20.0}, True)
    assert (dict(by["github-copilot"].reserve), by["github-copilot"].overage) == ({}, False)
