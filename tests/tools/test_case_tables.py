"""Tables of case studies from made-up records."""

from harness.records.runs import Run
from harness.records.transfer import Effect, MeanEffect
from tools import case_tables
from tools.case_tables import case_rows, page_table, paint_rows, transfer_rows, transfer_table


def run(seed, patched, status="finished"):
    counts = {"a": [2, patched, 9], "b": [1, 1, 1], "new": [1, 3, 3], "kept": [9, 9, 6]}
    curve = [
        {"stream": "test" if name in "ab" else "heldout", "task": name, "points": [[0.0], [0.5], [1.0]], "correct": c, "n": 10}
        for name, c in counts.items()
    ]
    identity = {
        "benchmark": "toy", "edition": "mini", "model": "tiny", "strategy": "paint-single", "seed": seed,
        "tasks": ["a", "b"], "heldout": ["new", "kept"], "targets": ["new"],
    }  # fmt: skip
    searches = [{"task": "a", "chosen": [0.5], "curve": curve}]
    return Run(None, {"status": status, "identity": identity, "searches": searches})


def test_rows_are_means_over_seeds():
    rows = case_rows([run(0, 6), run(1, 8), run(2, 10, "interrupted")])
    assert [(row["test_set"], row["role"], row["seeds"]) for row in rows] == [
        ("a", "patched", 2), ("new", "target", 2), ("kept", "supported", 2)
    ]  # fmt: skip
    first = rows[0]
    assert (first["zero_shot"], first["patched"], first["change"], first["alpha"]) == ("20.0", "70.0", "50.0", "0.50")
    # 50 +- t(0.975, 1) x 14.142 / sqrt(2), the t quantile being 12.706.
    assert (first["low"], first["high"]) == ("-77.1", "177.1")


def test_a_page_names_the_patched_task_only_if_there_are_several():
    rows = [{name: str(value) for name, value in row.items()} for row in case_rows([run(0, 6), run(1, 8)])]
    headings, body = page_table(rows)
    assert headings[0] == "test set" and body[1][:3] == ["new", "target", "10"] and body[1][-1] == "+20.0 (+20.0 to +20.0)"
    headings, body = page_table([*rows, {**rows[0], "task": "b"}])
    assert headings[:2] == ["patched task", "alpha"] and body[-1][0] == "b"
    [single] = case_rows([run(0, 6)])[:1]
    assert page_table([single])[1][0][-1] == "+40.0"


def study(benchmark, strategy, tasks=("a", "b")):
    identity = {"benchmark": benchmark, "strategy": strategy, "seed": 0, "tasks": list(tasks), "heldout": ["kept"]}
    cells = {(j, "test", t): 10.0 * (j + 1) + i for j in range(3) for i, t in enumerate(tasks)}
    cells |= {(j, "heldout", "kept"): 50.0 - j for j in range(3)}
    return Run(None, {"status": "finished", "identity": identity}, cells)


def test_transfer_has_a_row_per_pair_and_the_means(monkeypatch):
    def effect(patched, test, change, adjusted):
        return Effect(patched, test, False, 50.0, 51.0, 50.0 + change, change, change - 1, change + 1, 0.01, adjusted, 10, 1)

    found = [effect("a", "b", 3.0, 0.02), effect("b", "a", -2.0, 0.5)]
    monkeypatch.setattr(case_tables, "effects", lambda runs: found if runs else [])
    monkeypatch.setattr(case_tables, "mean_effect", lambda runs, pairs: MeanEffect(0.5, -1.0, 2.0, len(pairs)))
    rows = transfer_rows([study("transfer-study", "paint-single"), study("mtil", "paint-single")])
    assert [(r["patched_task"], r["test"], r["change"]) for r in rows] == [
        ("a", "b", "3.0"), ("b", "a", "-2.0"), ("mean of domains", "2 pairs", "0.5")
    ]  # fmt: skip
    written = [{name: row.get(name, "") for name in case_tables.TRANSFER_COLUMNS} for row in rows]
    assert transfer_table(written)[1] == [
        ["mean of domains", "2 pairs", "+0.5 (-1.0 to +2.0)", "-"], ["a", "b", "+3.0 (+2.0 to +4.0)", "helps"]
    ]  # fmt: skip
    assert transfer_rows([study("mtil", "paint-single")]) == []


def test_paints_main_table_is_that_of_the_last_row():
    rows = {row["test_sets"]: row for row in paint_rows([study("paint", "paint-sequential"), study("mtil", "paint-joint")])}
    # Tasks: row 0 is 10 and 11, row 2 is 30 and 31; no model was fine-tuned on one task only.
    assert (rows["tasks"]["zero_shot"], rows["tasks"]["patched"], rows["tasks"]["fine_tuned"]) == ("10.5", "30.5", "")
    assert (rows["supported"]["patched"], rows["supported"]["relative_patched"]) == ("48.0", "96.0")
    assert rows["tasks"]["seeds"] == 1 and paint_rows([]) == []
