"""Bytes of the tensors that autograd keeps from the forward to the backward pass."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn


class SavedTensors:
    """Sums the storages that autograd saves for the backward pass, and keeps the largest sum.

    A storage counts once however many operations save it. Storages of parameters do not count. Exact on every device; the
    memory allocator's rounding and temporary tensors of single operations are not part of it. Passes in chunks
    (`DualEncoder.microbatch`) save nothing but their inputs here: `of_rows` has the activations of a chunk.
    """

    def __init__(self) -> None:
        self.largest = 0
        self._live: dict[int, tuple[int, int]] = {}
        self._sum = 0
        self._hooks: Any = None

    def begin(self) -> None:
        """Begin to sum."""
        self.largest, self._sum, self._live = 0, 0, {}
        self._hooks = torch.autograd.graph.saved_tensors_hooks(self._pack, lambda held: held.tensor)
        self._hooks.__enter__()

    def end(self) -> int:
        """Return the largest sum of bytes since `begin`."""
        self._hooks.__exit__(None, None, None)
        self._hooks = None
        return self.largest

    def _pack(self, tensor: Tensor) -> _Held:
        storage = tensor.untyped_storage()
        key = storage.data_ptr()
        if isinstance(tensor, nn.Parameter) or (tensor._base is not None and isinstance(tensor._base, nn.Parameter)):
            return _Held(tensor)
        size, holders = self._live.get(key, (storage.nbytes(), 0))
        if not holders:
            self._sum += size
            self.largest = max(self.largest, self._sum)
        self._live[key] = size, holders + 1
        held = _Held(tensor)
        weakref.finalize(held, self._release, key)
        return held

    def _release(self, key: int) -> None:
        size, holders = self._live[key]
        if holders > 1:
            self._live[key] = size, holders - 1
        else:
            del self._live[key]
            self._sum -= size


class _Held:
    """A saved tensor."""

    def __init__(self, tensor: Tensor):
        self.tensor = tensor


def bytes_of(run: Callable[[], Tensor]) -> int:
    """Return the bytes of activations that the result of `run` keeps for its backward pass."""
    saved = SavedTensors()
    saved.begin()
    try:
        with torch.enable_grad():
            result = run()
    finally:
        largest = saved.end()
    del result
    return largest
