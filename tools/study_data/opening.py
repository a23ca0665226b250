"""Open the packages of a recipe: fetched when first used, and read with a filter on their paths."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from tools import clients
from tools.study_data import archives
from tools.study_data.archives import Files
from tools.study_data.packages import PACKAGES


class Open(Protocol):
    """Read the wanted files of the package with a short name of `PACKAGES`."""

    def __call__(self, package: str, wanted: Callable[[str], bool]) -> Files:
        """Return contents by path."""


def opener(folder: Path) -> Open:
    """Return a function that fetches packages into a folder and reads their files."""

    def read(package: str, wanted: Callable[[str], bool]) -> Files:
        return archives.files(clients.fetch(PACKAGES[package], folder), wanted)

    return read


def below(folder: str, *endings: str) -> Callable[[str], bool]:
    """Return a filter for paths in a folder, at any depth, with one of the endings."""
    return lambda path: path.startswith(f"{folder}/") and path.endswith(endings or ("",))
