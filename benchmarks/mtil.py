"""MTIL, multi-domain task-incremental learning (ZSCL, 2303.06628).

Domains are learned in sequence, and the task of a test image is known. The mini edition has eight small domains, the full
edition the paper's eleven datasets.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from benchmarks import mini
from benchmarks.catalog import MINI, find, held_out, plan_of
from benchmarks.names import split_names
from benchmarks.orders import rotated
from benchmarks.plan import Ask, StreamPlan
from models.registry import UserError, unknown
from reference_data.mtil import ORDER_I
from reference_data.mtil import ORDERS as FULL_ORDERS

ORDERS: dict[str, Mapping[str, tuple[str, ...]]] = {"mini": {"I": mini.STREAM, "II": mini.ORDER_II}, "full": FULL_ORDERS}
HELDOUT: dict[str, tuple[str, ...]] = {"mini": mini.HELDOUT, "full": ()}


def stream(ask: Ask) -> StreamPlan:
    """Return the plan of one edition and order.

    `order` is "I" (alphabetical, as in the paper), "II" (the paper's second order; in the mini edition a fixed permutation),
    "rotate:k" (Order I from its task k + 1 on, then its first k tasks) or a list of the edition's domain names, which may leave
    some out. By default the mini edition holds out three domains,
    the full edition none, as in the paper. Any domain may be held out.

    Raises:
        UserError: for an unknown name, a repeated domain, or a domain that is both trained and held out.
    """
    return _plan(ask, "mtil")


def open_domain(ask: Ask) -> StreamPlan:
    """Return the plan of open-domain class-incremental learning (ODCL-CIL of CoLeCLIP): the domains of MTIL in its orders.

    The classes of all tasks learned so far compete for a test image. Classes of the same name are one class.

    Raises:
        UserError: as for `stream`.
    """
    return replace(_plan(ask, "odcl"), protocol=ask.protocol or "class", duplicates=ask.duplicates or "merge")


def _plan(ask: Ask, benchmark: str) -> StreamPlan:
    ask.refuse(benchmark, "tasks", "dataset", "steps", "base", "classnames", "templates")
    edition = ask.edition or "mini"
    if edition not in ORDERS:
        raise UserError(
            f"{benchmark} has the editions mini and full, not {edition!r}. For your own data use bench stream --tasks ..."
        )
    label, names = order_of(edition, ask.order)
    trained = [find(name, edition, ask.data_root) for name in names]
    heldout = held_out(ask, edition, names, HELDOUT[edition])
    return plan_of(ask, benchmark, edition, label, trained, heldout, whole_train=edition == "full")


def order_of(edition: str, order: str | Sequence[str] | None) -> tuple[str, tuple[str, ...]]:
    """Return the label ("I", "II", "rotate-k", "custom") and the domain names of an order."""
    orders = ORDERS[edition]
    if order is None or order == "default":
        order = "I"
    if isinstance(order, str) and order in orders:
        return order, orders[order]
    if (rotation := rotated(order, orders["I"], "I")) is not None:
        return rotation
    known = MINI if edition == "mini" else ORDER_I
    names = split_names(order)
    for name in names:
        if name not in known:
            raise unknown("order" if len(names) == 1 else "domain", name, ["I", "II", *known] if len(names) == 1 else known)
    if not names:
        raise UserError("--order names no domain: give I, II, rotate:k, or domain names.")
    return "custom", names
