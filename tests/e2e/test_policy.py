"""The policy of mitm.yaml, and the wish of a request, through the real mitmdump."""

import httpx
import pytest
from mitm import VIRTUAL, Routing, question

from core.simulator import Simulator

MODEL = "claude-sonnet-4-5"
VERSION = {"anthropic-version": "2023-06-01"}


def ask(client: httpx.Client, **fields: str) -> httpx.Response:
    return client.post(f"{VIRTUAL}/v1/messages", json=question(), headers={**VERSION, **fields})


def served_by(answer: httpx.Response) -> str:
    assert answer.status_code == 200, answer.text
    return answer.headers["x-limit-router-provider"]


def test_a_request_may_name_its_provider(over_pace: Routing) -> None:
    with over_pace.client() as client:
        pinned = ask(client, **{"x-limit-router-provider": "anthropic"})
        assert served_by(pinned) == "anthropic"
        assert "github-copilot: anthropic is pinned" in pinned.headers["x-limit-router-reason"]
        sent = {name.lower() for name, _ in over_pace.served_one().headers}
        assert not [name for name in sent if name.startswith("x-limit-router")]
        refused = ask(client, **{"x-limit-router-provider": "openrouter"})
    assert (refused.status_code, refused.json()["error"]["message"]) == (
        400,
        (
            "x-limit-router-provider names none of this model's providers, "
            "which are anthropic, github-copilot"
        ),
    )


@pytest.mark.parametrize(
    ("policy", "model", "provider"),
    [
        ({"mode": "priority"}, {}, "anthropic"),
        ({"mode": "priority"}, {"mode": "pace"}, "github-copilot"),
        ({}, {"pin": "anthropic"}, "anthropic"),
        ({"mode": "drain"}, {}, "anthropic"),
    ],
    ids=["its order", "the model's own mode", "a pin", "what resets soonest"],
)
def test_the_configured_policy_decides(start, policy, model, provider) -> None:
    with Simulator("over-pace") as sim:
        config = sim.config()
        config["policy"] = policy
        config["models"] = {MODEL: {"providers": ["anthropic", "github-copilot"], **model}}
        routing = start(sim=sim, config=config)
        with routing.client() as client:
            assert served_by(ask(client)) == provider


def test_a_reserve_is_kept(start) -> None:
    """The week of `over-pace` is 60 % used."""
    with Simulator("over-pace") as sim:
        config = sim.config()
        config["policy"] = {"mode": "priority"}
        config["providers"]["anthropic"]["reserve"] = {"seven_day": 45}
        routing = start(sim=sim, config=config)
        with routing.client() as client:
            answer = ask(client)
    assert served_by(answer) == "github-copilot"
    assert "seven_day is down to its reserve of 45%" in answer.headers["x-limit-router-reason"]
