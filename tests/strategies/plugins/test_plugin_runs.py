"""Avalanche's plugins in a whole run: options from the command line, the record, and a kill in the middle."""

import json
from dataclasses import replace

import pytest

from harness.config.resolve import resolve
from harness.config.run_config import RunConfig
from harness.display.screen import Screen
from harness.run.loop import run
from models.registry import UserError
from strategies.engine.strategy import Strategy
from strategies.plugins.built_in import PLUGINS

QUICK = {"iterations": 3, "batch_size": 8, "warmup": 1, "lr": 0.01}


@pytest.fixture
def config(toy_benchmark, model_directory, tmp_path):
    return RunConfig(
        benchmark=toy_benchmark, strategy="finetune", model=str(model_directory), measure_n=4, out=str(tmp_path / "results"),
        options=QUICK,
    )  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("name", PLUGINS)
def test_a_killed_run_continues_to_the_same_numbers(name, config, killed, tmp_path):
    config = replace(config, plugins=(name,), options={**QUICK, **({"replay.mem_size": "6"} if name == "replay" else {})})

    def files(folder):
        return [(folder / file).read_bytes() for file in ("accuracy.csv", "train.csv")]

    whole = run(replace(config, out=str(tmp_path / "whole")), Screen(quiet=True)).folder
    plain = run(replace(config, plugins=(), options=QUICK), Screen(quiet=True)).folder
    assert files(whole)[1] != files(plain)[1], "the plugin did nothing"
    document = json.loads((whole / "run.json").read_text())
    assert document["identity"]["strategy"] == f"finetune+{name}" and whole.name.startswith(f"finetune+{name}-")
    request = {key: document["request"][key] for key in ("strategy", "model", "measure_n", "options")}
    again = RunConfig(benchmark=config.benchmark, plugins=tuple(document["request"]["plugins"]), **request)
    assert resolve(again).key == document["key"]

    killed(lambda: run(config, Screen(quiet=True)), Strategy, "_before_training_exp", 3)
    assert files(run(config, Screen(quiet=True)).folder) == files(whole)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"plugins": ("ewcc",)}, "Unknown plugin 'ewcc'. Did you mean ewc"),
        ({"plugins": ("ewc", "ewc")}, "--plugin names ewc twice"),
        ({"options": {"ewc.ewc_lambda": "1"}}, r"ewc\.ewc_lambda is an option of the plugin ewc: add --plugin ewc"),
        (
            {"plugins": ("ewc",), "options": {"ewc.lambda": "1"}},
            "option of the plugin ewc 'lambda'. Did you mean ewc_lambda",
        ),
        ({"plugins": ("ewc",), "options": {"ewc.ewc_lambda": "-1"}}, "at least 0"),
        ({"plugins": ("ewc",), "strategy": "zero-shot", "options": {}}, "does not train"),
        ({"plugins": ("replay",), "strategy": "joint"}, "from the initial weights each time"),
    ],
)
def test_mistakes(changes, message, config):
    with pytest.raises(UserError, match=message):
        resolve(replace(config, **changes))
