"""Overrides of Avalanche's SupervisedTemplate: prompt heads, loaders, optimisers, losses by task."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from avalanche.logging import BaseLogger
from torch import Tensor

from benchmarks.data.domain import Domain
from benchmarks.data.progress import Progress
from benchmarks.scenario import DomainExperience
from models import parallel, tuning
from models.candidates import Candidates
from models.prompt_reader import check_prompts
from models.registry import UserError
from models.route import PLAIN, routed
from strategies.engine.batches import in_memory, memory_loader, sent, training_images, training_loader
from strategies.engine.frozen_features import KeptFeatures
from strategies.engine.growing import Growing
from strategies.engine.later import LaterGradients
from strategies.engine.losses import cross_entropy_by_task
from strategies.engine.method_checks import TRAIN_COLUMNS
from strategies.engine.mixed_evaluation import MixedEvaluation
from strategies.engine.optimizers import make_optimizer, parameter_groups
from strategies.engine.order import GivenBatches, Order, given_loader
from strategies.engine.plugin_checks import check_plugins
from strategies.engine.prediction import check_prediction, predictions
from strategies.engine.task_features import TaskFeatures, TaskImages
from strategies.engine.training_options import TrainingOptions


class Template(MixedEvaluation, Growing):
    """Avalanche's supervised template over a `PromptClassifier`. `Strategy` adds the loop and the hooks."""

    options: TrainingOptions
    experience: DomainExperience
    order: Order
    companion_features: Tensor | None
    companion_images: Callable[[], Tensor | None]
    begin_stage: Callable[[int], None]
    stage: int
    seed: int
    workers: int
    trained: int
    trains: bool
    trainable: list[torch.nn.Parameter]
    notes: list[str]
    images_seen: int
    progress: Progress
    _terms: dict[str, Tensor | float]

    def __init__(self, **arguments: Any):
        # The task labels of the current batch and the tasks among them.
        self._tasks_of_batch: tuple[Tensor | None, list[int]] = (None, [])
        self.later = LaterGradients()
        self._kept_features, self._kept_plain = KeptFeatures(), KeptFeatures(plain=True)
        self._task_images = TaskImages()
        self._frozen_images, self._mixed = False, {}
        self._given: Any = None
        self._checked_domains: tuple[Domain, ...] | None = None
        # Made again for each task.
        super().__init__(optimizer=make_optimizer([{"params": self.trainable}], self.options, self.plain), **arguments)
        # Avalanche's forward transfer needs an evaluation before training and asserts this value. `_before_eval` checks it.
        self.eval_every = 0

    # What methods read and call

    @property
    def experiences(self) -> list[DomainExperience]:
        """The training experiences up to the current one, in order."""
        return list(self.experience.origin_stream)[: self.experience.current_experience + 1]

    @property
    def trained_together(self) -> list[DomainExperience]:
        """The training experiences whose images make up the batches of the current task, the current one last."""
        return [self.experience]

    @property
    def plain(self) -> bool:
        """True if every exact shortcut is off (`exactness`)."""
        return self.options.exactness == "plain"

    def weights(self) -> dict[str, Tensor]:
        """Return a copy of the encoder's weights for arithmetic, by name and shape of the model under every tuning.

        The change that a tuning adds to a matrix is added to it (`models.tuning`).

        Raises:
            UserError: under --tuning probe, whose heads are not encoder weights.
        """
        self.refuse_probe("probe heads are not encoder weights, which this method reads or combines")
        return tuning.weights(self.encoder)

    def set_weights(self, theta: Mapping[str, Tensor]) -> None:
        """Give the encoder weights that came from `weights`, in any combination.

        After writing into a tower in another way, call `encoder.touch()`.
        """
        tuning.set_weights(self.encoder, theta)

    def task_features(self, indices: Sequence[int] | None = None, domain: Domain | None = None) -> TaskFeatures:
        """Return unit features [N, d] and labels [N] of a task's training images, with the evaluation transform.

        They are computed under the current weights, without gradients. While the image tower does not train, the images of the
        last task pass through it once.

        Args:
            indices: the images, in this order. None: all.
            domain: the domain of the task. None: that of the current task.
        """
        taken = self._task_images.features(self.encoder, domain or self.experience.domain, indices, self.progress)
        self.images_seen += 0 if self.trains else len(taken.labels)
        return taken

    def log(self, **terms: Tensor | float) -> None:
        """Record scalars of this update in train.csv, without waiting for the device.

        Raises:
            ValueError: a term has the name of a column that every record has.
        """
        if taken := terms.keys() & TRAIN_COLUMNS:
            raise ValueError(f"{', '.join(sorted(taken))} is a column of every record in train.csv; log it under another name")
        self._terms.update({name: v.detach() if isinstance(v, Tensor) else v for name, v in terms.items()})

    def note(self, sentence: str) -> None:
        """Show a sentence to the user and record it, once per run."""
        if sentence not in self.notes:
            self.notes.append(sentence)

    def refuse_probe(self, reason: str) -> None:
        """Raise UserError with this reason under --tuning probe."""
        if self.encoder.tuning == "probe":
            raise UserError(f"{type(self).__name__} cannot be combined with --tuning probe: {reason}.")

    # Logits and losses

    def forward(self) -> Tensor:
        """Return the logits of the batch. In training, companion images share its pass through the image tower."""
        if not self.is_training:
            return predictions(self) if self._predicts else self.class_logits(self.test_features())
        companions = self.companion_images()
        pixels = self.mb_x if companions is None else torch.cat([self.mb_x, sent(companions, self.device)])
        with routed(self.training_route()):
            features = self.encoder.encode_images(pixels)
            self.companion_features = None if companions is None else features[len(self.mb_x) :]
            return self.class_logits(features[: len(self.mb_x)])

    def plain_features(self) -> Tensor:
        """Return the unit features [B, d] of the batch without the modules that were added to the towers.

        They are those of a frozen encoder if nothing else trains, for example to choose a task. In evaluation they are kept
        from one task to the next. Call it once per batch.
        """
        with routed(PLAIN):
            if self.is_training or tuning.trains_image_tower(self.encoder) or not self._kept_plain.active:
                return self.encoder.encode_images(self.mb_x)
            return self._kept_plain.encode(self.encoder, self.mb_x)

    def test_features(self) -> Tensor:
        """Return the unit features [B, d] of the test batch."""
        if self._frozen_images:
            return self._kept_features.encode(self.encoder, self.mb_x)
        return self.encoder.encode_images(self.mb_x)

    def predict(self, features: Tensor, candidates: Candidates) -> Tensor:
        """Return the scores of a test batch. Here: logits against the class prompts, which is zero-shot's answer.

        The largest score is the prediction. Labels and tasks of the images are withheld (`strategies.engine.prediction`).

        Args:
            features: unit features [B, d], as `test_features` returns them.
            candidates: the classes that compete. Their order is the same for all images.

        Returns:
            Scores [B, len(candidates)].
        """
        return self.encoder.logits(features, torch.cat([self.classifier.text_features(task) for task in candidates.tasks]))

    @property
    def _predicts(self) -> bool:
        """True if the method overrides how a test batch is predicted."""
        kind = type(self)
        return kind.predict is not Template.predict or kind.test_features is not Template.test_features

    def class_logits(self, features: Tensor) -> Tensor:
        """Return the logits of the batch from its unit image features [B, d], against its tasks' prompts."""
        tasks = self.tasks_of(self.mb_task_id)
        return self.classifier.classify(features, tasks[0] if len(tasks) == 1 else self.mb_task_id, self.mb_y)

    def criterion(self) -> Tensor:
        """Return Avalanche's loss of the current batch: cross-entropy, each task among its own classes."""
        return self.cross_entropy(self.mb_output, self.mb_y, self.mb_task_id)

    def cross_entropy(self, logits: Tensor, labels: Tensor, task_labels: Tensor) -> Tensor:
        """Return the smoothed cross-entropy, mean over the batch, with each task's rows cut to its classes.

        The options of other questions than an image's are padding (`Domain.groups`), which the criterion leaves out.
        """
        tasks = self.tasks_of(task_labels)
        criterion: Any = self._criterion
        if all(self.classifier.prompts[task].groups is None for task in tasks):
            criterion = getattr(criterion, "unpadded", criterion)
        return cross_entropy_by_task(logits, labels, task_labels, criterion, self.classifier.classes, tasks)

    def tasks_of(self, task_labels: Tensor) -> list[int]:
        """Return the tasks among these labels, in order. For the current batch this does not wait for the device."""
        labels, tasks = self._tasks_of_batch
        return tasks if task_labels is labels else torch.unique(task_labels).tolist()

    def _make_empty_loss(self) -> Tensor:
        # In the model's precision: Avalanche's float32 would round a float64 loss.
        return torch.zeros(1, device=self.device, dtype=self.encoder.mean.dtype)

    # Loaders and optimisers

    def train_dataset_adaptation(self, **kwargs: Any) -> None:
        """Take the experience's training images, with or without augmentation."""
        self.adapted_dataset = training_images(self.experience, self.options)

    def make_train_dataloader(self, num_workers: int = 0, shuffle: bool = True, **kwargs: Any) -> None:
        """Make a loader of the batches of `order`, or a shuffled one that uses the last, smaller batch (the paper's code).

        `workers` read images in files.
        """
        # A seed that no method uses: one may shuffle the same images by seed and experience for another purpose.
        seeds, pin = (self.seed, self.experience.current_experience, 8), self.device.type == "cuda"
        data, size = self.adapted_dataset, self.train_mb_size
        decoded = self.experience.domain.train is None or in_memory(self.experience.domain.train)
        workers = num_workers if decoded else num_workers or self.workers
        if self.order.training is not None:
            batches = GivenBatches("training", self.order.training, self.experience, len(data))
            self.dataloader = self._given = given_loader(data, batches, workers=workers, seeds=seeds, pin=pin)
        elif decoded:
            self.dataloader = memory_loader(data, size, shuffle=shuffle, workers=workers, pin=pin)
        else:
            self.dataloader = training_loader(data, size, shuffle=shuffle, workers=workers, seeds=seeds, pin=pin)

    def _before_training_exp(self, **kwargs: Any) -> None:
        self.make_modules([self.experience])
        super()._before_training_exp(**kwargs)
        if self.order.training is not None and self.dataloader is not self._given:
            raise UserError(
                "Order.training has no effect, because the method or a plugin such as replay makes the training batches from "
                "several tasks. Leave out one of them."
            )

    def _after_training_exp(self, **kwargs: Any) -> None:
        super()._after_training_exp(**kwargs)
        self.freeze_modules()
        if self.encoder.graphs is not None:
            self.encoder.graphs.end_task(self.note)

    def _obtain_common_dataloader_parameters(self, **kwargs: Any) -> dict[str, Any]:
        # Each of several processes looks at every test image and computes its share of the rows (`models.parallel`).
        return {**super()._obtain_common_dataloader_parameters(**kwargs), "distributed_sampling": False}

    def make_optimizer(self, **kwargs: Any) -> None:
        """Make a new optimiser over exactly the trainable parameters. Avalanche's version adds frozen ones."""
        self.optimizer = make_optimizer(parameter_groups(self.model, self.options), self.options, self.plain)

    def check_model_and_optimizer(self, **kwargs: Any) -> None:
        """Adapt the model to the experience. A probe's heads change with the task, so the parameters are read again."""
        self.model = self.model_adaptation()
        self.trainable = tuning.trainable(self.model)
        self.make_optimizer()

    def _enter_stage(self, stage: int) -> None:
        """Begin a stage of the task: its number is known, and the optimiser forgets the stage before it."""
        self.stage = stage
        if stage:
            self.optimizer.state.clear()
        self.begin_stage(stage)

    def after_backward(self) -> None:
        """Change the gradients in `p.grad` of `self.trainable` before the update: for example, project them."""

    def backward(self) -> None:
        """Compute gradients, and average them over processes."""
        super().backward()
        self.later.add()
        parallel.average_gradients(self.trainable)

    def _unpack_minibatch(self) -> None:
        # Read before the labels go to the device, which would have to finish its work to answer.
        tasks = torch.unique(self.mbatch[-1]).tolist()
        super()._unpack_minibatch()
        self._tasks_of_batch = self.mb_task_id, tasks

    def _note_towers(self) -> None:
        """Note which towers train, for `_touch_towers`."""
        self._trains_images, self._trains_text = tuning.trains_images(self.encoder), tuning.trains_text(self.encoder)
        self._trains_image_tower = tuning.trains_image_tower(self.encoder)
        self._trains_text_tower = tuning.trains_text_tower(self.encoder)

    def _touch_towers(self) -> None:
        """Tell the encoder's caches that an update has changed the towers that train."""
        if self._trains_images:
            self.encoder.touch_images(tower=self._trains_image_tower)
        self._touch_text()

    def _touch_text(self) -> None:
        if self._trains_text:
            self.encoder.touch_text(tower=self._trains_text_tower)

    # Checks and evaluation

    def check_fits(self, experience: DomainExperience) -> None:
        """Check that a stream's images were prepared for this model, and that this model tells its prompts apart.

        Raises:
            UserError: they were prepared for another model, or two classes have one prompt to this one.
        """
        domains = getattr(experience, "stream_domains", None)
        if domains is None or domains is self._checked_domains:
            return
        prepared, encoder = experience.preprocess, self.encoder
        if not prepared.same(encoder.preprocess):
            raise UserError(
                f"The scenario prepares its images as {prepared.description()}, but the model {encoder.name!r} takes "
                f"{encoder.preprocess.description()}. Make it with the encoder: make('mtil', encoder=encoder), "
                "scenario(domains, encoder=encoder)."
            )
        check_prompts(encoder.reader, (*domains, *experience.heldout_domains))
        self._checked_domains = domains

    def _check(self) -> None:
        """Check what may have changed since the strategy was made.

        Raises UserError for plugins appended to `plugins` that do not work here, and for experiences without a domain.
        """
        check_plugins(self.plugins)
        # Avalanche's clock ticks last, so that appended plugins count experiences like the others.
        self.plugins.sort(key=lambda plugin: plugin is self.clock)
        if not isinstance(getattr(self.experience, "domain", None), Domain):
            raise UserError(
                "The experience has no domain, so its classes have no names for prompts. Make the stream with "
                "benchmarks.scenario.scenario([benchmarks.Domain(...), ...]) or benchmarks.make(...), not with Avalanche's "
                "benchmark_from_datasets."
            )
        self.check_fits(self.experience)
        check_prediction(type(self), self.experience.protocol)

    def _before_eval(self, **kwargs: Any) -> None:
        # Metrics that need an evaluation before training, or that fail in one.
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
                "use metrics.plugins.AccuracyMatrix, which has that row."
            )
        super()._before_eval(**kwargs)

    def _before_eval_exp(self, **kwargs: Any) -> None:
        self._check()
        self._compete()
        self._frozen_images = self._images_frozen()
        self._kept_features.begin(self.encoder, self.experience)
        self._kept_plain.begin(self.encoder, self.experience)
        super()._before_eval_exp(**kwargs)

    def _compete(self) -> None:
        """Let the classes compete that compete for the current experience under the benchmark's protocol."""
        rivals = self.experience.rivals(self.trained)
        self.classifier.register_domain(self.experience.task_label, self.experience.domain)
        for label in rivals:
            self.classifier.register_domain(label, self.experience.stream_domains[label])
        self.classifier.duplicates = self.experience.duplicates
        self.classifier.compete(self.experience.task_label, rivals)

    def _images_frozen(self) -> bool:
        """Return whether the image tower does not train, so that features of test images can be kept."""
        return not (self.trains and tuning.trains_images(self.encoder))

    def _after_eval_exp(self, **kwargs: Any) -> None:
        super()._after_eval_exp(**kwargs)
        self._kept_features.end()
        self._kept_plain.end()
        self._frozen_images = False
        self.classifier.compete(self.experience.task_label)


class SilentLogger(BaseLogger):
    """A logger that logs nothing. Avalanche warns when the evaluator has no logger."""

    def log_single_metric(self, name: str, value: Any, x_plot: int) -> None:
        """Ignore the value."""


def silent_loggers() -> list[SilentLogger]:
    """Return a silent logger in the leading process; other processes may have no logger at all."""
    return [SilentLogger()] if parallel.rank() == 0 else []
