from pathlib import Path

import platformdirs
import pytest

from core.errors import ConfigError
from core.model import Account, AccountKind, Price
from core.setup import APP, build, shipped_config

MODEL = "models: {{{name}: {{providers: [anthropic]}}}}\n"


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A person with nothing yet. platformdirs reads the process's own environment."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.delenv("XDG_DATA_HOME", raising=False)
    return tmp_path


def write(path: Path, name: str, more: str = "") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(MODEL.format(name=name) + more)
    return path


def served(explicit: Path | None, environ: dict[str, str]) -> list[str]:
    return list(build(explicit, environ).config.models)


def test_the_configuration_is_found_in_the_stated_order(home: Path) -> None:
    named = write(home / "a.yaml", "named")
    variable = {"LIMIT_ROUTER_CONFIG": str(write(home / "b.yaml", "variable"))}
    assert "claude-sonnet-4-5" in served(None, {})
    write(platformdirs.user_config_path(APP) / "mitm.yaml", "users")
    assert served(None, {}) == ["users"]
    assert served(None, variable) == ["variable"]
    assert served(named, variable) == ["named"]


def test_never_from_the_current_folder(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(write(home / "repository" / "mitm.yaml", "theirs").parent)
    assert "theirs" not in served(None, {})


def test_the_shipped_file_is_there_and_can_be_read(home: Path) -> None:
    assert shipped_config() == Path(__file__).parent.parent / "mitm.yaml"
    assert build(None, {}).config.models.keys() >= {"claude-sonnet-4-5", "claude-opus-4-5"}


@pytest.mark.parametrize("environ", [{"LIMIT_ROUTER_CONFIG": "/nowhere/b.yaml"}, {}])
def test_a_file_that_is_named_must_be_there(home: Path, environ: dict[str, str]) -> None:
    with pytest.raises(ConfigError, match="there is no such file"):
        build(None if environ else home / "a.yaml", environ)


def test_unknown_providers_are_refused(home: Path) -> None:
    config = home / "a.yaml"
    config.write_text("models: {m: {providers: [nobody]}}")
    with pytest.raises(ConfigError, match="anthropic, github-copilot"):
        build(config, {})


def test_state_is_kept_in_the_users_state_folder(home: Path) -> None:
    engine = build(write(home / "a.yaml", "m"), {})
    assert engine.knowledge._store._folder == platformdirs.user_state_path(APP)
    assert home in engine.knowledge._store._folder.parents


def test_or_where_the_configuration_says(home: Path) -> None:
    engine = build(write(home / "a.yaml", "m", f"state: {home / 'elsewhere'}\n"), {})
    assert engine.knowledge._store._folder == home / "elsewhere"


def test_sign_ins_come_from_the_given_variables(home: Path) -> None:
    engine = build(write(home / "a.yaml", "m"), {"ANTHROPIC_API_KEY": "k"})
    [subject] = engine.subjects()
    assert (subject.provider.id, subject.credential.source) == ("anthropic", "ANTHROPIC_API_KEY")


def test_and_from_opencodes_file(home: Path) -> None:
    for environ in ({}, {"XDG_DATA_HOME": str(home / "data")}):
        folder = Path(environ.get("XDG_DATA_HOME", home / ".local" / "share")) / "opencode"
        folder.mkdir(parents=True)
        (folder / "auth.json").write_text('{"anthropic": {"type": "api", "key": "k"}}')
        [subject] = build(write(home / "a.yaml", "m"), environ).subjects()
        assert subject.credential.source == str(folder / "auth.json")


def test_the_processs_environment_is_the_usual_one(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LIMIT_ROUTER_CONFIG", str(write(home / "b.yaml", "variable")))
    monkeypatch.setenv("ANTHROPIC_API_KEY", "k")
    engine = build()
    assert list(engine.config.models) == ["variable"]
    assert len(engine.subjects()) == 1


def test_opencode_s_own_prices_are_found(home: Path) -> None:
    cache = home / "cache" / "opencode" / "models.json"
    cache.parent.mkdir(parents=True)
    cost = '{"models": {"claude-x": {"cost": {"input": 3, "output": 15}}}}'
    cache.write_text(f'{{"anthropic": {cost}, "openrouter": {cost}}}')
    engine = build(None, {"XDG_CACHE_HOME": str(home / "cache")})
    price = Price(3.0, 15.0, 3.0, 3.0)
    for provider in ("anthropic", "openrouter"):
        account = Account(provider, "0123", AccountKind.METERED)
        assert engine.spending.price(account, "claude-x") == price


def test_a_provider_that_nothing_is_routed_to_may_be_set_up(home: Path) -> None:
    budget = "providers: {openrouter: {budget: {usd: 5, per: day}}}"
    path = write(home / "a.yaml", "mine", budget)
    assert build(path, {}).config.providers.keys() == {"openrouter"}
    path.write_text("models: {mine: {providers: [openrouter]}}")
    with pytest.raises(ConfigError, match="nothing is routed to this provider yet"):
        build(path, {})
