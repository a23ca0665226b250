"""The classes among which test images are classified, in one order that does not depend on the task of an image."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple, overload


class Candidate(NamedTuple):
    """A class: the label of its task, its label within the task, from 0, and its name."""

    task: int
    label: int
    name: str


class Candidates(Sequence[Candidate]):
    """Classes in order: by task, and within a task by label.

    Two tasks may have classes with equal prompts. Both are listed, and the benchmark decides which of them counts.

    Args:
        classnames: the class names of each task, by task label in ascending order.

    Attributes:
        tasks: the task labels in ascending order.
    """

    def __init__(self, classnames: Iterable[tuple[int, Sequence[str]]]):
        self._classes: list[Candidate] = []
        self._columns: dict[int, slice] = {}
        for task, names in classnames:
            start = len(self._classes)
            self._classes += [Candidate(task, label, name) for label, name in enumerate(names)]
            self._columns[task] = slice(start, len(self._classes))
        self.tasks = tuple(self._columns)

    def columns(self, task: int) -> slice:
        """Return the positions of a task's classes. Raises KeyError for a task that is not among `tasks`."""
        return self._columns[task]

    def __len__(self) -> int:
        return len(self._classes)

    @overload
    def __getitem__(self, index: int) -> Candidate: ...

    @overload
    def __getitem__(self, index: slice) -> list[Candidate]: ...

    def __getitem__(self, index: int | slice) -> Candidate | list[Candidate]:
        return self._classes[index]
