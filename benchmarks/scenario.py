"""`make`: a benchmark as an Avalanche scenario with streams train, val, test and heldout."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from avalanche.benchmarks import CLScenario
from avalanche.benchmarks.scenarios.dataset_scenario import DatasetExperience
from avalanche.benchmarks.scenarios.generic_scenario import EagerCLStream
from avalanche.benchmarks.utils import DataAttribute
from avalanche.benchmarks.utils.classification_dataset import TaskAwareSupervisedClassificationDataset
from avalanche.benchmarks.utils.flat_data import ConstantSequence
from avalanche.benchmarks.utils.transform_groups import TransformGroups

from benchmarks.catalog import SPLITS
from benchmarks.data.dataset import ImageDataset, TensorImages, targets_of
from benchmarks.data.domain import Domain, limited, with_validation
from benchmarks.data.pixels import cached_domain
from benchmarks.data.progress import Progress
from benchmarks.data.shots import with_shots
from benchmarks.names import split_names
from benchmarks.plan import PROTOCOLS, Ask, StreamPlan
from benchmarks.registry import BENCHMARKS, EDITIONS
from models.encoder import DualEncoder
from models.prompt_reader import check_prompts
from models.registry import UserError, unknown
from models.transforms import Preprocess, evaluation_transform, training_transform


class DomainExperience(DatasetExperience):
    """One split of one domain, with what Avalanche's plugins and our methods read.

    `stream_domains` are all trained domains of the scenario in order (index = task label), `heldout_domains` those never
    trained. `preprocess` says how its images are prepared; a strategy refuses an experience that is prepared for another model.
    """

    domain: Domain
    task_label: int
    task_labels: list[int]
    classes_in_this_experience: list[int]
    protocol: str
    stream_domains: tuple[Domain, ...]
    heldout_domains: tuple[Domain, ...]
    preprocess: Preprocess

    def rivals(self, trained: int) -> list[int]:
        """Tasks whose classes compete with this one's at test time, after `trained` tasks; held-out domains have none.

        "task": none; "class": the tasks up to the later of this one and the last trained; "agnostic": all of the stream.
        """
        tasks = len(self.stream_domains)
        if self.protocol == "task" or self.task_label >= tasks:
            return []
        seen = tasks if self.protocol == "agnostic" else max(trained, self.task_label + 1)
        return [task for task in range(seen) if task != self.task_label]


def plan(name: str, ask: Ask | None = None) -> StreamPlan:
    """What `make` would build, checked but with nothing loaded. Raises UserError for unknown names."""
    ask = ask or Ask()
    for kind, given, known in (("edition", ask.edition, EDITIONS), ("protocol", ask.protocol, PROTOCOLS)):
        if given is not None and given not in known:
            raise unknown(kind, given, known)
    return BENCHMARKS.get(name)(ask)


def make(
    name: str,
    edition: str | None = None,
    order: str | Sequence[str] | None = None,
    *,
    tasks: Sequence[str] | None = None,
    dataset: str | None = None,
    steps: int | None = None,
    base: int | None = None,
    heldout: Sequence[str] | None = None,
    protocol: str | None = None,
    data_root: str = "data",
    classnames: str | None = None,
    templates: str | None = None,
    **options: Any,
) -> CLScenario:
    """An Avalanche `CLScenario` whose experiences carry their `Domain`.

    Streams: `train`, `val`, `test` (experience i is the i-th domain of the order, task label i) and `heldout`
    (domains never trained, task labels after the stream's). Training data is augmented in train mode only; every
    image comes out as uint8 [3, S, S] at the model's size, with its label and its task label.

    Args:
        name: "mtil", "cil" or "stream".
        edition: "mini" (the default), "full", "own"; `stream` and `cil` take it from the names of the data.
        order: "I", "II", or names (of domains; for `cil` of classes).
        tasks: domains of `stream`; dataset, steps, base: of `cil`.
        heldout: names of the held-out domains; None for the benchmark's own.
        protocol: "task", "class" or "agnostic" (see `benchmarks.plan.PROTOCOLS`); None for the benchmark's own.
        data_root: where the full edition's datasets are.
        classnames, templates: files that go with a dataset of the user's own.
        options: of `assemble`: encoder (give the model that will see the images), limit, shots, seed, cache, hold_out, splits,
            progress, preprocess.

    Raises UserError for unknown names, for missing or broken data, and for classes that are one prompt to the encoder.

    Example:
        encoder = models.load("tiny")
        scenario = make("mtil", encoder=encoder)
    """
    ask = Ask(
        edition=edition,
        order=order if order is None or isinstance(order, str) else tuple(order),
        tasks=None if tasks is None else split_names(tasks),
        dataset=dataset,
        steps=steps,
        base=base,
        heldout=None if heldout is None else split_names(heldout),
        protocol=protocol,
        data_root=data_root,
        classnames=classnames,
        templates=templates,
    )
    return assemble(plan(name, ask), **options)


def assemble(
    stream: StreamPlan,
    *,
    encoder: DualEncoder | None = None,
    preprocess: int | Preprocess | None = None,
    limit: int | None = None,
    shots: int | None = None,
    seed: int = 0,
    cache: bool = True,
    select: bool = False,
    hold_out: bool | None = None,
    splits: Sequence[str] = ("train", "val", "test"),
    progress: Progress | None = None,
) -> CLScenario:
    """The scenario of a plan: its data read, cut down as asked, and cached as pixels.

    Args:
        encoder: the model that will see the images: they are prepared as it wants them, and its prompts are checked
            (`models.prompt_reader`); sentences on them are the scenario's `warnings`.
        preprocess: instead of an encoder, an encoder's `preprocess` or a size in pixels (with neither 48). A strategy refuses
            images that were prepared for another model.
        limit: at most that many images per split (a seeded choice in proportion to the classes).
        shots: that many training images of each class (a seeded choice), taken before validation images are.
        seed: of `limit`, `shots` and of validation splits that have to be made; not of anything global.
        cache: keep decoded evaluation images on disk (`benchmarks.data.pixels`); the same numbers without.
        select: a method will choose something by validation images: hold them out of the training data whatever the
            benchmark's protocol, of held-out domains too, and cache them.
        hold_out: take missing validation splits out of the training data; None: as the benchmark's protocol has it. When
            not, `val` is a part of the training data, which such a protocol never looks at.
        splits: read only these of the trained domains; ("test",) needs no training data and leaves `train` empty.
        progress: called as progress(done, total, what) while data is rendered or read.

    Where the data is not the paper's, the scenario's `differences` say so in sentences.

    Raises UserError for missing or broken data, for a class with fewer images than shots, where `select` needs validation
    images and none can be held out, and for classes that are one prompt to the encoder.
    """
    preprocess = preparation(encoder, preprocess)
    built = stream.build(progress, splits, SPLITS) if select else stream.build(progress, splits)
    if encoder is not None:  # before images are decoded
        check_prompts(encoder.reader, (*built.trained, *built.heldout), together=stream.protocol != "task")
    hold_out = select or not stream.whole_train if hold_out is None else hold_out
    domains = []
    for i, domain in enumerate((*built.trained, *built.heldout)):
        if i >= len(built.trained):
            domain = replace(with_validation(domain, seed), train=None) if select else domain
        else:
            if shots is not None and domain.train is not None:
                domain = with_shots(domain, shots, seed, hold_out)
            else:
                domain = with_validation(domain, seed, hold_out)
        if select and domain.val is None:
            raise UserError(_nothing_held_out(domain, shots))
        domain = limited(domain, limit, seed) if limit is not None else domain
        if cache:
            wanted = ("val", "test") if select else ("test",)
            # Steps of a class-incremental stream have the same names whatever the dataset.
            steps = stream.benchmark.startswith("cil-") and i < len(built.trained)
            label = f"{stream.benchmark}-{domain.name}" if steps else domain.name
            kept = cached_domain(replace(domain, name=label), preprocess, splits=wanted, progress=progress)
            domain = replace(kept, name=domain.name)
        domains.append(domain)
    count = len(built.trained)
    made = scenario(domains[:count], domains[count:], preprocess, stream.protocol, encoder=encoder)
    made.differences = built.differences
    return made


def _nothing_held_out(domain: Domain, shots: int | None) -> str:
    if domain.train is None:
        return (
            f"{domain.name} has neither validation nor training images, and the method chooses something by validation images."
        )
    cause = "every class has a single training image" if shots is None else f"the {shots} shots take every training image"
    less = "" if shots is None else ", or use fewer --shots"
    return (
        f"{domain.name} has no validation images and none can be held out, since {cause}; the method chooses something by "
        f"validation images: add a validation split{less}."
    )


def preparation(encoder: DualEncoder | None, preprocess: int | Preprocess | None) -> Preprocess:
    """Return how images are prepared: as the encoder wants them, or as given; with neither for 48 pixels.

    Raises ValueError when both are given and differ.
    """
    if encoder is None:
        return Preprocess.of(48 if preprocess is None else preprocess)
    if preprocess is not None and Preprocess.of(preprocess) != encoder.preprocess:
        raise ValueError(f"preprocess={preprocess} is not the encoder's {encoder.preprocess}: give only the encoder")
    return encoder.preprocess


def scenario(
    trained: Sequence[Domain],
    heldout: Sequence[Domain] = (),
    preprocess: int | Preprocess | None = None,
    protocol: str = "task",
    *,
    encoder: DualEncoder | None = None,
) -> CLScenario:
    """Return the scenario of the given domains, in the given order. Every trained domain needs a test split.

    Without a training split its experience is empty and only evaluated. `encoder` and `preprocess` as in `assemble`.
    """
    preprocess = preparation(encoder, preprocess)
    warnings: list[str] = []
    if encoder is not None:
        warnings = check_prompts(encoder.reader, (*trained, *heldout), together=protocol != "task")
    groups = TransformGroups(
        {"train": (training_transform(preprocess), None), "eval": (evaluation_transform(preprocess), None)}
    )
    streams: dict[str, list[DomainExperience]] = {split: [] for split in ("train", "val", "test", "heldout")}
    for label, domain in enumerate((*trained, *heldout)):
        splits = ("train", "val", "test") if label < len(trained) else ("heldout",)
        for split in splits:
            dataset = getattr(domain, "test" if split == "heldout" else split)
            if dataset is None:
                if split in ("test", "heldout"):
                    raise ValueError(f"domain {domain.name!r} has no test split")
                dataset = TensorImages(torch.zeros(0, 3, 1, 1, dtype=torch.uint8), [])
            data = _avalanche_dataset(dataset, label, groups)
            experience = DomainExperience(dataset=data, current_experience=len(streams[split]))
            experience.domain = domain
            experience.task_label = label
            experience.task_labels = [label]
            experience.classes_in_this_experience = list(range(len(domain.classnames)))
            experience.protocol = protocol
            experience.stream_domains = tuple(trained)
            experience.heldout_domains = tuple(heldout)
            experience.preprocess = preprocess
            streams[split].append(experience)
    made = CLScenario([EagerCLStream(split, experiences) for split, experiences in streams.items()])
    # Held-out domains continue the numbers: Avalanche's metrics of forgetting and transfer know an experience by its number.
    for experience in streams["heldout"]:
        experience.current_experience = experience.task_label
    made.warnings = warnings
    return made


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
