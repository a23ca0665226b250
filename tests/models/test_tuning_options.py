"""Options of a tuning from the command line to the record, and names that installed packages offer."""

import json
from importlib.metadata import EntryPoint

import pytest

from harness.config.options import split_prefix, tuning_options
from harness.config.resolve import resolve
from harness.config.run_config import RunConfig
from harness.display.screen import Screen
from harness.run.loop import run
from models.registry import Registry, UserError
from strategies.engine.strategy import Strategy
from strategies.peft import LoRA


def test_split():
    assert split_prefix({"lr": 1, "tuning.rank": "8"}, "tuning") == ({"lr": 1}, {"rank": "8"})


def test_options_are_checked():
    assert tuning_options("lora", {"rank": "8", "targets": "qkv"}).rank == 8
    with pytest.raises(UserError, match=r"option of the tuning lora 'rang'.*Did you mean rank"):
        tuning_options("lora", {"rang": "8"})
    with pytest.raises(UserError, match=r"^tuning\.rank must be at least 1, got 0\.$"):
        tuning_options("lora", {"rank": 0})
    with pytest.raises(UserError, match=r"tuning\.rank takes"):
        tuning_options("lora", {"rank": "many"})


def test_a_strategy_has_a_tuning_of_its_own_and_any_goes_with_any():
    assert resolve(RunConfig(strategy="lora")).tuning == "lora" and resolve(RunConfig(strategy="zscl")).tuning == "full"
    both = resolve(RunConfig(strategy="zscl", tuning="lora", options={"tuning.rank": "2"}))
    assert both.identity()["tuning"] == "lora" and both.identity()["tuning_options"]["rank"] == 2
    assert both.key != resolve(RunConfig(strategy="zscl", tuning="lora")).key


@pytest.mark.slow
@pytest.mark.parametrize("tuning", ["lora", "adapter", "probe", "bitfit", "attention"])
def test_a_killed_run_continues_to_the_same_numbers(tuning, toy_benchmark, model_directory, tmp_path, killed):
    """LoRA's pairs, adapters and a probe's heads are in the checkpoint, and the record names what trained."""
    options = {"iterations": 3, "batch_size": 8, "warmup": 1, "lr": 0.01}
    config = RunConfig(benchmark=toy_benchmark, strategy=tuning, model=str(model_directory), options=options, measure_n=4)

    def record(out):
        folder = run(RunConfig(**{**vars(config), "out": str(out)}), Screen(quiet=True)).folder
        return folder, [(folder / name).read_bytes() for name in ("accuracy.csv", "train.csv", "measures.csv")]

    whole, files = record(tmp_path / "whole")
    document = json.loads((whole / "run.json").read_text())
    assert document["identity"]["tuning"] == tuning and document["trainable_params"] > 0
    assert document["request"]["tuning"] == tuning
    again = resolve(
        RunConfig(
            benchmark=toy_benchmark,
            **{k: document["request"][k] for k in ("strategy", "tuning", "model", "options")},
            measure_n=4,
        )
    )
    assert again.key == document["key"]

    killed(lambda: record(tmp_path / "killed"), Strategy, "_before_training_exp", 3, KeyboardInterrupt)
    assert record(tmp_path / "killed")[1] == files


def test_installed_packages_offer_names(monkeypatch):
    points = [
        EntryPoint("mine", "strategies.peft:LoRA", "group"), EntryPoint("broken", "nowhere:Thing", "group"),
        EntryPoint("known", "nowhere:Thing", "group"),
    ]  # fmt: skip
    monkeypatch.setattr("importlib.metadata.entry_points", lambda group: points if group == "group" else [])
    names = Registry("strategy", {"known": "strategies.peft:BitFit"}, entry_points="group")
    assert names.names() == ["known", "mine", "broken"] and "mine" in names
    assert names.get("mine") is LoRA and names.get("known").__name__ == "BitFit"
    with pytest.raises(UserError, match=r"'broken' of an installed package \(unknown: nowhere:Thing\) cannot be loaded"):
        names.get("broken")
    with pytest.raises(UserError, match="already taken"):
        names.register("mine")(object)
