"""Your own data as a domain: a folder, a CSV file, a Hugging Face dataset, or dataset objects.

`domain(name_or_path)` finds out which; `from_folder`, `from_csv`, `from_hub` and `from_dataset` say it. Nothing here
imports torch before a domain is built.
"""

from __future__ import annotations

import hashlib
import importlib
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from benchmarks.own.names import Names, Templates
from benchmarks.own.scan import ANNOTATIONS, existing_folder, files_under, relative
from models.registry import UserError, lazy

if TYPE_CHECKING:
    from benchmarks.domain import Domain
    from benchmarks.own.check import check_images as check_images
    from benchmarks.own.csv_file import from_csv as from_csv
    from benchmarks.own.folder import from_folder as from_folder
    from benchmarks.own.hub import from_hub as from_hub
    from benchmarks.own.objects import from_dataset as from_dataset

TABLES = (".csv", ".tsv")
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
}
__getattr__ = lazy(__name__, _LAZY)


class Found(NamedTuple):
    """What a name or path stands for: "folder", "csv", "hub-folder" or "hub", and the path, or the name for "hub"."""

    kind: str
    place: str


def find(name_or_path: str | Path, data_root: str | Path = "data") -> Found | None:
    """A path first, then DATA_ROOT/NAME, then, for "owner/name" or "owner/name:config", a Hugging Face dataset.

    None when nothing fits. That a Hugging Face dataset exists is not checked.
    """
    text = str(name_or_path)
    if not text.strip():  # a path too: the working directory
        return None
    for path in (Path(text).expanduser(), Path(data_root).expanduser() / text):
        if path.is_dir():
            return Found("hub-folder" if _is_hub_folder(path) else "folder", os.path.abspath(path))
        if path.is_file() and path.suffix.lower() in TABLES:
            return Found("csv", os.path.abspath(path))
    if _HUB_NAME.fullmatch(text) and not _is_file_name(text):
        return Found("hub", text)
    return None


def _is_file_name(text: str) -> bool:
    """Whether a name like "owner/name" is a path, mistyped or of a file that is no data."""
    return Path(text).suffix.lower() in (*TABLES, *_ARCHIVES) or Path(text).is_file()


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
    kind, place = _found(name_or_path, data_root)
    reader = {"folder": "from_folder", "csv": "from_csv", "hub-folder": "from_hub", "hub": "from_hub"}[kind]
    read = getattr(importlib.import_module(_LAZY[reader]), reader)
    return read(place, classnames=classnames, templates=templates, seed=seed)


def data_version(name_or_path: str | Path, data_root: str | Path = "data") -> str:
    """12 hexadecimal digits that say which data is there, for the key of a run. Needs no torch; seconds for 100,000 files.

    Of a folder: relative paths and sizes of its files, without hidden ones, clutter and archives, and the text of
    classnames.txt and templates.txt (an image changed without changing its size is not seen). Of a CSV file: its bytes
    and the sizes of its images. Of a Hugging Face name: the name, and which versions of it are in the cache, so that it
    changes once, with the first download.

    Raises UserError when nothing fits.
    """
    kind, place = _found(name_or_path, data_root)
    digest = hashlib.sha256(f"{kind}\n".encode())
    if kind == "csv":
        from benchmarks.own.table import image_path, read_table

        digest.update(Path(place).read_bytes())
        for row in read_table(place):
            digest.update(f"{_size(image_path(place, row.path))}\n".encode())
    elif kind == "hub":
        digest.update("\n".join([place, *_cached(place)]).encode())
    else:
        for line in sorted(_described(existing_folder(place))):
            digest.update(f"{line}\n".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()[:12]


def _found(name_or_path: str | Path, data_root: str | Path) -> Found:
    found = find(name_or_path, data_root)
    if found is not None:
        return found
    if Path(name_or_path).expanduser().is_file():
        raise UserError(f"{name_or_path} is a file, neither a folder of images nor a CSV file ({' or '.join(TABLES)}).")
    raise UserError(
        f"No data called {name_or_path!r}: there is no folder or CSV file {name_or_path}, "
        f"nor {Path(data_root) / str(name_or_path)}, and it is no Hugging Face name (owner/name)."
    )


def _is_hub_folder(folder: Path) -> bool:
    if (folder / "dataset_dict.json").is_file() or (folder / "state.json").is_file():
        return True
    return any(any(place.glob("*.parquet")) for place in (folder, folder / "data"))


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
    cache = Path(os.environ.get("HF_DATASETS_CACHE") or home / "datasets").expanduser()
    owner_name, _, config = name.partition(":")
    folders = (folder for folder in cache.glob("*___*") if _plain(folder.name) == _plain(owner_name.replace("/", "___")))
    found = (info.parent.relative_to(folder) for folder in folders for info in folder.glob("*/*/*/dataset_info.json"))
    return sorted(path.as_posix() for path in found if not config or path.parts[0] == config)


def _plain(name: str) -> str:
    # The cache writes CamelCase as snake_case.
    return name.lower().replace("_", "")
