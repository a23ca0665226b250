"""Every built-in method on a toy stream: it runs, a killed run continues to the same numbers, and its name is listed."""

import json
from dataclasses import replace

import pytest

from benchmarks import BENCHMARKS
from harness.config.run_config import RunConfig
from harness.display.screen import Screen
from harness.run.loop import run
from strategies import ABOUT, STRATEGIES
from strategies.engine.strategy import Strategy

QUICK = {"iterations": 5, "batch_size": 20, "warmup": 1, "lr": 0.01}
SEARCHES = ("paint-", "task-arithmetic", "ties", "dare", "model-stock", "magmax", "lines", "opcm")
# The protocol decides which classes compete. One method represents those that train alike.
CASES = [(name, "task", {}) for name in ABOUT]
CASES += [(name, "class", {}) for name in ("finetune", "zscl", "icarl", "paint-joint", "probe")]
# Options of the loop that every method has.
CASES += [
    ("lora", "task", {"stage_at": "0.4", "best_pass": "true", "lr_by_role.text": "0.5", "schedule": "one-cycle"}),
    ("probe", "task", {"best_pass": "true", "decays": "matrices", "schedule": "step", "step_at": "0.3,0.7"}),
]


@pytest.fixture
def config(toy_benchmark, model_directory, tmp_path):
    return RunConfig(
        toy_benchmark, model=str(model_directory), measure_n=4, out=str(tmp_path / "results"), checkpoint_minutes=1e-9
    )


def options(name, study):
    if name == "zero-shot":
        return {}
    own = {"alphas": 3} if name.startswith(SEARCHES) else {}
    special = {"icarl": {"memory": 12}, "iimm-guided": {"study": str(study)}, "ranpac": {"width": 40}, "rail": {"width": 40}}
    special["gift"] = {"reference_batch": 8, "pairs": 30}
    special["keep-lora"] = {"rank": 4}
    own |= special.get(name, {})
    if name in ("zscl", "zscl-star"):
        own = {"average_every": 2, "negatives": "captions", "moving_average": "none"}
    return {**QUICK, **own}


def files(folder):
    return [(folder / file).read_bytes() for file in ("accuracy.csv", "train.csv", "measures.csv")]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "protocol", "more"), CASES)
def test_a_killed_run_continues_to_the_same_numbers(name, protocol, more, config, killed, tmp_path, toy_study, capsys):
    """Killed twice: in the middle of the second task, and before the third one."""
    config = replace(config, strategy=name, protocol=protocol, options={**options(name, toy_study), **more})
    whole = run(replace(config, out=str(tmp_path / "whole"), checkpoint_minutes=0), Screen(quiet=True)).folder
    document = json.loads((whole / "run.json").read_text())
    assert document["status"] == "finished" and document["identity"]["strategy"] == name
    trains = STRATEGIES.get(name).trains
    assert (document["trainable_params"] > 0) == trains
    assert ((whole / "train.csv").read_text().count("\n") > 1) == trains

    if trains:
        # After the third update of the second task: the second pass over its 48 images has begun.
        hook = "optimizer_step" if name in ("zscl", "zscl-star") else "after_step"
        killed(lambda: run(config, Screen(quiet=True)), Strategy, hook, 9)
        folder = next((tmp_path / "results").glob("*/*"))
        assert (folder / "checkpoint" / "within" / "latest.json").is_file()
    capsys.readouterr()
    killed(lambda: run(config, Screen()), Strategy, "_before_training_exp", 2 if trains else 3)
    assert ("continuing after update" in capsys.readouterr().out) == trains
    folder = run(config, Screen()).folder
    assert "continuing after experience 2 of 3" in capsys.readouterr().out
    assert files(folder) == files(whole)
    assert not (folder / "checkpoint" / "within").exists()


def test_all_are_listed():
    assert list(ABOUT) == [name for name in STRATEGIES.names() if name in ABOUT] and all(ABOUT.values())
    assert set(BENCHMARKS.names()) >= {"mtil", "cil", "stream"}


@pytest.mark.slow
@pytest.mark.parametrize(
    "words",
    [
        {"reference_images": "current", "reference_sentences": "classnames"},
        {"reference_images": "batch", "reference_sentences": "random"},
        {"reference_images": "noise", "reference_sentences": "mini"},
    ],
)
def test_zscl_distils_on_data_that_it_makes(words, config, capsys):
    """By name from the command line, without looking for files."""
    folder = run(replace(config, strategy="zscl", options={**QUICK, **words}), Screen(quiet=False)).folder
    reference = json.loads((folder / "run.json").read_text())["reference"]
    assert reference["images"] == {"name": words["reference_images"], "n": 0}
    assert f"reference images: {words['reference_images']}" in capsys.readouterr().out
