"""Find the splits and class folders of a user's folder. No torch.

The images of a class are in one of these places. `split_names` recognises the names of split folders.

    ROOT/SPLIT/CLASS/*      ROOT/CLASS/SPLIT/*      ROOT/CLASS/*

A folder that only resembles one of these layouts is refused with one sentence (UserError). Nothing is guessed.
"""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from benchmarks.data.formats import is_image, unread_kind
from benchmarks.own.names import folded
from benchmarks.own.scan import ANNOTATIONS, Scanner, hint_at_files, identity, loop, relative
from benchmarks.own.split_names import is_filling, is_unlabelled, mark_of
from models.registry import UserError, check_text, escaped, printable

ClassImages = dict[str, list[str]]
"""The image files of each class folder."""
# Folders inside a class folder that are ignored next to images.
_THUMBNAILS = ("thumbnail", "thumbnails", "thumb", "thumbs", "_thumbs", "_thumb")
_DETECTION = {"images", "image", "labels", "label", "annotations", "masks", "mask", "bbox", "boxes"}


class Layout(NamedTuple):
    """The images of a folder.

    Attributes:
        splits: the images of each class folder, by split ("train", "val", "test"; "" for a folder without splits).
        sources: the origin of each split, for `Domain.split_sources`.
        warnings, notes: sentences for the user, as in `Domain`.
    """

    splits: dict[str, ClassImages]
    sources: dict[str, str]
    warnings: list[str]
    notes: list[str]


class _Contents(NamedTuple):
    """A class folder: its path, the images directly in it (relative path, path), and the folders in it."""

    path: str
    images: list[tuple[str, str]]
    folders: list[os.DirEntry[str]]


def read_layout(root: Path) -> Layout:
    """Return the splits, classes and images of a folder.

    Raises:
        UserError: naming the folder or file, for any other layout, for class folders that are the same folder, and for files
            among the images that are not images.
    """
    scanner = Scanner()
    layout = Layout({}, {}, [], [])
    split_folders = _split_folders(root, scanner, layout)
    if split_folders:
        seen: dict[tuple[int, int], str] = {}
        for split, folder in split_folders.items():
            contents = _class_folders(folder, scanner, seen)
            if inner := _inner_splits(contents):
                where = f"inside the split folder {printable(folder)}"
                raise UserError(f"{printable(inner)} is a split folder {where}: use only one level of splits.")
            layout.splits[split] = _images_of(contents, scanner, layout, split == "val")
            layout.sources[split] = f"the folder {printable(os.path.relpath(folder, root))}/"
    else:
        contents = _class_folders(str(root), scanner)
        first = next(iter(contents.values()))
        if len(contents) == 1 and first.folders and not first.images:
            where = f"{printable(str(root))} has only one class folder, {escaped(next(iter(contents)))}"
            raise UserError(
                f"{where} (if the class folders are inside it, give {printable(first.path)}); at least two classes are needed."
                f"{hint_at_files(scanner.entries(root)[1])}"
            )
        if inner := _inner_splits(contents):
            _by_class(root, contents, inner, scanner, layout)
        else:
            layout.splits[""] = _images_of(contents, scanner, layout)
    _unite(layout)
    if (ignored := scanner.ignored.sentence(root)) is not None:
        layout.notes.append(ignored)
    return layout


def _split_folders(root: Path, scanner: Scanner, layout: Layout, depth: int = 0) -> dict[str, str]:
    """Return the folder of each split, or nothing for a folder of class folders.

    The split folders of a root differ only in the word for the split ("seg_train", "seg_test"), hold the class folders, and
    have no other folders with images next to them. A class may be called "train" if it holds images directly.
    """
    folders, files = scanner.entries(root)
    if not folders:
        images = any(is_image(file.name) for file in files)
        hint = ", only images: put the images of each class into a folder with the name of the class" if images else ""
        raise UserError(f"{printable(str(root))} has no class folders{hint}.{hint_at_files(files)}")
    marks = {folder.name: mark for folder in folders if (mark := mark_of(folder.name)) is not None}
    groups: dict[tuple[str, ...], list[os.DirEntry[str]]] = {}
    for folder in folders:
        if folder.name in marks:
            groups.setdefault(marks[folder.name].rest, []).append(folder)
    groups = {rest: group for rest, group in groups.items() if not rest or len({marks[f.name].split for f in group}) > 1}
    if not groups:
        if len(folders) == 1 and depth < 5 and not any(is_image(file.name) for file in files):
            return _wrapped(folders[0], scanner, layout, depth)
        return {}
    if len(groups) > 1:
        pairs = "; ".join(_listed(folder.name for folder in group) for group in groups.values())
        raise UserError(f"{printable(str(root))} has several sets of split folders ({pairs}): give the path of one set.")
    [group] = groups.values()
    others = [folder for folder in folders if folder not in group]
    inner = {folder.name: scanner.entries(folder.path) for folder in group}
    splits = _named_splits({folder.name: marks[folder.name].split for folder in group}, root)
    if not any(inside for inside, _ in inner.values()):
        if len(splits) == 1 and others:
            where = f"{escaped(group[0].name)} in {printable(str(root))}"
            layout.warnings.append(f"{where} is read as a class, not as a split: it holds images directly")
            return {}
        raise UserError(
            f"{_listed(folder.name for folder in group)} of {printable(str(root))} must hold class folders: put the images "
            "of each class into a folder with the name of the class, as in train/CLASS/*. If they are classes, rename the "
            "folders and give the class names in classnames.txt."
        )
    if others and all(_holds_only_splits(folder, scanner) for folder in folders):
        return {}  # CLASS/SPLIT with a class called "train"
    _check_others(root, group, others, scanner, layout)
    for file in files:
        if file.name not in ANNOTATIONS and not is_image(file.name):
            scanner.ignored.add(file, "other")
    if "val" in splits and inner[splits["val"]] == ([], []):
        layout.notes.append(f"the folder {printable(str(root / splits.pop('val')))} is empty")
    return {split: _innermost(str(root / name), split, scanner) for split, name in splits.items()}


def _wrapped(folder: os.DirEntry[str], scanner: Scanner, layout: Layout, depth: int) -> dict[str, str]:
    """Return the split folders inside the only folder of a root ("images/train", "images/test"), or nothing."""
    inner, _ = scanner.entries(folder.path)
    marked = [mark for entry in inner if (mark := mark_of(entry.name)) is not None]
    if len({mark.split for mark in marked}) > 1 or (len(inner) == 1 and not marked):
        return _split_folders(Path(folder.path), scanner, layout, depth + 1) if inner else {}
    return {}


def _named_splits(marks: Mapping[str, str], root: Path) -> dict[str, str]:
    """Return the folder name of "train", "val" and "test". "eval" is test, or val if another folder is test."""
    splits: dict[str, str] = {}
    single = list(marks.values()).count("eval") == 1
    for name, split in sorted(marks.items(), key=lambda item: item[1] == "eval"):
        if split == "eval":
            split = "test" if not single else "val" if "test" in splits and "val" not in splits else "test"
        if split in splits:
            raise UserError(
                f"{printable(str(root))} has two {split} splits, {escaped(splits[split])} and {escaped(name)}: merge them, or "
                "hide one of them with a leading dot."
            )
        splits[split] = name
    return {split: splits[split] for split in ("train", "val", "test") if split in splits}


def _holds_only_splits(folder: os.DirEntry[str], scanner: Scanner) -> bool:
    """Return whether a folder holds only split folders."""
    folders, files = scanner.entries(folder.path)
    marks = [mark_of(inner.name) for inner in folders]
    return bool(marks) and not files and all(mark is not None and not mark.rest for mark in marks)


def _check_others(
    root: Path, group: list[os.DirEntry[str]], others: list[os.DirEntry[str]], scanner: Scanner, layout: Layout
) -> None:
    """Refuse folders with images next to the split folders, unless their name says that they have no labels."""
    for folder in others:
        count = sum(is_image(file.name) for file in scanner.files_under(folder.path))
        if not count:
            layout.notes.append(f"the folder {printable(folder.name)} in {printable(str(root))} is left out: it has no images")
        elif is_unlabelled(folder.name):
            layout.warnings.append(
                f"{escaped(folder.name)} in {printable(str(root))} is not a split, so its {count:,} images are left out"
            )
        else:
            names = _listed(other.name for other in others)
            raise UserError(
                f"{printable(str(root))} has the split folder {escaped(group[0].name)} next to other folders ({names}): move "
                f"the others elsewhere, or hide them with a leading dot. If {escaped(group[0].name)} is a class, put its "
                "images directly into it."
            )


def _innermost(folder: str, split: str, scanner: Scanner) -> str:
    """Return the folder that holds the class folders of a split: "seg_train/seg_train", "train/images"."""
    for _ in range(5):
        folders, files = scanner.entries(folder)
        if len(folders) != 1 or any(is_image(file.name) for file in files):
            break
        mark, inner = mark_of(folders[0].name), folders[0].path
        if not ((mark is not None and mark.split in (split, "eval")) or is_filling(folders[0].name)):
            break
        if not scanner.entries(inner)[0]:
            break
        folder = inner
    return folder


def _class_folders(folder: str, scanner: Scanner, seen: dict[tuple[int, int], str] | None = None) -> dict[str, _Contents]:
    """Return the contents of the class folders in a folder, by name. Raises UserError for other layouts.

    `seen` has the class folders of other splits by identity, to detect links to the same folder.
    """
    folders, loose = scanner.entries(folder)
    if images := [file for file in loose if is_image(file.name)]:
        more = f" (the first of {len(images):,})" if len(images) > 1 else ""
        hint = "" if folders else " The images of a test set without labels cannot be used: hide its folder with a leading dot."
        raise UserError(f"The image {printable(images[0].path)}{more} is not in a class folder.{hint}{hint_at_files(loose)}")
    if not folders:
        raise UserError(f"{printable(folder)} has no class folders.")
    for file in loose:
        if file.name not in ANNOTATIONS:
            scanner.ignored.add(file, "other")
    contents: dict[str, _Contents] = {}
    seen, above = {} if seen is None else seen, _ancestors(folder)
    for inner in folders:
        check_text(inner.name, f"class folder in {printable(folder)} called")
        if identity(inner.path) in above:
            raise loop(inner.path)
        _check_once(inner.path, seen)
        inside, files = scanner.entries(inner.path)
        contents[inner.name] = _Contents(inner.path, _images_among(files, inner.path, scanner), inside)
    single, outer = folders[0].name, os.path.basename(folder)
    if len(contents) == 1 and not contents[single].folders and (is_filling(single) or folded(single) == folded(outer)):
        raise UserError(
            f"{printable(folder)} holds only the folder {escaped(single)}, not class folders: put the images of each "
            f"class into a folder with the name of the class, or hide it with a leading dot.{hint_at_files(loose)}"
        )
    if len(contents) > 1 and {name.lower() for name in contents} <= _DETECTION:
        raise UserError(
            f"{printable(folder)} holds the folders {_listed(contents)}, as for object detection, but no class folders: put "
            "the images of each class into a folder with the name of the class, or list images and labels in a CSV file."
        )
    return contents


def _check_once(folder: str, seen: dict[tuple[int, int], str]) -> None:
    """Refuse a class folder that is a link to one of those in `seen`, and add it to them."""
    if (other := seen.setdefault(identity(folder), folder)) != folder:
        both = f"{printable(other)} and {printable(folder)}"
        raise UserError(f"The class folders {both} are the same folder (a link): delete one of them.")


def _ancestors(folder: str) -> frozenset[tuple[int, int]]:
    """Return the identities of a folder and of the folders above it. A link to one of them is a loop."""
    return frozenset(map(identity, [Path(folder), *Path(folder).parents]))


def _images_among(files: Iterable[os.DirEntry[str]], folder: str, scanner: Scanner) -> list[tuple[str, str]]:
    """Return (relative path, path) of the images among the files of a class folder; refuse other files.

    Empty files and files with the name of an image next to them ("0.txt" and "0.png", mostly annotations) are ignored.
    """
    files = list(files)
    images = [file for file in files if is_image(file.name)]
    stems = {os.path.splitext(file.path)[0] for file in images} if len(images) < len(files) else set()
    for file in files:
        if is_image(file.name) or file.name in ANNOTATIONS:
            continue
        if os.path.splitext(file.path)[0] in stems:
            scanner.ignored.add(file, "accompanying")
        elif not file.stat().st_size:
            scanner.ignored.add(file, "empty")
        else:
            kind, where = unread_kind(file.name), printable(file.path)
            if kind:
                raise UserError(
                    f"{where} is in a class folder, but this format is not read ({kind}): convert it to JPEG or PNG."
                )
            raise UserError(f"{where} is in a class folder but is not an image: move it out of the class folder.")
    return [(relative(file, folder), file.path) for file in images]


def _images_of(contents: Mapping[str, _Contents], scanner: Scanner, layout: Layout, may_lack: bool = False) -> ClassImages:
    """Return the images of class folders, sorted by path. `may_lack` allows empty class folders."""
    return {name: _images_in(name, inside, scanner, layout, may_lack) for name, inside in contents.items()}


def _images_in(name: str, inside: _Contents, scanner: Scanner, layout: Layout, may_lack: bool) -> list[str]:
    """Return the images of one class folder.

    Images in folders inside it belong to the class only if there are images directly in it too, or if the name of the inner
    folder says nothing ("images").
    """
    images = list(inside.images)
    deeper: list[str] = []
    for folder in inside.folders:
        if inside.images and folder.name.lower() in _THUMBNAILS:
            scanner.ignored.add(folder)
            continue
        deep_images = _images_among(scanner.files_under(folder.path, _ancestors(inside.path)), inside.path, scanner)
        if not deep_images:
            continue
        plain = len(inside.folders) == 1 and (is_filling(folder.name) or folded(folder.name) == folded(name))
        if not inside.images and not plain:
            raise UserError(
                f"The class folder {printable(inside.path)} has no images, but the folder {escaped(folder.name)} in it has. "
                "The images of a class must be directly in its folder: move them up, give the path of the folder that holds "
                "the class folders, or list images and labels in a CSV file."
            )
        images += deep_images
        if inside.images:
            deeper.append(f"{len(deep_images):,} in {printable(folder.path)}")
    if deeper:
        layout.warnings.append(
            f"images in folders inside the class folder {escaped(name)} are read as images of the class: {'; '.join(deeper)}"
        )
    if not images and not may_lack:
        raise UserError(f"The class folder {printable(inside.path)} has no images: add images, or delete the folder.")
    return [path for _, path in sorted(images)]


def _inner_splits(contents: Mapping[str, _Contents]) -> str | None:
    """Return the path of the first split folder inside a class folder, or None."""
    for inside in contents.values():
        for folder in inside.folders:
            mark = mark_of(folder.name)
            if mark is not None and not mark.rest:
                return folder.path
    return None


def _by_class(root: Path, contents: Mapping[str, _Contents], inner: str, scanner: Scanner, layout: Layout) -> None:
    """Read ROOT/CLASS/SPLIT/* into `layout`. Refuse a root in which only some class folders have splits inside."""
    seen: dict[tuple[int, int], str] = {}
    for name, inside in contents.items():
        marks = {folder.name: mark_of(folder.name) for folder in inside.folders}
        exact = {folder: mark.split for folder, mark in marks.items() if mark is not None and not mark.rest}
        if inside.images or len(exact) < len(marks) or not exact:
            raise UserError(
                f"{printable(inner)} is a split folder inside a class folder, but {printable(inside.path)} "
                f"{'has images directly in it' if inside.images else 'has other folders than split folders'}: use "
                "SPLIT/CLASS/* or CLASS/SPLIT/* for all classes."
            )
        for split, folder in _named_splits(exact, Path(inside.path)).items():
            path = _innermost(os.path.join(inside.path, folder), split, scanner)
            _check_once(path, seen)
            folders, files = scanner.entries(path)
            below = _Contents(path, _images_among(files, path, scanner), folders)
            layout.splits.setdefault(split, {})[name] = _images_in(name, below, scanner, layout, split == "val")
            layout.sources[split] = f"the folders CLASS/{printable(folder)}/"
    layout.notes.append(f"{printable(str(root))} is read as CLASS/SPLIT/*: every class folder has split folders")


def _unite(layout: Layout) -> None:
    """Merge the folders of the same class: names that differ in the form of accents, or, between splits, as `folded` ignores.

    Folders of one split that differ in more than the form of their accents stay separate classes.
    """
    composed: dict[str, dict[str, list[str]]] = {}
    for split, images in layout.splits.items():
        merged: dict[str, list[str]] = {}
        for key, files in images.items():
            merged.setdefault(unicodedata.normalize("NFC", key), []).extend(files)
        composed[split] = merged
    spellings: dict[str, list[str]] = {}
    for merged in composed.values():
        for key in merged:
            if key not in spellings.setdefault(folded(key), []):
                spellings[folded(key)].append(key)
    spelled: dict[str, str] = {}
    for form, keys in spellings.items():
        together = any(sum(folded(key) == form for key in merged) > 1 for merged in composed.values())
        if len(keys) > 1 and not together:
            layout.notes.append(
                f"the class folders {' and '.join(map(escaped, keys))} of different splits are read as one class"
            )
            spelled |= dict.fromkeys(keys, keys[0])
    for split, merged in composed.items():
        layout.splits[split] = {spelled.get(key, key): files for key, files in merged.items()}


def _listed(names: Iterable[str]) -> str:
    names = list(names)
    return ", ".join(map(escaped, names[:4])) + (", ..." if len(names) > 4 else "")
