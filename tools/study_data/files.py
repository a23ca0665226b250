"""Write the images of a task and its licences: `NAME.npz` and `NAME.txt`."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np

from benchmarks.broad.task import Task
from models.files import write_bytes
from tools.study_data.packages import PACKAGES


def write(folder: Path, name: str, task: Task, packages: tuple[str, ...], arrays: dict[str, np.ndarray]) -> Path:
    """Write both files of a task atomically and return the path of the images.

    The arrays are not compressed, so that the same images are the same bytes with every version of zlib.

    Raises:
        ValueError: if the number of images of a split is not that of the task's row.
    """
    sizes = {key.removesuffix("_labels"): len(labels) for key, labels in arrays.items() if key.endswith("_labels")}
    if sizes != task.size_of:
        raise ValueError(f"{name} has {sizes} images, but its row in benchmarks/broad/study_data_rows.py has {task.size_of}")
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **arrays)
    write_bytes(folder / f"{name}.txt", notes(name, task, packages).encode())
    write_bytes(folder / f"{name}.npz", buffer.getvalue())
    return folder / f"{name}.npz"


def notes(name: str, task: Task, packages: tuple[str, ...]) -> str:
    """Return the text with the licences of a task's images and the packages that they are made of."""
    lines = [f"{name}: {task.source}", f"Licence: {task.licence}", "", "Made of these packages:"]
    for package in (PACKAGES[short] for short in packages):
        lines.append(f"- {package.registry} {package.name} {package.version}, {package.licence}, SHA-256 {package.sha256}")
    return "\n".join(lines) + "\n"
