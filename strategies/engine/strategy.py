"""`Strategy`: plain continual fine-tuning, and the base class of every method."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from avalanche.training.plugins import EvaluationPlugin
from torch import Tensor

from benchmarks.data.progress import Progress
from models import tuning
from models.classifier import PromptClassifier
from models.encoder import DualEncoder
from models.memory import keep_freed_memory
from models.registry import UserError
from reference_data import Reference
from strategies.engine.avalanche_template import Template, silent_loggers
from strategies.engine.batches import sent
from strategies.engine.losses import CHECK_EVERY, PromptCrossEntropy, check_finite, checked, overflow, settle
from strategies.engine.method_checks import TRAIN_COLUMNS, check_class
from strategies.engine.mid_task import Batches, go_on, snapshot
from strategies.engine.plugin_checks import check_metrics, check_plugins
from strategies.engine.schedule import Rates, budget, learning_rate, seed_everything
from strategies.engine.training_options import TrainingOptions
from strategies.engine.unsaved_state import OwnState


class Batch(NamedTuple):
    """One mini-batch on the device: images uint8 [B, 3, S, S], labels [B], task labels [B]."""

    images: Tensor
    labels: Tensor
    task_labels: Tensor


class Strategy(Template):
    """Continual fine-tuning (`finetune`): each task in turn with cross-entropy over its class prompts, nothing else.

    Protocol: that of ZSCL's released MTIL code (2303.06628): AdamW, a new optimiser per task, linear warm-up then
    cosine to zero, label smoothing 0.2, both towers trained, the logit scale fixed, first template only. Its learning rates by
    dataset and its class-incremental settings come with the benchmarks (`benchmarks.settings`). Training looks at the current
    task's classes alone, whatever the protocol of evaluation.

    A method subclasses this, adds options to `Options` and overrides hooks; it defines no `__init__` and leaves the loop
    (`_train_exp`) alone. Hooks, in the order they are called; each may call `super()`:

        before_run         once, with the encoder at its initial weights and in evaluation mode (also before a resumed state is
                           loaded); there is no experience yet
        before_experience  data, task and optimiser are set; weights as the last experience left them
        companion_images   per step: images to encode in the same pass as the batch; see `companion_features`
        compute_loss       per step: the whole loss
        after_step         per step, after the update
        learning_rate      per step: the rate of the update (the schedule)
        budget             how many updates an experience gets
        after_experience   may change the weights that are evaluated and go on to the next task (`set_weights`; after
                           writing into a tower in another way, call `encoder.touch()`)
        state, load        what must survive a kill, besides the weights
        task_state, load_task   what a task has changed of the method so far; without it (where a class has steps of its own)
                           a killed run goes on from the start of the task

    Class attributes say what the method wants: `default_tuning`; `needs_reference`, reference images and sentences
    (how many of them: `reference_count`); `needs_validation`, validation images that training does not see, of
    held-out domains too (without it `domain.val` may be a part of the training data); `files`, what else it reads. `weights`
    and `set_weights` are for arithmetic on the weights under every tuning, `log` keeps a scalar of a step in `train.csv`,
    `progress` hears of long work.

    Read: `classifier` (= Avalanche's `model`), `encoder`, `experience.domain`, `options`, `reference`, `trainable`; after an
    experience `trained` (how many so far), `history` (a record per step), `seconds`, `images_seen`.

    Command: `python cli.py bench mtil --strategy finetune`.
    Expected, mini edition, Order I, seeds 0 to 2: Transfer 44.9 to 47.5, Average 52.4 to 54.2, Last 61.3 to 64.3.
    """

    options: Any
    experience: Any
    reference: Any
    companion_features: Any
    trains = True
    needs_reference = False
    needs_validation = False
    default_tuning = "full"

    @dataclass(frozen=True)
    class Options(TrainingOptions):
        """What every method has; a method adds its own (`strategies.engine.training_options`)."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        check_class(cls, Strategy)

    def __init__(
        self,
        *,
        encoder: DualEncoder,
        options: Any = None,
        tuning_name: str | None = None,
        tuning_options: Mapping[str, Any] | None = None,
        reference: Reference | None = None,
        seed: int = 0,
        device: str | torch.device = "cpu",
        metrics: Sequence[Any] = (),
        loggers: Sequence[Any] = (),
        plugins: Sequence[Any] = (),
        eval_batch_size: int = 256,
        workers: int = 0,
        progress: Progress | None = None,
    ):
        self.options = options if options is not None else type(self).Options()
        self.reference = reference
        self.seed = seed
        self.workers = workers
        # Long work that is no training step or evaluation tells here how far it is: progress(done, total, what).
        self.progress: Progress = progress or (lambda done, total, what: None)
        self.trained = 0
        self.history: list[dict[str, float]] = []
        self.seconds = 0.0
        self.images_seen = 0
        self.companion_features = None
        # Called after each update with a function that returns the state within the task (`mid_task.snapshot`), and whether it
        # was the last update.
        self.between_steps: Callable[[Callable[[], dict[str, Any]], bool], None] | None = None
        # Weights and snapshot that the next task goes on from.
        self.middle: tuple[dict[str, Tensor], dict[str, Any]] | None = None
        # Of a run of the command line: finds what a user's method keeps and does not save.
        self.own_state: OwnState | None = None
        self._prepared = False
        self._stop_training: bool = False
        self._terms: dict[str, Tensor | float] = {}
        check_plugins(plugins)
        check_metrics(metrics)
        encoder.cuts_texts = not self.plain
        self.trainable = tuning.apply(encoder, tuning_name or self.default_tuning, **(tuning_options or {}))
        super().__init__(
            model=PromptClassifier(encoder),
            criterion=PromptCrossEntropy(label_smoothing=self.options.label_smoothing),
            train_mb_size=self.options.batch_size,
            train_epochs=1,
            eval_mb_size=eval_batch_size,
            device=device,
            plugins=list(plugins),
            evaluator=EvaluationPlugin(*metrics, loggers=[*loggers] or silent_loggers(), collect_all=False),
            eval_every=-1,
        )
        self.model.to(self.device)

    @classmethod
    def selects(cls, options: Any) -> bool:
        """Whether a run with these options chooses something by validation images; here `needs_validation`."""
        return cls.needs_validation

    @classmethod
    def reference_count(cls, options: Any, updates: Sequence[int]) -> int | None:
        """How many of the reference images a run looks at that makes so many updates in each experience; None: all of them."""
        return None

    @classmethod
    def files(cls, options: Any) -> Mapping[str, Path]:
        """Files besides the data that decide the numbers, by what they are: their content is a part of what the run is."""
        return {}

    # Hooks

    def before_run(self) -> None:
        """Once per run, with the encoder at its initial weights: the place to embed what a teacher has to say."""

    def before_experience(self) -> None:
        """Before the first step of an experience."""

    def companion_images(self) -> Tensor | None:
        """Images [M, 3, S, S] to encode in the batch's own forward pass; their features come as `companion_features`."""
        return None

    def compute_loss(self, batch: Batch) -> Tensor:
        """The whole loss, a scalar. Here: smoothed cross-entropy of `self.mb_output`, averaged over the batch."""
        return self.cross_entropy(self.mb_output, batch.labels, batch.task_labels)

    def learning_rate(self, step: int, peak: float, updates: int) -> float:
        """The rate of update number `step` (from 0) of `updates`, where the options' rate is `peak`."""
        return learning_rate(step, peak, updates, self.options.warmup)

    def after_step(self, step: int) -> None:
        """After update number `step` (from 0)."""

    def after_experience(self) -> None:
        """After the last step, before evaluation."""

    def state(self) -> dict[str, Any]:
        """What must survive a kill besides the weights: tensors, numbers, strings, lists, dicts."""
        return {}

    def load(self, state: dict[str, Any]) -> None:
        """Take back what `state` gave."""

    def task_state(self) -> dict[str, Any]:
        """What has changed during the task besides the weights and the optimiser, so that it can be taken up in the middle."""
        return {}

    def load_task(self, state: dict[str, Any], step: int) -> None:
        """Take back what `task_state` gave after `step` updates; `before_experience` was called just before."""

    # The loop

    def prepare_run(self) -> None:
        """Call `before_run`, once. `train` does it by itself; a resumed run does it before loading the saved weights."""
        if self._prepared:
            return
        self._prepared = True
        if self.device.type == "cpu":
            keep_freed_memory()
        # The same whoever calls: no experience yet, and every layer in evaluation mode.
        (experience, self.experience), training = (self.experience, None), self.model.training
        self.model.eval()
        try:
            self.before_run()
        finally:
            self.experience = experience
            self.model.train(training)
        if self.own_state is not None:
            self.own_state.prepared()

    def _train_exp(self, experience: Any, eval_streams: Any = None, **kwargs: Any) -> None:
        """The training of one experience: the whole budget of iterations, as one epoch to Avalanche's plugins."""
        began, self.history, self.images_seen = time.perf_counter(), [], 0
        if not self.trains:
            return
        self.before_experience()
        self._before_training_epoch(**kwargs)
        # Read here and not earlier: replay replaces the loader in its `before_training_exp`.
        batches = Batches(self.dataloader)
        losses: list[Tensor] = []
        if self.middle is not None:
            (weights, saved), self.middle = self.middle, None
            losses = go_on(self, weights, saved, batches)
            began -= saved["seconds"]
        trains_images, trains_text = tuning.trains_images(self.encoder), tuning.trains_text(self.encoder)
        trains_text_tower = tuning.trains_text_tower(self.encoder)
        rates, total = Rates(self, experience), self.budget(experience)
        for step in range(len(losses), total):
            if self._stop_training:  # a plugin's wish, early stopping for example
                self._stop_training = False
                break
            rate = rates.set(step, total)
            self.mbatch = next(batches)
            self._unpack_minibatch()
            self._before_training_iteration(**kwargs)
            # Avalanche's RWalk leaves the model in evaluation mode, where the prompts are other ones.
            if not self.model.training:
                self.model.train()
            self.optimizer.zero_grad()
            self.loss = self._make_empty_loss()
            self._terms = {}

            self._before_forward(**kwargs)
            self.mb_output = self.forward()
            self._after_forward(**kwargs)

            self.loss = self.loss + checked(self, self.compute_loss(Batch(self.mb_x, self.mb_y, self.mb_task_id)))
            self._before_backward(**kwargs)
            self.backward()
            self._after_backward(**kwargs)

            self._before_update(**kwargs)
            with overflow(experience.domain.name, step):
                self.optimizer_step()
            if trains_images:
                self.encoder.touch_images()
            if trains_text:
                self.encoder.touch_text(tower=trains_text_tower)
            self._after_update(**kwargs)
            self.after_step(step)
            self._after_training_iteration(**kwargs)

            self.images_seen += len(self.mb_y)
            losses.append(self.loss.detach().squeeze())
            self.history.append({"iteration": step + 1, "lr": rate, **self._terms})  # type: ignore[dict-item]
            if (step + 1) % CHECK_EVERY == 0:
                check_finite(losses, experience.domain.name)
            if self.between_steps is not None:
                taken = partial(snapshot, self, step + 1, batches, losses, time.perf_counter() - began)
                self.between_steps(taken, step + 1 == total)
        rates.check()
        check_finite(losses, experience.domain.name)
        settle(self.history, losses)
        self.after_experience()
        if trains_text:
            self.encoder.touch_text(tower=trains_text_tower)
        self._after_training_epoch(**kwargs)
        # Settling the history has waited for the device, so the clock is honest on a GPU too.
        self.seconds = time.perf_counter() - began

    def _before_training_exp(self, **kwargs: Any) -> None:
        self._check()
        self.prepare_run()
        # Seeded per experience, so that a resumed run draws what an uninterrupted one would have drawn.
        seed_everything(self.seed, self.experience.current_experience)
        super()._before_training_exp(**kwargs)

    def _after_training_exp(self, **kwargs: Any) -> None:
        self.trained = self.experience.current_experience + 1
        began = time.perf_counter()
        super()._after_training_exp(**kwargs)
        # Passes of plugins over the task's images (EWC, MAS) are a part of what the method costs.
        self.seconds += time.perf_counter() - began

    def forward(self) -> Tensor:
        """Logits of the batch; in training, companion images share its pass through the image tower."""
        if self._frozen_images and not self.is_training:
            return self.class_logits(self._kept_features.encode(self.encoder, self.mb_x))
        companions = self.companion_images() if self.is_training else None
        pixels = self.mb_x if companions is None else torch.cat([self.mb_x, sent(companions, self.device)])
        features = self.encoder.encode_images(pixels)
        self.companion_features = None if companions is None else features[len(self.mb_x) :]
        return self.class_logits(features[: len(self.mb_x)])

    def class_logits(self, features: Tensor) -> Tensor:
        """Logits of the batch from its unit image features [B, d]: against its tasks' prompts."""
        tasks = self.tasks_of(self.mb_task_id)
        return self.classifier.classify(features, tasks[0] if len(tasks) == 1 else self.mb_task_id)

    # Pieces

    @property
    def experiences(self) -> list[Any]:
        """The training experiences up to the current one, in order: for methods that may look back."""
        return list(self.experience.origin_stream)[: self.experience.current_experience + 1]

    def weights(self) -> dict[str, Tensor]:
        """A copy of the encoder's weights for arithmetic: what a tuning adds to a matrix is added to it (`models.tuning`).

        Raises UserError under the tuning probe, whose heads are no part of them: nothing would come of the arithmetic.
        """
        self.refuse_probe("the weights that this method starts from or combines")
        return tuning.weights(self.encoder)

    def refuse_probe(self, apart: str) -> None:
        """Raise UserError under the tuning probe, whose heads are apart from what the method is about."""
        if self.encoder.tuning == "probe":
            raise UserError(f"{type(self).__name__} has no use for the tuning probe: its heads are apart from {apart}.")

    def set_weights(self, theta: Mapping[str, Tensor]) -> None:
        """Give the encoder weights that came from `weights`, in whatever combination."""
        tuning.set_weights(self.encoder, theta)

    def budget(self, experience: Any) -> int:
        """Updates that an experience gets (`strategies.engine.schedule.budget`)."""
        return budget(self.options, len(experience.dataset))

    def log(self, **terms: Tensor | float) -> None:
        """Keep scalars of this step for `train.csv`, without synchronising. Raises ValueError for a column's name."""
        if taken := terms.keys() & TRAIN_COLUMNS:
            raise ValueError(f"a term cannot be called {', '.join(sorted(taken))}: that is a column of every record")
        self._terms.update({name: v.detach() if isinstance(v, Tensor) else v for name, v in terms.items()})
