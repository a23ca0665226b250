"""`make`: a benchmark as an Avalanche scenario with streams train, val, test and heldout."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from avalanche.benchmarks import CLScenario
from avalanche.benchmarks.scenarios.dataset_scenario import DatasetExperience
from avalanche.benchmarks.scenarios.generic_scenario import EagerCLStream
from avalanche.benchmarks.utils import DataAttribute
from avalanche.benchmarks.utils.classification_dataset import TaskAwareSupervisedClassificationDataset
from avalanche.benchmarks.utils.flat_data import ConstantSequence
from avalanche.benchmarks.utils.transform_groups import TransformGroups

from benchmarks import BENCHMARKS, EDITIONS
from benchmarks.domain import Domain, ImageDataset, limited, targets_of, with_validation
from benchmarks.mtil import StreamPlan
from models.registry import unknown
from models.transforms import evaluation_transform, training_transform

Progress = Callable[[int, int, str], None]


class DomainExperience(DatasetExperience):
    """One split of one domain, with what Avalanche's plugins and our methods read."""

    domain: Domain
    task_label: int
    task_labels: list[int]
    classes_in_this_experience: list[int]


def plan(
    name: str, edition: str = "mini", order: str | Sequence[str] = "I", heldout: Sequence[str] | None = None
) -> StreamPlan:
    """What `make` would build, checked but with nothing loaded. Raises UserError for unknown names."""
    if edition not in EDITIONS:
        raise unknown("edition", edition, EDITIONS)
    return BENCHMARKS.get(name)(edition, order, heldout)


def make(
    name: str,
    edition: str = "mini",
    order: str | Sequence[str] = "I",
    *,
    heldout: Sequence[str] | None = None,
    image_size: int = 48,
    limit: int | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> CLScenario:
    """An Avalanche `CLScenario` whose experiences carry their `Domain`.

    Streams: `train`, `val`, `test` (experience i is the i-th domain of the order, task label i) and `heldout`
    (domains never trained, task labels after the stream's). Training data is augmented in train mode only; every
    image comes out as uint8 [3, image_size, image_size], with its label and its task label.

    Args:
        name: a benchmark ("mtil").
        order: "I", "II", or domain names.
        heldout: names of the held-out domains; None for the edition's own.
        limit: at most that many images per split (a seeded random choice).
        seed: of `limit` and of validation splits that have to be made; not of anything global.
        progress: called as progress(done, total, what) while data is rendered or read.

    Raises UserError for unknown names.
    """
    built = plan(name, edition, order, heldout)
    domains = [built.build(n, progress=progress) for n in (*built.names, *built.heldout)]
    domains = [_limit(with_validation(domain, seed), limit, seed) for domain in domains]
    trained, held = domains[: len(built.names)], domains[len(built.names) :]
    return scenario(trained, held, image_size)


def scenario(trained: Sequence[Domain], heldout: Sequence[Domain] = (), image_size: int = 48) -> CLScenario:
    """The scenario of the given domains, in the given order. Every trained domain needs train, val and test splits."""
    groups = TransformGroups(
        {"train": (training_transform(image_size), None), "eval": (evaluation_transform(image_size), None)}
    )
    streams: dict[str, list[DomainExperience]] = {split: [] for split in ("train", "val", "test", "heldout")}
    for label, domain in enumerate((*trained, *heldout)):
        splits = ("train", "val", "test") if label < len(trained) else ("heldout",)
        for split in splits:
            dataset = getattr(domain, "test" if split == "heldout" else split)
            if dataset is None:
                raise ValueError(f"domain {domain.name!r} has no {split} split")
            data = _avalanche_dataset(dataset, label, groups)
            experience = DomainExperience(dataset=data, current_experience=len(streams[split]))
            experience.domain = domain
            experience.task_label = label
            experience.task_labels = [label]
            experience.classes_in_this_experience = list(range(len(domain.classnames)))
            streams[split].append(experience)
    return CLScenario([EagerCLStream(split, experiences) for split, experiences in streams.items()])


def _avalanche_dataset(dataset: ImageDataset, label: int, groups: TransformGroups) -> Any:
    # The task labels are an attribute from the start: adding them afterwards (`with_task_labels`) fails on
    # classification datasets in Avalanche 0.6.
    return TaskAwareSupervisedClassificationDataset(
        [dataset],
        data_attributes=[
            DataAttribute(targets_of(dataset), "targets"),
            DataAttribute(ConstantSequence(label, len(dataset)), "targets_task_labels", use_in_getitem=True),
        ],
        transform_groups=groups,
        collate_fn=collate,
    )


def collate(items: Sequence[tuple[torch.Tensor, int, int]]) -> list[torch.Tensor]:
    """[images uint8 [B, 3, S, S], labels int64 [B], task labels int64 [B]]."""
    images, labels, tasks = zip(*items, strict=True)
    return [torch.stack(images), torch.tensor(labels), torch.tensor(tasks)]


def _limit(domain: Domain, limit: int | None, seed: int) -> Domain:
    return domain if limit is None else limited(domain, limit, seed)
