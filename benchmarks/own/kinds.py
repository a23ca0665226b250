"""The kinds of users' data: how a path or name is recognised, and which reader reads it. No torch."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import NamedTuple

from benchmarks.own.columns import chosen_columns, split_in
from models.paths import user_path
from models.registry import UserError

TABLES = (".csv", ".tsv", ".tab", ".txt")
FILES = {**dict.fromkeys(TABLES, "csv"), ".parquet": "hub-folder", ".tar": "shards"}
"""Kind by ending of the files that hold data."""
ARCHIVES = (".zip", ".tar", ".gz", ".tgz", ".bz2", ".xz", ".7z", ".rar", ".zst")
_HUB_NAME = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*(:[\w.+-]+)?")


class Kind(NamedTuple):
    """A kind of data.

    Attributes:
        reader: the function of `benchmarks.own` that reads it.
        roles: the columns that the user can choose.
        why_no_column: why other columns cannot be chosen, for the message.
    """

    reader: str
    roles: tuple[str, ...]
    why_no_column: str = ""


KINDS = {
    "folder": Kind("from_folder", (), "class folders have no columns"),
    "metadata": Kind("from_metadata", ("image", "label"), "the folders determine the splits"),
    "csv": Kind("from_csv", ("image", "label", "split")),
    "hub-folder": Kind("from_hub", ("image", "label"), "the splits of a Hugging Face dataset have names"),
    "hub": Kind("from_hub", ("image", "label"), "the splits of a Hugging Face dataset have names"),
    "shards": Kind("from_webdataset", ("image", "label"), "the names of the shards determine the splits"),
}
"""Reader and columns by kind.

"metadata" is a folder of images with metadata.csv. "hub-folder" is a folder saved by Hugging Face `datasets`, or parquet
files. "hub" is a name on the Hugging Face Hub.
"""


class Location(NamedTuple):
    """The data that a name or path refers to.

    Attributes:
        kind: a key of `KINDS`.
        place: the absolute path, or the name for "hub".
        columns: the chosen column by role ("image", "label", "split"), see `columns.chosen_columns`.
    """

    kind: str
    place: str
    columns: dict[str, str] = {}


def find(name_or_path: str | Path, data_root: str | Path = "data") -> Location | None:
    """Find a path, else DATA_ROOT/NAME, else accept "owner/name" or "owner/name:config" as a Hugging Face dataset.

    Columns may follow the name (`NAME:label=COLUMN`). A Hugging Face name is not looked up.

    Returns:
        The location, or None if nothing fits.
    """
    if not str(name_or_path).strip():  # an empty path would be the working directory
        return None
    text, columns = chosen_columns(str(name_or_path))
    for path in (user_path(text), user_path(user_path(data_root) / text)):
        if os.path.isdir(path):
            return Location(_folder_kind(path), os.path.abspath(path), columns)
        if os.path.isfile(path) and path.suffix.lower() in FILES:
            return Location(FILES[path.suffix.lower()], os.path.abspath(path), columns)
    if _HUB_NAME.fullmatch(text) and not _is_file_name(text):
        return Location("hub", text, columns)
    return None


def kind_of(name_or_path: str | Path, data_root: str | Path = "data") -> str | None:
    """Return the kind of the data, a key of `KINDS`, or None if `find` finds nothing."""
    location = find(name_or_path, data_root)
    return None if location is None else location.kind


def locate(name_or_path: str | Path, data_root: str | Path) -> Location:
    """Return the location of data. Raises UserError, with the reason, if `find` finds nothing."""
    location = find(name_or_path, data_root)
    if location is not None:
        return location
    if (reason := why_not(name_or_path, data_root)) is not None:
        raise UserError(reason)
    raise UserError(
        f"No data called {name_or_path!r}: there is no folder or data file {name_or_path} or "
        f"{Path(data_root) / str(name_or_path)}, and {name_or_path!r} is not a Hugging Face name (owner/name)."
    )


def why_not(name_or_path: str | Path, data_root: str | Path = "data") -> str | None:
    """Return why an existing file, or a pattern of file names, is not data; None if nothing of that name exists."""
    text = chosen_columns(str(name_or_path)).name
    path = next(
        (p for p in (user_path(text), user_path(user_path(data_root) / text)) if text.strip() and os.path.exists(p)), None
    )
    if path is None:
        if re.search(r"\{\d+\.\.\d+\}|[*?]", text):
            return f"{text} is a pattern, not a name: give the folder that holds the files."
        return None
    ending = path.suffix.lower()
    if ending in ARCHIVES:
        return f"{text} is an archive: unpack it and give the resulting folder."
    if ending in (".xlsx", ".xls", ".ods"):
        return f'{text} is a workbook: save the sheet as "CSV UTF-8" and give that file.'
    problem = "is not a data file" if os.path.isfile(path) else "is neither a file nor a folder"
    return (
        f"{text} {problem}: give a folder of images, a table ({', '.join(TABLES)}), a .parquet file or a .tar file of samples."
    )


def _is_file_name(text: str) -> bool:
    """Return whether a name like "owner/name" is a path: mistyped, or of a file that is not data."""
    return Path(text).suffix.lower() in (*FILES, *ARCHIVES) or os.path.isfile(text)


def _folder_kind(folder: Path) -> str:
    from benchmarks.own.csv_table import metadata_files
    from benchmarks.own.webdataset_index import shard_files

    try:
        if _is_hub_folder(folder):
            return "hub-folder"
        if shard_files(folder):
            return "shards"
        return "metadata" if metadata_files(folder) else "folder"
    except OSError:  # an unreadable folder: the reader of folders reports it
        return "folder"


def _is_hub_folder(folder: Path) -> bool:
    if (folder / "dataset_dict.json").is_file() or (folder / "state.json").is_file():
        return True
    with os.scandir(folder) as entries:
        inner = [e.name for e in entries if e.is_dir() and (split_in(e.name) or e.name in ("data", "default"))]
    return any(any(place.glob("*.parquet")) for place in (folder, *(folder / name for name in inner)))
