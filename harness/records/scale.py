"""Patches of models of several sizes: how much a patch keeps, and how alike the unpatched and the fine-tuned model are.

Pure functions on the records of `bench paint --strategy paint-single --model DIR`. Imports no torch.

Models can be compared if they were pretrained alike. A record shows the tag of open_clip's weights, the tokenizer and the
settings of the patches, and `sizes` only returns models that agree in them. It does not show the data and the updates of the
pretraining of a folder: whoever makes the folders has to see to that.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from harness.records.patches import Curve, Patch, patches
from harness.records.runs import Run
from harness.records.transfer import PER_TASK
from metrics.means import Mean, mean
from models.loading.local_files import SHIPPED

OF_MODEL = ("seed", "model", "weights_sha256")
"""Parts of a run's identity in which the runs of one comparison may differ."""


class Size(NamedTuple):
    """The runs of one model: its name, its number of parameters, and the runs in the order of their seeds."""

    model: str
    parameters: int
    runs: tuple[Run, ...]

    @property
    def label(self) -> str:
        """The number of parameters as text: "1.9 M"."""
        return f"{self.parameters / 1e6:.1f} M"


class Values(NamedTuple):
    """Means over patches.

    Accuracies are in percent of test images. Values that were not recorded are NaN.

    Attributes:
        alpha: chosen alpha.
        zero_shot: accuracy of the unpatched model on the patched task.
        fine_tuned: the same of the fine-tuned model.
        patched: the same of the patched model.
        supported_zero_shot: mean accuracy of the unpatched model on the supported tasks.
        supported_fine_tuned: the same of the fine-tuned model.
        supported_patched: the same of the patched model.
        gain: patched - zero_shot, in points.
        gain_kept: gain of the patch in percent of the gain of fine-tuning, ratio of the means. NaN unless fine-tuning gains.
        supported_loss: supported_zero_shot - supported_patched, in points.
        supported_kept: supported_patched in percent of supported_zero_shot, ratio of the means.
        distance: mean of fine_tuned - patched and supported_loss, in points: how far the patched model is from the fine-tuned
            one on the patched task, and from the unpatched one on the supported tasks.
        relative_distance: 100 - mean of gain_kept and supported_kept, in percent: the same relative to both ends.
        cka: CKA of the image features of the unpatched and the fine-tuned model on the patched task's test images, without the
            bias at few images (`metrics.cka.debiased_cka`).
        cka_supported: the same on the supported tasks, mean over them.
        cka_biased: linear CKA with the bias (`metrics.cka.linear_cka`) on the patched task.
        cka_supported_biased: the same on the supported tasks.
        weight_cosine: cosine between the unpatched and the fine-tuned weights, of the tensors that training changes.
    """

    alpha: float
    zero_shot: float
    fine_tuned: float
    patched: float
    supported_zero_shot: float
    supported_fine_tuned: float
    supported_patched: float
    gain: float
    gain_kept: float
    supported_loss: float
    supported_kept: float
    distance: float
    relative_distance: float
    cka: float
    cka_supported: float
    cka_biased: float
    cka_supported_biased: float
    weight_cosine: float


def sizes(runs: Sequence[Run]) -> list[Size]:
    """Return the models that can be compared, smallest first.

    These are models with finished runs of a strategy that patches each task separately, on the same stream and with the same
    options. If there are several such groups, the one with most models counts. The models that ship with the project are left
    out, because they were pretrained longer.
    """
    groups: dict[str, dict[str, list[Run]]] = {}
    for run in filter(applies, runs):
        groups.setdefault(_group(run), {}).setdefault(str(run.identity["model"]), []).append(run)
    largest = max(groups.values(), key=len, default={})
    return sorted(
        (
            Size(Path(model).name, each[0].document["parameters"], tuple(sorted(each, key=lambda run: run.identity["seed"])))
            for model, each in largest.items()
        ),
        key=lambda size: (size.parameters, size.model),
    )


def applies(run: Run) -> bool:
    """Return whether a run patches each task separately, records both ends, and is of a model that does not ship."""
    if not run.finished or run.identity["strategy"] not in PER_TASK or run.identity["model"] in SHIPPED:
        return False
    recorded = patches(run.document.get("searches"))
    complete = [patch.task for patch in recorded] == list(run.tasks) and bool(run.retained)
    ends = all({0.0, 1.0} <= set(curve.accuracy) for patch in recorded for curve in patch.curves)
    return complete and ends and isinstance(run.document.get("parameters"), int)


def by_task(size: Size) -> dict[str, Values]:
    """Return the values of each task, means over seeds."""
    recorded = [_patches(run) for run in size.runs]
    return {
        each[0].task: _values([(run, patch) for run, patch in zip(size.runs, each, strict=True)])
        for each in zip(*recorded, strict=True)
    }


def of_run(run: Run) -> Values:
    """Return the values of a run, means over tasks."""
    return _values([(run, patch) for patch in _patches(run)])


def over_seeds(size: Size) -> dict[str, Mean]:
    """Return the mean over seeds of each value of `of_run`, with its t interval."""
    every = [of_run(run) for run in size.runs]
    return {name: mean([getattr(values, name) for values in every]) for name in Values._fields}


def difference(small: Size, large: Size) -> dict[str, Mean]:
    """Return the mean over shared seeds of each value of the large model minus that of the small one, with its t interval."""
    first, second = ({run.identity["seed"]: of_run(run) for run in size.runs} for size in (small, large))
    shared = sorted(first.keys() & second.keys())
    return {
        name: mean([getattr(second[seed], name) - getattr(first[seed], name) for seed in shared]) for name in Values._fields
    }


def _group(run: Run) -> str:
    """Return a text that is the same for runs that can be compared."""
    same = {name: value for name, value in run.identity.items() if name not in OF_MODEL}
    tokenizer = (run.document.get("model_description") or {}).get("tokens")
    return json.dumps([same, tokenizer], sort_keys=True)


def _patches(run: Run) -> list[Patch]:
    return patches(run.document.get("searches"))


def _values(patched: Sequence[tuple[Run, Patch]]) -> Values:
    """Return the means over some patches."""
    own = [patch.of("test", [patch.task])[0] for _, patch in patched]
    supported = [patch.of("heldout", run.retained) for run, patch in patched]
    zero, tuned, now = _accuracies(own)
    kept_zero, kept_tuned, kept_now = np.mean([_accuracies(curves) for curves in supported], axis=0).tolist()
    gain_kept = 100 * (now - zero) / (tuned - zero) if tuned > zero else np.nan
    supported_kept = 100 * kept_now / kept_zero if kept_zero > 0 else np.nan
    every_supported = [curve for curves in supported for curve in curves]
    return Values(
        alpha=float(np.mean([np.mean(patch.chosen) for _, patch in patched])),
        zero_shot=zero,
        fine_tuned=tuned,
        patched=now,
        supported_zero_shot=kept_zero,
        supported_fine_tuned=kept_tuned,
        supported_patched=kept_now,
        gain=now - zero,
        gain_kept=gain_kept,
        supported_loss=kept_zero - kept_now,
        supported_kept=supported_kept,
        distance=(tuned - now + kept_zero - kept_now) / 2,
        relative_distance=100 - (gain_kept + supported_kept) / 2,
        cka=_mean([curve.cka_debiased for curve in own]),
        cka_supported=_mean([curve.cka_debiased for curve in every_supported]),
        cka_biased=_mean([curve.cka for curve in own]),
        cka_supported_biased=_mean([curve.cka for curve in every_supported]),
        weight_cosine=_mean([patch.weight_cosine for _, patch in patched]),
    )


def _accuracies(curves: Sequence[Curve]) -> tuple[float, float, float]:
    """Return the mean accuracies in percent: unpatched, fine-tuned and patched."""
    ends = [(curve.before.percent, curve.fine_tuned.percent, curve.patched.percent) for curve in curves]
    before, tuned, patched = np.mean(ends, axis=0).tolist()
    return before, tuned, patched


def _mean(values: Sequence[float | None]) -> float:
    """Return the mean, or NaN if a value is missing."""
    return float(np.mean([np.nan if value is None else value for value in values]))
