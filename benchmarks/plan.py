"""Plans of streams: what a user asks for, checked, before any data is read. Imports neither torch nor Avalanche."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from benchmarks.data.progress import Progress
from benchmarks.registry import EDITIONS
from models.registry import UserError
from models.setting import setting

if TYPE_CHECKING:
    from benchmarks.data.domain import Domain

Settings = Mapping[str, Mapping[str, Any]]
PROTOCOLS = {
    "task": "the task of a test image is known: it is classified among its own task's classes (MTIL)",
    "class": "it is classified among the classes of all tasks so far (class-incremental)",
    "agnostic": "the task is unknown: the classes of all tasks of the stream compete (X-TAIL)",
}
DUPLICATES = {
    "own": "classes with equal prompts are one class, that of the image's own task (default of most benchmarks)",
    "index": "every task has its own class; of equal prompts the first task's wins (RAIL; default of xtail)",
    "merge": "classes of the same name are one class, whatever the task (CoLeCLIP; default of odcl)",
}
"""Classes that several tasks have, under the protocols in which the classes of several tasks compete."""


@dataclass(frozen=True, kw_only=True)
class Ask:
    """Settings of a benchmark as the user gives them. None means the benchmark's default.

    `order` and `tasks` are names in stream order.
    """

    edition: str | None = setting(
        None,
        "mini, full or own (default: mini, or the edition of the named data)",
        group="data",
        choices=lambda: EDITIONS,
        identity=True,
    )
    order: str | tuple[str, ...] | None = setting(
        None,
        "order of the tasks: I (default), II, rotate:k (from task k + 1 on) or names; for cil class names or seed:1993",
        group="data",
        metavar="NAME",
        items="names",
    )
    tasks: tuple[str, ...] | None = setting(
        None,
        "stream: tasks in order, as names from `list domains`, folders or tables; NAME:label=COLUMN chooses the labels",
        group="data",
        metavar="NAME",
        items="data",
    )
    dataset: str | None = setting(
        None, "cil: cifar100, tinyimagenet, imagenet100, imagenet, ..., a mini domain or a folder", group="data", metavar="NAME"
    )
    steps: int | None = setting(
        None, "cil: the number of steps in which the classes arrive, without the step of --base", group="data", metavar="N"
    )
    base: int | str | None = setting(
        None,
        "cil: the number of classes in a first step before the others, or half (tinyimagenet: 100)",
        group="data",
        metavar="N",
    )
    classnames: str | None = setting(None, "class names of your dataset, one per line", group="data", metavar="FILE")
    templates: str | None = setting(
        None, "prompt templates of your dataset, one per line, with {} for the class name", group="data", metavar="FILE"
    )
    data_root: str = setting("data", "folder of the papers' datasets (default: data)", group="data", metavar="DIR")
    heldout: tuple[str, ...] | None = setting(
        None,
        "domains that are evaluated but never trained, or none (default: mini domains for mtil and stream)",
        group="evaluation",
        metavar="NAME",
        items="data",
        nargs="*",
    )
    protocol: str | None = setting(
        None,
        "classes that compete at test time: task, class or agnostic (default: the benchmark's)",
        group="evaluation",
        choices=lambda: PROTOCOLS,
        identity=True,
        title="protocol {}",
    )
    duplicates: str | None = setting(
        None,
        "classes that several competing tasks have: own, index or merge (default: the benchmark's)",
        group="evaluation",
        choices=lambda: DUPLICATES,
        identity=True,
        usual="own",
        title="shared classes: {}",
    )

    def refuse(self, benchmark: str, *names: str) -> None:
        """Raise UserError if any of the named settings was given. Records give the order "default" to every such benchmark."""
        for name in names:
            if getattr(self, name) is not None and (name, self.order) != ("order", "default"):
                raise UserError(f"The benchmark {benchmark!r} takes no --{name}.")


class Built(NamedTuple):
    """Domains of a stream: trained ones in order, held-out ones, and sentences on how the data differs from the paper's."""

    trained: list[Domain]
    heldout: list[Domain]
    differences: list[str] = []


class Build(Protocol):
    """Reads the domains of a plan: `splits` of the trained domains, `heldout_splits` of the held-out ones."""

    def __call__(self, progress: Progress | None, splits: Sequence[str], heldout_splits: Sequence[str] = ("test",), /) -> Built:
        """Read the domains. Raises UserError for missing or damaged data."""
        ...


@dataclass(frozen=True)
class StreamPlan:
    """A stream whose data has not been read yet.

    Attributes:
        benchmark: name in records ("mtil", "stream", "cil-cifar100-10").
        edition: "mini", "full" or "own".
        order: "I", "II", "default" or "custom".
        names: the tasks in order.
        heldout: names of the domains that are never trained.
        targets: the held-out domains on which training is meant to have an effect, such as unseen words of a typographic
            attack. They have test images only, so no method can choose anything by them, and Retention leaves them out.
        build: reads the domains.
        protocol: a name in `PROTOCOLS`.
        duplicates: a name in `DUPLICATES`.
        check: raises UserError for data that is obviously missing. Quick.
        version: returns a digest of the data on disk, or of the code that renders it. A run on other data is another run.
        settings: options by strategy name, for a full-size model.
        tiny_settings: options by strategy name, for the tiny model.
        full_size: the data is of the papers' size, so the default model is too.
        model: the default model if it is not the edition's. It is a shipped one, with the settings of the tiny model.
        whole_train: the protocol trains on the whole training split. Validation data is taken out of it only for methods
            that need it.
        shots: training images per class if the user gives no --shots. None: all of them.
        repeat_shots: classes with fewer images than shots repeat some of them.
        shots_seed: seed of the choice of the shots. None: the seed of the run.
        reference: names of the default reference images and sentences of distillation (see `benchmarks.reference`).
        details: further settings that define the benchmark, for the record.
        notes: sentences on how the names were understood.
    """

    benchmark: str
    edition: str
    order: str
    names: tuple[str, ...]
    heldout: tuple[str, ...]
    build: Build
    protocol: str = "task"
    duplicates: str = "own"
    targets: tuple[str, ...] = ()
    check: Callable[[], None] = lambda: None
    version: Callable[[], str | None] = lambda: None
    settings: Settings = field(default_factory=dict)
    tiny_settings: Settings = field(default_factory=dict)
    full_size: bool = False
    model: str | None = None
    whole_train: bool = False
    shots: int | None = None
    repeat_shots: bool = False
    shots_seed: int | None = None
    reference: tuple[str, str] = ("mini", "mini")
    details: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
