import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from core import config as config_module
from core.config import (
    BudgetConfig,
    Config,
    ModelConfig,
    PriceConfig,
    ProviderConfig,
    find,
    load,
    parse,
    without_effect,
)
from core.errors import ConfigError

IDS = ("anthropic", "github-copilot")
SHIPPED = Path(__file__).parent.parent / "mitm.yaml"

TOP = "allow_clients, providers, models, policy, failover, discover, catalog, notify, state"
MODEL = "name, providers, mode, pin, limits, price"
PROVIDER = "oauth, base_url, usage_url, token_url, reserve, overage, budget, accounts"
CANDIDATES = "a list of providers, or a mapping of providers to their spelling of the model"
URL = "https://host/path (http:// only to this machine: 127.0.0.1, ::1 or localhost)"
DURATION = "a number with its unit, such as 60s, 5m or 2h"
NAMES = "lower-case letters, digits, `.`, `_` and `-`, a letter or digit first"


def read(text: str) -> Config:
    return parse(text, "mitm.yaml", IDS)


def refused(text: str, *ids: str) -> str:
    with pytest.raises(ConfigError) as caught:
        parse(text, "mitm.yaml", ids, IDS) if ids else read(text)
    error = caught.value
    assert error.__cause__ is None
    assert error.__context__ is None, "the text that pydantic quotes would come along"
    return str(error)


WRONG = {
    # bad YAML, and YAML that is good but no configuration
    "models: [a\nstate: b": "mitm.yaml, line 2: is not valid YAML (expected ',' or ']', but got ':').",
    "[1]": "mitm.yaml, line 1: wrong value; found a list; allowed: a mapping.",
    "hello": "mitm.yaml, line 1: wrong value; found 'hello'; allowed: a mapping.",
    # unknown keys, at every level
    "model: {}": f"mitm.yaml, line 1: `model`: unknown key; allowed: {TOP}; "
    "the nearest valid spelling is `models`.",
    "xyzzy: 1": f"mitm.yaml, line 1: `xyzzy`: unknown key; allowed: {TOP}.",
    "models:\n  claude-x:\n    provider: [anthropic]": "mitm.yaml, line 3: "
    f"`models.claude-x.provider`: unknown key; allowed: {MODEL}; "
    "the nearest valid spelling is `providers`.",
    "providers:\n  anthropic:\n    Oauth: true": "mitm.yaml, line 3: `providers.anthropic.Oauth`: "
    f"unknown key; allowed: {PROVIDER}; the nearest valid spelling is `oauth`.",
    "providers:\n  anthropic:\n    budget:\n      euro: 3": "mitm.yaml, line 4: "
    "`providers.anthropic.budget.euro`: unknown key; allowed: usd, per.",
    "policy:\n  modes: pace": "mitm.yaml, line 2: `policy.modes`: unknown key; allowed: mode, "
    "unknown, metered, schedule, stickiness; the nearest valid spelling is `mode`.",
    "failover:\n\n  attempts: 3": "mitm.yaml, line 3: `failover.attempts`: unknown key; allowed: "
    "max_attempts, budget, first_byte_timeout, idle_timeout; "
    "the nearest valid spelling is `max_attempts`.",
    "'': 1": f"mitm.yaml, line 1: `''`: unknown key; allowed: {TOP}.",
    # repeats
    "policy: {}\nmodels: {}\npolicy: {}": "mitm.yaml, line 3: `policy`: "
    "this key stands on line 1 already.",
    # wrong types
    "policy: [1]": "mitm.yaml, line 1: `policy`: wrong value; found a list; allowed: a mapping.",
    "models: [claude-x]": "mitm.yaml, line 1: `models`: wrong value; found a list; "
    "allowed: a mapping.",
    "providers:\n  anthropic:\n    oauth: yes": "mitm.yaml, line 3: `providers.anthropic.oauth`: "
    "wrong value; found 'yes'; allowed: true or false.",
    "failover: {max_attempts: 2.5}": "mitm.yaml, line 1: `failover.max_attempts`: wrong value; "
    "found 2.5; allowed: a whole number.",
    "failover: {max_attempts: 0}": "mitm.yaml, line 1: `failover.max_attempts`: wrong value; "
    "found 0; allowed: 1 or more.",
    "failover: {max_attempts: many}": "mitm.yaml, line 1: `failover.max_attempts`: wrong value; "
    "found 'many'; allowed: a whole number.",
    "failover: {budget: 90}": "mitm.yaml, line 1: `failover.budget`: wrong value; found 90; "
    f"allowed: {DURATION}.",
    "models: {c: {providers: [anthropic], name: 4}}": "mitm.yaml, line 1: `models.c.name`: "
    "wrong value; found 4; allowed: text.",
    'models: {c: {providers: [anthropic], name: "a\\nb"}}': "mitm.yaml, line 1: `models.c.name`: "
    "wrong value; found 'a\\nb'; allowed: text on one line, not empty.",
    "policy: {mode: paces}": "mitm.yaml, line 1: `policy.mode`: wrong value; found 'paces'; "
    "allowed: one of pace, drain, cheapest, fastest, priority, or a mapping of some of them to "
    "weights: {pace: 3, fastest: 1}; the nearest valid spelling is `pace`.",
    "policy: {mode: {pace: 0}}": "mitm.yaml, line 1: `policy.mode.pace`: not a weight; found 0; "
    "allowed: a number above 0.",
    "policy: {mode: {}}": "mitm.yaml, line 1: `policy.mode`: wrong value; found a mapping; "
    "allowed: one of pace, drain, cheapest, fastest, priority, or a mapping of some of them to "
    "weights: {pace: 3, fastest: 1}.",
    "policy: {schedule: 9-17}": "mitm.yaml, line 1: `policy.schedule`: wrong value; found '9-17'; "
    "allowed: days and hours, such as `mon-fri 9-19` or `mon-thu 9-18, fri 9-14:30`.",
    "policy: {mode: true}": "mitm.yaml, line 1: `policy.mode`: wrong value; found true; "
    "allowed: one of pace, drain, cheapest, fastest, priority, or a mapping of some of them to "
    "weights: {pace: 3, fastest: 1}.",
    "discover: none": "mitm.yaml, line 1: `discover`: wrong value; found 'none'; "
    "allowed: off, configured, all.",
    "providers: {anthropic: {reserve: {five_hour: 200}}}": "mitm.yaml, line 1: "
    "`providers.anthropic.reserve.five_hour`: wrong value; found 200; allowed: 100 or less.",
    "providers: {anthropic: {reserve: {'': 20}}}": "mitm.yaml, line 1: "
    "`providers.anthropic.reserve.''`: wrong value; found ''; "
    "allowed: text on one line, not empty.",
    "providers: {anthropic: {reserve: {five_hour: 1e999}}}": "mitm.yaml, line 1: "
    "`providers.anthropic.reserve.five_hour`: wrong value; found inf; allowed: a finite number.",
    "providers: {anthropic: {reserve: 10}}": "mitm.yaml, line 1: `providers.anthropic.reserve`: "
    "wrong value; found 10; allowed: a mapping.",
    "providers: {anthropic: {budget: {usd: 0, per: day}}}": "mitm.yaml, line 1: "
    "`providers.anthropic.budget.usd`: wrong value; found 0; allowed: more than 0.",
    "providers: {anthropic: {budget: {usd: '5', per: day}}}": "mitm.yaml, line 1: "
    "`providers.anthropic.budget.usd`: wrong value; found '5'; allowed: a number.",
    "providers: {anthropic: {budget: {usd: 5}}}": "mitm.yaml, line 1: "
    "`providers.anthropic.budget.per`: is missing.",
    "providers: {anthropic: {accounts: one}}": "mitm.yaml, line 1: `providers.anthropic.accounts`: "
    "wrong value; found 'one'; allowed: a list.",
    "providers:\n  anthropic:\n    accounts:\n      - name: a\n        credential: {}\n": "mitm.yaml, "
    "line 5: `providers.anthropic.accounts.0.credential`: names no single place; "
    "allowed: either env or opencode.",
    # providers and models
    "providers:\n  antropic: {}": "mitm.yaml, line 2: `providers`: unknown provider; "
    "found 'antropic'; allowed: anthropic, github-copilot; "
    "the nearest valid spelling is `anthropic`.",
    "models:\n  c:\n    providers:\n    - anthropic\n    - copilot": "mitm.yaml, line 5: "
    "`models.c.providers`: unknown provider; found 'copilot'; allowed: anthropic, github-copilot; "
    "the nearest valid spelling is `github-copilot`.",
    "models: {c: {providers: {mistral: x}}}": "mitm.yaml, line 1: `models.c.providers`: "
    "unknown provider; found 'mistral'; allowed: anthropic, github-copilot.",
    "models: {c: {providers: [[anthropic]]}}": "mitm.yaml, line 1: `models.c.providers`: "
    "unknown provider; found a list; allowed: anthropic, github-copilot.",
    "models: {c: {providers: [anthropic, anthropic]}}": "mitm.yaml, line 1: `models.c.providers`: "
    "names a provider twice; found 'anthropic'.",
    "models: {c: {providers: anthropic}}": "mitm.yaml, line 1: `models.c.providers`: wrong value; "
    f"found 'anthropic'; allowed: {CANDIDATES}.",
    "models: {c: {providers: []}}": "mitm.yaml, line 1: `models.c.providers`: names no provider; "
    f"allowed: {CANDIDATES}.",
    "models:\n  c:\n    name: C": "mitm.yaml, line 2: `models.c.providers`: names no provider; "
    f"allowed: {CANDIDATES}.",
    "models:\n  c:": f"mitm.yaml, line 2: `models.c.providers`: names no provider; "
    f"allowed: {CANDIDATES}.",
    "models: {c: {providers: {anthropic: 4}}}": "mitm.yaml, line 1: "
    "`models.c.providers.anthropic`: wrong value; found 4; allowed: text.",
    "models:\n  c:\n    providers: [anthropic]\n    pin: github-copilot": "mitm.yaml, line 4: "
    "`models.c.pin`: is not one of this model's providers; found 'github-copilot'; "
    "allowed: anthropic.",
    "models: {c: {providers: [anthropic], pin: antropic}}": "mitm.yaml, line 1: `models.c.pin`: "
    "is not one of this model's providers; found 'antropic'; allowed: anthropic; "
    "the nearest valid spelling is `anthropic`.",
    "models:\n  Claude Sonnet 4.5: {providers: [anthropic]}": "mitm.yaml, line 2: `models`: "
    f"not a name for a model; found 'Claude Sonnet 4.5'; allowed: {NAMES}; "
    "write it as `claude-sonnet-4.5`.",
    "models: {limit-router/c: {providers: [anthropic]}}": "mitm.yaml, line 1: `models`: "
    f"not a name for a model; found 'limit-router/c'; allowed: {NAMES}; write it as `c`.",
    "models: {'!': {providers: [anthropic]}}": "mitm.yaml, line 1: `models`: "
    f"not a name for a model; found '!'; allowed: {NAMES}.",
    # prices
    "models: {c: {providers: [anthropic], price: 3}}": "mitm.yaml, line 1: `models.c.price`: "
    "wrong value; found 3; allowed: a mapping.",
    "models:\n  c:\n    providers: [anthropic]\n    price:\n      input: 3": "mitm.yaml, line 4: "
    "`models.c.price.output`: is missing.",
    "models: {c: {providers: [anthropic], price: {input: 3, output: -1}}}": "mitm.yaml, line 1: "
    "`models.c.price.output`: wrong value; found -1; allowed: 0 or more.",
    "models: {c: {providers: [anthropic], price: {input: 3, ouput: 1}}}": "mitm.yaml, line 1: "
    "`models.c.price.ouput`: unknown key; allowed: input, output, cache_read, cache_write; "
    "the nearest valid spelling is `output`.",
    "models: {c: {providers: [anthropic], price: {inputs: 3}}}": "mitm.yaml, line 1: "
    "`models.c.price.inputs`: wrong value; found 3; allowed: a mapping.",
    "models:\n  c:\n    providers: [anthropic]\n    price:\n      anthropic: {input: a, output: 1}": (
        "mitm.yaml, line 5: `models.c.price.anthropic.input`: wrong value; found 'a'; "
        "allowed: a number."
    ),
    "models:\n  c:\n    providers: [anthropic]\n    price:\n      copilot: {input: 1, output: 1}": (
        "mitm.yaml, line 5: `models.c.price.copilot`: is not one of this model's providers; "
        "found 'copilot'; allowed: anthropic."
    ),
    # who may be routed
    "allow_clients: [127.0.0.1, 10.0.0.1/8]": "mitm.yaml, line 1: `allow_clients.1`: wrong value; "
    "found '10.0.0.1/8'; allowed: an address or a network, such as 127.0.0.0/8; "
    "the network of that address is `10.0.0.0/8`.",
    "allow_clients:\n- 127.0.0.1\n- localhost": "mitm.yaml, line 3: `allow_clients.1`: wrong value; "
    "found 'localhost'; allowed: an address or a network, such as 127.0.0.0/8.",
    # the URLs that receive tokens
    "providers:\n  anthropic:\n    base_url: http://api.example.com": "mitm.yaml, line 3: "
    "`providers.anthropic.base_url`: credentials would cross the network unencrypted; "
    f"found 'http://api.example.com'; allowed: {URL}.",
    "providers:\n  anthropic:\n    usage_url: https://me:secret@example.com": "mitm.yaml, line 3: "
    "`providers.anthropic.usage_url`: a URL here holds no user name or password; "
    f"allowed: {URL}.",
    "catalog:\n  url: https://example.com/?token=secret": "mitm.yaml, line 2: `catalog.url`: "
    f"a URL here has no query and no fragment; allowed: {URL}.",
    # a first error of several is the first in the file
    "state: x\nmodels: {c: {}}": "mitm.yaml, line 1: `state`: wrong value; found 'x'; "
    "allowed: the full path of a folder, or one that begins with ~/.",
    # never a credential
    "providers:\n  anthropic:\n    api_key: sk-ant-secret": "mitm.yaml, line 3: "
    f"`providers.anthropic.api_key`: unknown key; allowed: {PROVIDER}.",
    "sk-ant-secret: 1": f"mitm.yaml, line 1: `…`: unknown key; allowed: {TOP}.",
    "discover: gho_secret": "mitm.yaml, line 1: `discover`: wrong value; "
    "found text that looks like a credential (not shown); allowed: off, configured, all.",
    "providers: {anthropic: {accounts: [{name: a, credential: {env: [s]}}, {name: b, "
    "credential: hunter2}]}}": "mitm.yaml, line 1: "
    "`providers.anthropic.accounts.0.credential.env`: wrong value; found a list; allowed: text.",
    "providers: {anthropic: {accounts: [{name: b, credential: hunter2}]}}": "mitm.yaml, line 1: "
    "`providers.anthropic.accounts.0.credential`: wrong value; found a value that is not shown; "
    "allowed: a mapping.",
}


@pytest.mark.parametrize("text", WRONG)
def test_says_what_is_wrong(text: str) -> None:
    assert refused(text) == WRONG[text]


def test_a_long_value_is_shortened() -> None:
    assert refused(f"discover: {'long ' * 30}") == (
        "mitm.yaml, line 1: `discover`: wrong value; "
        "found 'long long long long long long long long long long long lon…; "
        "allowed: off, configured, all."
    )


@pytest.mark.parametrize(
    "text", ["", "# nothing\n", "---\n", "null\n", "policy:\nmodels:\nstate: ~"]
)
def test_nothing_said_is_every_default(text: str) -> None:
    assert read(text) == Config()


def test_defaults() -> None:
    config = Config()
    assert [str(network) for network in config.allow_clients] == ["127.0.0.0/8", "::1/128"]
    assert (config.policy.mode, config.policy.unknown, config.policy.metered) == (
        {"pace": 1.0},
        "middle",
        "last",
    )
    assert (config.failover.max_attempts, config.failover.budget) == (4, 90.0)
    assert (config.failover.first_byte_timeout, config.failover.idle_timeout) == (60.0, 120.0)
    assert config.models == {}
    assert config.provider("anthropic") == ProviderConfig()
    assert config.provider("anthropic").oauth is False


def test_reads_a_section() -> None:
    config = read(
        "providers: {anthropic: {oauth: true, base_url: http://127.0.0.1:8080/, "
        "budget: {usd: 50, per: month}}}\ndiscover: off\nfailover: {budget: 5m}"
    )
    anthropic = config.provider("anthropic")
    assert anthropic.oauth is True
    assert anthropic.base_url == "http://127.0.0.1:8080"
    assert anthropic.budget is not None
    assert anthropic.budget.usd == 50.0
    assert config.discover == "off"
    assert config.failover.budget == 300.0


def test_providers_of_a_model_keep_their_order_and_their_spelling() -> None:
    models = read(
        "models:\n"
        "  a: {providers: [github-copilot, anthropic]}\n"
        "  b: {providers: {github-copilot: x-1.5, anthropic: }, pin: anthropic}\n"
    ).models
    assert list(models) == ["a", "b"]
    assert list(models["a"].providers.items()) == [("github-copilot", None), ("anthropic", None)]
    assert list(models["b"].providers.items()) == [("github-copilot", "x-1.5"), ("anthropic", None)]


def test_a_price_counts_everywhere_or_at_its_provider() -> None:
    models = read(
        "models:\n"
        "  a: {providers: [anthropic, github-copilot], price: {input: 3, output: 15}}\n"
        "  b:\n"
        "    providers: [anthropic, github-copilot]\n"
        "    price: {anthropic: {input: 1, output: 5, cache_read: 0.1, cache_write: 0}}\n"
        "  c: {providers: [anthropic], price: }\n"
    ).models
    everywhere = PriceConfig(input=3.0, output=15.0)
    assert [models["a"].price_at(name) for name in IDS] == [everywhere, everywhere]
    own = PriceConfig(input=1.0, output=5.0, cache_read=0.1, cache_write=0.0)
    assert [models["b"].price_at(name) for name in IDS] == [own, None]
    assert [models["c"].price_at(name) for name in IDS] == [None, None]


def test_a_provider_that_nothing_is_routed_to_has_settings_and_serves_no_model() -> None:
    ids = (*IDS, "openrouter")
    budget = "providers: {openrouter: {budget: {usd: 50, per: month}}}"
    found = parse(budget, "mitm.yaml", ids, IDS).provider("openrouter").budget
    assert found == BudgetConfig(usd=50.0, per="month")
    said = (
        "mitm.yaml, line 1: `models.c.providers`: nothing is routed to this provider yet, only its "
        "usage is shown; found 'openrouter'; allowed: anthropic, github-copilot."
    )
    assert refused("models: {c: {providers: [anthropic, openrouter]}}", *ids) == said
    assert refused("models: {c: {providers: {openrouter: x}}}", *ids) == said


def test_made_in_code_knows_no_providers_to_check() -> None:
    assert ModelConfig.model_validate({"providers": ["any"]}).providers == {"any": None}


SET = {
    "providers": {
        "anthropic": {
            "oauth": True,
            "base_url": "https://example.com",
            "usage_url": "https://example.com/usage",
            "reserve": {"five_hour": 1},
            "overage": True,
            "budget": {"usd": 1, "per": "day"},
            "accounts": [{"name": "a", "credential": {"env": "B"}}],
        },
        "github-copilot": {"oauth": True, "overage": False, "reserve": {}},
    },
    "models": {
        "a": {"name": "A", "providers": ["anthropic"], "mode": "drain", "limits": "smallest"},
        "b": {"providers": ["anthropic"], "mode": "pace", "pin": "anthropic", "limits": "largest"},
    },
    "policy": {
        "mode": "drain",
        "unknown": "last",
        "metered": "by_budget",
        "schedule": "mon-fri 9-17",
        "stickiness": "none",
    },
    "failover": {
        "max_attempts": 2,
        "budget": "1s",
        "first_byte_timeout": "1s",
        "idle_timeout": "1s",
    },
    "discover": "all",
    "catalog": {"url": "https://example.com"},
    "notify": {"opencode": "x", "desktop": True, "command": "y"},
    "allow_clients": ["10.0.0.0/8"],
    "state": "/var/lib/limit-router",
}


def test_names_each_key_that_has_no_effect_yet() -> None:
    assert without_effect(read(yaml.safe_dump(SET))) == (
        "providers.anthropic.accounts",
        "models.a.limits",
        "failover.max_attempts",
        "failover.budget",
        "failover.first_byte_timeout",
        "failover.idle_timeout",
        "discover",
        "catalog.url",
        "notify.opencode",
        "notify.desktop",
        "notify.command",
    )


def test_defaults_that_are_written_out_are_not_without_effect() -> None:
    assert (
        without_effect(read("policy: {mode: pace, metered: last}\nfailover: {budget: 90s}")) == ()
    )


# Where it is found


def test_found_in_the_stated_order(tmp_path: Path) -> None:
    explicit, named, users, shipped = (tmp_path / n for n in ("e.yaml", "n.yaml", "u", "s.yaml"))
    users.mkdir()
    for file in (explicit, named, users / "mitm.yaml", shipped):
        file.write_text("")
    environ = {"LIMIT_ROUTER_CONFIG": str(named)}
    assert find(explicit, environ, users, shipped) == explicit
    assert find(None, environ, users, shipped) == named
    assert find(None, {"LIMIT_ROUTER_CONFIG": " "}, users, shipped) == users / "mitm.yaml"
    (users / "mitm.yaml").unlink()
    assert find(None, {}, users, shipped) == shipped


def test_never_the_current_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mitm.yaml").write_text("")
    monkeypatch.chdir(tmp_path)
    shipped = Path("/shipped/mitm.yaml")
    assert find(None, {}, tmp_path / "users", shipped) == shipped


def test_a_named_path_is_made_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "own.yaml").write_text("")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    own = tmp_path / "own.yaml"
    assert find(Path("own.yaml"), {}, tmp_path, tmp_path) == own
    assert find(Path("~/own.yaml"), {}, tmp_path, tmp_path) == own
    assert find(None, {"LIMIT_ROUTER_CONFIG": "~/own.yaml"}, tmp_path, tmp_path) == own


@pytest.mark.parametrize("path", ["/no/such/mitm.yaml", "~no-such-user/mitm.yaml", "nul\0"])
def test_a_named_path_that_does_not_exist(path: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        find(Path(path), {}, tmp_path, tmp_path)
    assert str(caught.value) == (
        f"{path}: there is no such file, and the option limit_router_config names it."
    )
    with pytest.raises(ConfigError) as caught:
        find(None, {"LIMIT_ROUTER_CONFIG": path}, tmp_path, tmp_path)
    assert str(caught.value) == (
        f"{path}: there is no such file, and the variable LIMIT_ROUTER_CONFIG names it."
    )


def test_a_file_that_cannot_be_looked_at_is_not_passed_over(tmp_path: Path) -> None:
    loop = tmp_path / "mitm.yaml"
    loop.symlink_to(loop)
    assert find(None, {}, tmp_path, Path("/shipped")) == loop


# What ships


def test_the_shipped_file_is_in_effect_as_it_stands() -> None:
    config = load(SHIPPED, IDS)
    assert without_effect(config) == ()
    assert list(config.models) == [
        "claude-sonnet-4-5",
        "claude-opus-4-5",
        "claude-haiku-4-5",
        "claude-sonnet-4-6",
        "claude-sonnet-5",
        "claude-opus-4-7",
        "claude-opus-4-8",
        "claude-opus-5",
        "claude-opus-5-5",
        "claude-fable-5",
        "claude-fable-5-1",
    ]
    assert {tuple(model.providers) for model in config.models.values()} == {IDS}
    assert {key: model.name for key, model in config.models.items()} == {
        key: _spoken(key) for key in config.models
    }
    assert config.model_copy(update={"models": {}}) == Config(providers=config.providers)
    assert list(config.providers.values()) == [ProviderConfig(), ProviderConfig()]


def _spoken(model: str) -> str:
    family, *version = model.removeprefix("claude-").split("-")
    return f"Claude {family.capitalize()} {'.'.join(version)} (Auto-Route)"


def test_the_shipped_file_documents_every_key() -> None:
    text = re.sub(r"(?m)^( *)#(?=\S)", r"\1", SHIPPED.read_text(encoding="utf-8"))
    mentioned: dict[type[BaseModel], set[str]] = {}
    for section, keys in _sections(read(text), yaml.safe_load(text)):
        mentioned.setdefault(section, set()).update(keys)
    assert mentioned == {
        section: set(section.model_fields) for section in config_module._Section.__subclasses__()
    }


def _sections(value: Any, written: Any) -> Iterator[tuple[type[BaseModel], set[str]]]:
    """Each section of a configuration, and the keys that stand in the file for it."""
    inner: Iterable[tuple[Any, Any]] = ()
    match value:
        case BaseModel():
            yield type(value), set(written)
            inner = ((getattr(value, key), written[key]) for key in written)
        case dict() if isinstance(written, dict):
            inner = ((value[key], written[key]) for key in written)
        case tuple():
            inner = zip(value, written, strict=True)
    for pair in inner:
        yield from _sections(*pair)


# Whatever it is thrown


def _anything(text: str) -> None:
    try:
        config = read(text)
    except ConfigError as error:
        message = str(error)
        assert message.startswith("mitm.yaml")
        assert message.isprintable()
    else:
        assert isinstance(without_effect(config), tuple)


@settings(deadline=None)
@given(st.text())
@example("[" * 100_000)
@example("{a: " * 100_000)
@example("- " * 100_000)
@example("a: &a [*a]")
@example("%YAML 1." + "9" * 5000)
@example('"\\UFFFFFFFF"')
@example('"\\U00110000"')
@example('"\\ud800": "\\ud800"')
@example("allow_clients: [1" + "0" * 5000 + "]")
@example("failover: {max_attempts: 1" + "0" * 400 + "}")
@example("? [a]\n: b")
@example("<<: {a: b}")
@example("\ud800")
def test_any_text_is_a_configuration_or_our_error(text: str) -> None:
    _anything(text)


_KEYS = st.sampled_from(
    ["anthropic", "c", "mode", *TOP.split(", "), *MODEL.split(", "), *PROVIDER.split(", ")]
)
_SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.sampled_from(["anthropic", "pace", "60s", "https://[", "http://::1", "~", "~x/y"])
)
_TREES = st.recursive(
    _SCALARS,
    lambda inner: st.lists(inner) | st.dictionaries(_KEYS | _SCALARS, inner),
    max_leaves=30,
)


@settings(deadline=None)
@given(_TREES)
def test_any_structure_is_a_configuration_or_our_error(tree: Any) -> None:
    _anything(yaml.safe_dump(tree))


@settings(deadline=None)
@given(st.dictionaries(_KEYS, _TREES | st.dictionaries(_KEYS, st.dictionaries(_KEYS, _TREES))))
def test_any_structure_of_known_keys_is_a_configuration_or_our_error(tree: Any) -> None:
    _anything(yaml.safe_dump(tree))
