"""Files that the authors of a dataset offer: links, checksums and where each file is unpacked, read from `downloads.toml`.

The links are those of torchvision's downloaders, and a test compares them. torchvision cannot resume a download, falls back
from https to http and unpacks in place, so `benchmarks.full.fetch` downloads the files into the same layout.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from benchmarks.full.dataset_table import HERE, Entry, root_flag


@dataclass(frozen=True)
class RemoteFile:
    """One file to download.

    Attributes:
        urls: mirrors of the file.
        makes: paths that exist once it is unpacked, relative to the data folder. "a|b" means either of them.
        md5: the checksum, None if nobody published one.
        folder: where it is unpacked, or copied if it is not an archive, relative to the data folder.
        inner: the archive inside the archive that holds the data, or None.
        name: file name on disk if the link does not end with it.
    """

    urls: tuple[str, ...]
    makes: tuple[str, ...]
    md5: str | None = None
    folder: str = ""
    inner: str | None = None
    name: str | None = None

    @property
    def file(self) -> str:
        """File name on disk."""
        return self.name or self.urls[0].rsplit("/", 1)[-1]

    def missing(self, root: Path) -> list[str]:
        """Return the paths of `makes` that are not under this folder."""
        return [path for path in self.makes if not any((root / choice).exists() for choice in path.split("|"))]


def remote_files(row: Entry) -> tuple[RemoteFile, ...]:
    """Return the files of a dataset. Empty if its authors do not offer it for download."""
    keys = dict.fromkeys(key for key in (row.torchvision, row.name) if key is not None)
    return tuple(file for key in keys for file in table().get(key, ()))


def fetchable(row: Entry) -> bool:
    """Return whether `data fetch` can get a dataset without the consent of its authors."""
    return not row.consent and (bool(remote_files(row)) or row.hub is not None)


def fetch_command(row: Entry, data_root: str | Path = "data") -> tuple[str, str]:
    """Return the command that fetches a dataset, and a note on what it requires. Either may be empty."""
    command = f"python cli.py data fetch {row.name}{root_flag(data_root)}"
    if fetchable(row):
        return command, ""
    if row.hub is not None:
        return f"{command} --from hub", f" (requires a Hugging Face login with access to {row.hub.id})"
    return "", ""


def how_to_get(row: Entry, data_root: str | Path = "data") -> str:
    """Return one or two sentences: the command that fetches a dataset, if any, and the table's instructions."""
    command, requirement = fetch_command(row, data_root)
    if not command:
        return row.get
    return f"Get it with `{command}`{requirement}. {row.get}"


@cache
def table() -> dict[str, tuple[RemoteFile, ...]]:
    """Return the files by torchvision's class or the dataset's name, in the order of `downloads.toml`."""
    with (HERE / "downloads.toml").open("rb") as file:
        raw = tomllib.load(file)
    return {key: tuple(_remote_file(dict(row)) for row in rows) for key, rows in raw.items()}


def _remote_file(row: dict[str, Any]) -> RemoteFile:
    url = row.pop("url")
    return RemoteFile(urls=(url,) if isinstance(url, str) else tuple(url), makes=tuple(row.pop("makes")), **row)
