"""A digest of the user's data on disk, for the key of a run. No torch."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

from benchmarks.own.kinds import ARCHIVES, Location, locate
from benchmarks.own.scan import ANNOTATIONS, existing_folder, files_under, relative

CLIP_BENCHMARK = "zeroshot_classification_templates.txt"
"""The templates of CLIP_benchmark's shards."""
# Small files whose text changes the meaning of the images. `state.json` holds the fingerprint of a saved Hugging Face dataset.
_BY_TEXT = {*ANNOTATIONS, "state.json", "dataset_dict.json"}


def data_version(name_or_path: str | Path, data_root: str | Path = "data") -> str:
    """Return 12 hexadecimal digits that identify the data on disk. Takes seconds for 100,000 files.

    The digest depends on:
        a folder: the relative paths and sizes of its files, without hidden files, clutter and archives, and the text of
            classnames.txt and templates.txt. An image that changes without changing its size is not noticed.
        a CSV file: its bytes and the sizes of its images.
        shards: the places and sizes of the images, the labels, class names and templates.
        a Hugging Face name: the name and its versions in the cache, so it changes once, with the first download.

    Raises:
        UserError: if nothing of that name is found.
    """
    location = locate(name_or_path, data_root)
    digest = hashlib.sha256(f"{location.kind}\n".encode())
    if location.columns:
        digest.update(f"{sorted(location.columns.items())}\n".encode("utf-8", "surrogateescape"))
    for content in _contents(location):
        digest.update(content)
    return digest.hexdigest()[:12]


def _contents(location: Location) -> Iterator[bytes]:
    """Yield what the digest of a location is made of."""
    kind, place, columns = location
    if kind == "csv":
        from benchmarks.own.csv_table import image_path, read_paths

        yield Path(place).read_bytes()
        for path in read_paths(place, columns):
            yield f"{_size(image_path(place, path))}\n".encode()
    elif kind == "shards":
        from benchmarks.own.webdataset_index import described

        yield from _encoded(described(place))
        for annotation in (*ANNOTATIONS, CLIP_BENCHMARK):
            if (file := Path(place) / annotation).is_file():
                yield f"{annotation}\n".encode() + file.read_bytes()
    elif kind == "metadata":
        from benchmarks.own.csv_table import metadata_files

        for file, split in metadata_files(place):
            yield f"{split}\n".encode() + file.read_bytes()
        yield from _encoded(_described(existing_folder(place)))
    elif os.path.isfile(place):
        yield f"{os.stat(place).st_size}\n".encode()
    elif kind == "hub":
        yield "\n".join([place, *cached_versions(place)]).encode()
    else:
        yield from _encoded(_described(existing_folder(place)))


def _encoded(lines: list[str]) -> Iterator[bytes]:
    return (f"{line}\n".encode("utf-8", "surrogateescape") for line in lines)


def _described(folder: Path) -> list[str]:
    """Return one line per file, sorted: its path, and its size or the digest of its text."""
    lines = []
    for entry in files_under(folder):
        if entry.name.lower().endswith(ARCHIVES) or (entry.name.startswith("cache-") and entry.name.endswith(".arrow")):
            continue
        path = relative(entry, folder)
        if entry.name in _BY_TEXT:
            lines.append(f"{path} {hashlib.sha256(Path(entry.path).read_bytes()).hexdigest()}")
        else:
            lines.append(f"{path} {entry.stat().st_size}")
    return sorted(lines)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return -1


def cached_versions(name: str) -> list[str]:
    """Return the prepared versions of a Hugging Face dataset in its cache: config/version/hash folders, sorted."""
    home = Path(os.environ.get("HF_HOME") or Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "huggingface")
    cache = Path(os.path.expanduser(os.environ.get("HF_DATASETS_CACHE") or home / "datasets"))
    owner_name, _, config = name.partition(":")
    folders = (f for f in cache.glob("*___*") if _comparable(f.name) == _comparable(owner_name.replace("/", "___")))
    versions = (info.parent.relative_to(folder) for folder in folders for info in folder.glob("*/*/*/dataset_info.json"))
    return sorted(path.as_posix() for path in versions if not config or path.parts[0] == config)


def _comparable(name: str) -> str:
    # The cache writes CamelCase as snake_case.
    return name.lower().replace("_", "")
