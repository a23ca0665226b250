"""Put studies of the tiny models together: `python -m tools.broad_study STUDY ...` fills reference_data/tables/study_broad/.

Each STUDY is the folder of a complete `python cli.py study --protocol paper --domains broad --model NAME`. Written are

    table.csv       the cells of all models
    changes.csv     accuracies of every other task before and after each cell, with a column for the model
    NAME.csv        the tables of the plan (`harness.study.trial`), which docs/study.md shows

    python -m tools.broad_study --pack FOLDER

packs the records of all trainings, FOLDER/MODEL/..., complete or not, into reference_data/study_cells.tar.xz. A study continues
from them: unpack the archive and give FOLDER/MODEL as --out.
"""

from __future__ import annotations

import argparse
import tarfile
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from harness.records.files import write_table
from harness.study.noise import read_changes
from harness.study.predictors import joined, read_studies
from harness.study.trial import trial_tables, write_trial
from metrics.study_table import SHIPPED, read

CELLS = Path(__file__).parents[1] / "reference_data" / "study_cells.tar.xz"


def together(studies: Sequence[Path]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the cells and the changes of all studies.

    Raises:
        UserError: a table is missing or damaged, or a cell is in two studies.
        ValueError: a study lacks cells or changes that another one has.
    """
    tables = [read(study) for study in studies]
    table = joined(tables)
    cells = [{*zip(part.domain, part.tuning, part.seed, strict=True)} for part in tables]
    for study, found in zip(studies, cells, strict=True):
        if found != cells[0]:
            raise ValueError(f"{study} has {len(found)} cells, and {studies[0]} has {len(cells[0])}, or other ones.")
    changes = read_changes([study / "table.csv" for study in studies])
    if changes is None:
        raise ValueError("A study has no changes.csv.")
    return table, changes[["model", *(name for name in changes if name != "model")]]


def pack(folder: Path, archive: Path) -> int:
    """Write the JSON records under a folder into an archive, in the order of their names, and return their number."""
    files = sorted(folder.rglob("*.json"))
    with tarfile.open(archive, "w:xz", preset=9) as packed:
        for file in files:
            entry = tarfile.TarInfo(str(file.relative_to(folder)))
            entry.size = file.stat().st_size
            with file.open("rb") as opened:
                packed.addfile(entry, opened)
    return len(files)


def main() -> None:
    """Write all tables, or pack the records."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("studies", nargs="*", type=Path)
    parser.add_argument("--out", type=Path, default=SHIPPED.parent)
    parser.add_argument("--pack", type=Path, metavar="FOLDER", help="pack the records under FOLDER instead")
    asked = parser.parse_args()
    if asked.pack is not None:
        print(f"{pack(asked.pack, CELLS)} records in {CELLS}")
        return
    if not asked.studies:
        parser.error("give the folders of the studies, or --pack")
    table, changes = together(asked.studies)
    asked.out.mkdir(parents=True, exist_ok=True)
    write_table(table, asked.out / "table.csv")
    write_table(changes, asked.out / "changes.csv")
    # From the file, whose numbers are rounded, so that anybody gets the same tables.
    write_trial(trial_tables(read_studies([str(asked.out)]), changes), asked.out)
    print(f"{len(table)} cells of {', '.join(table.model.unique())} in {asked.out}")


if __name__ == "__main__":
    main()
