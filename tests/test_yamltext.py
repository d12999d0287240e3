from pathlib import Path
from typing import Any

import pytest

from core.errors import ConfigError
from core.yamltext import decoded, read


def refused(text: str) -> str:
    with pytest.raises(ConfigError) as caught:
        read(text, "a.yaml")
    return str(caught.value)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("", None),
        ("# only this", None),
        ("null", None),
        ("~", None),
        ("true", True),
        ("False", False),
        ("12", 12),
        ("-1.5e3", -1500.0),
        (".5", 0.5),
        # YAML 1.1 would make of these: False, True, 90, a date, 8, infinity
        ("off", "off"),
        ("yes", "yes"),
        ("1:30", "1:30"),
        ("2026-10-01", "2026-10-01"),
        ("0o10", "0o10"),
        (".inf", ".inf"),
        ("'12'", "12"),
        ("|\n  12\n", "12\n"),
        ("[]", []),
        ("{1: a, null: }", {"1": "a", "null": None}),
        ("a:\n- b\n- {c: d}\n", {"a": ["b", {"c": "d"}]}),
    ],
)
def test_values(text: str, value: Any) -> None:
    found = read(text, "a.yaml").value
    assert (type(found), found) == (type(value), value)


def test_lines() -> None:
    document = read("# one\na:\n  b: 1\n  c:\n  - x\n  - y: z\n", "a.yaml")
    assert document.lines == {
        (): 2,
        ("a",): 2,
        ("a", "b"): 3,
        ("a", "c"): 4,
        ("a", "c", 0): 5,
        ("a", "c", 1): 6,
        ("a", "c", 1, "y"): 6,
    }
    assert document.line(("a", "c", 1, "missing", "too")) == 6
    assert read("", "a.yaml").line(("a",)) is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: b: c", "a.yaml, line 1: is not valid YAML (mapping values are not allowed here)."),
        (
            "a:\n\tb: c",
            (
                "a.yaml, line 2: is not valid YAML "
                r"(found character '\t' that cannot start any token); indent with spaces, not tabs."
            ),
        ),
        (
            'a: "b',
            "a.yaml, line 1: is not valid YAML (found unexpected end of stream).",
        ),
        ("a: b\nc: \x00", "a.yaml, line 2: is not valid YAML (the character U+0000)."),
        ('"\\UFFFFFFFF"', "a.yaml: is not valid YAML (an escape or a version out of range)."),
        ("a: 1\nb: 2\n---\nc: 3", "a.yaml, line 3: a second document begins here; one is enough."),
        (
            "a: &x 1\nb: 2",
            "a.yaml, line 1: anchors and aliases (`&name`, `*name`) are not used here.",
        ),
        (
            "a: 1\nb: *a",
            "a.yaml, line 2: anchors and aliases (`&name`, `*name`) are not used here.",
        ),
        ("*a : 1", "a.yaml, line 1: anchors and aliases (`&name`, `*name`) are not used here."),
        ("a: !!str 1", "a.yaml, line 1: tags (`!name`) are not used here."),
        ("!x a: 1", "a.yaml, line 1: tags (`!name`) are not used here."),
        ("\n? [a]\n: b", "a.yaml, line 2: a key must be text, not a list or a mapping."),
        ("a:\n  b: 1\n  c: 2\n  b: 3", "a.yaml, line 4: `a.b`: this key stands on line 2 already."),
        ("[" * 22 + "]" * 22, "a.yaml, line 1: nested more than 20 levels deep."),
        ("[" * 1000, "a.yaml, line 1: nested more than 20 levels deep."),
    ],
)
def test_refusals(text: str, message: str) -> None:
    assert refused(text) == message


def test_twenty_levels_are_read() -> None:
    assert read("[" * 21 + "]" * 21, "a.yaml").lines[(0,) * 20] == 1


def file_refused(path: Path) -> str:
    with pytest.raises(ConfigError) as caught:
        decoded(path, "a.yaml")
    assert caught.value.__context__ is None
    return str(caught.value)


def test_a_file_is_read_with_and_without_a_byte_order_mark(tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    file.write_bytes(b"\xef\xbb\xbfname: \xc3\xa9\n")
    assert decoded(file, "a.yaml") == "name: é\n"
    file.write_bytes(b"name: \xc3\xa9\n")
    assert decoded(file, "a.yaml") == "name: é\n"


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    assert file_refused(file) == "a.yaml: cannot be read (No such file or directory)."
    assert file_refused(tmp_path) == "a.yaml: cannot be read (Is a directory)."
    file.write_bytes(b"a: 1\nb: \xff\n")
    assert file_refused(file) == "a.yaml, line 2: is not UTF-8 text."
    file.write_bytes(b"#" * (2**20 + 1))
    assert file_refused(file) == "a.yaml: is larger than 1 MB."
