"""Train on three domains in turn and print the accuracy matrix: the Python API in one page.

python examples/python_api.py [--iterations N]
"""

import argparse

import numpy as np

import models
from benchmarks import make
from metrics import matrix
from metrics.plugins import AccuracyMatrix
from strategies import Strategy

TASKS = ["nature", "shapes", "mnist"]


def main(arguments: list[str] | None = None) -> None:
    """Run the example."""
    parser = argparse.ArgumentParser(description="Train on three domains in turn and print the accuracy matrix.")
    parser.add_argument("--iterations", type=int, default=40, help="updates per task")
    options = parser.parse_args(arguments)

    encoder = models.load("tiny")
    # An Avalanche CLScenario with the streams train, val, test and heldout.
    scenario = make("stream", tasks=TASKS, heldout=["digits"], encoder=encoder)
    accuracy = AccuracyMatrix()
    strategy = Strategy(
        encoder=encoder,
        options=Strategy.Options(iterations=options.iterations, lr=4e-4, batch_size=32, warmup=4),
        metrics=[accuracy],
    )

    tests = [*scenario.test_stream, *scenario.streams["heldout"]]
    strategy.eval(tests)  # row 0: zero-shot
    for experience in scenario.train_stream:
        strategy.train(experience, eval_streams=[])
        strategy.eval(tests)

    for after, row in accuracy.rows.items():
        print(after, {task: f"{cell.percent:.1f}" for (_, task), cell in row.items()})
    # R[j, i]: accuracy on task i after training task j, without row 0
    R = np.array([[accuracy.rows[j]["test", task].percent for task in TASKS] for j in range(1, len(TASKS) + 1)])
    print(f"Transfer {matrix.transfer(R):.1f}, Average {matrix.average(R):.1f}, Last {matrix.last(R):.1f}")


if __name__ == "__main__":
    main()
