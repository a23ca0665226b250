"""Orders that are a rule: rotations of the tasks (`--order rotate:k`) and seeded orders of classes (`--order seed:1993`)."""

from __future__ import annotations

import re
from collections.abc import Sequence

from models.registry import UserError


def rotated(order: str | Sequence[str] | None, names: Sequence[str], label: str) -> tuple[str, tuple[str, ...]] | None:
    """Return the label and the names of a rotation, or None for an order that is not a rotation.

    "rotate:k" starts the order at its task k + 1 and ends it with its first k tasks. Its label is "rotate-k", which is also
    accepted as an order. SnD reports its eight tasks in all eight rotations.

    Args:
        order: the order as the user gives it.
        names: the tasks in the benchmark's default order.
        label: the label of that order, which is also that of "rotate:0".

    Raises:
        UserError: unless k is a number from 0 to the number of tasks minus 1.

    Example:
        >>> rotated("rotate:1", ("a", "b", "c"), "I")
        ('rotate-1', ('b', 'c', 'a'))
    """
    if not isinstance(order, str) or (match := re.fullmatch(r"rotate[:-](.*)", order)) is None:
        return None
    if not match[1].isdecimal() or int(match[1]) >= len(names):
        raise UserError(f"--order {order}: give a number from 0 to {len(names) - 1}, as in rotate:1.")
    start = int(match[1])
    return f"rotate-{start}" if start else label, (*names[start:], *names[:start])


def order_seed(order: str | Sequence[str] | None) -> int | None:
    """Return the seed of an order "seed:N" or "seed-N", its label. None for another order.

    Raises:
        UserError: unless N is a whole number below 2^32.
    """
    if not isinstance(order, str) or (match := re.fullmatch(r"seed[:-](.*)", order)) is None:
        return None
    if not match[1].isdecimal() or int(match[1]) >= 2**32:
        raise UserError(f"--order {order}: give a whole number below 2^32, as in seed:1993.")
    return int(match[1])
