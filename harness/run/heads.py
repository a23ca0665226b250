"""The class names and templates of a run's tasks, as its checkpoints record them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from avalanche.benchmarks import CLScenario

from benchmarks.data.dataset import TensorImages
from benchmarks.data.domain import Domain
from benchmarks.scenario import scenario
from models.classifier import Prompts
from models.encoder import DualEncoder


class Heads(NamedTuple):
    """The classes of a benchmark, with which its models can be used without its data.

    Attributes:
        protocol: a name in `benchmarks.plan.PROTOCOLS`.
        duplicates: a name in `benchmarks.plan.DUPLICATES`.
        tasks: name, class names, templates and questions of each task, in stream order.
        heldout: the same of each held-out domain.
    """

    protocol: str
    duplicates: str
    tasks: tuple[Prompts, ...]
    heldout: tuple[Prompts, ...]

    @classmethod
    def of(cls, benchmark: CLScenario) -> Heads:
        """Return the classes of a benchmark."""
        tests, heldout = list(benchmark.streams["test"]), list(benchmark.streams["heldout"])
        tasks, others = (tuple(Prompts.of(experience.domain) for experience in stream) for stream in (tests, heldout))
        return cls(tests[0].protocol, tests[0].duplicates, tasks, others)

    @classmethod
    def load(cls, state: Mapping[str, Any]) -> Heads:
        """Return the classes that `state` returned."""
        tasks, heldout = (tuple(map(_prompts, state[stream])) for stream in ("tasks", "heldout"))
        return cls(state["protocol"], state["duplicates"], tasks, heldout)

    def state(self) -> dict[str, Any]:
        """Return the classes as JSON."""
        streams = {name: [_plain(prompts) for prompts in getattr(self, name)] for name in ("tasks", "heldout")}
        return {"protocol": self.protocol, "duplicates": self.duplicates, **streams}

    def without_data(self, encoder: DualEncoder) -> CLScenario:
        """Return a benchmark with these classes and no images."""
        return scenario(_domains(self.tasks), _domains(self.heldout), None, self.protocol, encoder=encoder,
                        duplicates=self.duplicates)  # fmt: skip


def _domains(heads: Sequence[Prompts]) -> list[Domain]:
    nothing = TensorImages(torch.zeros(0, 3, 1, 1, dtype=torch.uint8), [])
    return [Domain(each.name, each.classnames, each.templates, None, None, nothing, groups=each.groups) for each in heads]


def _plain(prompts: Prompts) -> dict[str, Any]:
    values = {"name": prompts.name, "classnames": list(prompts.classnames), "templates": list(prompts.templates)}
    return values if prompts.groups is None else {**values, "groups": list(prompts.groups)}


def _prompts(values: Mapping[str, Any]) -> Prompts:
    groups = values.get("groups")
    return Prompts(
        values["name"],
        tuple(values["classnames"]),
        tuple(values["templates"]),
        None if groups is None else tuple(groups),
    )
