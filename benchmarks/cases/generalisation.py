"""`generalisation`: which tuning generalises to another style of a domain, and what it forgets (A-CLIP, 2402.09613).

Each domain is trained without the others, from the initial weights (option `start`). It is tested in the style that it was
trained in, in another style (target `NAME-ood`), and on everything else. `harness.records.generalisation` compares the tunings.

Mini edition: the eight domains of the stream. The other style is the domain's out-of-distribution set: an icon family or
typefaces that no other split has, or corrupted test images. The held-out domains are the supported tasks.

The strategies that run by default are A-CLIP's five tunings: full fine-tuning, BitFit, attention weights (A-CLIP), LoRA and
CLIP-Adapter. Their settings are those of the mini edition, searched on validation splits of whole streams.

There is no full edition. That A-CLIP used FMoW-WILDS, or ImageNet with its other versions, is not confirmed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from benchmarks import mini
from benchmarks.cases.case import Made, case_plan, edition_of
from benchmarks.catalog import DomainSource, find
from benchmarks.data.progress import Progress
from benchmarks.plan import Ask, StreamPlan
from models.registry import UserError

if TYPE_CHECKING:
    from benchmarks.data.domain import Domain

OTHER_STYLE = "-ood"
"""The ending of a target's name."""


def stream(ask: Ask) -> StreamPlan:
    """Return the plan.

    Raises:
        UserError: for another edition than mini, an order, or an unknown name.
    """
    no_order = "bench generalisation takes no --order: each domain is trained from the initial model."
    edition_of(ask, "generalisation", ("mini",), no_order)
    trained = [find(name, "mini", ask.data_root) for name in mini.STREAM]
    targets = [Made(source.name + OTHER_STYLE, partial(_other_style, source), (source,)) for source in trained]
    # Options of finetune, the base class, are options of every strategy.
    start = {"finetune": {"start": "initial"}}
    return case_plan(ask, "generalisation", "mini", trained, mini.HELDOUT, targets, start)


def _other_style(source: DomainSource, splits: Sequence[str], progress: Progress | None) -> Domain:
    """Return a domain whose test images are another one's out-of-distribution images."""
    domain = source.build(("test",), progress)
    if domain.ood is None:
        raise UserError(f"{source.name} has no out-of-distribution images.")
    return replace(domain, train=None, val=None, test=domain.ood, ood=None)
