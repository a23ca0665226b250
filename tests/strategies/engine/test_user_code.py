"""Faulty strategy and plugin files: a one-line error, and never status 0 without a finished record."""

import json
import re
import threading
from dataclasses import replace

import pytest

import cli
from harness.commands import list as list_command
from harness.commands.check import compare
from harness.config import user_file
from harness.config.resolve import resolve
from harness.config.run_config import RunConfig
from harness.display.screen import Screen
from harness.records.leaderboard import leaderboard
from harness.run.loop import run
from models.registry import Registry, UserError
from strategies.engine.losses import NonFiniteLoss
from strategies.engine.strategy import Strategy

QUICK = {"iterations": 3, "batch_size": 8, "warmup": 1, "lr": 0.01}


@pytest.fixture
def config(toy_benchmark, model_directory, tmp_path):
    out = str(tmp_path / "results")
    return RunConfig(
        toy_benchmark, "finetune", model=str(model_directory), measures=("iimm",), measure_n=4, out=out, options=QUICK
    )


@pytest.fixture
def write(tmp_path):
    """Write a user's file and return its path."""

    def written(text, name="mine.py"):
        path = tmp_path / name
        path.write_text(text)
        return str(path)

    return written


HOOK = "from strategies import Strategy\n\n\nclass Mine(Strategy):\n    def after_step(self, step):\n        "


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("exit()\n", r"calls exit\(\) while it is imported \(line 1\): put the code of the script under"),
        ("import sys\nsys.exit(0)\n", r"calls exit\(\) while it is imported \(line 2\)"),
        ("raise SystemExit\n", r"calls exit\(\)"),
        ("def broken(:\n", "cannot be imported: SyntaxError in line 1: "),
        ("import no_such_module_here\n", r"cannot be imported \(line 1\): ModuleNotFoundError: No module named"),
        ("\n1 / 0\n", r"cannot be imported \(line 2\): ZeroDivisionError: division by zero"),
        ("x = 1\n", "defines no subclass of strategies.Strategy"),
    ],
)
@pytest.mark.parametrize("where", ["strategy", "plugins"])
def test_files_that_cannot_be_imported(text, message, where, config, write):
    message = message.replace("strategies.Strategy", "avalanche.core.SupervisedPlugin") if where == "plugins" else message
    path = write(text)
    with pytest.raises(UserError, match=re.escape(path) + ".*" + message):
        resolve(replace(config, **{where: (path,) if where == "plugins" else path}))


def test_an_import_that_takes_long_is_reported(config, write, monkeypatch, capsys):
    monkeypatch.setattr(user_file, "SLOW", 0.05)
    path = write("import time\ntime.sleep(0.4)\n" + HOOK + "pass\n")
    resolve(replace(config, strategy=path))
    assert f"perennial: still importing {path} after 0.05 s (Ctrl-C stops)" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize("code", ["exit()", "raise SystemExit(0)", "import sys; sys.exit()"])
def test_exit_in_a_hook(code, config, write):
    config = replace(config, strategy=write(HOOK + code + "\n"))
    with pytest.raises(UserError, match=r"called exit\(\) during the run \(.*mine.py, line 6\)|called exit\(\) during the run"):
        run(config, Screen(quiet=True))
    document = json.loads((resolve(config).folder / "run.json").read_text())
    assert document["status"] == "failed" and "called exit()" in document["error"]


def test_an_interrupt_in_a_hook_is_one(config, write):
    config = replace(config, strategy=write(HOOK + "raise KeyboardInterrupt\n"))
    with pytest.raises(KeyboardInterrupt):
        run(config, Screen(quiet=True))
    assert json.loads((resolve(config).folder / "run.json").read_text())["status"] == "interrupted"


def test_no_command_ends_with_status_0_by_exit(monkeypatch, capsys):
    def quits(arguments):
        raise SystemExit

    monkeypatch.setattr(list_command, "run", quits)
    assert cli.main(["list"]) == 2 and "called exit() before the end" in capsys.readouterr().err


def test_os_exit_and_threads(monkeypatch, capsys):
    ended, stop = [], threading.Event()
    monkeypatch.setattr(user_file.os, "_exit", ended.append)
    with user_file.no_silent_end():
        user_file.os._exit(0)
        user_file.os._exit(3)
        thread = threading.Thread(target=stop.wait, name="mine")
        thread.start()
    stop.set()
    thread.join()
    assert ended[0] == 1 and ended[-1] == 3 and user_file.os._exit == ended.append
    assert "called os._exit(0)" in (said := capsys.readouterr().err) and "the thread mine of a strategy or plugin" in said


# Installed packages


def installed(monkeypatch, tmp_path, value):
    """Install a package that offers a strategy "theirs" at `value`."""
    (tmp_path / "broken_package.py").write_text("raise RuntimeError('no luck')\n")
    (tmp_path / "quitting_package.py").write_text("raise SystemExit(0)\n")
    (tmp_path / "theirs-1.0.dist-info").mkdir()
    (tmp_path / "theirs-1.0.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: theirs\nVersion: 1.0\n")
    (tmp_path / "theirs-1.0.dist-info" / "entry_points.txt").write_text(f"[perennial.strategies]\ntheirs = {value}\n")
    monkeypatch.syspath_prepend(tmp_path)
    return Registry("strategy", {"finetune": "strategies.engine.strategy:Strategy"}, entry_points="perennial.strategies")


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("broken_package:Theirs", "RuntimeError: no luck"),
        ("quitting_package:Theirs", "SystemExit: 0"),
        ("no_such_package:Theirs", "ModuleNotFoundError"),
        ("json:NoSuchName", "AttributeError"),
        ("not a module : at all", ""),
    ],
)
def test_a_broken_entry_point_spoils_its_own_name_only(value, message, monkeypatch, tmp_path):
    registry = installed(monkeypatch, tmp_path, value)
    assert registry.names() == ["finetune", "theirs"] and registry.get("finetune") is Strategy
    with pytest.raises(UserError, match=rf"'theirs' of an installed package \(theirs: .*cannot be loaded: .*{message}"):
        registry.get("theirs")


# Plugins in files

PLUGIN = """
import torch
from avalanche.core import SupervisedPlugin


class Decay(SupervisedPlugin):
    def __init__(self, weight: float = 0.5, every=1):
        super().__init__()
        self.weight, self.every, self.steps = weight, every, 0

    def before_backward(self, strategy, **kwargs):
        self.steps += 1
        strategy.loss = strategy.loss * (1 + self.weight * self.steps)
"""
STATE = """
    def state(self):
        return {"steps": self.steps}

    def load(self, state):
        self.steps = state["steps"]
"""


@pytest.mark.slow
def test_a_plugin_of_a_file(config, write):
    path = write(PLUGIN + STATE)
    one = resolve(replace(config, plugins=(path,)))
    assert one.folder.name.startswith("finetune+decay-") and one.plugins["Decay"].options == {"weight": 0.5, "every": 1}
    other = resolve(replace(config, plugins=(f"{path}:Decay",), options={**QUICK, "Decay.weight": "2", "Decay.every": "3"}))
    assert other.plugins["Decay"].options == {"weight": 2.0, "every": 3} and other.key != one.key
    write(PLUGIN + STATE + "# changed\n")
    assert resolve(replace(config, plugins=(path,))).key != one.key
    folder = run(other.config, Screen(quiet=True)).folder
    request = json.loads((folder / "run.json").read_text())["request"]
    recorded = {name: request[name] for name in ("model", "options", "measure_n")}
    again = replace(config, **recorded, plugins=tuple(request["plugins"]))
    assert resolve(again).options == other.options and resolve(again).plugins == resolve(other.config).plugins


@pytest.mark.slow
@pytest.mark.parametrize(("state", "continues"), [(STATE, True), ("", False)])
def test_a_plugin_of_a_file_is_resumed(state, continues, config, write, killed, tmp_path):
    config = replace(config, plugins=(write(PLUGIN + state),))
    plain = run(replace(config, plugins=()), Screen(quiet=True)).folder
    whole = run(replace(config, out=str(tmp_path / "whole")), Screen(quiet=True)).folder
    assert compare(plain, whole)
    killed(lambda: run(config, Screen(quiet=True)), Strategy, "_before_training_exp", 3)
    said = []

    class Heard(Screen):
        def say(self, message, style=None):
            said.append(message)

    folder = run(config, Heard(quiet=True)).folder
    assert not compare(whole, folder) and len(leaderboard([str(folder)])) == 1
    assert any("starts over from the first task: Decay.steps" in line for line in said) is not continues


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        (PLUGIN, {"Decay.weigth": "1"}, "Unknown option of the plugin Decay 'weigth'. Did you mean weight"),
        (PLUGIN, {"Decay.weight": "much"}, "Decay.weight takes a finite number, got 'much'"),
        (PLUGIN.replace(" = 0.5", ""), {}, "The plugin Decay needs the option weight: --set Decay.weight="),
        (PLUGIN.replace("class Decay", "class ewc"), {}, "two plugins called ewc"),
        (PLUGIN.replace("before_backward", "before_backwards"), {}, "Did you mean before_backward"),
        (PLUGIN + "\n\nclass Other(Decay):\n    pass\n", {}, "several plugins; name one"),
        (
            "from avalanche.training.plugins import EarlyStoppingPlugin\n\n\nclass Stop(EarlyStoppingPlugin):\n"
            "    def __init__(self):\n        super().__init__(1, 'val')\n",
            {},
            r"The plugin Stop \(an Avalanche EarlyStoppingPlugin\) does not work here",
        ),
    ],
)
def test_plugins_that_are_refused(text, options, message, config, write):
    with pytest.raises(UserError, match=message):
        resolve(replace(config, plugins=(write(text),), options={**QUICK, **options}))


def test_a_plugin_on_what_does_not_train(config, write):
    with pytest.raises(UserError, match="The plugin Decay acts on training, and ZeroShot does not train"):
        resolve(replace(config, strategy="zero-shot", plugins=(write(PLUGIN),), options={}))


def test_two_files_of_one_name(config, write, tmp_path):
    (tmp_path / "other").mkdir()
    strategy = write(HOOK + "pass\n", "other/mine.py")
    resolved = resolve(replace(config, strategy=strategy, plugins=(write(PLUGIN),)))
    assert resolved.strategy_class.__name__ == "Mine" and resolved.plugins["Decay"].kind.__name__ == "Decay"


# Options


@pytest.mark.parametrize(
    "name", ["iterations", "epochs", "batch_size", "warmup", "lr", "label_smoothing", "weight_decay", "beta1"]
)
@pytest.mark.parametrize(
    "value",
    ["nan", "inf", "-inf", "-1", "1e40", "-1e40", "1e308", "1e999", "9" * 30, "-" + "9" * 30, "9" * 5000, "abc", "", "[1]",
     "True", "None", "0x10", "1_0_"],
)  # fmt: skip
def test_options_out_of_range(name, value, config):
    with pytest.raises(UserError, match=name):
        resolve(replace(config, options={**QUICK, name: value}))


def test_zero_is_refused_where_nothing_would_train(config):
    for name in ("iterations", "batch_size"):
        with pytest.raises(UserError, match=f"{name} must be at least 1, got 0"):
            resolve(replace(config, options={**QUICK, name: "0"}))


def test_an_overflow_in_the_optimiser_is_a_diverged_loss(config):
    with pytest.raises(NonFiniteLoss, match="a smaller lr usually helps"):
        run(replace(config, options={**QUICK, "lr": "1e20", "beta1": "0.999999999999"}), Screen(quiet=True))
