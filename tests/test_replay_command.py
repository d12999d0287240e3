"""`limit-router replay`, asked about the log of a real engine on a virtual clock."""

import json
import random
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from heapq import heappop, heappush
from pathlib import Path
from typing import Any

import pytest
import yaml
from rich.console import Console
from test_engine import BEARER, KEY, SEAT, SIGNED_IN, WEEK, Clock

from core import cli, providers, replay
from core.config import Config, parse
from core.credentials import Credentials
from core.engine import Engine
from core.errors import StateError
from core.evaluation import rules
from core.evaluation.case import EvaluationError
from core.history import History
from core.historyfile import FILE_NAME
from core.match import VIRTUAL_HOST
from core.model import HttpRequest, Mode, Source, Tokens, Usage, Window
from core.observe import Observation
from core.plan import Forward
from core.state import UsageRead
from core.store import Store

NOW = 1_795_000_000.0
MODEL = "claude-sonnet-4-5"
BOTH: dict[str, Any] = {
    "providers": {"anthropic": {"oauth": True}},
    "models": {MODEL: {"providers": ["anthropic", "github-copilot"]}},
}
REQUIRED = {
    "served",
    "refused",
    "expired_quota",
    "switches",
    "switches_in_tool_loop",
    "cache_tokens_lost",
    "cost_usd",
    "share_of_optimum",
}
PERSON = {"role": "user", "content": "a SECRET prompt"}
RESULT = {
    "role": "user",
    "content": [{"type": "tool_result", "tool_use_id": "none", "content": "x"}],
}
THOUSANDS = Tokens(2_000, 300, 40_000, 1_000)


class Logged:
    """An engine that keeps its decisions, and whoever asks about them."""

    def __init__(self, folder: Path, config: dict[str, Any] | None = None, **environ: str) -> None:
        self.folder = folder
        self.clock = Clock(NOW)
        self.variables = {"OPENCODE_AUTH_CONTENT": json.dumps(SIGNED_IN)} | environ
        self.engine = self.built(config or BOTH)

    def built(self, config: dict[str, Any]) -> Engine:
        return Engine(
            self.parsed(config),
            Credentials(self.variables, self.folder / "data"),
            Store(self.folder / "state"),
            clock=self.clock,
            history=History(self.folder / "state"),
        )

    def parsed(self, config: dict[str, Any]) -> Config:
        return parse(yaml.safe_dump(config), "mitm.yaml", providers.known())

    def reads(self, provider: str, *windows: Window) -> None:
        for subject in self.engine.subjects():
            if subject.provider.id == provider:
                read = UsageRead(subject.account, Usage(windows), self.clock(), self.clock() + 300)
                self.engine.knowledge.apply(read)

    def uses(self, **used: float) -> None:
        """Weeks of which one is half over at the start, by provider."""
        end = NOW + WEEK / 2 + (self.clock() - NOW + WEEK / 2) // WEEK * WEEK
        for name, percent in used.items():
            window = Window("seven_day", percent, end, WEEK, Source.ENDPOINT, self.clock())
            self.reads(name.replace("_", "-"), window)

    def send(
        self,
        session: str,
        *headers: tuple[str, str],
        message: dict[str, Any] = PERSON,
        model: str = MODEL,
    ) -> Any:
        body = {"model": f"limit-router/{model}", "max_tokens": 1, "messages": [message]}
        fields = (
            ("content-type", "application/json"),
            ("anthropic-version", "2023-06-01"),
            ("x-session-id", session),
            *headers,
        )
        request = HttpRequest(
            "POST", "https", VIRTUAL_HOST, 443, "/v1/messages", fields, json.dumps(body).encode()
        )
        return self.engine.plan(request, peer="127.0.0.1")

    def answer(self, forward: Any, status: int = 200, tokens: Tokens = THOUSANDS) -> None:
        assert isinstance(forward, Forward)
        self.engine.observe_headers(forward, status, ())
        self.engine.observe_end(forward, Observation(True, self.clock(), tokens, None))

    def serves(self, session: str, after: float = 60.0, status: int = 200, **more: Any) -> str:
        """A request and its answer, some time after those before. Returns who it went to."""
        self.clock.now += after
        forward = self.send(session, **more)
        self.clock.now += 5.0
        self.answer(forward, status)
        return str(forward.route.account.provider)

    def asked(self, *names: str, config: dict[str, Any] | None = None, **more: Any) -> Any:
        """What the command finds, by the configuration if not by the engine's own."""
        self.engine.close()
        if config is not None:
            self.engine.config = self.parsed(config)
        return replay.run(self.engine, names or replay.DEFAULT, **more)

    def damage(self, statement: str) -> None:
        self.engine.close()
        path = self.folder / "state" / FILE_NAME
        with closing(sqlite3.connect(path, isolation_level=None)) as connection:
            connection.execute(statement)


@pytest.fixture
def logged(tmp_path: Path) -> Iterator[Logged]:
    log = Logged(tmp_path)
    yield log
    log.engine.close()


def rendered(found: replay.Found) -> list[str]:
    console = Console(width=80, color_system=None)
    with console.capture() as capture:
        console.print(found.shown)
    lines = [line.rstrip() for line in capture.get().splitlines()]
    assert max(map(len, lines)) <= 80
    return lines


def figures(found: dict[str, Any]) -> dict[str, Any]:
    return {name: found[name] for name in REQUIRED}


def three(logged: Logged) -> None:
    """A session begins at Anthropic, and moves when that is far ahead of its pace."""
    logged.uses(anthropic=10, github_copilot=60)
    assert logged.serves("s") == "anthropic"
    logged.uses(anthropic=95, github_copilot=10)
    assert logged.serves("s", message=RESULT) == "anthropic"
    assert logged.serves("s") == "github-copilot"


def test_figures_of_what_was_done_and_of_another_policy(logged: Logged) -> None:
    three(logged)
    found = logged.asked("priority").as_json
    assert found == {
        "policy": "priority",
        "served": 3,
        "refused": 0,
        "turned_away": 0,
        "elsewhere": 1,
        "expired_quota": None,
        "switches": 0,
        "switches_in_tool_loop": 0,
        "cache_tokens_lost": 0,
        "cost_usd": 0.0,
        "unpriced": 0,
        "share_of_optimum": None,
        "windows": "as they were",
        "not_known": {
            "expired_quota": (
                "what another policy would have left in them takes the windows that it would have "
                "caused"
            ),
            "share_of_optimum": "how many tokens a window holds is not in the log",
        },
        "requests": 3,
        "left_out": 0,
        "passed_over": 0,
        "from": "2026-11-18T11:07:40Z",
        "to": "2026-11-18T11:09:50Z",
        "done": {
            "policy": "as done",
            "served": 3,
            "refused": 0,
            "turned_away": 0,
            "elsewhere": 0,
            "expired_quota": 0,
            "switches": 1,
            "switches_in_tool_loop": 0,
            "cache_tokens_lost": 41_000,
            "cost_usd": 0.0,
            "unpriced": 0,
            "share_of_optimum": 1.0,
        },
        "policies": [
            {
                "policy": "priority",
                "served": 3,
                "refused": 0,
                "turned_away": 0,
                "elsewhere": 1,
                "expired_quota": None,
                "switches": 0,
                "switches_in_tool_loop": 0,
                "cache_tokens_lost": 0,
                "cost_usd": 0.0,
                "unpriced": 0,
                "share_of_optimum": None,
            }
        ],
        "expired": [],
    }


def test_what_is_shown_fits_80_columns(logged: Logged) -> None:
    three(logged)
    assert rendered(logged.asked("configured", "priority", "restless")) == [
        "3 requests from 2026-11-18 11:07 to 2026-11-18 11:09 UTC",
        "",
        "                                                        in    cache     cost",
        " policy       served   refused   elsewhere   moves   loops     lost      USD",
        " ───────────────────────────────────────────────────────────────────────────",
        " as done           3         0                   1       0   41,000   0.0000",
        "",
        " configured        3         0           0       1       0   41,000   0.0000",
        " priority          3         0           1       0       0        0   0.0000",
        " restless          3         0           1       1       1   41,000   0.0000",
        "",
        "as done     what was really decided",
        "configured  as mitm.yaml says now",
        "priority    the configuration's order",
        "restless    the same, without stickiness",
        "",
        "The windows are as they were: those that what was done led to, not those that",
        "another policy would have caused. Whom a request never met is taken to have",
        "served it.",
        "elsewhere: served by another account than was done, or by none; in loops: moves",
        "inside a tool loop; cache lost: tokens that a move left in the prompt cache of",
        "the account before; cost: of pay-per-token accounts.",
    ]


def workload(logged: Logged, requests: int) -> None:
    """Conversations beside each other whose answers overlap; limits that fill and reset."""
    draw = random.Random(7)
    ends: list[tuple[float, int, Any]] = []
    used = {"anthropic": 0.0, "github_copilot": 0.0}
    for number in range(requests):
        at = logged.clock.now + draw.expovariate(1 / 40)
        while ends and ends[0][0] <= at:
            logged.clock.now, _, forward = heappop(ends)
            if draw.random() < 0.05:
                logged.answer(forward, 429, Tokens())
            else:
                logged.answer(forward, 200, Tokens(500, 200, draw.randrange(60_000), 2_000))
        logged.clock.now = at
        if number % 3 == 0:
            for name, before in used.items():
                spent = before >= 100.0
                after = min(before + draw.random() * 3, 100.0)
                used[name] = 0.0 if spent and draw.random() < 0.1 else after
            logged.uses(**used)
        child = [("x-parent-session-id", "p")] if draw.random() < 0.3 else []
        message = RESULT if draw.random() < 0.5 else PERSON
        forward = logged.send(f"s{draw.randrange(6)}", *child, message=message)
        if isinstance(forward, Forward):
            heappush(ends, (at + draw.uniform(2, 120), number, forward))
    while ends:
        logged.clock.now, _, forward = heappop(ends)
        logged.answer(forward)


@pytest.mark.parametrize("mode", ["pace", "drain", "priority", {"pace": 2, "fastest": 1}])
def test_the_policy_that_was_in_effect_would_have_done_the_same(tmp_path: Path, mode: Any) -> None:
    logged = Logged(tmp_path, BOTH | {"policy": {"mode": mode}})
    workload(logged, 200)
    found = logged.asked("configured", "round-robin").as_json
    configured, other = found["policies"]
    assert (found["requests"], configured["elsewhere"]) == (200, 0)
    same = REQUIRED - {"expired_quota", "share_of_optimum"}
    assert {it: configured[it] for it in same} == {it: found["done"][it] for it in same}
    assert (found["done"]["refused"] > 0, other["elsewhere"] > 0) == (True, True)


def test_a_policy_is_held_to_what_it_would_have_done_before(logged: Logged) -> None:
    """It would have moved in the second request, and stayed there in the third."""
    three(logged)
    logged.uses(anthropic=10, github_copilot=95)
    assert logged.serves("s") == "anthropic"
    done, [restless] = (found := logged.asked("restless").as_json)["done"], found["policies"]
    assert (done["switches"], done["switches_in_tool_loop"]) == (2, 0)
    assert (restless["switches"], restless["switches_in_tool_loop"]) == (2, 1)


def test_the_configuration_of_now_is_asked_about_then(logged: Logged) -> None:
    three(logged)
    models = {MODEL: {"providers": ["github-copilot", "anthropic"], "mode": "priority"}}
    found = logged.asked("configured", "pace", config=BOTH | {"models": models}).as_json
    assert [it["elsewhere"] for it in found["policies"]] == [2, 0]


def test_a_model_that_is_configured_no_more_goes_by_what_holds_for_all(logged: Logged) -> None:
    three(logged)
    changed = {
        "models": {"claude-opus-4-5": {"providers": ["anthropic"]}},
        "policy": {"unknown": "exclude"},
    }
    assert logged.asked("configured", config=changed).as_json["elsewhere"] == 0


def test_what_the_client_had_pinned_stays_pinned(logged: Logged) -> None:
    logged.uses(anthropic=10, github_copilot=60)
    pin = ("x-limit-router-provider", "github-copilot")
    logged.clock.now += 60
    logged.answer(logged.send("s", pin))
    found = logged.asked(*replay.DEFAULT, *rules.POLICIES).as_json
    assert {it["policy"]: it["elsewhere"] for it in found["policies"]} == dict.fromkeys(
        [*replay.DEFAULT, *rules.POLICIES], 0
    )


PAID = BOTH | {
    "providers": {"anthropic": {"budget": {"usd": 50, "per": "month"}}},
    "models": {
        MODEL: {
            "providers": ["anthropic", "github-copilot"],
            "price": {
                "anthropic": {"input": 3, "output": 15, "cache_read": 0.3, "cache_write": 3.75}
            },
        }
    },
}


def test_costs_are_by_the_price_of_then(tmp_path: Path) -> None:
    """Copilot served; at Anthropic the first would write its prompt to the cache, as it did."""
    logged = Logged(tmp_path, PAID, ANTHROPIC_API_KEY=KEY)
    logged.uses(github_copilot=60)
    assert [logged.serves("s"), logged.serves("s")] == ["github-copilot"] * 2
    found = logged.asked("priority", config=PAID | {"models": BOTH["models"]}).as_json
    one = (2_000 * 3 + 300 * 15 + 40_000 * 0.3 + 1_000 * 3.75) / 1e6
    assert (found["elsewhere"], found["unpriced"]) == (2, 0)
    assert found["cost_usd"] == pytest.approx(2 * one)
    assert found["done"]["cost_usd"] == 0.0


def test_what_was_paid_is_what_the_log_says(tmp_path: Path) -> None:
    logged = Logged(tmp_path, PAID, ANTHROPIC_API_KEY=KEY)
    logged.uses(github_copilot=100)
    assert logged.serves("s") == "anthropic"
    logged.damage("UPDATE attempts SET cost_usd = 0.125")
    assert logged.asked("configured").as_json["cost_usd"] == 0.125
    logged.damage("UPDATE attempts SET cost_usd = NULL")
    found = logged.asked("configured")
    assert (found.as_json["cost_usd"], found.as_json["unpriced"]) == (0.0, 1)
    lines = rendered(found)
    assert " configured        1         0           0       0       0       0   0.0000+" in lines
    assert "+: and requests whose cost is not known." in lines


def test_nobody_could_serve(logged: Logged) -> None:
    logged.uses(anthropic=100, github_copilot=100)
    logged.send("s")
    logged.clock.now += 60
    logged.uses(anthropic=10)
    assert logged.serves("s") == "anthropic"
    found = logged.asked("pace", "longest").as_json
    assert [(it["served"], it["refused"]) for it in found["policies"]] == [(1, 1)] * 2
    assert (found["done"]["served"], found["done"]["refused"]) == (1, 1)
    assert (found["done"]["turned_away"], found["done"]["share_of_optimum"]) == (0, None)


def test_whom_an_account_turned_away_it_turns_away_again(logged: Logged) -> None:
    logged.uses(anthropic=10, github_copilot=60)
    assert logged.serves("s", status=429) == "anthropic"
    logged.uses(anthropic=95, github_copilot=10)
    assert logged.serves("s") == "github-copilot"
    found = logged.asked("pace", "priority")
    pace, priority = found.as_json["policies"]
    assert (pace["served"], pace["refused"], pace["turned_away"]) == (1, 1, 1)
    assert (priority["served"], priority["refused"], priority["elsewhere"]) == (1, 1, 1)
    assert " ".join(rendered(found)).endswith(
        "As done, accounts turned 1 of the refused away. What an account that a policy chose "
        "instead would have turned away is not known."
    )


def test_requests_that_were_wrong_are_left_out(logged: Logged) -> None:
    three(logged)
    logged.serves("t", status=400)
    found = logged.asked("pace")
    assert (found.as_json["requests"], found.as_json["left_out"]) == (4, 1)
    assert (found.as_json["served"], found.as_json["refused"]) == (3, 0)
    assert rendered(found)[-1] == "1 request was answered 400: it is wrong under any policy."


def test_what_expired_as_done(logged: Logged) -> None:
    logged.uses(anthropic=10, github_copilot=20)
    logged.serves("s")
    logged.uses(anthropic=40, github_copilot=20)
    logged.serves("t")
    logged.clock.now += 2 * WEEK
    logged.uses(anthropic=5, github_copilot=5)
    logged.serves("u")
    found = logged.asked("pace")
    assert [(it["window"], it["unused_percent"]) for it in found.as_json["expired"]] == [
        ("seven_day", [60.0]),
        ("seven_day", [80.0]),
    ]
    assert found.as_json["done"]["expired_quota"] == pytest.approx(1.4)
    assert rendered(found)[-2:] == [
        "As done, seven_day of anthropic reset once with 60.0 % unused.",
        "As done, seven_day of github-copilot reset once with 80.0 % unused.",
    ]


def test_the_last_days_alone(logged: Logged) -> None:
    logged.uses(anthropic=10, github_copilot=60)
    logged.serves("s")
    logged.serves("s", after=2 * 86400.0)
    assert logged.asked("pace").as_json["requests"] == 2
    found = logged.asked("pace", days=1).as_json
    assert (found["requests"], found["switches"]) == (1, 0)
    logged.clock.now += 2 * 86400.0
    with pytest.raises(StateError) as caught:
        logged.asked("pace", days=1.5)
    problem = "no decision of the last 1.5 days is kept in it yet"
    assert str(caught.value) == f"{logged.folder}/state/history.db: {problem}."


def test_a_conversation_that_began_before_has_what_it_had(logged: Logged) -> None:
    logged.uses(anthropic=10, github_copilot=60)
    logged.serves("s", after=0.0)
    logged.clock.now = NOW + 200
    logged.uses(anthropic=65, github_copilot=60)
    logged.serves("s")
    logged.clock.now = NOW + 86400.0 + 100
    found = logged.asked("worst", "restless", days=1).as_json
    assert [it["switches"] for it in found["policies"]] == [0, 1]


def test_damaged_rows_are_passed_over_and_counted(logged: Logged) -> None:
    three(logged)
    logged.damage("UPDATE attempts SET decision = '{' WHERE seq = 1")
    found = logged.asked("pace")
    assert (found.as_json["requests"], found.as_json["passed_over"]) == (2, 1)
    assert rendered(found)[-1] == "1 decision in the log is damaged."
    logged.damage("UPDATE attempts SET decision = '{\"chosen\": 5}' WHERE seq > 1")
    with pytest.raises(StateError) as caught:
        logged.asked("pace")
    problem = "no decision is kept in it yet; 3 that are damaged"
    assert str(caught.value) == f"{logged.folder}/state/history.db: {problem}."


def test_rows_of_an_earlier_release_have_less_in_them(logged: Logged) -> None:
    three(logged)
    logged.damage(
        "UPDATE attempts SET decision = json_remove(decision, '$.pin', '$.ask', '$.standing')"
    )
    found = logged.asked("pace").as_json
    assert (found["requests"], found["served"], found["passed_over"]) == (3, 3, 0)


def test_nothing_secret_is_shown(logged: Logged) -> None:
    three(logged)
    found = logged.asked()
    told = json.dumps(found.as_json) + "\n".join(rendered(found))
    for secret in (KEY, BEARER, SEAT, "SECRET"):
        assert secret not in told


def test_every_mode_has_a_summary(logged: Logged) -> None:
    assert set(replay.DEFAULT) == {"configured", *map(str, Mode)}
    three(logged)
    assert len(logged.asked().as_json["policies"]) == len(replay.DEFAULT)


def test_a_long_log_is_asked_to_its_end(logged: Logged) -> None:
    logged.uses(anthropic=10, github_copilot=60)
    for _ in range(replay.PROGRESS_EVERY + 1):
        logged.serves("s", after=1.0)
    assert logged.asked("pace").as_json["served"] == replay.PROGRESS_EVERY + 1


@pytest.mark.parametrize("days", [0.0, -1.0, float("nan")])
def test_days_are_some(logged: Logged, days: float) -> None:
    with pytest.raises(EvaluationError, match=r"^--days is .*; it says how much of the log"):
        logged.asked("pace", days=days)


# The command


@pytest.fixture
def user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The state folder of a user who has one."""
    path = tmp_path / "mitm.yaml"
    path.write_text(yaml.safe_dump(BOTH | {"state": str(tmp_path / "state")}))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("LIMIT_ROUTER_CONFIG", str(path))
    return tmp_path


def test_the_command_prints_json_alone(user: Path, capsys: Any) -> None:
    logged = Logged(user)
    three(logged)
    logged.engine.close()
    assert cli.main(["replay", "--policy", "drain,priority,drain", "--json"]) == 0
    out, err = capsys.readouterr()
    found = json.loads(out)
    assert found.keys() >= REQUIRED
    assert [it["policy"] for it in found["policies"]] == ["drain", "priority"]
    assert figures(found) == figures(found["policies"][0])
    assert err.strip() == ""


def test_the_command_shows_a_table(user: Path, capsys: Any) -> None:
    logged = Logged(user)
    three(logged)
    logged.engine.close()
    assert cli.main(["replay"]) == 0
    assert capsys.readouterr().out.startswith("3 requests from 2026-11-18 11:07 to")


def test_an_empty_log_is_said_and_is_a_failure(user: Path, capsys: Any) -> None:
    assert cli.main(["replay", "--json"]) == 1
    out, err = capsys.readouterr()
    problem = "there is no decision log yet; a proxy that routes writes one"
    assert (out, err) == ("", f"limit-router: {user}/state/history.db: {problem}.\n")
    (user / "state").mkdir()
    (user / "state" / FILE_NAME).touch()
    assert cli.main(["replay"]) == 1
    problem = "no decision is kept in it yet"
    assert capsys.readouterr().err.endswith(f"history.db: {problem}.\n")


def test_what_is_no_decision_log_is_said(user: Path, capsys: Any) -> None:
    (user / "state").mkdir()
    (user / "state" / FILE_NAME).write_bytes(b"SECRET" * 1000)
    assert cli.main(["replay"]) == 1
    assert capsys.readouterr().err.endswith("history.db: is no sound decision log.\n")


def test_a_policy_that_there_is_not_is_said(user: Path, capsys: Any) -> None:
    assert cli.main(["replay", "--policy", "best"]) == 1
    names = ", ".join(dict.fromkeys([*replay.DEFAULT, *rules.POLICIES]))
    said = f"limit-router: no policy is called best; there are {names}\n"
    assert capsys.readouterr().err == said
