"""Modules of a task with a scale, which may differ between images."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

from models.added import OfTask
from models.route import current_route, routed


class Share(NamedTuple):
    """A route: the task whose modules a call uses, and the scale of their outputs.

    Both are numbers, or tensors [B] with an entry per image. A task without modules (-1) adds nothing.
    """

    task: int | Tensor
    scale: float | Tensor


class ScaledOfTask(OfTask):
    """Passes inputs to the module of the route's task and scales its output. Adds nothing under any other route than `Share`.

    Its name and the modules are as in `OfTask`.
    """

    def forward(self, x: Tensor) -> Tensor | None:
        """Return the scaled output of the module that the route names [B, ...], or None."""
        route = current_route()
        if not isinstance(route, Share):
            return None
        with routed(route.task):
            output = super().forward(x)
        if output is None or not isinstance(route.scale, Tensor):
            return output if output is None or route.scale == 1 else output * route.scale
        return output * route.scale.to(output).view(-1, *[1] * (output.dim() - 1))
