"""Drawn images on disk: .npy arrays in an uncompressed .npz file, keyed by the versions of the generator and the packages."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import tempfile
import zipfile
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np

from benchmarks.data.cache_folder import cache_folder
from models.files import NotRegular, open_file, reason
from models.registry import UserError

GENERATOR_VERSION = 1
"""Increase it whenever any drawing changes: cached pictures of another version are not used."""

PACKAGES = ("numpy", "pillow", "qtawesome", "mlxtend", "matplotlib", "scikit-image", "scikit-learn")
_DIGEST = "digest"

Arrays = dict[str, np.ndarray]


def folder() -> Path:
    """Return the mini edition's folder in $PERENNIAL_CACHE or the user's cache folder."""
    return cache_folder("mini")


def version_key() -> str:
    """Return a short hash of the generator's version and of the versions of the packages that pictures come from."""
    return hashlib.sha256("\n".join([f"generator {GENERATOR_VERSION}", *_versions()]).encode()).hexdigest()[:12]


@functools.cache
def _versions() -> list[str]:
    versions = []
    for package in PACKAGES:
        try:
            versions.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            versions.append(f"{package} absent")
    return versions


def path(name: str) -> Path:
    """Return the cache file of the arrays called `name`."""
    return folder() / f"{name}-{version_key()}.npz"


def load_or_make(name: str, make: Callable[[], Arrays]) -> Arrays:
    """Return the arrays called `name`: from a valid file on disk, else made by `make` and stored."""
    return read_or_make(path(name), make)


def read_or_make(target: Path, make: Callable[[], Arrays]) -> Arrays:
    """Return the arrays in a file if it is valid, else make and store them."""
    stored = read(target)
    if stored is not None:
        return stored
    arrays = make()
    # A cache that cannot be written only costs time at the next start.
    with contextlib.suppress(OSError):
        write(target, arrays)
    return arrays


def digest(arrays: Arrays) -> str:
    """Return the SHA-256 of names, types, shapes and contents."""
    total = hashlib.sha256()
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        total.update(f"{name} {array.dtype} {array.shape}\n".encode())
        total.update(array.data)
    return total.hexdigest()


def read(target: Path) -> Arrays | None:
    """Return the arrays in a file, or None if it is missing or damaged.

    Raises:
        UserError: if the path is not a regular file, such as a named pipe.
    """
    try:
        with open_file(target) as file, np.load(file, allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in stored.files}
    except NotRegular as error:
        raise UserError(f"Cannot read the cache file {target}: {reason(error)}. Remove it and start again.") from error
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile):
        return None
    expected = arrays.pop(_DIGEST, None)
    if expected is None or str(expected) != digest(arrays):
        return None
    return arrays


def write(target: Path, arrays: Arrays) -> None:
    """Write arrays under a temporary name and rename the file. Raises OSError if it cannot be written."""
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=target.parent, suffix=".part")
    try:
        with os.fdopen(handle, "wb") as file:
            np.savez(file, allow_pickle=False, **{**arrays, _DIGEST: np.array(digest(arrays))})
        os.replace(temporary, target)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
