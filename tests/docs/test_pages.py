"""Every measured number of a page is the one in its CSV, and the site builds with every link checked."""

import csv
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from harness.records.files import ACCURACY_COLUMNS, MEASURE_COLUMNS, TRAIN_COLUMNS
from harness.records.leaderboard import COLUMNS
from reference_data.mtil import ORDERS
from strategies import TARGETS
from tools import pages

ROOT = Path(__file__).parents[2]
TABLES = ROOT / "reference_data" / "tables"


@pytest.mark.slow
@pytest.mark.parametrize("page", pages.pages(), ids=lambda path: path.stem)
def test_the_numbers_of_a_page_are_those_of_its_csv(page):
    text = page.read_text(encoding="utf-8")
    assert pages.filled(text) == text, "run `python -m tools.pages`"
    assert pages.unread(text) == []


def test_a_changed_number_is_noticed():
    text = (ROOT / "docs" / "results.md").read_text(encoding="utf-8")
    assert pages.filled(text.replace("| 68.3 ± 0.0 |", "| 69.3 ± 0.0 |", 1)) == text


def test_sentences_are_read_again_when_their_csv_changes(tmp_path, monkeypatch):
    monkeypatch.setattr(pages, "TABLE_FOLDER", tmp_path)
    (tmp_path / "t.csv").write_text("a\n1\n")
    marker = f"<!-- read with: t {pages.digest('t')} -->"
    assert pages.unread(marker) == []
    (tmp_path / "t.csv").write_text("a\n2\n")
    assert pages.unread(marker) == [f"<!-- read with: t {pages.digest('t')} -->"] != [marker]


def test_only_columns_of_numbers_are_right_aligned():
    table = pages.markdown(["a", "b", "c"], [["x", "1,234", "n"], ["2", "0.1 ± 0.2", "-"], ["3", "85 to 99", ""]])
    assert table.splitlines()[1] == "| --- | ---: | --- |"
    assert pages.markdown(["a"], [["**1.0**"], ["*2.0*"], ["3.0"]]).splitlines()[1] == "| ---: |"
    assert pages.markdown(["a"], [["*2.0**"]]).splitlines()[1] == "| --- |"


def test_the_matrix_marks_the_trained_task_and_the_cells_of_transfer():
    lines = pages.matrix_table("cells").splitlines()
    assert "*" not in lines[2]
    first, last = ([cell.strip() for cell in line.split("|")[1:-1]] for line in (lines[3], lines[-1]))
    assert [cell.count("*") for cell in first] == [0, 4, *[2] * 7, 0, 0, 0]
    assert [cell.count("*") for cell in last] == [0, *[0] * 7, 4, 0, 0, 0]


def test_the_papers_orders_are_listed():
    text = (ROOT / "docs" / "benchmarks.md").read_text(encoding="utf-8")
    assert f"| I (default) | {', '.join(ORDERS['I'])} |" in text and f"| II | {', '.join(ORDERS['II'])} |" in text


def test_a_value_inside_a_sentence_is_filled():
    marked = "<!-- value: mini_results mtil/zscl average --><!-- /value -->"
    assert pages.filled(marked) == "<!-- value: mini_results mtil/zscl average -->64.5<!-- /value -->"
    with pytest.raises(KeyError, match="no row 'mtil/nobody'"):
        pages.value("mini_results", "mtil/nobody", "average")


@pytest.mark.parametrize("page", pages.pages(), ids=lambda path: path.stem)
def test_no_line_of_a_sentence_starts_with_a_marker(page):
    """Markdown ends a paragraph at a line that starts with a comment."""
    assert not re.findall(r"^\s*<!-- value.*", page.read_text(encoding="utf-8"), flags=re.MULTILINE)


@pytest.mark.parametrize("name", ["mini_results", "mini_zero_shot", "mini_gains", "broad_tasks", "speed"])
def test_every_row_says_when_and_where_it_was_measured(name):
    for row in pages.rows(name):
        assert row["revision"] and re.fullmatch(r"\d{4}-\d\d-\d\d", row["measured"]) and row["machine"], row


def test_every_strategy_is_measured():
    assert {row["strategy"] for row in pages.results("mtil")} == set(TARGETS)


def script(page, title):
    """Return the Python block of a page with a title."""
    (block,) = re.findall(rf'```python title="{title}"\n(.*?)```', (ROOT / "docs" / page).read_text("utf-8"), flags=re.DOTALL)
    return block


def test_the_script_that_subtracts_accuracies(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for name, accuracy, half in (("before", 80, 3), ("after", 70.5, 4)):
        rows = f"A,zero_shot,1,0,2\nA,zero_shot_test,{accuracy},{accuracy - half},{accuracy + half}\n"
        Path(f"{name}.csv").write_text(f"dataset,measure,value,low,high\n{rows}")
    exec(script("forgotten.md", "forgotten.py"), {})
    assert capsys.readouterr().out.splitlines()[-1].split() == ["A", "80", "70.5", "-9.5", "5.0"]


def test_the_script_that_writes_latex(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("compare.csv").write_text("metric,mean_a,mean_b,difference,low,high\ncil_last,70.04,68,2.04,,\n")
    exec(script("compare.md", "latex.py"), {})
    assert r"cil\_last & 70.0 & 68 & 2.0 & - & - \\" in capsys.readouterr().out


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_picture_shows_the_matrix(theme):
    svg = (ROOT / "docs" / "assets" / f"matrix-{theme}.svg").read_text(encoding="utf-8")
    drawn = [text for text in re.findall(r">([^<>]+)</text>", svg) if re.fullmatch(r"\d+", text)]
    with (TABLES / "mini_zscl_matrix.csv").open(newline="") as file:
        accuracies = [f"{float(row['accuracy']):.0f}" for row in csv.DictReader(file)]
    assert sorted(drawn)[: len(accuracies)] and not set(accuracies) - set(drawn)


def test_the_columns_of_every_file_are_described():
    text = (ROOT / "docs" / "files.md").read_text(encoding="utf-8")
    for column in {*ACCURACY_COLUMNS, *MEASURE_COLUMNS, *TRAIN_COLUMNS, *COLUMNS}:
        assert f"`{column}`" in text, column


def test_the_hooks_are_described():
    from strategies.engine.method_checks import HOOKS

    text = (ROOT / "docs" / "method.md").read_text(encoding="utf-8")
    for hook, parameters in HOOKS.items():
        assert f"`{hook}({', '.join(('self', *parameters))})`" in text, hook


@pytest.mark.slow
def test_the_site_builds_with_every_link_checked(tmp_path):
    pytest.importorskip("mkdocs", reason="the extra docs is not installed")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path / "site")]
    environment = {**os.environ, "DISABLE_MKDOCS_2_WARNING": "true", "NO_MKDOCS_2_WARNING": "1"}
    built = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert built.returncode == 0, built.stderr
    for name in TARGETS:
        assert "Not verified at full size" in (tmp_path / "site" / "methods" / name / "index.html").read_text(encoding="utf-8")
