"""Read the images of a task from study data: `<data-root>/broad/NAME.npz`.

The file holds `<split>_images`, uint8 [N, 3, 48, 48], and `<split>_labels`, int64 [N], for the splits train, val and test, and
for ood if the task has one. Its sizes must be those of the task's row.
"""

from __future__ import annotations

import hashlib
import zipfile

import numpy as np

from benchmarks.broad.task import Task
from benchmarks.broad.task_table import check_present, how_to_make, path
from benchmarks.mini.cache import Arrays
from benchmarks.mini.render import SIZE
from models.files import NotRegular, open_file, reason
from models.registry import UserError


def read(name: str, task: Task, data_root: str) -> Arrays:
    """Return the arrays of a task from its file.

    Raises:
        UserError: if the file is missing, damaged or not the one of the task's row.
    """
    check_present(name, data_root)
    file = path(name, data_root)
    again = how_to_make((name,), data_root)
    try:
        with open_file(file) as opened, np.load(opened, allow_pickle=False) as stored:
            arrays = {key: stored[key] for key in stored.files if key.endswith(("_images", "_labels"))}
    except NotRegular as error:
        raise UserError(f"Cannot read {file}: {reason(error)}. {again} makes it again.") from error
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise UserError(f"{file} is damaged. {again} makes it again.") from error
    if problem := _problem(task, arrays):
        raise UserError(f"{file} is not the file of the task {name}: {problem}. {again} makes it again.")
    return arrays


def version(name: str, data_root: str) -> str:
    """Return the SHA-256 of a task's file. Raises UserError if the file does not exist."""
    check_present(name, data_root)
    with open_file(path(name, data_root)) as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def _problem(task: Task, arrays: Arrays) -> str | None:
    """Return the first difference between arrays and a task's row, or None."""
    expected = {f"{split}_{part}" for split in task.size_of for part in ("images", "labels")}
    if arrays.keys() != expected:
        return f"it holds {', '.join(sorted(arrays)) or 'no arrays'}, expected {', '.join(sorted(expected))}"
    for split, size in task.size_of.items():
        images, labels = arrays[f"{split}_images"], arrays[f"{split}_labels"]
        if images.dtype != np.uint8 or images.shape != (size, 3, SIZE, SIZE):
            return f"{split}_images is {images.dtype} {list(images.shape)}, expected uint8 {[size, 3, SIZE, SIZE]}"
        if labels.dtype != np.int64 or labels.shape != (size,):
            return f"{split}_labels is {labels.dtype} {list(labels.shape)}, expected int64 {[size]}"
        if labels.min() < 0 or labels.max() >= len(task.classnames):
            return f"{split}_labels has values outside 0 to {len(task.classnames) - 1}"
    absent = sorted(set(range(len(task.classnames))) - set(arrays["train_labels"].tolist()))
    return f"the class {task.classnames[absent[0]]!r} has no training image" if absent else None
