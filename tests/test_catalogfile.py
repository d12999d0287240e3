import logging
import os
from pathlib import Path

import pytest

from core.catalog import Catalog, CatalogModel, Tariff
from core.catalogfile import LARGEST, CatalogFile, opencode_path
from core.model import Price

CHEAP = b'{"a": {"models": {"m": {"cost": {"input": 1, "output": 5}}}}}'
DEAR = b'{"a": {"models": {"m": {"cost": {"input": 2, "output": 10}}}}}'


def priced(input_usd: float, output_usd: float) -> Catalog:
    price = Price(input_usd, output_usd, input_usd, input_usd)
    return {"a": {"m": CatalogModel("m", None, Tariff(price))}}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "models.json"


def test_it_stands_where_opencode_puts_it(tmp_path: Path) -> None:
    own = tmp_path / ".cache" / "opencode" / "models.json"
    assert opencode_path({}, tmp_path) == own
    assert opencode_path({"XDG_CACHE_HOME": ""}, tmp_path) == own
    chosen = {"XDG_CACHE_HOME": "/var/cache/me"}
    assert opencode_path(chosen, tmp_path) == Path("/var/cache/me/opencode/models.json")


def test_no_file_is_no_prices_and_nothing_to_say(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert CatalogFile(path, ("a",)).catalog == {}
    assert CatalogFile(None, ("a",)).catalog == {}
    assert CatalogFile(Path("\0"), ("a",)).catalog == {}
    assert caplog.messages == []


def test_it_is_read_again_when_it_changes_and_only_then(path: Path) -> None:
    file = CatalogFile(path, ("a",))
    path.write_bytes(CHEAP)
    file.refresh()
    assert file.catalog == priced(1.0, 5.0)
    held = file.catalog
    file.refresh()
    assert file.catalog is held
    replaced = path.with_name("new")
    replaced.write_bytes(DEAR)
    replaced.replace(path)
    file.refresh()
    assert file.catalog == priced(2.0, 10.0)
    path.unlink()
    file.refresh()
    assert file.catalog == {}


def test_a_broken_file_is_told_of_once_and_gives_no_prices(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path.write_bytes(CHEAP)
    file = CatalogFile(path, ("a",))
    path.write_bytes(b"<html>")
    file.refresh()
    file.refresh()
    assert file.catalog == {}
    assert caplog.record_tuples == [
        (
            "core.catalogfile",
            logging.WARNING,
            f"limit-router: {path} is no model catalogue (not a JSON object): it gives no prices",
        )
    ]


def test_a_file_without_end_is_not_read(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with path.open("wb") as opened:
        opened.truncate(LARGEST + 1)
    assert CatalogFile(path, ("a",)).catalog == {}
    assert caplog.messages == [f"limit-router: {path} is larger than 32 MB: it gives no prices"]


def test_a_folder_in_its_place_is_told_of(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path.mkdir()
    assert CatalogFile(path, ("a",)).catalog == {}
    reason = os.strerror(21)
    assert caplog.messages == [
        f"limit-router: {path} cannot be read ({reason}): it gives no prices"
    ]
