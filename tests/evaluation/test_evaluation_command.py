import io
import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from core import cli
from core.evaluation import command, optimum, suite, table, trial
from core.evaluation.case import EvaluationError
from core.evaluation.command import Wanted

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
FEW = ("longest", "naive")


def drawn(shown) -> list[str]:
    out = io.StringIO()
    Console(width=80, file=out).print(shown)
    return out.getvalue().splitlines()


def test_the_command_prints_json_that_is_the_same_each_time(capsys):
    arguments = ["simulate", "--workload", "calm-overflow", "--days", "3", "--policy", "longest"]
    said = []
    for _ in range(2):
        assert cli.main([*arguments, "--life", "--seed", "4", "--json"]) == 0
        said.append(capsys.readouterr().out)
    assert said[0] == said[1]
    found = json.loads(said[0])
    assert found.keys() >= REQUIRED
    assert len(found["runs"]) == 1
    assert {name: found["runs"][0][name] for name in REQUIRED} == {
        name: found[name] for name in REQUIRED
    }
    assert found["served"] + found["refused"] >= 3 * suite.REQUESTS_A_DAY


def test_the_set_is_run_in_a_pool_and_told_in_the_order_of_the_set(capsys):
    assert cli.main(["simulate", "--quick", "--days", "2", "--policy", ",".join(FEW)]) == 0
    out = capsys.readouterr().out
    for name in suite.QUICK:
        assert out.count(name) == 2
    assert out.index("Perfect readings") < out.index("Readings as in life")
    assert [line.split()[0] for line in out.splitlines() if line.startswith((" long", "long"))] == [
        "longest",
        "longest",
        "longest",
    ]


def test_a_task_carried_out_elsewhere_is_the_same_as_here():
    tasks = [trial.Task("calm-pair", life, FEW, days=2) for life in (False, True)]
    pooled = {found[0].life: found for found in trial.tried(tasks)}
    assert pooled == {task.life: trial.carry_out(task) for task in tasks}


def test_tables_fit_80_columns_with_every_rule():
    found = command.run(Wanted(policies=command.BESIDE, days=1, quick=True, life=False))
    lines = drawn(found.shown)
    assert max(map(len, lines)) <= 80
    assert not [line for line in lines if "…" in line]
    assert [line.split()[0] for line in lines if line.startswith((" median", " worst"))][:2] == [
        "median",
        "worst",
    ]


def test_a_log_and_the_windows_are_enough_to_recompute_the_figures(tmp_path: Path):
    wanted = Wanted("bursty-scoped", policies=("longest",), days=8, life=True)
    found = command.run(replace(wanted, log=tmp_path / "log.jsonl")).as_json
    log = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    served = [line for line in log if line["served"]]
    assert len(served) == found["served"]
    assert sum(line["tokens"] for line in served) == found["runs"][0]["served_tokens"]
    for account in found["accounts"]:
        for window in account["windows"]:
            taken = window["used_from_outside"] + sum(
                line["tokens"]
                for line in served
                if line["account"] == account["account"]
                and window["start"] <= line["at"] < window["end"]
                and window["scope"] in (None, line["model"])
            )
            assert taken <= window["capacity"]


def test_a_log_can_be_tried_again_as_a_workload(tmp_path: Path):
    path = tmp_path / "log.jsonl"
    first = command.run(Wanted("calm-four", policies=("longest",), days=3, log=path)).as_json
    again = Wanted(str(path), accounts="calm-four", policies=("longest",))
    assert command.run(again).as_json["runs"] == first["runs"]
    shorter = command.run(replace(again, days=1)).as_json
    assert 0 < shorter["served"] < first["served"]
    other = command.run(replace(again, accounts=None)).as_json
    assert len(other["accounts"]) == 2


def test_a_plot_is_drawn(tmp_path: Path):
    path = tmp_path / "plot.png"
    command.run(Wanted("bursty-four", policies=FEW, days=4, life=True, plot=path))
    assert path.read_bytes().startswith(b"\x89PNG")
    with pytest.raises(EvaluationError, match="No such file"):
        command.run(Wanted("calm-pair", policies=FEW, days=1, plot=tmp_path / "no" / "plot.png"))
    with pytest.raises(EvaluationError, match="is not supported"):
        command.run(Wanted("calm-pair", policies=FEW, days=1, plot=tmp_path / "plot.docx"))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--policy", "pace,best"], "no policy is called best; there are pace"),
        (["--workload", "nothing"], "no workload is called nothing; there are calm-pair"),
        (["--days", "0"], "--days is 0; a simulation lasts a day or more"),
        (["--plot", "x.png"], "--plot and --log are of one workload: name it with --workload"),
        (["--accounts", "calm-pair"], "--accounts says whose accounts the requests of a file"),
    ],
)
def test_what_cannot_be_done_is_said(arguments, said, capsys):
    assert cli.main(["simulate", *arguments]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("limit-router: ")
    assert said in err


def test_without_scipy_the_share_is_not_known_and_a_sentence_says_so(monkeypatch):
    monkeypatch.setattr(optimum, "linprog", None)
    case = suite.build(suite.named("calm-overflow"), days=1)
    results = [result for result, _ in trial.on(case, FEW)]
    assert table.as_json(results)["share_of_optimum"] is None
    assert table.as_json(results)["runs"][0]["optimum_tokens"] is None
    lines = [line.rstrip() for line in drawn(table.shown(results))]
    assert lines[-1] == table.NO_SCIPY
    assert " calm-overflow   1.05         -       -" in lines


def test_without_matplotlib_a_plot_says_what_is_missing(monkeypatch, tmp_path: Path):
    # What Python itself does with a module that is None there: the import fails.
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(EvaluationError, match="--plot needs matplotlib: uv sync --dev"):
        command.run(Wanted("calm-pair", policies=FEW, days=1, plot=tmp_path / "plot.png"))
