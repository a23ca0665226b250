"""Write made-up data and random weights for a rehearsal of the full edition: `python tools/rehearsal.py --root DIR`.

Every dataset has its real folders, file formats, classes and class names. Pictures are made from the class names. The commands
of the full edition run on DIR unchanged. Repeat the command to continue after an interruption.
"""

from __future__ import annotations

import argparse
import os
import shlex
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

if not __package__:  # run as a file: modules are found from the repository's root
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from harness.display.console import make_console
from harness.display.data_progress import DataProgress
from models.registry import UserError
from tools.rehearsal_data.sets import SETS, chosen
from tools.rehearsal_data.write import Folder, Settings, estimate, write_set

WEIGHTS = {"ViT-B-16": 1_500_000_000, "tiny": 20_000_000}
"""Models that random weights are written of, and the bytes of their three files."""
LONGER = "tiny-longer"
"""Folder of the tiny model that reads longer prompts."""
PER_FILE = 2048
"""Bytes that an average file takes on disk beyond its content: half a block."""


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parse = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parse.add_argument("--root", type=Path, required=True, help="a new or empty folder, or one with a rehearsal to continue")
    parse.add_argument("--images-per-class", type=int, default=4, metavar="N", help="training images per class (default: 4)")
    parse.add_argument("--real-sizes", action="store_true", help="pictures of the real sizes (default: at most 64 pixels)")
    parse.add_argument("--only", nargs="+", default=[], metavar="NAME", help="sets, datasets, or mtil, paint, cil, coop")
    parse.add_argument("--model", choices=WEIGHTS, default="ViT-B-16", help="the model of the random weights")
    parse.add_argument("--no-weights", action="store_true", help="write no weights")
    parse.add_argument("--seed", type=int, default=0, help="of the looks of the classes and of the weights")
    parse.add_argument("--workers", type=int, default=min(8, os.cpu_count() or 1), help="threads that draw pictures")
    return parse


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the rehearsal. Return the exit status."""
    given = parser().parse_args(arguments)
    try:
        write(given)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def write(given: argparse.Namespace) -> None:
    """Write the sets and weights that are missing.

    Raises:
        UserError: for numbers out of range, unknown sets, a folder with other content, and a disk that is too small.
    """
    if given.images_per_class < 1 or given.workers < 1:
        raise UserError("--images-per-class and --workers must be at least 1.")
    settings = Settings(given.images_per_class, given.real_sizes, given.seed)
    names = chosen(given.only)
    folder = Folder(given.root, settings)
    model = None if given.no_weights else given.model
    weights = f"weights of {model}"
    waiting = [name for name in names if name not in folder.done]
    console = make_console()
    with DataProgress(console) as progress:
        sizes = {name: estimate(name, settings) for name in waiting}
        images = sum(SETS[name].images(settings.images_per_class) for name in waiting)
        needed = sum(sizes.values()) + PER_FILE * images
        if model is not None and weights not in folder.done:
            needed += WEIGHTS[model]
        free = shutil.disk_usage(given.root).free
        progress.say(
            f"{len(waiting)} of {len(names)} sets are to be written: {images:,} images, about {_amount(needed)} with the "
            f"weights. {_amount(free)} are free in {given.root}."
        )
        if needed > free:
            raise UserError(
                "The disk is too small: lower --images-per-class, leave out --real-sizes, or choose sets with --only."
            )
        for name in waiting:
            with folder.part(name) as partial:
                write_set(partial, name, settings, given.workers, progress)
        if model is not None and weights not in folder.done:
            progress.say(f"random weights of {model} ...")
            with folder.part(weights) as partial:
                _write_weights(partial / "weights", model, given.seed)
    console.print(f"{_amount(sum(folder.done.values()))} in {given.root}.", highlight=False)
    for line in commands(given.root, given.model if weights in folder.done else None, names, given.images_per_class):
        console.print(line, highlight=False, soft_wrap=True, markup=False)


def _write_weights(folder: Path, model: str, seed: int) -> None:
    from tools.rehearsal_data import weights

    folder.mkdir()
    weights.write(folder, model, seed)
    if model == "tiny":
        weights.write_longer(folder / LONGER)


def commands(root: Path, model: str | None, names: Sequence[str], images_per_class: int) -> list[str]:
    """Return commands of the full edition that run on a rehearsal, with few updates and images.

    PAINT holds out validation images of every class, so that it needs two.
    """
    data = f"--data-root {shlex.quote(str(root))}"
    folder = root / "weights"
    weights = "" if model is None else f" --model {model} --pretrained {shlex.quote(str(folder / f'{model}.safetensors'))}"
    if model == "tiny":
        weights = f" --model {shlex.quote(str(folder / LONGER))}"
    few = f"--edition full {data}{weights} --set iterations=10 --limit 50"
    by_suite = {
        "mtil": [f"bench mtil --order {order} --strategy finetune" for order in ("I", "II")],
        "cil": [f"bench cil --dataset {name} --strategy finetune" for name in ("cifar100", "tinyimagenet", "imagenet100")],
        "paint": ["bench paint --strategy paint-sequential"],
        "coop": ["bench xtail --strategy finetune", "bench mtil-fewshot-16 --strategy finetune"],
    }
    if images_per_class < 2:
        del by_suite["paint"]
    benches = [line for name, lines in by_suite.items() if {*chosen([name])} <= {*names} for line in lines]
    return [
        "Commands that run on it:",
        f"  python cli.py data status {data}",
        *(f"  python cli.py {line} {few}" for line in benches),
    ]


def _amount(size: float) -> str:
    for unit in ("B", "KB", "MB", "GB"):
        if size < 1000:
            return f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:.3g} TB"


if __name__ == "__main__":
    sys.exit(main())
