"""The user's own data as a domain: a folder, a CSV file, a Hugging Face dataset, webdataset shards, or dataset objects.

`domain(name_or_path)` chooses the reader. The readers are `from_folder`, `from_csv`, `from_metadata`, `from_hub`,
`from_webdataset` and `from_dataset`. Nothing here imports torch before a domain is built.

Files in reading order:
    kinds.py          the kinds of data: how each is recognised, its reader and its columns
    version.py        a digest of the data on disk, for the key of a run
    reader.py         the first and the last step of every reader: parse the arguments, make the domain
    folder.py         class folders; folder_layout.py and split_names.py find splits and classes, scan.py lists folders
    csv_file.py       tables of images; csv_table.py finds the columns and reads the rows, csv_text.py parses the text
    hub.py            Hugging Face datasets and parquet files; hub_load.py loads them, hub_columns.py finds images and labels
    webdataset.py     tar files of samples; webdataset_index.py lists the members
    objects.py        dataset objects in Python
    columns.py, labels.py, names.py, match.py, split.py    steps that several readers use
    check.py          checks of the images themselves

A new source needs a reader like csv_file.py, an entry in `kinds.KINDS` with a rule in `kinds.find`, and a digest in version.py.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.own.kinds import FILES as FILES
from benchmarks.own.kinds import KINDS, locate
from benchmarks.own.kinds import find as find
from benchmarks.own.kinds import kind_of as kind_of
from benchmarks.own.kinds import why_not as why_not
from benchmarks.own.names import Names, Templates
from benchmarks.own.version import data_version as data_version
from models.registry import UserError, lazy

if TYPE_CHECKING:
    from benchmarks.data.domain import Domain
    from benchmarks.own.check import check_images as check_images
    from benchmarks.own.csv_file import from_csv as from_csv
    from benchmarks.own.csv_file import from_metadata as from_metadata
    from benchmarks.own.folder import from_folder as from_folder
    from benchmarks.own.hub import from_hub as from_hub
    from benchmarks.own.objects import from_dataset as from_dataset
    from benchmarks.own.webdataset import from_webdataset as from_webdataset

_LAZY = {
    "check_images": "benchmarks.own.check",
    "from_csv": "benchmarks.own.csv_file",
    "from_dataset": "benchmarks.own.objects",
    "from_folder": "benchmarks.own.folder",
    "from_hub": "benchmarks.own.hub",
    "from_metadata": "benchmarks.own.csv_file",
    "from_webdataset": "benchmarks.own.webdataset",
}
__getattr__ = lazy(__name__, _LAZY)


def domain(
    name_or_path: str | Path,
    data_root: str | Path = "data",
    classnames: Names = None,
    templates: Templates = None,
    seed: int = 0,
) -> Domain:
    """Return the domain at a path, in the data folder, or on the Hugging Face Hub.

    Args:
        name_or_path: a path, a name in `data_root`, or "owner/name" (see `kinds.find`). Columns may follow it:
            `photos.csv:label=breed`.
        data_root: the data folder.
        classnames: class names, or a file with them (see `names.read_names`).
        templates: prompt templates, or a file with them (see `names.read_templates`).
        seed: the seed of the split, for data without splits.

    Returns:
        The domain. Its name is the last component of the path.

    Raises:
        UserError: if nothing is found, with the places that were searched, and for every mistake in the data.

    Example:
        >>> domain("photos").classnames
        ('cat', 'dog')
    """
    kind, place, columns = locate(name_or_path, data_root)
    reader = KINDS[kind].reader
    if refused := [role for role in columns if role not in KINDS[kind].roles]:
        raise UserError(
            f"{name_or_path} chooses a column for the {refused[0]}, which is not possible here: {KINDS[kind].why_no_column}."
        )
    read = getattr(importlib.import_module(_LAZY[reader]), reader)
    chosen = {f"{role}_column": column for role, column in columns.items()}
    result: Domain = read(place, classnames=classnames, templates=templates, seed=seed, **chosen)
    return result
