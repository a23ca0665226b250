"""The pure parts of the report: intervals, lines, steps of a run, cells of tables, and figures as files."""

import csv
import re
import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure as Drawing
from scipy import stats

from harness.records.runs import Run
from harness.report.figure import Figure, Numbers, inline, save
from harness.report.figure_style import looks
from harness.report.heat_map import shades
from harness.report.iimm_prediction import steps
from harness.report.sections import unique
from harness.report.tables import Cell, clean, number, table
from harness.report.training_figures import shared
from metrics.means import fit, mean
from metrics.regression import band


def test_a_mean_has_students_interval():
    found = mean([4.0, 6.0, 8.0, float("nan")])
    # t of 0.975 with two degrees of freedom is 4.302653; s = 2.
    assert found[:2] == (6.0, 2.0) and found.n == 3
    assert found.high - 6 == pytest.approx(4.302652730 * 2 / 3**0.5) == 6 - found.low


def test_one_value_has_no_interval_and_no_values_have_no_mean():
    assert mean([3.0]).mean == 3 and np.isnan(mean([3.0])[1:4]).all()
    assert mean([]).n == 0 and np.isnan(mean([float("nan")]).mean)


def test_a_line_agrees_with_scipy():
    x, y = [0.1, 0.2, 0.4, 0.5, 0.9], [1.0, 3.0, 2.0, 5.0, 6.0]
    line, theirs = fit(x, y), stats.linregress(x, y)
    half = stats.t.ppf(0.975, 3) * theirs.stderr
    interval = (theirs.slope - half, theirs.slope + half)
    assert (line.slope, line.low, line.high, line.intercept) == pytest.approx((theirs.slope, *interval, theirs.intercept))
    assert line.r2 == pytest.approx(theirs.rvalue**2) and line.n == 5
    at_zero, low, high = band(line, [0.0])
    assert at_zero[0] == pytest.approx(theirs.intercept)
    assert high[0] - at_zero[0] == pytest.approx(stats.t.ppf(0.975, 3) * theirs.intercept_stderr) == at_zero[0] - low[0]


def test_no_line_through_two_points_or_through_one_x():
    assert fit([1, 2], [1, 2]) is None
    assert fit([1, 2, float("nan")], [1, 2, 3]) is None
    assert fit([0.3, 0.3, 0.3], [1, 2, 3]) is None
    flat = fit([1, 2, 3], [5, 5, 5])
    assert flat.slope == 0 and np.isnan(flat.r2)


def test_the_interval_covers_the_true_slope():
    generator, x, held = np.random.default_rng(0), np.linspace(0, 1, 8), 0
    for _ in range(300):
        line = fit(x, 2 * x + generator.normal(size=8))
        held += line.low <= 2 <= line.high
    assert 0.91 <= held / 300 <= 0.98


def run(matrix, tasks, heldout=(), measures=(), **document):
    """Rows 0..T of accuracies; held-out domains are the last columns."""
    names = [*(("test", t) for t in tasks), *(("heldout", t) for t in heldout)]
    cells = {(j, *name): v for j, row in enumerate(matrix) for name, v in zip(names, row, strict=True) if v is not None}
    identity = {"tasks": list(tasks), "heldout": list(heldout), "seed": 0}
    return Run(Path("run"), {"identity": identity, "status": "finished", "key": "k", **document}, cells, list(measures))


def test_learning_and_forgetting_of_a_run():
    found = run([[10, 20], [50, 15], [40, 60]], ["a", "b"])
    assert found.learning() == (40 + 40) / 2 and found.forgetting() == 10
    assert np.isnan(run([[10, 20], [50, 15], [40, None]], ["a", "b"]).learning())
    assert run([[10], [50]], ["a"]).learning() == 40 and np.isnan(run([[10], [50]], ["a"]).forgetting())


def test_gain_and_forgetting_of_a_step():
    found = run([[10, 20, 90], [50, 15, 80], [40, 60, 84]], ["a", "b"], ["h"], [(1, "iimm", 0.25), (2, "iimm_intra", 0.5)])
    (first, second) = steps(found)
    # b falls by 5 and h by 10; then a falls by 10 and h rises by 4.
    assert first == (0.25, 40, 7.5)
    assert np.isnan(second[0]) and second[1:] == (45, 3)


def test_points_of_a_search_with_one_alpha():
    record = {"points": [[1.0, 1.0], [0.0, 0.0], [0.3, 0.7]], "patching": [9.0, 1.0, 10.0], "supported": []}
    assert shared(record, "patching").tolist() == [[0, 1], [1, 9]] and shared(record, "supported").shape == (0, 2)


def test_no_file_can_hold_some_characters():
    assert clean("a\x00b\x1b\udcffé") == "a\ufffdb\ufffd\ufffdé"


def test_numbers_have_their_deviation_and_sort_by_value():
    assert number(1234.56, 1, 0.04) == Cell("1,234.6 ± 0.0", "1234.56")
    assert number(None) == number(float("nan")) == Cell("-", "")
    made = table("T", {"name": None, "x": "an x"}, [["a", number(2.0)], [None, 3]])
    assert made.rows == [[Cell("a"), Cell("2.0", "2")], [Cell(""), Cell("3")]] and made.headings == ["name", "x"]


def test_names_for_files_are_safe_and_unique():
    taken = {}
    assert [unique(t, taken) for t in ("A/../b", "a b", "<>", "é")] == ["a-b", "a-b-2", "x", "x-2"]


def test_methods_look_different():
    found = looks([*(f"m{i}" for i in range(24)), "zero-shot"])
    assert len({(look.colour, look.marker, str(look.dash)) for look in found.values()}) == 25


def test_the_heat_maps_colours_grow_lighter():
    light = [sum(int(c[k : k + 2], 16) * w for k, w in ((1, 0.2126), (3, 0.7152), (5, 0.0722))) for c in shades(21)]
    assert light == sorted(light) and light[-1] - light[0] > 150


NAME = "<script>alert(1)</script> $x_1$ 日本 \x07 &amp;"


def drawing():
    figure = Drawing(figsize=(3, 2), layout="constrained")
    axis = figure.subplots()
    axis.plot([0, 1], [0, 1], marker="o")
    axis.set_title(NAME)
    return figure


FIGURE = Figure(
    "my-figure", NAME, "What it shows.", "From 0 to 1.", Numbers(("name", "x"), [(NAME, 1.5), ("b", float("nan"))]), drawing
)


def test_a_figure_inside_the_page():
    html = inline(FIGURE)
    root = ET.fromstring(html)
    assert root.tag == "svg" and root.get("role") == "img" and "http" not in html and "xmlns" not in html
    assert root.find("title").text == clean(NAME) and root.find("desc").text == "What it shows. From 0 to 1."
    assert root.get("aria-labelledby").split() == [root.find("title").get("id"), root.find("desc").get("id")]
    assert clean(NAME) in ["".join(e.itertext()) for e in root.iter("text")]
    ids = [e.get("id") for e in root.iter() if e.get("id")]
    assert len(ids) == len(set(ids)) and all(i.startswith("my-figure-") for i in ids)
    pointed = re.findall(r'(?:href="|url\()#([^")]+)', html)
    assert pointed and set(pointed) <= set(ids)
    assert "currentColor" in html and "var(--line)" in html and "#000000" not in html and "font-family" not in html


@pytest.mark.slow
def test_a_figure_as_files(tmp_path):
    svg, png, numbers = save(FIGURE, tmp_path / "new")
    assert ET.parse(svg).getroot().tag == "{http://www.w3.org/2000/svg}svg"
    assert png.read_bytes().startswith(b"\x89PNG") and png.stat().st_size > 2000
    with numbers.open(newline="", encoding="utf-8") as file:
        assert list(csv.reader(file)) == [["name", "x"], [clean(NAME), "1.5"], ["b", ""]]
    before = [p.read_bytes() for p in (svg, png, numbers)]
    assert [p.read_bytes() for p in save(FIGURE, tmp_path / "new")] == before
