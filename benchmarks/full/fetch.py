"""Gets a dataset into the data folder: from its authors, in torchvision's layout, or as a copy from the Hugging Face hub.

Everything is made in DATA/.partial and moved into place when it is whole, so that nothing unfinished is ever read. What an
interrupted fetch leaves there is continued by the next one: finished downloads and unpacked archives are not made again.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from benchmarks.data.progress import Progress
from benchmarks.full import data_folder as store
from benchmarks.full.dataset_table import Entry, Hub, entry
from benchmarks.full.download import Broken, Damaged, Offline, Unreachable, check_room, download, offline
from benchmarks.full.downloads import RemoteFile, fetchable, remote_files
from benchmarks.full.unpack import is_archive, unpack
from models.files import reason
from models.registry import UserError, first_line, unknown

Say = Callable[[str], None]
SOURCES = ("torchvision", "hub")
PARTIAL = ".partial"
COPY = re.compile(r"(dataset_dict|dataset_info|state)\.json|.*\.arrow")
"""The files of a hub copy as the `datasets` package saves them."""


def fetch(
    name: str, data_root: str | Path, source: str | None, progress: Progress, say: Say, bars: bool = False
) -> store.State:
    """Get one dataset, unless it is there whole (more images than the paper's are left alone), and return what is there then.

    `source` is "torchvision" (the authors' files, where torchvision finds them), "hub", or None: the first, and the second
    when the first cannot be had. `bars`: let the hub's client draw its own progress bars.

    Raises Offline without a network, Broken for a connection that broke (nothing else is tried: the same command goes on),
    and UserError for whatever else stands in the way, with what to do by hand.
    """
    row, root = entry(name), Path(data_root)
    if source is not None and source not in SOURCES:
        raise unknown("source", source, SOURCES)
    ways = _ways(row, source)
    before = store.state(name, root)
    if (before.complete or before.kind == "differs") and not (before.is_hub_copy and source == "torchvision"):
        return before
    if not ways:
        raise UserError(f"{name} cannot be fetched{f' from {source}' if source else ''}: {row.get}")
    failures = []
    for way in ways:
        try:
            if way == "hub":
                hub_copy(row, root, say, bars)
            else:
                files(row, root, progress, say)
            return store.state(name, root)
        except (Offline, Broken):
            raise
        except UserError as error:
            failures.append(str(error))
            if way != ways[-1]:
                say(f"{error} Trying the hub copy.")
    raise UserError(f"{name} could not be fetched: {' '.join(failures)} By hand: {row.get}")


def _ways(row: Entry, source: str | None) -> tuple[str, ...]:
    can = {"torchvision": bool(remote_files(row)), "hub": row.hub is not None}
    if source is None:
        return tuple(way for way in SOURCES if can[way]) if fetchable(row) else ()
    return (source,) if can[source] else ()


def files(row: Entry, root: Path, progress: Progress, say: Say) -> None:
    """The authors' files, unpacked into torchvision's layout. Pieces that are there are left alone, unless the dataset is
    incomplete with all of them there: then all are fetched, and files of the same name are replaced.
    """
    every = remote_files(row)
    with _alone(root, row.torchvision or row.name) as base:
        ready = base.with_name(f"{base.name}.ready")
        if ready.is_dir():  # all of it was unpacked, and moving it was interrupted
            _publish(ready, root)
            if store.state(row.name, root).kind == "complete":
                return
        wanted = [piece for piece in every if piece.missing(root)] or list(every)
        _make(wanted, base, ready, progress, say)
        _publish(ready, root)
        if len(wanted) < len(every) and store.state(row.name, root).kind == "incomplete":
            say(f"What was there of {row.name} before is incomplete: the rest is fetched too.")
            _make([piece for piece in every if piece not in wanted], base, ready, progress, say)
            _publish(ready, root)


def _make(wanted: Sequence[RemoteFile], base: Path, ready: Path, progress: Progress, say: Say) -> None:
    for piece in wanted:
        _piece(piece, base, progress, say)
    os.replace(base, ready)


def _piece(piece: RemoteFile, base: Path, progress: Progress, say: Say) -> None:
    """One piece as a tree in the data folder's layout, under a name that says that it is finished."""
    tree, making = base / f"{piece.file}.tree", base / f"{piece.file}.making"
    if tree.is_dir():
        return
    archive = base / piece.file
    base.mkdir(parents=True, exist_ok=True)
    if piece.md5 is None:
        say(f"{piece.file} has no published checksum: only its length is checked.")
    download(piece.urls, archive, piece.md5, progress, room=float(is_archive(piece.file)))
    shutil.rmtree(making, ignore_errors=True)
    try:
        if piece.inner is not None:
            unpack(archive, making / "outer", progress)
            inner = making / "outer" / piece.inner
            if not inner.is_file():
                raise Damaged(f"{piece.file} does not hold {piece.inner}.")
            unpack(inner, making / "tree" / piece.folder, progress)
        elif is_archive(piece.file):
            unpack(archive, making / "tree" / piece.folder, progress)
        else:
            (making / "tree" / piece.folder).mkdir(parents=True)
            shutil.copy(archive, making / "tree" / piece.folder / piece.file)
        if lacking := piece.missing(making / "tree"):
            raise Damaged(f"{piece.file} from {piece.urls[0]} does not hold {lacking[0]}.")
    except UserError as error:
        shutil.rmtree(making, ignore_errors=True)
        if isinstance(error, Damaged):  # it will not unpack next time either
            archive.unlink(missing_ok=True)
        raise
    os.replace(making / "tree", tree)
    shutil.rmtree(making, ignore_errors=True)
    archive.unlink()


def _publish(ready: Path, root: Path) -> None:
    """Move finished trees into the data folder; where this is interrupted, the next fetch goes on with it."""
    for tree in sorted(ready.glob("*.tree")):
        _merge(tree, root)
    shutil.rmtree(ready, ignore_errors=True)


def _merge(source: Path, target: Path) -> None:
    """Move a tree into another: what is not there is moved whole, files that are there are replaced."""
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
        raise UserError(f"{target} is in the way: a {'folder' if source.is_dir() else 'file'} belongs there.")


def hub_copy(row: Entry, root: Path, say: Say, bars: bool = False) -> None:
    """The dataset's copy on the Hugging Face hub, saved in DATA/hub/NAME: the splits that are used, nothing else."""
    hub = row.hub
    if hub is None:
        raise UserError(f"{row.name} has no hub copy.")
    with _alone(root, f"hub-{row.name}") as base:
        if offline():  # its client would try for half a minute
            raise Offline(f"There is no network: the Hugging Face hub is not found, so {hub.id} cannot be fetched.")
        base.mkdir(parents=True, exist_ok=True)
        say(f"loading {hub.id}{f' ({hub.config})' if hub.config else ''} from the Hugging Face hub ...")
        with _bars(bars):
            data = _load(hub, base)
            wanted = {name: data[name] for names in hub.splits.values() for name in names if name in data}
            _check(row, hub, wanted, data)
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
    """Raise UserError for a folder that holds other files than a saved hub copy, which a new copy would replace."""
    for path in sorted(folder.rglob("*")) if not folder.is_symlink() else ():
        if not path.is_dir() and not COPY.fullmatch(path.name):
            raise UserError(f"{folder} is to be replaced and holds another file, {path}: move it away and fetch again.")


def _load(hub: Hub, base: Path) -> Any:
    import datasets

    # Version 3 would ask on the terminal whether to run a dataset's script; later ones refuse scripts.
    refuse: dict[str, Any] = {"trust_remote_code": False} if datasets.__version__.startswith("3.") else {}
    what = f"The hub copy {hub.id}"
    try:
        # Its own cache, so that the disk does not keep the data twice; the hub's client keeps and continues the downloads.
        return datasets.load_dataset(hub.id, hub.config, cache_dir=str(base / "cache"), **refuse)
    except datasets.exceptions.DatasetNotFoundError as error:
        raise Unreachable(f"{what} is not there, or needs consent and a login: {first_line(error)}.") from error
    except ConnectionError as error:
        raise Unreachable(f"{what} cannot be reached: {first_line(error)}.") from error
    except Exception as error:  # the hub's client raises errors of several libraries
        raise Unreachable(f"{what} cannot be loaded: {first_line(error)}.") from error


def _check(row: Entry, hub: Hub, wanted: dict[str, Any], data: Any) -> None:
    for split, names in hub.splits.items():
        if not any(name in wanted for name in names):
            raise Damaged(f"The hub copy {hub.id} has no split {names[0]} ({split}); it has {', '.join(data)}.")
    for name, part in wanted.items():
        if not row.fixed and hub.label in part.column_names and not getattr(part.features[hub.label], "names", None):
            raise Damaged(f"The hub copy {hub.id} does not say its class names: its column {hub.label!r} has no ClassLabel.")
        for column in (hub.image, hub.label):
            if column not in part.column_names:
                raise Damaged(
                    f"The hub copy {hub.id} has no column {column!r} in {name}: it has {', '.join(part.column_names)}."
                )


@contextmanager
def _bars(shown: bool) -> Iterator[None]:
    import datasets

    before = not datasets.are_progress_bars_disabled()
    if not shown:
        datasets.disable_progress_bars()
    try:
        yield
    finally:
        if before:
            datasets.enable_progress_bars()


@contextmanager
def _alone(root: Path, name: str) -> Iterator[Path]:
    """The folder of one unfinished fetch, for this process only; it goes, and .partial with it, if nothing is left in it."""
    place, made = root / PARTIAL, not root.exists()
    for each in (place, place / name, place / f"{name}.ready"):
        if each.is_symlink():
            raise UserError(f"{each} is a symbolic link, and a fetch deletes nothing through links: remove it.")
    try:
        place.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"Cannot write into the data folder {root}: {reason(error)}.") from error
    lock = FileLock(place / f"{name}.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        raise UserError(f"Another process is fetching {name} into {root}.") from error
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
    """Delete what cannot be continued: half unpacked archives, a cache without data, empty folders."""
    if base.is_dir():
        if not any((base / "cache").rglob("*.arrow")):
            shutil.rmtree(base / "cache", ignore_errors=True)
        shutil.rmtree(base / "saved", ignore_errors=True)
        for making in base.glob("*.making"):
            shutil.rmtree(making, ignore_errors=True)
        with suppress(OSError):
            base.rmdir()
