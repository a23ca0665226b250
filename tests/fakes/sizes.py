"""Runs of `paint-single` with models of several sizes, and counts of 100 images per test set. Loaded by path."""

from harness.records.runs import Run


def run(model, parameters, seed, a, b, kept, alike=(0.9, 0.99), **changes):
    """Return a run that patches a and b. `a`, `b` and `kept` are the correct answers unpatched, patched and fine-tuned.

    `kept` is that of the supported task for both patches. `alike` is the CKA on the patched task and the cosine of weights.
    """
    searches = []
    for task, counts in (("a", a), ("b", b)):
        rows = [("test", task, counts, 0.0), ("heldout", "s", kept, -0.05)]
        curve = [
            {"stream": stream, "task": name, "points": [[0.0], [0.5], [1.0]], "correct": list(answers), "n": 100,
             **({} if alike[0] is None else {"cka": alike[0] + more + 0.01, "cka_debiased": alike[0] + more})}
            for stream, name, answers, more in rows
        ]  # fmt: skip
        searches.append({"task": task, "chosen": [0.5], "curve": curve, "weight_cosine": alike[1]})
    identity = {
        "benchmark": "paint", "edition": "mini", "order": "default", "strategy": "paint-single", "model": model, "seed": seed,
        "pretrained": None, "options": {"lr": 1.0}, "tasks": ["a", "b"], "heldout": ["s"], "weights_sha256": model,
        "protocol": "task",
    } | changes.pop("identity", {})  # fmt: skip
    document = {
        "status": "finished",
        "identity": identity,
        "searches": searches,
        "parameters": parameters,
        "changes": {"lr": 1},
    }
    return Run(None, {**document, **changes})


def three(large=(28, 38, 78), alike=None):
    """Return two seeds of three sizes. The large model's patched answers on a, b and s are `large`."""
    return [
        run(f"models/{name}", parameters, seed, (20, a + seed, 40), (30, b, 50), (80, s, 60), alike or each)
        for name, parameters, (a, b, s), each in (
            ("small", 1_000_000, (28, 34, 70), (0.8, 0.97)),
            ("middle", 4_000_000, (28, 38, 74), (0.85, 0.98)),
            ("large", 16_000_000, large, (0.9, 0.99)),
        )
        for seed in (0, 1)
    ]
