"""Thin Avalanche plugins: they collect what the pure functions need, and publish what those return.

Avalanche calls a metric's callbacks by name and ignores names it does not know, so a misspelt callback is silent; the tests
check that each of these fires.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from avalanche.evaluation import PluginMetric
from avalanche.evaluation.metric_results import MetricValue

from benchmarks.data.sampling import sample
from metrics.cka import linear_cka
from metrics.embedding import Embedded, embed, embed_images
from metrics.evaluate import Accuracy, count_correct
from metrics.matrix import retention
from metrics.suite import AFTER_TRAINING, RUN_DEFAULTS, measure_all

Row = dict[tuple[str, str], Accuracy]


class Measure(NamedTuple):
    """One measured value: before or after which experience (1..T), on which task, over how many images."""

    when: str
    experience: int
    task: str
    measure: str
    value: float
    n: int


class AccuracyMatrix(PluginMetric[dict]):
    """The accuracy matrix: `rows[after][stream, task]` is an `Accuracy`; after 0 is zero-shot.

    Filled by `strategy.eval(experiences)`; counts stay on the device until an experience has been evaluated.
    """

    def __init__(self) -> None:
        super().__init__()
        self.rows: dict[int, Row] = {}
        self._correct = torch.zeros(())
        self._n = 0

    def reset(self) -> None:
        self.rows.clear()

    def result(self) -> dict[int, Row]:
        return self.rows

    def before_eval(self, strategy: Any) -> None:
        self.rows.setdefault(strategy.trained, {})

    def before_eval_exp(self, strategy: Any) -> None:
        self._correct, self._n = torch.zeros((), dtype=torch.int64, device=strategy.device), 0

    def after_eval_iteration(self, strategy: Any) -> None:
        self._correct += count_correct(strategy.mb_output, strategy.mb_y)
        self._n += len(strategy.mb_y)

    def after_eval_exp(self, strategy: Any) -> MetricValue:
        stream, task = strategy.experience.origin_stream.name, strategy.experience.domain.name
        cell = Accuracy(int(self._correct), self._n)
        self.rows[strategy.trained][stream, task] = cell
        return MetricValue(self, f"Accuracy/{stream}/{task}", cell.percent, strategy.clock.train_iterations)


class ZeroShotRetention(PluginMetric[dict]):
    """Retention after every evaluation of the whole test stream: `rows[after]` is (percent, tasks counted).

    Reads the cells that `AccuracyMatrix` has just filled, so it must stand after it in the list of metrics.
    """

    def __init__(self, accuracy: AccuracyMatrix, tasks: Sequence[str], heldout: Sequence[str] = ()):
        super().__init__()
        self.rows: dict[int, tuple[float, int]] = {}
        self._accuracy = accuracy
        self._tasks = list(tasks)
        self._heldout = list(heldout)

    def reset(self) -> None:
        self.rows.clear()

    def result(self) -> dict[int, tuple[float, int]]:
        return self.rows

    def update(self, after: int) -> bool:
        """Compute row `after` from the accuracy matrix; False, and no row, while cells are missing or for row 0."""
        zero, now = self._accuracy.rows.get(0, {}), self._accuracy.rows.get(after, {})
        wanted = [("test", t) for t in self._tasks] + [("heldout", h) for h in self._heldout]
        if after == 0 or any(key not in now or key not in zero for key in wanted):
            return False
        self.rows[after] = retention_row(zero, now, after, self._tasks, self._heldout)
        return True

    def after_eval(self, strategy: Any) -> list[MetricValue] | None:
        if not self.update(strategy.trained):
            return None
        value, count = self.rows[strategy.trained]
        x = strategy.clock.train_iterations
        return [MetricValue(self, "ZeroShotRetention", value, x), MetricValue(self, "ZeroShotRetention/n", count, x)]


def retention_row(zero: Row, now: Row, after: int, tasks: Sequence[str], heldout: Sequence[str]) -> tuple[float, int]:
    """`metrics.matrix.retention` for the one row `after` (1..T): (percent, tasks counted)."""
    size = len(tasks)
    matrix = np.zeros((size, size))
    matrix[after - 1] = [now["test", t].percent for t in tasks]
    held = np.zeros((size, len(heldout)))
    held[after - 1] = [now["heldout", h].percent for h in heldout]
    result = retention(matrix, [zero["test", t].percent for t in tasks], held, [zero["heldout", h].percent for h in heldout])
    return float(result.rows[after - 1]), int(result.counts[after - 1])


class MeasuresBeforeTraining(PluginMetric[list]):
    """Measures of each experience before it is trained, by the names of `metrics.suite`, and how far its features moved after.

    Before: on the current model, one pass over a seeded sample of the training split with the evaluation transform and one
    prompt per class (the first template); with `iimm` also `iimm_zero_shot`, the value on the initial model. After: `cka`,
    linear CKA between the sample's features by the current and by the initial model. A measure that is undefined on a task is
    NaN. `values` holds the measures in the order they were taken; `seconds` is what the last pass after training took.

    The initial model's features of every task are kept (4 d bytes an image; twice that behind an adapter). While the weights
    are still those, nothing passes again: not before the first experience, and never through a tower that does not train.
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
        self.values.clear()
        self.seconds = 0.0

    def result(self) -> list[Measure]:
        return self.values

    def measure_initial(self, strategy: Any, experiences: Sequence[Any]) -> None:
        """See all tasks while the model is still the initial one; `strategy.prepare_run()` comes first."""
        if not (self._drift or "iimm" in self._names):
            return
        experiences = [experience for experience in experiences if experience.domain.train is not None]
        for done, experience in enumerate(experiences):
            strategy.progress(done, len(experiences), f"measure {experience.domain.name}")
            embedded = self._initial[experience.task_label] = self._embed(strategy, experience)
            self._zero_shot[experience.task_label] = measure_all(embedded.features, ["iimm"])["iimm"].value

    def before_training_exp(self, strategy: Any) -> list[MetricValue] | None:
        experience = strategy.experience
        label = experience.task_label
        if experience.domain.train is None or not self._names:
            return None
        features = self._embed(strategy, experience, self._initial.get(label)).features
        found = {name: value.value for name, value in measure_all(features, self._names).items()}
        if "iimm" in found and label in self._zero_shot:
            terms = {name: value for name, value in found.items() if name.startswith("iimm")}
            found = {**terms, "iimm_zero_shot": self._zero_shot[label], **found}
        return self._publish(strategy, "before", found, len(features.labels))

    def after_training_exp(self, strategy: Any) -> list[MetricValue] | None:
        began, experience = time.perf_counter(), strategy.experience
        initial = self._initial.get(experience.task_label)
        if initial is None or not self._drift:
            return None
        now, then = embed_images(strategy.encoder, self._sample_of(experience), initial), initial.features.image_features
        try:
            value = linear_cka(then.double().numpy(), now.double().numpy())
        except ValueError:
            value = math.nan
        published = self._publish(strategy, "after", {"cka": value}, len(now))
        self.seconds = time.perf_counter() - began
        return published

    def _publish(self, strategy: Any, when: str, found: dict[str, float], n: int) -> list[MetricValue]:
        number, task = strategy.experience.current_experience + 1, strategy.experience.domain.name
        self.values += [Measure(when, number, task, name, value, n) for name, value in found.items()]
        x = strategy.clock.train_iterations
        published = [MetricValue(self, f"{name}/{task}", value, x) for name, value in found.items()]
        return [*published, MetricValue(self, f"measured_images/{task}", n, x)]

    def _embed(self, strategy: Any, experience: Any, known: Embedded | None = None) -> Embedded:
        return embed(strategy.encoder, self._sample_of(experience), experience.domain.prompts(0), known)

    def _sample_of(self, experience: Any) -> Any:
        return sample(experience.domain.train, self._sample, self._seed)
