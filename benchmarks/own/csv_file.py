"""A CSV file of images and labels as a domain."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.data.domain import Domain
from benchmarks.data.images import ImageFiles
from benchmarks.own.columns import chosen_columns
from benchmarks.own.labels import labelling
from benchmarks.own.names import Names, Templates, read_names, read_templates
from benchmarks.own.scan import ANNOTATIONS
from benchmarks.own.split import check_presence, drawn_sources, sources_with_test, split_by_class, split_note, with_test
from benchmarks.own.text_table import Row, image_path, metadata_files, read_table, why_missing
from models.paths import user_path
from models.registry import UserError


def from_csv(
    path: str | Path,
    *,
    classnames: Names = None,
    templates: Templates = None,
    name: str | None = None,
    seed: int = 0,
    image_column: str | None = None,
    label_column: str | None = None,
    split_column: str | None = None,
) -> Domain:
    """Read the domain in a table of images: a text file with columns for path, label and perhaps split (see `table`).

    Paths are relative to the file's folder. Without a split column 80/10/10 of each class are taken, seeded, whatever
    the order of the rows. With one, the rules of `folder.from_folder` hold. A test split in which no image has a label is left
    out, and the validation split is the test split.

    Labels are class names, or integers with a list of `classnames`, or keys of `label<TAB>name`: see `labels.labelling`.

    Args:
        path: the file, or `FILE:label=COLUMN:image=COLUMN:split=COLUMN`.
        image_column, label_column, split_column: columns, where the header is not clear.

    Raises:
        UserError: for every mistake, with the line number where there is one: see `read_table`, and a missing image, a
            label outside the class names, a class without training images, fewer than two classes.
    """
    file, columns = chosen_columns(str(path))
    given = {"image": image_column, "label": label_column, "split": split_column}
    columns |= {role: column for role, column in given.items() if column is not None}
    table = Path(os.path.abspath(user_path(file)))
    if table.is_dir():
        raise UserError(f"{file} is a folder; a CSV file is wanted.")
    if not table.is_file():
        raise UserError(f"There is no file {file}.")
    names = read_names(classnames)
    return _domain([(table, None)], columns, names, read_templates(templates), name or table.stem, str(table), seed)


def from_metadata(
    path: str | Path,
    *,
    classnames: Names = None,
    templates: Templates = None,
    name: str | None = None,
    seed: int = 0,
    image_column: str | None = None,
    label_column: str | None = None,
) -> Domain:
    """Read the domain in a folder of images with metadata.csv, as Hugging Face `datasets` calls an image folder.

    There is one file for the whole folder, or one in each split folder. See `from_csv` for columns and mistakes.
    """
    text, columns = chosen_columns(str(path))
    columns |= {role: c for role, c in (("image", image_column), ("label", label_column)) if c is not None}
    root = Path(os.path.abspath(user_path(text)))
    names = read_names(_beside(root, classnames, ANNOTATIONS[0]))
    found = read_templates(_beside(root, templates, ANNOTATIONS[1]))
    return _domain(metadata_files(root), columns, names, found, name or root.name, str(root), seed)


def _beside(folder: Path, given: Any, filename: str) -> Any:
    """Return what was given, else the file of that name in the folder, if there is one."""
    return folder / filename if given is None and (folder / filename).is_file() else given


def _domain(
    tables: Sequence[tuple[Path, str | None]],
    columns: dict[str, str],
    names: list[str] | dict[str, str] | None,
    templates: tuple[str, ...],
    name: str,
    where: str,
    seed: int,
) -> Domain:
    """Return the domain of tables, each with the split that its folder says, or None."""
    rows: list[tuple[Path, Row]] = []
    notes: list[str] = []
    warnings: list[str] = []
    for table, split in tables:
        read = read_table(table, columns, named=names is None)
        rows += [(table, row._replace(split=row.split or split)) for row in read.rows]
        notes += read.notes
        warnings += read.warnings if split is None else ()
    places = [f"{table}, line {row.line}" for table, row in rows]
    paths = [image_path(table, row.path) for table, row in rows]
    missing = [i for i, image in enumerate(paths) if not os.path.isfile(image)]
    if missing:
        more = f" (and {len(missing) - 1:,} more)" if len(missing) > 1 else ""
        table, row = rows[missing[0]]
        raise UserError(f"{places[missing[0]]}: {why_missing(table, row.path)}{more}.")
    found = labelling([row.label for _, row in rows], names, lambda i: places[i])
    # By path, so that the order of the rows does not matter.
    order = sorted(range(len(rows)), key=lambda i: (str(rows[i][0]), rows[i][1].path))
    said = {row.split for _, row in rows}
    if said == {None} or (said == {"train"} and all(split == "train" for _, split in tables)):
        parts = split_by_class([found.labels[i] for i in order], found.keys, seed)
        indices = {split: [order[i] for i in part] for split, part in parts.items()}
        note = split_note(seed)
        sources = drawn_sources(seed)
    else:
        indices = {}
        for i in order:
            indices.setdefault(str(rows[i][1].split), []).append(i)
        sources = sources_with_test({split: f"the rows of the split {split}" for split in indices})
        indices, note = with_test(indices, where, "leave out the split column")
    splits = {
        split: ImageFiles([paths[i] for i in part], [found.labels[i] for i in part], upright=True)
        for split, part in indices.items()
        if part
    }
    check_presence({split: images.targets for split, images in splits.items()}, found.names, where, "class")
    return Domain(
        name=name,
        classnames=found.names,
        templates=templates,
        train=splits.get("train"),
        val=splits.get("val"),
        test=splits["test"],
        source=f"CSV file {where}" + (f", {note}" if note else ""),
        split_sources={split: sources[split] for split in splits},
        warnings=tuple(warnings),
        notes=tuple(notes),
    )
