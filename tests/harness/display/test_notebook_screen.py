"""The output of a run in a notebook."""

import sys
from types import SimpleNamespace

import pytest

from harness.display.matrix_html import matrix_html
from harness.display.notebook_screen import NotebookScreen, in_notebook
from harness.records.summary import Percent


def row(*values, names=(("test", "a"), ("test", "b<"), ("heldout", "c"))):
    return {name: Percent(value) for name, value in zip(names, values, strict=True)}


def test_the_matrix_as_html():
    html = matrix_html(
        {0: row(1, 2, 3), 1: row(10, 20, 30), 2: row(40, 50, 60.06)}, ["a", "b<"], ["c"], {"average": 30.04, "x": 1}
    )
    lines = html.splitlines()
    assert lines[1] == "<tr><th>after</th><th>a</th><th>b&lt;</th><th>(c)</th></tr>"
    pale, bold = ' style="opacity:0.5"', ' style="font-weight:bold"'
    assert lines[2] == f"<tr><th>zero-shot</th><td{pale}>1.0</td><td{pale}>2.0</td><td>3.0</td></tr>"
    assert lines[3] == f"<tr><th>1 a</th><td{bold}>10.0</td><td{pale}>20.0</td><td>30.0</td></tr>"
    assert lines[4] == f"<tr><th>2 b&lt;</th><td>40.0</td><td{bold}>50.0</td><td>60.1</td></tr>"
    assert lines[-1] == "<p>Average 30.0</p>"


def test_bars_and_matrix_are_updated_in_place(monkeypatch, capsys):
    pages = []

    def show(html):
        pages.append([html])
        return pages[-1].append

    screen = NotebookScreen(show)
    monkeypatch.setattr("harness.display.notebook_screen.EVERY", -1.0)
    screen.data(1, 4, "render <a>")
    assert pages == [['<div><progress value="0.250" max="1"></progress> render &lt;a&gt; </div>']]
    screen.begin(["a", "b<"], ["c"], {}, 4, 10)
    screen.stage("evaluate", "a", 10)
    screen.advance("evaluate", 5)
    screen.row(0, row(1, 2, 3))
    screen.stage("train", "a", 4)
    screen.advance("train", 1)
    assert "overall" in pages[1][-1] and 'value="0.250" max="1"></progress> train a' in pages[1][-1]
    assert "<th>zero-shot</th>" in pages[1][-1]
    screen.aside(1, 2, "search")
    assert 'value="0.500" max="1"></progress> search' in pages[1][-1]
    screen.end()
    assert len(pages) == 2 and "progress" not in pages[1][-1] and "<th>zero-shot</th>" in pages[1][-1]
    screen.summary({}, None, "results/x", [])
    assert capsys.readouterr().out == "record: results/x\n"
    silent = NotebookScreen(show, quiet=True)
    silent.stage("train", "a", 4)
    assert len(pages) == 2


@pytest.mark.parametrize(("shell", "expected"), [(None, False), (SimpleNamespace(), False), (SimpleNamespace(kernel=1), True)])
def test_a_notebook_has_a_kernel(shell, expected, monkeypatch):
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: shell))
    assert in_notebook() == expected
