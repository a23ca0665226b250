"""The names and options of Avalanche's plugins, and the combinations that are refused."""

import subprocess
import sys

import pytest

from harness.config.options import convert
from models.registry import UserError
from strategies.engine.strategy import Strategy
from strategies.joint import Joint
from strategies.paint import PaintParallel, PaintSequential
from strategies.plugins import built_in as plugins
from strategies.wise_ft import WiSEFT
from strategies.zero_shot import ZeroShot
from strategies.zscl import ZSCL


def test_names_and_options_import_nothing_heavy():
    code = "import sys, strategies.plugins.built_in as p; p.options_of('ewc')(); print({'torch', 'avalanche'} & {*sys.modules})"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "set()"


def test_unknown_names_say_what_was_meant():
    for ask in (plugins.options_of, plugins.make, lambda name: plugins.refusal(name, Strategy, "full")):
        with pytest.raises(UserError, match=r"Unknown plugin 'ewcc'\. Did you mean ewc\?"):
            ask("ewcc")


def test_options_come_from_the_command_line():
    import typing

    hints = typing.get_type_hints(plugins.options_of("ewc"))
    given = {"mode": "online", "decay_factor": "0.5", "ewc_lambda": "3"}
    options = plugins.options_of("ewc")(**{name: convert(name, value, hints[name]) for name, value in given.items()})
    assert (options.mode, options.decay_factor, options.ewc_lambda) == ("online", 0.5, 3.0)


@pytest.mark.parametrize(
    ("name", "options", "said"),
    [
        ("ewc", {"ewc_lambda": -1.0}, "ewc_lambda must be at least 0, got -1.0"),
        ("ewc", {"decay_factor": 0.5}, "decay_factor needs mode=online"),
        ("si", {"si_lambda": float("nan")}, "si_lambda must be"),
        ("si", {"eps": 0.0}, "eps must be greater than 0"),
        ("si", {"clip": 0.0}, "clip must be greater than 0"),
        ("mas", {"alpha": 1.5}, "alpha must be at most 1"),
        ("replay", {"mem_size": 0}, "mem_size must be at least 1"),
        ("replay", {"batch_size_mem": 0}, "batch_size_mem must be at least 1"),
        ("lwf", {"temperature": 0.0}, "temperature must be greater than 0"),
    ],
)
def test_values_that_cannot_work(name, options, said):
    with pytest.raises(ValueError, match=said):
        plugins.options_of(name)(**options)


def test_what_cannot_work_together_is_refused():
    for name in plugins.PLUGINS:
        assert "does not train" in plugins.refusal(name, ZeroShot, "full")
        assert "probe" in plugins.refusal(name, Strategy, "probe")
        for method in (Joint, PaintParallel):
            assert "initial weights" in plugins.refusal(name, method, "visual")
        for method in (Strategy, ZSCL, WiSEFT):
            assert plugins.refusal(name, method, "full") is None
        assert plugins.refusal(name, Strategy, "lora") is None
        merged = plugins.refusal(name, WiSEFT, "lora")
        assert "LoRA" in merged if name in ("ewc", "si", "mas") else merged is None
    assert "ensembles" in plugins.refusal("lwf", PaintSequential, "visual")
    assert plugins.refusal("ewc", PaintSequential, "visual") is None
