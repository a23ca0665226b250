"""Read pickles of data sets safely: a pickle can run code, so only numpy arrays and plain types are rebuilt."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from models.registry import UserError

_RECONSTRUCT = np.empty(0).__reduce__()[0]  # numpy moved it, and files name the old or the new module


def _dtype(code: Any, *_flags: Any) -> np.dtype:
    """Return a dtype from its code. The files' other arguments (0 and 1 for flags) are deprecated in numpy."""
    return np.dtype(str(code))


ALLOWED = {
    ("numpy.core.multiarray", "_reconstruct"): _RECONSTRUCT,
    ("numpy._core.multiarray", "_reconstruct"): _RECONSTRUCT,
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): _dtype,
}


class _Restricted(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in ALLOWED:
            raise pickle.UnpicklingError(f"{module}.{name} is not allowed")
        return ALLOWED[module, name]


def restricted(file: BinaryIO) -> Any:
    """Return the object in a pickle. Raises UnpicklingError for anything but numpy arrays and plain types."""
    return _Restricted(file, encoding="latin1").load()


def load(path: Path) -> dict[str, Any]:
    """Return the dictionary in a CIFAR file. Raises UserError, naming the file, for objects that are not allowed."""
    try:
        with path.open("rb") as file:
            data = restricted(file)
    except pickle.UnpicklingError as error:
        raise UserError(f"Cannot read {path}: it is damaged or not a CIFAR file ({error}).") from error
    if not isinstance(data, dict):
        raise UserError(f"Cannot read {path}: it is not a CIFAR file, since it holds a {type(data).__name__}.")
    return data
