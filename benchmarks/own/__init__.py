"""Your own data as a domain: a folder, a CSV file, a Hugging Face dataset, webdataset shards, or dataset objects.

`domain(name_or_path)` finds out which; `from_folder`, `from_csv`, `from_hub`, `from_webdataset` and `from_dataset` are the
readers. Nothing here imports torch before a domain is built.
"""

from __future__ import annotations

import hashlib
import importlib
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from benchmarks.own.columns import chosen_columns, split_in
from benchmarks.own.names import Names, Templates
from benchmarks.own.scan import ANNOTATIONS, existing_folder, files_under, relative
from models.paths import user_path
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

TABLES = (".csv", ".tsv", ".tab", ".txt")
FILES = {**dict.fromkeys(TABLES, "csv"), ".parquet": "hub-folder", ".tar": "shards"}
"""Endings of files that are data, and their kind."""
_HUB_NAME = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*(:[\w.+-]+)?")
_ARCHIVES = (".zip", ".tar", ".gz", ".tgz", ".bz2", ".xz", ".7z", ".rar", ".zst")
# Small files whose text changes what the images mean; `state.json` holds the fingerprint of a saved Hugging Face dataset.
_BY_TEXT = {*ANNOTATIONS, "state.json", "dataset_dict.json"}

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


class Found(NamedTuple):
    """What a name or path stands for.

    Attributes:
        kind: "folder", "metadata" (a folder of images with metadata.csv), "csv", "hub-folder" (saved by Hugging Face
            `datasets`, or parquet files), "shards" or "hub".
        place: the path, or the name for "hub".
        columns: the chosen columns by role ("image", "label", "split"), see `columns.chosen_columns`.
    """

    kind: str
    place: str
    columns: dict[str, str] = {}


def find(name_or_path: str | Path, data_root: str | Path = "data") -> Found | None:
    """Find a path first, then DATA_ROOT/NAME, then, for "owner/name" or "owner/name:config", a Hugging Face dataset.

    Columns may follow the name (`NAME:label=COLUMN`). None when nothing fits. A Hugging Face name is not looked up.
    """
    if not str(name_or_path).strip():  # a path too: the working directory
        return None
    text, columns = chosen_columns(str(name_or_path))
    for path in (user_path(text), user_path(user_path(data_root) / text)):
        if os.path.isdir(path):
            return Found(_folder_kind(path), os.path.abspath(path), columns)
        if os.path.isfile(path) and path.suffix.lower() in FILES:
            return Found(FILES[path.suffix.lower()], os.path.abspath(path), columns)
    if _HUB_NAME.fullmatch(text) and not _is_file_name(text):
        return Found("hub", text, columns)
    return None


def _is_file_name(text: str) -> bool:
    """Whether a name like "owner/name" is a path, mistyped or of a file that is no data."""
    return Path(text).suffix.lower() in (*FILES, *_ARCHIVES) or os.path.isfile(text)


def kind_of(name_or_path: str | Path, data_root: str | Path = "data") -> str | None:
    """ "folder", "csv", "hub-folder" (saved Hugging Face dataset, or parquet files), "hub", or None; see `find`."""
    found = find(name_or_path, data_root)
    return None if found is None else found.kind


def domain(
    name_or_path: str | Path,
    data_root: str | Path = "data",
    classnames: Names = None,
    templates: Templates = None,
    seed: int = 0,
) -> Domain:
    """The domain of a name or path, called by its last component; see `find`, and the reader of its kind.

    Raises UserError when nothing fits, saying what was looked for, and for every mistake in the data.
    """
    kind, place, columns = _found(name_or_path, data_root)
    reader = _READERS[kind]
    if refused := [role for role in columns if role not in _ROLES[kind]]:
        raise UserError(f"{name_or_path} chooses a column for the {refused[0]}, but {_WITHOUT[kind]}.")
    read = getattr(importlib.import_module(_LAZY[reader]), reader)
    chosen = {f"{role}_column": column for role, column in columns.items()}
    return read(place, classnames=classnames, templates=templates, seed=seed, **chosen)


def data_version(name_or_path: str | Path, data_root: str | Path = "data") -> str:
    """12 hexadecimal digits that say which data is there, for the key of a run. Needs no torch; seconds for 100,000 files.

    Of a folder: relative paths and sizes of its files, without hidden ones, clutter and archives, and the text of
    classnames.txt and templates.txt (an image changed without changing its size is not seen). Of a CSV file: its bytes
    and the sizes of its images. Of shards: the places and sizes of the images, and the labels. Of a Hugging Face name: the
    name, and which versions of it are in the cache, so that it changes once, with the first download.

    Raises UserError when nothing fits.
    """
    kind, place, columns = _found(name_or_path, data_root)
    digest = hashlib.sha256(f"{kind}\n".encode())
    if columns:
        digest.update(f"{sorted(columns.items())}\n".encode("utf-8", "surrogateescape"))
    if kind == "csv":
        from benchmarks.own.text_table import image_path, read_paths

        digest.update(Path(place).read_bytes())
        for path in read_paths(place, columns):
            digest.update(f"{_size(image_path(place, path))}\n".encode())
    elif kind == "shards":
        from benchmarks.own.shards import described

        for line in described(place):
            digest.update(f"{line}\n".encode("utf-8", "surrogateescape"))
        for annotation in ANNOTATIONS:
            if (file := Path(place) / annotation).is_file():
                digest.update(f"{annotation}\n".encode() + file.read_bytes())
    elif kind == "metadata":
        from benchmarks.own.text_table import metadata_files

        for file, split in metadata_files(place):
            digest.update(f"{split}\n".encode() + file.read_bytes())
        for line in sorted(_described(existing_folder(place))):
            digest.update(f"{line}\n".encode("utf-8", "surrogateescape"))
    elif os.path.isfile(place):
        digest.update(f"{os.stat(place).st_size}\n".encode())
    elif kind == "hub":
        digest.update("\n".join([place, *_cached(place)]).encode())
    else:
        for line in sorted(_described(existing_folder(place))):
            digest.update(f"{line}\n".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()[:12]


_READERS = {
    "folder": "from_folder",
    "metadata": "from_metadata",
    "csv": "from_csv",
    "hub-folder": "from_hub",
    "hub": "from_hub",
    "shards": "from_webdataset",
}
_ROLES = {
    "csv": ("image", "label", "split"),
    **dict.fromkeys(("hub-folder", "hub", "shards", "metadata"), ("image", "label")),
    "folder": (),
}
_WITHOUT = {
    "folder": "class folders have no columns",
    **dict.fromkeys(("hub-folder", "hub"), "the splits of a Hugging Face dataset have names"),
    "shards": "the names of the shards say the splits",
    "metadata": "the folders say the splits",
}


def _found(name_or_path: str | Path, data_root: str | Path) -> Found:
    found = find(name_or_path, data_root)
    if found is not None:
        return found
    if (refused := why_not(name_or_path, data_root)) is not None:
        raise UserError(refused)
    raise UserError(
        f"No data called {name_or_path!r}: there is no folder or CSV file {name_or_path}, "
        f"nor {Path(data_root) / str(name_or_path)}, and it is no Hugging Face name (owner/name)."
    )


def why_not(name_or_path: str | Path, data_root: str | Path = "data") -> str | None:
    """Return a sentence on a file that is there and is not data, or None when nothing of that name is there."""
    text = chosen_columns(str(name_or_path)).name
    path = next(
        (p for p in (user_path(text), user_path(user_path(data_root) / text)) if text.strip() and os.path.exists(p)), None
    )
    if path is None and re.search(r"\{\d+\.\.\d+\}|[*?]", text):
        return f"{text} is a pattern, not a name: give the folder that holds the files."
    if path is None:
        return None
    ending = path.suffix.lower()
    if ending in _ARCHIVES:
        return f"{text} is an archive: unpack it and give the folder that comes out."
    if ending in (".xlsx", ".xls", ".ods"):
        return f'{text} is a workbook: save the sheet as "CSV UTF-8" and give that file.'
    kinds = f"a folder of images, a table ({', '.join(TABLES)}), a .parquet file or a .tar file of samples"
    what = "is not data" if os.path.isfile(path) else "is neither a file nor a folder"
    return f"{text} {what}: {kinds} is wanted."


def _folder_kind(folder: Path) -> str:
    from benchmarks.own.shards import shard_files
    from benchmarks.own.text_table import metadata_files

    try:
        if _is_hub_folder(folder):
            return "hub-folder"
        if shard_files(folder):
            return "shards"
        return "metadata" if metadata_files(folder) else "folder"
    except OSError:  # an unreadable folder, of which the reader of folders says so
        return "folder"


def _is_hub_folder(folder: Path) -> bool:
    if (folder / "dataset_dict.json").is_file() or (folder / "state.json").is_file():
        return True
    with os.scandir(folder) as entries:
        inner = [e.name for e in entries if e.is_dir() and (split_in(e.name) or e.name in ("data", "default"))]
    return any(any(place.glob("*.parquet")) for place in (folder, *(folder / name for name in inner)))


def _described(folder: Path) -> list[str]:
    """One line a file: its path and its size, or its text's digest."""
    lines = []
    for entry in files_under(folder):
        if entry.name.lower().endswith(_ARCHIVES) or (entry.name.startswith("cache-") and entry.name.endswith(".arrow")):
            continue
        path = relative(entry, folder)
        if entry.name in _BY_TEXT:
            lines.append(f"{path} {hashlib.sha256(Path(entry.path).read_bytes()).hexdigest()}")
        else:
            lines.append(f"{path} {entry.stat().st_size}")
    return lines


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return -1


def _cached(name: str) -> list[str]:
    """The prepared versions of a Hugging Face dataset in its cache: config/version/hash folders, sorted."""
    home = Path(os.environ.get("HF_HOME") or Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "huggingface")
    cache = Path(os.path.expanduser(os.environ.get("HF_DATASETS_CACHE") or home / "datasets"))
    owner_name, _, config = name.partition(":")
    folders = (folder for folder in cache.glob("*___*") if _plain(folder.name) == _plain(owner_name.replace("/", "___")))
    found = (info.parent.relative_to(folder) for folder in folders for info in folder.glob("*/*/*/dataset_info.json"))
    return sorted(path.as_posix() for path in found if not config or path.parts[0] == config)


def _plain(name: str) -> str:
    # The cache writes CamelCase as snake_case.
    return name.lower().replace("_", "")
