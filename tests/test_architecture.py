"""DESIGN §3, kept by reading the syntax trees. Each rule is tried on a source that breaks it."""

import ast
import io
import tokenize
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from core.provider import Provider
from core.providers import known

ROOT = Path(__file__).parents[1]
LONGEST_FILE = 300

# From the ground up. A module may import those of lower layers, and its own group's.
LAYERS: tuple[tuple[frozenset[str], ...], ...] = (
    (frozenset({"model", "errors", "version"}),),
    (
        frozenset(
            {
                "jsonspan",
                "codec",
                "reading",
                "pace",
                "worktime",
                "demand",
                "estimate",
                "scrub",
                "sse",
                "nouns",
                "catalog",
                "fit",
                "budget",
            }
        ),
    ),
    (frozenset({"provider", "oauth"}), frozenset({"wires"})),
    (frozenset({"providers"}),),
    (frozenset({"state"}),),
    (
        frozenset({"match", "rewrite", "observe", "poller", "continuity"}),
        frozenset({"routing", "standing", "ranking", "explain"}),
        frozenset(
            {
                "authfile",
                "authnotes",
                "catalogfile",
                "complaint",
                "config",
                "configfile",
                "credentials",
                "scalars",
                "store",
                "transport",
                "yamltext",
            }
        ),
    ),
    (
        frozenset(
            {
                "knowledge",
                "policies",
                "speeds",
                "plan",
                "dispatch",
                "accounts",
                "refresh",
                "record",
                "historyfile",
                "history",
                "spending",
            }
        ),
    ),
    (frozenset({"candidates", "notices"}),),
    (frozenset({"engine"}),),
    (frozenset({"setup"}),),
    (frozenset({""}),),
    (frozenset({"report", "report_why"}),),
    (frozenset({"evaluation"}),),
    (frozenset({"inspection", "replay", "why"}),),
    (frozenset({"cli", "demo"}),),
)
"""The package itself is the empty name. The simulator stands beside all of this."""
PURE = frozenset({"httpx", "mitmproxy", "tornado", "filelock", "socket", "asyncio", "threading"})
TOP = frozenset({"cli", "demo"})
PROVIDERS_AVOID = frozenset(
    {"config", "credentials", "engine", "poller", "routing", "state", "store"}
)
DECIDES = frozenset().union(*[group for layer in LAYERS[:5] for group in layer], *LAYERS[5][:2])
CLOCKS = frozenset({"time.time", "time.time_ns"})
DATES = frozenset({"now", "utcnow", "today"})


@dataclass(frozen=True)
class Source:
    """A file of the program."""

    path: str
    """From the repository's root, with slashes."""
    text: str

    @property
    def tree(self) -> ast.Module:
        return _parsed(self.text)

    @property
    def part(self) -> str:
        """`core` or `addon`."""
        return self.path.partition("/")[0]

    @property
    def module(self) -> str:
        """The module of core that it belongs to: `engine`, `providers`; empty for the package."""
        name = self.path.split("/")[1].removesuffix(".py")
        return "" if name == "__init__" else name

    @property
    def simulated(self) -> bool:
        return self.path.startswith("core/simulator/")


@cache
def _parsed(text: str) -> ast.Module:
    return ast.parse(text)


type Rule = Callable[[Source], Iterator[str]]
"""Yields what is wrong with a source, one finding each: its line and the offence."""


def imports(source: Source) -> Iterator[tuple[int, str]]:
    """Every imported module by its full name; `from core import engine` is `core.engine`."""
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = "." * node.level + (node.module or "")
            for alias in node.names:
                inner = f"{base}.{alias.name}"
                yield node.lineno, inner if _is_module(inner) else base


def _is_module(name: str) -> bool:
    place = ROOT.joinpath(*name.split("."))
    return place.with_suffix(".py").is_file() or (place / "__init__.py").is_file()


def of_core(name: str) -> str | None:
    """The module of core that an import reaches: `core.wires.messages` is `wires`."""
    package, _, rest = name.partition(".")
    return rest.partition(".")[0] if package == "core" else None


def place(module: str) -> tuple[int, frozenset[str]] | None:
    places = ((level, group) for level, layer in enumerate(LAYERS) for group in layer)
    return next(((level, group) for level, group in places if module in group), None)


def dotted(node: ast.AST) -> str:
    """`time.time` for an attribute of a name, else nothing."""
    if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
        return f"{node.value.id}.{node.attr}"
    return ""


def docstrings(tree: ast.Module) -> set[int]:
    """The ids of strings that stand as statements: documentation, not values."""
    return {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}


def strings(source: Source) -> Iterator[tuple[int, str]]:
    """Every string constant, f-strings' pieces and bytes included, without documentation."""
    documentation = docstrings(source.tree)
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Constant) and id(node) not in documentation:
            if isinstance(node.value, str):
                yield node.lineno, node.value
            elif isinstance(node.value, bytes):
                yield node.lineno, node.value.decode("latin-1")


# The rules


def arrows(source: Source) -> Iterator[str]:
    if source.part != "core" or source.simulated:
        return
    here = place(source.module)
    if here is None:
        yield "1: stands in no layer: name it in LAYERS"
        return
    for line, name in imports(source):
        reached = of_core(name)
        # The simulator is a part of the demo.
        if reached is None or (reached == "simulator" and source.module in TOP):
            continue
        there = place(reached)
        if there is None or there[0] > here[0] or (there[0] == here[0] and there != here):
            yield f"{line}: imports {name}"


def package_from_inside(source: Source) -> Iterator[str]:
    if source.part == "core" and source.module not in TOP:
        yield from (f"{n}: imports {name}" for n, name in imports(source) if name == "core")


def relative(source: Source) -> Iterator[str]:
    yield from (f"{n}: imports {name}" for n, name in imports(source) if name.startswith("."))


def headless(source: Source) -> Iterator[str]:
    if source.part == "core":
        for line, name in imports(source):
            if name.partition(".")[0] in ("mitmproxy", "addon"):
                yield f"{line}: imports {name}"


def one_http_client(source: Source) -> Iterator[str]:
    exempt = source.simulated or source.path in ("core/transport.py", "core/cli.py", "core/demo.py")
    for line, name in imports(source):
        if name.partition(".")[0] in ("httpx", "requests", "urllib3", "aiohttp") and not exempt:
            yield f"{line}: imports {name}"
        if name in ("urllib.request", "http.client"):
            yield f"{line}: imports {name}"


def public_api(source: Source) -> Iterator[str]:
    if source.part == "addon":
        for line, name in imports(source):
            if name.startswith("core."):
                yield f"{line}: imports {name}"


def one_clock(source: Source) -> Iterator[str]:
    if source.simulated:
        return
    defaults: set[int] = set()
    if source.path == "core/engine.py":
        for node in ast.walk(source.tree):
            if isinstance(node, ast.arguments):
                defaults |= {id(each) for each in (*node.defaults, *node.kw_defaults)}
    for node in ast.walk(source.tree):
        if dotted(node) in CLOCKS and id(node) not in defaults:
            yield f"{node.lineno}: {dotted(node)}"  # type: ignore[attr-defined]
        if isinstance(node, ast.ImportFrom) and node.module == "time":
            named = {f"time.{alias.name}" for alias in node.names}
            yield from (f"{node.lineno}: imports {name}" for name in sorted(named & CLOCKS))


def no_date_of_today(source: Source) -> Iterator[str]:
    if source.simulated:
        return
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Attribute) and node.attr in DATES:
            owner = node.value.attr if isinstance(node.value, ast.Attribute) else ""
            owner = node.value.id if isinstance(node.value, ast.Name) else owner
            if owner in ("datetime", "date"):
                yield f"{node.lineno}: {owner}.{node.attr}"


ALSO_A_CLIENT = frozenset({"opencode"})
"""Ids that name the client as well, whose files and variables we read."""


@cache
def provider_words() -> Mapping[str, frozenset[str]]:
    """By provider file: its id and its usual hosts."""
    words = {}
    for provider in known().values():
        usual = provider.endpoints(None)
        urls = (usual.base_url, usual.usage_url, provider.token_url)
        hosts = {urlsplit(url or "").hostname or "" for url in urls}
        path = _file_of(provider)
        words[path] = frozenset({provider.id, *hosts} - {"", *ALSO_A_CLIENT})
    return words


def opencode_keys() -> Mapping[str, frozenset[str]]:
    """By provider file: what OpenCode calls it, which may be another provider's id."""
    return {_file_of(it): frozenset(it.opencode_keys) for it in known().values()}


def _file_of(provider: Provider) -> str:
    return f"core/providers/{provider.id.replace('-', '_')}.py"


def provider_facts(source: Source) -> Iterator[str]:
    if source.simulated:
        return
    all_words, keys = provider_words(), opencode_keys()
    allowed = all_words.get(source.path, frozenset()) | keys.get(source.path, frozenset())
    for owner, words in all_words.items():
        for line, text in strings(source) if source.path != owner else ():
            # In an address another's name is a path; only its host is a fact of its own.
            foreign = {it for it in words - allowed if "." in it or "://" not in text}
            yield from (
                f"{line}: {word!r} in {text!r}" for word in sorted(foreign) if _has(text, word)
            )


def _has(text: str, word: str) -> bool:
    """Whether it stands there as a word: `anthropic` does not in `anthropic-version`."""
    at = text.find(word)
    while at >= 0:
        around = text[at - 1 : at] + text[at + len(word) : at + len(word) + 1]
        if not any(each.isalnum() or each in "-_" for each in around):
            return True
        at = text.find(word, at + 1)
    return False


def blind_simulator(source: Source) -> Iterator[str]:
    if source.simulated:
        for line, name in imports(source):
            if of_core(name) not in (None, "simulator"):
                yield f"{line}: imports {name}"


def blind_providers(source: Source) -> Iterator[str]:
    if not source.path.startswith("core/providers/"):
        return
    for line, name in imports(source):
        foreign = name.partition(".")[0] in PURE | {"pydantic", "os", "pathlib", "time"}
        if foreign or of_core(name) in PROVIDERS_AVOID:
            yield f"{line}: imports {name}"


def no_effects(source: Source) -> Iterator[str]:
    """Pure modules touch no socket, file or thread."""
    if source.part != "core" or source.module not in DECIDES:
        return
    for line, name in imports(source):
        if name.partition(".")[0] in PURE | {"os", "pathlib", "subprocess", "logging", "random"}:
            yield f"{line}: imports {name}"


def short_files(source: Source) -> Iterator[str]:
    lines = len(code_lines(source))
    if lines > LONGEST_FILE:
        yield f"{lines} lines of code"


def code_lines(source: Source) -> set[int]:
    """The lines that hold code: not blank, no comment, no documentation."""
    documentation: set[int] = set()
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            documentation |= set(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    space = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT}
    found: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(source.text).readline):
        if token.type not in space | {tokenize.ENDMARKER}:
            found |= set(range(token.start[0], token.end[0] + 1))
    return found - documentation


@dataclass(frozen=True)
class Law:
    """A rule, why it is one, and sources that keep and that break it: (path, text)."""

    rule: Rule
    reason: str
    breaks: tuple[tuple[str, str], ...]
    keeps: tuple[tuple[str, str], ...]


_LONG = "\n".join(f"a{n} = {n}" for n in range(LONGEST_FILE))

LAWS = [
    Law(
        arrows,
        "import arrows point one way (DESIGN §3): a lower layer that knows a higher one "
        "cannot be tested, reused or understood without it",
        (
            ("core/model.py", "import core.engine"),
            ("core/model.py", "from core.jsonspan import Node"),
            ("core/sse.py", "from core.provider import header"),
            ("core/provider.py", "from core import wires"),
            ("core/wires/messages.py", "from core.provider import header"),
            ("core/providers/x.py", "from core.state import apply"),
            ("core/state.py", "from core import routing"),
            ("core/match.py", "from core.config import Config"),
            ("core/transport.py", "from core.poller import Job"),
            ("core/config.py", "from core.knowledge import Knowledge"),
            ("core/knowledge.py", "def f():\n    from core.engine import Engine"),
            ("core/engine.py", "from core.setup import build"),
            ("core/setup.py", "from core.cli import main"),
            ("core/engine.py", "from core.simulator import Simulator"),
            ("core/__init__.py", "from core.cli import main"),
            ("core/nowhere.py", "import re"),
            ("core/engine.py", "from core.nowhere import x"),
        ),
        (
            ("core/match.py", "from core.wires import messages\nfrom core import codec"),
            ("core/rewrite.py", "from core.match import Matched"),
            ("core/config.py", "from core import yamltext"),
            ("core/demo.py", "from core.simulator import Simulator"),
            ("core/__init__.py", "from core.setup import build"),
            ("core/simulator/x.py", "from core.engine import Engine"),
        ),
    ),
    Law(
        package_from_inside,
        "inside core a module names the module that it needs: the package is the public "
        "API for others, and importing it from inside is a cycle",
        (("core/engine.py", "import core"), ("core/match.py", "from core import Engine")),
        (("core/engine.py", "from core import match"), ("core/cli.py", "from core import build")),
    ),
    Law(
        relative,
        "imports are written out: mitmproxy loads the script outside any package",
        (("addon/router.py", "from . import hooks"), ("core/x.py", "from .model import Ask")),
        (("addon/router.py", "from addon import hooks"),),
    ),
    Law(
        headless,
        "core runs without mitmproxy: the CLI, the tests and other proxies use it so",
        (
            ("core/engine.py", "from mitmproxy import http"),
            ("core/simulator/x.py", "import mitmproxy.http"),
            ("core/cli.py", "from addon.hooks import LimitRouter"),
        ),
        (("addon/hooks.py", "from mitmproxy import http"), ("core/cli.py", "import subprocess")),
    ),
    Law(
        one_http_client,
        "core/transport.py is the one importer of an HTTP client: one place for time-outs, "
        "redirects, proxies and what a log may show",
        (
            ("core/engine.py", "import httpx"),
            ("core/poller.py", "from httpx import Client"),
            ("addon/hooks.py", "import httpx"),
            ("core/knowledge.py", "import urllib.request"),
        ),
        (("core/transport.py", "import httpx"), ("core/demo.py", "import httpx")),
    ),
    Law(
        public_api,
        "the addon uses core's public API: what core/__init__.py does not export may change",
        (
            ("addon/hooks.py", "from core.engine import Engine"),
            ("addon/hooks.py", "from core import engine"),
            ("addon/hooks.py", "import core.match"),
        ),
        (("addon/hooks.py", "from core import Engine, Tap"),),
    ),
    Law(
        one_clock,
        "time is an argument: only core/engine.py reads the clock, as a default that can "
        "be replaced; a test never sleeps and never patches time",
        (
            ("core/routing.py", "import time\nnow = time.time()"),
            ("core/routing.py", "from time import time"),
            ("core/engine.py", "import time\nnow = time.time()"),
            ("core/engine.py", "import time\ndef f(clock):\n    return time.time()"),
            ("addon/hooks.py", "import time\ndef f(clock=time.time): ..."),
        ),
        (
            ("core/engine.py", "import time\ndef f(*, clock=time.time): ..."),
            ("core/simulator/x.py", "import time\nnow = time.time()"),
            ("core/demo.py", "import time\nstarted = time.perf_counter()"),
        ),
    ),
    Law(
        no_date_of_today,
        "time is an argument: a date of today is the clock under another name",
        (
            ("core/pace.py", "from datetime import UTC, datetime\nx = datetime.now(UTC)"),
            ("core/pace.py", "import datetime\nx = datetime.datetime.utcnow()"),
            ("core/engine.py", "from datetime import date\nx = date.today()"),
        ),
        (
            (
                "core/pace.py",
                "from datetime import UTC, datetime\nx = datetime.fromtimestamp(1, UTC)",
            ),
            ("core/simulator/x.py", "from datetime import datetime\nx = datetime.now()"),
        ),
    ),
    Law(
        provider_facts,
        "a provider's id and hosts stand in its own file only: adding a provider is one "
        "file, and no other has to be searched",
        (
            ("core/routing.py", 'if provider == "anthropic": ...'),
            ("core/engine.py", 'x = f"https://api.anthropic.com/{path}"'),
            ("core/config.py", "x = b'api.github.com'"),
            ("core/config.py", 'x = "providers.github-copilot.oauth"'),
            ("core/providers/x.py", 'x = "https://api.githubcopilot.com"'),
            ("core/providers/anthropic.py", 'x = "github-copilot"'),
            ("addon/hooks.py", 'x = {"api.anthropic.com": 1}'),
        ),
        (
            ("core/providers/anthropic.py", 'x = "https://api.anthropic.com"'),
            ("core/match.py", 'x = "anthropic-version"'),
            ("core/match.py", '"""anthropic and api.github.com"""\ndef f():\n    "anthropic"'),
            ("core/simulator/x.py", 'x = "anthropic"'),
        ),
    ),
    Law(
        blind_simulator,
        "the simulator restates the providers' facts: one that imported them would only "
        "agree with itself",
        (
            ("core/simulator/x.py", "from core.providers import known"),
            ("core/simulator/x.py", "from core import model"),
            ("core/simulator/x.py", "import core"),
        ),
        (("core/simulator/x.py", "from core.simulator.body import Turn\nimport json"),),
    ),
    Law(
        blind_providers,
        "a provider says facts: it sees no HTTP client, configuration, state, file or clock",
        (
            ("core/providers/x.py", "import httpx"),
            ("core/providers/x.py", "from core.config import Config"),
            ("core/providers/x.py", "from core import state"),
            ("core/providers/x.py", "from core.engine import Engine"),
            ("core/providers/x.py", "import os"),
        ),
        (("core/providers/x.py", "from core.reading import number\nimport re"),),
    ),
    Law(
        no_effects,
        "what decides is pure: sockets, files, threads and chance belong to the edges",
        (
            ("core/routing.py", "import random"),
            ("core/match.py", "from pathlib import Path"),
            ("core/wires/messages.py", "import logging"),
            ("core/state.py", "import asyncio"),
        ),
        (("core/store.py", "import os"), ("core/routing.py", "import re")),
    ),
    Law(
        short_files,
        f"a file stays under {LONGEST_FILE} lines of code: a longer one holds two jobs",
        (("core/x.py", _LONG + "\nx = 1"), ("addon/x.py", 'x = """' + "\n" * 300 + '"""')),
        (("core/x.py", f'"""Doc.\n\nMore.\n"""\n# comment\n\n{_LONG}\n'),),
    ),
]


def program() -> list[Source]:
    paths = [*ROOT.glob("core/**/*.py"), *ROOT.glob("addon/**/*.py")]
    return [
        Source(path.relative_to(ROOT).as_posix(), path.read_text(encoding="utf-8"))
        for path in sorted(paths)
    ]


def _named(law: Law) -> str:
    return law.rule.__name__


@pytest.mark.parametrize("law", LAWS, ids=_named)
def test_the_program_keeps_the_rule(law: Law) -> None:
    broken = [f"{source.path}:{found}" for source in program() for found in law.rule(source)]
    assert not broken, f"{law.reason}\n" + "\n".join(broken)


@pytest.mark.parametrize(
    ("law", "path", "text"),
    [pytest.param(law, *sample, id=_named(law)) for law in LAWS for sample in law.breaks],
)
def test_the_rule_finds_what_breaks_it(law: Law, path: str, text: str) -> None:
    assert list(law.rule(Source(path, text)))


@pytest.mark.parametrize(
    ("law", "path", "text"),
    [pytest.param(law, *sample, id=_named(law)) for law in LAWS for sample in law.keeps],
)
def test_the_rule_lets_pass_what_keeps_it(law: Law, path: str, text: str) -> None:
    assert list(law.rule(Source(path, text))) == []


def test_the_program_is_found() -> None:
    assert {"core/__init__.py", "core/wires/messages.py", "addon/router.py"} <= {
        source.path for source in program()
    }


def test_every_module_has_one_layer() -> None:
    placed = [module for layer in LAYERS for group in layer for module in group]
    assert len(placed) == len(set(placed))


def test_no_import_goes_round_in_a_circle() -> None:
    """Within a group too: a cycle is one module in two files."""
    graph: dict[str, set[str]] = {}
    for source in program():
        module = source.path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
        graph.setdefault(module, set()).update(
            name for _, name in imports(source) if name.partition(".")[0] in ("core", "addon")
        )
    assert circle(graph) == []


def test_a_circle_would_be_found() -> None:
    assert circle({"a": {"b"}, "b": {"c"}, "c": {"b"}}) == ["b", "c"]
    assert circle({"a": {"b", "c"}, "b": {"c"}, "c": set()}) == []


def circle(graph: Mapping[str, set[str]]) -> list[str]:
    """What is left when everything that imports nothing left is taken away, and its reverse."""
    left = {name: {each for each in reached if each in graph} for name, reached in graph.items()}
    while free := [name for name, reached in left.items() if not reached & set(left)]:
        for name in free:
            del left[name]
    while roots := [name for name in left if not any(name in reached for reached in left.values())]:
        for name in roots:
            del left[name]
    return sorted(left)


def test_each_provider_has_its_words() -> None:
    """The rule on literals would keep nothing if this were empty."""
    assert provider_words() == {
        "core/providers/anthropic.py": {"anthropic", "api.anthropic.com", "platform.claude.com"},
        "core/providers/chatgpt.py": {"chatgpt", "chatgpt.com", "auth.openai.com"},
        "core/providers/github_copilot.py": {
            "github-copilot",
            "api.githubcopilot.com",
            "api.github.com",
        },
        "core/providers/google.py": {"google", "generativelanguage.googleapis.com"},
        "core/providers/openai.py": {"openai", "api.openai.com"},
        "core/providers/opencode.py": {"opencode.ai"},
        "core/providers/opencode_go.py": {"opencode-go", "opencode.ai"},
        "core/providers/openrouter.py": {"openrouter", "openrouter.ai"},
        "core/providers/zai.py": {"zai", "api.z.ai"},
    }
