"""Class prompts as the model's tokenizer reads them: refuse classes with equal prompts, report prompts that are cut.

Two classes with equal token rows have equal text features, so no image can ever separate them, before or after training.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from itertools import groupby
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from models.prompts import fill
from models.registry import UserError, shortened

SAME_NAME = "have the same name"


class Prompted(Protocol):
    """The attributes of a domain that prompts are made of."""

    @property
    def name(self) -> str:
        """The domain's name."""

    @property
    def classnames(self) -> tuple[str, ...]:
        """The class names, by label."""

    @property
    def templates(self) -> tuple[str, ...]:
        """The prompt templates, with "{}" for the class name."""


class Pair(NamedTuple):
    """Two classes with equal token rows: their labels, the index of the first such template, and the reason."""

    first: int
    second: int
    template: int
    reason: str


class PromptReader:
    """Class prompts as token rows. Each list of names in a template is tokenised once.

    A copy of an encoder shares its reader. A pickled reader does not contain the rows.

    Args:
        tokenizer: strings -> ids [B, context]. open_clip's tokenizers also take `context_length`.
        model: the model's name, for messages.
    """

    def __init__(self, tokenizer: Callable[..., Tensor], model: str = ""):
        self.tokenizer = tokenizer
        self.model = model
        self._rows: dict[tuple[str, tuple[str, ...]], Tensor] = {}

    def __deepcopy__(self, memo: dict[int, Any]) -> PromptReader:
        return self

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_rows": {}}

    def rows(self, template: str, classnames: Sequence[str]) -> Tensor:
        """Return token ids int64 [C, context] of the class names in a template, on the CPU."""
        key = (template, tuple(classnames))
        if key not in self._rows:
            self._rows[key] = self.tokenizer(fill(*key)).to("cpu", torch.int64)
        return self._rows[key]

    def keys(self, prompted: Prompted) -> list[bytes]:
        """Return a digest of each class's token rows in all templates. Equal digests mean equal heads."""
        rows_by_template = [_bytes(self.rows(template, prompted.classnames)) for template in prompted.templates]
        return [hashlib.blake2b(b"".join(rows)).digest() for rows in zip(*rows_by_template, strict=True)]

    def pairs(self, prompted: Prompted) -> list[Pair]:
        """Return the classes whose rows equal those of an earlier class in a template.

        Each pair has the first such class and the first such template. Options of different questions (`Domain.groups`) never
        compete, so they may be equal.
        """
        pairs: dict[tuple[int, int], Pair] = {}
        names = prompted.classnames
        groups = getattr(prompted, "groups", None) or [0] * len(names)
        for number, template in enumerate(prompted.templates):
            first_label: dict[tuple[int, bytes], int] = {}
            for label, key in enumerate(zip(groups, _bytes(self.rows(template, names)), strict=True)):
                first = first_label.setdefault(key, label)
                if first != label and (first, label) not in pairs:
                    pairs[first, label] = Pair(first, label, number, self._reason(template, names[first], names[label]))
        return list(pairs.values())

    def lengths(self, template: str, classnames: Sequence[str]) -> dict[int, int]:
        """Return the number of tokens of each prompt that is longer than the context, by label.

        Prompts are measured with a longer context. A tokenizer that does not take `context_length` gets the prompt without its
        last character instead. If the rows do not change, the prompt counts as cut, with one token more than the context.
        """
        rows = self.rows(template, classnames)
        context, pad = rows.shape[1], int(self.tokenizer([""])[0, -1])
        # SigLIP pads with its end-of-text id, so its last position carries no information.
        full = [label for label, used in enumerate((rows[:, -2:] != pad).any(dim=1).tolist()) if used]
        if not full:
            return {}
        prompts = fill(template, [classnames[label] for label in full])
        try:
            longer = self.tokenizer(prompts, context_length=8 * context)
        except TypeError:
            shorter = self.tokenizer([prompt[:-1] for prompt in prompts]).cpu()
            unchanged = [bool((rows[label] == other).all()) for label, other in zip(full, shorter, strict=True)]
            return {label: context + 1 for label, cut in zip(full, unchanged, strict=True) if cut}
        counts = {label: (_used(rows[label], pad), _used(row, pad)) for label, row in zip(full, longer, strict=True)}
        return {label: whole + context - read for label, (read, whole) in counts.items() if whole > read}

    def read_text(self, template: str, classname: str) -> str:
        """Return a prompt as the model reads it: whole, or the part before the cut."""
        [prompt] = fill(template, [classname])
        if not self.lengths(template, [classname]):
            return prompt
        row = self.rows(template, [classname])[0]
        # Search for the shortest beginning with the same tokens as the whole. The rest is not read.
        low, high = 0, len(prompt)
        while low < high:
            middle = (low + high) // 2
            unchanged = bool((self.tokenizer([prompt[:middle]])[0].to("cpu", torch.int64) == row).all())
            low, high = (low, middle) if unchanged else (middle + 1, high)
        return prompt[:low].rstrip()

    def _reason(self, template: str, first: str, second: str) -> str:
        """Return the reason why two names give equal rows, as a phrase that follows "they"."""
        if first == second:
            return SAME_NAME
        if first.casefold() == second.casefold():
            return "differ only in capital letters, which its tokenizer ignores"
        context = self.rows(template, (first, second)).shape[1]
        if self.lengths(template, (first, second)):
            return f"differ only after its {context} tokens"
        return "differ only in what its tokenizer ignores (capitals, accents, punctuation, blanks, letters unknown to it)"


def check_prompts(reader: PromptReader, domains: Sequence[Prompted], together: str | None = None) -> list[str]:
    """Refuse classes with equal prompts, and return warnings about the prompts of a stream.

    Two datasets may share a class. Equal prompts of two datasets are therefore only reported.

    Args:
        reader: the model's prompt reader.
        domains: the tasks of the stream. `part_of` of a domain joins the steps of one dataset.
        together: the rule for shared classes (`benchmarks.plan.DUPLICATES`) if classes of different tasks compete (protocols
            "class" and "agnostic"). None: they do not.

    Returns:
        Sentences on prompts that are cut, on classes that are equal in some evaluation templates only, on published class
        lists that contain a class twice, and on classes that several tasks share.

    Raises:
        UserError: classes of one dataset are equal in the first template, which trains. The message names both classes and the
            reason.
    """
    datasets = list(map(_joined, _by_dataset(domains)))
    warnings = [sentence for dataset in datasets for sentence in _check_one(reader, dataset)]
    return warnings + _shared(reader, datasets, together) if together else warnings


class _Dataset(NamedTuple):
    """All classes of one dataset."""

    name: str
    classnames: tuple[str, ...]
    templates: tuple[str, ...]
    published: bool
    groups: tuple[int, ...] | None


def _by_dataset(domains: Sequence[Prompted]) -> list[list[Prompted]]:
    """Return the domains grouped by dataset."""
    numbered = enumerate(domains)
    grouped = groupby(numbered, lambda pair: getattr(pair[1], "part_of", None) or pair[0])
    return [[domain for _, domain in group] for _, group in grouped]


def _joined(steps: Sequence[Prompted]) -> _Dataset:
    """Return the dataset whose classes are those of the steps."""
    names = tuple(name for step in steps for name in step.classnames)
    name = getattr(steps[0], "part_of", None) or steps[0].name
    groups = getattr(steps[0], "groups", None) if len(steps) == 1 else None
    return _Dataset(name, names, tuple(steps[0].templates), all(getattr(step, "published", False) for step in steps), groups)


def _check_one(reader: PromptReader, dataset: _Dataset) -> list[str]:
    """Refuse equal prompts within a dataset and return warnings about it."""
    warnings, model = [], f" {reader.model!r}" if reader.model else ""
    pairs = reader.pairs(dataset)
    # A published list belongs to the benchmark, with its flaws, if the model reads it uncut.
    refused = [p for p in pairs if p.template == 0 and not (dataset.published and p.reason == SAME_NAME)]
    if refused:
        raise UserError(
            f"{_are_one(dataset, refused)} the model{model}: they {refused[0].reason}. {_remedy(dataset, refused[0])}"
        )
    if published_twice := [p for p in pairs if p.template == 0]:
        warnings.append(
            f"{_are_one(dataset, published_twice)} any model: they {SAME_NAME} in the published list, so no image can "
            "separate them"
        )
    if partial := [p for p in pairs if p.template > 0]:
        template = dataset.templates[partial[0].template]
        warnings.append(
            f"{_are_one(dataset, partial)} the model{model} in the template {shortened(template)!r} (not in the first): they "
            f"{partial[0].reason}"
        )
    too_long: dict[int, tuple[int, str]] = {}
    for template in dataset.templates:
        for label, count in reader.lengths(template, dataset.classnames).items():
            too_long.setdefault(label, (count, template))
    if too_long:
        label, (count, template) = max(too_long.items(), key=lambda item: item[1][0])
        context = reader.rows(template, dataset.classnames).shape[1]
        warnings.append(
            f"prompts of {len(too_long):,} of the {len(dataset.classnames):,} classes of {dataset.name} are longer than the "
            f"{context} tokens that the model{model} reads, and are cut there: {shortened(dataset.classnames[label])!r} in "
            f"{shortened(template)!r} has {count}"
        )
    return warnings


def _are_one(dataset: _Dataset, pairs: Sequence[Pair]) -> str:
    """Return the start of a sentence on classes with equal prompts."""
    first, second = (shortened(dataset.classnames[label]) for label in pairs[0][:2])
    more = f" (and {len(pairs) - 1} more)" if len(pairs) > 1 else ""
    return f"The classes {first!r} and {second!r} of {dataset.name}{more} have the same prompt for"


def _remedy(dataset: _Dataset, pair: Pair) -> str:
    """Return the sentence that says how to avoid equal prompts."""
    if dataset.published:
        return "Use a model that reads more tokens (--model)."
    if "tokens" in pair.reason:
        return (
            "Give shorter names with --classnames FILE (lines of folder<TAB>name), a shorter template with --templates FILE, "
            "or use a model that reads more tokens."
        )
    return "Give them different names with --classnames FILE (lines of folder<TAB>name), or merge the two classes."


SHARED = {
    "own": "each counts as one class, that of the image's own task",
    "index": "each is a class of its task, and the first task's wins",
    "merge": "each counts as one class, whatever the task",
}
"""What a class with the same prompt in two tasks is, by `benchmarks.plan.DUPLICATES`."""


def _shared(reader: PromptReader, datasets: Sequence[_Dataset], rule: str) -> list[str]:
    """Return warnings about classes that two tasks share, by prompt or by name."""
    by_key: dict[Any, tuple[int, str]] = {}
    by_name: dict[str, tuple[int, str]] = {}
    same: list[str] = []
    alike: list[str] = []
    for number, dataset in enumerate(datasets):
        for name, key in zip(dataset.classnames, reader.keys(dataset), strict=True):
            other, other_name = by_key.setdefault((dataset.templates, key), (number, name))
            other_named, _ = by_name.setdefault(name.casefold(), (number, name))
            if other != number:
                same.append(f"{shortened(other_name)!r} of {datasets[other].name} and {shortened(name)!r} of {dataset.name}")
            elif other_named != number:
                alike.append(f"{shortened(name)!r} of {datasets[other_named].name} and of {dataset.name}")
    warnings = []
    if same:
        warnings.append(f"{_count(same, 'class')} with the same prompt in two tasks ({_few(same)}): {SHARED[rule]}")
    if alike:
        merged = "; each counts as one class" if rule == "merge" else ""
        several = f"{_count(alike, 'class')} of the same name in two tasks ({_few(alike)})"
        warnings.append(f"{several}, which differ only in the templates{merged}")
    return warnings


def _count(items: Sequence[str], noun: str) -> str:
    """Return a count with the noun, such as "2 classes"."""
    return f"{len(items):,} {noun}{'' if len(items) == 1 else 'es'}"


def _few(items: Sequence[str]) -> str:
    """Return the first three items, and an ellipsis for more."""
    return "; ".join(items[:3]) + ("; ..." if len(items) > 3 else "")


def _bytes(rows: Tensor) -> list[bytes]:
    """Return each token row as bytes."""
    return [row.tobytes() for row in rows.numpy()]


def _used(row: Tensor, pad: int) -> int:
    """Return the number of positions of a row up to its last id that is not padding."""
    used = (row != pad).nonzero()
    return int(used.max()) + 1 if len(used) else 0
