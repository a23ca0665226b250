"""Build a benchmark as an Avalanche scenario with the streams train, val, test and heldout."""

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
from benchmarks.plan import DUPLICATES, PROTOCOLS, Ask, StreamPlan
from benchmarks.registry import BENCHMARKS, EDITIONS
from models.encoder import DualEncoder
from models.prompt_reader import check_prompts
from models.registry import UserError, unknown
from models.transforms import Preprocess, evaluation_transform, training_transform


class DomainExperience(DatasetExperience):
    """One split of one domain, with the attributes that Avalanche's plugins and our methods read.

    Attributes:
        domain: the domain.
        task_label: number of its task. Held-out domains come after the trained ones.
        task_labels: the task label, as Avalanche expects it.
        classes_in_this_experience: 0..C-1, as Avalanche expects it.
        protocol: a name in `benchmarks.plan.PROTOCOLS`.
        duplicates: a name in `benchmarks.plan.DUPLICATES`.
        stream_domains: all trained domains of the scenario in order (index = task label).
        heldout_domains: the domains that are never trained.
        preprocess: the preparation of the images. A strategy refuses an experience that is prepared for another model.
    """

    domain: Domain
    task_label: int
    task_labels: list[int]
    classes_in_this_experience: list[int]
    protocol: str
    duplicates: str = "own"
    stream_domains: tuple[Domain, ...]
    heldout_domains: tuple[Domain, ...]
    preprocess: Preprocess

    def rivals(self, trained: int) -> list[int]:
        """Return the tasks whose classes compete with this one's at test time.

        Args:
            trained: number of tasks trained so far.

        Returns:
            Task labels. Protocol "task", and held-out domains: no task. "class": the tasks up to the later one of this task
            and the last trained task. "agnostic": all tasks of the stream.
        """
        tasks = len(self.stream_domains)
        if self.protocol == "task" or self.task_label >= tasks:
            return []
        seen = tasks if self.protocol == "agnostic" else max(trained, self.task_label + 1)
        return [task for task in range(seen) if task != self.task_label]


def plan(name: str, ask: Ask | None = None) -> StreamPlan:
    """Return the plan of a benchmark: names are checked, no data is read. Raises UserError for unknown names."""
    ask = ask or Ask()
    named = (("edition", ask.edition, EDITIONS), ("protocol", ask.protocol, PROTOCOLS), ("rule", ask.duplicates, DUPLICATES))
    for kind, value, known in named:
        if value is not None and value not in known:
            raise unknown(kind, value, known)
    stream: StreamPlan = BENCHMARKS.get(name)(ask)
    return stream


def make(
    name: str,
    edition: str | None = None,
    order: str | Sequence[str] | None = None,
    *,
    tasks: Sequence[str] | None = None,
    dataset: str | None = None,
    steps: int | None = None,
    base: int | str | None = None,
    heldout: Sequence[str] | None = None,
    protocol: str | None = None,
    duplicates: str | None = None,
    data_root: str = "data",
    classnames: str | None = None,
    templates: str | None = None,
    **options: Any,
) -> CLScenario:
    """Build a benchmark as an Avalanche scenario.

    Args:
        name: "mtil", "cil" or "stream".
        edition: "mini" (the default), "full" or "own". `stream` and `cil` take it from the names of the data.
        order: "I", "II", or names (of domains; for `cil` of classes).
        tasks: the domains of `stream`, in order.
        dataset: the dataset of `cil`.
        steps: number of steps of `cil`.
        base: number of classes in a first step of `cil`, before the others, or "half".
        heldout: names of the held-out domains. None: the benchmark's default.
        protocol: "task", "class" or "agnostic" (see `benchmarks.plan.PROTOCOLS`). None: the benchmark's default.
        duplicates: "own", "index" or "merge" (see `benchmarks.plan.DUPLICATES`). None: the benchmark's default.
        data_root: folder of the full edition's datasets.
        classnames: a file with the class names of a dataset of the user.
        templates: a file with the templates of a dataset of the user.
        **options: keyword arguments of `assemble`. Pass the model as `encoder`, so that images are prepared for it.

    Returns:
        A `CLScenario` with the streams `train`, `val`, `test` (experience i is the i-th domain of the order, task label i)
        and `heldout` (domains that are never trained, with task labels after those). Each experience has its `Domain` as
        `experience.domain`. Items are (image, label, task label) with images as uint8 [3, S, S] at the model's size. Training
        data is augmented in train mode only.

    Raises:
        UserError: for unknown names, missing or damaged data, and classes with equal prompts for the encoder.

    Example:
        >>> encoder = models.load("tiny")
        >>> scenario = make("mtil", encoder=encoder)
        >>> scenario.train_stream[0].domain.name
        'closeups'
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
        duplicates=duplicates,
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
    scored: str = "test",
    val_limit: int | None = None,
    splits: Sequence[str] = ("train", "val", "test"),
    progress: Progress | None = None,
) -> CLScenario:
    """Read the data of a plan, reduce it as requested, cache its pixels, and return the scenario.

    Args:
        stream: the plan.
        encoder: the model that will see the images. They are prepared for it, and its prompts are checked
            (`models.prompt_reader`).
        preprocess: instead of an encoder, an encoder's `preprocess` or a size in pixels (with neither 48). A strategy refuses
            images that were prepared for another model.
        limit: at most this number of images per split (a seeded choice in proportion to the classes).
        shots: this number of training images per class (a seeded choice), taken before validation images. None: as the
            benchmark defines.
        seed: seed of `limit`, `shots` and of validation splits that have to be made. Global generators are not seeded.
        cache: keep decoded evaluation images on disk (`benchmarks.data.pixels`). The numbers do not depend on it.
        select: a method will select something by validation images. They are held out of the training data whatever the
            benchmark's protocol, also of held-out domains, and cached.
        hold_out: take missing validation splits out of the training data. None: as the benchmark's protocol does. If False,
            `val` is a part of the training data, and such a protocol does not use it.
        scored: "test", or "val": the streams `test` and `heldout` have the validation images, which are held out of the
            training data as with `select`. No test image is read. Targets of the benchmark have only test images and are
            left out.
        val_limit: at most this number of validation images per domain (a seeded choice in proportion to the classes).
        splits: the splits of trained domains to read. ("test",) needs no training data and leaves `train` empty.
        progress: called as progress(done, total, what) while data is rendered or read.

    Returns:
        The scenario. Its `differences` are sentences on how the data differs from the paper's, its `warnings` sentences on
        the prompts.

    Raises:
        UserError: for missing or damaged data, for a class with fewer images than shots, if `select` or `scored` needs
            validation images and none can be held out, and for classes with equal prompts for the encoder.
    """
    validates = scored == "val"
    select = select or validates
    preprocess = preparation(encoder, preprocess)
    shots = stream.shots if shots is None else shots
    shots_seed = seed if stream.shots_seed is None else stream.shots_seed
    built = stream.build(progress, splits, SPLITS) if select else stream.build(progress, splits)
    if validates:
        built = built._replace(heldout=[d for d in built.heldout if d.name in stream.heldout and d.name not in stream.targets])
    if encoder is not None:  # before images are decoded
        check_prompts(encoder.reader, (*built.trained, *built.heldout))
    hold_out = select or not stream.whole_train if hold_out is None else hold_out
    domains = []
    for i, domain in enumerate((*built.trained, *built.heldout)):
        if domain.name in stream.targets:
            domain = replace(domain, train=None, val=None)
        elif i >= len(built.trained):
            domain = replace(with_validation(domain, seed), train=None) if select else domain
        else:
            if shots is not None and domain.train is not None:
                domain = with_shots(domain, shots, shots_seed, hold_out, stream.repeat_shots)
            else:
                domain = with_validation(domain, seed, hold_out)
        if select and domain.val is None and domain.name not in stream.targets:
            raise UserError(_nothing_held_out(domain, shots, validates))
        if validates:
            domain = replace(domain, test=domain.val, ood=None)
        domain = limited(domain, limit, seed) if limit is not None else domain
        if val_limit is not None:
            domain = limited(domain, val_limit, seed, ("val", "test") if validates else ("val",))
        if cache:
            wanted = ("val",) if validates else ("val", "test") if select and domain.val is not None else ("test",)
            # Steps of a class-incremental stream have the same names whatever the dataset.
            steps = stream.benchmark.startswith("cil-") and i < len(built.trained)
            label = f"{stream.benchmark}-{domain.name}" if steps else domain.name
            cached = cached_domain(replace(domain, name=label), preprocess, splits=wanted, progress=progress)
            domain = replace(cached, name=domain.name, test=cached.val if validates else cached.test)
        domains.append(domain)
    count = len(built.trained)
    made = scenario(
        domains[:count], domains[count:], preprocess, stream.protocol, encoder=encoder, duplicates=stream.duplicates
    )
    made.differences = built.differences
    return made


def _nothing_held_out(domain: Domain, shots: int | None, validates: bool) -> str:
    use = "validation images are scored" if validates else "the method selects options by validation images"
    if domain.train is None:
        other = " Leave it out of --heldout." if validates else ""
        return f"{domain.name} has neither validation nor training images, but {use}.{other}"
    cause = "every class has a single training image" if shots is None else f"the {shots} shots take every training image"
    alternative = "" if shots is None else ", or use fewer --shots"
    return (
        f"{domain.name} has no validation images and none can be held out, since {cause}. {use[:1].upper()}{use[1:]}: add a "
        f"validation split{alternative}."
    )


def preparation(encoder: DualEncoder | None, preprocess: int | Preprocess | None) -> Preprocess:
    """Return the preparation of images: the encoder's, the given one, or, with neither, for 48 pixels.

    Raises:
        ValueError: if both are given and differ.
    """
    if encoder is None:
        return Preprocess.of(48 if preprocess is None else preprocess)
    if preprocess is not None and Preprocess.of(preprocess) != encoder.preprocess:
        raise ValueError(f"preprocess={preprocess} differs from the encoder's {encoder.preprocess}: pass only the encoder")
    return encoder.preprocess


def scenario(
    trained: Sequence[Domain],
    heldout: Sequence[Domain] = (),
    preprocess: int | Preprocess | None = None,
    protocol: str = "task",
    *,
    encoder: DualEncoder | None = None,
    duplicates: str = "own",
) -> CLScenario:
    """Return the scenario of the given domains, in the given order.

    Args:
        trained: the domains of the stream. Each needs a test split. One without a training split is only evaluated.
        heldout: the domains that are never trained.
        preprocess: as in `assemble`.
        protocol: a name in `benchmarks.plan.PROTOCOLS`.
        encoder: as in `assemble`.
        duplicates: a name in `benchmarks.plan.DUPLICATES`.

    Raises:
        ValueError: for a domain without a test split.
        UserError: for classes with equal prompts for the encoder, and for a domain with questions under another protocol than
            "task".
    """
    preprocess = preparation(encoder, preprocess)
    asking = [domain.name for domain in trained if domain.groups is not None]
    if asking and protocol != "task":
        raise UserError(
            f"Images of {asking[0]} are classified among the options of their question, so the classes of other tasks cannot "
            f"compete. The protocol {protocol!r} is not possible; use --protocol task."
        )
    warnings: list[str] = []
    if encoder is not None:
        together = None if protocol == "task" else duplicates
        warnings = check_prompts(encoder.reader, (*trained, *heldout), together)
    groups = TransformGroups(
        {
            "train": (training_transform(preprocess), None),
            "train-torch": (training_transform(preprocess, "torch"), None),
            "eval": (evaluation_transform(preprocess), None),
        }
    )
    streams: dict[str, list[DomainExperience]] = {split: [] for split in ("train", "val", "test", "heldout")}
    # The same objects for all experiences, so that a strategy checks their prompts once.
    every = tuple(trained), tuple(heldout)
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
            experience.protocol, experience.duplicates = protocol, duplicates
            experience.stream_domains, experience.heldout_domains = every
            experience.preprocess = preprocess
            streams[split].append(experience)
    made = CLScenario([EagerCLStream(split, experiences) for split, experiences in streams.items()])
    # Held-out experiences have numbers after the trained ones: Avalanche's metrics identify an experience by its number.
    for experience in streams["heldout"]:
        experience.current_experience = experience.task_label
    made.warnings = warnings
    return made


def _avalanche_dataset(dataset: ImageDataset, label: int, groups: TransformGroups) -> Any:
    # Avalanche 0.6 fails to add task labels to a classification dataset afterwards (`with_task_labels`).
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
    """Return a batch: images uint8 [B, 3, S, S], labels int64 [B] and task labels int64 [B]."""
    images, labels, tasks = zip(*items, strict=True)
    return [torch.stack(images), torch.tensor(labels), torch.tensor(tasks)]
