import json
import stat
from pathlib import Path

import pytest

from core.authfile import LARGEST, Disk
from core.authnotes import KEPT, Notes


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "auth.json"
    path.write_text("{}")
    return path


def written(file: Path) -> Path:
    return file.with_name("auth.json.limit-router.json")


def test_nothing_is_noted_at_first(file: Path) -> None:
    notes = Notes(file)
    assert (notes.first("a"), notes.is_refused("t")) == ("a", False)
    assert not written(file).exists()


def test_a_sign_in_is_known_by_its_first_name_however_often_it_changes(file: Path) -> None:
    notes = Notes(file)
    notes.go_on("a", "b")
    notes.go_on("b", "c")
    assert [notes.first(it) for it in ("a", "b", "c", "d")] == ["a", "a", "a", "d"]


def test_the_name_that_the_reader_was_given_may_be_the_first_already(file: Path) -> None:
    notes = Notes(file)
    notes.go_on("a", "b")
    notes.go_on("a", "c")
    assert notes.first("c") == "a"


def test_a_sign_in_that_keeps_its_name_is_not_noted(file: Path) -> None:
    notes = Notes(file)
    notes.go_on("a", "a")
    notes.save()
    assert json.loads(written(file).read_text())["continues"] == {}


def test_another_process_and_a_later_one_know_it_too(tmp_path: Path, file: Path) -> None:
    (tmp_path / "link").symlink_to(file)
    here, there = Notes(file), Notes(tmp_path / "link")
    assert not there.is_refused("t")
    here.refuse("t")
    here.go_on("a", "b")
    assert not there.is_refused("t"), "not yet"
    here.save()
    for notes in (there, Notes(file)):
        assert (notes.is_refused("t"), notes.first("b")) == (True, "a")
    there.refuse("u")
    there.save()
    assert here.is_refused("u")
    assert json.loads(written(file).read_text()) == {
        "version": 1,
        "continues": {"b": "a"},
        "refused": ["t", "u"],
    }
    assert stat.S_IMODE(written(file).stat().st_mode) == 0o600


def test_the_newest_are_kept(file: Path) -> None:
    notes = Notes(file)
    for n in range(KEPT + 1):
        notes.go_on(f"a{n}", f"b{n}")
        notes.refuse(f"t{n}")
    notes.save()
    again = Notes(file)
    assert (again.first("b0"), again.first("b1"), again.first(f"b{KEPT}")) == (
        "b0",
        "a1",
        f"a{KEPT}",
    )
    assert (again.is_refused("t0"), again.is_refused("t1")) == (False, True)


class Full(Disk):
    def create(self, file, data, owner):
        raise OSError(28, "No space left on device")


def test_what_cannot_be_written_is_remembered_all_the_same(file: Path) -> None:
    notes = Notes(file, Full())
    notes.refuse("t")
    notes.go_on("a", "b")
    notes.save()
    another = Notes(file)
    another.refuse("u")
    another.save()
    assert (notes.first("b"), notes.is_refused("t"), notes.is_refused("u")) == ("a", True, True)


@pytest.mark.parametrize(
    "text", ["", "[]", '{"continues": 1}', '{"refused": [1]}', "[" * 10**5, " " * (LARGEST + 1)]
)
def test_notes_that_are_none_count_as_nothing_and_are_written_anew(file: Path, text: str) -> None:
    written(file).write_text(text)
    notes = Notes(file)
    assert (notes.first("a"), notes.is_refused("t")) == ("a", False)
    notes.refuse("t")
    notes.save()
    assert Notes(file).is_refused("t")
