"""Take the tensors out of a TorchScript archive without running any of it.

OpenAI released CLIP as TorchScript. `torch.jit.load` compiles the archive's code and calls its `__setstate__` methods, and
`torch.load(weights_only=True)` refuses such archives. The one file that describes the modules' attributes (`data.pkl`) is
therefore read here, by an unpickler that can build only tensors, numbers, strings and containers.
"""

from __future__ import annotations

import pickle
import zipfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

DTYPES = {
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "FloatStorage": torch.float32,
    "DoubleStorage": torch.float64,
    "BoolStorage": torch.bool,
    "ByteStorage": torch.uint8,
    "CharStorage": torch.int8,
    "ShortStorage": torch.int16,
    "IntStorage": torch.int32,
    "LongStorage": torch.int64,
}
# Bytes, far more than the code of any model.
LARGEST_CODE = 100_000_000
LISTS = ("build_intlist", "build_doublelist", "build_boollist", "build_tensorlist")


def is_torchscript(path: Path) -> bool:
    """Return whether a file is a TorchScript archive: a zip with the constants of its code."""
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return any(name.endswith("/constants.pkl") for name in archive.namelist())


def check_archive(path: Path) -> None:
    """Raise ValueError for a zip archive whose compressed parts could unpack to more than the memory.

    torch compresses only code. Files that are not zip archives pass.
    """
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            compressed = [entry for entry in archive.infolist() if entry.compress_type != zipfile.ZIP_STORED]
        if (size := sum(entry.file_size for entry in compressed)) > LARGEST_CODE:
            raise ValueError(f"its compressed parts unpack to {size:,} bytes, which torch never writes")


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Return every parameter and buffer by name, named as in `state_dict`.

    Raises:
        pickle.UnpicklingError: the attributes are not only modules, tensors and plain values.
        zipfile.BadZipFile: the archive is damaged. KeyError, ValueError, TypeError and RuntimeError are possible too.
    """
    check_archive(path)
    with zipfile.ZipFile(path) as archive:
        (described,) = [name for name in archive.namelist() if name.endswith("/data.pkl") and name.count("/") == 1]
        with archive.open(described) as opened:
            root = _Attributes(opened, archive, described.removesuffix(".pkl")).load()
    state: dict[str, Tensor] = {}
    _collect(root, "", state)
    return state


def _collect(module: Any, prefix: str, state: dict[str, Tensor]) -> None:
    """Add the tensors of a module and its submodules to the state."""
    for name, value in module.attributes.items():
        if isinstance(value, Tensor):
            state[prefix + name] = value
        elif hasattr(value, "attributes"):
            _collect(value, f"{prefix}{name}.", state)


class _Attributes(pickle.Unpickler):
    """An unpickler that resolves only the few harmless names below."""

    def __init__(self, opened: Any, archive: zipfile.ZipFile, folder: str):
        super().__init__(opened)
        self._archive, self._folder = archive, folder
        self._storages: dict[str, Tensor] = {}

        # A new class for every file, because a pickle may write to the objects that it names.
        class Module:
            attributes: dict[str, Any]

            def __setstate__(self, attributes: dict[str, Any]) -> None:
                self.attributes = dict(attributes)

        self._module = Module

    def find_class(self, module: str, name: str) -> Any:
        """Return the harmless object for a name. Raises UnpicklingError for any other name."""
        if module == "__torch__" or module.startswith("__torch__."):
            return self._module
        if (module, name) == ("collections", "OrderedDict"):
            return dict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return self._tensor
        if module == "torch.jit._pickle" and name in LISTS:
            return list
        if module == "torch" and name in DTYPES:
            return name
        raise pickle.UnpicklingError(f"{module}.{name} is not a tensor")

    def persistent_load(self, pid: Any) -> Tensor:
        """Return a storage ("storage", dtype, file, device, length) as a flat tensor, read once so that views stay shared."""
        kind, dtype, file, _, length = pid
        if kind != "storage" or dtype not in DTYPES:
            raise pickle.UnpicklingError(f"{kind!r} is not a tensor")
        if file not in self._storages:
            data = bytearray(self._archive.read(f"{self._folder}/{file}"))
            empty = torch.empty(0, dtype=DTYPES[dtype])
            self._storages[file] = torch.frombuffer(data, dtype=empty.dtype) if data else empty
            if len(self._storages[file]) != length:
                raise ValueError(f"storage {file} holds {len(self._storages[file])} values, not {length}")
        return self._storages[file]

    @staticmethod
    def _tensor(storage: Tensor, offset: int, size: tuple[int, ...], stride: tuple[int, ...], *_: object) -> Tensor:
        """Return a view of a storage."""
        return storage.as_strided(size, stride, offset)
