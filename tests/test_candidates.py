"""What stands against a candidate before any of its windows counts."""

import asyncio
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from test_engine import BODY, NOW, PERSON, Rig, request_for, told

from core import providers
from core.candidates import Candidates
from core.catalogfile import CatalogFile
from core.config import parse
from core.credentials import Credentials
from core.engine import Engine
from core.fit import MOST_BYTES_PER_TOKEN
from core.model import Abilities, Account, Ask, NoRoute, Route, Standing, Wire
from core.simulator import SCENARIOS, Simulator
from core.state import ModelsRead
from core.store import Store
from core.transport import Transport

COPILOT_S = "claude-sonnet-4.5"
ASK = Ask(Wire.MESSAGES, "claude-sonnet-4-5")
SMALL = Abilities(context=200_000, prompt=168_000, output=32_000, images=True, tools=True)


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    """Copilot is far behind its pace: without anything against it, it serves."""
    rig = Rig(tmp_path)
    rig.uses(anthropic=40, github_copilot=5)
    return rig


def account(rig: Rig, provider: str) -> Account:
    return next(s.account for s in rig.engine.subjects() if s.provider.id == provider)


def copilot_says(rig: Rig, abilities: Abilities) -> None:
    seat = account(rig, "github-copilot")
    rig.engine.knowledge.apply(ModelsRead(seat, (COPILOT_S,), NOW, {COPILOT_S: abilities}))


def lists(rig: Rig, catalogue: dict[str, Any]) -> None:
    """The catalogue, by provider and spelling."""
    path = rig.folder / "models.json"
    path.write_text(json.dumps({key: {"models": models} for key, models in catalogue.items()}))
    rig.engine._catalog = CatalogFile(path, tuple(catalogue))


def problems(rig: Rig, ask: Ask = ASK, standing: Standing | None = None) -> dict[str, str | None]:
    return {it.provider: it.problem for it in rig.engine.candidates(ask, standing)}


UNFIT = {
    "images": (
        replace(ASK, images=True),
        Abilities(images=False),
        "takes no images",
    ),
    "tools": (
        replace(ASK, fields=frozenset({"tools"})),
        Abilities(tools=False),
        "calls no tools",
    ),
    "thinking": (
        replace(ASK, thinking=True),
        Abilities(thinking=False),
        "does not think",
    ),
    "a long answer": (
        replace(ASK, max_tokens=64_000),
        SMALL,
        "answers with at most 32,000 tokens, and 64,000 are asked for",
    ),
    "a long prompt": (
        replace(ASK, size_bytes=int(170_000 * MOST_BYTES_PER_TOKEN)),
        SMALL,
        "takes at most 168,000 tokens, and the request has more than 170,000",
    ),
}


@pytest.mark.parametrize("case", UNFIT)
def test_who_cannot_do_it_is_out_before_scoring_and_the_other_serves(rig: Rig, case: str) -> None:
    ask, abilities, why = UNFIT[case]
    decision = rig.engine.decide(ask)
    assert isinstance(decision, Route)
    assert decision.account.provider == "github-copilot"
    copilot_says(rig, abilities)
    decision = rig.engine.decide(ask)
    assert isinstance(decision, Route)
    assert decision.account.provider == "anthropic"
    first, last = decision.verdicts
    assert (first.candidate.provider, first.available) == ("anthropic", True)
    assert (last.candidate.problem, last.available, last.why) == (why, False, why)
    assert decision.reason == f"anthropic: {first.why}; github-copilot: {why}"


def test_what_the_request_itself_says_is_enough(rig: Rig) -> None:
    """From the bytes of a request to who serves it."""
    copilot_says(rig, SMALL)
    long = (BODY % PERSON).replace(b'"max_tokens":1', b'"max_tokens":64000')
    assert rig.forward(request_for(long)).route.account.provider == "anthropic"
    assert rig.forward(request_for()).route.account.provider == "github-copilot"


def test_a_conversation_that_has_grown_too_long_moves_to_who_takes_it(rig: Rig) -> None:
    copilot_says(rig, SMALL)
    held = Standing(account(rig, "github-copilot").id, 170_000, NOW + 300)
    why = "takes at most 168,000 tokens, and 170,000 are cached already"
    assert problems(rig, standing=held) == {"anthropic": None, "github-copilot": why}


def test_nobody_can_do_it(rig: Rig) -> None:
    copilot_says(rig, SMALL)
    lists(rig, {"anthropic": {"claude-sonnet-4-5": {"limit": {"output": 64_000}}}})
    ask = replace(ASK, max_tokens=128_000)
    decision = rig.engine.decide(ask)
    assert isinstance(decision, NoRoute)
    assert {v.candidate.provider: v.why for v in decision.verdicts} == {
        "anthropic": "answers with at most 64,000 tokens, and 128,000 are asked for",
        "github-copilot": "answers with at most 32,000 tokens, and 128,000 are asked for",
    }
    long = (BODY % PERSON).replace(b'"max_tokens":1', b'"max_tokens":128000')
    status, _, message = told(rig.plan(request_for(long)))
    assert (status, "answers with at most 64,000 tokens" in message) == (503, True)


def test_the_catalogue_says_it_where_the_provider_does_not(rig: Rig) -> None:
    ask = replace(ASK, images=True, max_tokens=64_000)
    lists(
        rig,
        {
            "github-copilot": {
                COPILOT_S: {
                    "limit": {"context": 200_000, "output": 16_000},
                    "modalities": {"input": ["text"]},
                }
            }
        },
    )
    assert problems(rig, ask)["github-copilot"] == "takes no images"
    copilot_says(rig, Abilities(images=True))
    why = "answers with at most 16,000 tokens, and 64,000 are asked for"
    assert problems(rig, ask)["github-copilot"] == why
    copilot_says(rig, Abilities(images=True, output=64_000))
    assert problems(rig, ask)["github-copilot"] is None


def test_what_is_said_of_another_spelling_or_account_does_not_count(rig: Rig) -> None:
    seat, plan = account(rig, "github-copilot"), account(rig, "anthropic")
    spelled = (COPILOT_S, "claude-opus-4.5")
    nothing = {"claude-opus-4.5": Abilities(images=False)}
    rig.engine.knowledge.apply(ModelsRead(seat, spelled, NOW, nothing))
    rig.engine.knowledge.apply(ModelsRead(plan, None, NOW, {COPILOT_S: Abilities(images=False)}))
    assert problems(rig, replace(ASK, images=True)) == {"anthropic": None, "github-copilot": None}


def test_a_list_that_is_not_all_excludes_nobody(rig: Rig) -> None:
    rig.engine.knowledge.apply(ModelsRead(account(rig, "anthropic"), None, NOW, {"m": SMALL}))
    assert problems(rig)["anthropic"] is None


def test_what_stands_against_the_account_is_said_before_what_its_model_cannot_do(rig: Rig) -> None:
    seat = account(rig, "github-copilot")
    rig.engine.knowledge.apply(ModelsRead(seat, (), NOW, {COPILOT_S: Abilities(images=False)}))
    why = "claude-sonnet-4.5 is not in the account's model list"
    assert problems(rig, replace(ASK, images=True))["github-copilot"] == why


def test_candidates_stand_in_the_configuration_s_order_with_what_stands_against_them(
    tmp_path: Path,
) -> None:
    rig = Rig(tmp_path, "models: {claude-sonnet-4-5: {providers: [github-copilot, anthropic]}}")
    found = rig.engine.candidates(ASK)
    assert [it.provider for it in found] == ["github-copilot", "anthropic"]
    assert found[0].problem is None
    assert (found[1].problem or "").startswith("Anthropic forbids Pro/Max sign-ins")
    assert rig.engine.candidates(replace(ASK, wire=Wire.CHAT))[0].problem == (
        "does not speak openai-chat"
    )
    out = Rig(tmp_path / "out", auth={})
    assert [(it.account, it.problem) for it in out.engine.candidates(ASK)] == [
        (None, "no credential"),
        (None, "no credential"),
    ]


def test_a_sign_in_that_is_over_is_to_be_renewed(tmp_path: Path) -> None:
    signed_in = {"anthropic": {"type": "oauth", "access": "a", "refresh": "r", "expires": 1}}
    rig, hurried = Rig(tmp_path, auth=signed_in), []
    engine = rig.engine
    candidates = Candidates(
        engine.config,
        engine.accounts,
        engine._providers,
        engine.spending,
        {},
        engine.speeds,
        lambda: hurried.append(True),
    )
    found = candidates.of(ASK, engine.state, NOW)
    assert [it.problem is not None for it in found] == [True, True]
    assert hurried == [True]


def test_from_the_real_lists_to_who_serves(tmp_path: Path) -> None:
    """Over sockets, by the strict simulator: Anthropic's key and Copilot's seat, and their lists."""
    with Simulator(SCENARIOS["anthropic-high"]) as sim:
        engine = Engine(
            parse(yaml.safe_dump(sim.config()), "mitm.yaml", providers.known().keys()),
            Credentials(
                {
                    "OPENCODE_AUTH_CONTENT": sim.auth_content(),
                    "ANTHROPIC_API_KEY": sim.tokens["anthropic-api-key"],
                },
                tmp_path,
            ),
            Store(tmp_path / "state"),
        )

        async def poll() -> None:
            async with Transport() as transport:
                await engine.knowledge.poll(engine.askable, transport.send)

        asyncio.run(poll())
        asked = {(it.provider, it.kind): it.status for it in sim.requests}
    assert asked == {
        ("anthropic", "models"): 200,
        ("github-copilot", "usage"): 200,
        ("github-copilot", "models"): 200,
    }
    served = {}
    for tokens in (32_000, 64_000, 65_000):
        decision = engine.decide(replace(ASK, max_tokens=tokens))
        served[tokens] = decision.account.provider if isinstance(decision, Route) else None
    assert served == {32_000: "github-copilot", 64_000: "anthropic", 65_000: None}
    engine.close()
