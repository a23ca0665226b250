"""The parts of a saved run that are exported: towers, heads, adapters and a closed-form classifier."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from models import tuning
from models.classifier import Prompts
from models.encoder import DualEncoder
from models.prompts import fill
from models.registry import UserError
from models.route import PLAIN, routed

if TYPE_CHECKING:
    from harness.saved import SavedRun

CLIP = "clip."


class Head(NamedTuple):
    """The classes of a task or held-out domain.

    Attributes:
        name: the task's name.
        classnames: its class names.
        templates: its templates.
        text: text features of the classes [C, d], by the plain towers: unit rows of the template ensemble.
        rows: the rows that classify [C, d].
        kind: "text" if these are `text`, "trained" for a trained head, "context" for text features with a learned context.
        learned: whether the task was trained.
        held_out: whether it is a held-out domain.
        groups: the question of each class, or None.
        first: the first column of its classes in a closed-form classifier, or None.
    """

    name: str
    classnames: tuple[str, ...]
    templates: tuple[str, ...]
    text: Tensor
    rows: Tensor
    kind: Literal["text", "trained", "context"] = "text"
    learned: bool = True
    held_out: bool = False
    groups: tuple[int, ...] | None = None
    first: int | None = None


class Classifier(NamedTuple):
    """A closed-form classifier of the learned classes (`strategies.closed_form`).

    Attributes:
        kind: "means", "ridge" or "random ridge".
        tensors: "means" [C, d]; or "coefficients" [D, C], and with random features their "projection" [d, D].
        share: the share of its scores.
        rule: the images that it classifies.
    """

    kind: Literal["means", "ridge", "random ridge"]
    tensors: Mapping[str, Tensor]
    share: float
    rule: str


@dataclass(frozen=True)
class Exportable:
    """A model as it is exported.

    Attributes:
        encoder: the towers, with LoRA and adapters.
        heads: the classes of all tasks, then of the held-out domains.
        classifier: a closed-form classifier, or None.
    """

    encoder: DualEncoder
    heads: tuple[Head, ...]
    classifier: Classifier | None = None

    @cached_property
    def weights(self) -> dict[str, Tensor]:
        """The towers' tensors under open_clip's names, with LoRA added."""
        named = tuning.weights(self.encoder)
        return {name.removeprefix(CLIP): tensor.cpu() for name, tensor in named.items() if name.startswith(CLIP)}


def exportable(saved: SavedRun) -> Exportable:
    """Return what is exported of a saved run. Its encoder computes in float32 afterwards.

    Raises:
        UserError: the method needs more than towers, rows of classes, adapters and a closed-form classifier.
    """
    from strategies.closed_form import ClosedForm
    from strategies.coop import CoOp

    strategy: Any = saved.strategy
    _check(saved)
    saved.encoder.precision = "fp32"
    closed = isinstance(strategy, ClosedForm) and saved.after > 0
    firsts, columns = dict[int, int](), 0
    for task, classes in strategy.learned.items() if closed else ():
        firsts[task], columns = columns, columns + classes
    heads = []
    for label, (name, prompts) in enumerate(saved.heads().items()):
        rows, kind = saved.text_features(name), "text"
        if str(label) in saved.classifier.heads:
            kind = "trained"
        elif isinstance(strategy, CoOp) and saved.after:
            kind = "context"
        heads.append(
            Head(
                name,
                prompts.classnames,
                prompts.templates,
                text=rows if kind == "text" else plain_rows(saved.encoder, prompts),
                rows=rows,
                kind=kind,  # type: ignore[arg-type]  # one of the three
                learned=label < saved.after,
                held_out=name in saved.heldout,
                groups=prompts.groups,
                first=firsts.get(label),
            )
        )
    return Exportable(saved.encoder, tuple(heads), _closed_form(strategy) if closed else None)


def plain_rows(encoder: DualEncoder, prompts: Prompts) -> Tensor:
    """Return the text features [C, d] of class names by the plain towers: the mean over templates, as unit rows."""
    with torch.no_grad(), routed(PLAIN):
        texts = [encoder.encode_texts(encoder.tokenize(fill(template, prompts.classnames))) for template in prompts.templates]
        return F.normalize(torch.stack(texts).mean(dim=0), dim=-1)


def _check(saved: SavedRun) -> None:
    """Raise UserError for a method whose answers need code or modules that the exported files cannot hold."""
    from strategies.closed_form import ClosedForm
    from strategies.coop import CoOp
    from strategies.keep_lora import KeepLoRA

    encoder, strategy, name = saved.encoder, saved.strategy, saved.config.strategy
    if len(encoder.grown):
        raise _refused(name, "it keeps modules for each task and chooses among them for each image")
    # The modules of these two change nothing in the plain towers.
    if len(encoder.added) and type(strategy) not in (CoOp, KeepLoRA):
        raise _refused(name, f"the tuning {saved.config.tuning} adds modules to the towers")
    if saved.own_predict and type(strategy) is not CoOp and not isinstance(strategy, ClosedForm):
        raise _refused(name, "its `predict` or `test_features` is code of the method")


def _closed_form(strategy: Any) -> Classifier:
    """Return the classifier of a closed-form method. Raises UserError for one that cannot be exported."""
    from strategies.ranpac import RandomRidge
    from strategies.simple_cil import SimpleCIL

    options = strategy.options
    if type(strategy) is SimpleCIL:
        assert strategy.means is not None
        return Classifier("means", {"means": F.normalize(strategy.means, dim=1)}, options.share, options.rule)
    if not isinstance(strategy, RandomRidge):
        raise _refused(type(strategy).__name__, "its classifier is code of the method")
    if getattr(options, "kernel", "none") != "none":
        raise UserError(
            "RAIL with kernel=gaussian cannot be exported: it stores the features of all training images. With "
            "--set kernel=none it can."
        )
    assert strategy.coefficients is not None
    coefficients = {"coefficients": strategy.coefficients}
    if strategy.projection is None:
        return Classifier("ridge", coefficients, options.share, options.rule)
    return Classifier("random ridge", {**coefficients, "projection": strategy.projection}, options.share, options.rule)


def _refused(method: str, why: str) -> UserError:
    return UserError(
        f"A model of {method} cannot be exported: {why}. Methods that leave an encoder with rows of classes can be, also with "
        "LoRA, adapters, a probe or a closed-form classifier; `classify` uses a run of any method."
    )
