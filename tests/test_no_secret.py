"""No token is written down, logged, raised or shown, also where a provider sends it back.

Every provider, every source of a sign-in; the recorded replies with the token in the place of each
text in them.
"""

import asyncio
import hashlib
import io
import json
import logging
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from rich.console import Console

from core import inspection, providers, report
from core.config import parse
from core.credentials import Credentials
from core.engine import Engine, Forward
from core.errors import UsageError
from core.match import VIRTUAL_HOST
from core.model import CredentialType, Headers, HttpRequest, HttpResponse, Usage
from core.poller import Subject
from core.sse import Event
from core.state import LimitsSeen
from core.store import Store

NOW = 1_785_800_000.0
STEP = 90_000.0
"""Later than any back-off, and than the day of a model list."""
DATA = Path(__file__).parent / "data"
FOLDERS = {name: name.replace("-", "_") for name in providers.known()}
PIECE = 12
"""A run of so many characters of a token counts as the token."""


def canary(provider: str, kind: str) -> str:
    """As long as the real ones: GitHub's have 40 characters, ChatGPT's are signed and long."""
    digits = hashlib.sha256(f"{provider} {kind}".encode()).hexdigest()
    return f"gho_{digits[:36]}" if provider == "github-copilot" else f"sk-{digits}-{digits[::-1]}"


def auth() -> dict[str, Any]:
    """OpenCode's auth.json with a sign-in, or a key, for all that keep one there."""
    entries: dict[str, Any] = {}
    for name, provider in providers.known().items():
        access, refresh = canary(name, "access"), canary(name, "refresh")
        token = provider.opencode_token({"access": access, "refresh": refresh})
        signs_in = provider.accepts(CredentialType.OAUTH) and token is not None
        for key in provider.opencode_keys:
            entry = {"type": "api", "key": canary(name, "key")}
            if signs_in:
                times = {"expires": int((NOW + 10_000 * STEP) * 1000), "accountId": "workspace"}
                entry = {"type": "oauth", "access": access, "refresh": refresh, **times}
            if signs_in or key not in entries:
                entries[key] = entry
    return entries


def variables() -> dict[str, str]:
    return {
        name: canary(provider.id, "env")
        for provider in providers.known().values()
        for name in provider.env
    }


SOURCES = {
    "environment": variables(),
    "auth.json": {"OPENCODE_AUTH_CONTENT": json.dumps(auth())},
}


def pieces(text: str) -> set[str]:
    return {text[at : at + PIECE].lower() for at in range(len(text) - PIECE + 1)}


def secrets() -> set[str]:
    """Of every token there is: what no output may hold."""
    kinds = ("access", "refresh", "key", "env")
    tokens = [canary(name, kind) for name in providers.known() for kind in kinds]
    return set().union(*map(pieces, tokens))


def texts(value: Any) -> int:
    """How many there are in a JSON value."""
    match value:
        case str():
            return 1
        case dict():
            return sum(map(texts, value.values()))
        case list():
            return sum(map(texts, value))
    return 0


def echoing(value: Any, token: str, places: Iterator[bool]) -> Any:
    """The value with the token in the place of each text for which `places` says so."""
    match value:
        case str():
            return token if next(places) else value
        case dict():
            return {key: echoing(inner, token, places) for key, inner in value.items()}
        case list():
            return [echoing(inner, token, places) for inner in value]
    return value


def echoes(value: Any, token: str) -> Iterator[Any]:
    """As it is, with the token in all places, and in each one alone."""
    count = texts(value)
    yield value
    yield echoing(value, token, iter([True] * count))
    for place in range(count):
        yield echoing(value, token, iter([it == place for it in range(count)]))


USAGE = ("usage*", "key*", "quota*", "refused*")
MODELS = ("models*",)


def replies(provider: str, *names: str) -> list[Any]:
    """What is recorded of it under these names."""
    files = [file for name in names for file in sorted((DATA / FOLDERS[provider]).glob(name))]
    return [json.loads(file.read_text()) for file in files]


def hostile(provider: str, token: str) -> list[HttpResponse]:
    said: Headers = tuple((it, token) for it in ("retry-after", "date", "server", "x-request-id"))
    raw = json.dumps(token).encode()
    escaped = b'"' + b"".join(b"\\u%04x" % ord(it) for it in token) + b'"'
    answers = [HttpResponse(status, said, raw) for status in (200, 302, 401, 403, 404, 429, 500)]
    answers += [HttpResponse(200, said, b"<html>" + token.encode())]
    for reply in replies(provider, *USAGE, *MODELS):
        for body in echoes(reply, token):
            told = json.dumps(body).encode()
            answers += [HttpResponse(200, said, told)]
            if raw in told:
                answers += [HttpResponse(200, said, told.replace(raw, escaped))]
    return answers


@dataclass
class Clock:
    now: float = NOW

    def __call__(self) -> float:
        return self.now


@dataclass
class Seen:
    """All that came out."""

    texts: list[str] = field(default_factory=list)

    def assert_clean(self) -> None:
        secret = secrets()
        for text in set(self.texts):
            assert secret.isdisjoint(pieces(text)), text


class Rig:
    """An engine that is signed in to all there is, and providers that say what they are told to."""

    def __init__(self, folder: Path, environ: dict[str, str]) -> None:
        self.folder, self.clock, self.seen = folder, Clock(), Seen()
        sections: dict[str, Any] = {
            name: {
                "base_url": f"http://127.0.0.1:9/{name}",
                "usage_url": f"http://127.0.0.1:9/{name}",
            }
            for name in providers.known()
        }
        sections["anthropic"]["oauth"] = True
        routed = {"anthropic": "claude-sonnet-4-5", "github-copilot": "claude-sonnet-4.5"}
        models = {"claude-sonnet-4-5": {"providers": routed}}
        config = yaml.safe_dump({"providers": sections, "models": models})
        credentials = Credentials(environ, folder / "data")
        self.engine = Engine(
            parse(config, "mitm.yaml", providers.known().keys()),
            credentials,
            Store(folder / "state"),
            clock=self.clock,
        )
        self.answers: dict[str, list[HttpResponse]] = {
            it.provider.id: hostile(it.provider.id, it.credential.secret.reveal())
            for it in self.engine.subjects()
        }
        self.turn = 0

    async def send(self, request: HttpRequest, _: Headers) -> HttpResponse:
        answers = self.answers[request.path.split("/")[1]]
        self.seen.texts.append(repr(request))
        return answers[self.turn % len(answers)]

    async def polls(self) -> None:
        """Each provider gives each of its answers, to the poll and to who asks now."""
        held = self.engine.knowledge
        for turn in range(max(map(len, self.answers.values()))):
            self.turn = turn
            self.clock.now += STEP
            outcomes = await held.ask_now(self.engine.subjects(), self.send)
            self.tell(*map(_told, outcomes.values()))
            self.clock.now += STEP
            await held.poll(self.engine.subjects, self.send)
            self.tell(repr(self.engine.state))
            self.state()
            if turn % 10 == 0:  # they show no more than the state
                await self.commands()

    async def commands(self) -> None:
        """What `usage` and `route` show. Nothing is due: nobody is asked."""
        now, engine = self.clock(), self.engine
        readings = await inspection.usage(engine, None, asked_now=False)
        decision = await inspection.route(engine, "claude-sonnet-4-5")
        shown = io.StringIO()
        console = Console(file=shown, width=1000)
        console.print(report.usage(readings, now))
        console.print(report.route("limit-router/claude-sonnet-4-5", decision, now))
        found = (report.usage_json(readings, now), report.route_json("m", decision))
        self.tell(shown.getvalue(), json.dumps(found), repr(readings), repr(decision))

    def hear(self, subject: Subject) -> None:
        """Answers' headers and events that hold the token; the model's answers are another's."""
        provider, token = subject.provider, subject.credential.secret.reveal()
        now, folder = self.clock(), DATA / FOLDERS[provider.id]
        for file in sorted(folder.glob("headers*.json")):
            for fields in echoes(json.loads(file.read_text()), token):
                self.learn(subject, provider.read_limits(tuple(fields.items()), now))
        for file in sorted(folder.glob("event*.json")):
            for body in echoes(json.loads(file.read_text()), token):
                event = Event(str(body.get("type", "")), json.dumps(body).encode())
                self.learn(subject, provider.read_event(event, now))

    def learn(self, subject: Subject, windows: tuple[Any, ...]) -> None:
        self.engine.knowledge.apply(LimitsSeen(subject.account, windows))
        self.tell(repr(windows))

    def state(self) -> None:
        self.engine.close()
        for file in (self.folder / "state").iterdir():
            self.tell(file.name, file.read_bytes().decode())

    def tell(self, *shown: str) -> None:
        self.seen.texts += shown


def _told(error: UsageError | None) -> str:
    return f"{error!s} {error!r} {error and (error.args, error.__cause__, error.__context__)!r}"


def _logged(record: logging.LogRecord) -> str:
    return f"{record.getMessage()} {record.msg} {record.args!r} {record.exc_info!r}"


@pytest.mark.parametrize("source", SOURCES)
def test_no_token_comes_out_whatever_a_provider_says(
    tmp_path: Path, source: str, caplog: pytest.LogCaptureFixture
) -> None:
    rig = Rig(tmp_path, SOURCES[source])
    subjects = rig.engine.subjects()
    asked = {it.provider.id for it in subjects if it.provider.usage and it.usage_url}
    with caplog.at_level(logging.DEBUG):
        asyncio.run(rig.polls())
        for subject in subjects:
            rig.hear(subject)
        rig.state()
        asyncio.run(rig.commands())
    rig.tell(*map(_logged, caplog.records))
    rig.tell(*(repr(it) for it in (*subjects, rig.engine.config, rig.engine, rig.engine.accounts)))
    rig.tell(rig.engine.summary(), *rig.engine.warnings())
    assert len(asked) >= 4
    assert len(caplog.records) > 10
    assert any("seven_day" in text for text in rig.seen.texts)
    rig.seen.assert_clean()


def test_every_provider_is_signed_in_from_some_source(tmp_path: Path) -> None:
    found = {
        subject.provider.id
        for name, environ in SOURCES.items()
        for subject in Rig(tmp_path / name, environ).engine.subjects()
    }
    assert found == providers.known().keys()


def test_a_request_on_its_way_shows_no_token(tmp_path: Path) -> None:
    rig = Rig(tmp_path, SOURCES["auth.json"])
    fields = (("content-type", "application/json"), ("anthropic-version", "2023-06-01"))
    body = b'{"model":"limit-router/claude-sonnet-4-5","max_tokens":1,"messages":[]}'
    request = HttpRequest("POST", "https", VIRTUAL_HOST, 443, "/v1/messages", fields, body)
    forward = rig.engine.plan(request, peer="127.0.0.1")
    assert isinstance(forward, Forward)
    rig.tell(repr(forward), repr(forward.request), repr(forward.credential), str(forward))
    rig.tell(repr(replace(forward.credential, source="elsewhere")))
    rig.seen.assert_clean()


@pytest.mark.parametrize("provider", [it.id for it in providers.known().values() if it.usage])
def test_a_name_that_a_provider_gives_is_short_and_plain(provider: str) -> None:
    """Plans, windows and scopes are shown on terminals and kept: no more than a name passes."""
    facts = providers.known()[provider]
    odd = ("x" * 10_000, "a\x1b[2J", "two\nlines")
    for text in odd:
        for reply in replies(provider, *USAGE):
            for body in echoes(reply, text):
                flow = facts.usage("https://usage.example/u", _credential(), NOW)  # type: ignore[misc]
                next(flow)
                with pytest.raises((StopIteration, UsageError)) as ended:
                    flow.send(HttpResponse(200, (), json.dumps(body).encode()))
                usage = getattr(ended.value, "value", Usage())
                names = [usage.plan or "none", *(it.name for it in usage.windows)]
                assert all(len(name) <= 100 and name.isprintable() for name in names)
                assert all(name.strip() for name in names)


def _credential() -> Any:
    [subject] = [
        it
        for it in Rig(Path("/nonexistent"), SOURCES["auth.json"]).engine.subjects()
        if it.provider.id == "anthropic"
    ]
    return subject.credential
