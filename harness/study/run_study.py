"""A study from the first cell to its tables, resumable after every cell."""

from __future__ import annotations

import copy
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
import torch

import models
from benchmarks.data.domain import Domain
from harness.display.data_summary import print_remarks
from harness.display.screen import Screen, time_left
from harness.records.files import read_json, reading, write_json, write_table
from harness.run import environment as machine
from harness.run.locks import locked
from harness.study import fine_tuning as work
from harness.study import study_screen as report
from harness.study import study_tables as tables
from harness.study.study_config import Cell, Study, StudyConfig, resolve
from models.classifier import PromptClassifier
from models.prompt_reader import check_prompts
from models.registry import UserError
from strategies.engine.schedule import seed_everything

# What a record holds, before training and of a cell.
BEFORE = ("classes", "n_train", "accuracy", "measured", "measures")
AFTER = ("after", "updates", "trainable_params", "train_seconds")


class StudyResult(NamedTuple):
    """Where the study is, its two tables, and how many cells this call trained."""

    folder: Path
    table: pd.DataFrame
    regressions: pd.DataFrame
    trained: int


def run(config: StudyConfig, screen: Screen | None = None) -> StudyResult:
    """Train the cells of a study that are missing in its folder, and write its tables.

    Raises UserError for mistakes in the configuration, before anything is trained, when the folder holds cells of another
    study, and when another process is at work on it.
    """
    screen, study = screen or Screen(), resolve(config)
    device, folder = machine.device_of(config.device), Path(config.out)
    try:
        with locked(folder):
            return _run(study, folder, device, screen)
    finally:
        screen.end()


def _run(study: Study, folder: Path, device: torch.device, screen: Screen) -> StudyResult:
    config, cells = study.config, study.cells()
    missing = [cell for cell in cells if config.fresh or _cell(study, cell, folder) is None]
    screen.banner(*report.banner(study, len(cells) - len(missing)))
    seconds: list[float] = []
    for seed in config.seeds:
        todo = [cell for cell in missing if cell.seed == seed]
        known = all(tables.knows(_before(study, name, seed, folder), study.measures) for name in study.sources)
        if not todo and known and not config.fresh:
            continue
        # For --pretrained random: every cell of a seed starts from the same weights.
        seed_everything(seed, 0)
        encoder = models.load(study.model, study.pretrained).to(device).eval()
        for note in encoder.notes:
            screen.say(f"note: {note}")
        domains = {n: work.read(s, study, seed, encoder.preprocess, screen.data) for n, s in study.sources.items()}
        screen.end()
        print_remarks(domains.values(), screen.say)
        for warning in check_prompts(encoder.reader, list(domains.values())):
            screen.say(f"warning: {warning}", style="yellow")
        _look(study, domains, encoder, seed, folder, screen)
        for cell in todo:
            began = time.perf_counter()
            screen.data(len(seconds), len(missing), "fine-tuning")
            record = work.fine_tuned(study, cell, domains, copy.deepcopy(encoder), device)
            record["machine"] = machine.describe(device)
            write_json(folder / cell.folder / "cell.json", record)
            seconds.append(time.perf_counter() - began)
            left = sum(seconds) / len(seconds) * (len(missing) - len(seconds))
            screen.say(f"{len(seconds)} of {len(missing)}: {_said(study, cell, folder)} | {time_left(left)}")
    found = tables.table(_row(study, cell, folder) for cell in cells)
    lines = tables.regressions(found, study.measures)
    write_table(found, folder / "table.csv")
    write_table(lines, folder / "regressions.csv")
    screen.end()
    report.show(found, lines, folder, screen)
    return StudyResult(folder, found, lines, len(seconds))


def _look(study: Study, domains: Mapping[str, Domain], encoder: Any, seed: int, folder: Path, screen: Screen) -> None:
    """Write what is known of every domain before training, where that is not written yet."""
    classifier = PromptClassifier(encoder).eval()
    for done, (name, domain) in enumerate(domains.items()):
        if study.config.fresh or not tables.knows(_before(study, name, seed, folder), study.measures):
            screen.data(done, len(domains), "measuring before training")
            write_json(_before_path(name, seed, folder), work.before(study, domain, encoder, classifier, seed))
    screen.end()


def _row(study: Study, cell: Cell, folder: Path) -> dict[str, Any]:
    record = _cell(study, cell, folder)
    before = {name: _before(study, name, cell.seed, folder) for name in study.sources}
    assert record is not None and all(before.values())
    with reading(folder / cell.folder / "cell.json"):
        return tables.row(record, before, study.measures)  # type: ignore[arg-type]


def _said(study: Study, cell: Cell, folder: Path) -> str:
    r = _row(study, cell, folder)
    ood = "" if r["gain_ood"] != r["gain_ood"] else f", {r['gain_ood']:+z.1f} out of distribution"
    return f"{cell.tuning} on {cell.domain}, seed {cell.seed}: {r['gain']:+z.1f}{ood}, {-r['forgetting']:+z.1f} on the others"


def _before_path(domain: str, seed: int, folder: Path) -> Path:
    return folder / f"zero-shot-{seed}" / f"{domain}.json"


def _before(study: Study, domain: str, seed: int, folder: Path) -> dict[str, Any] | None:
    """The record of a domain before training, or None. Raises UserError when it is another study's."""
    return _mine(_before_path(domain, seed, folder), study.identity_before(domain, seed), study.config.fresh, BEFORE)


def _cell(study: Study, cell: Cell, folder: Path) -> dict[str, Any] | None:
    """The record of a cell, or None where it has not been trained. Raises UserError when it is another study's."""
    return _mine(folder / cell.folder / "cell.json", study.identity(cell), study.config.fresh, AFTER)


def _mine(path: Path, identity: Mapping[str, Any], fresh: bool, holds: Sequence[str]) -> dict[str, Any] | None:
    record = read_json(path)
    if record is None:
        return None
    theirs = record.get("identity")
    theirs = theirs if isinstance(theirs, dict) else {}
    if differing := [name for name in identity if theirs.get(name) != _json(identity[name])]:
        if fresh:
            return None
        raise UserError(
            f"{path} is of another study: it differs in {', '.join(differing)}. Choose another --out, or --fresh to start over."
        )
    if missing := [name for name in holds if name not in record]:
        raise UserError(f"{path} is damaged (no {', '.join(missing)}); --fresh starts over.")
    return record


def _json(value: Any) -> Any:
    """A value as it comes back from a file."""
    if isinstance(value, (list, tuple)):
        return [_json(item) for item in value]
    return {str(key): _json(item) for key, item in value.items()} if isinstance(value, Mapping) else value
