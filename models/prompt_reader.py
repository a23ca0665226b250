"""How a model's tokenizer reads class prompts: classes whose prompts are equal to it are refused, prompts that are cut are
reported.

Two classes with equal token rows have equal text features, so no image can ever tell them apart, before or after training.
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
    """What is read of a domain."""

    @property
    def name(self) -> str: ...
    @property
    def classnames(self) -> tuple[str, ...]: ...
    @property
    def templates(self) -> tuple[str, ...]: ...


class Pair(NamedTuple):
    """Two classes with equal token rows: their positions, the index of the first template of these rows, and why."""

    first: int
    second: int
    template: int
    reason: str


class PromptReader:
    """Class prompts as token rows. Each list of names in a template is tokenised once.

    A copy of an encoder shares its reader; a pickled reader leaves its rows behind.

    Args:
        tokenizer: strings -> ids [B, context]; open_clip's also take `context_length`.
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
        """Token ids int64 [C, context] of the class names in a template, on the CPU."""
        key = (template, tuple(classnames))
        if key not in self._rows:
            self._rows[key] = self.tokenizer(fill(*key)).to("cpu", torch.int64)
        return self._rows[key]

    def keys(self, prompted: Prompted) -> list[bytes]:
        """For each class a digest of its token rows in every template: equal keys are equal heads."""
        each = [_bytes(self.rows(template, prompted.classnames)) for template in prompted.templates]
        return [hashlib.blake2b(b"".join(rows)).digest() for rows in zip(*each, strict=True)]

    def pairs(self, prompted: Prompted) -> list[Pair]:
        """Each class whose rows equal those of an earlier class in some template, with the first such class and template."""
        found: dict[tuple[int, int], Pair] = {}
        names = prompted.classnames
        for number, template in enumerate(prompted.templates):
            rows, seen = self.rows(template, names), {}  # type: ignore[var-annotated]
            for label, key in enumerate(_bytes(rows)):
                first = seen.setdefault(key, label)
                if first != label and (first, label) not in found:
                    found[first, label] = Pair(first, label, number, self._reason(template, names[first], names[label]))
        return list(found.values())

    def lengths(self, template: str, classnames: Sequence[str]) -> dict[int, int]:
        """The classes whose prompt is longer than the context, and how many tokens it has.

        Measured with a longer context. A tokenizer that does not take `context_length` gets the prompt without its last
        character: where that changes nothing the prompt is taken as cut, at one token more than the context.
        """
        rows = self.rows(template, classnames)
        context, pad = rows.shape[1], int(self.tokenizer([""])[0, -1])
        # SigLIP pads with its end-of-text id, so the last position says nothing there.
        full = [label for label, used in enumerate((rows[:, -2:] != pad).any(dim=1).tolist()) if used]
        if not full:
            return {}
        prompts = fill(template, [classnames[label] for label in full])
        try:
            longer = self.tokenizer(prompts, context_length=8 * context)
        except TypeError:
            shorter = self.tokenizer([prompt[:-1] for prompt in prompts]).cpu()
            same = [bool((rows[label] == other).all()) for label, other in zip(full, shorter, strict=True)]
            return {label: context + 1 for label, cut in zip(full, same, strict=True) if cut}
        counts = {label: (_used(rows[label], pad), _used(row, pad)) for label, row in zip(full, longer, strict=True)}
        return {label: whole + context - read for label, (read, whole) in counts.items() if whole > read}

    def read_text(self, template: str, classname: str) -> str:
        """A prompt as the model gets it: the whole one, or what is left of it after the cut."""
        [prompt] = fill(template, [classname])
        if not self.lengths(template, [classname]):
            return prompt
        row = self.rows(template, [classname])[0]
        # The longest beginning that gives other tokens than the whole: all after it is not read.
        low, high = 0, len(prompt)
        while low < high:
            middle = (low + high) // 2
            same = bool((self.tokenizer([prompt[:middle]])[0].to("cpu", torch.int64) == row).all())
            low, high = (low, middle) if same else (middle + 1, high)
        return prompt[:low].rstrip()

    def _reason(self, template: str, first: str, second: str) -> str:
        """Why two names give equal rows, as what follows "they"."""
        if first == second:
            return SAME_NAME
        if first.casefold() == second.casefold():
            return "differ only in capital letters, which its tokenizer ignores"
        context = self.rows(template, (first, second)).shape[1]
        if self.lengths(template, (first, second)):
            return f"differ only after its {context} tokens"
        return "differ only in what its tokenizer ignores (capitals, accents, punctuation, blanks, letters unknown to it)"


def check_prompts(reader: PromptReader, domains: Sequence[Any], together: bool = False) -> list[str]:
    """Refuse classes that are one prompt to the model, and return sentences on what else a reader of numbers should know.

    Args:
        domains: the tasks of a stream; `part_of` of a domain joins the steps of one dataset.
        together: classes of different tasks compete (protocols "class" and "agnostic"). Two datasets may have a class in
            common, so there equal prompts are only reported.

    Returns: sentences on prompts that are cut, on classes that are equal in some evaluation templates only, on published
        class lists that hold a class twice, and on classes that several tasks have.

    Raises UserError, naming both classes and the reason, for classes of one dataset that are equal in the first template, the
    one that trains.
    """
    wholes = list(map(_joined, _by_dataset(domains)))
    said = [sentence for whole in wholes for sentence in _check_one(reader, whole)]
    return said + _shared(reader, wholes) if together else said


class _Whole(NamedTuple):
    """All classes of one dataset."""

    name: str
    classnames: tuple[str, ...]
    templates: tuple[str, ...]
    published: bool


def _by_dataset(domains: Sequence[Any]) -> list[list[Any]]:
    """The domains, those that are steps of one dataset together."""
    numbered = enumerate(domains)
    grouped = groupby(numbered, lambda pair: getattr(pair[1], "part_of", None) or pair[0])
    return [[domain for _, domain in group] for _, group in grouped]


def _joined(steps: Sequence[Any]) -> _Whole:
    names = tuple(name for step in steps for name in step.classnames)
    name = getattr(steps[0], "part_of", None) or steps[0].name
    return _Whole(name, names, tuple(steps[0].templates), all(getattr(step, "published", False) for step in steps))


def _check_one(reader: PromptReader, whole: _Whole) -> list[str]:
    said, model = [], f" {reader.model!r}" if reader.model else ""
    pairs = reader.pairs(whole)
    # A published list is the benchmark, with its flaws, as long as the model reads it whole.
    wrong = [p for p in pairs if p.template == 0 and not (whole.published and p.reason == SAME_NAME)]
    if wrong:
        raise UserError(f"{_are_one(whole, wrong)} the model{model}: they {wrong[0].reason}. {_remedy(whole, wrong[0])}")
    if twice := [p for p in pairs if p.template == 0]:
        said.append(
            f"{_are_one(whole, twice)} any model: they {SAME_NAME} in the published list, so no image can tell them apart"
        )
    if partly := [p for p in pairs if p.template > 0]:
        template = whole.templates[partly[0].template]
        said.append(
            f"{_are_one(whole, partly)} the model{model} in the template {shortened(template)!r} (not in the first): they "
            f"{partly[0].reason}"
        )
    cut: dict[int, tuple[int, str]] = {}
    for template in whole.templates:
        for label, count in reader.lengths(template, whole.classnames).items():
            cut.setdefault(label, (count, template))
    if cut:
        label, (count, template) = max(cut.items(), key=lambda item: item[1][0])
        context = reader.rows(template, whole.classnames).shape[1]
        said.append(
            f"prompts of {len(cut):,} of the {len(whole.classnames):,} classes of {whole.name} are longer than the {context} "
            f"tokens that the model{model} reads, and are cut there: {shortened(whole.classnames[label])!r} in "
            f"{shortened(template)!r} has {count}"
        )
    return said


def _are_one(whole: _Whole, pairs: Sequence[Pair]) -> str:
    first, second = (shortened(whole.classnames[label]) for label in pairs[0][:2])
    more = f" (and {len(pairs) - 1} more)" if len(pairs) > 1 else ""
    return f"The classes {first!r} and {second!r} of {whole.name}{more} are one prompt to"


def _remedy(whole: _Whole, pair: Pair) -> str:
    if whole.published:
        return "Take a model that reads more tokens (--model)."
    if "tokens" in pair.reason:
        return (
            "Give shorter names with --classnames FILE (lines of folder<TAB>name), a shorter template with --templates FILE, "
            "or take a model that reads more tokens."
        )
    return "Give them different names with --classnames FILE (lines of folder<TAB>name), or make one class of them."


def _shared(reader: PromptReader, wholes: Sequence[_Whole]) -> list[str]:
    """Sentences on classes that two tasks have, by prompt or by name."""
    by_key: dict[Any, tuple[int, str]] = {}
    by_name: dict[str, tuple[int, str]] = {}
    same: list[str] = []
    alike: list[str] = []
    for number, whole in enumerate(wholes):
        for name, key in zip(whole.classnames, reader.keys(whole), strict=True):
            other, theirs = by_key.setdefault((whole.templates, key), (number, name))
            named, _ = by_name.setdefault(name.casefold(), (number, name))
            if other != number:
                same.append(f"{shortened(theirs)!r} of {wholes[other].name} and {shortened(name)!r} of {whole.name}")
            elif named != number:
                alike.append(f"{shortened(name)!r} of {wholes[named].name} and of {whole.name}")
    said = []
    if same:
        said.append(
            f"{_count(same, 'class')} with the same prompt in two tasks ({_few(same)}): each counts as one class, "
            "that of the image's own task"
        )
    if alike:
        said.append(f"{_count(alike, 'class')} of the same name in two tasks ({_few(alike)}), told apart only by the templates")
    return said


def _count(items: Sequence[str], noun: str) -> str:
    return f"{len(items):,} {noun}{'' if len(items) == 1 else 'es'}"


def _few(items: Sequence[str]) -> str:
    return "; ".join(items[:3]) + ("; ..." if len(items) > 3 else "")


def _bytes(rows: Tensor) -> list[bytes]:
    return [row.tobytes() for row in rows.numpy()]


def _used(row: Tensor, pad: int) -> int:
    """Positions of a row up to its last id that is not padding."""
    used = (row != pad).nonzero()
    return int(used.max()) + 1 if len(used) else 0
