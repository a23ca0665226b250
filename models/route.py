"""The route of an encode call: which of the modules that were added to an encoder it passes through.

    with routed(2):
        features = encoder.encode_images(pixels)      # added modules read `current_route()` and use the part of task 2
    with routed(PLAIN):
        features = encoder.encode_images(pixels)      # the encoder without everything that was placed in it

A route is any hashable value, such as the number of a task. For images it may also be a tensor with one row per image, or a
tuple that contains such tensors. An encode call divides its rows into chunks, and each chunk gets its rows of these tensors.
`PromptClassifier` caches text features by route.
"""

from __future__ import annotations

import enum
from collections.abc import Hashable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Final

from torch import Tensor


class Plain(enum.Enum):
    """The type of `PLAIN`."""

    PLAIN = "plain"


PLAIN: Final = Plain.PLAIN
"""The route around every module that was placed in the towers, and around the adapters after them. LoRA stays."""
_route: ContextVar[Any] = ContextVar("route", default=None)


def current_route() -> Any:
    """Return the route of the encode call that runs, or None without one."""
    return _route.get()


def is_plain() -> bool:
    """Return whether the encode call that runs passes around the added modules."""
    return _route.get() is PLAIN


@contextmanager
def routed(route: Any) -> Iterator[None]:
    """Give every encode call within the block a route. Blocks may be nested; the innermost route holds.

    Args:
        route: a hashable value; for image passes also a tensor [B, ...], or a tuple with such tensors; None: no route.
    """
    token = _route.set(route)
    try:
        yield
    finally:
        _route.reset(token)


def rows_of(route: Any, rows: Tensor) -> Any:
    """Return the route of some rows of a batch: rows of its tensors, and everything else unchanged."""
    if isinstance(route, Tensor):
        return route[rows]
    if isinstance(route, tuple):
        parts = [rows_of(part, rows) for part in route]
        return type(route)(*parts) if hasattr(route, "_fields") else tuple(parts)
    return route


def route_key() -> Hashable:
    """Return the current route as a key of cached text features.

    Raises:
        TypeError: it contains tensors, so it belongs to the images of one batch.
    """
    route = _route.get()
    parts = route if isinstance(route, tuple) else (route,)
    if any(isinstance(part, Tensor) for part in parts) or not isinstance(route, Hashable):
        raise TypeError(
            "a route with one entry per image has no text features. Compute them under the route of one task: "
            "`with routed(task): classifier.text_features(task)`"
        )
    return route
