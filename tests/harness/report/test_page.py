"""The page and its figures, from one set of records."""

import base64
import re
from urllib.parse import unquote

import pytest

from harness import report
from harness.records.files import read_csv
from harness.records.runs import read
from harness.report.sections import sections

NAME = "<script>alert('x')</script>"


@pytest.mark.slow
def test_the_page_needs_no_network(elements, written):
    text = (written / "report.html").read_text(encoding="utf-8")
    assert "http" not in text.replace("http-equiv", "") and "@import" not in text and "url(#" in text
    assert not re.search(r"url\((?!#)", text)
    for tag, attributes in elements.tags:
        assert tag not in ("link", "img", "iframe", "object", "embed", "base", "form") and "src" not in attributes, tag
        assert attributes.get("href", "#").startswith(("#", "data:text/csv;base64,", "../", "board/"))
    [policy] = [a["content"] for t, a in elements.tags if t == "meta" and a.get("http-equiv") == "Content-Security-Policy"]
    assert policy.startswith("default-src 'none'") and "script-src 'sha256-" in policy


def test_names_are_text(elements, evil):
    assert [t for t, _ in elements.tags].count("script") == 1
    assert not any(name.startswith("on") for _, attributes in elements.tags for name in attributes)
    shown = "".join(elements.text)
    assert evil in shown and f"weird/{NAME}" in shown and f"RuntimeError: {NAME}" in shown


def test_links_to_records_and_to_the_leaderboard_and_back(elements, written, parse):
    links = [a["href"] for _, a in elements.tags if a.get("class") == "record"]
    assert len(links) == 6 and all((written / unquote(link)).name == "run.json" for link in links), "also of the unfinished run"
    assert all((written / unquote(link)).is_file() for link in links)
    assert "board/leaderboard.html" in [a.get("href") for _, a in elements.tags]
    board = parse((written / "board" / "leaderboard.html").read_text(encoding="utf-8"))
    assert "../report.html" in [a.get("href") for _, a in board.tags]


def test_identifiers_are_unique_and_links_have_targets(elements):
    ids = [a["id"] for _, a in elements.tags if "id" in a]
    assert len(ids) == len(set(ids))
    links = {a["href"][1:] for _, a in elements.tags if a.get("href", "").startswith("#")}
    assert links <= set(ids)
    for tag, attributes in elements.tags:
        if tag == "svg":
            assert attributes["role"] == "img" and set(attributes["aria-labelledby"].split()) <= set(ids)


def test_the_order_of_the_page(elements):
    shown = "".join(elements.text)
    parts = ["Best Last: finetune", "Accuracy matrices", "finetune, seed 0", "Leaderboard: mtil, mini edition, Order I"]
    parts += ["Options", "Learning against forgetting", "Accuracy over time", "IIMM against gain", "IIMM against forgetting"]
    parts += ["Alpha curves", "Losses", "Cost", "Unfinished runs"]
    places = [shown.index(part) for part in parts]
    assert places == sorted(places)
    # Last, seeds 0 to 2: (40 + 30 - 10 + 41 + 30 - 5 + 42 + 30) / 3 = 66, and one point more a seed.
    assert "2 trained methods, 1 to 3 seeds each" in shown and "Best Last: finetune 67.0 ± 1.0 (n = 3), then" in shown
    assert "Best Average: finetune 59.4 ± 0.7 (n = 3), then weird/" in shown and "52.1 (n = 1)" in shown
    assert "Zero-shot, without training: Last 41.0" in shown


def test_the_data_of_the_figures(written):
    folder, name = written / "figures", "mtil-mini-edition-order-i"
    learning = {row["method"]: row for row in read_csv(folder / f"{name}-learning.csv")}
    # Gains of 30, 31 and 32; task 1 falls by 10 and task 2 by 5. t of 0.975 with two degrees of freedom is 4.3027.
    of = learning["finetune"]
    assert [float(of[k]) for k in ("learning", "learning_sd", "forgetting", "n")] == [31, 1, 7.5, 3]
    assert float(of["learning_high"]) == pytest.approx(31 + 4.30265 / 3**0.5, rel=1e-4)
    assert learning["zero-shot"]["learning_low"] == "" and float(learning["zero-shot"]["learning"]) == 0
    curve = [r for r in read_csv(folder / f"{name}-curves.csv") if r["method"] == "finetune" and r["task"] == "red"]
    assert [(float(r["accuracy"]), r["n"]) for r in curve] == [(40, "3"), (71, "3"), (66, "3"), (61, "3")]
    gains = [r for r in read_csv(folder / f"{name}-iimm-gain.csv") if r["method"] == "finetune"]
    assert [(r["iimm"], r["gain"]) for r in gains] == [("0.3", "31"), ("0.4", "31"), ("0.5", "31")]
    lost = [r for r in read_csv(folder / f"{name}-iimm-forgetting.csv") if r["method"] == "finetune"]
    # Of three others (two tasks, one held out) none, one and two fall by 5.
    assert [float(r["forgetting"]) for r in lost] == pytest.approx([0, 5 / 3, 10 / 3], rel=1e-5)
    assert float(lost[0]["slope"]) == pytest.approx(50 / 3, rel=1e-5)
    losses = [r for r in read_csv(folder / f"{name}-losses.csv") if r["method"] == "finetune"]
    assert [float(r["value"]) for r in losses if r["term"] == "loss"][:2] == [1.5, 1.0]
    assert len([r for r in losses if r["term"] == "extra"]) == 6
    assert float(read_csv(folder / f"{name}-cost.csv")[0]["train_seconds"]) == 10


def test_every_figure_has_three_files_and_its_csv_in_the_page(elements, written):
    files = list((written / "figures").iterdir())
    stems = {p.stem for p in files}
    assert len(files) == 3 * len(stems) and {p.suffix for p in files} == {".svg", ".png", ".csv"}
    links = {a["download"]: a["href"] for _, a in elements.tags if "download" in a}
    assert set(links) == {f"{stem}.csv" for stem in stems}
    for name, link in links.items():
        assert base64.b64decode(link.partition(",")[2]) == (written / "figures" / name).read_bytes()
    kinds = ("learning", "curves", "iimm-gain", "iimm-forgetting", "losses", "cost", "alpha", "matrix")
    assert [sum(kind in stem for stem in stems) for kind in kinds] == [1, 1, 1, 1, 1, 1, 1, 6]


def test_matrices_are_heat_maps_with_a_zero_shot_row(elements):
    at = [i for i, (t, a) in enumerate(elements.tags) if t == "table" and a.get("class") == "heat"]
    assert len(at) == 6
    cells = [a.get("class") for t, a in elements.tags[at[0] : at[1]] if t == "td"]
    # 40 percent of 40 steps is 16; task 1, just trained, 70 percent.
    assert cells[0] == "h16" and cells[4] == "h28 trained" and sum("trained" in c for c in cells) == 3
    assert [t for t, _ in elements.tags].count("details") >= 6


@pytest.mark.slow
def test_the_same_records_give_the_same_page(results, written, tmp_path):
    again = report.write([results], tmp_path / "again.html", leaderboard=tmp_path / "board" / "leaderboard.html")
    assert again.read_bytes() == (written / "report.html").read_bytes()


def test_methods_are_the_rows_of_the_leaderboard(results, tmp_path, record):
    [section] = sections(read([results]))
    assert [(m.label, len(m.runs)) for m in section.methods] == [("finetune", 3), (f"weird/{NAME}", 1), ("zero-shot", 1)]
    assert [run.identity["seed"] for run in section.methods[0].runs] == [0, 1, 2]
    for order in ("I", "II"):
        for seed in (0, 1):
            record(tmp_path / "a;b", "finetune", seed, order=order)
    made = sections(read([tmp_path, tmp_path]))
    assert [[(m.label, len(m.runs), m.derived) for m in section.methods] for section in made] == [
        [("finetune", 2, False), ("zero-shot", 2, True)]
    ] * 2
