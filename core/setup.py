"""Finds what the user has (configuration, sign-ins, state folder) and makes an engine of it."""

import os
from collections.abc import Mapping
from pathlib import Path

import platformdirs

from core import config as configuration
from core import providers
from core.catalogfile import CatalogFile, opencode_path
from core.configfile import ConfigFile
from core.credentials import Credentials, data_home
from core.engine import Engine
from core.history import History
from core.store import Store

APP = "limit-router"
_ROOT = Path(__file__).resolve().parent.parent


def shipped_config() -> Path:
    """The mitm.yaml that came with this code: beside addon/, or inside it in a wheel."""
    beside = _ROOT / "mitm.yaml"
    return beside if beside.is_file() else _ROOT / "addon" / "mitm.yaml"


def addon_script() -> Path:
    """What `mitmdump -s` takes."""
    return _ROOT / "addon" / "router.py"


def config_path(explicit: Path | None, environ: Mapping[str, str]) -> Path:
    """The configuration in use. Raises ConfigError where one that was named is not there."""
    folder = platformdirs.user_config_path(APP)
    return configuration.find(explicit, environ, folder, shipped_config())


def build(
    explicit: Path | None = None,
    environ: Mapping[str, str] | None = None,
    previous: Engine | None = None,
) -> Engine:
    """An engine from the user's files. Raises ConfigError.

    `explicit` is a configuration that was named outright; `environ` is the process's if not given;
    `previous` is the engine in whose place this one comes.
    """
    variables = os.environ if environ is None else environ
    path = config_path(explicit, variables)
    source = ConfigFile(path, providers.known(), providers.routable())
    config = source.config
    folder = config.state or platformdirs.user_state_path(APP)
    credentials = Credentials(variables, data_home(variables, Path.home()))
    return Engine(
        config,
        credentials,
        Store(folder),
        source=source,
        history=History(folder),
        catalog=CatalogFile(opencode_path(variables, Path.home()), _catalog_keys()),
        previous=previous,
    )


def _catalog_keys() -> tuple[str, ...]:
    """What the catalogue calls the providers that we know: as OpenCode does."""
    return tuple(key for it in providers.known().values() for key in it.opencode_keys)
