"""The tasks of the suite `broad` whose images `python -m tools.study_data` makes from pinned packages."""

from __future__ import annotations

from benchmarks.broad.task import Task

STUDY_DATA: dict[str, Task] = {}
"""One row per task, by name: the name of the file `<data-root>/broad/NAME.npz`."""
