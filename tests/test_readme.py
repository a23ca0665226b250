"""The README is short, and its examples and those of the pages give what they promise."""

import re
from pathlib import Path

import pytest

from benchmarks.scenario import scenario
from harness.config.resolve import resolve
from harness.config.run_config import RunConfig
from harness.display.screen import Screen
from harness.records.files import read_csv
from harness.run.loop import run

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def example(page, title):
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    (block,) = re.findall(rf'```python title="{title}"\n(.*?)```', text, flags=re.DOTALL)
    return block


def test_the_readme_fits_on_a_few_screens():
    assert len(README.splitlines()) <= 150
    assert README.index("\nmake bench\n") < README.index("\nmake test\n")
    for block in re.findall(r"```\w*\n(.*?)```", README, flags=re.DOTALL):
        assert all(len(line) <= 100 for line in block.splitlines())
    assert README.index("**Transfer** is") < README.index("| Transfer |")


def test_the_files_that_the_readme_names_exist():
    for path in re.findall(r"\]\(([^)#:]+)\)|srcset=\"([^\"]+)\"|src=\"([^\"]+)\"", README):
        assert (ROOT / "".join(path)).exists(), path


def test_the_own_method_runs_over_two_tasks(tmp_path, encoder, toy_domain):
    (tmp_path / "my_method.py").write_text(example("tutorials/method.md", "my_method.py"))
    options = {"weight": "2", "iterations": 3, "batch_size": 8}
    resolved = resolve(RunConfig(strategy=f"{tmp_path}/my_method.py:MyMethod", options=options))
    strategy = resolved.strategy_class(encoder=encoder, options=resolved.options)
    for experience in scenario([toy_domain("a"), toy_domain("b", 4, seed=1)]).train_stream:
        strategy.train(experience, eval_streams=[])
    assert strategy.trained == 2 and strategy.options.weight == 2.0


@pytest.mark.slow
def test_the_python_example_gives_the_numbers_of_the_command_line(tmp_path, capsys):
    """With a tenth of the updates."""
    names: dict = {}
    text = example("python.md", "python_api.py")
    assert "iterations=40, lr=4e-4, batch_size=32, warmup=4" in text
    exec(compile(text.replace("iterations=40", "iterations=4").replace("warmup=4", "warmup=1"), "python.md", "exec"), names)
    assert capsys.readouterr().out.startswith("0 {'nature': '67.3', 'shapes': '51.5', 'digits': '85.5'}")
    options = {"iterations": 4, "lr": 4e-4, "batch_size": 32, "warmup": 1}
    config = RunConfig(
        "stream", "finetune", tasks=("nature", "shapes"), heldout=("digits",), options=options, out=str(tmp_path)
    )
    finished = run(config, Screen(quiet=True))
    rows = {(int(r["after"]), r["stream"], r["task"]): int(r["correct"]) for r in read_csv(finished.folder / "accuracy.csv")}
    assert rows == {(after, *key): cell.correct for after, row in names["accuracy"].rows.items() for key, cell in row.items()}
