import errno
import json
import os
import resource
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.authfile import LARGEST, AuthFile, Disk, Entry, token_digest
from core.jsonspan import JsonError
from core.model import Secret
from core.provider import Renewed

OLD, NEW = Secret("ref-OLD"), Secret("ref-NEW")
ENTRY = {"type": "oauth", "access": "acc-OLD", "refresh": "ref-OLD", "expires": 1000}
RENEWED = Renewed(Secret("acc-NEW"), NEW, 5.0)
TEXT = b"""{ "other/": {"type":"api", "key" : "k\\u00e9y", "n": 1.0e2},
  "openai":{"x": [1, {"refresh":"ref-OLD"}], "access":"acc-OLD"  , "refresh": "r\\u0065f-OLD",
\t"type":"oauth","expires" :1000,"later": null } }
"""
WRITTEN = b"""{ "other/": {"type":"api", "key" : "k\\u00e9y", "n": 1.0e2},
  "openai":{"x": [1, {"refresh":"ref-OLD"}], "access":"acc-NEW"  , "refresh": "ref-NEW",
\t"type":"oauth","expires" :5000,"later": null } }
"""


class Failing(Disk):
    """Refuses one step, on the call of that number."""

    def __init__(self, step: str, call: int = 1, error: int = errno.ENOSPC) -> None:
        self.step, self.calls, self.error = step, call, error

    def _made[T](self, name: str, done: Callable[[], T]) -> T:
        if name == self.step:
            self.calls -= 1
            if self.calls == 0:
                raise OSError(self.error, os.strerror(self.error))
        return done()

    def read(self, file):
        return self._made("read", lambda: super(Failing, self).read(file))

    def check(self, file):
        return self._made("check", lambda: super(Failing, self).check(file))

    def create(self, file, data, owner):
        self._made("create", lambda: super(Failing, self).create(file, data, owner))

    def sync(self, place):
        self._made("sync", lambda: super(Failing, self).sync(place))

    def replace(self, new, file):
        self._made("replace", lambda: super(Failing, self).replace(new, file))


class Meddling(Disk):
    """Somebody else writes the file once it has been read so often."""

    def __init__(self, after: int, text: bytes, times: int = 1) -> None:
        self.after, self.text, self.times = after, text, times

    def read(self, file):
        raw = super().read(file)
        self.after -= 1
        if self.after <= 0 < self.times:
            self.times -= 1
            file.write_bytes(self.text + b" " * self.times)
        return raw


def nothing() -> None:
    pass


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "auth.json"
    path.write_bytes(TEXT)
    return path


def store(path: Path, renewed: Renewed = RENEWED, disk: Disk | None = None) -> bool:
    return AuthFile(path, disk or Disk()).store("openai", OLD, renewed, nothing)


def beside(file: Path) -> list[str]:
    """What there is but the file."""
    return sorted(it.name for it in file.parent.iterdir() if it != file)


# What is written


def test_the_tokens_are_replaced_and_no_other_byte(file: Path) -> None:
    assert store(file)
    assert file.read_bytes() == WRITTEN
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert beside(file) == []


def test_a_byte_order_mark_stays(file: Path) -> None:
    file.write_bytes(b"\xef\xbb\xbf" + TEXT)
    assert store(file)
    assert file.read_bytes() == b"\xef\xbb\xbf" + WRITTEN


def test_a_key_with_a_slash_is_that_key_as_opencode_has_it(file: Path) -> None:
    file.write_text(json.dumps({"openai": {"type": "api", "key": "x"}, "openai/": ENTRY}))
    assert store(file)
    assert json.loads(file.read_text())["openai/"]["refresh"] == "ref-NEW"


def test_a_refresh_token_that_does_not_rotate_stays(file: Path) -> None:
    assert store(file, Renewed(Secret("acc-NEW"), None, 5.0))
    assert file.read_bytes() == WRITTEN.replace(b'"ref-NEW"', b'"r\\u0065f-OLD"')


@pytest.mark.parametrize(
    ("there", "expected"),
    [({}, "acc-1"), ({"accountId": ""}, "acc-1"), ({"accountId": "mine"}, "mine")],
)
def test_an_account_is_named_where_none_is(
    file: Path, there: dict[str, str], expected: str
) -> None:
    file.write_text(json.dumps({"openai": ENTRY | there}))
    assert store(file, Renewed(Secret("acc-NEW"), NEW, 5.0, "acc-1"))
    found = json.loads(file.read_text())["openai"]
    wanted = {"access": "acc-NEW", "refresh": "ref-NEW", "expires": 5000, "accountId": expected}
    assert found == ENTRY | wanted


def test_a_link_is_followed_and_stays_one(tmp_path: Path, file: Path) -> None:
    (tmp_path / "home").mkdir()
    near, far = tmp_path / "home" / "auth.json", tmp_path / "home" / "far.json"
    far.symlink_to(file)
    near.symlink_to("far.json")
    assert AuthFile(near).path == file
    assert store(near)
    assert file.read_bytes() == WRITTEN
    assert (near.readlink(), far.readlink()) == (Path("far.json"), file)
    assert sorted(it.name for it in near.parent.iterdir()) == ["auth.json", "far.json"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_a_file_of_another_user_stays_theirs_when_root_writes_it(file: Path) -> None:
    os.chown(file, 4242, 4343)
    found = AuthFile(file)
    lock = found.lock()
    assert lock is not None
    lock.release()
    found.rehearse()
    assert store(file)
    for path in (file, file.with_name("auth.json.limit-router.lock")):
        assert (path.stat().st_uid, path.stat().st_gid) == (4242, 4343)


_TEXTS = st.text(st.characters(exclude_categories=["Cs"]))
_JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | _TEXTS,
    lambda inner: st.lists(inner) | st.dictionaries(_TEXTS, inner),
    max_leaves=8,
)


@settings(deadline=None)
@given(
    st.dictionaries(_TEXTS.filter(lambda key: key.rstrip("/") != "openai"), _JSON),
    st.dictionaries(_TEXTS, _JSON),
    st.none() | st.integers(0, 4),
    st.booleans(),
)
def test_whatever_stands_beside_the_tokens_stays(
    tmp_path_factory: pytest.TempPathFactory,
    others: dict[str, Any],
    unknown: dict[str, Any],
    indent: int | None,
    escaped: bool,  # noqa: FBT001
) -> None:
    file = tmp_path_factory.mktemp("auth") / "auth.json"
    entry = unknown | ENTRY
    file.write_text(
        json.dumps({"openai": entry, **others}, indent=indent, ensure_ascii=escaped),
        encoding="utf-8",
    )
    assert store(file)
    new = entry | {"access": "acc-NEW", "refresh": "ref-NEW", "expires": 5000}
    assert json.loads(file.read_text(encoding="utf-8")) == {"openai": new, **others}


# What somebody else has written


THEIRS = {
    "signed in anew": {"openai": ENTRY | {"refresh": "ref-THEIRS"}},
    "signed out": {},
    "a key": {"openai": {"type": "api", "key": "x"}},
    "no expiry": {"openai": {**ENTRY, "expires": True}},
    "no object": {"openai": "x"},
}


@pytest.mark.parametrize("case", THEIRS)
def test_a_newer_entry_is_kept(file: Path, case: str) -> None:
    text = json.dumps(THEIRS[case])
    file.write_text(text)
    assert not store(file)
    assert (file.read_text(), beside(file)) == (text, [])


@pytest.mark.parametrize(("expires", "ours"), [(4000, True), (5000, True), (6000, False)])
def test_of_two_tokens_that_do_not_rotate_the_one_that_lasts_longer_is_kept(
    file: Path,
    expires: int,
    ours: bool,  # noqa: FBT001
) -> None:
    file.write_text(json.dumps({"openai": ENTRY | {"expires": expires}}))
    assert store(file, Renewed(Secret("acc-NEW"), OLD, 5.0)) is ours
    assert store(file, Renewed(Secret("acc-NEW"), None, 5.0)) is ours


def test_a_rotated_token_is_kept_whatever_the_old_one_says_of_its_end(file: Path) -> None:
    file.write_text(json.dumps({"openai": ENTRY | {"expires": 6000}}))
    assert store(file)


def test_what_is_written_between_the_look_and_the_replacing_is_kept(file: Path) -> None:
    other = TEXT.replace(b"1.0e2", b"777")
    assert store(file, disk=Meddling(1, other))
    assert file.read_bytes() == WRITTEN.replace(b"1.0e2", b"777")
    assert beside(file) == []


def test_a_sign_in_between_the_look_and_the_replacing_is_kept(file: Path) -> None:
    theirs = json.dumps({"openai": ENTRY | {"refresh": "ref-THEIRS"}}).encode()
    assert not store(file, disk=Meddling(1, theirs))
    assert (file.read_bytes(), beside(file)) == (theirs, [])


def test_a_file_that_never_rests_is_not_replaced_and_nothing_is_lost(file: Path) -> None:
    with pytest.raises(OSError, match="another program is writing it"):
        store(file, disk=Meddling(1, TEXT, times=100))
    assert AuthFile(file).leftover("openai", OLD) == RENEWED


def test_it_is_told_when_the_tokens_are_safe_and_the_file_is_still_the_old_one(file: Path) -> None:
    seen: list[tuple[bytes, Renewed | None]] = []

    def safe() -> None:
        seen.append((file.read_bytes(), AuthFile(file).leftover("openai", OLD)))

    assert AuthFile(file).store("openai", OLD, RENEWED, safe)
    assert seen == [(TEXT, RENEWED)]


# What fails


@pytest.mark.parametrize(
    ("step", "call", "safe"),
    [
        ("read", 1, False),
        ("check", 1, False),
        ("create", 1, False),
        ("replace", 1, False),
        ("sync", 1, True),
        ("read", 2, True),
        ("replace", 2, True),
    ],
)
def test_a_step_that_fails_changes_nothing(file: Path, step: str, call: int, safe: bool) -> None:  # noqa: FBT001
    with pytest.raises(OSError, match="No space left"):
        store(file, disk=Failing(step, call))
    assert file.read_bytes() == TEXT
    # Once they are whole on disk the new tokens stay there until the file holds them.
    assert AuthFile(file).leftover("openai", OLD) == (RENEWED if safe else None)
    assert len(beside(file)) == safe
    assert store(file)
    assert (file.read_bytes(), beside(file)) == (WRITTEN, [])


def test_a_folder_that_cannot_be_synced_is_written_all_the_same(file: Path) -> None:
    assert store(file, disk=Failing("sync", 2, errno.EINVAL))
    assert file.read_bytes() == WRITTEN


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", '{"openai": 1, "openai": 2}', "[" * 300 + "]" * 300, '{"a": "\xff"}'],
)
def test_what_is_no_json_to_edit_is_left_alone(file: Path, text: str) -> None:
    raw = text.encode("latin-1")
    file.write_bytes(raw)
    for attempt in (lambda: store(file), AuthFile(file).rehearse, AuthFile(file).tidy):
        with pytest.raises(JsonError):
            attempt()
    assert (file.read_bytes(), beside(file)) == (raw, [])


def test_a_file_that_is_too_large_is_left_alone(file: Path) -> None:
    file.write_bytes(TEXT + b" " * LARGEST)
    with pytest.raises(OSError, match="larger than 4 MB"):
        store(file)


def test_a_write_that_breaks_off_leaves_no_part_behind(tmp_path: Path) -> None:
    status, limits = tmp_path.stat(), resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10, limits[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            Disk().create(tmp_path / "auth.json", b"x" * 11, status)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert list(tmp_path.iterdir()) == []


# Whether it could be written


def test_a_rehearsal_changes_no_byte_and_leaves_nothing(file: Path) -> None:
    file.chmod(0o640)
    before = file.stat().st_ino
    AuthFile(file).rehearse()
    assert (file.read_bytes(), beside(file)) == (TEXT, [])
    assert file.stat().st_ino != before, "it was replaced, as it would be by new tokens"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


@pytest.mark.parametrize("step", ["read", "check", "create", "sync", "replace"])
def test_a_rehearsal_that_fails_leaves_nothing(file: Path, step: str) -> None:
    with pytest.raises(OSError, match="Read-only file system"):
        AuthFile(file, Failing(step, error=errno.EROFS)).rehearse()
    assert (file.read_bytes(), beside(file)) == (TEXT, [])


def test_a_rehearsal_beside_another_writer_is_broken_off(file: Path) -> None:
    with pytest.raises(OSError, match="another program is writing it"):
        AuthFile(file, Meddling(1, WRITTEN)).rehearse()
    assert (file.read_bytes(), beside(file)) == (WRITTEN, [])


def test_a_read_only_file_is_not_written_though_a_rename_would_do_it(file: Path) -> None:
    file.chmod(0o400)
    with pytest.raises(PermissionError, match="it is read-only"):
        AuthFile(file).rehearse()


class Strangers(Disk):
    """In a process of a user who owns nothing here."""

    def user(self):
        return 4242


def test_another_users_file_is_not_taken_over(file: Path) -> None:
    with pytest.raises(PermissionError, match="it belongs to another user"):
        AuthFile(file, Strangers()).rehearse()


def test_a_file_that_is_a_mount_of_its_own_cannot_be_replaced(tmp_path: Path) -> None:
    (tmp_path / "auth.json").mkdir()  # renaming over it fails as over a mount
    with pytest.raises(OSError, match="Is a directory"):
        AuthFile(tmp_path / "auth.json").rehearse()


# The lock


def test_one_at_a_time_whichever_link_it_goes_by(tmp_path: Path, file: Path) -> None:
    (tmp_path / "link").symlink_to(file)
    lock = AuthFile(file).lock()
    assert lock is not None
    assert AuthFile(tmp_path / "link").lock() is None
    lock.release()
    again = AuthFile(tmp_path / "link").lock()
    assert again is not None
    again.release()
    assert beside(file) == ["auth.json.limit-router.lock", "link"]
    assert stat.S_IMODE((tmp_path / "auth.json.limit-router.lock").stat().st_mode) == 0o600


def test_where_there_is_no_file_there_is_no_lock(tmp_path: Path) -> None:
    for path in (tmp_path / "auth.json", tmp_path / "nowhere" / "auth.json"):
        with pytest.raises(OSError, match="No such file"):
            AuthFile(path).lock()


class Lockless(Disk):
    """A file system without locks."""

    def acquire(self, lock):
        raise NotImplementedError


def test_a_file_system_without_locks_is_one_that_cannot_be_written(file: Path) -> None:
    with pytest.raises(OSError, match="the file system has no locks"):
        AuthFile(file, Lockless()).lock()


# What ended processes have left


def staged(file: Path, key: str = "openai", token: Secret = OLD) -> Path:
    return file.with_name(f"auth.json.limit-router.{token_digest(key, token)}.tmp")


def test_what_succeeds_the_token_in_the_file_is_found(file: Path) -> None:
    assert AuthFile(file).leftover("openai", OLD) is None
    entry = ENTRY | {"refresh": "ref-NEW", "access": "acc-NEW", "expires": 5000, "accountId": "a"}
    staged(file).write_text(json.dumps({"openai": entry}))
    assert AuthFile(file).leftover("openai", OLD) == Renewed(Secret("acc-NEW"), NEW, 5.0, "a")
    assert AuthFile(file).leftover("openai", NEW) is None
    assert AuthFile(file).leftover("anthropic", OLD) is None


@pytest.mark.parametrize("text", ["", '{"openai": {"type": "oau', "{}", '{"openai": {}}'])
def test_a_part_is_not_taken_for_tokens(file: Path, text: str) -> None:
    staged(file).write_text(text)
    assert AuthFile(file).leftover("openai", OLD) is None


def test_what_succeeds_nothing_is_removed(file: Path) -> None:
    stale = [staged(file, token=NEW), staged(file, "anthropic"), file.with_name("x.tmp")]
    stale += [file.with_name("auth.json.limit-router.tmp")]
    stale += [file.with_name("auth.json.limit-router.json")]
    for path in (staged(file), *stale):
        path.write_text("{}")
    AuthFile(file).tidy()
    assert beside(file) == sorted([staged(file).name, "auth.json.limit-router.json", "x.tmp"])


# Entries


def test_an_entry_as_it_stands(file: Path) -> None:
    found = AuthFile(file).entry("openai")
    assert found == Entry(Secret("acc-OLD"), OLD, 1.0, None)
    assert "OLD" not in repr(found)
    assert AuthFile(file).entry("other") is None
    assert AuthFile(file).entry("nobody") is None


def test_a_digest_tells_tokens_apart_and_nothing_else() -> None:
    digests = {token_digest("a", OLD), token_digest("b", OLD), token_digest("a", NEW)}
    assert len(digests) == 3
    assert all(len(it) == 16 and int(it, 16) >= 0 for it in digests)
    assert token_digest("a", Secret("\ud800"))
