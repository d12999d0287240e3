"""`limit-router usage --watch` in a real terminal (tmux)."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from mitm import environment, until

from core.simulator import Simulator

TMUX = shutil.which("tmux")


@pytest.mark.skipif(TMUX is None, reason="tmux is not installed")
def test_it_keeps_what_is_known_on_the_screen(tmp_path):
    assert TMUX is not None
    with Simulator("under-pace") as sim:
        config = tmp_path / "mitm.yaml"
        config.write_text(yaml.safe_dump({**sim.config(), "state": str(tmp_path / "state")}))
        program = Path(sys.executable).with_name("limit-router")
        more = {
            "LIMIT_ROUTER_CONFIG": str(config),
            "OPENCODE_AUTH_CONTENT": sim.auth_content(),
            "TERM": "screen-256color",
            "TMUX_TMPDIR": str(tmp_path),
        }
        variables = environment(tmp_path / "home", more)

        def tmux(*words: str) -> str:
            command = [TMUX, "-f", os.devnull, *words]
            done = subprocess.run(
                command, env=variables, capture_output=True, text=True, check=False
            )
            return done.stdout

        size = ["-x", "80", "-y", "24"]
        tmux("new-session", "-d", "-s", "w", *size, f"{program} usage --watch; echo ended $?; cat")
        try:
            until(lambda: "seven_day" in tmux("capture-pane", "-p", "-t", "w"), "the first screen")
            first = tmux("capture-pane", "-p", "-t", "w")
            assert "  20.0 %   resets in 1 d 17 h" in first
            assert "lasts to reset; endpoint, " in first
            until(lambda: tmux("capture-pane", "-p", "-t", "w") != first, "it to be drawn again")
            again = tmux("capture-pane", "-p", "-t", "w")
            assert again.count("seven_day") == 1
            tmux("send-keys", "-t", "w", "C-c")
            until(lambda: "ended 0" in tmux("capture-pane", "-p", "-t", "w"), "its end")
        finally:
            tmux("kill-session", "-t", "w")
        assert sum(it.kind == "usage" and it.provider == "anthropic" for it in sim.requests) == 1
