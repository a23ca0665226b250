"""Write a method, run it next to plain fine-tuning and compare what both forget.

python examples/own_method.py [--iterations N]

From the command line, the same class runs as `python cli.py bench mtil --strategy examples/own_method.py:SlowText`.
"""

import argparse
from dataclasses import dataclass

from torch import Tensor

import models
from benchmarks import make
from metrics.plugins import AccuracyMatrix
from strategies import Strategy
from strategies.engine.strategy import Batch

TASKS = ["nature", "shapes"]


class SlowText(Strategy):
    """Fine-tuning with a penalty on the change of the class prompts' features within a task.

    Loss: cross-entropy + weight * mean over the task's classes of |t - t_start|^2.
    """

    @dataclass(frozen=True)
    class Options(Strategy.Options):
        """Options of SlowText."""

        weight: float = 10.0

    def before_experience(self) -> None:
        """Encode the task's prompts with the weights that the task starts from."""
        super().before_experience()
        self.tokens = self.encoder.tokenize(self.experience.domain.prompts(0))
        self.start = self.encoder.encode_texts(self.tokens).detach()

    def compute_loss(self, batch: Batch) -> Tensor:
        """Return cross-entropy plus the penalty."""
        drift = (self.encoder.encode_texts(self.tokens) - self.start).square().sum(dim=1).mean()
        self.log(drift=drift)
        loss: Tensor = super().compute_loss(batch) + self.options.weight * drift
        return loss


def run(method: type[Strategy], iterations: int) -> AccuracyMatrix:
    """Train a method on the tasks in turn and return its accuracy matrix."""
    encoder = models.load("tiny")
    scenario = make("stream", tasks=TASKS, heldout=["digits", "objects"], encoder=encoder)
    accuracy = AccuracyMatrix()
    options = method.Options(iterations=iterations, lr=4e-4, batch_size=32, warmup=4)
    strategy = method(encoder=encoder, options=options, metrics=[accuracy])
    tests = [*scenario.test_stream, *scenario.streams["heldout"]]
    strategy.eval(tests)
    for experience in scenario.train_stream:
        strategy.train(experience, eval_streams=[])
    strategy.eval(tests)
    return accuracy


def main(arguments: list[str] | None = None) -> None:
    """Run the example."""
    parser = argparse.ArgumentParser(description="Run your own method next to plain fine-tuning.")
    parser.add_argument("--iterations", type=int, default=40, help="updates per task")
    options = parser.parse_args(arguments)
    for method in (Strategy, SlowText):
        rows = run(method, options.iterations).rows
        end = rows[len(TASKS)]
        changes = {task: f"{end[stream, task].percent - cell.percent:+.1f}" for (stream, task), cell in rows[0].items()}
        print(f"{method.__name__}: change from zero-shot, in points: {changes}")


if __name__ == "__main__":
    main()
