"""Train a domain with each setting of a grid, and keep the best pass of the best setting by validation images.

The training is the engine's (`Strategy`). `BestPass` is a plugin that scores passes. A setting is continued after a stage of
successive halving from a snapshot of the engine (`strategies.engine.mid_task`), which restores weights, momentum, generators
and the position in the data exactly.
"""

from __future__ import annotations

import copy
import dataclasses
import math
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import torch
from avalanche.training.plugins import SupervisedPlugin
from torch import Tensor

from benchmarks.data.domain import Domain
from benchmarks.scenario import scenario
from harness.study.evaluation import RawImages, Score, score, with_prompts
from harness.study.protocol import Choice, rungs
from harness.study.study_config import Technique
from harness.study.training_features import TrainOnFeatures
from models import tuning
from models.encoder import DualEncoder
from models.registry import UserError
from strategies.engine.losses import NonFiniteLoss
from strategies.engine.schedule import seed_everything
from strategies.engine.strategy import Strategy
from strategies.engine.training_features import same_in_training

Report = Callable[[int, int], None]
"""Called with the updates done and the updates of the whole search."""


class Best(NamedTuple):
    """The best pass of a setting: its score, the updates before it, the encoder's state and the heads of a probe."""

    score: Score
    updates: int
    weights: dict[str, Tensor]
    heads: dict[str, Tensor]


class BestPass(SupervisedPlugin):
    """Score the model after each pass and at the end of a stage, keep the best state, and stop at the end of the stage.

    Of passes with the same accuracy the earliest is kept. The model before training is not a candidate.

    Args:
        validate: returns the score of a strategy's classifier on validation images.
        updates_per_pass: updates of one pass over the training images.
    """

    def __init__(self, validate: Callable[[Strategy], Score], updates_per_pass: int):
        super().__init__()
        self._validate, self._per_pass = validate, updates_per_pass
        self.until = 0
        self.best: Best | None = None

    def after_training_iteration(self, strategy: Any, **kwargs: Any) -> None:
        """Score the model if a pass or the stage ends with this update."""
        updates = len(strategy.history) + 1
        if updates % self._per_pass == 0 or updates == self.until:
            found = self._validate(strategy)
            if math.isfinite(found.loss) and (self.best is None or found.correct > self.best.score.correct):
                weights = {name: tensor.detach().clone() for name, tensor in strategy.encoder.state_dict().items()}
                self.best = Best(found, updates, weights, strategy.classifier.head_state())
        if updates == self.until:
            strategy.stop_training()


class Search:
    """The settings of one cell, which share the initial model, the data and a budget.

    Args:
        encoder: encoder with the initial weights. It is not changed.
        technique: strategy, the options that hold for every setting, grid and budget.
        tuning_name: name of the tuning.
        domain: the domain to train.
        prompts: kind of prompts that validates.
        seed: seed of the cell. Every setting has the same order of images and the same random start.
        device: device that trains.
        raw: features of the initial image tower, for techniques that do not train it.
        workers: processes that read training images.
        report: progress.

    Attributes:
        finished: a record per setting.
    """

    def __init__(
        self,
        encoder: DualEncoder,
        technique: Technique,
        tuning_name: str,
        domain: Domain,
        *,
        prompts: str,
        seed: int,
        device: torch.device,
        raw: RawImages,
        workers: int = 0,
        report: Report | None = None,
    ):
        assert technique.grid is not None and domain.train is not None
        self.encoder, self.technique, self.tuning_name, self.grid = encoder, technique, tuning_name, technique.grid
        self.domain, self.prompts, self.seed, self.device = domain, prompts, seed, device
        self.raw, self.workers, self._report = raw, workers, report
        size, budget = technique.options.batch_size, technique.images
        self.updates_per_pass = -(-len(domain.train) // size)
        choices, most = self.grid.choices(), self.updates_per_pass * technique.options.epochs
        self.stages = rungs(len(choices), most, None if budget is None else budget // size)
        self.finished: list[dict[str, Any]] = []
        self._choices, self._done = choices, 0
        before = [0, *(stage.updates for stage in self.stages)]
        self._total = sum(stage.settings * (stage.updates - since) for stage, since in zip(self.stages, before, strict=False))

    def run(self) -> Trial:
        """Train all settings and return the best one, with the weights of its best pass.

        Raises:
            UserError: no setting has a finite loss.
        """
        # Trials of the first stage are made one by one, because each has a model.
        alive: Iterable[Trial] = (Trial(self, choice) for choice in self._choices)
        for stage, keep in zip(self.stages, [*(stage.settings for stage in self.stages[1:]), 1], strict=True):
            best: list[Trial] = []
            for trial in alive:
                trial.advance(stage.updates)
                # `sort` is stable, so the earlier setting of the grid wins a tie.
                best = sorted([*best, trial], key=lambda each: each.order)
                self._end(best[keep:])
                del best[keep:]
            alive = best
        [winner] = best
        if winner.passes.best is None:
            raise UserError(
                f"Every setting of {self.tuning_name} on {self.domain.name} ended with a loss that is not finite. Give smaller "
                f"rates (--set {self.tuning_name}.lr=...)."
            )
        self._end([winner])
        winner.restore_best()
        return winner

    def chosen(self, winner: Trial) -> dict[str, Any]:
        """Return the chosen setting for the table of a study. Passes are updates over the updates of one pass."""
        choice = {name: value for name, value in winner.choice._asdict().items() if value is not None}
        return {
            **choice,
            "best_pass": round(winner.best.updates / self.updates_per_pass, 3),
            "passes": round(winner.updates / self.updates_per_pass, 3),
            "tried": len(self._choices),
            "at_edge": self.grid.edges(winner.choice),
        }

    def count_update(self) -> None:
        """Count one update of one setting."""
        self._done += 1
        if self._report is not None:
            self._report(self._done, self._total)

    def _end(self, trials: list[Trial]) -> None:
        self.finished += [trial.record() for trial in trials]


class Trial:
    """One setting in training, which can be continued to a larger number of updates.

    Args:
        search: what all settings of the cell share.
        choice: the setting.
    """

    def __init__(self, search: Search, choice: Choice):
        self.search, self.choice, self.passes = search, choice, BestPass(self._validate, search.updates_per_pass)
        self.updates, self.diverged = 0, False
        self._saved: dict[str, Any] | None = None
        technique, domain = search.technique, with_prompts(search.domain, search.prompts)
        # Seeds the random start of parameters that a tuning adds to the model.
        seed_everything(search.seed, 0)
        self.strategy = technique.strategy_class(
            encoder=copy.deepcopy(search.encoder),
            options=dataclasses.replace(technique.options, lr=choice.lr, weight_decay=choice.weight_decay),
            tuning_name=search.tuning_name,
            tuning_options={**dataclasses.asdict(technique.tuning_options), **choice.tuning_options()},
            seed=search.seed,
            device=search.device,
            workers=search.workers,
        )
        encoder = self.strategy.encoder
        self._raw = None if tuning.trains_images(encoder) else search.raw
        self.strategy.plugins.append(self.passes)
        if self._raw is not None and technique.options.augmentation == "none" and same_in_training(encoder):
            features = self._raw.of_training(encoder, search.domain, technique.options.batch_size)
            self.strategy.plugins.append(TrainOnFeatures(*features))
        self.strategy.between_steps = self._between
        [self._experience] = scenario([domain], encoder=encoder).streams["train"]

    def advance(self, updates: int) -> None:
        """Train until the setting has this many updates, from where it stopped. A setting whose loss diverged stays there."""
        if updates <= self.updates or self.diverged:
            return
        self.passes.until = updates
        if self._saved is not None:
            self.strategy.middle = self.strategy.encoder.state_dict(), self._saved
        try:
            self.strategy.train(self._experience, eval_streams=[])
        except NonFiniteLoss:
            self.diverged = True
        self.updates = len(self.strategy.history)

    @property
    def best(self) -> Best:
        """The best pass so far."""
        assert self.passes.best is not None
        return self.passes.best

    @property
    def order(self) -> tuple[float, float]:
        """Sort key of settings: more correct validation images first, then a smaller cross-entropy."""
        best = self.passes.best
        return (1, 0.0) if best is None else (-best.score.correct, best.score.loss)

    def record(self) -> dict[str, Any]:
        """Return the record of the setting."""
        best = self.passes.best
        scores = {} if best is None else {"val_correct": best.score.correct, "val_loss": round(best.score.loss, 6)}
        return {
            **{name: value for name, value in self.choice._asdict().items() if value is not None},
            "updates": self.updates,
            "best_updates": None if best is None else best.updates,
            **scores,
            "diverged": self.diverged,
            "seconds": round(self.strategy.seconds, 3),
        }

    def restore_best(self) -> None:
        """Give the encoder and a probe's heads the state of the best pass."""
        self.strategy.encoder.load_state_dict(self.best.weights)
        with torch.no_grad():
            for label, head in self.best.heads.items():
                self.strategy.classifier.heads[label].copy_(head)

    def _validate(self, strategy: Strategy) -> Score:
        return score(strategy.classifier, 0, self.search.domain, "val", self._raw)

    def _between(self, taken: Callable[[], dict[str, Any]], last: bool) -> None:
        if len(self.strategy.history) == self.passes.until:
            self._saved = taken()
        self.search.count_update()
