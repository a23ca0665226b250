"""Avalanche plugins that collect the inputs of the pure functions and publish their results.

Avalanche calls a metric's callbacks by name and ignores unknown names, so a misspelt callback is silent. The tests check
that each callback here is called.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from typing import Protocol

import numpy as np
import torch
from avalanche.evaluation import PluginMetric
from avalanche.evaluation.metric_results import MetricValue
from torch import Tensor

from benchmarks.data.dataset import ImageDataset
from benchmarks.data.progress import Progress
from benchmarks.data.sampling import sample
from benchmarks.scenario import DomainExperience
from metrics.cka import linear_cka
from metrics.embedding import Embedded, embed, embed_images
from metrics.evaluate import Accuracy, count_correct
from metrics.matrix import retention
from metrics.suite import AFTER_TRAINING, RUN_DEFAULTS, Measure, measure_all
from models.encoder import DualEncoder

Row = dict[tuple[str, str], Accuracy]


class TrainingClock(Protocol):
    """The counter of Avalanche's clock that is read here."""

    train_iterations: int


class MeasuredStrategy(Protocol):
    """The attributes of `strategies.Strategy` that the plugins read."""

    trained: int
    device: torch.device
    encoder: DualEncoder
    experience: DomainExperience
    mb_output: Tensor
    mb_y: Tensor
    clock: TrainingClock
    progress: Progress


class AccuracyMatrix(PluginMetric[dict]):
    """The accuracy matrix: `rows[after][stream, task]` is an `Accuracy`, where `after` 0 is zero-shot.

    `strategy.eval(experiences)` fills it. Counts stay on the device until an experience has been evaluated.
    """

    def __init__(self) -> None:
        super().__init__()
        self.rows: dict[int, Row] = {}
        self._correct = torch.zeros(())
        self._n = 0

    def reset(self) -> None:
        """Remove all rows."""
        self.rows.clear()

    def result(self) -> dict[int, Row]:
        """Return the rows."""
        return self.rows

    def before_eval(self, strategy: MeasuredStrategy) -> None:
        """Start the row of the present number of trained experiences."""
        self.rows.setdefault(strategy.trained, {})

    def before_eval_exp(self, strategy: MeasuredStrategy) -> None:
        """Set the counts of an experience to zero."""
        self._correct, self._n = torch.zeros((), dtype=torch.int64, device=strategy.device), 0

    def after_eval_iteration(self, strategy: MeasuredStrategy) -> None:
        """Count a batch."""
        self._correct += count_correct(strategy.mb_output, strategy.mb_y)
        self._n += len(strategy.mb_y)

    def after_eval_exp(self, strategy: MeasuredStrategy) -> MetricValue:
        """Store the experience's cell and publish it."""
        stream, task = strategy.experience.origin_stream.name, strategy.experience.domain.name
        cell = Accuracy(int(self._correct), self._n)
        self.rows[strategy.trained][stream, task] = cell
        return MetricValue(self, f"Accuracy/{stream}/{task}", cell.percent, strategy.clock.train_iterations)


class ZeroShotRetention(PluginMetric[dict]):
    """Retention after every evaluation of the whole test stream: `rows[after]` is (percent, domains counted).

    It reads the cells that `AccuracyMatrix` has just filled, so it must come after it in the list of metrics.
    """

    def __init__(self, accuracy: AccuracyMatrix, tasks: Sequence[str], heldout: Sequence[str] = ()):
        super().__init__()
        self.rows: dict[int, tuple[float, int]] = {}
        self._accuracy = accuracy
        self._tasks = list(tasks)
        self._heldout = list(heldout)

    def reset(self) -> None:
        """Remove all rows."""
        self.rows.clear()

    def result(self) -> dict[int, tuple[float, int]]:
        """Return the rows."""
        return self.rows

    def update(self, after: int) -> bool:
        """Compute row `after` from the accuracy matrix. Return False, and add no row, for row 0 or while cells are missing."""
        zero, now = self._accuracy.rows.get(0, {}), self._accuracy.rows.get(after, {})
        wanted = [("test", t) for t in self._tasks] + [("heldout", h) for h in self._heldout]
        if after == 0 or any(key not in now or key not in zero for key in wanted):
            return False
        self.rows[after] = retention_row(zero, now, after, self._tasks, self._heldout)
        return True

    def after_eval(self, strategy: MeasuredStrategy) -> list[MetricValue] | None:
        """Publish the row, if it is complete."""
        if not self.update(strategy.trained):
            return None
        value, count = self.rows[strategy.trained]
        x = strategy.clock.train_iterations
        return [MetricValue(self, "ZeroShotRetention", value, x), MetricValue(self, "ZeroShotRetention/n", count, x)]


def retention_row(zero: Row, now: Row, after: int, tasks: Sequence[str], heldout: Sequence[str]) -> tuple[float, int]:
    """Return (percent, domains counted) of `metrics.matrix.retention` for the row `after` (1..T).

    Args:
        zero: the zero-shot accuracies.
        now: the accuracies after `after` tasks.
        after: the number of trained tasks.
        tasks: the tasks of the stream, in order.
        heldout: the held-out domains.
    """
    size = len(tasks)
    matrix = np.zeros((size, size))
    matrix[after - 1] = [now["test", t].percent for t in tasks]
    heldout_matrix = np.zeros((size, len(heldout)))
    heldout_matrix[after - 1] = [now["heldout", h].percent for h in heldout]
    result = retention(
        matrix, [zero["test", t].percent for t in tasks], heldout_matrix, [zero["heldout", h].percent for h in heldout]
    )
    return float(result.rows[after - 1]), int(result.counts[after - 1])


class MeasuresBeforeTraining(PluginMetric[list]):
    """Measures of each experience before it is trained, and the drift of its features by training.

    Before training, the measures named as in `metrics.suite` are taken on the current model. They use one pass over a seeded
    sample of the training split, with the evaluation transform and one prompt per class (the first template). With `iimm` there
    is also `iimm_zero_shot`, the value on the initial model. After training, `cka` is the linear CKA between the sample's
    features by the current and by the initial model. A measure that is undefined on a task is NaN. `values` holds the measures
    in the order in which they were taken. `seconds` is the time of the last pass after training.

    The initial model's features of every task are kept: 4 d bytes per image, or twice that if an adapter follows. While the
    weights are still the initial ones nothing is encoded again. This is so before the first experience, and always for a tower
    that does not train.

    Args:
        names: names of measures.
        sample: number of images per task.
        seed: seed of the sample.
    """

    def __init__(self, names: Sequence[str] = RUN_DEFAULTS, sample: int = 1000, seed: int = 0):
        super().__init__()
        self.values: list[Measure] = []
        self.seconds = 0.0
        self._names = [name for name in names if name not in AFTER_TRAINING]
        self._drift = "cka" in names
        self._sample = sample
        self._seed = seed
        self._initial: dict[int, Embedded] = {}
        self._zero_shot: dict[int, float] = {}

    def reset(self) -> None:
        """Remove all values."""
        self.values.clear()
        self.seconds = 0.0

    def result(self) -> list[Measure]:
        """Return the values."""
        return self.values

    def measure_initial(self, strategy: MeasuredStrategy, experiences: Sequence[DomainExperience]) -> None:
        """Encode all tasks while the model is still the initial one. Call `strategy.prepare_run()` first."""
        if not (self._drift or "iimm" in self._names):
            return
        experiences = [experience for experience in experiences if experience.domain.train is not None]
        for done, experience in enumerate(experiences):
            strategy.progress(done, len(experiences), f"measure {experience.domain.name}")
            embedded = self._initial[experience.task_label] = self._embed(strategy, experience)
            self._zero_shot[experience.task_label] = measure_all(embedded.features, ["iimm"])["iimm"].value

    def before_training_exp(self, strategy: MeasuredStrategy) -> list[MetricValue] | None:
        """Take and publish the measures of the experience."""
        experience = strategy.experience
        label = experience.task_label
        if experience.domain.train is None or not self._names:
            return None
        features = self._embed(strategy, experience, self._initial.get(label)).features
        values = {name: measured.value for name, measured in measure_all(features, self._names).items()}
        if "iimm" in values and label in self._zero_shot:
            terms = {name: value for name, value in values.items() if name.startswith("iimm")}
            values = {**terms, "iimm_zero_shot": self._zero_shot[label], **values}
        return self._publish(strategy, "before", values, len(features.labels))

    def after_training_exp(self, strategy: MeasuredStrategy) -> list[MetricValue] | None:
        """Take and publish the CKA between the initial and the present features of the experience."""
        started, experience = time.perf_counter(), strategy.experience
        initial = self._initial.get(experience.task_label)
        if initial is None or not self._drift:
            return None
        now, then = embed_images(strategy.encoder, self._sample_of(experience), initial), initial.features.image_features
        try:
            value = linear_cka(then.double().numpy(), now.double().numpy())
        except ValueError:
            value = math.nan
        published = self._publish(strategy, "after", {"cka": value}, len(now))
        self.seconds = time.perf_counter() - started
        return published

    def _publish(self, strategy: MeasuredStrategy, when: str, values: dict[str, float], n: int) -> list[MetricValue]:
        """Store values and return them as Avalanche's metric values."""
        number, task = strategy.experience.current_experience + 1, strategy.experience.domain.name
        self.values += [Measure(when, number, task, name, value, n) for name, value in values.items()]
        x = strategy.clock.train_iterations
        published = [MetricValue(self, f"{name}/{task}", value, x) for name, value in values.items()]
        return [*published, MetricValue(self, f"measured_images/{task}", n, x)]

    def _embed(self, strategy: MeasuredStrategy, experience: DomainExperience, known: Embedded | None = None) -> Embedded:
        """Encode the sample of an experience."""
        return embed(strategy.encoder, self._sample_of(experience), experience.domain.prompts(0), known)

    def _sample_of(self, experience: DomainExperience) -> ImageDataset:
        """Return the seeded sample of an experience's training images."""
        train = experience.domain.train
        assert train is not None
        return sample(train, self._sample, self._seed)
