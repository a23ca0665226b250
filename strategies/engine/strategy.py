"""`Strategy`: continual fine-tuning, the training loop, and the base class of every method."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from avalanche.training.plugins import EvaluationPlugin
from torch import Tensor

from benchmarks.data.progress import Progress
from benchmarks.scenario import DomainExperience
from models import tuning
from models.classifier import PromptClassifier
from models.encoder import DualEncoder
from models.memory import keep_freed_memory
from models.tuning_options import TuningOptions
from reference_data import Reference
from strategies.engine.avalanche_template import Template, silent_loggers
from strategies.engine.batches import Batch as Batch
from strategies.engine.best_pass import BestPass, best_pass
from strategies.engine.losses import CHECK_EVERY, PromptCrossEntropy, check_finite, check_loss, overflow, settle
from strategies.engine.method_checks import check_class
from strategies.engine.mid_task import Batches, restore_snapshot, snapshot
from strategies.engine.order import Order
from strategies.engine.plugin_checks import check_metrics, check_plugins
from strategies.engine.schedule import Rates, budget, scheduled_rate, seed_everything
from strategies.engine.training_options import TrainingOptions
from strategies.engine.unsaved_state import OwnState


class Strategy(Template):
    """Fine-tuning: train each task in turn with cross-entropy over its class prompts. The base class of every method.

    Both towers train, the logit scale is fixed, and the prompts are those of the first template. AdamW, new for each task, has
    a linear warm-up and then a cosine to zero. Training uses only the current task's classes, whatever the protocol.

    Source:
        The protocol of ZSCL's released MTIL code (Zheng et al. 2023, arXiv 2303.06628).

    Defaults:
        From that code: label smoothing 0.2, 1,001 updates of 64 images, learning rate 1e-5. Its learning rates by dataset and
        its class-incremental settings come with the benchmarks (`benchmarks.settings`).

    Command:
        `python cli.py bench mtil --strategy finetune`

    Hooks:
        A method subclasses `Strategy`, adds fields to `Options` and overrides hooks. It defines no `__init__` and does not
        override the loop, `_train_exp`. All hooks are optional. Call `super()` in each hook that you override. They are called
        in this order:

        - `before_run()`: once per run. The encoder has its initial weights and is in evaluation mode. There is no experience
          yet. A resumed run calls it too, and then `load`.
        - `start_weights() -> dict | None`: the weights that a task trains from, if not those that the last task left. The
          measures before the task are taken on them.
        - `grow(experience)`: before a task's optimiser is made. Adds the task's modules with `add_module_for`.
        - `before_experience()`: before the first update of a task. The task's data and the optimiser are ready, and the
          encoder has the weights that training starts from.
        - `budget(experience) -> int`: the number of updates of a task.
        - `begin_stage(stage)`: before the first update of each stage; in a continued task for all stages so far.
        - For each update: `learning_rate(step, peak, updates) -> float`, `companion_images() -> Tensor | None`,
          `compute_loss(batch) -> Tensor`, `after_backward()`, and after the update `after_step(step)`.
        - `after_experience()`: after the last update. It may change the weights that are evaluated and that the next task
          starts from.
        - `test_features() -> Tensor`, `predict(features, candidates) -> Tensor`: the features of a test batch and scores for
          the classes that compete. Labels and tasks of the images are withheld.
        - `state() -> dict`, `load(state)`: save and restore what must survive a kill between tasks.
        - `task_state() -> dict`, `load_task(state, step)`: the same within a task. A class that overrides a hook of the updates
          and not `task_state` is saved only after each task.

    Example:
        A penalty on the movement of the weights within a task. `--set weight=2` fills the option:

            class MyMethod(Strategy):
                @dataclass(frozen=True)
                class Options(Strategy.Options):
                    weight: float = 1.0

                def before_experience(self):
                    super().before_experience()
                    self.start = [p.detach().clone() for p in self.trainable]

                def compute_loss(self, batch):
                    drift = sum((p - s).abs().sum() for p, s in zip(self.trainable, self.start))
                    self.log(drift=drift)
                    return super().compute_loss(batch) + 1e-4 * self.options.weight * drift

    Attributes:
        classifier: the model, a `PromptClassifier`; Avalanche's plugins know it as `model`.
        encoder: its `DualEncoder`.
        experience: the current experience; `experience.domain` has class names, templates and images.
        experiences: the training experiences up to the current one.
        options: the filled `Options`.
        reference: reference images and sentences, if the class sets `needs_reference`.
        stage: the number of the current stage, from 0.
        order: the batches of images that the caller gave (`strategies.Order`).
        trainable: the trainable parameters.
        mb_output: logits of the batch, set before `compute_loss`.
        companion_features: unit features of the companion images, set before `compute_loss`.
        searches: a record per task of a choice made by data. It is saved and written to run.json.
        notes: sentences for the user (`note`). They are saved and written to run.json.
        trained: the number of tasks trained so far.
        history, update_losses: a record per update of the last task, for train.csv, and the loss of each update.
        seconds: training time of the last task.
        images_seen: training images of the last task's batches.
        evaluates_only: whether it only evaluates a checkpoint. There is no reference data then, and `before_run` may skip it.
        trains: whether the method makes updates. If not, each task calls only `before_experience` and `after_experience`.
        learns: whether a task changes anything. If not, each row of the matrix repeats the first one.
        needs_reference: whether it reads `reference`; `reference_count` says how many images.
        needs_pairs: whether `reference` has pairs, in which sentence i describes image i.
        needs_validation: whether it reads validation images, which training then does not see. If not, `val` may be in train.
        default_tuning: the tuning used without --tuning.
        restarts: whether each task trains from the initial weights.
        replaces_weights: whether the method sets other weights after a task.
        trains_on_ensembles: whether it trains against template ensembles instead of the first template.
    """

    options: Options
    experience: DomainExperience
    reference: Reference | None
    evaluates_only = False
    trains = True
    learns = True
    needs_reference = False
    needs_pairs = False
    needs_validation = False
    default_tuning = "full"
    restarts = False
    replaces_weights = False
    trains_on_ensembles = False

    @dataclass(frozen=True)
    class Options(TrainingOptions):
        """Training options. A method adds fields (`strategies.engine.training_options`)."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        check_class(cls, Strategy)

    def __init__(
        self,
        *,
        encoder: DualEncoder,
        options: TrainingOptions | None = None,
        tuning_name: str | type[TuningOptions] | None = None,
        tuning_options: Mapping[str, Any] | None = None,
        reference: Reference | None = None,
        seed: int = 0,
        device: str | torch.device = "cpu",
        metrics: Sequence[Any] = (),
        loggers: Sequence[Any] = (),
        plugins: Sequence[Any] = (),
        order: Order | None = None,
        eval_batch_size: int = 256,
        workers: int = 0,
        progress: Progress | None = None,
    ):
        self.options = options if options is not None else type(self).Options()  # type: ignore[assignment]  # the class's own
        self.reference = reference
        self.order = order or Order()
        self.seed, self.workers = seed, workers
        self.progress: Progress = progress or (lambda done, total, what: None)  # long work other than training and evaluation
        self.searches: list[dict[str, Any]] = []
        self.notes: list[str] = []
        self.trained = 0
        self.history: list[dict[str, Any]] = []
        self.update_losses: list[Tensor] = []
        self.seconds, self.images_seen = 0.0, 0
        self.companion_features, self.stage = None, 0
        self.best: BestPass | None = None
        # Called after each update with a function that returns `mid_task.snapshot`, and whether it was the last update.
        self.between_steps: Callable[[Callable[[], dict[str, Any]], bool], None] | None = None
        self.middle: tuple[dict[str, Tensor], dict[str, Any]] | None = None  # weights and snapshot to continue a task from
        self.own_state: OwnState | None = None  # in a run: finds what a user's method keeps and does not save
        self._prepared = False
        self._start: dict[str, Tensor] | None = None
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

    # Facts that are read before a run, from the class and its options

    @classmethod
    def selects(cls, options: Any) -> bool:
        """Return whether a run with these options chooses something by validation images."""
        return cls.needs_validation or options.best_pass

    @classmethod
    def uses_reference(cls, options: Any) -> bool:
        """Return whether a built-in method with these options reads `reference`. If not, no reference data is needed."""
        return cls.needs_reference

    @classmethod
    def reference_count(cls, options: Any, updates: Sequence[int]) -> int | None:
        """Return how many reference images a run with these updates per experience looks at; None: all of them."""
        return None

    @classmethod
    def files(cls, options: Any) -> Mapping[str, Path]:
        """Return files besides the data that decide the numbers, by role. Their content is a part of the run's key."""
        return {}

    # Hooks

    def before_run(self) -> None:
        """Prepare the run: for example, embed reference data with the initial model."""

    def start_weights(self) -> Mapping[str, Tensor] | None:
        """Return the weights that the task trains from, or None for the last task's. Here: initial with `start=initial`."""
        return self._start

    def before_experience(self) -> None:
        """Prepare a task: for example, copy the weights that a penalty is anchored at."""

    def begin_stage(self, stage: int) -> None:
        """Prepare stage `stage` (from 0) of a task, whose stages `stage_at` sets: for example, freeze what does not train."""

    def companion_images(self) -> Tensor | None:
        """Return images [M, 3, S, S] to encode in the batch's forward pass, as `companion_features` [M, d]."""
        return None

    def compute_loss(self, batch: Batch) -> Tensor:
        """Return the whole loss, a scalar with gradient. Here: smoothed cross-entropy of `mb_output`, mean over the batch."""
        return self.cross_entropy(self.mb_output, batch.labels, batch.task_labels)

    def learning_rate(self, step: int, peak: float, updates: int) -> float:
        """Return the learning rate of update `step` (from 0) of the `updates` of a stage, where `peak` is the options' rate."""
        return scheduled_rate(step, peak, updates, self.options)

    def budget(self, experience: DomainExperience) -> int:
        """Return the number of updates of an experience (`strategies.engine.schedule.budget`)."""
        return budget(self.options, len(experience.dataset))

    def after_step(self, step: int) -> None:
        """Act after update `step` (from 0): for example, average weights."""

    def after_experience(self) -> None:
        """Act after the last update of a task, before evaluation: for example, `set_weights`."""

    def state(self) -> dict[str, Any]:
        """Return what must survive a kill besides the weights: tensors, numbers, strings, lists and dicts with string keys.

        What `before_run` computes again and what `before_experience` sets for each task need not be saved.
        """
        # Copies: a saved state must not change with the next task.
        return {"searches": [*self.searches], "notes": [*self.notes]} if self.searches or self.notes else {}

    def load(self, state: dict[str, Any]) -> None:
        """Restore what `state` returned. Called after `before_run`, with the weights of the checkpoint in place."""
        self.searches, self.notes = [*state.get("searches", [])], [*state.get("notes", [])]

    def task_state(self) -> dict[str, Any]:
        """Return what the task has changed besides the weights and the optimiser, such as a running average."""
        return {}

    def load_task(self, state: dict[str, Any], step: int) -> None:
        """Restore what `task_state` returned after `step` updates. Called right after `before_experience`."""

    # The loop

    def prepare_run(self) -> None:
        """Call `before_run` once. `train` calls this; a resumed run calls it before it loads the saved weights."""
        if self._prepared:
            return
        self._prepared = True
        self._start = tuning.weights(self.encoder) if self.options.start == "initial" else None
        if self.device.type == "cpu":
            keep_freed_memory()
        # The same for every caller: there is no experience yet, and every layer is in evaluation mode.
        experience, training = self.experience, self.model.training
        self.experience = None  # type: ignore[assignment]  # only here
        self.model.eval()
        try:
            self.before_run()
        finally:
            self.experience = experience
            self.model.train(training)
        if self._start is not None:
            # With the modules that `before_run` has placed.
            self._start = {**tuning.weights(self.encoder), **self._start}
        if self.own_state is not None:
            self.own_state.prepared()

    def _train_exp(self, experience: DomainExperience, eval_streams: Any = None, **kwargs: Any) -> None:
        """Train on one experience: all its updates, as one epoch to Avalanche's plugins."""
        began, self.history, self.images_seen = time.perf_counter(), [], 0
        self.before_experience()
        if not self.trains:
            self.after_experience()
            self.seconds = time.perf_counter() - began
            return
        self._before_training_epoch(**kwargs)
        # Read only now: replay replaces the loader in its `before_training_exp`.
        batches = Batches(self.dataloader)
        self.update_losses = losses = list[Tensor]()
        rates = Rates(self.optimizer, self.options, experience.domain.name, self.learning_rate, self._enter_stage)
        total = self.budget(experience)
        self.best = best_pass(self.classifier, self.trained_together, self.options, self.training_route())
        if self.middle is not None:
            (weights, saved), self.middle = self.middle, None
            rates.enter(saved["step"] - 1, total)
            self.update_losses = losses = restore_snapshot(self, weights, saved, batches)
            began -= saved["seconds"]
        self._note_towers()

        for step in range(len(losses), total):
            if self._stop_training:  # set by a plugin, such as early stopping
                self._stop_training = False
                break
            rate = rates.set(step, total)
            self.mbatch = next(batches)
            self._unpack_minibatch()
            self._before_training_iteration(**kwargs)
            # Avalanche's RWalk leaves the model in evaluation mode, in which the prompts differ.
            if not self.model.training:
                self.model.train()
            self.optimizer.zero_grad()
            self.loss = self._make_empty_loss()
            self._terms = {}

            self._before_forward(**kwargs)
            self.mb_output = self.forward()
            self._after_forward(**kwargs)

            loss = self.compute_loss(Batch(self.mb_x, self.mb_y, self.mb_task_id))
            self.loss = self.loss + check_loss(loss, type(self).__name__)
            self._before_backward(**kwargs)
            self.backward()
            self._after_backward(**kwargs)
            self.after_backward()

            self._before_update(**kwargs)
            with overflow(experience.domain.name, step):
                self.optimizer_step()
            self._touch_towers()
            self._after_update(**kwargs)
            self.after_step(step)
            self._after_training_iteration(**kwargs)

            self.images_seen += len(self.mb_y)
            losses.append(self.loss.detach().squeeze())
            self.history.append({"iteration": step + 1, "lr": rate, **self._terms})
            if (step + 1) % CHECK_EVERY == 0:
                check_finite(losses, experience.domain.name)
            if self.best is not None:
                self.best.after_update(step + 1, step + 1 == total)
            if self.between_steps is not None:
                taken = partial(snapshot, self, step + 1, batches, losses, time.perf_counter() - began)
                self.between_steps(taken, step + 1 == total)

        rates.check()
        check_finite(losses, experience.domain.name)
        settle(self.history, losses)
        if self.best is not None:
            self.best.restore()
            self.searches.append(self.best.record())
        self.after_experience()
        self._touch_text()
        self._after_training_epoch(**kwargs)
        # `settle` has waited for the device, so the time is right on a GPU too.
        self.seconds = time.perf_counter() - began

    def _before_training_exp(self, **kwargs: Any) -> None:
        self._check()
        self.prepare_run()
        # Seeded per experience, so that a resumed run draws the same numbers as an uninterrupted one.
        seed_everything(self.seed, self.experience.current_experience)
        if self.trains and (start := self.start_weights()) is not None:
            # Before plugins: their measures belong to the model that the task starts from.
            self.set_weights(start)
        super()._before_training_exp(**kwargs)

    def _after_training_exp(self, **kwargs: Any) -> None:
        self.trained = self.experience.current_experience + 1
        began = time.perf_counter()
        super()._after_training_exp(**kwargs)
        # Passes of plugins over the task's images (EWC, MAS) are a part of the method's cost.
        self.seconds += time.perf_counter() - began
