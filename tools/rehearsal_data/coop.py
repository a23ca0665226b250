"""The JSON files with CoOp's splits, for images that another layout wrote."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from tools.rehearsal_data.content import SPLITS, Item, document


class SplitFile(NamedTuple):
    """One of CoOp's files.

    Attributes:
        file: its path under the data folder.
        images: the folder that its paths are relative to.
        names: returns the class name of a class.
        official: the test images are the dataset's own. Otherwise CoOp divides all images.
        left_out: classes that CoOp leaves out.
    """

    file: str
    images: str
    names: Callable[[str], str] = str
    official: bool = False
    left_out: tuple[str, ...] = ()


def write(root: Path, split_file: SplitFile, items: Sequence[Item]) -> dict[str, int]:
    """Write the file, sorted by path, and return the images per split.

    The images of a class are train, test, val and train in turn, or train and val in turn next to official test images. A
    class with a single image for train and val has it in both, so that no split lacks a class for training.
    """
    base = root / split_file.images
    shown = sorted((item.path.relative_to(base).as_posix(), item) for item in items if item.key not in split_file.left_out)
    labels = {key: label for label, key in enumerate(sorted({item.key for _, item in shown}))}
    by_class: dict[str, list[tuple[str, Item]]] = {key: [] for key in labels}
    for path, item in shown:
        by_class[item.key].append((path, item))
    content: dict[str, list[list[object]]] = {split: [] for split in SPLITS}
    for key, members in by_class.items():
        official = [path for path, item in members if split_file.official and item.split == "test"]
        others = [path for path, item in members if not split_file.official or item.split != "test"]
        turns = ("train", "val") if split_file.official else ("train", "test", "val", "train")
        parts: dict[str, list[str]] = {split: [] for split in SPLITS}
        for number, path in enumerate(others):
            parts[turns[number % len(turns)]].append(path)
        parts["test"] = parts["test"] + official
        parts["val"] = parts["val"] or parts["train"]
        for split, paths in parts.items():
            content[split] += [[path, labels[key], split_file.names(key)] for path in paths]
    document(root / split_file.file, content)
    return {split: len(rows) for split, rows in content.items()}
