"""The real OpenCode, unmodified, from npm: a tool call in the middle, and a title on the side."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest
from filelock import FileLock
from mitm import (
    CLIENT_MARK,
    REPOSITORY,
    VIRTUAL,
    Routing,
    assert_as_provider_wants,
    environment,
    field,
)

from core.simulator import SCENARIOS, Recorded

VERSION = "1.18.33"
FOLDER = REPOSITORY / ".cache" / "opencode"
BINARY = FOLDER / "node_modules" / ".bin" / "opencode"
MODEL = "limit-router/claude-sonnet-4-5"
ON_THE_WIRE = {"anthropic": "claude-sonnet-4-5", "github-copilot": "claude-sonnet-4.5"}
CONFIG = {
    "permission": {"bash": "allow", "read": "allow"},
    "provider": {
        "limit-router": {
            "npm": "@ai-sdk/anthropic",
            "options": {"baseURL": f"{VIRTUAL}/v1", "apiKey": f"key-{CLIENT_MARK}"},
            "models": {
                "claude-sonnet-4-5": {
                    "name": "Claude Sonnet 4.5 (Auto-Route)",
                    "tool_call": True,
                    "limit": {"context": 200_000, "output": 8_192},
                }
            },
        }
    },
}


@pytest.fixture(scope="module")
def opencode() -> Path:
    """Installed once into a folder that git ignores, by one of the test runs that want it."""
    npm = shutil.which("npm")
    if npm is None:
        pytest.skip("npm is not installed, and OpenCode comes from there")
    FOLDER.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{FOLDER}.lock"):
        if _installed() != VERSION:
            wanted = ["--prefix", FOLDER, f"opencode-ai@{VERSION}", "--no-fund", "--no-audit"]
            done = subprocess.run(
                [npm, "install", *wanted], capture_output=True, text=True, timeout=300, check=False
            )
            if done.returncode:
                pytest.skip(f"npm could not install OpenCode: {done.stderr.strip()[-300:]}")
    return BINARY


def _installed() -> str | None:
    package = FOLDER / "node_modules" / "opencode-ai" / "package.json"
    if not (package.is_file() and BINARY.exists()):
        return None
    return json.loads(package.read_text())["version"]


def run(opencode: Path, routing: Routing, folder: Path, prompt: str) -> str:
    """What `opencode run` prints to its standard output."""
    own = {
        "HTTPS_PROXY": routing.proxy.url,
        "NO_PROXY": "localhost,127.0.0.1",
        "NODE_EXTRA_CA_CERTS": str(routing.proxy.ca),
        "OPENCODE_DISABLE_AUTOUPDATE": "1",
        "OPENCODE_CONFIG_CONTENT": json.dumps(CONFIG),
    }
    env = environment(folder / "home", own)
    project = folder / "project"
    project.mkdir()
    subprocess.run(["git", "init", "--quiet"], cwd=project, env=env, check=True)
    done = subprocess.run(
        [opencode, "run", "-m", MODEL],
        input=prompt,  # an argument with spaces would be quoted in what the model reads
        cwd=project,
        env=env,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}\n{routing.proxy.log}"
    return done.stdout


@pytest.mark.parametrize("scenario", ["over-pace", "under-pace"])
def test_opencode_is_routed(opencode, shared, tmp_path, scenario):
    routing: Routing = shared(scenario)
    prompt = 'What does it say? [call bash {"command": "echo it says $((6*7))"}]'
    said = run(opencode, routing, tmp_path, prompt)
    served = routing.served()
    winner = SCENARIOS[scenario].winner

    assert "Tool said: it says 42" in said
    for recorded in served:
        assert recorded.provider == winner
        assert recorded.path == "/v1/messages"
        assert json.loads(recorded.body)["model"] == ON_THE_WIRE[winner]
        assert b'"stream":true' in recorded.body
        assert field(recorded, "user-agent").startswith("opencode/")
        assert_as_provider_wants(recorded, routing.sim)
    first, follow_up = [it for it in served if json.loads(it.body).get("tools")]
    (title,) = [it for it in served if not json.loads(it.body).get("tools")]
    assert "title" in title.body.decode()
    assert _last_block(first)["type"] == "text"
    assert _last_block(follow_up)["type"] == "tool_result"
    if winner == "github-copilot":
        assert field(first, "x-initiator") == "user"
        assert field(follow_up, "x-initiator") == "agent"
    refused = [it for it in routing.sim.requests if it.kind == "inference" and it.status != 200]
    assert refused == []


def _last_block(recorded: Recorded) -> dict[str, object]:
    return json.loads(recorded.body)["messages"][-1]["content"][-1]
