import json
import os
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import pytest
import yaml

from core.cli import main
from core.simulator import Simulator
from core.version import __version__


@pytest.fixture
def sim(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Simulator]:
    """A simulator, and a user whose sign-ins and configuration lead to it."""
    with Simulator("over-pace") as simulator:
        path = tmp_path / "mitm.yaml"
        config = {**simulator.config(), "state": str(tmp_path / "state")}
        path.write_text(yaml.safe_dump(config))
        monkeypatch.setenv("HOME", str(tmp_path))
        monkeypatch.setenv("LIMIT_ROUTER_CONFIG", str(path))
        monkeypatch.setenv("OPENCODE_AUTH_CONTENT", simulator.auth_content())
        monkeypatch.setenv("COLUMNS", "80")
        for name in ("ANTHROPIC_API_KEY", "GITHUB_COPILOT_TOKEN"):
            monkeypatch.delenv(name, raising=False)
        yield simulator


@pytest.fixture
def shown(capsys):
    """Run it; the exit code and what stands on standard output, as JSON where that was asked for."""

    def run(*arguments: str):
        code = main(arguments)
        out = capsys.readouterr().out
        return code, json.loads(out) if "--json" in arguments else out

    return run


def errors_of(capsys, *arguments: str) -> tuple[int, str]:
    code = main(arguments)
    out, err = capsys.readouterr()
    assert out == ""
    return code, err.strip()


def asked(sim: Simulator, provider: str) -> int:
    return sum(r.kind == "usage" and r.provider == provider for r in sim.requests)


def test_version(capsys):
    with pytest.raises(SystemExit) as ended:
        main(["--version"])
    assert ended.value.code == 0
    assert capsys.readouterr().out == f"limit-router {__version__}\n"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "the following arguments are required: COMMAND"),
        (["demmo"], "invalid choice: 'demmo'"),
        (["demo", "--scenario", "nonesuch"], "invalid choice: 'nonesuch'"),
        (["usage", "--provider", "nonesuch"], "invalid choice: 'nonesuch'"),
        (["route"], "the following arguments are required: MODEL"),
        (["config"], "the following arguments are required: ACTION"),
    ],
)
def test_misuse_exits_2_and_says_how(arguments, said, capsys):
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    assert said in capsys.readouterr().err


def test_usage_agrees_with_the_provider(sim, shown):
    code, found = shown("usage", "--json")
    assert code == 0
    for provider in ("anthropic", "github-copilot"):
        account = found["providers"][provider]
        assert account.keys() == {"status", "windows", "plan", "error", "as_of"}
        assert (account["status"], account["error"]) == ("known", None)
        truth = sim.windows(provider)
        assert [w["name"] for w in account["windows"]] == list(truth)
        for window in account["windows"]:
            used, resets_at = truth[window["name"]]
            assert window["used_percent"] == pytest.approx(used, abs=0.1)
            reset = datetime.fromisoformat(window["resets_at"])
            assert window["resets_at"].endswith("Z")
            assert reset.timestamp() == pytest.approx(resets_at, abs=1.0)
            elapsed = 100 - (resets_at - sim.world.clock()) / window["duration_s"] * 100
            assert window["pace_delta"] == pytest.approx(used - elapsed, abs=0.1)
            assert window["source"] == "endpoint"
            lasts = used <= elapsed
            assert (window["empty_in_s"] is None) is lasts
            if not lasts:
                rate = used / (elapsed / 100 * window["duration_s"])
                assert window["empty_in_s"] == pytest.approx((100 - used) / rate, rel=0.01)


def test_usage_is_not_asked_for_again_while_it_is_fresh(sim, shown):
    first, second = shown("usage", "--json"), shown("usage", "--json")
    assert asked(sim, "anthropic") == asked(sim, "github-copilot") == 1
    assert [w["used_percent"] for w in second[1]["providers"]["anthropic"]["windows"]] == [
        w["used_percent"] for w in first[1]["providers"]["anthropic"]["windows"]
    ]


def test_no_cache_asks_now_but_not_while_the_provider_has_us_wait(sim, shown):
    shown("usage", "--json")
    _, found = shown("usage", "--no-cache", "--json")
    assert asked(sim, "anthropic") == asked(sim, "github-copilot") == 2
    limited = found["providers"]["anthropic"]
    assert (limited["status"], limited["windows"]) == ("error", [])
    assert limited["error"] == "the usage endpoint limits how often it is asked"
    assert found["providers"]["github-copilot"]["status"] == "known"
    _, found = shown("usage", "--no-cache", "--json")
    assert (asked(sim, "anthropic"), asked(sim, "github-copilot")) == (2, 3)
    assert found["providers"]["anthropic"]["error"] in {
        f"the usage endpoint limits how often it is asked; it may be asked again in {left} min"
        for left in (4, 5)
    }


def test_no_cache_with_the_endpoints_down_is_an_error_for_each(sim, shown):
    shown("usage", "--json")
    sim.usage_enabled.update({"anthropic": False, "github-copilot": False})
    code, found = shown("usage", "--no-cache", "--json")
    assert code == 0
    said = {name: (it["status"], it["windows"]) for name, it in found["providers"].items()}
    assert said == {"anthropic": ("error", []), "github-copilot": ("error", [])}


def test_usage_of_one_provider(sim, shown):
    _, found = shown("usage", "--provider", "github-copilot", "--json")
    assert list(found["providers"]) == ["github-copilot"]
    assert asked(sim, "anthropic") == 0


def test_usage_of_an_api_key_is_unknown(sim, shown, monkeypatch):
    monkeypatch.setenv("ANTHROPIC_API_KEY", sim.tokens["anthropic-api-key"])
    for arguments in (["usage", "--json"], ["usage", "--no-cache", "--json"]):
        _, found = shown(*arguments)
        assert found["providers"]["anthropic"]["status"] == "unknown"
    assert asked(sim, "anthropic") == 0


def test_usage_without_a_sign_in_says_where_it_was_looked_for(sim, shown, monkeypatch, tmp_path):
    monkeypatch.delenv("OPENCODE_AUTH_CONTENT")
    monkeypatch.delenv("XDG_DATA_HOME", raising=False)
    _, found = shown("usage", "--json")
    auth = tmp_path / ".local/share/opencode/auth.json"
    assert found["providers"]["github-copilot"] == {
        "status": "unauthenticated",
        "windows": [],
        "plan": None,
        "error": f"no sign-in found in GITHUB_COPILOT_TOKEN, {auth}",
        "as_of": None,
    }


@pytest.mark.parametrize("command", [["usage"], ["route", "claude-sonnet-4-5"], ["config", "show"]])
def test_tables_fit_80_columns_and_show_no_secret(command, sim, shown):
    code, text = shown(*command)
    assert code == 0
    assert max(len(line.rstrip()) for line in text.splitlines()) <= 80
    assert "…" not in text
    assert not [token for token in sim.tokens.values() if token in text]


def test_watching_goes_on_until_it_is_interrupted(sim, monkeypatch, capsys):
    async def interrupted():
        raise KeyboardInterrupt

    monkeypatch.setattr("core.cli._pause", interrupted)
    assert main(["usage", "--watch"]) == 0
    assert "seven_day" in capsys.readouterr().out


def test_usage_for_people(sim, shown):
    _, text = shown("usage")
    lines = [line.rstrip() for line in text.splitlines()]
    assert "anthropic: known" in lines
    assert "github-copilot: known, plan individual_pro" in lines
    at = next(n for n, line in enumerate(lines) if "seven_day" in line)
    assert lines[at].split(maxsplit=4) == [
        *("seven_day", "#####|#.....", "60.0", "%", "resets in 4 d 4 h")
    ]
    assert lines[at + 1].strip() == "empty in 1 d 20 h; endpoint, 0 s ago"


def test_route_names_every_candidate_and_why(sim, shown):
    code, found = shown("route", "limit-router/claude-sonnet-4-5", "--json")
    assert code == 0
    assert found.keys() == {"model", "provider", "provider_model", "reason", "candidates"}
    assert (found["model"], found["provider"], found["provider_model"]) == (
        "claude-sonnet-4-5",
        "github-copilot",
        "claude-sonnet-4.5",
    )
    assert [c["provider"] for c in found["candidates"]] == ["github-copilot", "anthropic"]
    for candidate in found["candidates"]:
        assert candidate.keys() == {
            *("provider", "provider_model", "available", "score", "pace_delta"),
            *("used_percent", "windows", "why"),
        }
        truth = sim.windows(candidate["provider"])
        longest = candidate["windows"][-1]
        assert candidate["used_percent"] == pytest.approx(truth[longest["name"]][0], abs=0.1)
        assert candidate["pace_delta"] == longest["pace_delta"]
        assert candidate["available"] is True
    best, other = (candidate["score"] for candidate in found["candidates"])
    assert best < other


def test_route_exits_3_when_nobody_can_serve(sim, shown, monkeypatch):
    monkeypatch.setenv("OPENCODE_AUTH_CONTENT", "{}")
    code, found = shown("route", "claude-opus-4-5", "--json")
    assert (code, found["provider"], found["provider_model"]) == (3, None, None)
    assert found["reason"] == (
        "no provider can serve this model: anthropic: no credential; github-copilot: no credential"
    )
    code, text = shown("route", "claude-opus-4-5")
    assert code == 3
    assert text.startswith("limit-router/claude-opus-4-5 -> nobody\n")


def test_route_of_an_unknown_model_names_the_nearest(sim, capsys):
    sentence = (
        "limit-router: MODEL: there is no such model; found claude-sonet-4-5; allowed: "
        "claude-opus-4-5, claude-sonnet-4-5; the nearest valid spelling is `claude-sonnet-4-5`."
    )
    assert errors_of(capsys, "route", "claude-sonet-4-5") == (2, sentence)


def test_config_check_of_the_one_in_use(sim, shown):
    path = os.environ["LIMIT_ROUTER_CONFIG"]
    assert shown("config", "check") == (0, f"{path}: no mistake found.\n")
    assert shown("config", "check", "--json") == (
        0,
        {"file": path, "ok": True, "without_effect": []},
    )


def test_config_check_of_another_says_what_has_no_effect_yet(sim, shown, tmp_path):
    other = tmp_path / "other.yaml"
    other.write_text("discover: all\n")
    code, text = shown("config", "check", str(other))
    assert code == 0
    assert text.splitlines() == [
        f"{other}: no mistake found.",
        "discover is accepted and has no effect in this version.",
    ]


@pytest.mark.parametrize("command", [["config", "check"], ["config", "show"], ["usage"]])
def test_a_broken_configuration_exits_2(command, sim, capsys):
    path = Path(os.environ["LIMIT_ROUTER_CONFIG"])
    path.write_text("models:\n  a: {provider: [anthropic]}\n")
    sentence = (
        f"limit-router: {path}, line 2: `models.a.provider`: unknown key; allowed: name, "
        "providers, mode, pin, limits, price; the nearest valid spelling is `providers`."
    )
    assert errors_of(capsys, *command) == (2, sentence)


def test_config_show_says_where_each_value_comes_from(sim, shown, tmp_path):
    path = Path(os.environ["LIMIT_ROUTER_CONFIG"])
    path.write_text(
        "providers:\n  anthropic:\n    oauth: true\nmodels:\n  a:\n    providers: [anthropic]\n"
    )
    code, found = shown("config", "show", "--json")
    assert (code, found["file"]) == (0, str(path))
    assert found["settings"]["providers.anthropic.oauth"] == {"value": True, "from": "line 3"}
    assert found["settings"]["models.a.providers"] == {"value": ["anthropic"], "from": "line 6"}
    assert found["settings"]["policy.mode"] == {"value": "pace", "from": "default"}
    assert found["settings"]["allow_clients"]["value"] == ["127.0.0.0/8", "::1/128"]


def test_addon_path(capsys):
    assert main(["addon-path"]) == 0
    assert Path(capsys.readouterr().out.strip()).samefile("addon/router.py")
