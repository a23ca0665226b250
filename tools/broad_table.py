"""Measure the tasks of the suite `broad` before training, and make the table and the picture of docs/broad.md.

    python -m tools.broad_table --draw        draw the drawn tasks into the cache; processor time on one core, without torch
    python -m tools.broad_table               zero-shot accuracy and IIMM of all tasks that are present
    python -m tools.broad_table NAME ...      only these tasks; other rows of the table stay
    python -m tools.broad_table --picture     draw docs/assets/broad.jpg

Zero-shot accuracy and IIMM are those of the tiny CLIP on the VALIDATION images, with the first template. No test image is
looked at. The rows go to reference_data/tables/broad_tasks.csv.
"""

from __future__ import annotations

import argparse
import functools
import platform
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image, ImageDraw

from benchmarks import broad
from benchmarks.broad import draw
from benchmarks.broad.task_table import TASKS, present
from benchmarks.catalog import MINI, check_present, find
from benchmarks.mini import cache
from benchmarks.mini.letters import typeface
from benchmarks.mini.render import SIZE
from harness.records.files import read_csv, write_csv

if TYPE_CHECKING:
    from benchmarks.data.domain import Domain
    from models.encoder import DualEncoder

ROOT = Path(__file__).parent.parent
TABLE = ROOT / "reference_data" / "tables" / "broad_tasks.csv"
PICTURE = ROOT / "docs" / "assets" / "broad.jpg"
COLUMNS = (
    *("task", "origin", "classes", "train", "val", "test", "ood", "largest", "chance", "zero_shot", "iimm", "intra", "inter"),
    *("draw_seconds", "revision", "measured", "machine"),
)
SHOWN = 10
"""Pictures of a task in the contact picture."""


def measured(domain: Domain, encoder: DualEncoder) -> dict[str, str]:
    """Return zero-shot accuracy in percent and IIMM with its parts, on the validation images and with the first template."""
    from metrics.embedding import embed
    from metrics.iimm import iimm

    assert domain.val is not None
    features = embed(encoder, domain.val, domain.prompts(0)).features
    answers = (features.image_features @ features.text_features.T).argmax(1)
    accuracy = 100 * float((answers == features.labels).float().mean())
    score = iimm(features.image_features, features.text_features, features.labels)
    return {
        "zero_shot": f"{accuracy:.1f}",
        "iimm": f"{score.score:.3f}",
        "intra": f"{score.intra:.3f}",
        "inter": f"{score.inter:.3f}",
    }


def draw_all(names: list[str]) -> dict[str, dict[str, str]]:
    """Draw tasks into the cache, and return the seconds of processor time by task."""
    rows = {}
    for name in names:
        began = time.process_time()
        arrays = draw.draw(name, TASKS[name])
        rows[name] = {"draw_seconds": f"{time.process_time() - began:.1f}"}
        cache.write(broad.cached(name), arrays)
        print(f"{name}  {rows[name]['draw_seconds']} s", flush=True)
    return rows


def measure_all(names: list[str], data_root: str) -> dict[str, dict[str, str]]:
    """Return the sizes, zero-shot accuracy and IIMM of tasks by name."""
    import torch

    import models

    torch.set_num_threads(1)
    encoder, rows = models.load("tiny"), {}
    for name in names:
        domain = find(name, None, data_root).build()
        sizes: dict[str, Any] = {split: getattr(domain, split) for split in ("train", "val", "test", "ood")}
        counts = Counter(sizes["train"].targets)
        origin = "mini" if name in MINI else "study data" if TASKS[name].needs_study_data else "drawn"
        rows[name] = {
            "origin": origin,
            "classes": str(len(domain.classnames)),
            **{split: str(0 if data is None else len(data)) for split, data in sizes.items()},
            "largest": f"{100 * max(counts.values()) / sum(counts.values()):.0f}",
            "chance": f"{100 / len(domain.classnames):.1f}",
            **measured(domain, encoder),
            "revision": _revision(),
            "measured": time.strftime("%Y-%m-%d"),
            "machine": _machine(),
        }
        print(f"{name}  zero-shot {rows[name]['zero_shot']}  IIMM {rows[name]['iimm']}", flush=True)
    return rows


def write(rows: dict[str, dict[str, str]]) -> None:
    """Write cells of rows into the table. Other cells and rows stay. The order is that of the suite."""
    by_name = {known["task"]: known for known in read_csv(TABLE)}
    for name, cells in rows.items():
        by_name[name] = {**by_name.get(name, {}), "task": name, **cells}
    write_csv(TABLE, COLUMNS, (by_name[name] for name in (*MINI, *TASKS) if name in by_name))


def drawing_sentence(rows: Sequence[Mapping[str, str]]) -> str:
    """Return the sentence on the time to draw the drawn tasks, from rows of the table."""
    drawn = [row for row in rows if row["origin"] == "drawn"]
    images = sum(int(row[split]) for row in drawn for split in ("train", "val", "test", "ood"))
    seconds = sum(float(row["draw_seconds"]) for row in drawn)
    return (
        f"Drawing the {len(drawn)} drawn tasks ({images:,} images) takes {seconds:.0f} seconds of processor time on one core. "
        f"Their images in the cache take {images * 3 * SIZE**2 / 1e6:.0f} MB."
    )


def draw_picture(data_root: str) -> None:
    """Write the contact picture: one row per drawn task, in two columns. Pictures of packages have other licences."""
    rows = []
    for name in (name for name, task in TASKS.items() if task.drawn_by):
        strip = Image.new("RGB", (SHOWN * 48 + 110, 50), "white")
        ImageDraw.Draw(strip).text((4, 18), name, fill="black", font=typeface("DejaVuSans").font_variant(size=13))
        for column, picture in enumerate(_examples(name, data_root)):
            strip.paste(Image.fromarray(picture.transpose(1, 2, 0)), (110 + 48 * column, 1))
        rows.append(strip)
    half = (len(rows) + 1) // 2
    sheet = Image.new("RGB", (2 * rows[0].width + 12, half * 50), "white")
    for index, strip in enumerate(rows):
        sheet.paste(strip, ((index // half) * (strip.width + 12), (index % half) * 50))
    sheet.save(PICTURE, quality=72)


def _examples(name: str, data_root: str) -> list[np.ndarray]:
    """Return training pictures of different classes; with fewer than `SHOWN` classes, several of each."""
    arrays, classes = broad.images(name, data_root), len(TASKS[name].classnames)
    labels = arrays["train_labels"]
    chosen = [(index * classes // SHOWN if classes > SHOWN else index % classes, index // classes) for index in range(SHOWN)]
    places = [np.flatnonzero(labels == label) for label in range(classes)]
    return [arrays["train_images"][places[label][turn if classes <= SHOWN else 0]] for label, turn in chosen]


def _machine() -> str:
    import torch

    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text(encoding="utf-8").splitlines() if cpuinfo.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    processor = names[0] if names else platform.machine()
    return f"1 core of {processor}; torch {torch.__version__.split('+')[0]}; Python {platform.python_version()}"


@functools.cache
def _revision() -> str:
    found = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=True)
    return found.stdout.strip()


def main() -> int:
    """Draw or measure tasks, or draw the picture, and return the exit status."""
    parser = argparse.ArgumentParser(description="Measure the tasks of the suite broad before training.")
    parser.add_argument("tasks", nargs="*", help="names of tasks (default: all that are present)")
    parser.add_argument("--data-root", default="data", help="data folder with broad/NAME.npz (default: data)")
    parser.add_argument("--draw", action="store_true", help="draw the drawn tasks into the cache, and record the time")
    parser.add_argument("--picture", action="store_true", help="draw docs/assets/broad.jpg")
    arguments = parser.parse_args()
    names = arguments.tasks or [*MINI, *present(arguments.data_root)]
    check_present([find(name, None, arguments.data_root) for name in names])
    if arguments.draw:
        write(draw_all([name for name in names if name in TASKS and TASKS[name].drawn_by]))
    elif arguments.picture:
        draw_picture(arguments.data_root)
    else:
        write(measure_all(names, arguments.data_root))
    return 0


if __name__ == "__main__":
    sys.exit(main())
