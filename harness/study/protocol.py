"""The protocols of `study`: everything that decides how a cell is trained and how its settings are chosen. Imports no torch.

`mini` fine-tunes with the fixed settings of the benchmark `mtil`: one training, AdamW, a cosine to zero.

`paper` is the protocol of IIMM's code and paper (Niss et al., 2407.15731; mit-ll/IIMM): SGD with momentum 0.9 at a constant
rate, batches of 128, no label smoothing, weight decay on every trained tensor, the logit scale trained in `full`, one prompt
per class for measuring, training and testing, a grid of settings, up to 30 passes, and the best pass by the task's own
validation images. Our choice, because no source states it: settings are compared by validation accuracy too, and ties are
broken by the smaller cross-entropy on the validation images, then by the order of the grid. Training images are not augmented.

A large model has the paper's grid of rates for `full` and `attention`. The rates of the other techniques are our choice and
unmeasured for large models: SGD with a rate of at most 0.01 hardly moves a LoRA or an adapter. The tiny models have narrower
grids, which were calibrated on validation images (docs/predict.md), and a budget of training images per cell.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product
from typing import Any, NamedTuple

from models.registry import UserError

PROTOCOLS = ("mini", "paper")
PROMPTS = ("one", "ensemble")
USUAL_PROMPTS = {"mini": "ensemble", "paper": "one"}
"""Prompts of each protocol if `--prompts` is not given."""
FROZEN_IMAGES = ("text", "adapter", "probe")
"""Tunings whose image tower does not train, so that its features are computed once."""


class Choice(NamedTuple):
    """One setting of a technique. `rank` is None except for LoRA, and `reduction` except for the adapter."""

    lr: float
    weight_decay: float
    rank: int | None = None
    reduction: int | None = None

    def tuning_options(self) -> dict[str, int]:
        """Return the options of the tuning that this setting fixes."""
        return {name: value for name, value in (("rank", self.rank), ("reduction", self.reduction)) if value is not None}


@dataclass(frozen=True)
class Grid:
    """The settings of a technique that validation chooses from: all combinations. Values ascend."""

    lr: tuple[float, ...]
    weight_decay: tuple[float, ...] = (1e-4,)
    rank: tuple[int, ...] = ()
    reduction: tuple[int, ...] = ()

    def choices(self) -> list[Choice]:
        """Return all settings, the one with the smallest values first."""
        return [
            Choice(*values) for values in product(self.lr, self.weight_decay, self.rank or (None,), self.reduction or (None,))
        ]

    def edges(self, choice: Choice) -> str:
        """Return at which ends of the grid a setting is, such as "lr max, rank min"; "" if it is inside.

        A dimension with a single value has no ends.
        """
        ends = []
        for name in Choice._fields:
            values, value = getattr(self, name), getattr(choice, name)
            if len(values) > 1 and value in (values[0], values[-1]):
                ends.append(f"{name} {'min' if value == values[0] else 'max'}")
        return ", ".join(ends)

    def fixed(self, changes: Mapping[str, Any]) -> Grid:
        """Return the grid with single values for the dimensions that the user has set."""
        return dataclasses.replace(self, **{name: (changes[name],) for name in Choice._fields if name in changes})


DECAYS = (1e-5, 1e-4, 1e-3)
RANKS, REDUCTIONS = (2, 4, 8, 16), (4, 8, 16, 32)
_PAPER_RATES = (1e-5, 1e-4, 1e-3, 1e-2)
_LARGE_FULL = Grid(_PAPER_RATES, DECAYS)
LARGE: dict[str, Grid] = {
    "full": _LARGE_FULL,
    "visual": _LARGE_FULL,
    "text": _LARGE_FULL,
    "attention": _LARGE_FULL,
    "bitfit": Grid((1e-4, 1e-3, 1e-2, 1e-1), DECAYS),
    "lora": Grid((1e-2, 1e-1, 1.0, 10.0), DECAYS, rank=RANKS),
    "adapter": Grid((1e-2, 1e-1, 1.0, 10.0), DECAYS, reduction=REDUCTIONS),
    "probe": Grid((1e-3, 1e-2, 1e-1, 1.0), DECAYS),
}
"""Grids for models of usual size. Those of `full` and `attention` are the paper's, the rates of the others our choice."""
_TINY_FULL = Grid((1e-3, 3e-3, 1e-2, 3e-2))
TINY: dict[str, Grid] = {
    "full": _TINY_FULL,
    "visual": _TINY_FULL,
    "text": _TINY_FULL,
    "attention": Grid((1e-2, 3e-2, 1e-1, 3e-1)),
    "bitfit": Grid((3e-2, 1e-1, 3e-1, 1.0)),
    "lora": Grid((0.3, 1.0, 3.0), rank=(4, 16)),
    "adapter": Grid((0.1, 0.3, 1.0, 3.0), reduction=REDUCTIONS),
    "probe": Grid((1e-2, 1e-1, 1.0)),
}
"""Grids for the tiny models, from `tools.study_rates` (reference_data/tables/study_calibration.csv)."""


@dataclass(frozen=True)
class Protocol:
    """The training of the cells of a study under `--protocol paper`.

    Attributes:
        grids: the grid of each tuning.
        images: budget of training images of a whole cell, all settings together; None: no limit.
        cached_images: the same for techniques with a frozen image tower (`FROZEN_IMAGES`), for which an image costs little.
        passes: most passes over the training images for one setting.
        optimizer: optimiser of every technique.
        momentum: its momentum.
        schedule: the schedule of the rate.
        batch_size: images per update.
        label_smoothing: label smoothing of the cross-entropy.
        augmentation: preparation of training images; "none" is that of evaluation.
        logit_scale: whether `full`, `visual` and `text` train the logit scale (and bias).
    """

    grids: Mapping[str, Grid]
    images: int | None = None
    cached_images: int | None = None
    passes: int = 30
    optimizer: str = "sgd"
    momentum: float = 0.9
    schedule: str = "constant"
    batch_size: int = 128
    label_smoothing: float = 0.0
    augmentation: str = "none"
    logit_scale: bool = True

    def options(self, tuning: str) -> dict[str, Any]:
        """Return the options of training of a tuning. The first rate and decay of its grid stand for all."""
        same = ("optimizer", "momentum", "schedule", "batch_size", "label_smoothing", "augmentation")
        first = {"lr": self.grids[tuning].lr[0], "weight_decay": self.grids[tuning].weight_decay[0]}
        return {**{name: getattr(self, name) for name in same}, "warmup": 0, "epochs": self.passes, **first}

    def tuning_options(self, tuning: str) -> dict[str, Any]:
        """Return the options of a tuning that hold for every setting."""
        return {"logit_scale": self.logit_scale} if tuning in ("full", "visual", "text") else {}

    def budget(self, tuning: str) -> int | None:
        """Return the training images of a cell of a tuning; None: no limit."""
        return self.cached_images if tuning in FROZEN_IMAGES else self.images


def paper(tiny: bool) -> Protocol:
    """Return the protocol of the paper at the scale of the tiny models or of large ones."""
    return Protocol(TINY, images=20_000, cached_images=400_000) if tiny else Protocol(LARGE)


def check_changes(changes: Mapping[str, Any]) -> None:
    """Raise UserError for options that have no meaning where passes are counted and rates come from a grid."""
    names = {name.partition(".")[0] for name in changes}
    if "iterations" in names:
        raise UserError("--protocol paper counts passes: use epochs=N (most passes of one setting) instead of iterations.")
    if "lr_by_task" in names:
        raise UserError("--protocol paper chooses the rate of each task by validation: lr_by_task cannot be set.")


SHORTEST = 8
"""Updates after which settings can be compared at the earliest, where the budget allows it (our choice)."""


class Rung(NamedTuple):
    """A stage of successive halving: the number of settings, and the updates that each has after it, from the start."""

    settings: int
    updates: int


def rungs(settings: int, most: int, budget: int | None) -> list[Rung]:
    """Return the stages of successive halving (Jamieson and Talwalkar 2016, 1502.07943) within a budget of updates.

    The better half of the settings continues after each stage, until one is left. Every stage has the same share of the
    budget. If the first stage would be shorter than `SHORTEST` updates, only the best third or quarter continues (our choice).
    Without a budget, or with one for all, there is a single stage in which every setting trains to the end.

    Args:
        settings: number of settings.
        most: most updates of one setting.
        budget: updates of all settings together; None: no limit.
    """
    if budget is None or settings * most <= budget:
        return [Rung(settings, most)]
    for factor in (2, 3, 4):
        counts = [settings]
        while counts[-1] > 1:
            counts.append(-(-counts[-1] // factor))
        if budget // len(counts) // settings >= SHORTEST:
            break
    stages, updates = [], 0
    for count in counts:
        updates = min(most, updates + max(1, budget // len(counts) // count))
        stages.append(Rung(count, updates))
    return stages
