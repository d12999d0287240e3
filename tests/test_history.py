"""The decision log: what is kept of a decision, the file, and the thread that writes it."""

import errno
import json
import logging
import os
import sqlite3
import stat
import subprocess
import sys
import threading
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from core import historyfile, record
from core.errors import StateError
from core.explain import Telling
from core.history import HEADER, History
from core.historyfile import BAD_NAME, FILE_NAME, HistoryFile, Limits, find
from core.model import (
    Account,
    AccountKind,
    Ask,
    Candidate,
    Decision,
    Explanation,
    HttpResponse,
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

NOW = 1_790_000_000.0
DAY = 86400.0
ASK = Ask(Wire.MESSAGES, "claude-sonnet-4-5", session="ses-RAW", tool_loop=True)
ACCOUNT = Account("anthropic", "0123456789ab", AccountKind.SUBSCRIPTION)
WEEK = Window("seven_day", 60.0, NOW + DAY, 7 * DAY, Source.ENDPOINT, NOW - 5, scope="sonnet")
SERVES = Verdict(
    Candidate("anthropic", "claude-sonnet-4-5", ACCOUNT, reserve={"seven_day": 10.0}),
    available=True,
    score=-25.7,
    windows=(WindowView(WEEK, 85.7, -25.7, 0.9),),
    why="seven_day 60.0% used",
)
CANNOT = Verdict(
    Candidate("zai", "claude", None, "no credential"),
    available=False,
    score=None,
    windows=(),
    why="no credential",
)
STANDING = Standing(ACCOUNT.id, 1200, NOW + 60)
SEEN = Observation(
    complete=True,
    first_content_at=NOW + 1.5,
    tokens=Tokens(input=10, output=20, cache_read=30),
    error=None,
    signatures=("SIGNATURE",),
    tool_calls=("CALL",),
)


def telling(*verdicts: Verdict) -> Telling:
    return Telling(lambda: Explanation("because", verdicts))


ROUTE = Route(SERVES.candidate, telling(SERVES, CANNOT), explores=True)
NOBODY = NoRoute(Refusal.EXHAUSTED, telling(CANNOT), NOW + 60)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def rows(folder: Path) -> list[dict[str, Any]]:
    with closing(sqlite3.connect(folder / FILE_NAME)) as connection:
        connection.row_factory = sqlite3.Row
        return [dict(row) for row in connection.execute("SELECT * FROM attempts ORDER BY seq")]


def kept(folder: Path, request: str | None = None) -> list[record.Attempt]:
    return [record.attempt(row) for row in find(folder / FILE_NAME, request)]


def decided(history: History, now: float = NOW, decision: Decision = ROUTE, **more: Any) -> str:
    return history.decided(ASK, decision, STANDING, now, **more)


def begun(request: str = "a", at: float = NOW, attempt: int = 1) -> dict[str, Any]:
    return record.columns(record.Decided(request, attempt, at, ASK, ROUTE, None))


# What is kept


def test_a_decision_comes_back_as_it_was(tmp_path: Path) -> None:
    history = History(tmp_path)
    request = decided(history)
    history.answered(request, 200, NOW + 1)
    history.ended(request, SEEN, NOW + 2, cost_usd=0.25)
    history.close()
    [found] = kept(tmp_path)
    decision = found.decision
    assert isinstance(decision, Route)
    assert (found.request, found.number, found.at) == (request, 1, NOW)
    assert (found.model, found.wire) == ("claude-sonnet-4-5", "anthropic-messages")
    assert found.session == record.digest("ses-RAW")
    assert (decision.reason, decision.verdicts) == ("because", (SERVES, CANNOT))
    assert decision.chosen == SERVES
    assert (decision.account, decision.explores, decision.veto) == (ACCOUNT, True, ROUTE.veto)
    assert found.standing == STANDING
    assert (found.flags["tool_loop"], found.flags["subagent"]) == (True, False)
    assert found.end == record.End(
        200, NOW + 1, NOW + 1.5, NOW + 2, True, None, Tokens(10, 20, 30, None), 0.25
    )


@pytest.mark.parametrize(
    ("wanted", "pin"), [("anthropic", "anthropic"), ("RAW words", None), (None, None)]
)
def test_the_provider_that_a_client_wants_is_kept_if_it_is_one(
    tmp_path: Path, wanted: str | None, pin: str | None
) -> None:
    history = History(tmp_path)
    history.decided(replace(ASK, pin=wanted), ROUTE, None, NOW)
    history.close()
    assert [it.pin for it in kept(tmp_path)] == [pin]
    assert "RAW" not in rows(tmp_path)[0]["decision"]


@pytest.mark.parametrize("value", ["5", "[]", "null", '""'])
def test_a_pin_that_is_none_is_none(tmp_path: Path, value: str) -> None:
    history = History(tmp_path)
    decided(history)
    history.close()
    [row] = rows(tmp_path)
    pinned = json.dumps(json.loads(row["decision"]) | {"pin": json.loads(value)})
    assert record.attempt(row | {"decision": pinned}).pin is None


def test_rows_are_read_in_the_order_of_the_requests(tmp_path: Path) -> None:
    file = HistoryFile(tmp_path)
    assert find_all(tmp_path, 0.0) == (0, [])
    file.write([begun("c", NOW + 2), begun("b", NOW, 2), begun("b", NOW), begun("a", NOW - 1)], NOW)
    file.close()
    assert find_all(tmp_path, 0.0) == (4, [("a", 1), ("b", 1), ("b", 2), ("c", 1)])
    assert find_all(tmp_path, NOW) == (3, [("b", 1), ("b", 2), ("c", 1)])
    assert find_all(tmp_path, NOW + 3) == (0, [])


def find_all(folder: Path, since: float) -> tuple[int, list[tuple[str, int]]]:
    path = folder / FILE_NAME
    path.touch()
    found = [(row["request"], row["attempt"]) for row in historyfile.every(path, since)]
    return historyfile.count(path, since), found


def test_that_nobody_could_serve_is_kept_with_what_we_answered(tmp_path: Path) -> None:
    history = History(tmp_path)
    request = decided(history, decision=NOBODY)
    answer = history.refused(request, HttpResponse(429, (("retry-after", "60"),), b"{}"), NOW)
    history.close()
    assert answer == HttpResponse(429, (("retry-after", "60"), (HEADER, request)), b"{}")
    [found] = kept(tmp_path)
    assert isinstance(found.decision, NoRoute)
    assert (found.decision.refusal, found.decision.relief_at) == (Refusal.EXHAUSTED, NOW + 60)
    assert found.decision.verdicts == (CANNOT,)
    assert found.end == record.End(429, NOW, None, NOW, None, record.NOT_SENT)
    [row] = rows(tmp_path)
    assert (row["provider"], row["provider_model"], row["account"]) == (None, None, None)


def test_several_attempts_at_a_request_stand_together(tmp_path: Path) -> None:
    history = History(tmp_path)
    request = decided(history)
    history.answered(request, 529, NOW + 1)
    history.ended(request, SEEN, NOW + 1)
    decided(history, NOW + 1, request=request, attempt=2)
    history.ended(request, None, NOW + 2, attempt=2)
    history.close()
    first, second = kept(tmp_path, request)
    assert (first.number, first.end.status, first.end.ended_at) == (1, 529, NOW + 1)
    assert (second.number, second.at, second.end) == (2, NOW + 1, record.End(ended_at=NOW + 2))


def test_only_figures_and_names_of_ours_are_written(tmp_path: Path) -> None:
    history = History(tmp_path)
    ask = Ask(
        Wire.MESSAGES,
        "m",
        session="CANARY-SESSION",
        tool_call="CANARY-CALL",
        pin="CANARY-PIN",
        fields=frozenset({"CANARY-FIELD"}),
    )
    request = history.decided(ask, ROUTE, None, NOW)
    odd = Observation(None, None, Tokens(), "CANARY said: «a prompt»", model="CANARY-MODEL")
    history.ended(request, odd, NOW)
    history.close()
    assert b"CANARY" not in (tmp_path / FILE_NAME).read_bytes()
    [found] = kept(tmp_path)
    assert (found.end.error, found.end.complete) == ("error", None)


def test_an_errors_plain_type_is_kept_and_tokens_that_no_column_holds_are_bounded(
    tmp_path: Path,
) -> None:
    history = History(tmp_path)
    request = decided(history)
    odd = Observation(False, None, Tokens(input=10**30), "overloaded_error")
    history.ended(request, odd, NOW)
    history.close()
    [found] = kept(tmp_path)
    assert (found.end.complete, found.end.error) == (False, "overloaded_error")
    assert found.end.tokens == Tokens(input=2**53)


def test_what_an_earlier_release_wrote_is_still_shown() -> None:
    row = begun()
    told = json.loads(row["decision"])
    del told["verdicts"][0]["score"], told["verdicts"][0]["candidate"]["reserve"]
    del told["verdicts"][0]["windows"][0]["window"]["source"], told["decision"], told["ask"]
    told["verdicts"][1]["later"] = told["later"] = {"x": 1}
    row["decision"] = json.dumps(told)
    empty = dict.fromkeys(
        ["status", "answered_at", "first_content_at", "ended_at", "complete", "error", "cost_usd"]
    )
    tokens = {f"{it}_tokens": None for it in ("input", "output", "cache_read", "cache_write")}
    found = record.attempt({**row, **empty, **tokens})
    assert isinstance(found.decision, Route)
    assert found.decision.chosen.score is None
    assert found.decision.verdicts[1] == CANNOT
    assert found.decision.chosen.candidate.reserve == {}
    assert (found.flags, found.end) == ({}, record.End())


@pytest.mark.parametrize("decision", ["", "{", "[" * 10_000, '{"chosen": 0}', '{"chosen": "x"}'])
def test_a_damaged_row_is_refused(decision: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - whoever reads says which row it is
        record.attempt({**begun(), "decision": decision})


# Ids


def test_ids_are_short_and_sort_by_time_also_within_a_moment() -> None:
    history = History(None)
    ids = [decided(history, NOW + n // 50 / 1000) for n in range(200)]
    assert ids == sorted(set(ids))
    assert {len(it) for it in ids} == {12}
    assert decided(history, NOW - 10) > ids[-1], "a clock that goes back"
    assert len(decided(History(None), -5.0)) == 12


def test_two_processes_have_different_ids() -> None:
    assert decided(History(None)) != decided(History(None))


def test_an_engine_that_only_looks_writes_nothing(tmp_path: Path) -> None:
    history = History(None)
    assert history.path is None
    history.ended(decided(history), None, NOW)
    history.close()
    History(tmp_path / "state").close()
    assert list(tmp_path.iterdir()) == []


# The file


def test_the_folder_is_0700_and_the_files_0600(tmp_path: Path) -> None:
    file = HistoryFile(tmp_path / "a" / "state")
    file.write([begun()], NOW)
    assert mode(tmp_path / "a" / "state") == 0o700
    names = {it.name: mode(it) for it in (tmp_path / "a" / "state").iterdir()}
    sidecars = {f"{FILE_NAME}{it}": 0o600 for it in ("", "-wal", "-shm", ".lock")}
    assert names == sidecars
    file.close()
    file.path.chmod(0o644)
    file.write([begun("b")], NOW)
    assert mode(file.path) == 0o600
    file.close()
    assert not file.path.with_name(f"{FILE_NAME}-wal").exists()


def test_what_is_older_than_the_limit_goes(tmp_path: Path) -> None:
    file = HistoryFile(tmp_path, Limits(seconds=10 * DAY))
    file.write([begun("old", NOW), begun("new", NOW + 6 * DAY)], NOW + 6 * DAY)
    file.write([begun("newest", NOW + 11 * DAY)], NOW + 11 * DAY)
    file.close()
    assert [row["request"] for row in rows(tmp_path)] == ["new", "newest"]


def test_the_oldest_goes_where_it_becomes_too_large(tmp_path: Path) -> None:
    limit = 200_000
    file = HistoryFile(tmp_path, Limits(bytes=limit))
    for n in range(40):
        file.write([begun(f"{n:03}-{i}", NOW + n) for i in range(10)], NOW + n)
    file.close()
    found = [row["request"] for row in rows(tmp_path)]
    assert found[-1] == "039-9"
    assert found == sorted(found)
    assert 50 < len(found) < 400
    assert file.path.stat().st_size <= limit + 50_000


def test_a_limit_that_nothing_meets_leaves_nothing(tmp_path: Path) -> None:
    file = HistoryFile(tmp_path, Limits(bytes=1))
    file.write([begun()], NOW)
    file.close()
    assert rows(tmp_path) == []


def test_a_decision_takes_a_few_kilobytes() -> None:
    """What the limit in bytes is reckoned with: two candidates, five windows."""
    verdict = Verdict(SERVES.candidate, True, -1.0, SERVES.windows * 3, "because")
    row = record.columns(
        record.Decided("a", 1, NOW, ASK, Route(verdict.candidate, telling(verdict, SERVES)), None)
    )
    assert 1_000 < len(row["decision"]) < 3_000


def test_the_same_attempt_twice_is_kept_once(tmp_path: Path) -> None:
    file = HistoryFile(tmp_path)
    file.write([begun("a", NOW), begun("a", NOW + 1)], NOW)
    file.close()
    assert [row["at"] for row in rows(tmp_path)] == [NOW]


def foreign() -> bytes:
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.execute("CREATE TABLE theirs (a)")
        return connection.serialize()


def damaged(folder: Path) -> bytes:
    """Its beginning is sound, the rest is not."""
    file = HistoryFile(folder / "sound")
    file.write([begun(str(n)) for n in range(50)], NOW)
    file.close()
    content = bytearray(file.path.read_bytes())
    content[4096:] = b"\xa5" * (len(content) - 4096)
    return bytes(content)


@pytest.mark.parametrize("kind", ["text", "foreign", "damaged"])
def test_a_file_that_is_no_sound_log_is_set_aside(
    kind: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    content = {"text": b"not a database, and long enough to be one" * 30, "foreign": foreign()}
    bad = content[kind] if kind in content else damaged(tmp_path)
    path = tmp_path / FILE_NAME
    path.write_bytes(bad)
    path.with_name(f"{BAD_NAME}-wal").write_bytes(b"of one before")
    with pytest.raises(StateError) as caught:
        find(path, None)
    assert str(caught.value) == f"{path}: is no sound decision log."
    assert path.read_bytes() == bad, "who only reads moves nothing"
    history = History(tmp_path)
    request = decided(history)
    history.close()
    assert [found.request for found in kept(tmp_path)] == [request]
    assert path.with_name(BAD_NAME).read_bytes() == bad
    assert caplog.messages == [f"{path}: is no sound decision log; it is kept as history.db.bad-1."]


def test_one_that_another_process_has_set_aside_already_is_left(tmp_path: Path) -> None:
    sound = HistoryFile(tmp_path)
    sound.write([begun()], NOW)
    HistoryFile(tmp_path)._set_aside()
    sound.close()
    assert [row["request"] for row in rows(tmp_path)] == ["a"]


def test_a_foreign_file_that_is_in_use_is_not_moved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(historyfile, "BUSY_S", 0.0)
    path = tmp_path / FILE_NAME
    path.write_bytes(foreign())
    with closing(sqlite3.connect(path, isolation_level=None)) as theirs:
        theirs.execute("BEGIN EXCLUSIVE")
        with pytest.raises(sqlite3.OperationalError, match="database is locked"):
            HistoryFile(tmp_path)._set_aside()
        theirs.execute("ROLLBACK")
    assert path.read_bytes() == foreign()


def test_an_empty_file_is_begun(tmp_path: Path) -> None:
    path = tmp_path / FILE_NAME
    path.touch()
    with pytest.raises(StateError, match="no decision is kept in it yet"):
        find(path, None)
    file = HistoryFile(tmp_path)
    file.write([begun()], NOW)
    file.close()
    assert [row["request"] for row in rows(tmp_path)] == ["a"]


def test_a_later_releases_file_is_left_alone(tmp_path: Path) -> None:
    file = HistoryFile(tmp_path)
    file.write([begun()], NOW)
    file.close()
    with closing(sqlite3.connect(file.path)) as connection:
        connection.execute("PRAGMA user_version = 2")
    with pytest.raises(StateError) as caught:
        file.write([begun("b")], NOW)
    later = "a later release of limit-router has written it"
    assert str(caught.value) == f"{file.path}: cannot be written ({later})."
    with pytest.raises(StateError) as caught:
        find(file.path, None)
    assert str(caught.value) == f"{file.path}: cannot be read ({later})."
    assert [row["request"] for row in rows(tmp_path)] == ["a"]


def test_one_that_was_removed_is_begun_anew(tmp_path: Path) -> None:
    file = HistoryFile(tmp_path)
    file.write([begun("a")], NOW)
    for suffix in ("", "-wal", "-shm"):
        file.path.with_name(FILE_NAME + suffix).unlink()
    file.write([begun("b")], NOW)
    file.close()
    assert [row["request"] for row in rows(tmp_path)] == ["b"]


def test_ids_may_be_cut_short_as_long_as_they_are_one(tmp_path: Path) -> None:
    file = HistoryFile(tmp_path)
    file.write([begun("abc1"), begun("abd2"), begun("x"), begun("x", attempt=2)], NOW)
    file.close()
    path = file.path
    assert [row["request"] for row in find(path, "abc")] == ["abc1"]
    assert [row["attempt"] for row in find(path, "x")] == [1, 2]
    assert [row["request"] for row in find(path, None)] == ["x", "x"]
    with pytest.raises(StateError) as caught:
        find(path, "ab")
    assert str(caught.value) == f"{path}: several ids begin with 'ab', among them abc1, abd2."
    with pytest.raises(StateError) as caught:
        find(path, "%")
    assert str(caught.value) == f"{path}: no decision in it has an id that begins with '%'."


def test_there_is_none_before_the_first(tmp_path: Path) -> None:
    path = tmp_path / FILE_NAME
    with pytest.raises(StateError) as caught:
        find(path, None)
    problem = "there is no decision log yet; a proxy that routes writes one"
    assert str(caught.value) == f"{path}: {problem}."


# Disks that do not write


def refused(file: HistoryFile) -> str:
    with pytest.raises(StateError) as caught:
        file.write([begun()], NOW)
    assert caught.value.__context__ is None
    return str(caught.value)


def test_a_folder_that_cannot_be(tmp_path: Path) -> None:
    (tmp_path / "state").touch()
    path = tmp_path / "state" / FILE_NAME
    assert refused(HistoryFile(tmp_path / "state")) == (f"{path}: cannot be written (File exists).")


def test_a_file_system_without_locks(tmp_path: Path) -> None:
    def none() -> Any:
        raise NotImplementedError

    file = HistoryFile(tmp_path)
    file._lock = none  # type: ignore[method-assign]
    assert refused(file) == f"{file.path}: cannot be written (the file system has no locks)."


def test_a_lock_that_is_held(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(historyfile, "BUSY_S", 0.0)
    file = HistoryFile(tmp_path)
    with HistoryFile(tmp_path)._lock():
        held = "another process has held its lock for 0 s"
        assert refused(file) == f"{file.path}: cannot be written ({held})."


def test_a_write_that_another_process_is_in_the_midst_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(historyfile, "BUSY_S", 0.0)
    file = HistoryFile(tmp_path)
    file.write([begun()], NOW)
    with closing(sqlite3.connect(file.path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        assert refused(file) == f"{file.path}: cannot be written (database is locked)."
        assert [row["request"] for row in find(file.path, None)] == ["a"], "reading goes on"
        other.execute("COMMIT")
    file.write([begun("b")], NOW)
    file.close()
    assert [row["request"] for row in rows(tmp_path)] == ["a", "b"]


def test_a_full_disk_leaves_what_was_there(tmp_path: Path) -> None:
    """SQLite itself says that it is full, at a page more than it has."""
    file = HistoryFile(tmp_path)
    file.write([begun()], NOW)
    assert file._connection is not None
    file._connection.execute("PRAGMA max_page_count = 1").fetchall()
    with pytest.raises(StateError) as caught:
        file.write([begun(str(n)) for n in range(200)], NOW)
    assert str(caught.value) == f"{file.path}: cannot be written (database or disk is full)."
    assert [row["request"] for row in rows(tmp_path)] == ["a"]


# The thread


class Unreliable(HistoryFile):
    """Refuses until it is told to work."""

    works = threading.Event()
    refusals = threading.Semaphore(0)

    def write(self, rows: Any, now: float) -> None:
        if not self.works.is_set():
            self.refusals.release()
            raise StateError(str(self.path), "cannot be written (of a test)")
        super().write(rows, now)


@pytest.fixture
def unreliable(monkeypatch: pytest.MonkeyPatch) -> type[Unreliable]:
    Unreliable.works, Unreliable.refusals = threading.Event(), threading.Semaphore(0)
    monkeypatch.setattr("core.history.HistoryFile", Unreliable)
    return Unreliable


def test_a_disk_that_fails_is_said_once_and_is_tried_again(
    tmp_path: Path, unreliable: type[Unreliable], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    history = History(tmp_path, retry_s=0.001)
    requests = [decided(history)]
    for _ in range(3):
        assert unreliable.refusals.acquire(timeout=10)
    requests.append(decided(history))
    unreliable.works.set()
    history.close(10)
    assert [row["request"] for row in rows(tmp_path)] == requests
    said = "limit-router does not keep its decisions for now"
    assert caplog.messages == [
        f"{said}: {history.path}: cannot be written (of a test).",
        "limit-router keeps its decisions again",
    ]


def test_more_than_can_wait_is_counted_and_dropped(
    tmp_path: Path, unreliable: type[Unreliable], caplog: pytest.LogCaptureFixture
) -> None:
    history = History(tmp_path, waiting=3, retry_s=0.001)
    requests = [decided(history)]
    assert unreliable.refusals.acquire(timeout=10)
    requests += [decided(history) for _ in range(5)]
    unreliable.works.set()
    history.close(10)
    assert [row["request"] for row in rows(tmp_path)] == requests[:4]
    assert caplog.messages[-1] == "limit-router: 2 notes were not kept in the log of decisions"


def test_a_stop_tries_once_more_and_waits_no_longer(
    tmp_path: Path, unreliable: type[Unreliable], caplog: pytest.LogCaptureFixture
) -> None:
    history = History(tmp_path, retry_s=3600.0)
    decided(history)
    assert unreliable.refusals.acquire(timeout=10)
    history.close(10)
    assert history._thread is None
    assert len(caplog.messages) == 1
    unreliable.works.set()
    request = decided(history)
    history.close(10)
    assert [row["request"] for row in rows(tmp_path)] == [request]
    assert caplog.messages[1:] == ["limit-router: 1 note was not kept in the log of decisions"]


def test_a_stop_waits_for_no_hanging_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    goes_on = threading.Event()

    class Hanging(HistoryFile):
        def write(self, rows: Any, now: float) -> None:
            assert goes_on.wait(30)
            super().write(rows, now)

    monkeypatch.setattr("core.history.HistoryFile", Hanging)
    history = History(tmp_path)
    first = decided(history)
    history.close(0.0)
    second = decided(history)
    goes_on.set()
    history.close(10)
    assert [row["request"] for row in rows(tmp_path)] == [first, second]


def test_what_is_told_after_the_end_is_kept_too(tmp_path: Path) -> None:
    """Where the new configuration is broken, the old engine goes on after its end."""
    history = History(tmp_path)
    request = decided(history)
    history.close()
    assert history._thread is None
    history.ended(request, SEEN, NOW + 2)
    history.close()
    history.close()
    [found] = kept(tmp_path)
    assert found.end.ended_at == NOW + 2


def test_a_bug_in_the_thread_loses_what_it_had_and_no_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[type[BaseException]] = []
    monkeypatch.setattr(threading, "excepthook", lambda it: seen.append(it.exc_type))

    def broken() -> Explanation:
        raise ZeroDivisionError

    history = History(tmp_path)
    decided(history, decision=Route(SERVES.candidate, broken))
    history.close(10)
    request = decided(history)
    history.close(10)
    assert seen == [ZeroDivisionError]
    assert [row["request"] for row in rows(tmp_path)] == [request]


def test_the_threads_of_a_process_lose_nothing(tmp_path: Path) -> None:
    history = History(tmp_path)

    def work() -> None:
        for _ in range(50):
            history.ended(decided(history), SEEN, NOW + 1)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    history.close(30)
    found = rows(tmp_path)
    assert len(found) == 200
    assert {row["ended_at"] for row in found} == {NOW + 1}


_WORKER = """
import sys
from pathlib import Path
sys.path.insert(0, "tests")
from test_history import NOW, SEEN, decided, History

history = History(Path(sys.argv[1]), retry_s=0.01)
for n in range(50):
    history.ended(decided(history, NOW + n), SEEN, NOW + n)
history.close(60)
"""


def test_processes_lose_nothing(tmp_path: Path) -> None:
    root = Path(__file__).parent.parent
    command = [sys.executable, "-c", _WORKER, str(tmp_path / "state")]
    workers = [subprocess.Popen(command, cwd=root) for _ in range(3)]
    assert [worker.wait() for worker in workers] == [0, 0, 0]
    found = rows(tmp_path / "state")
    assert len(found) == 150
    assert {row["input_tokens"] for row in found} == {10}


def test_the_interpreters_end_waits_for_no_disk(tmp_path: Path) -> None:
    """Nobody has closed it, and another process is in the midst of writing."""
    root = Path(__file__).parent.parent
    first = HistoryFile(tmp_path)
    first.write([begun()], NOW)
    first.close()
    script = _WORKER.replace("history.close(60)", "")
    with closing(sqlite3.connect(first.path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        done = subprocess.run(
            [sys.executable, "-c", script, str(tmp_path)], cwd=root, timeout=60, check=False
        )
        other.execute("ROLLBACK")
    assert done.returncode == 0


def test_errors_of_the_system_are_said_in_its_words(tmp_path: Path) -> None:
    def full() -> Any:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    file = HistoryFile(tmp_path)
    file._lock = full  # type: ignore[method-assign]
    assert refused(file) == f"{file.path}: cannot be written (No space left on device)."
