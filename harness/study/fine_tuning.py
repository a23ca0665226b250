"""The steps of a study: read domains, measure them before training, and fine-tune on one."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from avalanche.training.plugins import SupervisedPlugin

from benchmarks.catalog import SPLITS, Source
from benchmarks.data.domain import Domain, limited, with_validation
from benchmarks.data.pixels import cached_domain
from benchmarks.data.progress import Progress
from benchmarks.data.sampling import sample
from benchmarks.scenario import scenario
from harness.study.study_config import Cell, Study
from metrics.embedding import embed
from metrics.evaluate import Accuracy, evaluate, evaluate_features
from metrics.suite import Value, measure_all
from models.classifier import PromptClassifier
from models.encoder import DualEncoder
from models.registry import UserError
from models.transforms import Preprocess
from strategies.engine.schedule import seed_everything

AccuracyCounts = dict[str, dict[str, list[int]]]
"""Split -> domain -> [correct, n]."""


class DomainMeasures(NamedTuple):
    """Measures of a domain by name, the number of images measured, and zero-shot accuracy on these images."""

    values: dict[str, Value]
    n: int
    zero_shot: Accuracy


def read_domain(source: Source, study: Study, seed: int, preprocess: Preprocess, progress: Progress | None) -> Domain:
    """Read a domain with training, validation and test images, and its out-of-distribution set if it has one.

    Without a validation split, a seeded 10 % of the training images of each class is held out.

    Raises:
        UserError: if data is missing or broken, or there are no training images, or too few to hold any out.
    """
    config, domain = study.config, source.build(SPLITS, progress)
    if domain.train is None or domain.test is None:
        missing = "test" if domain.train is not None else "training"
        raise UserError(f"{source.name} has no {missing} images. A study needs training and test images of every domain.")
    domain = with_validation(domain, seed)
    if domain.val is None:
        raise UserError(
            f"{source.name} has no validation images, and none can be held out because every class has only one training "
            "image. Add a validation split."
        )
    domain = domain if config.limit is None else limited(domain, config.limit, seed)
    return cached_domain(domain, preprocess, ("val", "test", "ood"), progress=progress) if config.cache else domain


def measure_domain(domain: Domain, encoder: DualEncoder, names: Sequence[str], n: int, seed: int) -> DomainMeasures:
    """Measure a domain on a seeded sample of at most n training images, with one prompt per class.

    A domain without training images is measured on its test images.
    """
    images = sample(domain.train if domain.train is not None else domain.test, n, seed)
    features = embed(encoder, images, domain.prompts(0)).features
    zero_shot = evaluate_features(PromptClassifier(encoder), domain, features.image_features, features.labels)
    return DomainMeasures(measure_all(features, names), len(images), zero_shot)


def zero_shot_record(
    study: Study, domain: Domain, encoder: DualEncoder, classifier: PromptClassifier, seed: int
) -> dict[str, Any]:
    """Return the record of a domain before training: accuracy on every evaluated split, and measures."""
    measures = measure_domain(domain, encoder, study.measures, study.config.measure_n, seed)
    splits = ("val", "test") if domain.ood is None else ("val", "test", "ood")
    label = len(classifier.prompts)
    accuracy = {split: _counts(evaluate(classifier, domain, split, task_label=label)) for split in splits}
    assert domain.train is not None
    return {
        "identity": study.zero_shot_identity(domain.name, seed),
        "classes": len(domain.classnames),
        "n_train": len(domain.train),
        "accuracy": accuracy,
        "measured": measures.n,
        "measures": {name: value._asdict() for name, value in measures.values.items()},
    }


def fine_tune(
    study: Study,
    cell: Cell,
    domains: Mapping[str, Domain],
    encoder: DualEncoder,
    device: torch.device,
    plugins: Sequence[SupervisedPlugin] = (),
) -> dict[str, Any]:
    """Fine-tune on the domain of a cell, evaluate on all domains, and return the record of the cell.

    Args:
        study: resolved study.
        cell: domain, tuning and seed.
        domains: all domains of the study by name.
        encoder: model with the initial weights of the study. It is changed.
        device: device that trains.
        plugins: Avalanche plugins of the strategy.
    """
    technique, domain = study.techniques[cell.tuning], domains[cell.domain]
    # Seeds the random start of parameters that a tuning adds to the model.
    seed_everything(cell.seed, 0)
    strategy = technique.strategy_class(
        encoder=encoder,
        options=technique.options,
        tuning_name=cell.tuning,
        tuning_options=dataclasses.asdict(technique.tuning_options),
        seed=cell.seed,
        device=device,
        plugins=plugins,
        workers=study.config.workers,
    )
    [experience] = scenario([domain], encoder=encoder).streams["train"]
    strategy.train(experience, eval_streams=[])
    began = time.perf_counter()
    after = _evaluate_all(strategy.classifier, domain, [other for name, other in domains.items() if name != cell.domain])
    return {
        "identity": study.identity(cell),
        "after": after,
        "updates": len(strategy.history),
        "trainable_params": sum(p.numel() for p in strategy.trainable),
        "train_seconds": round(strategy.seconds, 3),
        "eval_seconds": round(time.perf_counter() - began, 3),
        "finished": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }


def _evaluate_all(classifier: PromptClassifier, trained: Domain, others: Sequence[Domain]) -> AccuracyCounts:
    """Evaluate all domains on validation and test images, and the trained one also on its out-of-distribution set."""
    counts: AccuracyCounts = {"val": {}, "test": {}, "ood": {}}
    # The trained task has label 0, which selects its head in a probe.
    for label, domain in enumerate([trained, *others]):
        for split in ("val", "test"):
            counts[split][domain.name] = _counts(evaluate(classifier, domain, split, task_label=label))
    if trained.ood is not None:
        counts["ood"][trained.name] = _counts(evaluate(classifier, trained, "ood", task_label=0))
    return counts


def _counts(accuracy: Accuracy) -> list[int]:
    return [accuracy.correct, accuracy.n]
