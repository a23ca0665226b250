"""Arithmetic on weights: pure functions on state dicts (name -> tensor)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

State = Mapping[str, Tensor]


def _equal(a: Tensor, b: Tensor) -> bool:
    """Return whether two tensors have the same device, type and values."""
    return a.device == b.device and a.dtype == b.dtype and torch.equal(a, b)


def interpolate(theta_0: State, theta_1: State, alpha: float) -> dict[str, Tensor]:
    """Return (1 - alpha) * theta_0 + alpha * theta_1, tensor by tensor.

    WiSE-FT (Wortsman et al. 2022, eq. 1) and PAINT (2208.05592, section 2). alpha = 0 and 1 return exact copies of the ends.
    Only floating-point tensors are mixed. Others (counters, indices) come from theta_1, or from theta_0 at alpha = 0. A tensor
    under several names in theta_1 is mixed once and stays shared. A tensor that is equal on both sides is copied, without the
    rounding of a mixture.

    Args:
        theta_0: state dict, for example of the initial model.
        theta_1: state dict of the same names and shapes, for example of the fine-tuned model.
        alpha: weight of theta_1; values outside 0..1 extrapolate.

    Returns:
        A new state dict.

    Raises:
        ValueError: names or shapes differ.

    Examples:
        >>> import torch
        >>> interpolate({"w": torch.tensor([0.0, 4.0])}, {"w": torch.tensor([2.0, 4.0])}, 0.25)
        {'w': tensor([0.5000, 4.0000])}
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
    different = sorted(set(theta_0) ^ set(theta_1))
    if different:
        raise ValueError(f"the state dicts differ in {len(different)} names; the first is {different[0]!r}")
    for name in theta_0:
        if theta_0[name].shape != theta_1[name].shape:
            shapes = f"{tuple(theta_0[name].shape)} and {tuple(theta_1[name].shape)}"
            raise ValueError(f"the shapes of {name!r} differ: {shapes}")


class RunningAverage:
    """The plain mean of all states so far, including the first one.

    After n updates: average <- (n * average + theta) / (n + 1) with n = 1, 2, ... (ZSCL's weight ensemble, where the first
    state is the model at the start of the task). Only floating-point tensors are averaged. Others keep the latest value.

    Args:
        theta: the first state dict.
        foreach: update all tensors in one call; False: one tensor after another.

    Examples:
        >>> import torch
        >>> average = RunningAverage({"w": torch.tensor([0.0])})
        >>> average.update({"w": torch.tensor([3.0])})
        >>> average.update({"w": torch.tensor([6.0])})
        >>> average.state_dict()
        {'w': tensor([3.])}
    """

    def __init__(self, theta: State, foreach: bool = True):
        self.count = 1
        self.foreach = foreach
        self._floating = [name for name, tensor in theta.items() if tensor.is_floating_point()]
        self._average = {name: tensor.detach().clone() for name, tensor in theta.items()}

    def update(self, theta: State) -> None:
        """Add one state.

        Args:
            theta: state dict of the same names and shapes as the first.

        Raises:
            ValueError: names or shapes differ from those of the first state.
        """
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
        """Return the number of states and the average itself, for `load`."""
        return {"count": self.count, "average": {**self._average}}

    def load(self, state: Mapping[str, Any]) -> None:
        """Continue from a result of `state`."""
        self.count = int(state["count"])
        self._average = {name: state["average"][name].to(tensor) for name, tensor in self._average.items()}

    def state_dict(self) -> dict[str, Tensor]:
        """Return a copy of the average."""
        return {name: tensor.clone() for name, tensor in self._average.items()}
