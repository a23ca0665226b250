"""What the README says can be typed in works."""

import re
from pathlib import Path

import pytest

from benchmarks.streams import scenario
from harness.config import RunConfig, resolve

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


def test_the_python_example_names_what_there_is():
    (example,) = [block for block in BLOCKS if "make(" in block]
    compile(example, "README.md", "exec")
    for line in example.splitlines():
        if line.startswith(("import ", "from ")):
            exec(line, {})


@pytest.mark.parametrize("command", re.findall(r"^python cli\.py (.*?)(?:\s{2,}.*)?$", README, flags=re.MULTILINE))
def test_commands_parse(command):
    import cli

    cli.parser().parse_args(command.replace("FILE", "x").split())
