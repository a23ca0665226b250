"""The alpha curves on test sets that patching methods record (`strategies.patching`, option `curve`). Imports no torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from metrics.accuracy import Accuracy

Point = tuple[float, ...]


class Curve(NamedTuple):
    """Test accuracy on one test set between the weights before a patch and the fine-tuned ones.

    Attributes:
        stream: "test" or "heldout".
        task: name of the test set.
        accuracy: by alpha, from 0 (before) to 1 (fine-tuned). Points with a different alpha per vector are left out.
        patched: the accuracy at the chosen point.
        lost: images that are right before and wrong at the chosen point; None if the record does not count them.
        cka: linear CKA of the image features before and fine-tuned; None if it was not recorded or is undefined.
        cka_debiased: the same without the bias at few images (`metrics.cka.debiased_cka`).
    """

    stream: str
    task: str
    accuracy: dict[float, Accuracy]
    patched: Accuracy
    lost: int | None = None
    cka: float | None = None
    cka_debiased: float | None = None

    @property
    def before(self) -> Accuracy:
        """The accuracy at alpha = 0. Raises KeyError if it was not recorded."""
        return self.accuracy[0.0]

    @property
    def fine_tuned(self) -> Accuracy:
        """The accuracy at alpha = 1. Raises KeyError if it was not recorded."""
        return self.accuracy[1.0]


class Patch(NamedTuple):
    """One patch.

    Attributes:
        task: the task that was just trained.
        chosen: the chosen alphas.
        curves: a curve per test set.
        weight_cosine: cosine between the weights before and the fine-tuned ones, of the tensors that training changed; None if
            it was not recorded or is undefined.
    """

    task: str
    chosen: Point
    curves: list[Curve]
    weight_cosine: float | None = None

    def role(self, curve: Curve, targets: Sequence[str]) -> str:
        """Return the role of a test set in this patch: "patched", "target", "supported", or "other" for the other tasks."""
        if curve.stream == "test":
            return "patched" if curve.task == self.task else "other"
        return "target" if curve.task in targets else "supported"

    def of(self, stream: str, names: Sequence[str]) -> list[Curve]:
        """Return the curves of some test sets, in the order of the record."""
        return [curve for curve in self.curves if curve.stream == stream and curve.task in names]


def patches(searches: Sequence[Mapping[str, Any]] | None) -> list[Patch]:
    """Return the patches in `searches` of run.json that have curves, in the order of the tasks."""
    return [
        Patch(
            str(record["task"]),
            tuple(record["chosen"]),
            [_curve(row, tuple(record["chosen"])) for row in record["curve"]],
            record.get("weight_cosine"),
        )
        for record in searches or ()
        if record.get("curve")
    ]


def _curve(row: Mapping[str, Any], chosen: Point) -> Curve:
    cells = {tuple(point): Accuracy(correct, row["n"]) for point, correct in zip(row["points"], row["correct"], strict=True)}
    lost = row["lost"][[*cells].index(chosen)] if "lost" in row else None
    shared = {p[0]: cell for p, cell in cells.items() if len(set(p)) == 1}
    return Curve(row["stream"], row["task"], shared, cells[chosen], lost, row.get("cka"), row.get("cka_debiased"))
