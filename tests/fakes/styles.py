"""Records of `bench generalisation` of known numbers."""

from pathlib import Path

from harness.records.runs import Run

TASKS = ("a", "b", "c", "d")


def run(seed=0, strategy="finetune", gain=20.0, ood=8.0, elsewhere=-3.0, measured=True, start="initial"):
    """A run: task i has 30 + 10 i points at first and silhouette i / 10. Training adds `gain` + i, and `ood` + seed."""
    names = [("test", t) for t in TASKS] + [("heldout", "kept")] + [("heldout", f"{t}-ood") for t in TASKS]
    first = {(stream, t): 30.0 + 10 * (i % 5) for i, (stream, t) in enumerate(names)}
    cells = {(0, stream, t): first[stream, t] for stream, t in names}
    for j, task in enumerate(TASKS):
        for stream, t in names:
            change = gain + j if t == task else ood + seed if t == f"{task}-ood" else 0.0 if t.endswith("-ood") else elsewhere
            cells[j + 1, stream, t] = first[stream, t] + change
    measures = [(j + 1, "silhouette", j / 10) for j in range(4)] + [(j + 1, "correct_pair", -abs(j - 1.2)) for j in range(4)]
    identity = {
        "benchmark": "generalisation", "edition": "mini", "order": "default", "tasks": list(TASKS), "strategy": strategy,
        "heldout": ["kept", *(f"{t}-ood" for t in TASKS)], "targets": [f"{t}-ood" for t in TASKS], "seed": seed,
        "options": {"start": start}, "protocol": "task", "model": "tiny",
    }  # fmt: skip
    return Run(Path("x"), {"identity": identity, "status": "finished", "key": "k"}, cells, measures if measured else [], {})
