"""The interface of an export target."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import ClassVar, NamedTuple

from harness.export.exportable import Exportable


class Code(NamedTuple):
    """Lines of Python that use an exported model with the target's library. The README shows them, and the check runs them.

    Attributes:
        load: reads the folder `folder`, and defines `head`, `tensors` and what the other lines use.
        photo: sets `image` [1, 3, S, S] from the file "photo.jpg".
        encode: sets `features` [B, d], unit vectors, from `image` [B, 3, S, S].
        texts: defines `text_rows(class_names, templates)`, which returns text features [C, d].
        numpy: `image`, `features` and the tensors are numpy arrays and not torch's.
    """

    load: str
    photo: str
    encode: str
    texts: str
    numpy: bool = False


class Exporter(ABC):
    """A target of `export`.

    Args:
        model: the model to export.
        adapter: write LoRA's update as an adapter (`--adapter`).

    Attributes:
        library: the library's name in the front matter of a model card.
        exact_photos: whether the library's preprocessing of photos gives the same pixels as the benchmark's.
        adapters: whether it can write an update of the model as an adapter (`--adapter`).
    """

    library: ClassVar[str]
    exact_photos: ClassVar[bool] = True
    adapters: ClassVar[bool] = False

    def __init__(self, model: Exportable, adapter: bool = False):
        self.model, self.adapter = model, adapter

    @abstractmethod
    def check(self) -> None:
        """Raise UserError if the target cannot hold the model, naming a target that can. Called before anything is written."""

    @abstractmethod
    def write(self, folder: Path) -> None:
        """Write the model to an existing, empty folder."""

    @abstractmethod
    def code(self) -> Code | None:
        """Return the lines that use the written model; None if only this project can build its architecture."""
