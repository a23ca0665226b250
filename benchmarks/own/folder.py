"""A folder of class folders as a domain, split by the user (train/, val/, test/) or 80/10/10."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

from benchmarks.data.domain import Domain
from benchmarks.data.images import ImageFiles
from benchmarks.own.layout import ClassImages, read_layout
from benchmarks.own.match import match_names
from benchmarks.own.names import Names, Templates, name_classes, natural, read_names, read_templates
from benchmarks.own.scan import ANNOTATIONS, existing_folder
from benchmarks.own.split import check_presence, drawn_sources, sources_with_test, split_by_class, split_note, with_test
from models.registry import UserError, printable

T = TypeVar("T")


def from_folder(
    path: str | Path, *, classnames: Names = None, templates: Templates = None, name: str | None = None, seed: int = 0
) -> Domain:
    """Read the domain in a folder F.

    The images are in F/SPLIT/CLASS/* or F/CLASS/SPLIT/*, or in F/CLASS/*, which is split 80/10/10 by class and seed, whatever
    the order of the file system. Split folders are those whose name says one split (`split_names`): train, Training,
    seg_train, val, dev, test_set, ... See `layout` for what is refused.

    Splits: val may be missing. Without test, val is tested on (`Domain.split_sources`). Test alone is enough to
    evaluate (train is None), train alone is an error. Every class needs a training image if there is a train split. An empty
    class folder in train or test is an error.

    Class folders that differ only in the form of their accents are one class. Between splits the same is true of case, blanks,
    "_" and "-" ("Big_Dog" in train, "big dog" in test), which is a note.

    Class names are the folder names with "_" as blank, in natural order (2 before 10), or `classnames`, or the file
    F/classnames.txt (see `match`). Templates are `templates`, or F/templates.txt, or "a photo of a {}.". Image files are those
    that end in one of `benchmarks.data.formats.EXTENSIONS`. What is ignored is in the tables of `scan` and in `Domain.notes`.

    Raises:
        UserError: for every mistake, naming the file, folder or class.
    """
    root = existing_folder(path)
    where = printable(str(root))
    layout = read_layout(root)
    splits = layout.splits
    keys = sorted({key for images in splits.values() for key in images}, key=natural)
    if len(keys) < 2:
        raise UserError(f"{where} has only one class folder, {keys[0]!r}; at least two classes are needed.")
    given = read_names(_beside(root, classnames, ANNOTATIONS[0]))
    matched = None if given is None else match_names(keys, given, "class folder")
    if matched is not None and isinstance(matched.names, list) and keys != sorted(keys) and len(given or ()) == len(keys):
        raise UserError(
            f"The class folders of {where} sort differently as numbers ({', '.join(keys[:3])}, ...) and as text "
            f"({', '.join(sorted(keys)[:3])}, ...): give the class names as 'folder<TAB>name', not as a plain list."
        )
    names = name_classes(keys, None if matched is None else matched.names, "class folder")
    sources, warnings = dict(layout.sources), [*layout.warnings, *(matched.warnings if matched else [])]
    if "" in splits:
        every = _files(splits[""], keys)
        parts = split_by_class(every.targets, keys, seed)
        images = {
            split: ImageFiles([every.paths[i] for i in indices], [every.targets[i] for i in indices], upright=True)
            for split, indices in parts.items()
            if indices
        }
        note = split_note(seed)
        sources = drawn_sources(seed)
    else:
        images, note = with_test({split: _files(of, keys) for split, of in splits.items() if any(of.values())}, where)
        sources = sources_with_test(sources)
    check_presence({split: files.targets for split, files in images.items()}, keys, where, "class folder")
    return Domain(
        name=name or root.name,
        classnames=names,
        templates=read_templates(_beside(root, templates, ANNOTATIONS[1])),
        train=images.get("train"),
        val=images.get("val"),
        test=images["test"],
        source=f"folder {where}" + (f", {note}" if note else ""),
        split_sources=sources,
        warnings=tuple(warnings),
        notes=(*layout.notes, *(matched.notes if matched else [])),
    )


def _files(images: ClassImages, keys: list[str]) -> ImageFiles:
    pairs = [(path, label) for label, key in enumerate(keys) for path in images.get(key, [])]
    return ImageFiles([path for path, _ in pairs], [label for _, label in pairs], upright=True)


def _beside(root: Path, given: T, filename: str) -> T | Path:
    """What was given, else the file of that name in the folder, if there is one."""
    return root / filename if given is None and (root / filename).is_file() else given
