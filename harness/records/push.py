"""Upload the records of finished runs to a hub dataset: `run.json` and the tables, never checkpoints or images.

Imports neither torch nor Avalanche.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path, PurePath
from typing import NamedTuple

from harness.hub.repository import create, endpoint, list_files, upload
from harness.records.elsewhere import FILES, LARGEST, check_texts
from harness.records.runs import Run
from harness.records.schema import RECORD, check_schema
from models.files import read_bytes
from models.registry import UserError

RUNS_PER_COMMIT = 50
CARD = "README.md"


class Pushed(NamedTuple):
    """The address of a hub dataset, and the numbers of runs that were uploaded and that were there before."""

    address: str
    uploaded: int
    present: int


def push(runs: Sequence[Run], repository: str, private: bool = False) -> Pushed:
    """Upload the records of finished runs to a hub dataset, which is created if it does not exist.

    A run whose folder the dataset has is not uploaded again, so an interrupted upload continues, and no record of others is
    replaced. Each run is checked before the first upload.

    Args:
        runs: finished runs.
        repository: OWNER/NAME.
        private: create a dataset that only its owner sees.

    Raises:
        UserError: for a record that the schema refuses, and if the hub cannot be reached or refuses.
    """
    if not runs:
        raise UserError("There are no finished runs to upload.")
    for run in runs:
        check_schema(run.folder)
        check_texts(run.document)
    folders = {folder_of(run): files_of(run) for run in runs}
    create(repository, private=private)
    present = list_files(repository).sizes
    new = [folder for folder in folders if f"{folder}/{RECORD}" not in present]
    for start in range(0, len(new), RUNS_PER_COMMIT):
        chosen = new[start : start + RUNS_PER_COMMIT]
        files: dict[str, Path | bytes] = {f"{folder}/{n}": path for folder in chosen for n, path in folders[folder].items()}
        if start == 0 and CARD not in present:
            files[CARD] = card(repository).encode()
        upload(repository, files, f"Add {len(chosen)} run{'s' * (len(chosen) != 1)}")
    return Pushed(f"{endpoint()}/datasets/{repository}", len(new), len(folders) - len(new))


def folder_of(run: Run) -> str:
    """Return the folder of a run in a dataset: BENCHMARK-EDITION-ORDER/STRATEGY-KEY."""
    identity = run.identity
    stream = "-".join(identity[name] for name in ("benchmark", "edition", "order"))
    return "/".join(_plain(text) for text in (stream, f"{identity['strategy']}-{run.key}"))


def files_of(run: Run) -> dict[str, Path]:
    """Return the files of a record that are uploaded. Raises UserError for one that nobody could read back."""
    files = {name: run.folder / name for name in FILES if (run.folder / name).is_file()}
    for name, path in files.items():
        if path.stat().st_size > LARGEST[name]:
            raise UserError(f"{path} has {path.stat().st_size:,} bytes, and at most {LARGEST[name]:,} can be uploaded.")
    return files


def paths_in(runs: Sequence[Run]) -> list[str]:
    """Return the absolute paths that the `run.json` files name, which readers of a dataset will see."""
    paths = set()
    for run in runs:
        text = read_bytes(run.folder / RECORD).decode()
        paths |= {word for word in re.findall(r'"((?:[^"\\]|\\.)*)"', text) if PurePath(word).is_absolute()}
    return sorted(json.loads(f'"{path}"') for path in paths)


def card(repository: str) -> str:
    """Return the README of a new dataset, with the configurations of the hub's viewer."""
    return f"""\
---
tags:
- continual-learning
- vision-language
- perennial
configs:
- config_name: accuracy
  data_files: "*/*/accuracy.csv"
- config_name: measures
  data_files: "*/*/measures.csv"
---

# Records of continual-learning runs

Each folder `BENCHMARK-EDITION-ORDER/STRATEGY-KEY/` is the record of one finished run of Perennial: `run.json` with its
settings, machine and summary, and the tables `accuracy.csv`, `measures.csv` and `train.csv`. There are no checkpoints.

```bash
python cli.py leaderboard --from {repository}
python cli.py leaderboard --from {repository} --html leaderboard.html
```
"""


def _plain(text: str) -> str:
    """Return a text as the name of a folder that `--from` reads."""
    return re.sub(r"[^A-Za-z0-9_.+-]+", "-", text).lstrip(".-+") or "run"
