"""The steps of a study: read domains, measure them before training, and fine-tune on one."""

from __future__ import annotations

import copy
import dataclasses
import time
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch

from benchmarks.catalog import SPLITS, Source
from benchmarks.data.dataset import targets_of
from benchmarks.data.domain import Domain, limited, with_validation
from benchmarks.data.pixels import cached_domain
from benchmarks.data.progress import Progress
from benchmarks.data.sampling import sample
from benchmarks.scenario import scenario
from harness.study.best_pass import Report, Search
from harness.study.evaluation import Counts, Heads, RawImages, of_kind, with_prompts
from harness.study.study_config import Cell, Study
from harness.study.study_tables import AFTER_KEYS, BEFORE_KEYS, class_entropy
from metrics.embedding import embed
from metrics.evaluate import Accuracy, evaluate_features
from metrics.suite import Value, measure_all
from models import tuning
from models.classifier import PromptClassifier
from models.encoder import DualEncoder
from models.registry import UserError
from models.transforms import Preprocess
from strategies.engine.schedule import seed_everything
from strategies.engine.strategy import Strategy


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


def zero_shot_record(study: Study, domain: Domain, encoder: DualEncoder, raw: RawImages, seed: int) -> dict[str, Any]:
    """Return the record of a domain before training: accuracy on every evaluated split, and measures.

    Args:
        study: resolved study.
        domain: the domain.
        encoder: encoder with the initial weights.
        raw: features of its image tower.
        seed: seed of the sample that is measured.
    """
    measures = measure_domain(domain, encoder, study.measures, study.config.measure_n, seed)
    splits = ("val", "test") if domain.ood is None else ("val", "test", "ood")
    heads = Heads(PromptClassifier(encoder).eval(), [domain], study.prompts)
    counts = {split: heads.counts(domain, split, raw) for split in splits}
    assert domain.train is not None
    return {
        "identity": study.zero_shot_identity(domain.name, seed),
        "classes": len(domain.classnames),
        "n_train": len(domain.train),
        "class_entropy": round(class_entropy(targets_of(domain.train)), 6),
        **{key: {split: both[kind] for split, both in counts.items()} for kind, key in BEFORE_KEYS.items()},
        "measured": measures.n,
        "measures": {name: value._asdict() for name, value in measures.values.items()},
    }


def fine_tune(
    study: Study,
    cell: Cell,
    domains: Mapping[str, Domain],
    encoder: DualEncoder,
    device: torch.device,
    raw: RawImages,
    report: Report | None = None,
) -> dict[str, Any]:
    """Fine-tune on the domain of a cell, evaluate on all domains, and return the record of the cell.

    Args:
        study: resolved study.
        cell: domain, tuning and seed.
        domains: all domains of the study by name.
        encoder: encoder with the initial weights of the study. It is not changed.
        device: device that trains.
        raw: features of its image tower.
        report: progress of a search.
    """
    technique, trained = study.techniques[cell.tuning], domains[cell.domain]
    ordered = [trained, *(other for name, other in domains.items() if name != cell.domain)]
    chosen: dict[str, Any] = {}
    if technique.grid is None:
        strategy = _train_once(study, cell, trained, copy.deepcopy(encoder), device)
        updates, seconds = len(strategy.history), strategy.seconds
    else:
        search = Search(
            encoder,
            technique,
            cell.tuning,
            trained,
            prompts=study.prompts,
            seed=cell.seed,
            device=device,
            raw=raw,
            workers=study.config.workers,
            report=report,
        )
        winner = search.run()
        strategy, updates = winner.strategy, winner.best.updates
        seconds = sum(trial["seconds"] for trial in search.finished)
        chosen = {"chosen": search.chosen(winner), "trials": search.finished}
    began = time.perf_counter()
    frozen = not tuning.trains_images(strategy.encoder)
    counts = _evaluate_all(Heads(strategy.classifier, ordered, study.prompts), ordered, raw if frozen else None)
    return {
        "identity": study.identity(cell),
        **{key: of_kind(counts, kind) for kind, key in AFTER_KEYS.items()},
        "updates": updates,
        "trainable_params": sum(p.numel() for p in strategy.trainable),
        "train_seconds": round(seconds, 3),
        "eval_seconds": round(time.perf_counter() - began, 3),
        **chosen,
        "finished": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }


def _train_once(study: Study, cell: Cell, domain: Domain, encoder: DualEncoder, device: torch.device) -> Strategy:
    """Train with the fixed settings of a technique and return the strategy."""
    technique = study.techniques[cell.tuning]
    # Seeds the random start of parameters that a tuning adds to the model.
    seed_everything(cell.seed, 0)
    strategy = technique.strategy_class(
        encoder=encoder,
        options=technique.options,
        tuning_name=cell.tuning,
        tuning_options=dataclasses.asdict(technique.tuning_options),
        seed=cell.seed,
        device=device,
        workers=study.config.workers,
    )
    [experience] = scenario([with_prompts(domain, study.prompts)], encoder=encoder).streams["train"]
    strategy.train(experience, eval_streams=[])
    return strategy


def _evaluate_all(heads: Heads, domains: Sequence[Domain], raw: RawImages | None) -> dict[str, dict[str, Counts]]:
    """Evaluate all domains on validation and test images, and the first, trained one also on its out-of-distribution set."""
    counts = {split: {domain.name: heads.counts(domain, split, raw) for domain in domains} for split in ("val", "test")}
    trained = domains[0]
    return {**counts, "ood": {} if trained.ood is None else {trained.name: heads.counts(trained, "ood", raw)}}
