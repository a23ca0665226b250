"""Training and evaluation mode of a module's layers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Set every layer to evaluation mode, and afterwards restore the mode that the module was in, also after an error."""
    was_training = module.training
    module.eval()
    try:
        yield
    finally:
        module.train(was_training)
