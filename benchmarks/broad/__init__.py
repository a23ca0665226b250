"""The suite `broad`: forty tasks of unequal sizes, for studies of gain and forgetting.

`study --domains broad` trains the eleven domains of the mini edition, the tasks drawn here, and the tasks from study data that
are present. docs/broad.md has the list, the sources and how the list was made.

Files in reading order:
    task.py, task_table.py                one row per task, and the names that are present
    generated_rows.py, study_data_rows.py the rows
    draw.py                               all splits of a drawn task, cached
    files.py                              reading a task from study data
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.broad.task_table import SUITE, TASKS
from benchmarks.data.progress import Progress

if TYPE_CHECKING:
    from benchmarks.data.domain import Domain
    from benchmarks.mini.cache import Arrays


def build(name: str, data_root: str = "data", progress: Progress | None = None) -> Domain:
    """Return a task with uint8 [3, 48, 48] images: drawn (seconds) and cached, or read from `<data_root>/broad/NAME.npz`.

    Args:
        name: a name in `TASKS`.
        data_root: the data folder.
        progress: called as progress(done, total, what) while images are drawn.

    Raises:
        UserError: if the file of a task from study data is missing or damaged.

    Example:
        >>> build("positions").prompts()[0]
        'a thing at the top left of the picture.'
    """
    from benchmarks.data.array_domain import array_domain

    return array_domain(name, TASKS[name], images(name, data_root, progress), f"the suite {SUITE}")


def images(name: str, data_root: str = "data", progress: Progress | None = None) -> Arrays:
    """Return a task as arrays: `<split>_images` uint8 [N, 3, 48, 48] and `<split>_labels` int64 [N]. Imports no torch."""
    from benchmarks.broad import draw, files
    from benchmarks.mini import cache

    task = TASKS[name]
    if task.needs_study_data:
        return files.read(name, task, data_root)
    return cache.read_or_make(cached(name), lambda: draw.draw(name, task, progress))


def cached(name: str) -> Path:
    """Return the path of the cached images of a drawn task."""
    from benchmarks.data.cache_folder import cache_folder

    return cache_folder(SUITE) / f"{name}-{version(name)}.npz"


def version(name: str, data_root: str = "data") -> str:
    """Return a digest of everything that decides a task's images, class names and templates.

    Raises:
        UserError: if the file of a task from study data does not exist.
    """
    from benchmarks.broad import draw, files
    from benchmarks.mini import cache

    task = TASKS[name]
    images = files.version(name, data_root) if task.needs_study_data else f"{draw.GENERATOR_VERSION} {cache.version_key()}"
    return hashlib.sha256(f"{images}\n{tuple(task)!r}".encode()).hexdigest()[:12]
