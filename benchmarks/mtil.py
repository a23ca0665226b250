"""MTIL, multi-domain task-incremental learning (ZSCL, 2303.06628): one domain after the other, task identity known at
test time.

The mini edition has eight small domains; the full edition is the paper's eleven datasets.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from benchmarks.domain import Domain
from models.registry import UserError, unknown


class StreamPlan(NamedTuple):
    """What a stream is made of: domain names in order, held-out names, and how to build a domain of that name."""

    order: str
    names: tuple[str, ...]
    heldout: tuple[str, ...]
    build: Callable[..., Domain]


def stream(edition: str, order: str | Sequence[str], heldout: Sequence[str] | None = None) -> StreamPlan:
    """The plan of one edition and order.

    `order` is "I" (alphabetical, as in the paper), "II" (a fixed other permutation) or a list of domain names, which
    may be a part of the benchmark's. `heldout` None means the edition's default.

    Raises UserError for unknown names, a domain named twice, or one both trained and held out.
    """
    if edition == "full":
        raise UserError(
            "The full edition of mtil (eleven downloaded datasets, ViT-B-16, a GPU) is not part of this version yet; "
            "the mini edition runs the same code: leave out --edition."
        )
    from benchmarks import mini

    known = {*mini.STREAM, *mini.HELDOUT}
    held = tuple(mini.HELDOUT if heldout is None else heldout)
    if isinstance(order, str):
        orders = {"I": mini.STREAM, "II": mini.ORDER_II, "default": mini.STREAM}
        if order not in orders:
            if "," in order or order in known:
                return stream(edition, [n.strip() for n in order.split(",")], heldout)
            raise unknown("order", order, ["I", "II", *mini.STREAM])
        label, names = ("I" if order == "default" else order), tuple(orders[order])
    else:
        label, names = "custom", tuple(order)
    for name in (*names, *held):
        if name not in known:
            raise unknown("domain", name, known)
    if len(set(names)) < len(names):
        raise UserError(f"The order names a domain twice: {', '.join(names)}.")
    if heldout is None:
        held = tuple(name for name in held if name not in names)
    if both := sorted(set(names) & set(held)):
        raise UserError(f"{', '.join(both)} cannot be both trained and held out.")
    return StreamPlan(label, names, held, mini.build)
