"""From what a user asks for to a plan of a stream: names checked, nothing loaded. Imports neither torch nor Avalanche."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from benchmarks.data.progress import Progress
from models.registry import UserError

if TYPE_CHECKING:
    from benchmarks.catalog import Source
    from benchmarks.data.domain import Domain

Settings = Mapping[str, Mapping[str, Any]]
PROTOCOLS = {
    "task": "the task of a test image is known: it is classified among its own task's classes (MTIL)",
    "class": "it is classified among the classes of all tasks so far (class-incremental)",
    "agnostic": "the task is unknown: the classes of all tasks of the stream compete (X-TAIL)",
}

SEEN = "seen"
"""The task, beside the stream's own, of all classes seen so far (class-incremental protocol)."""


@dataclass(frozen=True)
class Ask:
    """What a user asks of a benchmark; None means its default. `order` and `tasks` are names, in order."""

    edition: str | None = None
    order: str | tuple[str, ...] | None = None
    heldout: tuple[str, ...] | None = None
    protocol: str | None = None
    tasks: tuple[str, ...] | None = None
    dataset: str | None = None
    steps: int | None = None
    base: int | None = None
    data_root: str = "data"
    classnames: str | None = None
    templates: str | None = None

    def refuse(self, benchmark: str, *names: str) -> None:
        """Raise UserError when one of the named settings was given: the benchmark has no use for it."""
        for name in names:
            if getattr(self, name) is not None:
                raise UserError(f"The benchmark {benchmark!r} takes no --{name}.")


class Built(NamedTuple):
    """The domains of a stream: trained ones in order, held-out ones; and where the data is not the paper's, in sentences."""

    trained: list[Domain]
    heldout: list[Domain]
    differences: list[str] = []


@dataclass(frozen=True)
class StreamPlan:
    """A stream before its data is read.

    Attributes:
        benchmark: as records name it ("mtil", "stream", "cil-cifar100-10").
        order: "I", "II", "default" or "custom".
        names: the tasks in order; `heldout`: domains never trained.
        protocol: a name in `PROTOCOLS`.
        build: build(progress, splits, held) reads the domains; `splits` are those wanted of the trained ones, `held` those
            of the held-out ones (the test split alone, if not given).
        check: raises UserError when data is plainly not there; quick.
        version: a digest of the data on disk, or of what draws it: a run on other data is another run.
        settings: options by strategy name, for a full-size model and (`tiny_settings`) for the tiny one.
        full_size: the data is of the papers' size, so the default model is too.
        whole_train: the protocol trains on the whole training split; validation data is taken out of it only for methods
            that need some.
        reference: the default reference data of distillation, (images, sentences) as `benchmarks.reference` names them.
        notes: sentences on how the names were understood.
    """

    benchmark: str
    edition: str
    order: str
    names: tuple[str, ...]
    heldout: tuple[str, ...]
    build: Callable[..., Built]
    protocol: str = "task"
    check: Callable[[], None] = lambda: None
    version: Callable[[], str | None] = lambda: None
    settings: Settings = field(default_factory=dict)
    tiny_settings: Settings = field(default_factory=dict)
    full_size: bool = False
    whole_train: bool = False
    reference: tuple[str, str] = ("mini", "mini")
    details: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


_COMMA = re.compile(r"(?<!\\),")


def names_in(given: str | Sequence[str]) -> tuple[str, ...]:
    """Return the names in a comma-joined text. A sequence of names is returned as it is.

    A comma that belongs to a name is written with a backslash: `signs\\, 2023`.
    """
    if not isinstance(given, str):
        return tuple(given)
    return tuple(name.replace("\\,", ",") for part in _COMMA.split(given) if (name := part.strip()))


def names_of(words: Sequence[str], data_root: str | None = None) -> tuple[str, ...]:
    """Return the names in the words of a list flag, which blanks and commas separate alike (`A,B C`).

    An existing file or folder is one name, whatever commas are in it, also in a longer list: with a folder `signs, 2023`,
    `--tasks "signs, 2023,digits"` is two names. Other names with commas are written as in `names_in`.

    Args:
        words: what the shell passes.
        data_root: the data folder, for flags that take data. Paths are looked for there too.
    """
    found: list[str] = []
    for word in words:
        parts = _COMMA.split(word)
        while parts:
            end = next((n for n in range(len(parts), 1, -1) if _exists(",".join(parts[:n]), data_root)), 1)
            # A path is taken as it is: a backslash may be part of it.
            name = ",".join(parts[:end]).strip()
            found += [name if end > 1 else name.replace("\\,", ",")] if name else []
            del parts[:end]
    return tuple(found)


def joined(names: Sequence[str]) -> str:
    """Return names as one comma-joined word, from which `names_in` makes the same names."""
    return ",".join(name.replace(",", "\\,") for name in names)


def _exists(text: str, data_root: str | None) -> bool:
    from benchmarks.own.columns import chosen_columns
    from models.paths import user_path

    name = chosen_columns(text.strip()).name
    places = [user_path(name)] + ([user_path(data_root) / name] if data_root else [])
    return bool(name) and any(os.path.exists(place) for place in places)


def check_distinct(names: Sequence[str], heldout: Sequence[str]) -> None:
    """Raise UserError when a name stands twice, is both trained and held out, or is one that records use themselves."""
    if SEEN in names or SEEN in heldout:
        raise UserError(f"A domain cannot be called {SEEN!r}: records give that name to the classes of all tasks so far.")
    for what, given in (("The stream", names), ("--heldout", heldout)):
        if twice := sorted({n for n in given if list(given).count(n) > 1}):
            raise UserError(f"{what} names {', '.join(twice)} twice.")
    if both := sorted(set(names) & set(heldout)):
        raise UserError(f"{', '.join(both)} cannot be both trained and held out.")


def build_sources(
    trained: Sequence[Source],
    heldout: Sequence[Source],
    progress: Progress | None,
    splits: Sequence[str],
    held: Sequence[str] = ("test",),
) -> Built:
    """Read the domains of the sources: `splits` of the trained ones, `held` of the held-out ones."""
    learned = [source.build(splits, progress) for source in trained]
    others = [source.build(held, progress) for source in heldout]
    pairs = zip([*trained, *heldout], [*learned, *others], strict=True)
    return Built(learned, others, [line for source, domain in pairs for line in source.differences(domain)])
