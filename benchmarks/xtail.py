"""X-TAIL, cross-domain task-agnostic incremental learning (RAIL, 2406.18868), and few-shot MTIL with 16 shots (DIKI).

Both train on 16 images per class of the splits published with CoOp (`benchmarks.full.coop_splits`). In X-TAIL the classes of
all tasks compete for every test image, all in one template.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from benchmarks import mini
from benchmarks.cases.case import edition_of
from benchmarks.catalog import DomainSource, check_present, find, held_out, plan_of
from benchmarks.names import split_names
from benchmarks.orders import rotated
from benchmarks.plan import Ask, StreamPlan
from benchmarks.reworded import Reworded
from models.registry import UserError, unknown

SHOTS = 16
SHOTS_SEED = 42
"""The seed of RAIL's and DIKI's configurations. It chooses other images here: theirs also depend on the order of calls."""

TEMPLATES = {"mini": "a picture of {}.", "full": "a photo of a {}."}
"""The template of X-TAIL (RAIL's code), and of five for the tiny model the best on validation images."""

XTAIL: Mapping[str, tuple[str, str]] = {
    "aircraft": ("coop-aircraft", "{}"),
    "caltech101": ("coop-caltech101", "{}"),
    "dtd": ("coop-dtd", "{}"),
    "eurosat": ("coop-eurosat", "{} satellite location"),
    "flowers": ("coop-flowers", "{}"),
    "food101": ("coop-food101", "{}"),
    "mnist": ("MNIST", 'number: "{}"'),
    "pets": ("coop-pets", "{}"),
    "cars": ("coop-cars", "{}"),
    "sun397": ("coop-sun397", "{}"),
}
"""The tasks in RAIL's order: the dataset, and the words around its class names (RAIL's code). 1,100 classes."""

FEW_SHOT: Mapping[str, str] = {
    "aircraft": "coop-aircraft",
    "caltech101": "coop-caltech101",
    "cifar100": "CIFAR100",
    "dtd": "coop-dtd",
    "flowers": "coop-flowers",
    "food101": "coop-food101",
    "cars": "coop-cars",
    "sun397": "coop-sun397",
}
"""The eight tasks of DIKI's few-shot configuration in its order, with MTIL's templates."""


def stream(ask: Ask) -> StreamPlan:
    """Return the plan of X-TAIL: RAIL's ten datasets (full), or the eight mini domains.

    Classes with fewer than 16 training images repeat some of them. The protocol is "agnostic". Every task has its own class of
    a name that several tasks have, and of equal prompts the first task's wins, as in RAIL's code.

    Raises:
        UserError: for another edition, an order that is not one of its tasks, and an unknown name.
    """
    edition = _edition(ask, "xtail")
    if edition == "mini":
        sources = [Reworded(name, find(name, "mini"), (TEMPLATES["mini"],)) for name in mini.STREAM]
    else:
        template = (TEMPLATES["full"],)
        sources = [
            Reworded(name, find(dataset, "full", ask.data_root), template, words) for name, (dataset, words) in XTAIL.items()
        ]
    plan = _few_shot_plan(ask, "xtail", edition, sources, "agnostic")
    return replace(plan, duplicates=ask.duplicates or "index")


def few_shot(ask: Ask) -> StreamPlan:
    """Return the plan of few-shot MTIL with 16 shots: DIKI's eight datasets (full), or the eight mini domains.

    The task of a test image is known, and the templates are MTIL's. Few-shot MTIL with 5 shots of all eleven datasets
    (MoE-Adapters) is `mtil --shots 5`.

    Raises:
        UserError: as for `stream`.
    """
    edition = _edition(ask, "mtil-fewshot-16")
    names = {name: name for name in mini.STREAM} if edition == "mini" else FEW_SHOT
    sources = [Reworded(name, find(dataset, edition, ask.data_root)) for name, dataset in names.items()]
    return _few_shot_plan(ask, "mtil-fewshot-16", edition, sources, "task")


def _edition(ask: Ask, benchmark: str) -> str:
    ask.refuse(benchmark, "tasks", "dataset", "steps", "base", "classnames", "templates")
    return edition_of(ask, benchmark, ("mini", "full"), None, " For your own data use bench stream --tasks ... --shots N")


def _few_shot_plan(ask: Ask, benchmark: str, edition: str, sources: Sequence[Reworded], protocol: str) -> StreamPlan:
    label, names = order_of(ask.order, [source.name for source in sources])
    trained: list[DomainSource] = [next(source for source in sources if source.name == name) for name in names]
    heldout = held_out(ask, edition, names, mini.HELDOUT if edition == "mini" else ())
    plan = plan_of(ask, benchmark, edition, label, trained, heldout, whole_train=edition == "full")
    return replace(
        plan,
        protocol=ask.protocol or protocol,
        check=lambda: check_present([*heldout, *(source for task in trained for source in task.sources())]),
        # The papers have one learning rate for all tasks.
        settings={},
        shots=SHOTS,
        repeat_shots=True,
        shots_seed=SHOTS_SEED,
    )


def order_of(order: str | Sequence[str] | None, tasks: Sequence[str]) -> tuple[str, tuple[str, ...]]:
    """Return the label ("default", "rotate-k", "custom") and the tasks of an order, which may leave some out."""
    if order is None or order == "default":
        return "default", tuple(tasks)
    if (rotation := rotated(order, tasks, "default")) is not None:
        return rotation
    names = split_names(order)
    for name in names:
        if name not in tasks:
            raise unknown("task", name, tasks)
    if not names:
        raise UserError("--order names no task: give rotate:k, or names of tasks.")
    return "custom", names
