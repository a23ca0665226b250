"""`SavedRun`: the model of a finished run, with its heads and its answers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import torch
from avalanche.benchmarks import CLScenario
from torch import Tensor

from benchmarks.names import SEEN
from harness.config.run_config import RunConfig
from harness.records.runs import Run
from harness.run.heads import Heads
from harness.run.loop import pooled
from harness.saved.benchmark import benchmark_of
from harness.saved.images import Picture, as_list, batches
from metrics.plugins import AccuracyMatrix, Row
from models.classifier import PromptClassifier, Prompts
from models.duplicates import class_keys
from models.encoder import DualEncoder
from models.modes import evaluating
from models.padding import PADDING
from models.registry import UserError, unknown
from models.route import routed
from strategies.engine.strategy import Strategy
from strategies.engine.unsaved_state import StartOver


class Answer(NamedTuple):
    """A class that an image may show: the name of its task, its name, and its probability in 0..1."""

    task: str
    classname: str
    probability: float


class SavedRun:
    """The model of a finished run after one of its tasks, as it was evaluated (`load_run`).

    Attributes:
        encoder: the dual encoder, in evaluation mode.
        classifier: its `PromptClassifier`, which knows the heads of all tasks. Task i has the label i, and held-out domains
            come after the tasks.
        strategy: the method, with its state.
        config: the settings of the run with every default filled in.
        record: the document of run.json.
        folder: the folder of the run.
        tasks: names of the tasks in order.
        heldout: names of the held-out domains.
        after: number of the task after which the model was taken; 0 is the initial model.
    """

    def __init__(
        self, run: Run, config: RunConfig, strategy: Strategy, scenario: CLScenario, heads: Heads, matrix: AccuracyMatrix
    ):
        self.run, self.config, self.strategy = run, config, strategy
        self.encoder: DualEncoder = strategy.encoder
        self.classifier: PromptClassifier = strategy.classifier
        self.record: dict[str, Any] = run.document
        self.folder: Path = run.folder
        self.tasks, self.heldout, self.after = run.tasks, run.heldout, strategy.trained
        self._heads, self._matrix = heads, matrix
        self._experiences = [*scenario.streams["test"], *scenario.streams["heldout"]]
        for experience in self._experiences:
            self.classifier.register_domain(experience.task_label, experience.domain)
        strategy.model.eval()
        strategy.is_training = False

    def __repr__(self) -> str:
        return f"SavedRun({str(self.folder)!r}, {self.config.strategy}, after task {self.after} of {len(self.tasks)})"

    @property
    def own_predict(self) -> bool:
        """True if the method has its own `predict` or `test_features`, so that its answers need more than text features."""
        return self.strategy._predicts

    def heads(self) -> dict[str, Prompts]:
        """Return name, class names, templates and questions of each task, then of each held-out domain, by its name."""
        return {prompts.name: prompts for prompts in (*self._heads.tasks, *self._heads.heldout)}

    def text_features(self, task: str) -> Tensor:
        """Return the head of a task or held-out domain [C, d]: the unit template ensemble, or a probe's trained rows.

        Methods with modules per task, and closed-form ones, need more than this head for their answers (`own_predict`).

        Raises:
            UserError: for a task that the run does not have.
        """
        [label] = self.labels([task])
        with torch.no_grad(), evaluating(self.classifier), routed(self.strategy.test_route()):
            return self.classifier.text_features(label).clone()

    def labels(self, tasks: Sequence[str] | None = None) -> list[int]:
        """Return the labels of tasks and held-out domains in ascending order.

        Args:
            tasks: their names. None: the tasks learned so far, or all tasks if `after` is 0.

        Raises:
            UserError: for a task that the run does not have.
        """
        names = [*self.heads()]
        if not tasks:
            return [*range(self.after or len(self.tasks))]
        for task in tasks:
            if task not in names:
                raise unknown("task of the run", task, names)
        return sorted({names.index(task) for task in tasks})

    def rivals(self, label: int) -> list[int]:
        """Return the labels of the tasks whose classes compete with those of a task under the run's protocol."""
        return list(self._experiences[label].rivals(self.after))

    def classes(self, tasks: Sequence[str] | None = None) -> list[tuple[str, str]]:
        """Return the task and the name of each class, in the order of the columns of `predict`."""
        heads = [*self.heads().values()]
        return [(heads[label].name, name) for label in self.labels(tasks) for name in heads[label].classnames]

    def predict(
        self, images: Picture | Sequence[Picture], tasks: Sequence[str] | None = None, labels: Tensor | None = None
    ) -> Tensor:
        """Return the probabilities of classes for images, through the method's own prediction.

        With one task they are those of the run's protocol "task". With several tasks, all their classes compete. Classes of
        several tasks with equal prompts count once, as that of the first task. In a benchmark with the rule "merge", classes
        with equal names do too.

        Args:
            images: paths, PIL images or uint8 tensors [3, H, W]; one, several, or a tensor [B, 3, H, W].
            tasks: names of the tasks and held-out domains whose classes compete. None: all tasks learned so far.
            labels: for a task with questions (`Domain.groups`), a class of the question of each image [B]. The options of the
                question compete.

        Returns:
            Probabilities [B, C] on the model's device. `classes(tasks)` names the columns.

        Raises:
            UserError: for an image that cannot be read, a task that the run does not have, and a task with questions if
                `labels` is None.
        """
        pictures, chosen = as_list(images), self.labels(tasks)
        asked = [self._experiences[label].domain.name for label in chosen if self.classifier.prompts[label].groups is not None]
        if asked and (labels is None or len(chosen) > 1):
            raise UserError(
                f"Images of {asked[0]} are classified among the options of a question: name only this task, and give a class "
                "of the question of each image as labels."
            )
        rows = torch.zeros(len(pictures), dtype=torch.int64) if labels is None else labels.cpu()
        parts: list[Tensor] = []
        with torch.no_grad(), evaluating(self.classifier), whole_state(self.strategy), self._competing(chosen):
            for pixels in batches(pictures, self.encoder.preprocess):
                done = sum(len(part) for part in parts)
                parts.append(self._logits(pixels, rows[done : done + len(pixels)], chosen).softmax(dim=1))
        return torch.cat(parts)

    def top(self, images: Picture | Sequence[Picture], k: int = 5, tasks: Sequence[str] | None = None) -> list[list[Answer]]:
        """Return the k likeliest classes of each image, the likeliest first.

        Args:
            images: as in `predict`.
            k: number of classes; at most all.
            tasks: as in `predict`.

        Raises:
            UserError: as in `predict`.
        """
        probabilities, classes = self.predict(images, tasks), self.classes(tasks)
        # A class that counts as one of another task has probability 0.
        shown = min(k, int((probabilities > 0).sum(dim=1).min()))
        values, columns = probabilities.topk(max(1, shown), dim=1)
        return [
            [Answer(classes[column][0], classes[column][1], value) for value, column in zip(*row, strict=True)]
            for row in zip(values.tolist(), columns.tolist(), strict=True)
        ]

    def evaluate(self) -> Row:
        """Evaluate the model on the benchmark's test data, as the run did.

        Returns:
            Correct answers and number of images by stream ("test", "heldout") and task: the counts in accuracy.csv after this
            task. In the class-incremental protocol also those of all classes so far.

        Raises:
            UserError: the data is missing, or is not that of the run.
        """
        benchmark = benchmark_of(self.run, self.config, self.encoder)
        with whole_state(self.strategy):
            self.strategy.eval([*benchmark.streams["test"], *benchmark.streams["heldout"]])
        row = dict(self._matrix.rows[self.after])
        if self._heads.protocol == "class" and self.after:
            row["test", SEEN] = pooled(row, self.tasks[: self.after])
        return row

    @contextmanager
    def _competing(self, chosen: Sequence[int]) -> Iterator[None]:
        """Let the classes of these tasks compete, each with a column."""
        classifier, first = self.classifier, chosen[0]
        before, experience = classifier.duplicates, self.strategy.experience
        classifier.duplicates = "merge" if self._heads.duplicates == "merge" else "index"
        classifier.compete(first, chosen[1:])
        self.strategy.experience = self._experiences[first]
        try:
            yield
        finally:
            classifier.duplicates, self.strategy.experience = before, experience
            classifier.compete(first)

    def _logits(self, pixels: Tensor, labels: Tensor, chosen: Sequence[int]) -> Tensor:
        """Return the logits [B, C] of a batch. The batch goes through the method as a test batch of the run does."""
        strategy: Any = self.strategy
        strategy.mbatch = [pixels, labels, torch.full((len(pixels),), chosen[0])]
        strategy._unpack_minibatch()
        logits: Tensor = strategy.forward()
        return logits if len(chosen) == 1 else self._once(logits, chosen)

    def _once(self, logits: Tensor, chosen: Sequence[int]) -> Tensor:
        """Return logits in which a class of several tasks has only its first column, with the largest of their logits."""
        rule = self.classifier.duplicates
        keys = [key for label in chosen for key in class_keys(self.classifier.prompts[label], self.encoder.reader, rule)]
        places: dict[Any, int] = {}
        first = torch.tensor([places.setdefault(key, column) for column, key in enumerate(keys)], device=logits.device)
        largest = logits.scatter_reduce(1, first.expand(len(logits), -1), logits, "amax")
        repeated = first != torch.arange(len(keys), device=logits.device)
        return largest.masked_fill(repeated, PADDING)


@contextmanager
def whole_state(strategy: Strategy) -> Iterator[None]:
    """Raise UserError where a method reads state that the checkpoint does not hold."""
    try:
        yield
    except StartOver as error:
        raise UserError(
            f"The checkpoint does not hold the whole state of {type(strategy).__name__} ({', '.join(error.names)}), so its "
            "model cannot be rebuilt. A method saves it in state() and load()."
        ) from error
