"""The figure of models of several sizes."""

import pytest

from harness.report.figure import inline
from harness.report.scale_figure import scale
from harness.report.sections import Method, Section


def section(runs):
    by_model = {}
    for run in runs:
        by_model.setdefault(run.identity["model"], []).append(run)
    return Section(
        "t", "s", tuple(Method(model, {"strategy": "paint-single"}, tuple(each)) for model, each in by_model.items())
    )


def test_values_by_number_of_parameters(sizes_of):
    figure = scale(section(sizes_of.three()))
    rows = {(row[0], row[2]): row for row in figure.numbers.rows}
    # Gains of 8 and 8.5 of 20 points.
    assert rows["large", "gain_kept"][:4] == ("large", 16_000_000, "gain_kept", pytest.approx(41.25))
    assert rows["large", "gain_kept"][-1] == 2 and rows["small", "weight_cosine"][3] == pytest.approx(0.97)
    assert figure.description.startswith(
        "1.0 M: gain_kept 31.25, supported_kept 87.5, cka 0.8, cka_supported 0.75, weight_cosine 0.97; 4.0 M: "
    )
    svg = inline(figure)
    assert all(f">{text}</text>" in svg for text in ("1.0M", "16.0M", "CKA", "supported tasks", "parameters"))


def test_one_seed_has_no_interval(sizes_of):
    figure = scale(section(sizes_of.three()[::2]))
    assert figure.numbers.rows[0][-1] == 1 and figure.numbers.rows[0][4] != figure.numbers.rows[0][4] and inline(figure)


def test_one_size_has_no_figure(sizes_of):
    assert scale(section(sizes_of.three()[:2])) is None and scale(section([])) is None


def test_records_without_similarity_are_drawn_without_it(sizes_of):
    figure = scale(section(sizes_of.three(alike=(None, None))))
    assert figure.description.startswith("1.0 M: gain_kept 31.25, supported_kept 87.5; 4.0 M: ") and inline(figure)
