"""The decision log of the real mitmdump, and `limit-router why` on it."""

import json
import os
import re
import shutil
import signal
import sqlite3
import subprocess
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from mitm import (
    CLIENT_HEADERS,
    CLIENT_MARK,
    READY,
    REPOSITORY,
    VIRTUAL,
    Routing,
    ask,
    assert_no_token,
    environment,
    question,
    tool_path,
    until,
)
from mitmproxy import io

from core.simulator import Fault

ID = "x-limit-router-request"
PROC = Path("/proc/self/fd")


def why(routing: Routing, *words: str) -> tuple[int, str, str]:
    """The exit code, and what was printed where."""
    folder = routing.proxy.folder
    variables = {"LIMIT_ROUTER_CONFIG": str(folder / "mitm.yaml"), "COLUMNS": "80"}
    done = subprocess.run(
        [tool_path("limit-router"), "why", *words],
        env=environment(folder / "home", variables),
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


def log_of(routing: Routing) -> Path:
    return routing.state.with_name("history.db")


def rows(routing: Routing) -> list[dict[str, Any]]:
    if not log_of(routing).exists():
        return []
    with closing(sqlite3.connect(f"file:{log_of(routing)}?mode=ro", uri=True)) as connection:
        connection.row_factory = sqlite3.Row
        try:
            return [dict(row) for row in connection.execute("SELECT * FROM attempts ORDER BY seq")]
        except sqlite3.OperationalError:
            return []  # it is being made just now


def ended(routing: Routing, count: int) -> list[dict[str, Any]]:
    """The log, once so many requests are over."""

    def found() -> list[dict[str, Any]]:
        known = [row for row in rows(routing) if row["ended_at"] is not None]
        return known if len(known) >= count else []

    return until(found, f"{count} requests in the log")


def asked(routing: Routing, **more: Any) -> Any:
    with routing.client() as client:
        return ask(client, headers={"x-session-id": "ses-CANARY-1"}, **more)


def test_it_tells_where_a_request_went_and_how_it_went(start):
    routing = start("over-pace")
    answer = asked(routing, json=question(stream=True))
    request = answer.headers[ID]
    ended(routing, 1)
    code, shown, complaint = why(routing)
    lines = [line.rstrip() for line in shown.splitlines()]
    assert (code, complaint) == (0, "")
    assert max(map(len, lines)) <= 80
    assert lines[0] == "limit-router/claude-sonnet-4-5 -> github-copilot (claude-sonnet-4.5)"
    moment = r"20\d\d-\d\d-\d\d \d\d:\d\d:\d\d UTC \(\d+ s ago\)"
    assert re.fullmatch(rf"  request {request}, {moment}, session [0-9a-f]{{12}}", lines[1])
    assert re.search(r"\* 1\. github-copilot \(claude-sonnet-4\.5\) month \d\d\.\d% used", shown)
    assert "anthropic        seven_day   ######|###......   60.0 %    +20.0" in shown
    assert re.search(r"Answered 200, first content after \d+ ms, \d+ ms in all, tokens: ", shown)
    code, shown, _ = why(routing, request[:9].upper(), "--json")
    told = json.loads(shown)
    assert (code, told["request"], told["wire"]) == (0, request, "anthropic-messages")
    [attempt] = told["attempts"]
    assert attempt["provider"] == "github-copilot"
    assert attempt["end"]["status"] == 200
    assert attempt["end"]["complete"] is True
    assert [it["provider"] for it in attempt["candidates"]] == ["github-copilot", "anthropic"]
    assert attempt["candidates"][1]["windows"][0]["scope"] is None
    assert "ses-CANARY-1" not in shown


def test_it_tells_that_nobody_could_serve(start):
    routing = start("nobody")
    answer = asked(routing)
    assert answer.status_code == 429
    [row] = ended(routing, 1)
    assert (row["request"], row["status"], row["provider"]) == (answer.headers[ID], 429, None)
    code, shown, _ = why(routing, answer.headers[ID])
    assert code == 0
    assert shown.startswith("limit-router/claude-sonnet-4-5 -> nobody\n")
    assert "limit-router itself answered 429; nothing was sent." in shown


def test_what_is_not_there_is_said(start):
    routing = start("under-pace")
    path = log_of(routing)
    assert why(routing) == (
        1,
        "",
        f"limit-router: {path}: there is no decision log yet; a proxy that routes writes one.\n",
    )
    asked(routing)
    ended(routing, 1)
    assert why(routing, "zzz", "--json") == (
        1,
        "",
        f"limit-router: {path}: no decision in it has an id that begins with 'zzz'.\n",
    )


def test_the_flow_has_the_id(start, tmp_path):
    flows = tmp_path / "flows"
    routing = start("under-pace", options=["-w", str(flows)])
    request = asked(routing).headers[ID]
    routing.stop()
    with flows.open("rb") as opened:
        [flow] = io.FlowReader(opened).stream()
    assert flow.metadata["limit_router.request"] == request


def test_nothing_of_the_conversation_and_no_secret_is_written_down(start):
    """Neither in the file nor in the log that SQLite writes ahead of it."""
    routing = start("under-pace")
    body = question(
        "CANARY-PROMPT",
        system="CANARY-SYSTEM",
        metadata={"user_id": "CANARY-USER"},
        tools=[{"name": "CANARY-TOOL", "input_schema": {"type": "object"}}],
    )
    texts = []
    for stream in (False, True):
        answer = asked(routing, json={**body, "stream": stream})
        texts.append(re.findall(rb'"text": ?"([^"]+)"', answer.content)[0])
    ended(routing, 2)
    written = routing.state.parent
    while_running = b"".join(it.read_bytes() for it in written.iterdir())
    assert {"history.db", "history.db-wal"} <= {it.name for it in written.iterdir()}
    assert {it.stat().st_mode & 0o777 for it in written.glob("history.db*")} == {0o600}
    routing.stop(signal.SIGINT)
    afterwards = b"".join(it.read_bytes() for it in written.iterdir())
    for found in (while_running, afterwards):
        assert b"claude-sonnet-4-5" in found
        for text in (b"CANARY", CLIENT_MARK.encode(), *texts):
            assert text not in found
        assert_no_token(found, routing.sim)
    assert [it.name for it in written.glob("history.db*") if "lock" not in it.name] == [
        "history.db"
    ]


def test_an_interrupt_in_mid_traffic_leaves_a_log_with_the_last_decision(start):
    routing = start("under-pace")
    whole = asked(routing).headers[ID]
    routing.sim.inject(Fault("anthropic", hold_after_events=1))
    with (
        routing.client() as client,
        client.stream(
            "POST", f"{VIRTUAL}/v1/messages", json=question(stream=True), headers=CLIENT_HEADERS
        ) as answer,
    ):
        cut = answer.headers[ID]
        next(answer.iter_raw())
        routing.stop(signal.SIGINT)
        routing.sim.release()
    kept = {row["request"]: row["status"] for row in rows(routing)}
    assert kept == {whole: 200, cut: 200}
    with closing(sqlite3.connect(log_of(routing))) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def descriptors(process: int, path: Path) -> int:
    links = Path(f"/proc/{process}/fd")
    return sum(link.readlink() == path for link in links.iterdir() if link.is_symlink())


@pytest.mark.skipif(not PROC.exists(), reason="needs /proc")
def test_a_reload_of_the_script_leaves_one_writer(start, tmp_path):
    for name in ("addon", "core"):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(REPOSITORY / name, tmp_path / "copy" / name, ignore=ignored)
    shutil.copy(REPOSITORY / "mitm.yaml", tmp_path / "copy")
    script = tmp_path / "copy" / "addon" / "router.py"
    routing = start("under-pace", router=script)
    requests = [asked(routing).headers[ID]]
    for age in (1, 2):
        os.utime(script, (script.stat().st_atime, script.stat().st_mtime + age))
        routing.proxy.wait_for(READY, times=age + 1)
        requests.append(asked(routing).headers[ID])
        ended(routing, age + 1)
        assert descriptors(routing.proxy.process.pid, log_of(routing)) == 1
    assert [row["request"] for row in rows(routing)] == requests


def test_a_log_that_cannot_be_written_is_said_once_and_stops_nothing(start, tmp_path):
    folder = tmp_path / "routing" / "state" / "history.db"
    folder.mkdir(parents=True)
    routing = start("under-pace")
    for _ in range(3):
        assert asked(routing).status_code == 200
    routing.stop()
    said = f"does not keep its decisions for now: {folder}: cannot be written"
    assert routing.proxy.log.count(said) == 1
