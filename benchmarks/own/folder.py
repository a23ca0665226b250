"""A folder of class folders as a domain, with the user's splits (train/, val/, test/) or split 80/10/10."""

from __future__ import annotations

from pathlib import Path

from benchmarks.data.domain import Domain
from benchmarks.data.images import ImageFiles
from benchmarks.own.folder_layout import ClassImages, read_layout
from benchmarks.own.match import match_names, name_classes
from benchmarks.own.names import Names, Templates, natural
from benchmarks.own.reader import make_domain, read_annotations
from benchmarks.own.scan import existing_folder
from benchmarks.own.split import Division, draw_splits, with_test
from models.registry import UserError, printable


def from_folder(
    path: str | Path, *, classnames: Names = None, templates: Templates = None, name: str | None = None, seed: int = 0
) -> Domain:
    """Read a folder F of class folders.

    The images are in F/SPLIT/CLASS/* or F/CLASS/SPLIT/*, or in F/CLASS/*. In the last case, a seeded 80/10/10 of each class are
    taken, independent of the order of the file system. A split folder is a folder whose name contains one split
    (`split_names`): train, Training, seg_train, val, dev, test_set, ... `folder_layout` lists what is refused.

    Splits: val may be missing. Without test, the validation split is tested on (`Domain.split_sources`). A test split without a
    train split is enough to evaluate (train is None). A train split without test and val is an error. If there is a train
    split, every class needs a training image. An empty class folder in train or test is an error.

    Class folders that differ only in the form of their accents are one class. Between splits this also applies to case, blanks,
    "_" and "-" ("Big_Dog" in train, "big dog" in test), and is reported as a note.

    Image files are those that end in one of `benchmarks.data.formats.EXTENSIONS`. The tables in `scan` list the files that are
    ignored, and `Domain.notes` reports them.

    Args:
        path: the folder.
        classnames: class names, or a file with them (see `match`). If None, those in F/classnames.txt, or the names of the
            class folders with "_" as a blank, in natural order (2 before 10).
        templates: prompt templates, or a file with them. If None, those in F/templates.txt, or "a photo of a {}.".
        name: the domain's name; the folder's name if None.
        seed: the seed of the split.

    Returns:
        The domain.

    Raises:
        UserError: for every mistake, naming the file, folder or class.

    Example:
        >>> from_folder("photos").classnames
        ('cat', 'dog')
    """
    root = existing_folder(path)
    where = printable(str(root))
    layout = read_layout(root)
    keys = sorted({key for images in layout.splits.values() for key in images}, key=natural)
    if len(keys) < 2:
        raise UserError(f"{where} has only one class folder, {keys[0]!r}; at least two classes are needed.")
    annotations = read_annotations(root, classnames, templates)
    names_or_none = annotations.classnames
    matched = None if names_or_none is None else match_names(keys, names_or_none, "class folder")
    if matched is not None and isinstance(matched.names, list) and keys != sorted(keys) and len(matched.names) == len(keys):
        raise UserError(
            f"The class folders of {where} sort differently as numbers ({', '.join(keys[:3])}, ...) and as text "
            f"({', '.join(sorted(keys)[:3])}, ...): give the class names as 'folder<TAB>name', not as a plain list."
        )
    names = name_classes(keys, None if matched is None else matched.names, "class folder")
    division: Division[ImageFiles]
    if "" in layout.splits:
        images = _files(layout.splits[""], keys)
        division = draw_splits(images.targets, keys, seed).map(
            lambda indices: ImageFiles([images.paths[i] for i in indices], [images.targets[i] for i in indices], upright=True)
        )
    else:
        files = {split: _files(classes, keys) for split, classes in layout.splits.items() if any(classes.values())}
        division = with_test(files, layout.sources, where)
    return make_domain(
        name or root.name,
        names,
        annotations.templates,
        division,
        where=where,
        source=f"folder {where}",
        keys=keys,
        key_noun="class folder",
        warnings=[*layout.warnings, *(matched.warnings if matched else [])],
        notes=[*layout.notes, *(matched.notes if matched else [])],
    )


def _files(images: ClassImages, keys: list[str]) -> ImageFiles:
    pairs = [(path, label) for label, key in enumerate(keys) for path in images.get(key, [])]
    return ImageFiles([path for path, _ in pairs], [label for _, label in pairs], upright=True)
