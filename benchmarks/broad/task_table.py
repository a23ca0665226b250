"""The table of the suite `broad`: the tasks that a study of predictors uses besides the mini edition's domains.

`broad` as a name of data means the eleven mini domains, the drawn tasks, and the tasks of `STUDY_DATA` whose files exist.
docs/broad.md describes the list and how it was made. This module imports neither torch nor NumPy.
"""

from __future__ import annotations

from pathlib import Path

from benchmarks.broad.generated_rows import GENERATED
from benchmarks.broad.study_data_rows import STUDY_DATA
from benchmarks.broad.task import Task
from models.paths import user_path
from models.registry import UserError

SUITE = "broad"
"""Name of the suite as data, edition of its tasks, and folder of its files below the data folder."""

TASKS: dict[str, Task] = {**GENERATED, **STUDY_DATA}


def path(name: str, data_root: str | Path) -> Path:
    """Return the path of the file of a task from study data."""
    return Path(user_path(str(data_root))) / SUITE / f"{name}.npz"


def present(data_root: str | Path) -> tuple[str, ...]:
    """Return the names of the tasks that can be read: the drawn ones, and those from study data whose files exist."""
    return tuple(name for name, task in TASKS.items() if not task.needs_study_data or path(name, data_root).exists())


def how_to_make(names: tuple[str, ...], data_root: str | Path) -> str:
    """Return the command that makes the files of tasks from study data."""
    only = "" if set(names) == set(STUDY_DATA) else f" --only {' '.join(names)}"
    return f"`python -m tools.study_data{only} --out {Path(data_root) / SUITE}`"


def check_present(name: str, data_root: str | Path) -> None:
    """Raise UserError if a task is from study data and its file does not exist."""
    if TASKS[name].needs_study_data and not path(name, data_root).exists():
        made_by = how_to_make((name,), data_root)
        raise UserError(f"The task {name} is missing: {path(name, data_root)} not found. {made_by} makes it.")


def missing_note(data_root: str | Path) -> str | None:
    """Return a sentence on the tasks of the suite whose files are missing, or None if the suite is complete."""
    there = present(data_root)
    missing = tuple(name for name in TASKS if name not in there)
    if not missing:
        return None
    return (
        f"The suite {SUITE} is incomplete: {len(missing)} of its tasks are missing under {Path(data_root) / SUITE} "
        f"({', '.join(missing)}). {how_to_make(missing, data_root)} makes them."
    )
