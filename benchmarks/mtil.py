"""MTIL, multi-domain task-incremental learning (ZSCL, 2303.06628): one domain after the other, task identity known at
test time.

The mini edition has eight small domains; the full edition is the paper's eleven datasets.
"""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks import mini
from benchmarks.catalog import find, held_out, plan_of
from benchmarks.plan import Ask, StreamPlan, names_in
from models.registry import UserError, unknown

ORDER_I = tuple(
    ["Aircraft", "Caltech101", "CIFAR100", "DTD", "EuroSAT", "Flowers", "Food", "MNIST", "OxfordPet", "StanfordCars", "SUN397"]
)
ORDER_II = tuple(
    ["StanfordCars", "Food", "MNIST", "OxfordPet", "Flowers", "SUN397", "Aircraft", "Caltech101", "DTD", "EuroSAT", "CIFAR100"]
)
ORDERS = {
    "mini": {"I": mini.STREAM, "II": mini.ORDER_II},
    "full": {"I": ORDER_I, "II": ORDER_II},
}
HELDOUT: dict[str, tuple[str, ...]] = {"mini": mini.HELDOUT, "full": ()}


def stream(ask: Ask) -> StreamPlan:
    """The plan of one edition and order.

    `order` is "I" (alphabetical, as in the paper), "II" (the paper's other one; in the mini edition a fixed permutation)
    or a list of the edition's domain names, which may be a part of them. `heldout` None means the edition's default: three
    domains in the mini edition, none in the full one, as in the paper; any domain may be held out.

    Raises UserError for unknown names, a domain named twice, or one both trained and held out.
    """
    ask.refuse("mtil", "tasks", "dataset", "steps", "base", "classnames", "templates")
    edition = ask.edition or "mini"
    if edition not in ORDERS:
        raise UserError(f"mtil has the editions mini and full, not {edition!r}; your own data: bench stream --tasks ...")
    label, names = order_of(edition, ask.order)
    trained = [find(name, edition, ask.data_root) for name in names]
    heldout = held_out(ask, edition, names, HELDOUT[edition])
    return plan_of(ask, "mtil", edition, label, trained, heldout, whole_train=edition == "full")


def order_of(edition: str, order: str | Sequence[str] | None) -> tuple[str, tuple[str, ...]]:
    """The label ("I", "II", "custom") and the names of an order."""
    orders = ORDERS[edition]
    if order is None or order == "default":
        order = "I"
    if isinstance(order, str) and order in orders:
        return order, tuple(orders[order])
    known = [*mini.STREAM, *mini.HELDOUT] if edition == "mini" else ORDER_I
    names = names_in(order)
    for name in names:
        if name not in known:
            raise unknown("order" if len(names) == 1 else "domain", name, ["I", "II", *known] if len(names) == 1 else known)
    if not names:
        raise UserError("The order names no domain.")
    return "custom", names
