"""A sign-in that expires, renewed by the real mitmdump and written back to OpenCode's file."""

import json
from pathlib import Path
from typing import Any

from mitm import READY, ask, until

from core.simulator import Fault, Simulator


def signed_in(folder: Path, sim: Simulator) -> tuple[Path, dict[str, Any]]:
    """OpenCode's own file, in which Anthropic's token has expired."""
    file = folder / "routing" / "data" / "opencode" / "auth.json"
    file.parent.mkdir(parents=True)
    found = json.loads(sim.auth_content())
    found["anthropic"] |= {"access": "acc-OLD-SECRET-SIM", "expires": 1000, "unknown": [1]}
    file.write_text(json.dumps(found))
    return file, found


def options(file: Path) -> dict[str, Any]:
    return {"signed_in": False, "env": {"XDG_DATA_HOME": str(file.parents[1])}}


def test_an_expired_sign_in_is_renewed_and_serves(start, tmp_path):
    with Simulator("under-pace") as sim:
        file, before = signed_in(tmp_path, sim)
        routing = start(sim=sim, **options(file))
        with routing.client() as client:
            assert ask(client).status_code == 200
        served = routing.served_one()
        assert served.provider == "anthropic"
        assert ("Authorization", f"Bearer {sim.tokens['anthropic']}") in served.headers
        after = json.loads(file.read_text())
        tokens = {
            "access": sim.tokens["anthropic"],
            "refresh": sim.refresh_tokens["anthropic"],
            "expires": after["anthropic"]["expires"],
        }
        assert after == before | {"anthropic": before["anthropic"] | tokens}
        assert "limit-router: Anthropic: the sign-in was renewed, for " in routing.proxy.log
        kept = [it for it in file.parent.iterdir() if it != file]
        routing.assert_secret(*kept)


def test_a_proxy_that_is_stopped_waits_for_the_tokens_that_are_on_their_way(start, tmp_path):
    with Simulator("under-pace") as sim:
        sim.inject(Fault(provider="tokens", delay_s=1.5))
        file, _ = signed_in(tmp_path, sim)
        routing = start(sim=sim, ready="listening at", **options(file))
        until(lambda: any("oauth/token" in it.path for it in sim.requests), "the question")
        assert READY not in routing.proxy.log
        routing.stop()
        after = json.loads(file.read_text())["anthropic"]
        assert after["access"] == sim.tokens["anthropic"]
        assert after["refresh"] == sim.refresh_tokens["anthropic"]
