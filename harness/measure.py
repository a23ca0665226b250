"""`measure`: what one forward pass says of a dataset, before any training."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pandas as pd
from rich.table import Table
from torch.utils.data import Subset

import models
from benchmarks.catalog import Source, check_present, find
from benchmarks.domain import Domain, permutation
from benchmarks.full.table import Missing
from benchmarks.pixels import cached_domain
from harness import machine
from harness.config import model_of
from harness.screen import Screen
from metrics.evaluate import evaluate, evaluate_iimm
from models.classifier import PromptClassifier
from models.registry import UserError

COLUMNS = ("dataset", "edition", "classes", "iimm", "iimm_intra", "iimm_inter", "n", "accuracy", "correct", "n_test")
MEANINGS = (
    "IIMM: mean similarity of images to each other (intra) and to wrong class texts (inter); the higher, the more fine-tuning "
    "gains and forgets (2407.15731). Zero-shot: accuracy on the test split, all templates averaged."
)


@dataclass(frozen=True)
class MeasureConfig:
    """Datasets to measure, and with which model. `measure_n`: images of the training split, a seeded sample."""

    datasets: tuple[str, ...]
    edition: str | None = None
    model: str | None = None
    pretrained: str | None = None
    data_root: str = "data"
    classnames: str | None = None
    templates: str | None = None
    measure_n: int = 1000
    limit: int | None = None
    seed: int = 0
    device: str = "auto"
    cache: bool = True


def sources_of(config: MeasureConfig) -> list[Source]:
    """The sources of the datasets, checked for being there. Raises UserError."""
    if (config.classnames or config.templates) and len(config.datasets) > 1:
        raise UserError("--classnames and --templates belong to a single dataset of your own.")
    sources = []
    for name in config.datasets:
        source = find(name, config.edition, config.data_root)
        if source.edition != "own" and (config.classnames or config.templates):
            raise UserError(f"--classnames and --templates are for data of your own; {name} has its own.")
        sources.append(Source(source.name, source.edition, name, config.data_root, config.classnames, config.templates))
    check_present(sources)
    return sources


def measure(config: MeasureConfig, screen: Screen | None = None) -> pd.DataFrame:
    """One row a dataset: IIMM on a sample of its training split, zero-shot accuracy on its test split.

    The model is the tiny one unless a paper's dataset is among them (then ViT-B-16 with OpenAI's weights). A dataset without
    training split is measured on its test split. Raises UserError for mistakes and for missing or broken data.
    """
    screen, sources = screen or Screen(), sources_of(config)
    full_size = any(source.edition == "full" for source in sources)
    model, pretrained = model_of(config.model, config.pretrained, full_size)
    device = machine.device_of(config.device)
    encoder = models.load(model, pretrained).to(device)
    rows = []
    try:
        for source in sources:
            domain = _read(source, screen)
            for difference in source.differences(domain):
                screen.say(f"warning: {difference}", style="yellow")
            rows.append({"dataset": source.name, "edition": source.edition, **_row(domain, encoder, config, screen)})
    finally:
        screen.end()
    return pd.DataFrame(rows, columns=list(COLUMNS))


def shown(table: pd.DataFrame) -> Table:
    """The table for the screen."""
    out = Table(box=None, pad_edge=False)
    out.add_column("dataset", no_wrap=True)
    for name in ("classes", "IIMM", "intra", "inter", "images", "zero-shot %", "test images"):
        out.add_column(name, justify="right", no_wrap=True)
    for r in table.itertuples():
        iimm = (f"{value:.3f}" if value == value else "-" for value in (r.iimm, r.iimm_intra, r.iimm_inter))
        out.add_row(r.dataset, f"{r.classes:,}", *iimm, f"{r.n:,}", f"{r.accuracy:.1f}", f"{r.n_test:,}")
    return out


def _read(source: Source, screen: Screen) -> Domain:
    try:
        return source.build(("train", "test"), screen.data)
    except Missing:  # the training split, or all of it: the second try says so
        return source.build(("test",), screen.data)


def _row(domain: Domain, encoder: Any, config: MeasureConfig, screen: Screen) -> dict[str, Any]:
    test: Any = domain.test
    if config.limit is not None:
        test = Subset(test, sorted(permutation(len(test), config.seed)[: config.limit]))
    train: Any = domain.train if domain.train is not None else test
    sample = Subset(train, permutation(len(train), config.seed)[: config.measure_n])
    domain = Domain(domain.name, domain.classnames, domain.templates, None, None, test)
    if config.cache:
        domain = cached_domain(domain, encoder.preprocess, ("test",), progress=screen.data)
    found = evaluate_iimm(encoder, sample, domain.prompts(0))
    accuracy = evaluate(PromptClassifier(encoder), domain)
    return {
        "classes": len(domain.classnames),
        "iimm": found.score,
        "iimm_intra": found.intra,
        "iimm_inter": found.inter,
        "n": found.n,
        "accuracy": accuracy.percent,
        "correct": accuracy.correct,
        "n_test": accuracy.n,
    }
