"""What the command line asks of an engine: usage, a decision, the configuration. Prints nothing."""

import os
from collections.abc import Iterator
from dataclasses import replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from core import budget, estimate, pace, policies, providers, setup, yamltext
from core import config as configuration
from core.complaint import Keys, dotted
from core.config import without_effect
from core.engine import Engine
from core.errors import ConfigError, UsageError
from core.model import AccountState, Ask, Decision, Wire
from core.poller import Subject
from core.report import Reading, Setting, Spending, Status
from core.transport import Transport

_NO_ENDPOINT = "this account has no usage endpoint to ask"


def provider_ids() -> tuple[str, ...]:
    return tuple(providers.known())


async def usage(engine: Engine, only: str | None, *, asked_now: bool) -> list[Reading]:
    """Every account's usage; `asked_now` shows what an ask made now finds, and nothing older."""
    subjects = {s.provider.id: s for s in engine.subjects()}
    named = {*engine.accounts.named(), *engine.config.providers}
    shown = {*named, *subjects} if only is None else {only}
    wanted = [name for name in provider_ids() if name in shown]
    found = [subjects[name] for name in wanted if name in subjects]
    asked = [subject for subject in found if engine.sign_in_over(subject) is None]
    outcomes: dict[str, UsageError | None] = {}
    async with Transport() as transport:
        if asked_now:
            outcomes = await engine.knowledge.ask_now(asked, transport.send)
        else:
            await engine.knowledge.refresh()
            await engine.knowledge.poll(lambda: asked, transport.send)
    engine.close()
    return [
        _reading(engine, name, subjects.get(name), outcomes if asked_now else None)
        for name in wanted
    ]


def _reading(
    engine: Engine,
    name: str,
    subject: Subject | None,
    outcomes: dict[str, UsageError | None] | None,
) -> Reading:
    if subject is None:
        looked = ", ".join(engine.credentials.sources(providers.known()[name]))
        return Reading(name, Status.UNAUTHENTICATED, error=f"no sign-in found in {looked}")
    reading = _asked(engine, name, subject, outcomes)
    return _with_budget(engine, subject, reading)


def _asked(
    engine: Engine, name: str, subject: Subject, outcomes: dict[str, UsageError | None] | None
) -> Reading:
    known = engine.state.of(subject.account)
    over = engine.sign_in_over(subject)
    if over is not None:
        held = _held(engine, name, AccountState() if outcomes is not None else known)
        return _over(held, over, out=engine.credentials.is_signed_out(subject.credential))
    if outcomes is None:
        return _held(engine, name, known)
    if name not in outcomes:
        return Reading(name, Status.UNKNOWN, error=_NO_ENDPOINT)
    failure = outcomes[name]
    if failure is not None:
        return Reading(name, Status.ERROR, error=str(failure), as_of=engine.clock())
    fresh = {key: w for key, w in known.windows.items() if w.as_of == known.polled_at}
    return _held(engine, name, AccountState(fresh, known.plan, known.polled_at))


def _over(held: Reading, why: str, *, out: bool) -> Reading:
    """Of a sign-in that nothing can be asked with: as far as it is known, and what is the matter."""
    status = held.status if held.windows else Status.ERROR
    return replace(held, status=Status.SIGNED_OUT if out else status, error=why)


def _with_budget(engine: Engine, subject: Subject, reading: Reading) -> Reading:
    """With the declared budget among the windows: that is our own count, and never old."""
    declared = engine.spending.budget(subject.account)
    if declared is None:
        return reading
    known, now = engine.state.of(subject.account), engine.clock()
    spent = budget.spent(known, declared.per, now)
    shown = Spending(declared, spent.usd, spent.known, spent.unpriced)
    window = budget.window(declared, known, now)
    if window is None:
        return replace(reading, spending=shown)
    hours = policies.schedule(engine.config, now)
    return replace(
        reading,
        status=Status.KNOWN if reading.status is Status.UNKNOWN else reading.status,
        windows=(*reading.windows, pace.view(window, now, hours)),
        error=None if reading.error == _NO_ENDPOINT else reading.error,
        as_of=max(reading.as_of or 0.0, window.as_of),
        spending=shown,
    )


def _held(engine: Engine, name: str, known: AccountState) -> Reading:
    now = engine.clock()
    hours = policies.schedule(engine.config, now)
    views = tuple(pace.view(window, now, hours) for window in estimate.carried(known, now))
    if views:
        return Reading(name, Status.KNOWN, views, known.plan, known.error, known.as_of)
    # Why the endpoint said nothing is told beside it.
    return Reading(name, Status.UNKNOWN, (), known.plan, known.error, known.polled_at)


def known_model(engine: Engine, asked: str) -> str:
    """The virtual model's name. Raises ConfigError where the configuration has none of that name."""
    name = asked.removeprefix("limit-router/")
    models = engine.config.models
    if name not in models:
        near = get_close_matches(name, models, n=1)
        hint = f"the nearest valid spelling is `{near[0]}`" if near else None
        raise ConfigError(
            "MODEL", "there is no such model", None, None, name, ", ".join(models), hint
        )
    return name


async def route(engine: Engine, model: str) -> Decision:
    """The decision for a plain request made now. Stale accounts are asked first."""
    async with Transport() as transport:
        await engine.knowledge.poll(engine.askable, transport.send)
    engine.close()
    return engine.decide(Ask(Wire.MESSAGES, model))


def check_config(path: Path | None) -> tuple[Path, tuple[str, ...]]:
    """The file, and its keys that have no effect yet. Raises ConfigError."""
    found = setup.config_path(path, os.environ)
    return found, without_effect(_loaded(found))


def _loaded(path: Path) -> configuration.Config:
    return configuration.load(path, providers.known(), providers.routable())


def settings() -> tuple[Path, list[Setting]]:
    """Every value in effect. Raises ConfigError."""
    path = setup.config_path(None, os.environ)
    config = _loaded(path)
    document = yamltext.read(yamltext.decoded(path, str(path)), str(path))
    leaves = _leaves(config.model_dump(mode="json"), ())
    return path, [Setting(dotted(at), value, _origin(document, at)) for at, value in leaves]


def _leaves(value: Any, at: Keys) -> Iterator[tuple[Keys, Any]]:
    if at[:1] == ("models",) and at[2:] == ("providers",):
        # Written as a list where every provider has its usual spelling.
        yield at, value if any(value.values()) else list(value)
    elif at[-1:] == ("mode",) and isinstance(value, dict):
        # Written as a word where there is one.
        yield at, next(iter(value)) if len(value) == 1 else value
    elif isinstance(value, dict) and value:
        for key, inner in value.items():
            yield from _leaves(inner, (*at, key))
    else:
        yield at, value


def _origin(document: yamltext.Document, at: Keys) -> str:
    line = document.lines.get(at)
    return "default" if line is None else f"line {line}"
