"""`measure`: what one forward pass says of a dataset, before any training."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import pandas as pd
import torch

import models
from benchmarks.catalog import Source, check_present, find, shadows
from benchmarks.data.domain import Domain, limited
from benchmarks.data.pixels import cached_domain
from benchmarks.data.sampling import sample
from benchmarks.full.dataset_table import Missing
from harness.config.resolve import model_of
from harness.display.data_summary import print_data_summary
from harness.display.screen import Screen
from harness.run import environment as machine
from harness.study.measure_config import MeasureConfig
from metrics.embedding import Embedded, embed
from metrics.evaluate import evaluate, evaluate_features
from metrics.suite import Value, measure_all
from models.classifier import PromptClassifier
from models.memory import keep_freed_memory
from models.prompt_reader import check_prompts
from models.registry import UserError

COLUMNS = ("dataset", "edition", "classes", "n", "measure", "value", "low", "high", "reason")


class _Row(NamedTuple):
    """A measure of a dataset, and over how many images."""

    measure: str
    n: int
    value: Value


def sources_of(config: MeasureConfig) -> list[Source]:
    """The sources of the datasets, checked for being there. Raises UserError."""
    if (config.classnames or config.templates) and len(config.datasets) > 1:
        raise UserError("--classnames and --templates need exactly one dataset with your data.")
    sources = [
        find(name, config.edition, config.data_root).with_files(config.classnames, config.templates) for name in config.datasets
    ]
    check_present(sources)
    return sources


def measure(config: MeasureConfig, screen: Screen | None = None) -> pd.DataFrame:
    """One row a measure and dataset: on a sample of its training split, with zero-shot accuracy there and on its test split.

    Columns `COLUMNS`: `low` and `high` are the ends of the 95 % interval over images, NaN for a measure that has none; a value
    that is NaN has its `reason`. Accuracies (`zero_shot`, `zero_shot_test`) are in percent. The model is the tiny one unless a
    paper's dataset is among them (then ViT-B-16 with OpenAI's weights). A dataset without training split is measured on its
    test split. Raises UserError for mistakes and for missing or broken data.
    """
    names = config.names
    screen, sources = screen or Screen(), sources_of(config)
    for note in shadows(sources):
        screen.say(note, style="yellow")
    full_size = any(source.edition == "full" for source in sources)
    model, pretrained = model_of(config.model, config.pretrained, full_size)
    device = machine.device_of(config.device)
    if device.type == "cpu":
        keep_freed_memory()
    encoder = models.load(model, pretrained).to(device)
    for note in encoder.notes:
        screen.say(f"note: {note}")
    rows = []
    try:
        for source in sources:
            domain = read_domain(source, screen)
            prompt_warnings = check_prompts(encoder.reader, [domain])
            print_data_summary([domain], screen.say, screen.show, encoder.reader, warnings=prompt_warnings)
            for difference in source.differences(domain):
                screen.say(f"warning: {difference}", style="yellow")
            for name, n, value in _rows(domain, encoder, names, config, screen):
                low, high = (math.nan if end is None else end for end in (value.low, value.high))
                cells = (source.name, source.edition, len(domain.classnames), n, name, value.value, low, high, value.reason)
                rows.append(dict(zip(COLUMNS, cells, strict=True)))
    finally:
        screen.end()
    return pd.DataFrame(rows, columns=list(COLUMNS))


def read_domain(source: Source, screen: Screen) -> Domain:
    """What can be measured of a source: its training and test images, or the latter alone where only they are there."""
    try:
        return source.build(("train", "test"), screen.data)
    except Missing:  # the training split, or all of it: the second try says so
        return source.build(("test",), screen.data)


def _rows(domain: Domain, encoder: Any, names: tuple[str, ...], config: MeasureConfig, screen: Screen) -> list[_Row]:
    train, domain = domain.train, Domain(domain.name, domain.classnames, domain.templates, None, None, domain.test)
    if config.limit is not None:
        domain = limited(domain, config.limit, config.seed)
    test: Any = domain.test
    if train is None:
        train = test
        screen.say(f"{domain.name} has no training images here: its test images are measured", style="dim")
    if config.cache:
        domain = cached_domain(domain, encoder.preprocess, ("test",), progress=screen.data)
    embedded = embed(encoder, sample(train, config.measure_n, config.seed), domain.prompts(0))
    labels = embedded.features.labels
    absent = len(domain.classnames) - len(labels.unique())
    if absent:
        screen.say(
            f"warning: {absent:,} of the {len(domain.classnames):,} classes of {domain.name} have no image among the "
            f"{len(labels):,} measured; they count as wrong classes only",
            style="yellow",
        )
    rows = [_Row(name, len(labels), value) for name, value in measure_all(embedded.features, names).items()]
    # Logits of NaN have a largest one, too.
    if (broken := _broken(embedded)) is not None:
        sizes = {"zero_shot": len(labels), "zero_shot_test": len(test)}
        return rows + [_Row(name, n, Value(math.nan, reason=broken)) for name, n in sizes.items()]
    accuracies = {
        "zero_shot": evaluate_features(PromptClassifier(encoder), domain, *embedded.features[:2]),
        "zero_shot_test": evaluate(PromptClassifier(encoder), domain),
    }
    return rows + [_Row(name, found.n, Value(found.percent, *found.interval())) for name, found in accuracies.items()]


def _broken(embedded: Embedded) -> str | None:
    """Why nothing can be classified by these features; None: it can."""
    for kind, features in (("image", embedded.features.image_features), ("text", embedded.features.text_features)):
        if not torch.isfinite(features).all():
            return f"{kind} features contain NaN or infinity"
    return None
