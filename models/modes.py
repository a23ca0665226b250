"""The mode of a module's layers: training or evaluation."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Every layer in evaluation mode, afterwards in the mode that the module itself was in, whatever happens inside."""
    was_training = module.training
    module.eval()
    try:
        yield
    finally:
        module.train(was_training)
