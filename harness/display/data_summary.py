"""Summary of the data of a command: classes, an example prompt, counts by split and class, and the source of each split.

`bench`, `measure` and `data verify` print it.
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
"""Up to this many datasets are described in lines, more in a table. Also the number of class names shown."""

# Names that are labels or codes: 0, 1, "2."; class 3, c0; ImageNet's n01440764.
_NUMBER = re.compile(r"[+-]?\d+([.,]\d*)?")
_CODE = re.compile(r"(?:(?:class|label|category|cat|cls|id|c|n)[ _-]?)?\d+", re.IGNORECASE)


@dataclass(frozen=True)
class DatasetSummary:
    """Facts about one dataset. The steps of a class-incremental stream are summarised as one dataset.

    `counts[split]` holds the number of images of each class, or of each question of a dataset with `questions`. A missing split
    has no key.
    """

    name: str
    class_names: tuple[str, ...]
    prompt: str
    templates: int
    counts: dict[str, list[int]]
    sources: dict[str, str]
    steps: int
    published: bool
    trained: bool
    origin: str
    questions: int = 0

    def classes_text(self) -> str:
        """Return the number of classes and the first few names."""
        if self.questions:
            return f"{self.questions:,} questions with {len(self.class_names):,} options: {_first_names(self.class_names)}"
        steps = f" in {self.steps} steps" if self.steps > 1 else ""
        return f"{len(self.class_names):,} classes{steps}: {_first_names(self.class_names)}"

    def split_text(self, split: str) -> str:
        """Return the images of a split and the range per class: "340 images, 20 per class" or "52 images, 1 to 9 per class"."""
        per_class = self.counts[split]
        least, most = min(per_class), max(per_class)
        total = sum(per_class)
        span = f"{most:,}" if least == most else f"{least:,} to {most:,}"
        return f"{total:,} image{'s' * (total != 1)}, {span} per {'question' if self.questions else 'class'}"

    def warnings(self) -> list[str]:
        """Return sentences on classes without images and on class names that are only numbers or codes."""
        sentences = []
        for split, kind in (("train", "training"), ("test", "test")):
            empty = [name for name, n in zip(self.class_names, self.counts.get(split, ()), strict=False) if not n]
            if not empty or self.questions or (split == "train" and not self.trained):
                continue
            one = len(empty) == 1
            if split == "train":
                consequence = "This class is not trained" if one else "These classes are not trained"
            else:
                consequence = f"The accuracy on {'this class' if one else 'these classes'} is not measured"
            sentences.append(
                f"{len(empty):,} of the {len(self.class_names):,} classes of {self.name} {'has' if one else 'have'} no {kind} "
                f"images ({_first_names(empty)}). {consequence}."
            )
        if not self.published and are_codes(self.class_names):
            sentences.append(
                f"The class names of {self.name} are numbers or codes ({', '.join(self.class_names[:FEW])}). The model reads "
                f'"{self.prompt}". Give real names with --classnames FILE: lines of folder<TAB>name, or one name per line in '
                "class order."
            )
        return sentences


def are_codes(class_names: Sequence[str]) -> bool:
    """Return whether all names are numbers, or all are codes such as "class 3", "c0" and "n01440764"."""
    return all(map(_NUMBER.fullmatch, class_names)) or all(map(_CODE.fullmatch, class_names))


def summarise_datasets(
    domains: Sequence[Domain], reader: PromptReader | None = None, trained: int | None = None
) -> list[DatasetSummary]:
    """Summarise datasets, with the steps of a class-incremental stream as one.

    Args:
        domains: trained domains first, then held-out ones.
        reader: prompt reader of the model; None shows prompts as written.
        trained: number of trained domains; None means all.
    """
    from benchmarks.data.dataset import targets_of

    trained = len(domains) if trained is None else trained
    summaries = []
    for _, group in groupby(enumerate(domains), lambda pair: pair[1].part_of or pair[0]):
        numbers, steps = zip(*group, strict=True)
        first, is_trained = steps[0], numbers[0] < trained
        counts: dict[str, list[int]] = {}
        for split in SPLITS if is_trained else ("test",):
            for step in steps:
                if (dataset := getattr(step, split)) is not None:
                    # A class, or the question that it is an option of.
                    units = range(len(step.classnames)) if step.groups is None else step.groups
                    images = Counter(units[label] for label in targets_of(dataset))
                    counts.setdefault(split, []).extend(images[unit] for unit in dict.fromkeys(units))
        template, class_name = first.templates[0], first.classnames[0]
        summaries.append(
            DatasetSummary(
                name=first.part_of or first.name,
                class_names=tuple(name for step in steps for name in step.classnames),
                prompt=first.prompts(0)[0] if reader is None else reader.read_text(template, class_name),
                templates=len(first.templates),
                counts=counts,
                sources={split: first.split_sources[split] for split in SPLITS if split in first.split_sources},
                steps=len(steps),
                published=first.published,
                trained=is_trained,
                origin=first.source if not first.published else "",
                questions=len(set(first.groups or ())),
            )
        )
    return summaries


def print_data_summary(
    domains: Sequence[Domain],
    say: Callable[..., None],
    show: Callable[[Table], None],
    reader: PromptReader | None = None,
    trained: int | None = None,
    warnings: Sequence[str] = (),
) -> None:
    """Print the summary of datasets: lines for up to three datasets, a table for more. Remarks and warnings follow.

    Args:
        domains: trained domains first, then held-out ones, as they will be used (limited, with a validation split).
        say: say(text, style=...) prints a line.
        show: prints a table.
        reader: prompt reader of the model; None shows prompts as written.
        trained: number of trained domains; None means all.
        warnings: further sentences on prompts (`models.prompt_reader.check_prompts`).
    """
    summaries = summarise_datasets(domains, reader, trained)
    if len(summaries) <= FEW:
        for summary in summaries:
            for line in _lines(summary):
                say(line, style="dim")
    else:
        show(_table(summaries))
        for line in _origins(summaries):
            say(line, style="dim")
    print_remarks(domains, say)
    for warning in (*warnings, *(sentence for summary in summaries for sentence in summary.warnings())):
        say(f"warning: {warning}", style="yellow")


def print_remarks(domains: Iterable[Domain], say: Callable[..., None]) -> None:
    """Print the notes and warnings of data readers with `say(text, style=...)`, each sentence once."""
    domains = list(domains)
    for note in dict.fromkeys(note for domain in domains for note in domain.notes):
        say(note, style="dim")
    for warning in dict.fromkeys(warning for domain in domains for warning in domain.warnings):
        say(f"warning: {warning}", style="yellow")


def _first_names(names: Sequence[str]) -> str:
    return ", ".join(shortened(name) for name in names[:FEW]) + ", ..." * (len(names) > FEW)


def _lines(summary: DatasetSummary) -> list[str]:
    prompt = f'prompt "{summary.prompt}"'
    if summary.templates > 1:
        prompt += f", first of {summary.templates} templates"
    lines = [f"  {summary.name}: {summary.classes_text()}; {prompt}"]
    for split in summary.counts:
        source = f" ({summary.sources[split]})" if split in summary.sources else ""
        lines.append(f"    {split}: {summary.split_text(split)}{source}")
    if summary.origin:
        lines.append(f"    from: {summary.origin}")
    return lines


def _table(summaries: Sequence[DatasetSummary]) -> Table:
    table = plain_table()
    for name in ("data", "classes", "train", "val", "test"):
        table.add_column(name, justify="left" if name == "data" else "right", no_wrap=True, style="dim")
    table.add_column("prompt of the first class", style="dim", overflow="fold")
    for summary in summaries:
        cells = [_cell(summary.counts[split]) if split in summary.counts else "" for split in SPLITS]
        table.add_row(*(Text(text) for text in (summary.name, f"{len(summary.class_names):,}", *cells, summary.prompt)))
    return table


def _cell(per_class: Sequence[int]) -> str:
    """Format the images of a split and the range per class: "340 (20)" or "52 (1-9)"."""
    least, most = min(per_class), max(per_class)
    return f"{sum(per_class):,} ({most:,})" if least == most else f"{sum(per_class):,} ({least:,}-{most:,})"


def _origins(summaries: Sequence[DatasetSummary]) -> list[str]:
    """Return the sources of the splits, one line per source that several datasets share."""
    origins: dict[str, list[str]] = {}
    for summary in summaries:
        sources = {split: summary.sources[split] for split in summary.counts if split in summary.sources}
        if len(set(sources.values())) == 1:
            origins.setdefault(f"all splits: {next(iter(sources.values()))}", []).append(summary.name)
        elif not sources and summary.origin:
            origins.setdefault(summary.origin, []).append(summary.name)
        elif sources:
            origins.setdefault("; ".join(f"{split}: {source}" for split, source in sources.items()), []).append(summary.name)
    units = "class or question" if any(summary.questions for summary in summaries) else "class"
    lines = [f"  in parentheses: images per {units}, smallest to largest"]
    for origin, names in origins.items():
        which = "" if len(names) == len(summaries) else f"{', '.join(names[:FEW])}{', ...' if len(names) > FEW else ''}: "
        lines.append(f"  {which}{origin}")
    return lines
