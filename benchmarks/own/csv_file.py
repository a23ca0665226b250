"""A CSV file of images and labels as a domain."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from benchmarks.data.domain import Domain
from benchmarks.data.images import ImageFiles
from benchmarks.own.csv_table import Row, image_path, metadata_files, read_table, why_missing
from benchmarks.own.labels import labelling
from benchmarks.own.names import Names, Templates
from benchmarks.own.reader import Annotations, Request, make_domain, parse_request, read_annotations
from benchmarks.own.split import draw_splits, with_test
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
    """Read a table of images: a text file with columns for path, label and perhaps split (see `csv_table`).

    Paths are relative to the folder of the file. Without a split column, a seeded 80/10/10 of each class are taken,
    independent of the order of the rows. With a split column, the rules of `from_folder` apply. If no image of the test split
    has a label, the test split is left out and the validation split is the test split.

    Labels are class names, integers with a list of `classnames`, or keys of `label<TAB>name` (see `labels.labelling`).

    Args:
        path: the file, or `FILE:label=COLUMN:image=COLUMN:split=COLUMN`.
        classnames: class names, or a file with them (see `names.read_names`).
        templates: prompt templates, or a file with them; the default is "a photo of a {}.".
        name: the domain's name; the file's name without its ending if None.
        seed: the seed of the split.
        image_column: the column of the paths, if the header is ambiguous.
        label_column: the column of the labels, if the header is ambiguous.
        split_column: the column of the splits, if the header is ambiguous.

    Returns:
        The domain.

    Raises:
        UserError: with the line number if there is one, for the mistakes in `read_table`, a missing image, a label outside the
            class names, a class without training images, and fewer than two classes.

    Example:
        >>> from_csv("photos.csv", label_column="breed").classnames
        ('beagle', 'poodle')
    """
    request = parse_request(path, image=image_column, label=label_column, split=split_column)
    table = request.place
    if table.is_dir():
        raise UserError(f"{request.name} is a folder: give a CSV file.")
    if not table.is_file():
        raise UserError(f"There is no file {request.name}.")
    return _domain([(table, None)], request, read_annotations(None, classnames, templates), name or table.stem, seed)


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
    """Read a folder of images with metadata.csv, which Hugging Face `datasets` calls an image folder.

    There is one file for the whole folder, or one in each split folder.

    Args:
        path: the folder, or `FOLDER:label=COLUMN:image=COLUMN`.
        classnames: as in `from_csv`; the folder's classnames.txt if None.
        templates: as in `from_csv`; the folder's templates.txt if None.
        name: the domain's name; the folder's name if None.
        seed: the seed of the split.
        image_column: as in `from_csv`.
        label_column: as in `from_csv`.

    Returns:
        The domain.

    Raises:
        UserError: as `from_csv`.

    Example:
        >>> from_metadata("photos").source
        'CSV file photos, split 80/10/10 by class, seed 0'
    """
    request = parse_request(path, image=image_column, label=label_column)
    root = request.place
    return _domain(metadata_files(root), request, read_annotations(root, classnames, templates), name or root.name, seed)


def _domain(
    tables: Sequence[tuple[Path, str | None]], request: Request, annotations: Annotations, name: str, seed: int
) -> Domain:
    """Return the domain of tables, each with the split of its folder, or None."""
    where = str(request.place)
    rows: list[tuple[Path, Row]] = []
    notes: list[str] = []
    warnings: list[str] = []
    for table, split in tables:
        content = read_table(table, request.columns, named=annotations.classnames is None)
        rows += [(table, row._replace(split=row.split or split)) for row in content.rows]
        notes += content.notes
        warnings += content.warnings if split is None else ()
    _check_files(rows)
    classes = labelling(
        [row.label for _, row in rows],
        annotations.classnames,
        lambda i: _line(*rows[i]),
    )
    # By path, so that the order of the rows does not matter.
    order = sorted(range(len(rows)), key=lambda i: (str(rows[i][0]), rows[i][1].path))
    paths = [image_path(rows[i][0], rows[i][1].path) for i in order]
    labels = [classes.labels[i] for i in order]
    splits = [rows[i][1].split for i in order]
    if set(splits) == {None} or (set(splits) == {"train"} and all(split == "train" for _, split in tables)):
        division = draw_splits(labels, classes.keys, seed)
    else:
        indices: dict[str, list[int]] = {}
        for i, split in enumerate(splits):
            indices.setdefault(str(split), []).append(i)
        sources = {split: f"the rows of the split {split}" for split in indices}
        division = with_test(indices, sources, where, "leave out the split column")
    return make_domain(
        name,
        classes.names,
        annotations.templates,
        division.map(lambda split: ImageFiles([paths[i] for i in split], [labels[i] for i in split], upright=True)),
        where=where,
        source=f"CSV file {where}",
        warnings=warnings,
        notes=notes,
    )


def _check_files(rows: Sequence[tuple[Path, Row]]) -> None:
    """Refuse rows whose image does not exist. Raises UserError for the first one, with the number of the others."""
    missing = [(table, row) for table, row in rows if not os.path.isfile(image_path(table, row.path))]
    if missing:
        more = f" (and {len(missing) - 1:,} more)" if len(missing) > 1 else ""
        table, row = missing[0]
        raise UserError(f"{_line(table, row)}: {why_missing(table, row.path)}{more}.")


def _line(table: Path, row: Row) -> str:
    return f"{table}, line {row.line}"
