"""The first and the last step of every reader: parse the arguments, make the domain."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.data.dataset import targets_of
from benchmarks.data.domain import Domain
from benchmarks.own.columns import chosen_columns
from benchmarks.own.names import Names, Templates, read_names, read_templates
from benchmarks.own.scan import ANNOTATIONS
from benchmarks.own.split import Division, check_presence
from models.paths import user_path


class Request(NamedTuple):
    """The data that a reader is asked for.

    Attributes:
        name: the path or name as typed, without columns.
        place: its absolute path, which need not exist.
        columns: the chosen column by role.
    """

    name: str
    place: Path
    columns: dict[str, str]


class Annotations(NamedTuple):
    """Class names (a list in class order, a dictionary by folder or label, or None) and prompt templates."""

    classnames: list[str] | dict[str, str] | None
    templates: tuple[str, ...]


def parse_request(path: str | Path, **columns: str | None) -> Request:
    """Parse `NAME:label=COLUMN`. Columns that are given by role as arguments replace those of the text."""
    name, chosen = chosen_columns(str(path))
    chosen |= {role: column for role, column in columns.items() if column is not None}
    return Request(name, Path(os.path.abspath(user_path(name))), chosen)


def read_annotations(folder: Path | None, classnames: Names, templates: Templates) -> Annotations:
    """Read class names and templates: the given ones, else those in classnames.txt and templates.txt of a folder."""
    if folder is not None:
        names_file, templates_file = (folder / name for name in ANNOTATIONS)
        classnames = names_file if classnames is None and names_file.is_file() else classnames
        templates = templates_file if templates is None and templates_file.is_file() else templates
    return Annotations(read_names(classnames), read_templates(templates))


def make_domain(
    name: str,
    classnames: Sequence[str],
    templates: Sequence[str],
    division: Division[Any],
    *,
    where: str,
    source: str,
    keys: Sequence[str] | None = None,
    key_noun: str = "class",
    warnings: Sequence[str] = (),
    notes: Sequence[str] = (),
    published: bool = False,
) -> Domain:
    """Return the domain of datasets by split, after checking that every class has the images it needs.

    Args:
        name: the domain's name.
        classnames: the class names.
        templates: the prompt templates.
        division: the dataset of each split.
        where: the data in messages.
        source: the first part of `Domain.source`.
        keys: the classes in messages; the class names if None.
        key_noun: the noun for a key ("class folder").
        warnings: as in `Domain`.
        notes: as in `Domain`.
        published: as in `Domain`.

    Raises:
        UserError: for a class without images, and for one without training images.
    """
    splits = division.splits
    check_presence({split: targets_of(dataset) for split, dataset in splits.items()}, keys or classnames, where, key_noun)
    return Domain(
        name=name,
        classnames=tuple(classnames),
        templates=tuple(templates),
        train=splits.get("train"),
        val=splits.get("val"),
        test=splits["test"],
        source=", ".join(filter(None, [source, division.note])),
        split_sources={split: division.sources[split] for split in splits if split in division.sources},
        warnings=tuple(warnings),
        notes=tuple(notes),
        published=published,
    )
