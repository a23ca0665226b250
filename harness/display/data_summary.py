"""What a command has understood of its data: classes, an example prompt, counts by split and class, where each split is from.

One block, made here, for the headers of `bench` and `measure` and for `data verify`.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING

from rich.table import Table
from rich.text import Text

from harness.display.plain_table import plain_table
from models.registry import shortened

if TYPE_CHECKING:
    from benchmarks.data.domain import Domain
    from models.prompt_reader import PromptReader

SPLITS = ("train", "val", "test")
FEW = 3
"""Class names that are shown; datasets whose facts have lines, more have a row each of a table."""

# Names that are labels or codes: 0, 1, "2."; class 3, c0; ImageNet's n01440764.
_NUMBER = re.compile(r"[+-]?\d+([.,]\d*)?")
_CODE = re.compile(r"(?:(?:class|label|category|cat|cls|id|c|n)[ _-]?)?\d+", re.IGNORECASE)


@dataclass(frozen=True)
class Facts:
    """What is known of one dataset; the steps of a class-incremental stream are one.

    `counts[split]` holds the number of images of each class; a split that is not there is missing.
    """

    name: str
    classnames: tuple[str, ...]
    prompt: str
    templates: int
    counts: dict[str, list[int]]
    sources: dict[str, str]
    steps: int
    published: bool
    trained: bool
    origin: str

    def classes(self) -> str:
        """The number of classes and the first few."""
        few = ", ".join(shortened(name) for name in self.classnames[:FEW])
        steps = f" in {self.steps} steps" if self.steps > 1 else ""
        return f"{len(self.classnames):,} classes{steps}: {few}{', ...' if len(self.classnames) > FEW else ''}"

    def split(self, split: str) -> str:
        """Images of a split, and of its classes the least and the most: "340 (20 each)", "52 (1 to 9 of a class)"."""
        per_class = self.counts[split]
        least, most = min(per_class), max(per_class)
        span = f"{most:,} of each class" if least == most else f"{least:,} to {most:,} of a class"
        return f"{sum(per_class):,} image{'' if sum(per_class) == 1 else 's'}, {span}"

    def warnings(self) -> list[str]:
        """Sentences on classes without images and on names that are only numbers."""
        found = []
        for split in ("train", "test"):
            empty = [n for n, count in zip(self.classnames, self.counts.get(split, ()), strict=False) if not count]
            if empty and (split == "test" or self.trained):
                names = ", ".join(shortened(name) for name in empty[:FEW]) + (", ..." if len(empty) > FEW else "")
                consequence = "it is not trained" if split == "train" else "its accuracy is not measured"
                found.append(
                    f"{len(empty):,} of the {len(self.classnames):,} classes of {self.name} "
                    f"{'has' if len(empty) == 1 else 'have'} no {'training' if split == 'train' else 'test'} image ({names}): "
                    f"{consequence if len(empty) == 1 else consequence.replace('it is', 'they are').replace('its', 'their')}"
                )
        if not self.published and are_codes(self.classnames):
            found.append(
                f"the class names of {self.name} are numbers or codes ({', '.join(self.classnames[:FEW])}), so the model reads "
                f'"{self.prompt}". --classnames FILE gives real names: lines of folder<TAB>name, or one name per line in class '
                "order"
            )
        return found


def are_codes(classnames: Sequence[str]) -> bool:
    """Whether all names are numbers, or all are codes like "class 3", "c0" and "n01440764"."""
    return all(map(_NUMBER.fullmatch, classnames)) or all(map(_CODE.fullmatch, classnames))


def facts(domains: Sequence[Domain], reader: PromptReader | None = None, trained: int | None = None) -> list[Facts]:
    """The facts of the domains. The first `trained` are tasks, the rest is only evaluated (None: all are tasks)."""
    from benchmarks.data.dataset import targets_of

    trained = len(domains) if trained is None else trained
    found = []
    for _, group in groupby(enumerate(domains), lambda pair: pair[1].part_of or pair[0]):
        numbers, steps = zip(*group, strict=True)
        first = steps[0]
        counts: dict[str, list[int]] = {}
        for split in SPLITS:
            if numbers[0] >= trained and split != "test":
                continue
            for step in steps:
                if (dataset := getattr(step, split)) is not None:
                    labels = Counter(targets_of(dataset))
                    counts.setdefault(split, []).extend(labels[label] for label in range(len(step.classnames)))
        template, classname = first.templates[0], first.classnames[0]
        found.append(
            Facts(
                name=first.part_of or first.name,
                classnames=tuple(name for step in steps for name in step.classnames),
                prompt=first.prompts(0)[0] if reader is None else reader.read_text(template, classname),
                templates=len(first.templates),
                counts=counts,
                sources={split: first.split_sources[split] for split in SPLITS if split in first.split_sources},
                steps=len(steps),
                published=first.published,
                trained=numbers[0] < trained,
                origin=first.source if not first.published else "",
            )
        )
    return found


def print_data_summary(
    domains: Sequence[Domain],
    say: Callable[..., None],
    show: Callable[[Table], None],
    reader: PromptReader | None = None,
    trained: int | None = None,
    warnings: Sequence[str] = (),
) -> None:
    """Print what was understood: lines for up to three datasets, a table for more, then remarks and warnings.

    Args:
        domains: trained ones first, then held-out ones, as they will be used (limited, with a validation split).
        say: say(text, style=...) prints a line; `show` prints a table.
        reader: the model's; None: prompts are shown as they are written.
        trained: how many of the domains are trained; None: all.
        warnings: further sentences, on prompts (`models.prompt_reader.check_prompts`).
    """
    known = facts(domains, reader, trained)
    if len(known) <= FEW:
        for each in known:
            for line in _lines(each):
                say(line, style="dim")
    else:
        show(_table(known))
        for line in _origins(known):
            say(line, style="dim")
    print_remarks(domains, say)
    for warning in (*warnings, *(sentence for each in known for sentence in each.warnings())):
        say(f"warning: {warning}", style="yellow")


def print_remarks(domains: Iterable[Domain], say: Callable[..., None]) -> None:
    """Print the remarks of several domains with `say(text, style=...)`, each sentence once (steps of `cil` share them)."""
    known = list(domains)
    for note in dict.fromkeys(note for domain in known for note in domain.notes):
        say(note, style="dim")
    for warning in dict.fromkeys(warning for domain in known for warning in domain.warnings):
        say(f"warning: {warning}", style="yellow")


def _lines(each: Facts) -> list[str]:
    prompt = f'prompt "{each.prompt}"' + (f", first of {each.templates} templates" if each.templates > 1 else "")
    lines = [f"  {each.name}: {each.classes()}; {prompt}"]
    for split in each.counts:
        source = f" ({each.sources[split]})" if split in each.sources else ""
        lines.append(f"    {split}: {each.split(split)}{source}")
    if each.origin:
        lines.append(f"    from: {each.origin}")
    return lines


def _table(known: Sequence[Facts]) -> Table:
    table = plain_table()
    for name in ("data", "classes", "train", "val", "test"):
        table.add_column(name, justify="left" if name == "data" else "right", no_wrap=True, style="dim")
    table.add_column("prompt of the first class", style="dim", overflow="fold")
    for each in known:
        cells = [_cell(each.counts[split]) if split in each.counts else "" for split in SPLITS]
        table.add_row(*(Text(text) for text in (each.name, f"{len(each.classnames):,}", *cells, each.prompt)))
    return table


def _cell(per_class: Sequence[int]) -> str:
    """ "340 (20)", "52 (1-9)": all images, and those of one class, least and most."""
    least, most = min(per_class), max(per_class)
    return f"{sum(per_class):,} ({most:,})" if least == most else f"{sum(per_class):,} ({least:,}-{most:,})"


def _origins(known: Sequence[Facts]) -> list[str]:
    """Where the splits come from, one line per origin that several datasets share."""
    origins: dict[str, list[str]] = {}
    for each in known:
        sources = {split: each.sources[split] for split in each.counts if split in each.sources}
        if len(set(sources.values())) == 1:
            origins.setdefault(f"all splits: {next(iter(sources.values()))}", []).append(each.name)
        elif not sources and each.origin:
            origins.setdefault(each.origin, []).append(each.name)
        elif sources:
            origins.setdefault("; ".join(f"{split}: {source}" for split, source in sources.items()), []).append(each.name)
    lines = ["  in brackets: images of one class, least and most"]
    for origin, names in origins.items():
        which = "" if len(names) == len(known) else f"{', '.join(names[:FEW])}{', ...' if len(names) > FEW else ''}: "
        lines.append(f"  {which}{origin}")
    return lines
