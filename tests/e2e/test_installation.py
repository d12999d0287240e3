"""What people install: the wheel in an empty environment, and a mitmproxy that lacks the rest."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from mitm import READY, REPOSITORY, ROUTER, Tool, environment, until

UV = os.environ.get("UV") or shutil.which("uv")
pytestmark = pytest.mark.skipif(UV is None, reason="uv is not installed")


def uv(*words: object) -> None:
    assert UV is not None
    command = [UV, *map(str, words), "--quiet"]
    variables = {name: value for name, value in os.environ.items() if name != "VIRTUAL_ENV"}
    done = subprocess.run(command, env=variables, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the programs of an environment that has the wheel and nothing else."""
    folder = tmp_path_factory.mktemp("installed")
    uv("build", "--wheel", "--out-dir", folder / "dist", REPOSITORY)
    (wheel,) = (folder / "dist").glob("*.whl")
    uv("venv", "--python", sys.executable, folder / "venv")
    uv("pip", "install", "--python", folder / "venv", wheel)
    return folder / "venv" / "bin"


def run(program: Path, *words: str, home: Path) -> str:
    done = subprocess.run(
        [program, *words],
        env=environment(home),
        cwd=home,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_wheel_shows_the_demo(installed, tmp_path):
    shown = json.loads(run(installed / "limit-router", "demo", "--json", home=tmp_path))
    assert shown["ok"] is True


def test_the_wheel_says_what_is_used(installed, tmp_path):
    shown = json.loads(run(installed / "limit-router", "usage", "--json", home=tmp_path))
    assert {it["status"] for it in shown["providers"].values()} == {"unauthenticated"}


def test_the_wheel_s_addon_runs_in_its_mitmdump(installed, tmp_path):
    script = run(installed / "limit-router", "addon-path", home=tmp_path).strip()
    assert Path(script).is_relative_to(installed.parent)
    command = [installed / "mitmdump", "-s", script, "-p", "0", "--listen-host", "127.0.0.1"]
    with Tool(command, environment(tmp_path / "home"), tmp_path) as proxy:
        proxy.wait_for(READY)
        assert proxy.stop() == 0


@pytest.mark.parametrize("tool", ["mitmdump", "mitmweb"])
def test_a_mitmproxy_without_our_dependencies_gets_one_sentence(tool, tmp_path_factory):
    folder = tmp_path_factory.mktemp("bare")
    uv("venv", "--python", sys.executable, folder / "venv")
    uv("pip", "install", "--python", folder / "venv", "mitmproxy>=12.2.3,<13")
    command = [folder / "venv/bin" / tool, "-s", ROUTER, "-p", "0", "--listen-host", "127.0.0.1"]
    with Tool(command, environment(folder / "home"), folder) as proxy:
        until(lambda: proxy.process.poll() is not None, "mitmproxy to refuse to start")
        assert proxy.stop() == 1
    assert "limit-router cannot run inside this mitmproxy (missing: " in proxy.log
    assert "run `uv run mitmdump -s addon/router.py` in its folder" in proxy.log
    assert "Traceback" not in proxy.log
