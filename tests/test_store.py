import errno
import json
import os
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock
from hypothesis import example, given, settings
from hypothesis import strategies as st

from core import store as store_module
from core.errors import StateError
from core.model import (
    Abilities,
    AccountState,
    Cost,
    Period,
    Source,
    Spend,
    State,
    ToldSpend,
    Window,
)
from core.store import Store

NOW = 1_790_000_000.0
DAY = 86400.0
TODAY = int(NOW // DAY)
ME = "anthropic/0123456789ab"


def window(name: str = "five_hour", used: float = 10.0, as_of: float = NOW, **more: Any) -> Window:
    facts = {"resets_at": NOW + 60, "duration_s": 18000.0, "source": Source.HEADER, **more}
    return Window(name, used, as_of=as_of, **facts)


def knowing(*windows: Window, **more: Any) -> State:
    return State({ME: AccountState({w.name: w for w in windows}, **more)})


FULL = State(
    {
        ME: AccountState(
            {
                "five_hour": window(),
                "seven_day_opus": window("seven_day_opus", 99.5, scope="opus"),
                "session": window("session", -0.33, resets_at=None, duration_s=None),
            },
            plan="max",
            polled_at=NOW - 5,
            poll_after=NOW + 300,
            failures=2,
            error="it said 503",
            models=("claude-sonnet-4.5",),
            abilities={
                "claude-sonnet-4.5": Abilities(200_000, 168_000, 32_000, True, False),
                "m": Abilities(thinking=True),
            },
            models_at=NOW - 7,
            read_at=NOW - 5,
            metered={"claude-sonnet-4.5": {"0": 12.5, "1": 3.0}},
            costs={"five_hour": Cost(3.0, 1200.0, NOW - 9)},
            spent={
                TODAY: {"0": Spend(0.75, {"glm": 5.0}), "1": Spend(2.5)},
                TODAY - 40: {"0": Spend(1.0)},
            },
            told_spend=ToldSpend(
                {Period.MONTH: 12.5}, NOW - 5, {Period.MONTH: Spend(3.25, {"glm": 5.0})}
            ),
        ),
        "github-copilot/ba9876543210": AccountState(polled_at=NOW),
    }
)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def problem(store: Store) -> str:
    assert store.problem is not None
    return str(store.problem)


def test_nothing_is_known_before_the_first_save(tmp_path: Path) -> None:
    store = Store(tmp_path / "absent")
    assert store.load() == State()
    assert store.problem is None
    assert not (tmp_path / "absent").exists()


def test_what_is_saved_is_loaded(tmp_path: Path) -> None:
    assert Store(tmp_path).save(FULL, NOW) == FULL
    other = Store(tmp_path)
    assert other.load() == FULL
    assert other.problem is None


def test_the_format(tmp_path: Path) -> None:
    Store(tmp_path).save(knowing(window(), polled_at=NOW), NOW)
    assert json.loads((tmp_path / "state.json").read_text()) == {
        "version": 1,
        "accounts": {
            ME: {
                "windows": {
                    "five_hour": {
                        "used_percent": 10.0,
                        "resets_at": NOW + 60,
                        "duration_s": 18000.0,
                        "source": "header",
                        "as_of": NOW,
                        "scope": None,
                        "overage": False,
                        "confidence": 1.0,
                        "mark": 0.0,
                    }
                },
                "plan": None,
                "polled_at": NOW,
                "poll_after": None,
                "failures": 0,
                "error": None,
                "limited_until": None,
                "models": None,
                "abilities": {},
                "models_at": None,
                "read_at": None,
                "explored_at": None,
                "metered": {},
                "hours": {},
                "costs": {},
                "spent": {},
                "told_spend": None,
            }
        },
    }


def test_keys_of_a_later_release_are_passed_over(tmp_path: Path) -> None:
    Store(tmp_path).save(FULL, NOW)
    file = tmp_path / "state.json"
    content = json.loads(file.read_text())
    content["later"] = content["accounts"][ME]["later"] = 1
    content["accounts"][ME]["windows"]["five_hour"]["later"] = 1
    file.write_text(json.dumps(content))
    store = Store(tmp_path)
    assert store.load() == FULL
    assert store.problem is None


# Modes


def test_the_folder_is_0700_and_the_file_0600(tmp_path: Path) -> None:
    folder = tmp_path / "a" / "state"
    Store(folder).save(FULL, NOW)
    assert (mode(folder), mode(folder / "state.json")) == (0o700, 0o600)
    assert mode(folder / "state.json.lock") == 0o600


def test_a_loose_file_and_a_link_end_as_a_file_of_0600(tmp_path: Path) -> None:
    folder, elsewhere = tmp_path / "state", tmp_path / "elsewhere"
    elsewhere.mkdir()
    folder.symlink_to(elsewhere)
    (tmp_path / "linked.json").write_text('{"version": 1}')
    (elsewhere / "state.json").symlink_to(tmp_path / "linked.json")
    Store(folder).save(FULL, NOW)
    file = elsewhere / "state.json"
    assert (file.is_symlink(), mode(file)) == (False, 0o600)
    assert (tmp_path / "linked.json").read_text() == '{"version": 1}'
    file.chmod(0o666)
    Store(folder).save(FULL, NOW)
    assert mode(file) == 0o600


def test_leftovers_of_a_crash_are_no_obstacle(tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.write_text("mine")
    (tmp_path / "state.json.tmp").symlink_to(target)
    Store(tmp_path).save(FULL, NOW)
    assert target.read_text() == "mine"
    assert sorted(p.name for p in tmp_path.iterdir() if p.suffix == ".tmp") == []


# Merging


def test_the_newest_reading_of_each_window_stays(tmp_path: Path) -> None:
    ours, theirs = Store(tmp_path), Store(tmp_path)
    ours.save(knowing(window(used=1.0), window("month", 1.0, NOW - 10)), NOW)
    merged = theirs.save(knowing(window(used=2.0, as_of=NOW - 10), window("month", 2.0)), NOW)
    assert merged == knowing(window(used=1.0), window("month", 2.0))
    assert ours.load() == merged


def test_what_is_spent_is_kept_of_an_account_that_nothing_else_is_known_of(tmp_path: Path) -> None:
    days = {TODAY - ago: {"0": Spend(1.0)} for ago in (0, 39, 40, 41)}
    for ago in (1, 2):
        days[TODAY + ago] = {"0": Spend(1.0)}
    kept = {TODAY - ago: {"0": Spend(1.0)} for ago in (0, 39, 40, -1)}
    assert Store(tmp_path).save(knowing(spent=days), NOW) == knowing(spent=kept)
    forgotten = Store(tmp_path).save(State(), NOW + 42 * DAY)
    assert forgotten == State()


def test_a_figure_from_the_future_is_none(tmp_path: Path) -> None:
    told = ToldSpend({Period.DAY: 1.0}, NOW + DAY + 1, {})
    saved = Store(tmp_path).save(knowing(polled_at=NOW, told_spend=told), NOW)
    assert saved == knowing(polled_at=NOW)


def test_accounts_unheard_of_for_40_days_are_forgotten(tmp_path: Path) -> None:
    old = NOW - 40 * DAY - 1
    state = State(
        {
            "a/read": AccountState({"month": window("month", as_of=old + 2)}),
            "a/polled": AccountState({"month": window("month", as_of=old)}, polled_at=old + 2),
            "a/listed": AccountState(polled_at=old, models=(), models_at=old + 2),
            "a/old": AccountState({"month": window("month", as_of=old)}, polled_at=old),
            "a/never": AccountState(),
        }
    )
    merged = Store(tmp_path).save(state, NOW)
    assert set(merged.accounts) == {"a/read", "a/polled", "a/listed"}
    assert Store(tmp_path).load() == merged


def test_readings_of_a_clock_that_was_wrong_are_dropped(tmp_path: Path) -> None:
    ahead = NOW + 2 * DAY
    wrong = AccountState(
        {"five_hour": window(as_of=ahead), "month": window("month")},
        polled_at=ahead,
        poll_after=ahead + 300,
        failures=1,
        error="x",
        models=("a",),
        models_at=ahead,
    )
    merged = Store(tmp_path).save(State({ME: wrong}), NOW)
    assert merged == knowing(window("month"), models=("a",))


# Files that are none of ours


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"\xff\xfe",
        b"[]",
        b"{}",
        b'{"version": 2, "accounts": {}}',
        b'{"version": 1, "accounts": []}',
        b'{"version": 1, "accounts": {"a": {"windows": {"b": {"used_percent": 1}}}}}',
        b'{"version": 1, "accounts": {"a": {"failures": -1}}}',
        b"[" * 10_000,
    ],
)
def test_a_foreign_file_is_set_aside(content: bytes, tmp_path: Path) -> None:
    file = tmp_path / "state.json"
    message = f"{file}: is not a state file of this version; it is kept as state.json.bad-1."
    file.write_bytes(content)
    store = Store(tmp_path)
    assert store.load() == State()
    assert problem(store) == message
    assert (tmp_path / "state.json.bad-1").read_bytes() == content
    assert store.load() == State()
    assert store.problem is None
    file.write_bytes(content)
    assert store.save(FULL, NOW) == FULL
    assert problem(store) == message
    assert store.load() == FULL


def test_three_are_kept(tmp_path: Path) -> None:
    for n in range(5):
        (tmp_path / "state.json").write_text(f"bad {n}")
        Store(tmp_path).load()
    kept = {p.name: p.read_text() for p in tmp_path.glob("*.bad-*")}
    assert kept == {
        "state.json.bad-1": "bad 4",
        "state.json.bad-2": "bad 3",
        "state.json.bad-3": "bad 2",
    }


def test_one_that_cannot_be_set_aside_is_not_fatal(tmp_path: Path) -> None:
    file = tmp_path / "state.json"
    file.write_text("bad")
    for n in (1, 2, 3):
        (tmp_path / f"state.json.bad-{n}" / "in-the-way").mkdir(parents=True)
    store = Store(tmp_path)
    assert store.load() == State()
    assert problem(store) == (
        f"{file}: is not a state file of this version, and it cannot be set aside "
        "(Directory not empty)."
    )
    assert file.read_text() == "bad"
    assert store.save(FULL, NOW) == FULL
    assert store.load() == FULL


def test_one_that_was_replaced_meanwhile_is_read(tmp_path: Path) -> None:
    """Another process puts a good file in its place between our look and our lock."""
    (tmp_path / "state.json").write_text("bad")
    store = Store(tmp_path)

    class Interrupted(FileLock):
        def _acquire(self) -> None:
            super()._acquire()
            (tmp_path / "state.json").write_text('{"version": 1}')

    store._lock = lambda: Interrupted(tmp_path / "state.json.lock")  # type: ignore[method-assign]
    assert store.load() == State()
    assert store.problem is None
    assert list(tmp_path.glob("*.bad-*")) == []


def test_one_that_cannot_be_read(tmp_path: Path) -> None:
    file = tmp_path / "state.json"
    file.mkdir()
    store = Store(tmp_path)
    assert store.load() == State()
    assert problem(store) == f"{file}: cannot be read (Is a directory)."


# Disks that do not write


def refused(store: Store, state: State = FULL) -> str:
    with pytest.raises(StateError) as caught:
        store.save(state, NOW)
    assert caught.value.__context__ is None
    return str(caught.value)


def test_no_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert refused(Store(tmp_path / "file")) == (
        f"{tmp_path}/file/state.json: cannot be written (File exists)."
    )


def test_a_folder_in_place_of_the_file(tmp_path: Path) -> None:
    (tmp_path / "state.json").mkdir()
    assert refused(Store(tmp_path)) == (
        f"{tmp_path}/state.json: cannot be written (Is a directory)."
    )


def test_a_full_disk_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    store = Store(tmp_path)
    store.save(knowing(window()), NOW)
    monkeypatch.setattr(os, "fsync", full)
    assert refused(store) == f"{tmp_path}/state.json: cannot be written (No space left on device)."
    assert store.load() == knowing(window())
    assert not (tmp_path / "state.json.tmp").exists()


def test_a_lock_that_is_held(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_module, "_LOCK_TIMEOUT_S", 0.0)
    (tmp_path / "state.json").write_text("bad")
    store, why = Store(tmp_path), "(another process has held its lock for 5 seconds)."
    with FileLock(tmp_path / "state.json.lock"):
        assert refused(store) == f"{tmp_path}/state.json: cannot be written {why}"
        assert store.load() == State()
    assert problem(store) == (
        f"{tmp_path}/state.json: is not a state file of this version, "
        f"and it cannot be set aside {why}"
    )


def test_a_file_system_without_locks(tmp_path: Path) -> None:
    def none() -> FileLock:
        raise NotImplementedError

    store = Store(tmp_path)
    store._lock = none  # type: ignore[method-assign]
    assert refused(store) == (
        f"{tmp_path}/state.json: cannot be written (the file system has no locks)."
    )


def test_a_state_that_no_file_can_hold(tmp_path: Path) -> None:
    message = f"{tmp_path}/state.json: cannot be written (a value in it has no place in a file)."
    assert refused(Store(tmp_path), knowing(window(), plan="\ud800", polled_at=NOW)) == message


def test_a_time_that_no_calendar_has_is_not_known(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.save(knowing(window(resets_at=1e300), polled_at=NOW, poll_after=-1.0), NOW)
    assert store.load() == knowing(window(resets_at=None), polled_at=NOW)


# Several at once


def test_threads_lose_nothing(tmp_path: Path) -> None:
    def work(name: str) -> None:
        store = Store(tmp_path)
        for n in range(20):
            store.save(knowing(window(name, float(n), NOW + n)), NOW)

    threads = [threading.Thread(target=work, args=(f"w{n}",)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = Store(tmp_path).load()
    assert found == knowing(*(window(f"w{n}", 19.0, NOW + 19) for n in range(4)))


_WORKER = """
import sys
from pathlib import Path
from core.model import AccountState, Source, State, Window
from core.store import Store

folder, own, now = Path(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
store = Store(folder)
for n in range(20):
    as_of = now + n * 4 + own
    windows = [
        Window(name, as_of - now, None, None, Source.HEADER, as_of)
        for name in (f"own{own}", "shared")
    ]
    merged = store.save(State({"a/b": AccountState({w.name: w for w in windows})}), now)
    assert merged.accounts["a/b"].windows["shared"].as_of >= as_of
"""


def _until_done(workers: list[subprocess.Popen[bytes]]) -> Iterator[None]:
    while any(worker.poll() is None for worker in workers):
        yield


def test_processes_lose_nothing_and_readers_see_whole_files(tmp_path: Path) -> None:
    root = Path(__file__).parent.parent
    command = [sys.executable, "-c", _WORKER, str(tmp_path)]
    workers = [subprocess.Popen([*command, str(own), str(NOW)], cwd=root) for own in range(4)]
    store, newest = Store(tmp_path), 0.0
    for _ in _until_done(workers):
        for known in store.load().accounts.values():
            assert known.windows["shared"].as_of >= newest
            newest = known.windows["shared"].as_of
        assert store.problem is None
    assert [worker.wait() for worker in workers] == [0, 0, 0, 0]
    (known,) = store.load().accounts.values()
    assert {name: w.used_percent for name, w in known.windows.items()} == {
        "own0": 76.0,
        "own1": 77.0,
        "own2": 78.0,
        "own3": 79.0,
        "shared": 79.0,
    }


# Whatever it is thrown


_NUMBERS = st.floats() | st.integers() | st.none() | st.text(max_size=3)
_WINDOWS = st.fixed_dictionaries(
    {
        "used_percent": _NUMBERS,
        "source": st.just("header") | st.text(max_size=3),
        "as_of": _NUMBERS,
    },
    optional={"resets_at": _NUMBERS, "duration_s": _NUMBERS, "scope": st.text()},
)
_DAYS = st.integers(-1, 3_000_000).map(str) | st.text(max_size=3)
_PERIODS = st.sampled_from(["day", "week", "month"]) | st.text(max_size=3)
_SPENDS = st.fixed_dictionaries(
    {}, optional={"usd": _NUMBERS, "unpriced": st.dictionaries(st.text(), _NUMBERS)}
)
_ABILITIES = st.fixed_dictionaries(
    {},
    optional={
        "context": st.integers() | st.none(),
        "output": _NUMBERS,
        "images": st.booleans() | st.none() | st.text(max_size=3),
    },
)
_ACCOUNTS = st.fixed_dictionaries(
    {},
    optional={
        "windows": st.dictionaries(st.text(), _WINDOWS),
        "plan": st.text() | st.none(),
        "polled_at": _NUMBERS,
        "poll_after": _NUMBERS,
        "failures": _NUMBERS,
        "models": st.lists(st.text()),
        "abilities": st.dictionaries(st.text(), _ABILITIES),
        "models_at": _NUMBERS,
        "spent": st.dictionaries(_DAYS, st.dictionaries(st.text(), _SPENDS)),
        "told_spend": st.fixed_dictionaries(
            {"usd": st.dictionaries(_PERIODS, _NUMBERS), "at": _NUMBERS},
            optional={"counted": st.dictionaries(_PERIODS, _SPENDS)},
        ),
    },
)
_FILES = st.fixed_dictionaries(
    {"version": st.just(1), "accounts": st.dictionaries(st.text(), _ACCOUNTS)}
)


def _anything(folder: Path, content: bytes) -> None:
    (folder / "state.json").write_bytes(content)
    store = Store(folder)
    found = store.load()
    assert isinstance(found, State)
    assert store.save(found, NOW) == Store(folder).load()


@settings(deadline=None)
@given(st.binary())
@example(b'{"version": 1, "accounts": {"\\ud800": {}}}')
@example(b'{"version": 1, "accounts": {"a": {"polled_at": 1' + b"0" * 5000 + b"}}}")
def test_any_bytes_are_a_state(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    _anything(tmp_path_factory.mktemp("state"), content)


@settings(deadline=None)
@given(_FILES)
def test_any_file_of_the_right_shape_is_a_state(
    tmp_path_factory: pytest.TempPathFactory, content: Any
) -> None:
    _anything(tmp_path_factory.mktemp("state"), json.dumps(content).encode())
