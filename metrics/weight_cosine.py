"""Cosine between two checkpoints, or between the changes of two trainings."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from models.weights import check_same

State = Mapping[str, Tensor]


def weight_cosine(theta_a: State, theta_b: State, origin: State | None = None) -> float:
    """Return the cosine of two state dicts as vectors, or of their task vectors theta_a - origin and theta_b - origin.

    Without `origin` it is near 1 for a model and its fine-tuned version (the comparison of PAINT, 2208.05592). With `origin`,
    the model that both started from, it is 0 when the two trainings changed the weights in unrelated directions (task
    vectors, 2212.04089). Only floating tensors count, in float64, one at a time. A tensor under several names counts once
    per name.

    Args:
        theta_a: state dict.
        theta_b: state dict of the same names and shapes.
        origin: state dict that both started from.

    Returns:
        The cosine in [-1, 1].

    Raises:
        ValueError: names or shapes differ, weights are not finite, or a vector is zero, which has no direction.
    """
    check_same(theta_a, theta_b)
    if origin is not None:
        check_same(theta_a, origin)
    dot, a_a, b_b = 0.0, 0.0, 0.0
    for name, tensor in theta_a.items():
        if not tensor.is_floating_point():
            continue
        a, b = (state[name].detach().to("cpu", torch.float64).flatten() for state in (theta_a, theta_b))
        if origin is not None:
            start = origin[name].detach().to("cpu", torch.float64).flatten()
            a, b = a - start, b - start
        dot, a_a, b_b = dot + float(a @ b), a_a + float(a @ a), b_b + float(b @ b)
    if not math.isfinite(dot + a_a + b_b):
        raise ValueError("the weights contain NaN or infinity")
    if a_a == 0 or b_b == 0:
        cause = "all weights of a checkpoint are zero" if origin is None else "a checkpoint equals the origin"
        raise ValueError(f"the cosine is undefined, because {cause}")
    # Rounding may exceed 1.
    return min(1.0, max(-1.0, dot / math.sqrt(a_a) / math.sqrt(b_b)))
