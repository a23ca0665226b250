"""Rendered scenes with questions: coloured shapes at four places, and what is asked about them.

A scene has one to four things, each a colour and a shape at the left, right, top or bottom. A question is of a kind (color,
shape, count, position), in one of several wordings, about one thing or about all. A class of a domain is a question followed by
one of its options, as one prompt.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch

from benchmarks.cases.multiple_choice import Item, classes_of
from benchmarks.data.dataset import TensorImages
from benchmarks.data.domain import Domain, chance
from benchmarks.mini import cache, render
from benchmarks.mini.domain_table import COLOURS, SHAPES
from benchmarks.mini.render import generator
from benchmarks.mini.shapes import PALETTE, shape_alpha

PLACES = {"left": (12, 24), "right": (36, 24), "top": (24, 12), "bottom": (24, 36)}
HELD_OUT_PAIRS = tuple(zip(COLOURS, SHAPES, strict=True))
"""Six of the 36 pairs of a colour and a shape that no scene shows but those of `combinations`. Each colour and each shape is in
one of them."""


class Kind(NamedTuple):
    """A kind of question.

    Attributes:
        options: the possible answers.
        wordings: questions of the patched task, with "{}" for the thing that is asked about.
        held_out: wordings that only the target `wordings` uses.
    """

    options: tuple[str, ...]
    wordings: tuple[str, ...]
    held_out: tuple[str, ...]


KINDS = {
    "color": Kind(
        COLOURS,
        ("what color is the {}?", "the color of the {} is", "which color does the {} have?", "color of the {}:"),
        ("the {} is painted", "tell me the color of the {}:"),
    ),
    "shape": Kind(
        SHAPES,
        ("what shape is the {} thing?", "the shape of the {} thing is", "which shape is {}?", "shape of the {} thing:"),
        ("the {} thing is a", "name the shape of the {} thing:"),
    ),
    "count": Kind(
        ("one", "two", "three", "four"),
        ("how many things?", "the number of things is", "how many things are there?", "count the things:"),
        ("how many things do you see?", "tell me the number of things:"),
    ),
    "position": Kind(
        tuple(PLACES),
        ("where is the {}?", "the position of the {} is", "on which side is the {}?", "place of the {}:"),
        ("the {} is at the", "at what place is the {}?"),
    ),
}
"""The kinds of questions. The longest prompt has 16 tokens, which is what the tiny CLIP reads."""


class Asked(NamedTuple):
    """A question about a scene, as indices.

    Attributes:
        kind: among `KINDS`.
        wording: among the wordings of the kind, those held out last.
        color: of the asked thing, among `COLOURS`.
        shape: of the asked thing, among `SHAPES`.
        answer: among the options of the kind.
    """

    kind: int
    wording: int
    color: int
    shape: int
    answer: int

    def item(self) -> Item:
        """Return the question in words."""
        name, kind = tuple(KINDS.items())[self.kind]
        about = {"color": SHAPES[self.shape], "shape": COLOURS[self.color]}
        about["position"] = f"{COLOURS[self.color]} {SHAPES[self.shape]}"
        wording = (*kind.wordings, *kind.held_out)[self.wording]
        return Item(wording.format(about.get(name)), kind.options, kind.options[self.answer])


class Set(NamedTuple):
    """A set of scenes: how many per kind of question, with held-out wordings or pairs or without."""

    kinds: tuple[str, ...]
    per_kind: int
    held_out_wordings: bool = False
    held_out_pairs: bool = False


ALL = tuple(KINDS)
SETS = {
    "train": Set(ALL, 400),
    "val": Set(ALL, 100),
    "test": Set(ALL, 200),
    "wordings": Set(ALL, 150, held_out_wordings=True),
    "combinations": Set(("color", "shape", "position"), 150, held_out_pairs=True),
}


def scene(things: Sequence[tuple[str, str, str]], rng: np.random.Generator) -> np.ndarray:
    """Draw things, each a colour, a shape and a place, on a shaded light or dark ground: uint8 [3, 48, 48]."""
    low, high = (170, 255) if rng.random() < 0.5 else (0, 80)
    picture = render.gradient(rng, render.colour(rng, low, high), render.colour(rng, low, high))
    for colour, shape, place in things:
        ink = (np.array(PALETTE[colour]) + rng.uniform(-20, 20, 3)).clip(0, 255)
        x, y = np.array(PLACES[place]) + rng.uniform(-2, 2, 2)
        picture = render.paint(picture, ink, shape_alpha(shape, x, y, rng.uniform(5.5, 7.5), rng.uniform(-0.4, 0.4)))
    return render.finish(render.grain(picture, rng, 9))


def ask(kind: str, wording: int, rng: np.random.Generator, held_out_pair: bool = False) -> tuple[np.ndarray, Asked]:
    """Draw a scene for a question. No two things of a scene share a color or a shape.

    Args:
        kind: a name in `KINDS`. Scenes to be counted have one to four things, others one or two.
        wording: index among the wordings of the kind, those held out last.
        rng: the generator.
        held_out_pair: the asked thing is one of `HELD_OUT_PAIRS`. Otherwise nothing in the scene is.
    """
    count = int(rng.integers(1, 5 if kind == "count" else 3))
    while True:
        colours, shapes = rng.permutation(len(COLOURS))[:count].tolist(), rng.permutation(len(SHAPES))[:count].tolist()
        pairs = [(COLOURS[c], SHAPES[s]) for c, s in zip(colours, shapes, strict=True)]
        if [pair in HELD_OUT_PAIRS for pair in pairs] == [held_out_pair] + [False] * (count - 1):
            break
    places = rng.permutation(len(PLACES))[:count].tolist()
    answer = {"color": colours[0], "shape": shapes[0], "count": count - 1, "position": places[0]}[kind]
    things = [(*pair, tuple(PLACES)[place]) for pair, place in zip(pairs, places, strict=True)]
    return scene(things, rng), Asked(list(KINDS).index(kind), wording, colours[0], shapes[0], answer)


def draw(name: str) -> dict[str, np.ndarray]:
    """Draw a set in `SETS`: `images` uint8 [N, 3, 48, 48] and `asked` int64 [N, 5], the fields of `Asked`.

    The kinds alternate, so that the first n images cover them evenly. Each depends only on the names of set and kind and on
    its number.
    """
    which = SETS[name]
    images, questions = [], []
    for index in range(which.per_kind):
        for kind in which.kinds:
            first, count = 0, len(KINDS[kind].wordings)
            if which.held_out_wordings:
                first, count = count, len(KINDS[kind].held_out)
            rng = generator("vqa", name, kind, str(index))
            picture, asked = ask(kind, first + index % count, rng, which.held_out_pairs)
            images.append(picture)
            questions.append(asked)
    return {"images": np.stack(images), "asked": np.array(questions, dtype=np.int64)}


def load(name: str, kind: str | None = None) -> tuple[np.ndarray, list[Asked]]:
    """Return images and questions of a set, from the cache or drawn now; with `kind` only those of this kind."""
    arrays = cache.load_or_make(f"vqa-{name}", lambda: draw(name))
    rows = slice(None) if kind is None else arrays["asked"][:, 0] == list(KINDS).index(kind)
    return arrays["images"][rows], [Asked(*map(int, row)) for row in arrays["asked"][rows]]


def domain(name: str, splits: Mapping[str, tuple[str, str | None]]) -> Domain:
    """Return a domain whose classes are the options of all its questions.

    Args:
        name: the domain's name.
        splits: the set in `SETS` of each split, and the only kind of question in it or None.
    """
    loaded = {split: load(*which) for split, which in splits.items()}
    classes = classes_of({split: [asked.item() for asked in each] for split, (_, each) in loaded.items()})
    datasets = {split: TensorImages(torch.from_numpy(loaded[split][0]), labels) for split, labels in classes.labels.items()}
    made = Domain(
        name,
        classes.names,
        ("{}",),
        train=datasets.get("train"),
        val=datasets.get("val"),
        test=datasets.get("test"),
        licence="drawn by this project",
        source="rendered: one to four colored shapes",
        split_sources=dict.fromkeys(splits, "rendered scenes"),
        published=True,
        groups=classes.groups,
    )
    return replace(made, notes=(f"{name}: random answers are right in {chance(made):.1f} % of the test images",))
