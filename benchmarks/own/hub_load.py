"""Load a Hugging Face dataset: by name, or from a folder of `save_to_disk` or of parquet files."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.data.progress import library_bars
from benchmarks.own.columns import split_in_path
from benchmarks.own.scan import files_under
from models.loading.hub import interruption, refusal
from models.registry import UserError, first_line

# The errors of `datasets` for damaged or foreign files: its own classes are OSError, ValueError or RuntimeError.
_DAMAGE = (OSError, ValueError, RuntimeError, KeyError, TypeError)


def load_folder(folder: Path) -> dict[str, Any]:
    """Return `datasets.Dataset` by split name as the folder names them; a dataset without splits is called "whole".

    The split of a parquet file is in its name or in the name of a folder above it ("train-00000-of-00002.parquet",
    "test/0.parquet"). If no name contains a split, all files are one dataset.

    Raises:
        UserError: for a folder without a dataset, and for a damaged one.
    """
    import datasets

    saved = (folder / "dataset_dict.json").is_file() or (folder / "state.json").is_file()
    files = {} if saved else _parquet_files(folder)
    if not saved and not files:
        raise UserError(
            f"{folder} is not a Hugging Face dataset: it was not written by save_to_disk, and it has no parquet files."
        )
    try:
        with _quiet():
            loaded = datasets.load_from_disk(str(folder)) if saved else datasets.load_dataset("parquet", data_files=files)
    except _DAMAGE as error:
        raise UserError(f"Cannot read the Hugging Face dataset in {folder}: {first_line(error)}.") from error
    return dict(loaded) if isinstance(loaded, dict) else {"whole": loaded}


def load_file(file: Path) -> dict[str, Any]:
    """Return {"whole": `datasets.Dataset`} of one parquet file. Raises UserError for a damaged one."""
    import datasets

    try:
        with _quiet():
            return {"whole": datasets.load_dataset("parquet", data_files={"whole": [str(file)]})["whole"]}
    except _DAMAGE as error:
        raise UserError(f"Cannot read the parquet file {file}: {first_line(error)}.") from error


def load_name(name: str) -> dict[str, Any]:
    """Return `datasets.Dataset` by split name of "owner/name" or "owner/name:config", from the cache or downloaded.

    Code that is part of a dataset is never run.

    Raises:
        UserError: if the dataset does not exist, or is not in the cache and cannot be reached.
    """
    import datasets

    place, _, config = name.partition(":")
    # Version 3 would ask on the terminal whether to run a dataset's script. Later versions refuse scripts.
    refuse: dict[str, Any] = {"trust_remote_code": False} if datasets.__version__.startswith("3.") else {}
    try:
        with _quiet(bars=True):
            loaded = datasets.load_dataset(place, config or None, **refuse)
    except datasets.exceptions.DatasetNotFoundError as error:
        if known := refusal(error, place, "dataset"):
            raise UserError(known) from error
        raise UserError(f"There is neither a folder nor a Hugging Face dataset called {name}: {first_line(error)}.") from error
    except ConnectionError as error:
        raise UserError(
            f"There is no folder {name}. The Hugging Face dataset of that name is not in the cache and cannot be downloaded, "
            f"because the Hub cannot be reached (offline?): {first_line(error)}."
        ) from error
    except _DAMAGE as error:
        known = refusal(error, place, "dataset")
        raise UserError(known or f"Cannot load the Hugging Face dataset {name}: {first_line(error)}.") from error
    except Exception as error:
        if (lost := interruption(error)) is None:
            raise
        raise UserError(f"The connection was lost while {name} was loaded ({lost}): run the same command again.") from error
    return dict(loaded)


def _parquet_files(folder: Path) -> dict[str, list[str]]:
    paths = sorted(entry.path for entry in files_under(folder) if entry.name.endswith(".parquet"))
    files: dict[str, list[str]] = {}
    for path in paths:
        files.setdefault(split_in_path(path[len(str(folder)) + 1 :].removesuffix(".parquet")) or "whole", []).append(path)
    if "whole" in files and len(files) > 1:
        raise UserError(
            f"The name of {files['whole'][0]} has no split (train, val or test), but other parquet files of {folder} have one."
        )
    return files


@contextmanager
def _quiet(bars: bool = False) -> Iterator[None]:
    """Suppress the warnings of `datasets`, and its progress bars unless `bars` (for a download)."""
    import datasets

    level = datasets.logging.get_verbosity()
    datasets.logging.set_verbosity_error()
    try:
        with library_bars(bars), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        datasets.logging.set_verbosity(level)
