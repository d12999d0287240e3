"""Budgets, prices and what is spent: the lookups, and engines that count what answers cost."""

import asyncio
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from core import catalog as catalogs
from core import inspection, providers, report
from core.catalogfile import CatalogFile
from core.config import Config, parse
from core.credentials import Credentials
from core.engine import Engine, Forward
from core.match import VIRTUAL_HOST
from core.model import (
    Account,
    AccountKind,
    Budget,
    HttpRequest,
    HttpResponse,
    Period,
    Price,
    Source,
    Spend,
    Tokens,
    Usage,
)
from core.observe import Observation
from core.report import Status
from core.spending import Spending
from core.state import UsageRead
from core.store import Store

NOW = datetime(2026, 11, 22, 18, tzinfo=UTC).timestamp()
DECEMBER = datetime(2026, 12, 1, tzinfo=UTC).timestamp()
KEY = "sk-ant-api-SECRET"
MODEL = "claude-sonnet-4-5"
SONNET = {"input": 3, "output": 15, "cache_read": 0.3, "cache_write": 3.75}
BUDGET = "providers: {anthropic: {budget: {usd: 50, per: month}}}\n"
MODELS = f"models: {{{MODEL}: {{providers: [anthropic]}}}}\n"
CLAUDE = Account("anthropic", "0123", AccountKind.METERED)
SEAT = Account("anthropic", "0123", AccountKind.SUBSCRIPTION)


def configured(text: str) -> Config:
    return parse(text, "mitm.yaml", providers.known(), providers.routable())


def catalog(**models: Mapping[str, Any]) -> bytes:
    told = {name.replace("_", "-"): {"cost": cost} for name, cost in models.items()}
    return json.dumps({"anthropic": {"models": told}}).encode()


class Rig:
    """Engines on one folder: one after another is a restart, two at once are two processes."""

    def __init__(self, folder: Path, config: str, prices: bytes | None = None) -> None:
        self.now = NOW
        self.folder = folder
        self.prices = folder / "models.json"
        if prices is not None:
            self.prices.write_bytes(prices)
        self.config = configured(config)

    def engine(self, **environ: str) -> Engine:
        return Engine(
            self.config,
            Credentials(environ or {"ANTHROPIC_API_KEY": KEY}, self.folder / "data"),
            Store(self.folder / "state"),
            clock=lambda: self.now,
            catalog=CatalogFile(self.prices, ("anthropic", "openrouter")),
        )


def ask(engine: Engine) -> Forward | HttpResponse:
    body = b'{"model":"limit-router/%s","max_tokens":1,"messages":[%s]}'
    message = b'{"role":"user","content":"Hello"}'
    fields = (("content-type", "application/json"), ("anthropic-version", "2023-06-01"))
    content = body % (MODEL.encode(), message)
    request = HttpRequest("POST", "https", VIRTUAL_HOST, 443, "/v1/messages", fields, content)
    planned = engine.plan(request, peer="127.0.0.1")
    assert planned is not None
    return planned


def serve(engine: Engine, tokens: Tokens) -> None:
    forward = ask(engine)
    assert isinstance(forward, Forward)
    seen = Observation(complete=True, first_content_at=None, tokens=tokens, error=None, model=MODEL)
    engine.observe_end(forward, seen)


def shown(engine: Engine, provider: str = "anthropic", *, asked_now: bool = False) -> Any:
    [reading] = asyncio.run(inspection.usage(engine, provider, asked_now=asked_now))
    now = engine.clock()
    console = Console(width=80, color_system=None)
    with console.capture() as capture:
        console.print(report.usage([reading], now))
    lines = [line.rstrip() for line in capture.get().splitlines() if line.strip()]
    return report.usage_json([reading], now)["providers"][provider], lines


# Where a price and a budget come from


def looked_up(config: str, prices: bytes = b"{}") -> Spending:
    found = catalogs.parse(prices, ("anthropic",))
    return Spending(configured(config), found, providers.known())


def test_mitm_yaml_s_price_comes_before_the_catalogue_s() -> None:
    prices = catalog(claude_sonnet_4_5=SONNET, claude_opus_4_5={"input": 5, "output": 25})
    priced = f"models: {{{MODEL}: {{providers: [anthropic], price: {{input: 1, output: 2}}}}}}"
    spending = looked_up(priced, prices)
    assert spending.price(CLAUDE, MODEL) == Price(1.0, 2.0, 1.0, 1.0)
    assert spending.price(CLAUDE, "claude-opus-4-5") == Price(5.0, 25.0, 5.0, 5.0)
    assert spending.price(CLAUDE, "claude-haiku-4-5") is None
    assert looked_up(MODELS, prices).price(CLAUDE, MODEL) == Price(3.0, 15.0, 0.3, 3.75)


def test_a_price_is_found_by_the_provider_s_own_spelling() -> None:
    spending = looked_up(
        "models:\n"
        "  mine:\n"
        "    providers: {anthropic: claude-x-20260101, github-copilot: claude-x}\n"
        "    price: {anthropic: {input: 1, output: 2}}\n"
        "  other: {providers: [github-copilot], price: {input: 7, output: 7}}\n"
    )
    assert spending.price(CLAUDE, "claude-x-20260101") == Price(1.0, 2.0, 1.0, 1.0)
    assert spending.price(CLAUDE, "claude-x") is None
    assert spending.price(CLAUDE, "other") is None


@pytest.mark.parametrize("answered", [f"{MODEL}-20250929", f"{MODEL}-2025-09-29"])
def test_a_snapshot_costs_what_its_model_does_unless_it_has_a_price_of_its_own(
    answered: str,
) -> None:
    spending = looked_up(MODELS, catalog(claude_sonnet_4_5={"input": 3, "output": 15}))
    assert spending.price(CLAUDE, answered) == Price(3.0, 15.0, 3.0, 3.0)
    own = catalog(claude_sonnet_4_5=SONNET, claude_sonnet_4_5_20250929={"input": 9, "output": 9})
    found = looked_up(MODELS, own).price(CLAUDE, f"{MODEL}-20250929")
    assert found == Price(9.0, 9.0, 9.0, 9.0)


def test_a_request_s_cost_is_known_or_it_is_none() -> None:
    spending = looked_up(MODELS, catalog(claude_sonnet_4_5=SONNET))
    tokens = Tokens(output=1_000_000)
    assert spending.cost(CLAUDE, MODEL, tokens) == 15.0
    assert spending.cost(CLAUDE, MODEL, Tokens()) == 0.0
    assert spending.cost(CLAUDE, "claude-opus-4-5", tokens) is None
    assert spending.cost(SEAT, MODEL, tokens) is None


def test_a_subscription_costs_nothing_more_and_has_no_budget() -> None:
    spending = looked_up(BUDGET + MODELS, catalog(claude_sonnet_4_5=SONNET))
    assert spending.charge(SEAT, MODEL, Tokens(input=5)) == Spend()
    assert spending.price(SEAT, MODEL) is None
    assert spending.budget(SEAT) is None
    assert spending.budget(CLAUDE) == Budget(50.0, Period.MONTH)
    assert looked_up(MODELS).budget(CLAUDE) is None


# What is said at the start


def test_a_budget_without_prices_is_told_of(tmp_path: Path) -> None:
    more = f"models: {{{MODEL}: {{providers: [anthropic]}}, b: {{providers: [anthropic]}}, "
    more += "c: {providers: [github-copilot]}}"
    rig = Rig(tmp_path, BUDGET + more)
    [warning] = rig.engine().warnings()
    assert warning == (
        f"providers.anthropic.budget cannot be kept where these are used: no price for {MODEL}, b. "
        "A `price` under the model in mitm.yaml gives it one"
    )
    priced = Rig(tmp_path, BUDGET + MODELS, catalog(claude_sonnet_4_5=SONNET))
    assert priced.engine().warnings() == ()


def test_a_budget_for_a_subscription_is_told_of(tmp_path: Path) -> None:
    engine = Rig(tmp_path, BUDGET + MODELS).engine(GITHUB_COPILOT_TOKEN="gho_SECRET")
    assert engine.warnings() == ()
    seat = {"github-copilot": {"budget": {"usd": 5, "per": "day"}}}
    engine.config = configured(f"providers: {json.dumps(seat)}\n{MODELS}")
    [warning] = engine.warnings()
    assert warning == (
        "providers.github-copilot.budget has no effect: the sign-in in GITHUB_COPILOT_TOKEN is not "
        "paid by the token"
    )


# Engines


def test_the_budget_grows_by_exactly_what_the_answers_cost(tmp_path: Path) -> None:
    rig = Rig(tmp_path, BUDGET + MODELS, catalog(claude_sonnet_4_5=SONNET))
    engine = rig.engine()
    found, lines = shown(engine)
    assert (found["spent_usd"], found["windows"][0]["used_percent"]) == (0.0, 0.0)
    serve(engine, Tokens(input=1_000_000, output=500_000, cache_read=4_000_000))
    serve(engine, Tokens(input=100, cache_write=800))
    usd = 3.0 + 15 / 2 + 0.3 * 4 + (100 * 3 + 800 * 3.75) / 1e6
    found, lines = shown(engine)
    assert found == {
        "status": Status.KNOWN,
        "windows": [
            {
                "name": "budget",
                "used_percent": pytest.approx(100 * usd / 50),
                "pace_delta": pytest.approx(
                    100 * usd / 50 - 100 * (1 - (DECEMBER - NOW) / 2_592_000)
                ),
                "resets_at": "2026-12-01T00:00:00Z",
                "duration_s": 2_592_000.0,
                "source": Source.DECLARED,
                "as_of": "2026-11-22T18:00:00Z",
                "confidence": 1.0,
                "empty_in_s": None,
            }
        ],
        "plan": None,
        "error": None,
        "as_of": "2026-11-22T18:00:00Z",
        "spent_usd": pytest.approx(usd),
        "budget_usd": 50.0,
        "budget_per": "month",
        "unpriced": [],
    }
    assert lines == [
        "anthropic: known",
        "   window   used (| pace)            outlook; source, age",
        f" {'─' * 71}",
        "   budget   ###......|..    23.4 %   $11.70 of $50.00, resets in 8 d 6 h",
        "                                     lasts to reset; declared",
    ]


def test_what_was_spent_outlives_the_process(tmp_path: Path) -> None:
    rig = Rig(tmp_path, BUDGET + MODELS, catalog(claude_sonnet_4_5=SONNET))
    engine = rig.engine()
    serve(engine, Tokens(output=1_000_000))
    engine.close()
    rig.now += 86400
    again = rig.engine()
    assert shown(again)[0]["spent_usd"] == 15.0
    serve(again, Tokens(output=1_000_000))
    again.close()
    assert shown(rig.engine())[0]["spent_usd"] == 30.0
    rig.now = DECEMBER
    assert shown(rig.engine())[0]["spent_usd"] == 0.0


def test_what_two_processes_spend_adds_up(tmp_path: Path) -> None:
    rig = Rig(tmp_path, BUDGET + MODELS, catalog(claude_sonnet_4_5=SONNET))
    one, other = rig.engine(), rig.engine()
    for engine in (one, other, one):
        serve(engine, Tokens(output=1_000_000))
        engine.close()
    for engine in (one, other, rig.engine()):
        assert shown(engine)[0]["spent_usd"] == 45.0


def test_a_spent_budget_excludes_the_account_until_its_period_ends(tmp_path: Path) -> None:
    rig = Rig(tmp_path, BUDGET + MODELS, catalog(claude_sonnet_4_5=SONNET))
    engine = rig.engine()
    serve(engine, Tokens(output=3_333_333))
    serve(engine, Tokens(output=1))
    assert isinstance(refused := ask(engine), HttpResponse)
    assert refused.status == 429
    assert json.loads(refused.body)["error"]["message"] == (
        "every provider's quota is spent, earliest relief in 8 d 6 h (2026-12-01 00:00 UTC): "
        "anthropic: budget is spent, resets in 8 d 6 h"
    )
    rig.now = DECEMBER
    assert isinstance(ask(engine), Forward)


def test_without_a_price_what_is_spent_is_unknown_and_that_is_said(tmp_path: Path) -> None:
    rig = Rig(tmp_path, BUDGET + MODELS)
    engine = rig.engine()
    assert shown(engine)[0]["spent_usd"] == 0.0
    serve(engine, Tokens(output=10_000_000))
    found, lines = shown(engine)
    assert {key: found[key] for key in ("status", "windows", "spent_usd", "unpriced")} == {
        "status": Status.UNKNOWN,
        "windows": [],
        "spent_usd": None,
        "unpriced": [MODEL],
    }
    assert lines == [
        "anthropic: unknown",
        f"  spend unknown: no price for {MODEL}; the rest is $0.00 of $50.00",
    ]
    assert isinstance(ask(engine), Forward)


def test_a_price_that_comes_later_counts_from_then_on(tmp_path: Path) -> None:
    rig = Rig(tmp_path, "providers: {anthropic: {budget: {usd: 50, per: day}}}\n" + MODELS)
    engine = rig.engine()
    serve(engine, Tokens(output=10_000_000))
    rig.prices.write_bytes(catalog(claude_sonnet_4_5=SONNET))
    again = rig.engine()
    engine.close()
    rig.now += 86400
    serve(again, Tokens(output=1_000_000))
    assert shown(again)[0]["spent_usd"] == 15.0


def test_openrouter_s_own_figure_counts(tmp_path: Path) -> None:
    """Its budget may be set though nothing is routed to it yet."""
    declared = "providers: {openrouter: {budget: {usd: 20, per: month}}}\n" + MODELS
    engine = Rig(tmp_path, declared).engine(OPENROUTER_API_KEY="sk-or-SECRET")
    [subject] = engine.subjects()
    usage = Usage((), "pay as you go", {Period.DAY: 1.0, Period.MONTH: 12.5})
    engine.knowledge.apply(UsageRead(subject.account, usage, NOW, NOW + 300))
    engine.close()
    found, lines = shown(engine, "openrouter")
    assert (found["status"], found["spent_usd"]) == (Status.KNOWN, 12.5)
    assert lines[0] == "openrouter: known, plan pay as you go"
    again = Rig(tmp_path, declared).engine(OPENROUTER_API_KEY="sk-or-SECRET")
    assert shown(again, "openrouter")[0]["spent_usd"] == 12.5


def test_asked_now_the_budget_is_shown_where_there_is_no_endpoint_to_ask(tmp_path: Path) -> None:
    rig = Rig(tmp_path, BUDGET + MODELS, catalog(claude_sonnet_4_5=SONNET))
    found, _ = shown(rig.engine(), asked_now=True)
    assert (found["status"], found["error"], found["spent_usd"]) == (Status.KNOWN, None, 0.0)


def test_every_provider_that_the_configuration_names_is_listed(tmp_path: Path) -> None:
    rig = Rig(tmp_path, "providers: {openrouter: {budget: {usd: 20, per: month}}}\n" + MODELS)
    readings = asyncio.run(inspection.usage(rig.engine(), None, asked_now=False))
    assert [(it.provider, it.status) for it in readings] == [
        ("anthropic", Status.UNKNOWN),
        ("openrouter", Status.UNAUTHENTICATED),
    ]
