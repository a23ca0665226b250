"""Tables of case studies from made-up records."""

from harness.records.runs import Run
from tools.case_tables import case_rows, page_table


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
