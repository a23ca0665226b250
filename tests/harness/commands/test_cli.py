"""The command line: light commands import nothing heavy, and a mistake is one sentence with exit status 2."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import cli
from benchmarks.shifts import COPIES
from harness.commands.list import LISTS

ROOT = Path(__file__).parents[3]


def fresh(cwd, *arguments):
    """Run in a new interpreter and report which heavy modules were imported."""
    code = (
        "import sys, cli\n"
        "try:\n    code = cli.main(sys.argv[1:])\nexcept SystemExit as stop:\n    code = stop.code\n"
        "print('HEAVY', sorted({'torch', 'avalanche', 'open_clip'} & set(sys.modules)), code)"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", code, *arguments]
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=120)


@pytest.mark.slow
@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["bench", "--help"],
        ["list", "--long"],
        ["leaderboard"],
        ["bench", "mtil", "--strategy", "zsl"],
        ["measure", "mnist", "--measures", "x"],
        ["study", "--tunings", "x"],
        ["predict", "mnits"],
        ["report"],
        ["compare", "zscl", "finetune"],
    ],
)
def test_light_commands_import_neither_torch_nor_avalanche(arguments, tmp_path):
    assert "HEAVY [] " in fresh(tmp_path, *arguments).stdout


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["bench", "mtil", "--strategy", "zsl"], "Did you mean zscl"),
        (["bench", "mitl"], "Did you mean mtil"),
        (["bench", "mtil", "--edition", "medium"], "Unknown edition"),
        (["bench"], "Which benchmark"),
        (["bench", "mtil", "--set", "itertions=3"], "Did you mean iterations"),
        (["bench", "mtil", "--order", "mnits"], "mnist"),
        (["bench", "mtil", "--model", "ViT-B32"], "Did you mean ViT-B-32"),
        (["bench", "mtil", "--model", "ViT-B-32"], "needs --pretrained"),
        (["bench", "mtil", "--device", "tpu!"], "Unknown device"),
        (["bench", "mtil", "--measures", "iimm,silouette"], "Did you mean silhouette"),
        (["bench", "mtil", "--stategy", "zscl"], "Did you mean --strategy"),
        (["bnch", "mtil"], "Did you mean bench"),
        (["study", "--tunings", "lroa"], "Did you mean lora"),
        (["predict", "mnits"], "Did you mean mnist"),
        (["report", "nowhere"], "nowhere"),
        (["report", "."], "There is no run in ."),
        (["predict", "mnist", "--from", "nowhere"], "There is no study at nowhere"),
        (["predict", "mnist", "--measure-n", "1"], "--measure-n must be at least 2"),
        (["compare", "zscl", "finetune"], "There are no results at 'results'"),
        (["bench", "mtil", "--seed", "x"], "--seed takes whole numbers and ranges such as 0,1,2 or 0-4, got 'x'"),
        (["bench", "mtil", "--protocol", "agnostik"], "Did you mean agnostic"),
        (["bench", "mtil", "--edition", "full", "--data-root", "DATA"], "11 datasets are missing under 'DATA'"),
        (["bench", "mtil", "--edition", "full", "--order", "MNIST", "--data-root", "DATA"], "data fetch MNIST"),
        (["bench", "cil", "--dataset", "cifar100", "--edition", "mini"], "belongs to the full edition"),
        (["bench", "cil", "--dataset", "cifar100", "--data-root", "DATA"], "The dataset cifar100 is missing"),
        (["bench", "cil", "--dataset", "imagenet", "--data-root", "DATA"], "The dataset imagenet is missing"),
        (["bench", "cil", "--dataset", "MNIST", "--data-root", "DATA"], "Unknown class-incremental dataset 'MNIST'"),
        (["bench", "cil", "--edition", "full"], "needs --dataset"),
        (["bench", "cil", "--steps", "0"], "--steps must be at least 1"),
        (["bench", "cil", "--steps", "99"], "26 classes cannot be split into 99 steps"),
        (["bench", "cil", "--order", "son,moon"], "Did you mean sun"),
        (["bench", "stream"], "needs --tasks"),
        (["bench", "stream", "--tasks", "mnits"], "Did you mean mnist"),
        (["bench", "stream", "--tasks", "mnist,mnist"], "names mnist twice"),
        (["bench", "stream", "--tasks", "mnist", "--heldout", "mnist"], "both trained and held out"),
        (["bench", "stream", "--tasks", "mnist", "--order", "II"], "leave out --order"),
        (["bench", "stream", "--tasks", "mnist,digits", "--templates", "t.txt"], "need exactly one task with your data"),
        (["bench", "mtil", "--shots", "1000"], "1000 shots"),
        (["bench", "mtil", "--config", "nowhere.toml"], "Cannot read"),
        (["list", "strategie"], "Did you mean strategies"),
        (["leaderboard", "nowhere"], "no results at 'nowhere'"),
    ],
)
def test_mistakes_are_one_sentence_and_status_2(arguments, message, capsys, tmp_path, monkeypatch):
    if arguments[0] == "bench":
        arguments = [*arguments, "--out", str(tmp_path / "results")]
    assert cli.main(arguments) == 2
    error = capsys.readouterr().err
    assert message in error and error.startswith("perennial: ") and error.count("\n") == 1
    assert not (tmp_path / "results").exists(), "nothing was started"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["bench", "mtil", "--lr", "1e-4"], "write --set lr=VALUE"),
        (["bench", "--lr", "1e-4", "mtil"], "write --set lr=VALUE"),
        (["bench", "mtil", "--batch-size=8"], "write --set batch_size=VALUE"),
        (["bench", "mtil", "--strategy", "lora", "--epochs", "3"], "write --set epochs=VALUE"),
        (["bench", "mtil", "--strategy", "zscl", "--image-loss", "2"], "write --set image_loss=VALUE"),
        (["sweep", "--lr", "1"], "write --set lr=VALUE"),
        (["bench", "mtil", "--resume"], "the same command again continues an interrupted run"),
        (["leaderboard", "--resume"], "Unrecognized arguments: --resume. See `perennial leaderboard --help`"),
        (["measure", "digits", "--lr", "2"], "Unrecognized arguments: --lr 2. See `perennial measure --help`"),
        (["data", "verify", "--quik"], "Did you mean --quick? See `perennial data verify --help`"),
        (["lst"], "Did you mean list?"),
    ],
)
def test_hints_come_from_the_command_that_was_typed(arguments, message, capsys):
    assert cli.main(arguments) == 2
    assert message in capsys.readouterr().err


def test_the_version(capsys):
    with pytest.raises(SystemExit) as stop:
        cli.main(["--version"])
    assert stop.value.code == 0 and re.fullmatch(r"perennial \d+\.\d+\.\d+\n", capsys.readouterr().out)


def test_a_python_without_the_packages_is_one_sentence(tmp_path):
    done = subprocess.run(
        [sys.executable, "-S", str(ROOT / "cli.py"), "leaderboard"], cwd=tmp_path, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 2 and done.stdout == "" and done.stderr.count("\n") == 1
    assert "not installed" in done.stderr and "source .venv/bin/activate" in done.stderr


@pytest.mark.parametrize("what", LISTS)
def test_lists(what, capsys):
    assert cli.main(["list", what]) == 0
    shown = capsys.readouterr().out
    expected = {"benchmarks": "mtil", "strategies": "zscl", "domains": "mnist", "models": "tiny", "measures": "2407.15731"}
    assert expected.get(what, "") in shown
    assert shown.strip()
    if what == "domains":
        rows = [line.split() for line in shown.splitlines()]
        assert [row[0] for row in rows if row[1:3] == ["held", "out"]] == list(COPIES)


@pytest.mark.slow
def test_bench_and_leaderboard(toy_benchmark, model_directory, reference, tmp_path, capsys, monkeypatch):
    from harness.run import loop as runner

    monkeypatch.setattr(runner, "load_reference", lambda *a: reference)
    common = [
        "--model",
        str(model_directory),
        "--out",
        str(tmp_path / "r"),
        "--set",
        "iterations=2",
        "batch_size=8",
        "warmup=0",
    ]
    assert cli.main(["bench", toy_benchmark, "--strategy", "zscl", "--seed", "0", "1", "--quiet", *common]) == 0
    assert capsys.readouterr().out == ""
    assert cli.main(["bench", toy_benchmark, "--strategy", "zscl", *common]) == 0
    assert "finished already" in capsys.readouterr().out
    (tmp_path / "c.toml").write_text('strategy = "finetune"\nseed = 4\n[options]\nlr = 0.5\niterations = 9\n')
    assert cli.main(["bench", toy_benchmark, "--config", str(tmp_path / "c.toml"), *common]) == 0
    assert "finetune, seed 4" in capsys.readouterr().out
    assert cli.main(["leaderboard", str(tmp_path / "r"), "--csv", str(tmp_path / "b.csv")]) == 0
    shown = capsys.readouterr().out
    assert "zscl" in shown and "finetune" in shown and "(2 rows)" in shown
    assert len((tmp_path / "b.csv").read_text().splitlines()) == 3


@pytest.mark.slow
def test_a_diverging_run_ends_in_a_sentence_and_status_1(toy_benchmark, model_directory, tmp_path, capsys):
    with pytest.raises(SystemExit) as stop:
        cli.main(
            [
                "bench",
                toy_benchmark,
                "--strategy",
                "finetune",
                "--model",
                str(model_directory),
                "--out",
                str(tmp_path),
                "--quiet",
                "--set",
                "iterations=3",
                "lr=1e19",
                "warmup=0",
                "batch_size=8",
            ]
        )
    assert stop.value.code == 1
    assert "a smaller lr usually helps" in capsys.readouterr().err


@pytest.mark.parametrize(("flags", "words"), [([], "the same command continues"), (["--fresh"], "without --fresh")])
def test_an_interrupt_says_how_to_go_on(flags, words, toy_benchmark, monkeypatch, capsys):
    import harness.run.loop

    def interrupt(config, screen):
        raise KeyboardInterrupt

    monkeypatch.setattr(harness.run.loop, "run", interrupt)
    with pytest.raises(SystemExit) as stop:
        cli.main(["bench", toy_benchmark, *flags])
    assert stop.value.code == 130 and words in capsys.readouterr().err


def test_methods_at_length_are_what_their_classes_say():
    """Docstrings are read from the source without importing it. They equal those of the classes."""
    import inspect

    from harness.display.strategy_help import read_docstring
    from strategies import STRATEGIES, TARGETS

    for name, target in TARGETS.items():
        docstring = read_docstring(target)
        assert docstring == inspect.getdoc(STRATEGIES.get(name)) and len(docstring) > 80, name
    with pytest.raises(LookupError, match="no class Nothing"):
        read_docstring("strategies.zscl:Nothing")


def rows(out):
    """Return the value of each option in the tables of `list strategies NAME`."""
    return {line.split()[0]: line.split()[1] for line in out.splitlines() if line.startswith("  ") and len(line.split()) > 1}


def test_one_strategy_with_the_values_in_effect(capsys):
    from harness.config.resolve import outline
    from harness.config.run_config import RunConfig

    for flags, config in (
        (["--benchmark", "mtil"], RunConfig("mtil", "lora")),
        (["--benchmark", "cil"], RunConfig("cil", "lora")),
        (["--edition", "full"], RunConfig("mtil", "lora", edition="full")),
    ):
        assert cli.main(["list", "strategies", "lora", *flags]) == 0
        out, options = capsys.readouterr().out, outline(config).options
        assert [rows(out)[n] for n in ("iterations", "lr", "batch_size")] == [
            str(options.iterations), str(options.lr), str(options.batch_size)
        ]  # fmt: skip
        assert "updates per task" in out and rows(out)["tuning.rank"] == "4" and "LoRA: low-rank changes" in out
    assert cli.main(["list", "strategies", "zscl"]) == 0
    out = capsys.readouterr().out
    assert "Values for mtil, mini edition, Order I, model tiny" in out and rows(out)["image_loss"] == "1.0"
    assert cli.main(["list", "strategies", "zsl"]) == 2 and "Did you mean zscl" in capsys.readouterr().err
    assert cli.main(["list", "tunings", "lora"]) == 2 and "`list strategies NAME` does" in capsys.readouterr().err
