"""`python -m tools.study_data [--only NAMES] [--out data/broad]`: make the tasks of the suite `broad` that need packages."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.broad.study_data_rows import STUDY_DATA
from benchmarks.data.cache_folder import cache_folder
from models.registry import UserError, unknown
from tools.study_data import division, files
from tools.study_data.opening import Open, opener
from tools.study_data.recipes import RECIPES


def main(arguments: Sequence[str] | None = None) -> int:
    """Make tasks and return the exit status: 0, or 2 if a package cannot be fetched or a name is unknown."""
    parser = argparse.ArgumentParser(prog="python -m tools.study_data", description=(__doc__ or "").split(": ")[1])
    parser.add_argument("--only", nargs="+", metavar="NAMES", default=list(RECIPES), help="make only these tasks")
    parser.add_argument("--out", type=Path, default=Path("data/broad"), help="folder of the files (default: data/broad)")
    options = parser.parse_args(arguments)
    try:
        for name in options.only:
            if name not in RECIPES:
                raise unknown("task", name, RECIPES)
        read = opener(cache_folder("packages"))
        for name in options.only:
            print(make(name, read, options.out), flush=True)
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


def make(name: str, read: Open, out: Path) -> str:
    """Make the files of a task and return a line about them."""
    start = time.perf_counter()
    recipe, task = RECIPES[name], STUDY_DATA[name]
    splits = recipe.sources(read)
    division.check_disjoint(name, splits)
    arrays = division.arrays(name, splits, recipe.draws, recipe.look)
    path = files.write(out, name, task, recipe.packages, arrays)
    sizes = " / ".join(f"{split} {size}" for split, size in task.size_of.items())
    megabytes, seconds = path.stat().st_size / 1e6, time.perf_counter() - start
    return f"{name}: {len(task.classnames)} classes, {sizes}, {megabytes:.0f} MB, {seconds:.0f} s"


if __name__ == "__main__":
    sys.exit(main())
