"""The table of the broad suite: new cells keep the others, and the sentence on drawing."""

import csv

from benchmarks.mini.domain_table import ENTRIES
from tools import broad_table


def test_new_cells_keep_the_others(tmp_path, monkeypatch):
    monkeypatch.setattr(broad_table, "TABLE", tmp_path / "table.csv")
    broad_table.write({"shirts": {"draw_seconds": "2.0"}})
    broad_table.write({"shirts": {"zero_shot": "63.2"}, "nature": {"zero_shot": "65.9"}, "clocks": {"draw_seconds": "1.0"}})
    with (tmp_path / "table.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["task"] for row in rows] == ["nature", "clocks", "shirts"], "the mini domains first, then the table's order"
    assert rows[2]["draw_seconds"] == "2.0" and rows[2]["zero_shot"] == "63.2" and rows[1]["zero_shot"] == ""
    assert "nature" in ENTRIES and tuple(rows[0]) == broad_table.COLUMNS


def test_the_sentence_counts_the_drawn_tasks_only():
    sizes = {"train": "100", "val": "20", "test": "30", "ood": "50"}
    rows = [{"origin": "drawn", "draw_seconds": "1.4", **sizes}, {"origin": "mini", "draw_seconds": "", **sizes}]
    rows.append({"origin": "drawn", "draw_seconds": "1.4", **sizes})
    sentence = broad_table.drawing_sentence(rows)
    assert sentence.startswith("Drawing the 2 drawn tasks (400 images) takes 3 seconds of processor time on one core.")
    assert sentence.endswith("take 3 MB."), "400 x 6,912 bytes"
