"""The tasks of the suite `broad` that this project draws."""

from __future__ import annotations

from benchmarks.broad.task import Task

_LICENCE = "drawn by this project"

GENERATED: dict[str, Task] = {
    "positions": Task(
        ("top left", "top", "top right", "left", "centre", "right", "bottom left", "bottom", "bottom right"),
        ("a thing at the {} of the picture.", "something at the {}."),
        (900, 180, 450),
        0,
        _LICENCE,
        "rendered: one small shape in a cell of a three by three grid",
        "places:position",
    ),
}
"""One row per task, by name."""
