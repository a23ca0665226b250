"""Measure the rates of `study --protocol paper` on validation images of the tiny model, to choose its grids.

    python -m tools.study_rates [--tunings NAMES] [--domains NAMES] [--passes N] [--out FILE]

trains single settings and adds a row per setting to reference_data/tables/study_calibration.csv: the best accuracy on
validation images within the passes, with one prompt per class. Rows that exist are kept, so that it can be interrupted.
Test images are not read. LoRA is measured with rank 4 and the adapter with reduction 4, unless --sizes is given.
"""

from __future__ import annotations

import argparse
import csv
import dataclasses
import time
from pathlib import Path

import torch

import models
from harness.study.best_pass import Search, Trial
from harness.study.evaluation import RawImages
from harness.study.fine_tuning import read_domain
from harness.study.protocol import Grid
from harness.study.study_config import StudyConfig, resolve

OUT = Path(__file__).parent.parent / "reference_data" / "tables" / "study_calibration.csv"
COLUMNS = ("tuning", "domain", "size", "passes", "lr", "val_accuracy", "best_pass", "images_per_second")
RATES = {
    "full": (1e-3, 3e-3, 1e-2, 3e-2, 1e-1),
    "bitfit": (1e-2, 3e-2, 1e-1, 3e-1, 1.0),
    "attention": (3e-3, 1e-2, 3e-2, 1e-1, 3e-1),
    "lora": (0.1, 0.3, 1.0, 3.0, 10.0),
    "adapter": (0.03, 0.1, 0.3, 1.0, 3.0, 10.0),
}
SIZES = {"lora": "rank", "adapter": "reduction"}


def main() -> None:
    """Measure the missing settings."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--tunings", default=",".join(RATES))
    parser.add_argument("--domains", default="digits,nature")
    parser.add_argument("--passes", type=int, default=6)
    parser.add_argument("--sizes", default="4")
    parser.add_argument("--rates", default="")
    parser.add_argument("--out", type=Path, default=OUT)
    asked = parser.parse_args()
    tunings, names = asked.tunings.split(","), tuple(asked.domains.split(","))
    # A study has at least two domains. Only those asked for are read.
    others = tuple(name for name in ("digits", "nature") if name not in names)
    study = resolve(StudyConfig(domains=(*names, *others), protocol="paper", tunings=tuple(tunings)))
    encoder = models.load("tiny").eval()
    domains = {name: read_domain(study.sources[name], study, 0, encoder.preprocess, None) for name in names}
    raw = RawImages(encoder)
    measured = _measured(asked.out)
    for tuning in tunings:
        rates = tuple(map(float, asked.rates.split(","))) if asked.rates else RATES[tuning]
        for name, domain in domains.items():
            for size in asked.sizes.split(",") if tuning in SIZES else [""]:
                for rate in rates:
                    key = (tuning, name, size, str(asked.passes), f"{rate:g}")
                    if key in measured:
                        continue
                    grid = dataclasses.replace(Grid((rate,)), **({SIZES[tuning]: (int(size),)} if size else {}))
                    technique = study.techniques[tuning]._replace(grid=grid, images=None)
                    cpu = torch.device("cpu")
                    search = Search(encoder, technique, tuning, domain, prompts="one", seed=0, device=cpu, raw=raw)
                    trial, began = Trial(search, grid.choices()[0]), time.process_time()
                    trial.advance(asked.passes * search.updates_per_pass)
                    seconds = time.process_time() - began
                    best = trial.passes.best
                    accuracy = "" if best is None else f"{100 * best.score.correct / best.score.n:.1f}"
                    best_pass = "" if best is None else f"{best.updates / search.updates_per_pass:g}"
                    assert domain.train is not None
                    images = asked.passes * len(domain.train)
                    _add(asked.out, (*key, accuracy, best_pass, f"{images / seconds:.0f}"))


def _measured(path: Path) -> set[tuple[str, ...]]:
    """Return the settings that a file has rows for."""
    if not path.exists():
        return set()
    with path.open(newline="", encoding="utf-8") as file:
        return {tuple(row[name] for name in COLUMNS[:5]) for row in csv.DictReader(file)}


def _add(path: Path, row: tuple[str, ...]) -> None:
    """Add a row to a file, and the heading to a new one."""
    new = not path.exists()
    with path.open("a", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerows([COLUMNS, row] if new else [row])


if __name__ == "__main__":
    main()
