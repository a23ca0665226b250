"""What Avalanche's training template does otherwise here: heads of prompts, loaders, optimisers, losses by task."""

from __future__ import annotations

from typing import Any

import torch
from avalanche.logging import BaseLogger
from avalanche.training.templates import SupervisedTemplate
from torch import Tensor

from benchmarks.data.domain import Domain
from models import parallel, tuning
from models.classifier import PromptClassifier
from models.encoder import DualEncoder
from models.prompt_reader import check_prompts
from models.registry import UserError
from strategies.engine.batches import in_memory, memory_loader, training_loader
from strategies.engine.frozen_features import KeptFeatures
from strategies.engine.losses import cross_entropy_by_task
from strategies.engine.plugin_checks import check_plugins


class Template(SupervisedTemplate):
    """Avalanche's supervised template over a `PromptClassifier`; `Strategy` adds the loop and the hooks."""

    options: Any
    experience: Any
    seed: int
    workers: int
    trained: int
    trains: bool
    trainable: list[Any]

    def __init__(self, **arguments: Any):
        self._tasks_of: tuple[Tensor | None, list[int]] = (None, [])
        self._kept_features = KeptFeatures()
        self._frozen_images = False
        self._fitting: tuple[Any, ...] | None = None
        super().__init__(optimizer=self._new_optimizer(), **arguments)
        # Avalanche's forward transfer asserts it, to be evaluated before training; `_before_eval` checks that.
        self.eval_every = 0

    @property
    def classifier(self) -> PromptClassifier:
        """The model that plugins see."""
        return self.model

    @property
    def encoder(self) -> DualEncoder:
        return self.model.encoder

    @property
    def plain(self) -> bool:
        """Whether nothing is computed in a shorter way (`exactness`)."""
        return getattr(self.options, "exactness", "fast") == "plain"

    def criterion(self) -> Tensor:
        """Avalanche's loss of the current batch, in training and evaluation: cross-entropy, each task among its own classes."""
        return self.cross_entropy(self.mb_output, self.mb_y, self.mb_task_id)

    def cross_entropy(self, logits: Tensor, labels: Tensor, task_labels: Tensor) -> Tensor:
        """Smoothed cross-entropy, mean over the batch, where padding takes no part: each task's rows are cut to its classes."""
        tasks = self.tasks_of(task_labels)
        criterion: Any = getattr(self._criterion, "unpadded", self._criterion)
        return cross_entropy_by_task(logits, labels, task_labels, criterion, self.classifier.classes, tasks)

    def tasks_of(self, task_labels: Tensor) -> list[int]:
        """Which tasks there are, in order; of the current batch's own labels without waiting for the device."""
        labels, tasks = self._tasks_of
        return tasks if task_labels is labels else torch.unique(task_labels).tolist()

    def _make_empty_loss(self) -> Tensor:
        # In the model's precision: Avalanche's float32 would round a float64 loss.
        return torch.zeros(1, device=self.device, dtype=self.encoder.mean.dtype)

    def make_train_dataloader(self, num_workers: int = 0, shuffle: bool = True, **kwargs: Any) -> None:
        """A shuffled loader; the last, smaller batch is used (the paper's code). Images in files are read by `workers`."""
        # A draw of its own: a method may shuffle the same images by seed and experience for other ends.
        seeds, pin = (self.seed, self.experience.current_experience, 8), self.device.type == "cuda"
        data, size = self.adapted_dataset, self.train_mb_size
        if self.experience.domain.train is None or in_memory(self.experience.domain.train):
            self.dataloader = memory_loader(data, size, shuffle=shuffle, workers=num_workers, pin=pin)
        else:
            workers = num_workers or self.workers
            self.dataloader = training_loader(data, size, shuffle=shuffle, workers=workers, seeds=seeds, pin=pin)

    def _obtain_common_dataloader_parameters(self, **kwargs: Any) -> dict[str, Any]:
        # Each of several processes looks at every test image and computes its share of the rows (`models.parallel`).
        return {**super()._obtain_common_dataloader_parameters(**kwargs), "distributed_sampling": False}

    def make_optimizer(self, **kwargs: Any) -> None:
        """A new optimiser over exactly the trainable parameters; Avalanche's version puts frozen ones back in."""
        self.optimizer = self._new_optimizer()

    def check_model_and_optimizer(self, **kwargs: Any) -> None:
        self.model = self.model_adaptation()
        # A probe's heads come and go with the tasks.
        self.trainable = tuning.trainable(self.model)
        self.make_optimizer()

    def _new_optimizer(self) -> torch.optim.Optimizer:
        o = self.options
        # As a group: a probe has nothing to train before its first task, and an empty list is refused.
        groups = [{"params": self.trainable}]
        # One kernel for all tensors, on a GPU; in memory one for each operation.
        fused = not self.plain and bool(self.trainable) and self.trainable[0].is_cuda
        how: dict[str, bool] = {"fused": True} if fused else {"foreach": not self.plain}
        return torch.optim.AdamW(groups, lr=o.lr, betas=(o.beta1, o.beta2), weight_decay=o.weight_decay, **how)

    def backward(self) -> None:
        super().backward()
        parallel.average_gradients(self.trainable)

    def _unpack_minibatch(self) -> None:
        # Asked before the labels go to the device, which would have to finish everything to answer.
        tasks = torch.unique(self.mbatch[-1]).tolist()
        super()._unpack_minibatch()
        self._tasks_of = self.mb_task_id, tasks

    def check_fits(self, experience: Any) -> None:
        """Refuse a stream whose images were prepared for another model, or whose classes are one prompt to this one.

        Raises UserError.
        """
        domains = getattr(experience, "stream_domains", None)
        if domains is None or domains is self._fitting:
            return
        prepared, encoder = experience.preprocess, self.encoder
        if not prepared.same(encoder.preprocess):
            raise UserError(
                f"The scenario prepares its images as {prepared.description()}, but the model {encoder.name!r} takes "
                f"{encoder.preprocess.description()}. Make it with the encoder: make('mtil', encoder=encoder), "
                "scenario(domains, encoder=encoder)."
            )
        check_prompts(encoder.reader, (*domains, *experience.heldout_domains), together=experience.protocol != "task")
        self._fitting = domains

    def _check(self) -> None:
        """Check what may have changed since the strategy was made.

        Raises UserError for plugins appended to `plugins` that do not work here, and for experiences without a domain.
        """
        check_plugins(self.plugins)
        # Appended plugins count experiences like the others: Avalanche's clock ticks last.
        self.plugins.sort(key=lambda plugin: plugin is self.clock)
        if not isinstance(getattr(self.experience, "domain", None), Domain):
            raise UserError(
                "The experience has no domain, so its classes have no names for prompts. Make the stream with "
                "benchmarks.scenario.scenario([benchmarks.Domain(...), ...]) or benchmarks.make(...), not with Avalanche's "
                "benchmark_from_datasets."
            )
        self.check_fits(self.experience)

    def _before_eval(self, **kwargs: Any) -> None:
        """Raise UserError for metrics that need an evaluation before training, or that fail in one."""
        late = [metric for metric in self.evaluator.metrics if getattr(metric, "at_init", False)]
        if late and self.clock.train_exp_counter:
            raise UserError(
                f"{type(late[0]).__name__} needs the accuracies before training: call strategy.eval(stream.test_stream) before "
                "the first strategy.train(...)."
            )
        names = [type(metric).__name__ for metric in self.evaluator.metrics]
        if "AccuracyMatrixPluginMetric" in names and not self.clock.train_exp_counter:
            raise UserError(
                "AccuracyMatrixPluginMetric has no row for the model before training: evaluate after the first train(...), or "
                "use metrics.plugins.AccuracyMatrix, which has one."
            )
        super()._before_eval(**kwargs)

    def _before_eval_exp(self, **kwargs: Any) -> None:
        """Let in the classes that compete at test time under the benchmark's protocol."""
        self._check()
        rivals = self.experience.rivals(self.trained)
        for label in rivals:
            self.classifier.register_domain(label, self.experience.stream_domains[label])
        self.classifier.compete(self.experience.task_label, rivals)
        self._frozen_images = not (self.trains and tuning.trains_images(self.encoder))
        self._kept_features.begin(self.encoder, self.experience)
        super()._before_eval_exp(**kwargs)

    def _after_eval_exp(self, **kwargs: Any) -> None:
        super()._after_eval_exp(**kwargs)
        self._kept_features.end()
        self._frozen_images = False
        self.classifier.compete(self.experience.task_label)


class SilentLogger(BaseLogger):
    """A logger that logs nothing. Avalanche warns when the evaluator has no logger."""

    def log_single_metric(self, name: str, value: Any, x_plot: int) -> None:
        """Ignore the value."""


def silent_loggers() -> list[SilentLogger]:
    """Return a silent logger in the leading process; other processes may have no logger at all."""
    return [SilentLogger()] if parallel.rank() == 0 else []
