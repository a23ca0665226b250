"""The files that a dataset's authors offer: links, checksums, where each is unpacked. `pieces.toml` is the source of truth.

The links are those of torchvision's own downloaders (a test compares them), which cannot continue a download, fall back
from https to http and unpack in place; so the files are fetched by `benchmarks.full.fetch` into the same layout.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from benchmarks.full.dataset_table import HERE, Entry


@dataclass(frozen=True)
class Piece:
    """One file to download.

    `urls` are mirrors of it; `md5` is None where nobody published one; `folder` is where it is unpacked (or lies, if it is
    no archive), `makes` what is there afterwards, both relative to the data folder ("a|b": either of them); `inner` is the
    archive in the archive that holds the data, where there is one.
    """

    urls: tuple[str, ...]
    makes: tuple[str, ...]
    md5: str | None = None
    folder: str = ""
    inner: str | None = None

    @property
    def file(self) -> str:
        """Its name on disk."""
        return self.urls[0].rsplit("/", 1)[-1]

    def lacking(self, root: Path) -> list[str]:
        """What of `makes` is not under this folder."""
        return [path for path in self.makes if not any((root / choice).exists() for choice in path.split("|"))]


def pieces(row: Entry) -> tuple[Piece, ...]:
    """All files of a dataset; empty where they cannot be fetched from its authors."""
    keys = dict.fromkeys(key for key in (row.torchvision, row.name) if key is not None)
    return tuple(piece for key in keys for piece in table().get(key, ()))


def fetchable(row: Entry) -> bool:
    """Whether `fetch` can get it without somebody's consent."""
    return not row.consent and (bool(pieces(row)) or row.hub is not None)


@cache
def table() -> dict[str, tuple[Piece, ...]]:
    """The pieces by torchvision's class or the dataset's name, in the file's order."""
    with (HERE / "pieces.toml").open("rb") as file:
        raw = tomllib.load(file)
    return {key: tuple(_piece(dict(row)) for row in rows) for key, rows in raw.items()}


def _piece(row: dict) -> Piece:
    url = row.pop("url")
    return Piece(urls=(url,) if isinstance(url, str) else tuple(url), makes=tuple(row.pop("makes")), **row)
