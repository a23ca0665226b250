"""Fetch a dataset into the data folder: the authors' files in torchvision's layout, or a copy from the Hugging Face hub.

Files are downloaded and unpacked in DATA/.partial and moved into place when they are complete, so unfinished data is never
read. The next fetch continues an interrupted one: it keeps finished downloads and unpacked archives.
"""

from __future__ import annotations

import os
import re
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from benchmarks.data.progress import Progress, library_bars
from benchmarks.full.data_folder import State, state
from benchmarks.full.dataset_table import Entry, Hub, entry
from benchmarks.full.download import Broken, Damaged, Offline, Unreachable, check_room, download, offline
from benchmarks.full.downloads import RemoteFile, fetchable, remote_files
from benchmarks.full.unpack import is_archive, unpack
from models.files import reason
from models.loading.hub import interruption, refusal
from models.registry import UserError, first_line, unknown

Say = Callable[[str], None]
SOURCES = ("torchvision", "hub")
PARTIAL = ".partial"
WAITS = (1, 2, 5, 10)
"""Seconds before each further attempt to load a hub copy after a lost connection."""
COPY = re.compile(r"(dataset_dict|dataset_info|state)\.json|.*\.arrow")
"""The files of a hub copy as the `datasets` package saves them."""


def fetch(name: str, data_root: str | Path, source: str | None, progress: Progress, say: Say, bars: bool = False) -> State:
    """Fetch one dataset and return its new state. A complete dataset, or one with more images than in the paper, is kept.

    Args:
        name: the dataset.
        data_root: the data folder.
        source: "torchvision" (the authors' files), "hub", or None: the authors' files, and the hub copy if they cannot be
            fetched.
        progress: called as progress(done, total, what).
        say: called with lines about the fetch.
        bars: show the progress bars of the hub's client.

    Raises:
        Offline: there is no network.
        Broken: the connection was lost. Other sources are not tried, because the same command resumes the download.
        UserError: for every other failure. The message says how to get the data by hand.
    """
    row, root = entry(name), Path(data_root)
    if source is not None and source not in SOURCES:
        raise unknown("source", source, SOURCES)
    sources = _sources(row, source)
    before = state(name, root)
    if (before.complete or before.kind == "differs") and not (before.is_hub_copy and source == "torchvision"):
        return before
    if not sources:
        raise UserError(f"{name} cannot be fetched{f' from {source}' if source else ''}: {row.get}")
    failures = []
    for origin in sources:
        try:
            if origin == "hub":
                hub_copy(row, root, say, bars)
            else:
                files(row, root, progress, say)
            return state(name, root)
        except (Offline, Broken):
            raise
        except UserError as error:
            failures.append(str(error))
            if origin != sources[-1]:
                say(f"{error} Trying the hub copy next.")
    raise UserError(f"{name} could not be fetched: {' '.join(failures)} To get it by hand: {row.get}")


def _sources(row: Entry, source: str | None) -> tuple[str, ...]:
    available = {"torchvision": bool(remote_files(row)), "hub": row.hub is not None}
    if source is None:
        return tuple(name for name in SOURCES if available[name]) if fetchable(row) else ()
    return (source,) if available[source] else ()


def files(row: Entry, root: Path, progress: Progress, say: Say) -> None:
    """Fetch the authors' files and unpack them into torchvision's layout.

    Files that were unpacked before are kept. If all of them are there and the dataset is still incomplete, all are fetched
    again, and files of the same name are replaced.
    """
    remote = remote_files(row)
    with _locked(root, row.torchvision or row.name) as base:
        ready = base.with_name(f"{base.name}.ready")
        if ready.is_dir():  # everything was unpacked, and the move was interrupted
            _publish(ready, root)
            if state(row.name, root).kind == "complete":
                return
        wanted = [file for file in remote if file.missing(root)] or list(remote)
        _make(wanted, base, ready, progress, say)
        _publish(ready, root)
        if len(wanted) < len(remote) and state(row.name, root).kind == "incomplete":
            say(f"The earlier files of {row.name} are incomplete: fetching them again.")
            _make([file for file in remote if file not in wanted], base, ready, progress, say)
            _publish(ready, root)


def _make(wanted: Sequence[RemoteFile], base: Path, ready: Path, progress: Progress, say: Say) -> None:
    for file in wanted:
        _fetch_file(file, base, progress, say)
    os.replace(base, ready)


def _fetch_file(remote: RemoteFile, base: Path, progress: Progress, say: Say) -> None:
    """Download and unpack one file as FILE.tree in the layout of the data folder. The name marks it as finished."""
    tree, making = base / f"{remote.file}.tree", base / f"{remote.file}.making"
    if tree.is_dir():
        return
    archive = base / remote.file
    base.mkdir(parents=True, exist_ok=True)
    if remote.md5 is None:
        say(f"{remote.file} has no published checksum: only its length is checked.")
    download(remote.urls, archive, remote.md5, progress, room=float(is_archive(remote.file)))
    shutil.rmtree(making, ignore_errors=True)
    try:
        if remote.inner is not None:
            unpack(archive, making / "outer", progress)
            inner = making / "outer" / remote.inner
            if not inner.is_file():
                raise Damaged(f"{remote.file} does not contain {remote.inner}.")
            unpack(inner, making / "tree" / remote.folder, progress)
        elif is_archive(remote.file):
            unpack(archive, making / "tree" / remote.folder, progress)
        else:
            (making / "tree" / remote.folder).mkdir(parents=True)
            shutil.copy(archive, making / "tree" / remote.folder / remote.file)
        if absent := remote.missing(making / "tree"):
            raise Damaged(f"{remote.file} from {remote.urls[0]} does not contain {absent[0]}.")
    except UserError as error:
        shutil.rmtree(making, ignore_errors=True)
        if isinstance(error, Damaged):  # a second attempt would fail too
            archive.unlink(missing_ok=True)
        raise
    os.replace(making / "tree", tree)
    shutil.rmtree(making, ignore_errors=True)
    archive.unlink()


def _publish(ready: Path, root: Path) -> None:
    """Move finished trees into the data folder. The next fetch continues an interrupted move."""
    for tree in sorted(ready.glob("*.tree")):
        _merge(tree, root)
    shutil.rmtree(ready, ignore_errors=True)


def _merge(source: Path, target: Path) -> None:
    """Move a tree into another one. Existing files are replaced."""
    if not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        os.replace(source, target)
    elif source.is_dir() and target.is_dir():
        for child in sorted(source.iterdir()):
            _merge(child, target / child.name)
        source.rmdir()
    elif source.is_file() and target.is_file():
        os.replace(source, target)
    else:
        raise UserError(f"{target} must be a {'folder' if source.is_dir() else 'file'}: move it away and fetch again.")


def hub_copy(row: Entry, root: Path, say: Say, bars: bool = False) -> None:
    """Save the used splits of the dataset's copy on the Hugging Face hub in DATA/hub/NAME."""
    hub = row.hub
    if hub is None:
        raise UserError(f"{row.name} has no hub copy.")
    with _locked(root, f"hub-{row.name}") as base:
        if offline():  # the hub's client would retry for half a minute
            raise Offline(f"There is no network: the Hugging Face hub cannot be reached, so {hub.id} cannot be fetched.")
        base.mkdir(parents=True, exist_ok=True)
        say(f"loading {hub.id}{f' ({hub.config})' if hub.config else ''} from the Hugging Face hub ...")
        with library_bars(bars):
            data = _load(hub, base, say)
            wanted = {name: data[name] for names in hub.splits.values() for name in names if name in data}
            try:
                _check(row, hub, wanted, data)
            except Damaged:  # a second attempt would fail too
                shutil.rmtree(base, ignore_errors=True)
                raise
            import datasets

            check_room(base, sum(part.data.nbytes for part in wanted.values()), f"The hub copy of {row.name}")
            saved, target = base / "saved", root / "hub" / row.name
            shutil.rmtree(saved, ignore_errors=True)
            datasets.DatasetDict(wanted).save_to_disk(str(saved))
        target.parent.mkdir(parents=True, exist_ok=True)
        if target.exists():
            _check_copy(target)
            os.replace(target, base / "old")
        os.replace(saved, target)
        shutil.rmtree(base, ignore_errors=True)


def _check_copy(folder: Path) -> None:
    """Raise UserError for a folder with files that are not part of a saved hub copy: replacing it would delete them."""
    for path in sorted(folder.rglob("*")) if not folder.is_symlink() else ():
        if not path.is_dir() and not COPY.fullmatch(path.name):
            raise UserError(
                f"{folder} would be replaced, but it holds the file {path}, which is not part of a hub copy. Move it away and "
                "fetch again."
            )


def _load(hub: Hub, base: Path, say: Say) -> Any:
    """Return the copy's splits. A lost connection is tried again: the client does so for the data of a file only."""
    import datasets

    # Version 3 asks on the terminal whether to run a dataset's script. Later versions refuse scripts.
    refuse: dict[str, Any] = {"trust_remote_code": False} if datasets.__version__.startswith("3.") else {}
    what = f"The hub copy {hub.id}"
    for wait in (*WAITS, None):
        try:
            # Separate caches, deleted afterwards, so that the disk does not contain the data twice. An interrupted fetch keeps
            # them: the hub's client continues with the first file that is not complete.
            with _downloads_in(base / "hub", hub):
                return datasets.load_dataset(hub.id, hub.config, cache_dir=str(base / "cache"), **refuse)
        except Exception as error:  # the hub's client raises errors of several libraries
            if known := refusal(error, hub.id, "dataset"):
                raise Unreachable(known) from error
            if isinstance(error, datasets.exceptions.DatasetNotFoundError):
                raise Unreachable(f"{what} does not exist, or requires consent and a login: {first_line(error)}.") from error
            lost = interruption(error)
            if lost is None:
                verb = "reached" if isinstance(error, ConnectionError) else "loaded"
                raise Unreachable(f"{what} cannot be {verb}: {first_line(error)}.") from error
            if wait is None:
                raise Broken(
                    f"{what} could not be loaded: the connection was lost {len(WAITS) + 1} times ({lost}). Run "
                    "the same command again: files that are complete are kept."
                ) from error
            say(f"  the connection was lost ({lost}): trying again in {wait} s ...")
            time.sleep(wait)
    raise AssertionError("the last attempt returns or raises")


@contextmanager
def _downloads_in(folder: Path, hub: Hub) -> Iterator[None]:
    """Let the hub's client keep the files of a copy in a folder, unless its own cache has some of them already.

    `datasets` has no argument for it. The client reads this setting for each file.
    """
    from huggingface_hub import constants
    from huggingface_hub.file_download import repo_folder_name

    usual = constants.HF_HUB_CACHE
    if (Path(usual) / repo_folder_name(repo_id=hub.id, repo_type="dataset")).is_dir():
        yield
        return
    constants.HF_HUB_CACHE = str(folder)
    try:
        yield
    finally:
        constants.HF_HUB_CACHE = usual


def _check(row: Entry, hub: Hub, wanted: dict[str, Any], data: Any) -> None:
    for split, names in hub.splits.items():
        if not any(name in wanted for name in names):
            raise Damaged(f"The hub copy {hub.id} has no split {names[0]} ({split}); it has {', '.join(data)}.")
    for name, part in wanted.items():
        if not row.fixed and hub.label in part.column_names and not getattr(part.features[hub.label], "names", None):
            raise Damaged(f"The hub copy {hub.id} has no class names: its column {hub.label!r} has no ClassLabel.")
        for column in (hub.image, hub.label):
            if column not in part.column_names:
                raise Damaged(
                    f"The hub copy {hub.id} has no column {column!r} in {name}: it has {', '.join(part.column_names)}."
                )


@contextmanager
def _locked(root: Path, name: str) -> Iterator[Path]:
    """Lock and yield the folder of one fetch. It is removed at the end if it is empty, and .partial with it."""
    place, made = root / PARTIAL, not root.exists()
    for each in (place, place / name, place / f"{name}.ready"):
        if each.is_symlink():
            raise UserError(f"{each} is a symbolic link. A fetch deletes nothing through links: remove it and fetch again.")
    try:
        place.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"Cannot write into the data folder {root}: {reason(error)}.") from error
    lock = FileLock(place / f"{name}.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        raise UserError(f"Another process is fetching {name} into {root}: wait until it ends.") from error
    base = place / name
    try:
        yield base
    except OSError as error:
        file = f" ({error.filename})" if error.filename else ""
        raise UserError(f"Cannot write into the data folder {root}: {reason(error)}{file}.") from error
    finally:
        _sweep(base)
        Path(lock.lock_file).unlink(missing_ok=True)
        lock.release()
        with suppress(OSError):
            place.rmdir()
            if made:
                root.rmdir()


def _sweep(base: Path) -> None:
    """Delete files that cannot be continued: half unpacked archives, caches without data, empty folders."""
    if base.is_dir():
        if not any((base / "cache").rglob("*.arrow")):
            shutil.rmtree(base / "cache", ignore_errors=True)
        stored = (base / "hub").glob("*/snapshots/*/**/*")
        if not any(path.is_file() and path.name != "README.md" for path in stored):
            shutil.rmtree(base / "hub", ignore_errors=True)
        shutil.rmtree(base / "saved", ignore_errors=True)
        for making in base.glob("*.making"):
            shutil.rmtree(making, ignore_errors=True)
        with suppress(OSError):
            base.rmdir()
