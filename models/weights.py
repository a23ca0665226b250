"""Arithmetic on weights: pure functions on state dicts (name -> tensor)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

State = Mapping[str, Tensor]


def _equal(a: Tensor, b: Tensor) -> bool:
    return a.device == b.device and a.dtype == b.dtype and torch.equal(a, b)


def interpolate(theta_0: State, theta_1: State, alpha: float) -> dict[str, Tensor]:
    """(1 - alpha) * theta_0 + alpha * theta_1, tensor by tensor.

    WiSE-FT (Wortsman et al. 2022, eq. 1) and PAINT (2208.05592, section 2). alpha = 0 and 1 give exact copies of the ends.
    Only floating tensors are mixed; others (counters, indices) are taken from theta_1, or from theta_0 at alpha = 0.
    A tensor that stands under several names in theta_1 is mixed once and stays shared. One that is the same on both sides stays
    what it is, without the rounding of a mixture.

    Raises ValueError when names or shapes differ.
    """
    check_same(theta_0, theta_1)
    mixed: dict[str, Tensor] = {}
    done: dict[tuple[int, int, tuple[int, ...]], Tensor] = {}
    for name, one in theta_1.items():
        zero = theta_0[name]
        key = (zero.data_ptr(), one.data_ptr(), tuple(one.shape))
        if one.numel() and key in done:
            mixed[name] = done[key]
            continue
        if alpha == 0 or alpha == 1 or not one.is_floating_point() or _equal(zero, one):
            mixed[name] = (zero if alpha == 0 else one).detach().clone()
        else:
            mixed[name] = zero.detach() * (1 - alpha) + one.detach() * alpha
        done[key] = mixed[name]
    return mixed


def check_same(theta_0: State, theta_1: State) -> None:
    """Raise ValueError unless both state dicts have the same names and shapes."""
    missing = sorted(set(theta_0) ^ set(theta_1))
    if missing:
        raise ValueError(f"the state dicts differ in {len(missing)} names, the first is {missing[0]!r}")
    for name in theta_0:
        if theta_0[name].shape != theta_1[name].shape:
            shapes = f"{tuple(theta_0[name].shape)} and {tuple(theta_1[name].shape)}"
            raise ValueError(f"the shapes of {name!r} differ: {shapes}")


class RunningAverage:
    """The plain mean of the states seen so far, the first one included.

    After n updates: average <- (n * average + theta) / (n + 1) with n = 1, 2, ... (ZSCL's weight ensemble, where the first
    state is the model at the start of the task). Floating tensors only; others keep the latest value. `foreach` False takes
    one tensor after another.
    """

    def __init__(self, theta: State, foreach: bool = True):
        self.count = 1
        self.foreach = foreach
        self._floating = [name for name, tensor in theta.items() if tensor.is_floating_point()]
        self._average = {name: tensor.detach().clone() for name, tensor in theta.items()}

    def update(self, theta: State) -> None:
        """Add one state. Raises ValueError when names or shapes differ from the first one's."""
        check_same(self._average, theta)
        self.count += 1
        average, now = [self._average[name] for name in self._floating], [theta[name].detach() for name in self._floating]
        if self.foreach:
            torch._foreach_lerp_(average, now, 1 / self.count)
        else:
            for mean, value in zip(average, now, strict=True):
                mean.mul_(self.count - 1).add_(value).div_(self.count)
        for name, tensor in theta.items():
            if not tensor.is_floating_point():
                self._average[name].copy_(tensor)

    def state(self) -> dict[str, Any]:
        """What `load` takes: how many states there were, and the average itself."""
        return {"count": self.count, "average": {**self._average}}

    def load(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state` gave."""
        self.count = int(state["count"])
        self._average = {name: state["average"][name].to(tensor) for name, tensor in self._average.items()}

    def state_dict(self) -> dict[str, Tensor]:
        """A copy of the average."""
        return {name: tensor.clone() for name, tensor in self._average.items()}
