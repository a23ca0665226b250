"""Fingerprints of Python values: equal in every process for values that compute the same."""

from __future__ import annotations

import collections
import hashlib
import io
import types
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

UNKNOWN = "?"
"""The fingerprint of a value that cannot be compared, such as a running iterator."""

PRIMITIVES = (type(None), bool, int, float, complex, str, bytes, bytearray)


LIBRARIES = ("torch", "torchvision", "open_clip", "transformers", "timm", "models", "avalanche")


class _Unknown(Exception):
    """A part of the value cannot be compared."""


class Fingerprints:
    """Compute fingerprints of values.

    `shared` are objects that a resumed run has too, by name. Their fingerprint is only their name.
    """

    def __init__(self, shared: Mapping[str, Any] | None = None):
        self._shared = {id(value): name for name, value in (shared or {}).items() if not isinstance(value, PRIMITIVES)}
        self._done: dict[int, tuple[Any, str]] = {}
        self._open: set[int] = set()

    def of(self, value: Any) -> str:
        """Return 16 hexadecimal digits, or UNKNOWN.

        Tensors and arrays are compared by type, shape and bytes, but not by device. Modules are compared by their state dict, a
        user's modules also by their other attributes. Lists, tuples and deques are compared as sequences. Any other object is
        compared by what pickle would store of it.
        """
        try:
            return self._of(value)[:16]
        except _Unknown:
            return UNKNOWN
        finally:
            self._open.clear()

    def _of(self, value: Any) -> str:
        if isinstance(value, PRIMITIVES):
            return _digest(type(value).__name__, repr(value))
        key = id(value)
        if key in self._shared:
            return _digest("shared", self._shared[key])
        if key in self._done:
            return self._done[key][1]
        if key in self._open:
            return "cycle"
        self._open.add(key)
        try:
            digest = self._content(value)
        except RecursionError as error:
            raise _Unknown from error
        self._open.discard(key)
        # The value is kept so that its id is not used again.
        self._done[key] = value, digest
        return digest

    def _content(self, value: Any) -> str:
        if isinstance(value, Tensor):
            return _array(value)
        if isinstance(value, np.generic):
            return self._of(value.item())
        if isinstance(value, np.ndarray) and value.dtype != object:
            return _digest("array", value.dtype.name, str(value.shape), np.ascontiguousarray(value).tobytes())
        if isinstance(value, nn.Module):
            attributes = {} if _from_library(type(value)) else _plain_attributes(value)
            return _digest("module", self._mapping({**value.state_dict(), **attributes}))
        if isinstance(value, torch.Generator):
            return _digest("generator", _array(value.get_state()))
        if isinstance(value, Mapping):
            return self._mapping(value)
        if isinstance(value, (list, tuple, collections.deque)):
            if all(type(item) in PRIMITIVES for item in value):
                return _digest("sequence", repr(list(value)))
            return _digest("items", *[self._of(item) for item in value])
        if isinstance(value, (set, frozenset)):
            return _digest("set", *sorted(self._of(item) for item in value))
        if isinstance(value, type):
            return _digest("type", value.__module__, value.__qualname__)
        if isinstance(value, (types.ModuleType, types.BuiltinFunctionType, io.IOBase)):
            return _digest("named", str(type(value)), _name(value))
        if isinstance(value, types.FunctionType):
            cells = [_cell(cell) for cell in value.__closure__ or ()]
            return _digest("function", value.__module__, value.__qualname__, self._of([*cells, value.__defaults__]))
        return self._object(value)

    def _mapping(self, value: Mapping[Any, Any]) -> str:
        return _digest("mapping", *[self._of(key_or_value) for item in value.items() for key_or_value in item])

    def _object(self, value: Any) -> str:
        """Return the digest of the parts of an object that pickle would store."""
        try:
            reduced = value.__reduce_ex__(4)
        except Exception as error:  # a user's class may fail in any way
            if hasattr(value, "__next__"):
                raise _Unknown from error
            return _digest("opaque", type(value).__module__, type(value).__qualname__)
        if isinstance(reduced, str):
            return _digest("global", reduced)
        parts = [list(part) if i >= 3 and part is not None else part for i, part in enumerate(reduced)]
        return _digest("object", *[self._of(part) for part in parts])


def _digest(*parts: str | bytes) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part if isinstance(part, bytes) else part.encode("utf-8", "surrogatepass"))
        digest.update(b"\0")
    return digest.hexdigest()


def _array(tensor: Tensor) -> str:
    """Return the digest of a tensor: that of an array of the same type, shape and bytes, or of a Python number."""
    try:
        if tensor.dim() == 0:
            return _digest(type(tensor.item()).__name__, repr(tensor.item()))
        data = tensor.detach().cpu().contiguous()
        content = data.reshape(-1).view(torch.uint8).numpy().tobytes() if data.numel() else b""
        return _digest("array", str(tensor.dtype).removeprefix("torch."), str(tuple(tensor.shape)), content)
    except (RuntimeError, TypeError, NotImplementedError) as error:  # sparse, quantised, meta
        raise _Unknown from error


def _name(value: Any) -> str:
    return str(getattr(value, "__name__", ""))


def _cell(cell: types.CellType) -> Any:
    try:
        return cell.cell_contents
    except ValueError:
        return None


def _from_library(kind: type) -> bool:
    """Return whether a module's class is torch's, a model library's or the project's. Its state dict then determines it."""
    return kind.__module__.partition(".")[0] in LIBRARIES


def _plain_attributes(module: nn.Module) -> dict[str, Any]:
    """Return a module's attributes without parameters, buffers, modules, torch's private ones and the training flag."""
    return {name: value for name, value in vars(module).items() if not name.startswith("_") and name != "training"}


def changed(before: Mapping[str, str], now: Mapping[str, str]) -> dict[str, str]:
    """Return the entries of `now` that are new or differ from `before`. UNKNOWN counts as changed."""
    return {name: digest for name, digest in now.items() if before.get(name) != digest or digest == UNKNOWN}
