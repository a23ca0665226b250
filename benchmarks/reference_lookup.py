"""Find reference images and sentences by name (`benchmarks.reference`), without opening an image. Imports no torch."""

from __future__ import annotations

import csv
import hashlib
import io
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.data.formats import is_image
from benchmarks.full.dataset_table import names
from benchmarks.own.scan import files_under
from models.files import read_bytes, read_text, reason
from models.paths import user_path
from models.prompts import fill
from models.registry import UserError

NAMES = ("mini", "imagenet", "conceptual_captions")
CAPTIONS = "Validation_GCC-1.1.0-Validation_output.csv"
COLUMNS = ("title", "caption")
OWN_IMAGES = ("batch", "current", "noise")
"""Words for images that a method makes for itself: the training batch, the task's training images, random pixels."""
OWN_SENTENCES = ("classnames", "random")
"""Words for sentences of that kind: the task's class names in its first template, random tokens."""
_OTHERS = "Or choose others: --set reference_images=FOLDER reference_sentences=FILE (mini: those that ship with the project)."


def check(images: str, sentences: str, data_root: str = "data") -> None:
    """Raise UserError when the papers' reference data is plainly not there. Quick: no image is opened, no folder searched."""
    if images == "imagenet":
        _imagenet_folder(Path(data_root))
    if "conceptual_captions" in (images, sentences):
        _captions_table(Path(data_root))
    if images == "conceptual_captions":
        image_paths(images, data_root)


def image_paths(name: str, data_root: str = "data") -> list[str]:
    """The files of a set of reference images, sorted."""
    root = Path(data_root)
    if name == "imagenet":
        folder = _imagenet_folder(root)
    elif name == "conceptual_captions":
        table = _captions_table(root)
        found = _captioned(table)
        if not found:
            raise UserError(f"None of the images that {table} names (column filepath) is there. {_OTHERS}")
        return found
    else:
        folder = user_path(name)
        if not folder.is_dir():
            known = ", ".join((*NAMES, *OWN_IMAGES))
            raise UserError(f"There are no reference images {name!r}: known are {known}, or a folder.")
    found = sorted(entry.path for entry in files_under(folder) if is_image(entry.name))
    if not found:
        raise UserError(f"There is no image in the folder of reference images {folder}.")
    return found


def load_sentences(name: str, data_root: str = "data") -> list[str]:
    """The sentences of that name, in the file's order, empty lines left out."""
    if name in OWN_SENTENCES:
        return []
    if name == "mini":
        from benchmarks.mini import reference

        return reference.sentences()
    if name == "imagenet":
        return fill("a photo of a {}.", list(names("imagenet").values()))
    path = _captions_table(Path(data_root)) if name == "conceptual_captions" else user_path(name)
    if not path.is_file():
        known = ", ".join((*NAMES, *OWN_SENTENCES))
        raise UserError(f"There are no reference sentences {name!r}: known are {known}, or a text file.")
    if path.suffix.lower() in (".csv", ".tsv"):
        rows = _table_rows(path)
        column = next((c for c in COLUMNS if rows and c in rows[0]), None)
        if column is None:
            raise UserError(f"{path} has no column {' or '.join(COLUMNS)} with sentences.")
        found = [row[column] or "" for row in rows]
    else:
        try:
            found = read_text(path).splitlines()
        except OSError as error:
            raise UserError(f"Cannot read {path}: {reason(error)}.") from error
        except UnicodeDecodeError as error:
            raise UserError(f"{path} is not a text file: {error}.") from error
    found = [sentence.strip() for sentence in found if sentence.strip()]
    if not found:
        raise UserError(f"There is no sentence in {path}.")
    return found


def version(images: str, sentences: str, data_root: str = "data", paths: Sequence[str] | None = None) -> str | None:
    """A digest of the reference data on disk, for the key of a run.

    Of ImageNet: how many images each class folder has. Of Conceptual Captions: the table and, if its images are asked for,
    how many of them are there: their links die, so everybody has others. Of the user's own: names and sizes of the images
    (`paths`, where the folder has been searched already) and the sentences.

    None for what ships with the project, and for a named set that is missing, which `check` tells.
    """
    root = Path(data_root)
    parts: list[str] = []
    if images == "imagenet" and _imagenet(root).is_dir():
        parts += _class_counts(_imagenet(root))
    if "conceptual_captions" in (images, sentences) and (table := _find_captions(root)) is not None:
        parts.append(hashlib.sha256(table.read_bytes()).hexdigest())
        if images == "conceptual_captions":
            parts.append(f"{len(_captioned(table))} images")
    if images not in (*NAMES, *OWN_IMAGES):
        found = image_paths(images) if paths is None else paths
        parts += [f"{Path(path).name} {Path(path).stat().st_size}" for path in found]
    if sentences not in NAMES:
        parts += load_sentences(sentences)
    return hashlib.sha256(os.fsencode("\n".join(parts))).hexdigest()[:12] if parts else None


def _imagenet(root: Path) -> Path:
    return root / "imagenet" / "train"


def _imagenet_folder(root: Path) -> Path:
    folder = _imagenet(root)
    if not folder.is_dir():
        raise UserError(f"There are no reference images: ImageNet's training images belong in {folder}. {_OTHERS}")
    return folder


def _class_counts(folder: Path) -> list[str]:
    """ "FOLDER COUNT" of each class folder: names alone are read, 1.3 million in about a second."""
    found = []
    with os.scandir(folder) as classes:
        for entry in classes:
            if entry.is_dir():
                with os.scandir(entry.path) as files:
                    count = sum(is_image(file.name) for file in files)
                found.append(f"{entry.name} {count}")
    return sorted(found)


def _find_captions(root: Path) -> Path | None:
    places = (root / "conceptual_captions", root / "cc_data", root)
    return next((place / CAPTIONS for place in places if (place / CAPTIONS).is_file()), None)


def _captioned(table: Path) -> list[str]:
    """The images that the table names and that are there, sorted."""
    paths = [table.parent / row["filepath"] for row in _table_rows(table) if row.get("filepath")]
    return sorted(str(path) for path in paths if path.is_file())


def _captions_table(root: Path) -> Path:
    table = _find_captions(root)
    if table is not None:
        return table
    raise UserError(
        f"There is no reference data: {CAPTIONS} (Conceptual Captions' validation set, columns title and filepath, "
        f"separated by tabs) belongs in {root / 'conceptual_captions'}. {_OTHERS}"
    )


def _table_rows(path: Path) -> Sequence[dict[str, Any]]:
    try:
        text = read_bytes(path).decode()
        tabs = "\t" in text.partition("\n")[0]
        return list(csv.DictReader(io.StringIO(text, newline=""), delimiter="\t" if tabs else ","))
    except OSError as error:
        raise UserError(f"Cannot read {path}: {reason(error)}.") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{path} is not a table of sentences: {error}.") from error
