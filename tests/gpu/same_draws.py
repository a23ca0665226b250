"""Random numbers that do not depend on the device."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode

ALIKE = {torch.randn_like: torch.randn, torch.rand_like: torch.rand}


class SameDraws(TorchFunctionMode):
    """Let noise, dropout and initial weights come from the processor's generator, in float32, on every device.

    A processor and a GPU have separate generators, so runs with random layers could not be compared otherwise.
    """

    def __torch_function__(
        self, function: Callable[..., Any], types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Call a function of torch, or draw in its place."""
        kwargs = kwargs or {}
        if function in ALIKE:
            return ALIKE[function](args[0].shape).to(args[0])
        if function is functional.dropout:
            return _dropout(*args, **kwargs)
        tensor = args[0] if args else kwargs.get("tensor")
        if getattr(function, "__module__", None) == "torch.nn.init" and isinstance(tensor, Tensor) and tensor.is_cuda:
            drawn = torch.empty(tensor.shape)
            function(drawn, *args[1:], **{key: value for key, value in kwargs.items() if key != "tensor"})
            tensor.data.copy_(drawn)
            return tensor
        return function(*args, **kwargs)


def _dropout(input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    if not training or p == 0:
        return input
    kept = (torch.rand(input.shape) >= p).to(input)
    return input * kept / (1 - p)
