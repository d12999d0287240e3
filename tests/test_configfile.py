import logging
import os
from pathlib import Path

import pytest

from core.configfile import ConfigFile, kept
from core.credentials import Credentials
from core.engine import Engine
from core.errors import ConfigError
from core.store import Store

IDS = ("anthropic", "github-copilot")
ONE = "models: {one: {providers: [anthropic]}}\n"
TWO = "models: {two: {providers: [anthropic]}}\n"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "mitm.yaml"
    path.write_text(ONE)
    return path


def edit(path: Path, text: str) -> None:
    """As editors do: a new file in the old one's place, and surely another time."""
    new = path.with_suffix(".new")
    new.write_text(text)
    os.utime(new, ns=(1, path.stat().st_mtime_ns + 1_000_000))
    new.replace(path)


def test_an_edit_is_taken_up_once(path):
    file = ConfigFile(path, IDS)
    assert (file.changed(), list(file.config.models)) == (False, ["one"])
    edit(path, TWO)
    assert (file.changed(), list(file.config.models)) == (True, ["two"])
    assert file.changed() is False


def test_an_edit_that_changes_no_value_is_none(path):
    file = ConfigFile(path, IDS)
    edit(path, ONE + "# a remark\n")
    assert file.changed() is False


def test_a_broken_edit_is_told_once_and_the_mended_one_taken_up(path):
    file = ConfigFile(path, IDS)
    edit(path, "modles: {}\n")
    with pytest.raises(ConfigError) as raised:
        file.changed()
    assert kept(raised.value) == (
        f"{path}, line 1: `modles`: unknown key; allowed: allow_clients, providers, models, "
        "policy, failover, discover, catalog, notify, state; the nearest valid spelling is "
        "`models`. The last good configuration stays in use."
    )
    assert (file.changed(), list(file.config.models)) == (False, ["one"])
    edit(path, TWO)
    assert (file.changed(), list(file.config.models)) == (True, ["two"])


def test_a_file_that_is_gone_is_told_and_its_return_noticed(path):
    file = ConfigFile(path, IDS)
    path.unlink()
    with pytest.raises(ConfigError, match="cannot be read"):
        file.changed()
    assert list(file.config.models) == ["one"]
    path.write_text(TWO)
    assert (file.changed(), list(file.config.models)) == (True, ["two"])


def test_broken_from_the_start_there_is_none(path):
    path.write_text("models: 7\n")
    with pytest.raises(ConfigError):
        ConfigFile(path, IDS)


def test_the_engine_goes_on_with_what_was_good(path, tmp_path, caplog):
    caplog.set_level(logging.INFO)
    file = ConfigFile(path, IDS)
    credentials = Credentials({}, tmp_path)
    engine = Engine(file.config, credentials, Store(tmp_path / "state"), source=file)
    edit(path, "models: 7\n")
    engine.reload()
    engine.reload()
    assert list(engine.config.models) == ["one"]
    edit(path, TWO)
    engine.reload()
    assert list(engine.config.models) == ["two"]
    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO"]
    broken = (
        f"limit-router: {path}, line 1: `models`: wrong value; found 7; allowed: a mapping. "
        "The last good configuration stays in use."
    )
    assert caplog.messages == [broken, f"limit-router: the new {path} is in effect"]
