"""Photographs of typographic attacks, by the file-name format of PAINT's released data: `label=dog_text=cat.png`."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from benchmarks.data.progress import Progress
from models.registry import UserError, check_text, escaped

if TYPE_CHECKING:
    from benchmarks.catalog import DomainSource
    from benchmarks.data.domain import Domain

FOLDER = "typographic"
"""Name of the folder of photographs in the data folder."""
TEMPLATES = ("a photo of a {}.",)
_NAME = re.compile(r"label=(?P<label>.+?)_text=(?P<text>.+?)(?:[_ ]\d+|[_ ]?\(\d+\))?\.(?:png|jpe?g|webp)", re.IGNORECASE)


class Photograph(NamedTuple):
    """A photograph: its file, the class that it shows, and the wrong class that is written on it."""

    path: Path
    label: str
    text: str


def parse(name: str) -> tuple[str, str] | None:
    """Return (label, text) of a file name, or None if it has another form.

    A number at the end distinguishes photographs of the same pair. Underscores within a name are blanks.

    Examples:
        >>> parse("label=dog_text=cat.png")
        ('dog', 'cat')
        >>> parse("label=coffee_mug_text=egg_2.JPG")
        ('coffee mug', 'egg')
    """
    match = _NAME.fullmatch(name)
    if match is None:
        return None
    label, text = (match[group].replace("_", " ").strip() for group in ("label", "text"))
    return (label, text) if label and text else None


def folder_in(data_root: str) -> Path | None:
    """Return the folder of photographs in a data folder, or None."""
    folder = Path(data_root) / FOLDER
    return folder if folder.is_dir() else None


def read(folder: Path) -> list[Photograph]:
    """Return the photographs of a folder in the order of their names.

    Raises:
        UserError: for a folder without photographs, an image with another name, and a photograph whose text is its label.
    """
    photographs = []
    for entry in sorted(os.scandir(folder), key=lambda entry: entry.name):
        if entry.name.startswith(".") or not entry.name.lower().endswith((".png", ".jpg", ".jpeg", ".webp")):
            continue
        pair = parse(entry.name)
        if pair is None:
            raise UserError(
                f"The file {escaped(entry.name)} in {folder} must be called label=CLASS_text=CLASS.png, such as "
                "label=dog_text=cat.png: rename or remove it."
            )
        if pair[0] == pair[1]:
            raise UserError(f"The file {escaped(entry.name)} in {folder} has the same label and text: remove it.")
        for word in pair:
            check_text(word, f"class name in the file name {escaped(entry.name)}")
        photographs.append(Photograph(Path(entry.path), *pair))
    if not photographs:
        raise UserError(f"The folder {folder} has no photographs called label=CLASS_text=CLASS.png.")
    return photographs


def full_vocabulary(photographs: Sequence[Photograph], templates: Sequence[str] = TEMPLATES) -> Domain:
    """Return the photographs as a domain in which all labels and texts compete for every image."""
    names = sorted({name for photograph in photographs for name in (photograph.label, photograph.text)})
    return _domain("photographs", photographs, names, [names.index(p.label) for p in photographs], templates)


def two_way(photographs: Sequence[Photograph], templates: Sequence[str] = TEMPLATES) -> Domain:
    """Return the photographs as a domain in which only the label and the text of an image compete for it.

    Every pair of names is a question (`Domain.groups`) with two options.
    """
    pairs = sorted({(min(p.label, p.text), max(p.label, p.text)) for p in photographs})
    options = [(group, name) for group, pair in enumerate(pairs) for name in pair]
    place = {option: number for number, option in enumerate(options)}
    question = {pair: group for group, pair in enumerate(pairs)}
    labels = [place[question[min(p.label, p.text), max(p.label, p.text)], p.label] for p in photographs]
    groups = tuple(group for group, _ in options)
    return _domain("photographs-two-way", photographs, [name for _, name in options], labels, templates, groups)


def _domain(
    name: str,
    photographs: Sequence[Photograph],
    classnames: Sequence[str],
    labels: Sequence[int],
    templates: Sequence[str],
    groups: tuple[int, ...] | None = None,
) -> Domain:
    from benchmarks.data.domain import Domain
    from benchmarks.data.images import ImageFiles

    images = ImageFiles([p.path for p in photographs], labels, upright=True)
    source = f"the photographs in {photographs[0].path.parent}"
    return Domain(
        name,
        tuple(classnames),
        tuple(templates),
        None,
        None,
        images,
        source=source,
        split_sources={"test": source},
        groups=groups,
    )


@dataclass(frozen=True)
class Photographs:
    """The source of a domain of photographs (`benchmarks.catalog.DomainSource`).

    Attributes:
        folder: the folder.
        two_way: only the label and the text of an image compete for it, instead of all names in the folder.
        templates: the prompts.
    """

    folder: Path
    two_way: bool
    templates: tuple[str, ...] = TEMPLATES
    edition: str = "own"

    @property
    def name(self) -> str:
        """The name in records."""
        return "photographs-two-way" if self.two_way else "photographs"

    def build(self, splits: Sequence[str], progress: Progress | None = None) -> Domain:
        """Return the domain, which has test images only. Raises UserError for other files in the folder."""
        photographs = read(self.folder)
        return (two_way if self.two_way else full_vocabulary)(photographs, self.templates)

    def differences(self, domain: Domain) -> list[str]:
        """Return no sentences."""
        return []

    def version(self) -> str:
        """Return a digest of the names, sizes and times of the photographs."""
        entries = sorted(os.scandir(self.folder), key=lambda entry: entry.name)
        facts = [f"{e.name} {e.stat().st_size} {e.stat().st_mtime_ns}" for e in entries if e.is_file()]
        return hashlib.sha256("\n".join([self.name, *self.templates, *facts]).encode()).hexdigest()[:12]

    def sources(self) -> list[DomainSource]:
        """Return no domains: this one is read from files."""
        return []
