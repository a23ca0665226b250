"""What the README says can be typed in works."""

import re
from pathlib import Path

import pytest

from benchmarks.scenario import scenario
from harness.config.run_config import RunConfig, resolve
from harness.display.screen import Screen
from harness.records.files import read_csv
from harness.run.loop import run

README = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)


def test_the_own_method_runs_over_two_tasks(tmp_path, encoder, toy_domain):
    (method,) = [block for block in BLOCKS if block.startswith("# my_method.py")]
    (tmp_path / "my_method.py").write_text(method)
    options = {"weight": "2", "iterations": 3, "batch_size": 8}
    resolved = resolve(RunConfig(strategy=f"{tmp_path}/my_method.py:MyMethod", options=options))
    strategy = resolved.strategy_class(encoder=encoder, options=resolved.options)
    for experience in scenario([toy_domain("a"), toy_domain("b", 4, seed=1)]).train_stream:
        strategy.train(experience, eval_streams=[])
    assert strategy.trained == 2 and strategy.options.weight == 2.0


def test_the_python_example_gives_the_numbers_of_the_command_line(tmp_path, capsys):
    (example,) = [block for block in BLOCKS if "make(" in block]
    held: dict = {}
    exec(compile(example, "README.md", "exec"), held)
    assert capsys.readouterr().out.startswith("0 {'nature': '67.3', 'shapes': '51.5', 'digits': '85.5'}")
    options = {"iterations": 40, "lr": 4e-4, "batch_size": 32, "warmup": 4}
    config = RunConfig(
        "stream", "finetune", tasks=("nature", "shapes"), heldout=("digits",), options=options, out=str(tmp_path)
    )
    found = run(config, Screen(quiet=True))
    rows = {(int(r["after"]), r["stream"], r["task"]): int(r["correct"]) for r in read_csv(found.folder / "accuracy.csv")}
    assert rows == {(after, *key): cell.correct for after, row in held["accuracy"].rows.items() for key, cell in row.items()}


@pytest.mark.parametrize("command", re.findall(r"^python cli\.py (.*?)(?:\s{2,}.*)?$", README, flags=re.MULTILINE))
def test_commands_parse(command):
    import cli

    cli.parser().parse_args(command.replace("FILE", "x").split())
