"""The work of a study: domains read, what is known of them before training, and one fine-tuning."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch

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
from models.registry import UserError
from strategies.engine.schedule import seed_everything

Answers = dict[str, dict[str, list[int]]]
"""split -> domain -> [correct, n]."""


class Measured(NamedTuple):
    """The measures of a task by name, over how many images, and zero-shot accuracy on the same images."""

    values: dict[str, Value]
    n: int
    zero_shot: Accuracy


def read(source: Source, study: Study, seed: int, preprocess: Any, progress: Progress | None) -> Domain:
    """A domain with training, validation and test images, and its out-of-distribution set where it has one.

    Without a validation split a seeded 10 % of the training images of each class are held out. Raises UserError for data that
    is missing or broken, has no training images, or too few to hold any out.
    """
    c, domain = study.config, source.build(SPLITS, progress)
    if domain.train is None or domain.test is None:
        raise UserError(f"{source.name} has no {'test' if domain.train is not None else 'training'} images: no study of it.")
    domain = with_validation(domain, seed)
    if domain.val is None:
        raise UserError(
            f"{source.name} has no validation images and none can be held out, since every class has a single training image: "
            "add a validation split."
        )
    domain = domain if c.limit is None else limited(domain, c.limit, seed)
    return cached_domain(domain, preprocess, ("val", "test", "ood"), progress=progress) if c.cache else domain


def measured(domain: Domain, encoder: Any, names: Sequence[str], n: int, seed: int) -> Measured:
    """Measures of a seeded sample of n training images (the test images of a domain without), one prompt a class."""
    images: Any = domain.train if domain.train is not None else domain.test
    drawn = sample(images, n, seed)
    features = embed(encoder, drawn, domain.prompts(0)).features
    zero_shot = evaluate_features(PromptClassifier(encoder), domain, features.image_features, features.labels)
    return Measured(measure_all(features, names), len(drawn), zero_shot)


def before(study: Study, domain: Domain, encoder: Any, classifier: Any, seed: int) -> dict[str, Any]:
    """What is known of a domain before any training, as a record: accuracy on every split that is looked at, and measures."""
    found = measured(domain, encoder, study.measures, study.config.measure_n, seed)
    splits = ("val", "test") if domain.ood is None else ("val", "test", "ood")
    label = len(classifier.prompts)
    accuracy = {split: _pair(evaluate(classifier, domain, split, task_label=label)) for split in splits}
    return {
        "identity": study.identity_before(domain.name, seed),
        "classes": len(domain.classnames),
        "n_train": len(domain.train),  # type: ignore[arg-type]
        "accuracy": accuracy,
        "measured": found.n,
        "measures": {name: value._asdict() for name, value in found.values.items()},
    }


def fine_tuned(
    study: Study, cell: Cell, domains: Mapping[str, Domain], encoder: Any, device: torch.device, plugins: Sequence[Any] = ()
) -> dict[str, Any]:
    """One cell as a record: the encoder is trained on the cell's domain and asked about all of them.

    `encoder` is at the study's initial weights and is changed.
    """
    how, domain = study.techniques[cell.tuning], domains[cell.domain]
    # What a tuning adds to the model starts at random.
    seed_everything(cell.seed, 0)
    strategy = how.strategy_class(
        encoder=encoder,
        options=how.options,
        tuning_name=cell.tuning,
        tuning_options=dataclasses.asdict(how.tuning_options),
        seed=cell.seed,
        device=device,
        plugins=plugins,
        workers=study.config.workers,
    )
    [experience] = scenario([domain], encoder=encoder).streams["train"]
    strategy.train(experience, eval_streams=[])
    began = time.perf_counter()
    after = _answers(strategy.classifier, domain, [other for name, other in domains.items() if name != cell.domain])
    return {
        "identity": study.identity(cell),
        "after": after,
        "updates": len(strategy.history),
        "trainable_params": sum(p.numel() for p in strategy.trainable),
        "train_seconds": round(strategy.seconds, 3),
        "eval_seconds": round(time.perf_counter() - began, 3),
        "finished": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }


def _answers(classifier: Any, trained: Domain, others: Sequence[Domain]) -> Answers:
    """Of every domain on validation and test images, of the trained one on its out-of-distribution set, too."""
    found: Answers = {"val": {}, "test": {}, "ood": {}}
    # The trained task is 0 to the classifier: a probe's head is its own.
    for label, asked in enumerate([trained, *others]):
        for split in ("val", "test"):
            found[split][asked.name] = _pair(evaluate(classifier, asked, split, task_label=label))
    if trained.ood is not None:
        found["ood"][trained.name] = _pair(evaluate(classifier, trained, "ood", task_label=0))
    return found


def _pair(accuracy: Accuracy) -> list[int]:
    return [accuracy.correct, accuracy.n]
