"""An API key with a budget, through the real mitmdump: what its answers cost, and what follows."""

import json
import subprocess

import httpx
import pytest
from mitm import VIRTUAL, Routing, environment, question, tool_path, until

from core.simulator import Recorded, Simulator

MODEL = "claude-sonnet-4-5"
PRICE = {"input": 3000, "output": 15000}


def ask(client: httpx.Client) -> httpx.Response:
    fields = {"anthropic-version": "2023-06-01"}
    return client.post(f"{VIRTUAL}/v1/messages", json=question(), headers=fields)


def cost(recorded: Recorded) -> float:
    """By the tokens as the provider counted them."""
    told = json.loads(recorded.response)["usage"]
    return (told["input_tokens"] * PRICE["input"] + told["output_tokens"] * PRICE["output"]) / 1e6


def usage(routing: Routing, variables: dict[str, str]):
    """What `limit-router usage --json` says of the key's account."""
    config = {"LIMIT_ROUTER_CONFIG": str(routing.proxy.folder / "mitm.yaml")}
    done = subprocess.run(
        [tool_path("limit-router"), "usage", "--provider", "anthropic", "--json"],
        env=environment(routing.proxy.folder / "home", variables | config),
        capture_output=True,
        check=True,
    )
    return json.loads(done.stdout)["providers"]["anthropic"]


@pytest.mark.parametrize("source", ["mitm.yaml", "OpenCode's cache"])
def test_the_budget_is_what_the_tokens_cost_and_ends_the_key_s_turn(start, tmp_path, source):
    cache = tmp_path / "cache" / "opencode" / "models.json"
    cache.parent.mkdir(parents=True)
    model = {"providers": ["anthropic"]}
    if source == "mitm.yaml":
        model["price"] = PRICE
    else:
        cache.write_text(json.dumps({"anthropic": {"models": {MODEL: {"cost": PRICE}}}}))
    with Simulator("under-pace") as sim:
        config = sim.config()
        config["models"] = {MODEL: model}
        config["providers"]["anthropic"]["budget"] = {"usd": 1.0, "per": "month"}
        variables = {
            "ANTHROPIC_API_KEY": sim.tokens["anthropic-api-key"],
            "XDG_CACHE_HOME": str(cache.parent.parent),
        }
        routing = start(sim=sim, config=config, env=variables)
        with routing.client() as client:
            assert ask(client).status_code == 200
            usd = cost(routing.served_one())
            assert 0 < usd < 1
            until(lambda: usage(routing, variables)["spent_usd"] > 0, "the state file")
            found = usage(routing, variables)
            assert found["spent_usd"] == pytest.approx(usd)
            assert (found["budget_usd"], found["unpriced"]) == (1.0, [])
            [window] = found["windows"]
            assert (window["name"], window["source"]) == ("budget", "declared")
            assert window["used_percent"] == pytest.approx(100 * usd)
            while (answer := ask(client)).status_code == 200:
                pass
        assert answer.status_code == 429
        assert "anthropic: budget is spent, resets in" in answer.json()["error"]["message"]
        assert routing.stop() == 0
        costs = [cost(recorded) for recorded in routing.served()]
        assert sum(costs[:-1]) < 1 <= sum(costs), "the last one served is what spends it"
        assert usage(routing, variables)["spent_usd"] == pytest.approx(sum(costs))
