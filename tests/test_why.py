"""What `limit-router why` finds and shows."""

import json
import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from rich.console import Console

from core import report_why, setup, why
from core.cli import main
from core.errors import StateError
from core.explain import Telling
from core.history import History
from core.model import (
    Account,
    AccountKind,
    Ask,
    Candidate,
    Explanation,
    NoRoute,
    Refusal,
    Route,
    Source,
    Standing,
    Tokens,
    Verdict,
    Window,
    WindowView,
    Wire,
)
from core.observe import Observation
from core.record import NOT_SENT, Attempt, End

AT = 1_790_000_000.0
HOUR = 3600.0
SEAT = Account("github-copilot", "ba9876543210", AccountKind.SUBSCRIPTION)
PLAN = Account("anthropic", "0123456789ab", AccountKind.SUBSCRIPTION)
MONTH = Window("month", 65.8, AT + 7 * 24 * HOUR, 30 * 24 * HOUR, Source.ENDPOINT, AT - 40)
BEST = Verdict(
    Candidate("github-copilot", "claude-sonnet-4.5", SEAT),
    available=True,
    score=-10.1,
    windows=(WindowView(MONTH, 75.9, -10.1, 0.5),),
    why="month 65.8% used, 10.1 points behind pace",
)
NEXT = Verdict(
    Candidate("anthropic", "claude-sonnet-4-5", PLAN),
    available=True,
    score=None,
    windows=(),
    why="usage unknown",
)
OUT = Verdict(
    Candidate("zai", "claude", None, "no credential"),
    available=False,
    score=None,
    windows=(),
    why="no credential",
)


def explaining(reason: str, *verdicts: Verdict) -> Telling:
    return Telling(lambda: Explanation(reason, verdicts))


ATTEMPT = Attempt(
    request="d219rf1vgq62",
    number=1,
    at=AT,
    model="claude-sonnet-4-5",
    wire="anthropic-messages",
    session="a5c448522817",
    decision=Route(BEST.candidate, explaining("it is behind its pace", BEST, NEXT, OUT)),
    flags={"tool_loop": True, "subagent": True, "images": False, "cache_ttl_s": 300.0},
    standing=Standing(PLAN.id, 1200, AT + 60),
    end=End(200, AT + 1, AT + 1.25, AT + 12.04, True, None, Tokens(1204, 300, 12_000, 0), 0.0421),
)
NOBODY = replace(
    ATTEMPT,
    session=None,
    decision=NoRoute(Refusal.UNAVAILABLE, explaining("no provider can serve this model", OUT)),
    flags={},
    standing=None,
    end=End(503, AT, None, AT, None, NOT_SENT),
)


def rendered(*attempts: Attempt, now: float = AT + 180) -> list[str]:
    console = Console(width=80, color_system=None)
    with console.capture() as capture:
        console.print(report_why.why(attempts, now))
    lines = [line.rstrip() for line in capture.get().splitlines()]
    assert max(map(len, lines)) <= 80
    return lines


def test_a_routed_request() -> None:
    assert rendered(ATTEMPT) == [
        "limit-router/claude-sonnet-4-5 -> github-copilot (claude-sonnet-4.5)",
        "  request d219rf1vgq62, 2026-09-21 14:13:20 UTC (3 min ago), session",
        "  a5c448522817",
        "  it is behind its pace [in a tool loop, of a sub-agent]",
        "",
        "* 1. github-copilot (claude-sonnet-4.5) month 65.8% used, 10.1 points behind",
        "                                        pace; score -10.1",
        "  2. anthropic (claude-sonnet-4-5)      usage unknown; the conversation was with",
        "                                        it",
        "  -  zai (claude)                       no credential",
        "",
        " account          window   used (| pace)               points   resets in",
        " ────────────────────────────────────────────────────────────────────────",
        " github-copilot   month    ###########.|...   65.8 %    -10.1   7 d 0 h",
        "",
        "  Answered 200, first content after 1.2 s, 12.0 s in all, tokens: 1,204 in, 300",
        "  out, 12,000 out of the cache, 0.0421 USD.",
    ]


def test_a_request_that_nobody_could_serve() -> None:
    assert rendered(NOBODY) == [
        "limit-router/claude-sonnet-4-5 -> nobody",
        "  request d219rf1vgq62, 2026-09-21 14:13:20 UTC (3 min ago)",
        "  no provider can serve this model",
        "",
        "  - zai (claude) no credential",
        "",
        "  limit-router itself answered 503; nothing was sent.",
    ]


def test_attempts_are_told_one_after_the_other() -> None:
    failed = replace(ATTEMPT, end=End(529, AT + 1, None, AT + 1, None, "overloaded_error"))
    lines = rendered(failed, replace(ATTEMPT, number=2))
    assert [line for line in lines if line.startswith("attempt")] == ["attempt 1", "attempt 2"]
    assert "  Answered 529 with overloaded_error, 1.0 s in all." in lines


@pytest.mark.parametrize(
    ("end", "told"),
    [
        (End(), "No end is known: it is under way, or the proxy was stopped."),
        (
            End(200, AT + 1),
            (
                "No end is known after an answer of 200 began: it is under way, or the proxy was "
                "stopped."
            ),
        ),
        (End(ended_at=AT + 0.03), "No answer came; 30 ms in all."),
        (End(ended_at=AT - 5), "No answer came; 0 ms in all."),
        (
            End(200, AT, AT + 0.5, AT + 2, False, "overloaded_error", Tokens(input=5)),
            (
                "Answered 200 with overloaded_error, broken off, first content after 500 ms, "
                "2.0 s in all, tokens: 5 in."
            ),
        ),
        (End(200, AT, None, AT + 2, None), "Answered 200, 2.0 s in all."),
    ],
)
def test_how_it_ended(end: End, told: str) -> None:
    assert report_why.end(replace(ATTEMPT, end=end)) == told


def test_as_json_all_is_there() -> None:
    told = report_why.why_json([ATTEMPT])
    assert json.loads(json.dumps(told)) == told
    [attempt] = told.pop("attempts")
    assert told == {
        "request": "d219rf1vgq62",
        "model": "claude-sonnet-4-5",
        "wire": "anthropic-messages",
        "session": "a5c448522817",
    }
    assert attempt["at"] == "2026-09-21T14:13:20Z"
    assert (attempt["provider"], attempt["reason"]) == ("github-copilot", "it is behind its pace")
    assert attempt["ask"] == dict(ATTEMPT.flags)
    assert attempt["standing"]["cached_tokens"] == 1200
    assert attempt["decision"].keys() >= {"veto", "explores"}
    best, following, out = attempt["candidates"]
    assert best["account"]["sign_in"] == "ba9876543210"
    assert (best["score"], best["pace_delta"], best["available"]) == (-10.1, -10.1, True)
    [window] = best["windows"]
    assert (window["name"], window["used_percent"], window["scope"]) == ("month", 65.8, None)
    assert (window["as_of"], window["elapsed_percent"]) == ("2026-09-21T14:12:40Z", 75.9)
    assert following["windows"] == []
    assert (out["problem"], out["relief_at"]) == ("no credential", None)
    end = attempt["end"]
    assert (end["status"], end["complete"], end["cost_usd"]) == (200, True, 0.0421)
    assert (end["first_content_s"], end["total_s"]) == (1.25, pytest.approx(12.04))
    assert end["tokens"] == {"input": 1204, "output": 300, "cache_read": 12_000, "cache_write": 0}
    [refused] = report_why.why_json([NOBODY])["attempts"]
    assert (refused["provider"], refused["decision"]["refusal"]) == (None, "unavailable")
    assert refused["end"]["first_content_s"] is None


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The state folder of a user who has one."""
    path = tmp_path / "mitm.yaml"
    models = {"claude-sonnet-4-5": {"providers": ["anthropic"]}}
    path.write_text(yaml.safe_dump({"models": models, "state": str(tmp_path / "state")}))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("LIMIT_ROUTER_CONFIG", str(path))
    return tmp_path / "state"


def keep(folder: Path, *, now: float = AT) -> str:
    history = History(folder)
    ask = Ask(Wire.MESSAGES, "claude-sonnet-4-5")
    request = history.decided(ask, ATTEMPT.decision, None, now)
    seen = Observation(complete=True, first_content_at=None, tokens=Tokens(), error=None)
    history.ended(request, seen, now + 1)
    history.close()
    return request


def test_without_an_id_it_is_the_last_one(folder: Path, capsys: Any) -> None:
    keep(folder)
    last = keep(folder, now=AT + 1)
    assert main(["why"]) == 0
    assert f"request {last}" in capsys.readouterr().out
    assert main(["why", "last", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["request"] == last


def test_an_id_may_be_cut_short_and_written_large(folder: Path, capsys: Any) -> None:
    first = keep(folder)
    keep(folder, now=AT + 40 * HOUR)
    assert main(["why", first[:8].upper(), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["request"] == first


def test_what_is_not_there_is_said_and_is_a_failure(folder: Path, capsys: Any) -> None:
    assert main(["why", "--json"]) == 1
    out, err = capsys.readouterr()
    problem = "there is no decision log yet; a proxy that routes writes one"
    assert (out, err) == ("", f"limit-router: {folder}/history.db: {problem}.\n")
    keep(folder)
    assert main(["why", "zzz"]) == 1
    problem = "no decision in it has an id that begins with 'zzz'"
    assert capsys.readouterr().err == f"limit-router: {folder}/history.db: {problem}.\n"


def test_a_damaged_decision_is_said(folder: Path) -> None:
    request = keep(folder)
    with closing(sqlite3.connect(folder / "history.db", isolation_level=None)) as connection:
        connection.execute("UPDATE attempts SET decision = '{'")
    with pytest.raises(StateError) as caught:
        why.run(setup.build(), request)
    problem = f"the decision {request} in it is damaged"
    assert str(caught.value) == f"{folder}/history.db: {problem}."
