"""List a user's folders: without clutter, with links followed and loops refused. No torch."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

from models.paths import user_path
from models.registry import UserError, printable

ANNOTATIONS = ("classnames.txt", "templates.txt")
_TABLES = (".csv", ".tsv")
_ARCHIVES = (".zip", ".tar", ".gz", ".tgz", ".7z", ".rar")

CLUTTER_FOLDERS = {
    "@eadir": "thumbnails of Synology",
    "#recycle": "the trash of Synology",
    "#snapshot": "snapshots of Synology",
    "@recycle": "the trash of QNAP",
    "@recently-snapshot": "snapshots of QNAP",
    "@tmp": "temporary files of Synology",
    "__macosx": "metadata that macOS adds to archives",
    "lost+found": "files recovered by fsck",
    "$recycle.bin": "the trash of Windows",
    "recycler": "the trash of Windows",
    "recycled": "the trash of Windows",
    "found.000": "files recovered by chkdsk",
    "network trash folder": "the trash of macOS",
    "temporary items": "temporary files of macOS",
    "system volume information": "system data that Windows adds to disks",
    "__pycache__": "compiled Python",
}
CLUTTER_FILES = {
    "thumbs.db": "thumbnails of Windows",
    "thumbs.db:encryptable": "thumbnails of Windows",
    "ehthumbs.db": "thumbnails of Windows",
    "ehthumbs_vista.db": "thumbnails of Windows",
    "desktop.ini": "settings of Windows",
    "picasa.ini": "settings of Picasa",
    "zbthumbnail.info": "thumbnails of ZoomBrowser",
    "_ds_store": "settings of macOS, renamed by archives",
    "icon\r": "the icon of a folder on macOS",
}
"""The names that are ignored, compared without case, and their origin. Names with a leading dot are ignored too."""

# Only text files: `licence_plate_01.jpg` is an image.
_ABOUT = re.compile(r"(readme|licen[cs]e|copying)[^.]*(\.(txt|md|rst|html|pdf))?", re.IGNORECASE)


class Ignored:
    """Counts of ignored files and folders, for one sentence to the user."""

    def __init__(self) -> None:
        self._folders: dict[str, list[str]] = {}
        self._files: dict[str, list[str]] = {}
        self._inside: dict[str, int] = {}
        self._known: set[str] = set()

    def add(self, entry: os.DirEntry[str], kind: str | None = None) -> None:
        """Count an entry under `kind`, or else under "hidden" or its name. For a folder, the files in it are counted too."""
        if entry.path in self._known:
            return
        self._known.add(entry.path)
        if _is_folder(entry):
            kind = kind or ("hidden" if entry.name.startswith(".") else entry.name)
            self._folders.setdefault(kind, []).append(entry.name)
            inside = 0 if entry.is_symlink() else sum(len(files) for _, _, files in os.walk(entry.path))
            self._inside[kind] = self._inside.get(kind, 0) + inside
        else:
            kind = kind or ("hidden" if entry.name.startswith(".") else entry.name)
            self._files.setdefault(kind, []).append(entry.name)

    def sentence(self, where: str | Path) -> str | None:
        """Return "ignored in PHOTOS: 48 files in 24 folders @eaDir, 2 hidden files (.DS_Store)", or None if nothing was."""
        parts = []
        for kind, names in self._folders.items():
            folders = f"{len(names):,} hidden folder" if kind == "hidden" else f"{len(names):,} folder"
            which = f" ({_few(names)})" if kind == "hidden" else f" {printable(kind)}"
            parts.append(f"{_count(self._inside[kind], 'file')} in {folders}{'' if len(names) == 1 else 's'}{which}")
        for kind, names in self._files.items():
            if kind == names[0]:
                parts.append(f"{len(names):,} {printable(kind)}")
            else:
                parts.append(f"{_count(len(names), f'{kind} file')} ({_few(names)})")
        return f"ignored in {printable(str(where))}: {', '.join(parts)}" if parts else None


class Scanner:
    """Lists folders and counts the entries that it ignores (`ignored`)."""

    def __init__(self) -> None:
        self.ignored = Ignored()

    def entries(self, folder: str | Path) -> tuple[list[os.DirEntry[str]], list[os.DirEntry[str]]]:
        """Return (folders, files) directly in a folder, without clutter, sorted by name.

        Raises:
            UserError: naming the entry, for an unreadable folder, a broken link, a link to itself, and an entry that is neither
                a file nor a folder.
        """
        folders, files = [], []
        try:
            with os.scandir(folder) as iterator:
                sorted_entries = sorted(iterator, key=lambda entry: entry.name)
        except OSError as error:
            raise UserError(f"Cannot read the folder {printable(str(folder))}: {error.strerror}.") from error
        for entry in sorted_entries:
            if _is_clutter(entry):
                self.ignored.add(entry)
            elif _is_folder(entry):
                folders.append(entry)
            elif entry.is_file():
                if _ABOUT.fullmatch(entry.name):
                    self.ignored.add(entry, "README or licence")
                else:
                    files.append(entry)
            elif entry.is_symlink():
                raise UserError(
                    f"The link {printable(entry.path)} is broken: delete it, or restore the file that it points to."
                )
            else:
                raise UserError(f"{printable(entry.path)} is neither a file nor a folder: move it elsewhere.")
        return folders, files

    def files_under(self, folder: str | Path, above: frozenset[tuple[int, int]] = frozenset()) -> Iterator[os.DirEntry[str]]:
        """Yield all files in a folder and in the folders below it, without clutter; links are followed.

        Args:
            folder: the folder.
            above: the identities of the folders above it, to which no link may lead.

        Raises:
            UserError: for an unreadable entry, and for a link to a folder that it is in.
        """
        stack: list[tuple[str | Path, frozenset[tuple[int, int]]]] = [(folder, above)]
        while stack:
            place, above = stack.pop()
            here = identity(place)
            if here in above:
                raise loop(place)
            folders, files = self.entries(place)
            yield from files
            stack += [(inner.path, above | {here}) for inner in reversed(folders)]


def loop(folder: str | Path) -> UserError:
    """Return the error for a link to a folder that it is in."""
    where = printable(str(folder))
    return UserError(f"The folder {where} is a symbolic link to one of its parent folders, an endless loop: delete the link.")


def existing_folder(path: str | Path) -> Path:
    """Return the absolute path of a folder. Raises UserError if it does not exist or is a file."""
    folder = Path(os.path.abspath(user_path(path)))
    if folder.is_file():
        raise UserError(f"{path} is a file: give a folder.")
    if not folder.is_dir():
        raise UserError(f"There is no folder {path}.")
    return folder


def entries(folder: str | Path) -> tuple[list[os.DirEntry[str]], list[os.DirEntry[str]]]:
    """Return (folders, files) directly in a folder, as `Scanner.entries`."""
    return Scanner().entries(folder)


def files_under(folder: str | Path) -> Iterator[os.DirEntry[str]]:
    """Yield all files in a folder and in the folders below it, as `Scanner.files_under`."""
    return Scanner().files_under(folder)


def identity(folder: str | Path) -> tuple[int, int]:
    """Return the device and inode of a folder, the same for all links to it. Raises UserError for an unreadable one."""
    try:
        status = os.stat(folder)
    except OSError as error:
        raise UserError(f"Cannot read the folder {printable(str(folder))}: {error.strerror}.") from error
    # Some network file systems have no inode numbers.
    return status.st_dev, status.st_ino or hash(os.path.realpath(folder))


def relative(entry: os.DirEntry[str], folder: str | Path) -> str:
    """Return the path of an entry relative to a folder above it, with "/" on every system."""
    # `os.path.relpath` takes seconds for 100,000 files.
    return entry.path[len(os.path.join(folder, "")) :].replace(os.sep, "/")


def hint_at_files(files: list[os.DirEntry[str]]) -> str:
    """Return a sentence about a table or an archive among files that the user may have meant, or an empty text."""
    for file in files:
        if file.name.lower().endswith(_TABLES):
            return f" If {printable(file.name)} has the labels of the images, give its path instead."
        if file.name.lower().endswith(_ARCHIVES):
            return f" If the images are in {printable(file.name)}, unpack it."
    return ""


def _is_clutter(entry: os.DirEntry[str]) -> bool:
    """Return whether an entry is hidden or in one of the tables above."""
    name = entry.name.lower()
    if name.startswith("."):
        return True
    # A file called "lost+found" or a folder called "thumbs.db" is not clutter.
    return (name in CLUTTER_FOLDERS and _is_folder(entry)) or (name in CLUTTER_FILES and not _is_folder(entry))


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError as error:  # a link to itself
        raise UserError(f"The link {printable(entry.path)} is broken: {error.strerror}.") from error


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _few(names: list[str]) -> str:
    first = sorted(set(names))
    return ", ".join(map(printable, first[:3])) + (", ..." if len(first) > 3 else "")
