"""Legends, and the time, size and imports of a report."""

import subprocess
import sys
import time

import pytest
from markupsafe import Markup
from matplotlib.colors import to_hex

from harness import report
from harness.records.runs import read
from harness.report import page as report_page
from harness.report.comparison import curves, learning
from harness.report.figure_style import OTHERS, looks, styled
from harness.report.iimm_prediction import prediction
from harness.report.sections import sections


def test_legends_have_the_colours_of_the_lines(tmp_path, record):
    """Panels of several colours have a grey legend. Other legends have the colours of the methods."""
    for i, strategy in enumerate(("a", "b")):
        record(tmp_path, strategy, gain=30.0 + i)
    [section] = sections(read([tmp_path]))
    look = looks([m.label for m in section.methods], section.references)
    gain, _ = prediction(section)
    with styled():
        for figure, expected in ((learning(section), look), (curves(section), look), (gain, None)):
            [legend] = figure.draw().legends
            labels = [text.get_text() for text in legend.get_texts()]
            colours = [h.get_color() if hasattr(h, "get_color") else h.get_facecolor() for h in legend.legend_handles]
            if expected is None:
                assert labels == ["a task", "least squares", "95 % interval of the line"]
                assert {to_hex(colour) for colour in colours} == {OTHERS}
            else:
                assert [to_hex(colour) for colour in colours] == [look[label].colour for label in labels]
                assert set(labels) == {"a", "b", "zero-shot"}


def calls(function):
    """Return the number of Python and C calls, a measure of work that does not depend on the load of the machine."""
    count = 0

    def profile(frame, event, argument):
        nonlocal count
        count += event in ("call", "c_call")

    sys.setprofile(profile)
    try:
        function()
    finally:
        sys.setprofile(None)
    return count


@pytest.mark.slow
def test_the_work_is_linear_in_the_number_of_methods(tmp_path, record, monkeypatch):
    """Drawings are left out, because they show a fixed number of methods."""
    monkeypatch.setattr(report_page, "inline", lambda figure: Markup(""))
    made, page = [], tmp_path / "r.html"
    for n in (0, 60, 120, 240):
        for i in range(n // 2 if n > 60 else 0, n):
            # One strategy with many settings, and names with the same first eighty letters.
            record(tmp_path / "runs", "m" * 90 + f"-{i}" * (i % 2), gain=float(i % 50), options={"lr": 1, "index": i})
        (tmp_path / "runs").mkdir(exist_ok=True)
        made.append(calls(lambda: report.write([tmp_path / "runs"], page)))
    _, first, second, third = made
    # Figures with more than 150 rows have their data only in the CSV file.
    assert 0.3 < (third - second) / (2 * (second - first)) < 1.1, made


@pytest.mark.slow
def test_a_page_of_a_hundred_runs_is_fast_and_small(tmp_path, record):
    for i in range(50):
        for seed in (0, 1):
            record(tmp_path, f"m{i}", seed, gain=float(i))
    began = time.perf_counter()
    written = report.write([tmp_path], tmp_path / "r.html")
    assert time.perf_counter() - began < 60 and written.stat().st_size < 4e6
    text = written.read_text()
    assert text.count('class="heat"') == 100 and "42 further methods are only in the CSV file." in text


@pytest.mark.slow
def test_writing_imports_neither_torch_nor_avalanche(tmp_path, record):
    record(tmp_path, "finetune")
    code = (
        "import sys; from harness.report import write; assert 'matplotlib' not in sys.modules; "
        f"write([{str(tmp_path)!r}], {str(tmp_path / 'r.html')!r}); "
        "print([m for m in ('torch', 'avalanche', 'matplotlib.pyplot') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stderr
