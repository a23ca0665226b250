"""`measure`: measure datasets before training, with one forward pass."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import pandas as pd
import torch

import models
from benchmarks.catalog import Source, check_present, find_all, shadows, suite_notes
from benchmarks.data.domain import Domain, limited
from benchmarks.data.pixels import cached_domain
from benchmarks.data.sampling import sample
from benchmarks.full.dataset_table import Missing
from harness.config.resolve import model_of
from harness.display.data_summary import print_data_summary
from harness.display.screen import Screen
from harness.run import environment
from harness.study.measure_config import MeasureConfig
from metrics.embedding import Embedded, embed
from metrics.evaluate import evaluate, evaluate_features
from metrics.suite import Value, measure_all
from models.classifier import PromptClassifier
from models.encoder import DualEncoder
from models.memory import keep_freed_memory
from models.prompt_reader import check_prompts
from models.registry import UserError

COLUMNS = ("dataset", "edition", "classes", "n", "measure", "value", "low", "high", "reason")


class _Row(NamedTuple):
    """A measure of a dataset and the number of images."""

    measure: str
    n: int
    value: Value


def sources_of(config: MeasureConfig) -> list[Source]:
    """Return the sources of the datasets.

    Raises:
        UserError: for an unknown or missing dataset, or class names and templates that do not belong to one dataset.
    """
    if (config.classnames or config.templates) and len(config.datasets) > 1:
        raise UserError("--classnames and --templates need exactly one dataset with your data.")
    _, found = find_all(config.datasets, config.edition, config.data_root)
    sources = [source.with_files(config.classnames, config.templates) for source in found]
    check_present(sources)
    return sources


def measure(config: MeasureConfig, screen: Screen | None = None) -> pd.DataFrame:
    """Measure datasets on a sample of their training split, with zero-shot accuracy there and on the test split.

    The default model is the tiny one, or ViT-B-16 with OpenAI's weights if a paper's dataset is among the datasets. A dataset
    without training split is measured on its test split.

    Args:
        config: datasets, measures and model.
        screen: output; None makes one.

    Returns:
        One row per dataset and measure with the columns `COLUMNS`. `low` and `high` are the ends of the 95 % interval over
        images, NaN for a measure without interval. A NaN value has a `reason`. Accuracies (`zero_shot`, `zero_shot_test`) are
        in percent.

    Raises:
        UserError: for mistakes in the configuration and for missing or broken data.
    """
    names = config.names
    screen, sources = screen or Screen(), sources_of(config)
    for note in [*suite_notes(config.datasets, config.data_root), *shadows(sources)]:
        screen.say(note, style="yellow")
    full_size = any(source.edition == "full" for source in sources)
    model, pretrained = model_of(config.model, config.pretrained, full_size)
    device = environment.device_of(config.device)
    if device.type == "cpu":
        keep_freed_memory()
    encoder = models.load(model, pretrained).to(device)
    for note in encoder.notes:
        screen.say(f"note: {note}")
    rows = []
    try:
        for source in sources:
            domain = read_train_and_test(source, screen)
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


def read_train_and_test(source: Source, screen: Screen) -> Domain:
    """Read the training and test images of a source, or only its test images if there are no training images."""
    try:
        return source.build(("train", "test"), screen.data)
    except Missing:  # the training split, or the whole dataset: then the second attempt raises again
        return source.build(("test",), screen.data)


def _rows(domain: Domain, encoder: DualEncoder, names: tuple[str, ...], config: MeasureConfig, screen: Screen) -> list[_Row]:
    train, domain = domain.train, Domain(domain.name, domain.classnames, domain.templates, None, None, domain.test)
    if config.limit is not None:
        domain = limited(domain, config.limit, config.seed)
    test: Any = domain.test
    if train is None:
        train = test
        screen.say(f"{domain.name} has no training images. Its test images are measured instead.", style="dim")
    if config.cache:
        domain = cached_domain(domain, encoder.preprocess, ("test",), progress=screen.data)
    embedded = embed(encoder, sample(train, config.measure_n, config.seed), domain.prompts(0))
    labels = embedded.features.labels
    absent = len(domain.classnames) - len(set(labels.tolist()))
    if absent:
        verb = "has" if absent == 1 else "have"
        screen.say(
            f"warning: {absent:,} of the {len(domain.classnames):,} classes of {domain.name} {verb} no images among the "
            f"{len(labels):,} measured images. They count only as wrong answers.",
            style="yellow",
        )
    rows = [_Row(name, len(labels), value) for name, value in measure_all(embedded.features, names).items()]
    # argmax also returns a class for logits of NaN.
    if (reason := _undefined_reason(embedded)) is not None:
        sizes = {"zero_shot": len(labels), "zero_shot_test": len(test)}
        return rows + [_Row(name, n, Value(math.nan, reason=reason)) for name, n in sizes.items()]
    accuracies = {
        "zero_shot": evaluate_features(PromptClassifier(encoder), domain, *embedded.features[:2]),
        "zero_shot_test": evaluate(PromptClassifier(encoder), domain),
    }
    return rows + [
        _Row(name, accuracy.n, Value(accuracy.percent, *accuracy.interval())) for name, accuracy in accuracies.items()
    ]


def _undefined_reason(embedded: Embedded) -> str | None:
    """Return why these features cannot classify, or None if they can."""
    for kind, features in (("image", embedded.features.image_features), ("text", embedded.features.text_features)):
        if not torch.isfinite(features).all():
            return f"{kind} features contain NaN or infinity"
    return None
