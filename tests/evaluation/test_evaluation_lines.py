import json
from pathlib import Path

import pytest
from evaluation_cases import START, ask

from core.evaluation import lines, suite
from core.evaluation.case import EvaluationError
from core.evaluation.drive import Served, drive
from core.evaluation.rules import POLICIES

LINE = b'{"at": 2.5, "session": "s", "model": "small", "tokens": 7}\n'


def test_a_log_holds_a_line_for_each_request(tmp_path: Path):
    first = ask(1, 20, context=30, tool_loop=True, parent="p")
    log = (Served(first, "a/me"), Served(ask(2), None))
    lines.write(tmp_path / "log.jsonl", log)
    found = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert found == [
        {
            "at": START + 3600,
            "session": "s",
            "model": "small",
            "tokens": 20,
            "account": "a/me",
            "served": True,
            "context": 30,
            "tool_loop": True,
            "parent": "p",
        },
        {
            "at": START + 7200,
            "session": "s",
            "model": "small",
            "tokens": 10,
            "account": None,
            "served": False,
            "context": 0,
            "tool_loop": False,
            "parent": None,
        },
    ]


def test_a_log_is_a_workload_again(tmp_path: Path):
    built = suite.build(suite.named("calm-pair"), days=2)
    lines.write(tmp_path / "log", drive(built, POLICIES["longest"]).log)
    assert lines.read(tmp_path / "log") == built.requests


def test_four_fields_are_enough_and_the_order_is_that_of_time(tmp_path: Path):
    path = tmp_path / "some.jsonl"
    path.write_bytes(LINE + b"\n" + LINE.replace(b"2.5", b"1.5"))
    assert [(r.at, r.tokens, r.context) for r in lines.read(path)] == [(1.5, 7, 0), (2.5, 7, 0)]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b"", "holds no request"),
        (LINE + b"{", "line 2: Input data was truncated"),
        (LINE.replace(b"7", b'"7"'), "line 1: Expected `int`, got `str` - at `$.tokens`"),
        (LINE.replace(b"7", b"0"), "line 1: a request takes tokens, not 0"),
        (b'{"at": 1}', "line 1: Object missing required field `session`"),
        (LINE.replace(b'"s"', b'"\xff"'), "line 1: "),
    ],
)
def test_a_file_that_is_no_workload_is_told_where_it_is_wrong(text, said, tmp_path: Path):
    path = tmp_path / "some.jsonl"
    path.write_bytes(text)
    with pytest.raises(EvaluationError) as caught:
        lines.read(path)
    assert str(caught.value).startswith(str(path))
    assert said in str(caught.value)


def test_files_that_cannot_be_read_or_written_are_named(tmp_path: Path):
    with pytest.raises(EvaluationError, match="nowhere: No such file or directory"):
        lines.read(tmp_path / "nowhere")
    with pytest.raises(EvaluationError, match="log: No such file or directory"):
        lines.write(tmp_path / "no" / "log", ())
