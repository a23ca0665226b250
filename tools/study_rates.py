"""Measure the rates of `study --protocol paper` on validation images of the tiny model, to choose its grids.

    python -m tools.study_rates [--tunings NAMES] [--domains NAMES] [--passes N] [--out FILE]

trains single settings and adds a row per setting to reference_data/tables/study_calibration.csv: the best accuracy on
validation images within the passes, with one prompt per class. Rows that exist are kept, so that it can be interrupted.
Test images are not read. LoRA is measured with rank 4 and the adapter with reduction 4, unless --sizes is given.
"""

from __future__ import annotations

import argparse
import dataclasses
import time
from itertools import product
from pathlib import Path

import torch

import models
from harness.records.files import read_csv, write_csv
from harness.study.best_pass import Search, Trial
from harness.study.evaluation import RawImages
from harness.study.fine_tuning import read_domain
from harness.study.protocol import Grid
from harness.study.study_config import StudyConfig, resolve

OUT = Path(__file__).parent.parent / "reference_data" / "tables" / "study_calibration.csv"
KEYS = ("tuning", "domain", "size", "passes", "lr")
COLUMNS = (*KEYS, "val_accuracy", "best_pass", "images_per_second")
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
    rows = read_csv(asked.out)
    measured = {tuple(row[name] for name in KEYS) for row in rows}
    for tuning, name in product(tunings, names):
        rates = tuple(map(float, asked.rates.split(","))) if asked.rates else RATES[tuning]
        for size, rate in product(asked.sizes.split(",") if tuning in SIZES else [""], rates):
            key = (tuning, name, size, str(asked.passes), f"{rate:g}")
            if key in measured:
                continue
            grid = dataclasses.replace(Grid((rate,)), **({SIZES[tuning]: (int(size),)} if size else {}))
            technique = study.techniques[tuning]._replace(grid=grid, images=None)
            cpu = torch.device("cpu")
            search = Search(encoder, technique, tuning, domains[name], prompts="one", seed=0, device=cpu, raw=raw)
            rows.append(dict(zip(COLUMNS, (*key, *_measured(search, asked.passes)), strict=True)))
            write_csv(asked.out, COLUMNS, rows)


def _measured(search: Search, passes: int) -> tuple[str, str, str]:
    """Train the only setting of a search, and return the last three of `COLUMNS`."""
    trial, began = Trial(search, search.grid.choices()[0]), time.process_time()
    trial.advance(passes * search.updates_per_pass)
    seconds = time.process_time() - began
    best = trial.passes.best
    accuracy = "" if best is None else f"{100 * best.score.correct / best.score.n:.1f}"
    best_pass = "" if best is None else f"{best.updates / search.updates_per_pass:g}"
    assert search.domain.train is not None
    return accuracy, best_pass, f"{passes * len(search.domain.train) / seconds:.0f}"


if __name__ == "__main__":
    main()
