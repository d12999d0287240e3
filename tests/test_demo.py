import json
import os
import sys
from dataclasses import replace

import pytest

from core import demo
from core.cli import main
from core.simulator import SCENARIOS


@pytest.mark.parametrize("name", SCENARIOS)
def test_every_scenario_ends_as_its_table_says(name, capsys):
    assert main(["demo", "--scenario", name, "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown.keys() == {"scenario", "requests", "ok"}
    assert (shown["scenario"], shown["ok"]) == (name, True)
    assert [r["model"] for r in shown["requests"]] == ["claude-sonnet-4-5", "claude-opus-4-5"]
    for request in shown["requests"]:
        assert request.keys() == {
            *("model", "provider", "provider_model", "status", "ttft_ms", "reason", "text")
        }
        assert request["provider"] == SCENARIOS[name].winner
        if request["provider"] is None:
            assert (request["status"], request["text"], request["ttft_ms"]) == (429, "", None)
            assert "earliest relief in" in request["reason"]
        else:
            served_as = f"Served by {request['provider']} as {request['provider_model']}."
            assert (request["status"], request["text"].strip()) == (200, served_as)
            assert request["ttft_ms"] > 0
            assert request["reason"].startswith(f"{request['provider']}: ")


def test_for_people_it_fits_80_columns(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    assert main(["demo"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert max(len(line.rstrip()) for line in lines) <= 80
    text = "\n".join(lines)
    assert text.startswith("over-pace: Anthropic is used up faster than its week goes by")
    assert "limit-router/claude-opus-4-5 -> github-copilot (claude-opus-4.5)" in text
    assert all(name in text for name in SCENARIOS)


def test_a_wrong_winner_is_told_and_is_not_ok(capsys, monkeypatch):
    contrary = replace(SCENARIOS["under-pace"], winner="github-copilot")
    monkeypatch.setattr("core.cli.SCENARIOS", {"under-pace": contrary})
    assert main(["demo", "--scenario", "under-pace", "--json"]) == 1
    out, err = capsys.readouterr()
    assert json.loads(out)["ok"] is False
    assert "claude-sonnet-4-5 went to anthropic, not to github-copilot" in err


def test_a_proxy_that_does_not_start_is_told_in_its_own_words(capsys, monkeypatch):
    monkeypatch.setattr(demo, "_command", lambda *_: [sys.executable, "-c", "exit('no luck')"])
    assert main(["demo", "--json"]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err.strip().endswith("limit-router: mitmdump ended at its start:\nno luck")


def test_a_proxy_that_is_never_ready_is_given_up(capsys, monkeypatch):
    monkeypatch.setattr(demo, "START_TIMEOUT_S", 0.2)
    silent = [sys.executable, "-c", "import signal; signal.pause()"]
    monkeypatch.setattr(demo, "_command", lambda *_: silent)
    assert main(["demo", "--json"]) == 1
    assert "limit-router: mitmdump was not ready in 0 s" in capsys.readouterr().err


def test_the_users_own_sign_ins_stay_out_of_the_demo(capsys, monkeypatch):
    monkeypatch.setenv("ANTHROPIC_API_KEY", "the-user's-own-key")
    monkeypatch.setenv("GITHUB_COPILOT_TOKEN", "the-user's-own-token")
    assert main(["demo", "--scenario", "under-pace", "--json"]) == 0
    assert os.environ["ANTHROPIC_API_KEY"] == "the-user's-own-key"
    shown = json.loads(capsys.readouterr().out)
    assert {r["provider"] for r in shown["requests"]} == {"anthropic"}
