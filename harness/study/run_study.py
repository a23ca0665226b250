"""Run a study from the first cell to its tables. It can be resumed after every cell."""

from __future__ import annotations

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
from harness.run import environment
from harness.run.locks import locked
from harness.study import fine_tuning
from harness.study.evaluation import RawImages
from harness.study.study_config import Cell, Study, StudyConfig, resolve
from harness.study.study_screen import banner, print_results
from harness.study.study_tables import (
    AFTER_KEYS,
    BEFORE_KEYS,
    CHANGE_COLUMNS,
    cell_row,
    cell_table,
    change_rows,
    has_measures,
    regressions,
)
from models.encoder import DualEncoder
from models.prompt_reader import check_prompts
from models.registry import UserError
from strategies.engine.schedule import seed_everything

ZERO_SHOT_KEYS = ("classes", "n_train", "measured", "measures")
CELL_KEYS = ("updates", "trainable_params", "train_seconds")


class StudyResult(NamedTuple):
    """The folder of a study, its two tables, and the number of cells that this call trained."""

    folder: Path
    table: pd.DataFrame
    regressions: pd.DataFrame
    trained: int


def run(config: StudyConfig, screen: Screen | None = None) -> StudyResult:
    """Train the missing cells of a study and write its tables.

    Args:
        config: configuration of the study.
        screen: output; None makes one.

    Returns:
        The tables and their folder.

    Raises:
        UserError: for mistakes in the configuration, before anything is trained; if the folder holds cells of another study;
            if another process works in the folder.
    """
    screen, study = screen or Screen(), resolve(config)
    device, folder = environment.device_of(config.device), Path(config.out)
    try:
        with locked(folder):
            return _run(study, folder, device, screen)
    finally:
        screen.end()


def _run(study: Study, folder: Path, device: torch.device, screen: Screen) -> StudyResult:
    config, cells = study.config, study.cells()
    missing = [cell for cell in cells if config.fresh or _read_cell(study, cell, folder) is None]
    screen.banner(*banner(study, len(cells) - len(missing)))
    seconds: list[float] = []
    for seed in config.seeds:
        cells_of_seed = [cell for cell in missing if cell.seed == seed]
        measured = all(has_measures(_read_zero_shot(study, name, seed, folder), study.measures) for name in study.sources)
        if not cells_of_seed and measured and not config.fresh:
            continue
        # With --pretrained random, every cell of a seed starts from the same weights.
        seed_everything(seed, 0)
        encoder = models.load(study.model, study.pretrained).to(device).eval()
        for note in encoder.notes:
            screen.say(f"note: {note}")
        domains = {
            name: fine_tuning.read_domain(source, study, seed, encoder.preprocess, screen.data)
            for name, source in study.sources.items()
        }
        screen.end()
        print_remarks(domains.values(), screen.say)
        for warning in check_prompts(encoder.reader, list(domains.values())):
            screen.say(f"warning: {warning}", style="yellow")
        raw = RawImages(encoder)
        _record_zero_shot(study, domains, encoder, raw, seed, folder, screen)
        for cell in cells_of_seed:
            began = time.perf_counter()
            done, total = len(seconds), len(missing)
            screen.data(done, total, "fine-tuning")

            def report(updates: int, of: int, done: int = done, total: int = total) -> None:
                screen.data(done * of + updates, total * of, "fine-tuning")

            record = fine_tuning.fine_tune(study, cell, domains, encoder, device, raw, report)
            record["machine"] = environment.describe(device)
            write_json(folder / cell.folder / "cell.json", record)
            seconds.append(time.perf_counter() - began)
            left = sum(seconds) / len(seconds) * (len(missing) - len(seconds))
            screen.say(f"{len(seconds)} of {len(missing)}: {_cell_line(study, cell, folder)} | {time_left(left)}")
    records = [_records(study, cell, folder) for cell in cells]
    table = cell_table(cell_row(record, before, study.measures) for record, before in records)
    changes = pd.DataFrame(
        [row for record, before in records for row in change_rows(record, before)], columns=list(CHANGE_COLUMNS)
    )
    lines = regressions(table, study.measures)
    write_table(table, folder / "table.csv")
    write_table(lines, folder / "regressions.csv")
    write_table(changes, folder / "changes.csv")
    screen.end()
    print_results(table, lines, folder, screen)
    return StudyResult(folder, table, lines, len(seconds))


def _record_zero_shot(
    study: Study,
    domains: Mapping[str, Domain],
    encoder: DualEncoder,
    raw: RawImages,
    seed: int,
    folder: Path,
    screen: Screen,
) -> None:
    """Write the missing records of the domains before training."""
    for done, (name, domain) in enumerate(domains.items()):
        if study.config.fresh or not has_measures(_read_zero_shot(study, name, seed, folder), study.measures):
            screen.data(done, len(domains), "measuring before training")
            record = fine_tuning.zero_shot_record(study, domain, encoder, raw, seed)
            write_json(_zero_shot_path(name, seed, folder), record)
    screen.end()


def _records(study: Study, cell: Cell, folder: Path) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    """Return the record of a cell, and the records before training of all domains by name."""
    record = _read_cell(study, cell, folder)
    records = {name: _read_zero_shot(study, name, cell.seed, folder) for name in study.sources}
    before = {name: zero_shot for name, zero_shot in records.items() if zero_shot is not None}
    assert record is not None and len(before) == len(records)
    with reading(folder / cell.folder / "cell.json"):
        cell_row(record, before, study.measures)
    return record, before


def _cell_line(study: Study, cell: Cell, folder: Path) -> str:
    record, before = _records(study, cell, folder)
    row = cell_row(record, before, study.measures)
    ood = "" if row["gain_ood"] != row["gain_ood"] else f", {row['gain_ood']:+z.1f} out of distribution"
    chosen = "" if "chosen" not in record else f", {_chosen(row)}"
    return (
        f"{cell.tuning} on {cell.domain}, seed {cell.seed}: {row['gain']:+z.1f}{ood}, "
        f"{-row['forgetting']:+z.1f} on the other domains{chosen}"
    )


def _chosen(row: Mapping[str, Any]) -> str:
    """Return the settings that validation chose, as words."""
    sizes = "".join(f", {name} {row[name]:g}" for name in ("rank", "reduction") if row[name] == row[name])
    edge = f" (edge of the grid: {row['at_edge']})" if row["at_edge"] else ""
    return f"lr {row['lr']:g}, decay {row['weight_decay']:g}{sizes}, pass {row['best_pass']:g} of {row['passes']:g}{edge}"


def _zero_shot_path(domain: str, seed: int, folder: Path) -> Path:
    return folder / f"zero-shot-{seed}" / f"{domain}.json"


def _read_zero_shot(study: Study, domain: str, seed: int, folder: Path) -> dict[str, Any] | None:
    """Return the record of a domain before training, or None. Raises UserError if it belongs to another study."""
    identity = study.zero_shot_identity(domain, seed)
    return _read_record(study, _zero_shot_path(domain, seed, folder), identity, (*ZERO_SHOT_KEYS, BEFORE_KEYS[study.prompts]))


def _read_cell(study: Study, cell: Cell, folder: Path) -> dict[str, Any] | None:
    """Return the record of a cell, or None before it is trained. Raises UserError if it belongs to another study."""
    keys = (*CELL_KEYS, AFTER_KEYS[study.prompts])
    return _read_record(study, folder / cell.folder / "cell.json", study.identity(cell), keys)


def _read_record(study: Study, path: Path, identity: Mapping[str, Any], keys: Sequence[str]) -> dict[str, Any] | None:
    record, fresh = read_json(path), study.config.fresh
    if record is None:
        return None
    recorded = record.get("identity")
    recorded = study.comparable(recorded if isinstance(recorded, dict) else {}, identity.get("tuning"))
    if differing := [name for name in identity if recorded.get(name) != _json(identity[name])]:
        if fresh:
            return None
        raise UserError(
            f"{path} belongs to another study: {', '.join(differing)} differ. Choose another --out, or start over with --fresh."
        )
    if missing := [name for name in keys if name not in record]:
        raise UserError(f"{path} is damaged (no {', '.join(missing)}). Start over with --fresh.")
    return record


def _json(value: Any) -> Any:
    """Return a value as JSON reads it back."""
    if isinstance(value, (list, tuple)):
        return [_json(item) for item in value]
    return {str(key): _json(item) for key, item in value.items()} if isinstance(value, Mapping) else value
