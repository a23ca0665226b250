"""Rows and page tables of scale.csv from records of known numbers."""

import csv

from tools import case_tables
from tools.scale_rows import ALIKE, COLUMNS, DIFFERENCE, KEPT, scale_rows, scale_table


def test_rows_by_size_and_task_then_the_difference(sizes_of):
    rows = scale_rows(sizes_of.three())
    assert [(row.get("model"), row["task"]) for row in rows] == [
        *((model, task) for model in ("small", "middle", "large") for task in ("a", "b", "mean")), (None, DIFFERENCE)
    ]  # fmt: skip
    assert (rows[0]["parameters"], rows[0]["zero_shot"], rows[0]["patched"], rows[0]["alpha"]) == (
        1_000_000,
        "20.0",
        "28.5",
        "0.50",
    )
    # Patches gain 8 and 9 of 20 points.
    assert rows[0]["gain_kept"] == "42.5" and "gain_kept_low" not in rows[0]
    # 12 and 11.75: 11.875 +- 12.706 x 0.125.
    mean = rows[2]
    assert (mean["distance"], mean["distance_low"], mean["distance_high"]) == ("11.9", "10.3", "13.5")
    assert (rows[-1]["distance"], rows[-1]["seeds"], rows[-1]["weight_cosine"]) == ("-5.0", 2, "0.0200")
    assert set().union(*rows) == set(COLUMNS)
    assert scale_rows(sizes_of.three()[:2]) == []


def test_the_pages_tables(sizes_of):
    rows = [{name: str(row.get(name, "")) for name in COLUMNS} for row in scale_rows(sizes_of.three())]
    headings, body = scale_table(rows, KEPT)
    assert headings[:3] == ["parameters", "seeds", "distance, points"]
    assert [row[:3] for row in body] == [
        ["1.0 M", "2", "11.9 (10.3 to 13.5)"], ["4.0 M", "2", "8.9 (7.3 to 10.5)"], ["16.0 M", "2", "6.9 (5.3 to 8.5)"],
        [DIFFERENCE, "2", "-5.0 (-5.0 to -5.0)"],
    ]  # fmt: skip
    alike = scale_table(rows, ALIKE)[1]
    assert alike[0][2] == "0.800 (0.800 to 0.800)" and alike[-1][-1] == "+0.0200 (+0.0200 to +0.0200)"
    one = [{name: str(row.get(name, "")) for name in COLUMNS} for row in scale_rows(sizes_of.three()[::2])]
    assert scale_table(one, KEPT)[1][0][2] == "12.0"


def test_other_tables_leave_these_runs_out(sizes_of, tmp_path, monkeypatch):
    shipped = sizes_of.run("tiny", 9, 0, (20, 28, 40), (30, 34, 50), (80, 70, 60))
    runs = [*sizes_of.three(), shipped]
    for number, run in enumerate(runs):
        run.document["key"] = str(number)
    monkeypatch.setattr(case_tables, "FOLDER", tmp_path)
    monkeypatch.setattr(case_tables, "read", lambda roots: runs)
    monkeypatch.setattr("sys.argv", ["case_tables", "results"])
    monkeypatch.setattr(case_tables, "paint_rows", lambda given: [{"test_sets": len(given)}])
    case_tables.main()
    tables = {path.stem: list(csv.DictReader(path.read_text().splitlines())) for path in tmp_path.iterdir()}
    assert {row["model"] for row in tables["cases"]} == {"tiny"} and tables["paint"][0]["test_sets"] == "1"
    assert {row["model"] for row in tables["scale"]} == {"small", "middle", "large", ""}
