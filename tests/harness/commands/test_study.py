"""The flags of `study` and `predict`, and the configurations that they give."""

import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

import cli
from harness.commands import predict
from harness.commands import study as command
from harness.study import predict as predicting
from harness.study import run_study
from harness.study.study_config import TUNINGS, StudyConfig
from metrics.study_table import SHIPPED
from models.registry import UserError


@pytest.fixture
def parse():
    return lambda *given: cli.parser().parse_args([*given, "--quiet"])


@pytest.fixture
def asked(monkeypatch):
    """The configurations that were run."""
    found = []
    monkeypatch.setattr(run_study, "run", lambda config, screen: found.append(config))
    table = pd.DataFrame({"tuning": ["full"], "predicted": [1.5]})
    monkeypatch.setattr(predicting, "predict", lambda config, screen: found.append(config) or pd.Series({"table": table}))
    return found


def test_a_study_by_default(parse, asked):
    assert command.run(parse("study")) == 0
    assert asked == [StudyConfig()] and asked[0].tunings == TUNINGS


def test_flags_of_a_study(parse, asked):
    given = "--domains mnist,digits letters --tunings full,lora --seed 3 4 3 --measures gbc,iimm --measure-n 50 --limit 9"
    given += " --set lr=0.1 lora.rank=2 --set iterations=5 --model X --pretrained random --out O --no-cache --fresh --workers 2"
    command.run(parse("study", *given.split()))
    assert asked[0] == StudyConfig(
        domains=("mnist", "digits", "letters"),
        tunings=("full", "lora"),
        seeds=(3, 4),
        measures=("gbc", "iimm"),
        measure_n=50,
        limit=9,
        options={"lr": "0.1", "lora.rank": "2", "iterations": "5"},
        model="X",
        pretrained="random",
        out="O",
        cache=False,
        fresh=True,
        workers=2,
    )


def test_flags_of_a_prediction(parse, asked, tmp_path):
    given = f"mnist --from {SHIPPED} --measure gbc --weight 2 --measure-n 50 --seed 1 --csv {tmp_path / 'p.csv'}"
    assert predict.run(parse("predict", *given.split())) == 0
    assert asked[0] == predicting.PredictConfig("mnist", study=str(SHIPPED), measure="gbc", weight=2.0, measure_n=50, seed=1)
    assert (tmp_path / "p.csv").read_text() == "tuning,predicted\nfull,1.5\n"


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["study", "--tunings", "lorra"], "Did you mean lora"),
        (["study", "--domains", "mnits", "digits"], "Did you mean mnist"),
        (["study", "--measures", "imm"], "Did you mean iimm"),
        (["study", "--seed", "-1"], "--seed must be at least 0"),
        (["study", "--set", "lr"], "key=value"),
        (["predict", "mnits"], "Did you mean mnist"),
        (["predict", "mnist", "--form", "S"], "Did you mean --from"),
        (["predict", "mnist", "--from", "S"], "There is no study at S"),
    ],
)
def test_mistakes(parse, asked, given, said):
    with pytest.raises(UserError, match=said):
        {"study": command, "predict": predict}[given[0]].run(parse(*given))
    assert asked == []


def test_mistakes_and_help_need_no_torch():
    code = (
        "import sys, argparse; from harness.commands import study\n"
        "from harness.study.study_config import StudyConfig, check_config\n"
        "study.add_arguments(argparse.ArgumentParser()); check_config(StudyConfig())\n"
        "print(*{'torch', 'avalanche', 'open_clip'} & set(sys.modules))"
    )
    root = Path(command.__file__).parents[2]
    found = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert found.stdout.strip() == ""


def test_power_trains_nothing(parse, asked, capsys):
    given = cli.parser().parse_args(["study", "--power", "--domains", "17", "40", "--measures", "iimm,gbc"])
    assert command.run(given) == 0 and asked == []
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert [row[:2] for row in rows if row[:1] in (["17"], ["40"])] == [["17", "1"], ["17", "2"], ["40", "1"], ["40", "2"]]


def test_the_names_of_domains_are_counted(capsys):
    command.run(cli.parser().parse_args(["study", "--power", "--domains", "a,b,c,d,e"]))
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert [row[1] for row in rows if row[0] == "5"] == ["1", "19"]


def test_power_needs_four_domains(parse):
    with pytest.raises(UserError, match="at least 4 domains, got 3"):
        command.run(parse("study", "--power", "--domains", "3"))


def test_the_tasks_of_the_suite_are_counted(capsys):
    from benchmarks.catalog import suite_names

    command.run(cli.parser().parse_args(["study", "--power", "--domains", "broad", "--data-root", "nowhere"]))
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert [f"{len(suite_names(['broad'], 'nowhere'))}", "19"] in [row[:2] for row in rows]
