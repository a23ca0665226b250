"""Find reference images and sentences by name (`benchmarks.reference`) without opening an image. Imports no torch."""

from __future__ import annotations

import csv
import hashlib
import io
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from benchmarks.catalog import MINI, Source, check_present, find
from benchmarks.data.formats import is_image
from benchmarks.full.dataset_table import ENTRIES
from benchmarks.full.dataset_table import names as class_names
from benchmarks.own.scan import files_under
from models.files import read_bytes, read_text, reason
from models.paths import user_path
from models.prompts import fill
from models.registry import UserError

NAMES = ("mini", "imagenet", "conceptual_captions")
CAPTIONS = "Validation_GCC-1.1.0-Validation_output.csv"
RAW_CAPTIONS = "Validation_GCC-1.1.0-Validation.tsv"
"""Google's table: captions and addresses separated by a tab, without a header."""
PER_CLASS = 100
"""Images of each class in "imagenet:classes=N" (ImageNetSM in ZSCL's released code)."""
PART_SEED = 42
"""Seed of the choice in "imagenet:images=N" (ImageNetSUB in ZSCL's released code)."""
COLUMNS = ("title", "caption")
OWN_IMAGES = ("batch", "current", "noise")
"""Words for images that a method makes: the training batch, the task's training images, random pixels."""
OWN_SENTENCES = ("classnames", "seen-classnames", "random")
"""Words for sentences that a method makes: the task's class names in its first template, those of all tasks so far, random
tokens."""
_ALTERNATIVES = (
    "Or choose other data: --set reference_images=FOLDER reference_sentences=FILE (mini: the data that ships with the project)."
)


def check(images: str, sentences: str, data_root: str = "data") -> None:
    """Raise UserError if the papers' reference data is obviously missing. Opens no image and searches no folder."""
    image_sets, sets = joined(images), [*joined(images), *joined(sentences)]
    if any(_imagenet_part(name) is not None for name in image_sets):
        _existing_imagenet(Path(data_root))
    check_present([source for name in sets if (source := dataset(name, data_root)) is not None])
    if "conceptual_captions" in sets:
        existing_captions(Path(data_root))
    if "conceptual_captions" in image_sets:
        image_paths("conceptual_captions", data_root)


def joined(name: str) -> list[str]:
    """Return the sets whose names commas join: datasets, ImageNet or its parts, Conceptual Captions. Else the name itself."""
    names = name.split(",")
    known = {*NAMES, *MINI, *ENTRIES} - {"mini"}
    return names if all(each in known or _imagenet_part(each) is not None for each in names) else [name]


def dataset(name: str, data_root: str = "data") -> Source | None:
    """Return the domain of the benchmarks that a name means as reference data, or None for another name."""
    return find(name, None, data_root) if name not in NAMES and name in (*MINI, *ENTRIES) else None


def is_folder(images: str) -> bool:
    """Return whether a name of reference images means a folder of the user."""
    if len(joined(images)) > 1:
        return False
    return images not in (*NAMES, *OWN_IMAGES) and _imagenet_part(images) is None and dataset(images) is None


def image_paths(name: str, data_root: str = "data") -> list[str]:
    """Return the files of a set of reference images, sorted.

    Args:
        name: "imagenet" or a part of it, "conceptual_captions", or a folder, which is searched for images.
        data_root: the data folder.

    Raises:
        UserError: for an unknown name, and for a set without images.
    """
    root = Path(data_root)
    if name == "conceptual_captions":
        table = existing_captions(root)
        paths = captioned_images(table)
        if not paths:
            raise UserError(f"None of the images that {table} names (column filepath) exists. {_ALTERNATIVES}")
        return paths
    part = _imagenet_part(name)
    folder = user_path(name) if part is None else _existing_imagenet(root)
    if not folder.is_dir():
        known = ", ".join((*NAMES, *OWN_IMAGES))
        raise UserError(
            f"Unknown reference images {name!r}. Use one of {known}, a dataset (`list domains`), several of them joined by "
            "commas, or a folder."
        )
    paths = sorted(entry.path for entry in files_under(folder) if is_image(entry.name))
    if not paths:
        raise UserError(f"The folder of reference images {folder} has no image.")
    return paths if part is None else _part_of(paths, folder, part)


def load_sentences(name: str, data_root: str = "data") -> list[str]:
    """Return reference sentences in the order of their file, without empty lines.

    Args:
        name: "mini", "imagenet" or a part of it, "conceptual_captions", a dataset (its class names in its first template), a
            word in `OWN_SENTENCES` (no sentences), or a text file. Of a .csv or .tsv file the column title or caption is read.
            A .tsv file without a header, with an address in its second column, has the captions in its first. Several sets
            joined by commas have their sentences one after another.
        data_root: the data folder.

    Raises:
        UserError: for an unknown name, a file that cannot be read, and a file without sentences.
    """
    if name in OWN_SENTENCES:
        return []
    if len(names := joined(name)) > 1:
        return [sentence for each in names for sentence in load_sentences(each, data_root)]
    if name == "mini":
        from benchmarks.mini import reference

        return reference.sentences()
    if (part := _imagenet_part(name)) is not None:
        return fill("a photo of a {}.", list(class_names("imagenet").values())[: part.classes])
    if (source := dataset(name, data_root)) is not None:
        domain = source.build(("test",))
        return fill(domain.templates[0], list(domain.classnames))
    path = existing_captions(Path(data_root)) if name == "conceptual_captions" else user_path(name)
    if not path.is_file():
        known = ", ".join((*NAMES, *OWN_SENTENCES))
        raise UserError(
            f"Unknown reference sentences {name!r}. Use one of {known}, a dataset (`list domains`), several of them joined by "
            "commas, or a text file."
        )
    sentences = _table_sentences(path) if path.suffix.lower() in (".csv", ".tsv") else _text_sentences(path)
    if not sentences:
        raise UserError(f"{path} has no sentences.")
    return sentences


def version(images: str, sentences: str, data_root: str = "data", paths: Sequence[str] | None = None) -> str | None:
    """Return a digest of the reference data on disk, for the key of a run.

    ImageNet counts by the number of images in each class folder. Conceptual Captions counts by its table and, if its images
    are used, by how many of them exist: the links expire, so copies differ. The user's data counts by the names and sizes of
    the images and by the sentences.

    Args:
        images: name of the images.
        sentences: name of the sentences.
        data_root: the data folder.
        paths: the result of `image_paths`, if the folder has been searched already.

    Returns:
        12 hexadecimal digits. None for data that ships with the project, and for a named set that is missing, which `check`
        reports.
    """
    root = Path(data_root)
    image_sets, sets = joined(images), [*joined(images), *joined(sentences)]
    parts: list[str] = []
    if any(_imagenet_part(name) is not None for name in image_sets) and imagenet_folder(root).is_dir():
        parts += _class_counts(imagenet_folder(root))
    if "conceptual_captions" in sets and (table := find_captions(root)) is not None:
        parts.append(hashlib.sha256(table.read_bytes()).hexdigest())
        if "conceptual_captions" in image_sets:
            parts.append(f"{len(captioned_images(table))} images")
    parts += [source.version() for name in sets if (source := dataset(name, data_root)) is not None]
    if is_folder(images):
        files = image_paths(images) if paths is None else paths
        parts += [f"{Path(path).name} {Path(path).stat().st_size}" for path in files]
    is_file = len(joined(sentences)) == 1 and _imagenet_part(sentences) is None and dataset(sentences) is None
    if is_file and sentences not in NAMES:
        parts += load_sentences(sentences)
    return hashlib.sha256(os.fsencode("\n".join(parts))).hexdigest()[:12] if parts else None


def imagenet_folder(root: Path) -> Path:
    """Return the folder of ImageNet's training images, which may not exist."""
    return root / "imagenet" / "train"


def captions_place(root: Path) -> Path:
    """Return the path where the table of Conceptual Captions belongs."""
    return root / "conceptual_captions" / CAPTIONS


def find_captions(root: Path) -> Path | None:
    """Return the table of Conceptual Captions: in conceptual_captions/, cc_data/ or the data folder, or None.

    A table with the paths of images comes before Google's table.
    """
    folders = (captions_place(root).parent, root / "cc_data", root)
    tables = (folder / name for name in (CAPTIONS, RAW_CAPTIONS) for folder in folders)
    return next((table for table in tables if table.is_file()), None)


def captioned_images(table: Path) -> list[str]:
    """Return the existing images that a table of captions names, sorted."""
    paths = [table.parent / row["filepath"] for row in table_rows(table) if row.get("filepath")]
    return sorted(str(path) for path in paths if path.is_file())


def count_sentences(table: Path) -> int:
    """Return the number of sentences in a table of captions."""
    return len(_table_sentences(table))


class _Part(NamedTuple):
    """A part of ImageNet: its first `classes`, or a choice of `images`. None: all."""

    classes: int | None = None
    images: int | None = None


def _imagenet_part(name: str) -> _Part | None:
    """Return the part of ImageNet that a name means, or None for another name. Raises UserError for a wrong part."""
    head, colon, rest = name.partition(":")
    if head != "imagenet":
        return None
    match = re.fullmatch(r"(classes|images)=(\d{1,9})", rest)
    if (colon and match is None) or (match and (int(match[2]) == 0 or (match[1] == "classes" and int(match[2]) > 1000))):
        raise UserError(
            f"Unknown reference data {name!r}. Parts of ImageNet are imagenet:classes=1..1000 and imagenet:images=N."
        )
    return _Part(**{match[1]: int(match[2])}) if match else _Part()


def _part_of(paths: list[str], folder: Path, part: _Part) -> list[str]:
    """Return the sorted paths of the images in a part of ImageNet."""
    if part.images is not None:
        from benchmarks.data.sampling import permutation

        if part.images > len(paths):
            raise UserError(f"imagenet:images={part.images} asks for more than the {len(paths):,} images in {folder}.")
        return sorted(paths[i] for i in permutation(len(paths), PART_SEED)[: part.images])
    if part.classes is None:
        return paths
    by_class: dict[str, list[str]] = {}
    for path in paths:
        by_class.setdefault(Path(path).relative_to(folder).parts[0], []).append(path)
    return [path for name in sorted(by_class)[: part.classes] for path in by_class[name][:PER_CLASS]]


def _existing_imagenet(root: Path) -> Path:
    folder = imagenet_folder(root)
    if not folder.is_dir():
        raise UserError(f"No reference images: put ImageNet's training images into {folder}. {_ALTERNATIVES}")
    return folder


def existing_captions(root: Path) -> Path:
    """Return the table of Conceptual Captions. Raises UserError if it is missing."""
    table = find_captions(root)
    if table is None:
        raise UserError(
            f"No reference data: put {CAPTIONS} (Conceptual Captions' validation set, columns title and filepath, separated "
            f"by tabs), or for the sentences only Google's {RAW_CAPTIONS}, into {captions_place(root).parent}. {_ALTERNATIVES}"
        )
    return table


def _class_counts(folder: Path) -> list[str]:
    """Return "FOLDER COUNT" for each class folder. Only names are read: 1.3 million in about a second."""
    counts = []
    with os.scandir(folder) as classes:
        for entry in classes:
            if entry.is_dir():
                with os.scandir(entry.path) as files:
                    counts.append(f"{entry.name} {sum(is_image(file.name) for file in files)}")
    return sorted(counts)


def _text_sentences(path: Path) -> list[str]:
    try:
        lines = read_text(path).splitlines()
    except OSError as error:
        raise UserError(f"Cannot read {path}: {reason(error)}.") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not a text file: {error}.") from error
    return [line.strip() for line in lines if line.strip()]


def _table_sentences(path: Path) -> list[str]:
    rows = table_rows(path)
    column = next((column for column in COLUMNS if rows and column in rows[0]), None)
    if column is None:
        raise UserError(f"{path} has no column {' or '.join(COLUMNS)} with sentences.")
    return [sentence for row in rows if (sentence := (row[column] or "").strip())]


def table_rows(path: Path) -> list[dict[str, str]]:
    """Return the rows of a .csv or .tsv file. Raises UserError if it cannot be read."""
    try:
        text = read_bytes(path).decode()
        first = text.partition("\n")[0].rstrip("\r").split("\t")
        if len(first) == 2 and re.match(r"https?://", first[1]):
            rows = csv.reader(io.StringIO(text, newline=""), delimiter="\t", quoting=csv.QUOTE_NONE)
            return [{"title": row[0], "url": "".join(row[1:])} for row in rows if row]
        tabs = len(first) > 1
        return list(csv.DictReader(io.StringIO(text, newline=""), delimiter="\t" if tabs else ","))
    except OSError as error:
        raise UserError(f"Cannot read {path}: {reason(error)}.") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{path} cannot be read as a table of sentences: {error}.") from error
