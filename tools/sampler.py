"""Pretraining batches: pictures of the pool in fixed shares, composed and captioned."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from tools.captions import caption
from tools.compose import Composer, Look
from tools.pool import Pool

_PLAIN_LOOK = Look()
_WRITTEN = Look(turn=0.25, scale=(0.45, 0.9), shift=0.1, elastic=0.05, thicken=0.5, white_on_black=0.5, plate=0.15)

# No part may leave the picture, because the number of things is the class.
_WHOLE = Look(turn=0.2, scale=(0.75, 0.95), shift=0.02, elastic=0.0, lines=0.0, plate=0.0)

COLOURS = {
    "red": (0.84, 0.16, 0.16),
    "green": (0.15, 0.63, 0.25),
    "blue": (0.18, 0.3, 0.83),
    "yellow": (0.94, 0.85, 0.18),
    "purple": (0.54, 0.2, 0.67),
    "orange": (0.96, 0.54, 0.12),
    "pink": (0.95, 0.5, 0.7),
    "brown": (0.45, 0.28, 0.12),
    "grey": (0.5, 0.5, 0.5),
    "white": (0.97, 0.97, 0.97),
    "black": (0.04, 0.04, 0.04),
}


class Group(NamedTuple):
    """A share of every batch.

    A subject is drawn with weight (number of pictures) ** `tempering`, then one of its pictures. Subjects with fewer than
    `fewest` pictures are left out. A share `coloured` of the pictures has a named colour.
    """

    share: float
    kinds: tuple[str, ...]
    tempering: float
    look: Look
    coloured: float = 0.0
    fewest: int = 1


MASK_GROUPS: dict[str, Group] = {
    "pictograms": Group(0.22, ("nature", "transport"), 0.0, _PLAIN_LOOK),
    "icons": Group(0.22, ("icon", "objects", "buttons"), 0.6, _PLAIN_LOOK, coloured=0.15, fewest=3),
    "brands": Group(0.10, ("logos",), 0.0, Look(turn=0.15, lines=0.05, plate=0.4)),
    "logos": Group(0.02, ("logo",), 0.6, Look(turn=0.15, lines=0.05, plate=0.4), fewest=3),
    "letters": Group(0.09, ("letters",), 0.0, Look(turn=0.35, scale=(0.4, 0.9), elastic=0.03, lines=0.2, plate=0.1)),
    "digits": Group(0.04, ("digits",), 0.0, _WRITTEN),
    "written": Group(0.07, ("digits-hand",), 0.0, _WRITTEN),
    "shapes": Group(0.07, ("shapes",), 0.0, Look(scale=(0.25, 0.7), elastic=0.0, lines=0.0, plate=0.0), coloured=1.0),
    "counting": Group(0.07, ("counting",), 0.0, _WHOLE),
}
# The same word as a letter, a digit or a logo is another subject: the fruit 'apple' is not the brand.
_SORTS = {
    "letters": "letter",
    "counting": "counting",
    "digits": "digit",
    "digits-hand": "digit",
    "logos": "logo",
    "logo": "logo",
}
PICTURE_GROUP = Group(0.10, ("emoji", "nature", "transport", "logos", "logo", "objects", "buttons"), 0.5, _PLAIN_LOOK)


class Batch(NamedTuple):
    """Images float [B, 3, 48, 48] in 0..1, one caption for each of the U subjects, and the subject of each image [B]."""

    images: Tensor
    captions: list[str]
    subjects: Tensor


class Sampler:
    """Draws seeded batches from the pool."""

    def __init__(self, pool: Pool, batch_size: int, seed: int):
        self.rng = np.random.default_rng(seed)
        self.composer = Composer(torch.Generator().manual_seed(seed))
        self.pool = pool
        self.counts = {name: max(1, round(group.share * batch_size)) for name, group in MASK_GROUPS.items()}
        self.picture_count = batch_size - sum(self.counts.values())
        self.members = {name: _members(pool.mask_kinds, pool.mask_subjects, g) for name, g in MASK_GROUPS.items()}
        self.picture_members = _members(pool.picture_kinds, pool.picture_subjects, PICTURE_GROUP)

    def batch(self, ease: float = 0.0) -> Batch:
        """Return the next batch; `ease` is from 1 (white on black, hardly moved) to 0 (the looks of the groups)."""
        images, keys, kinds = [], [], []
        for name, group in MASK_GROUPS.items():
            indices = self._draw(self.members[name], self.counts[name])
            look = group.look.eased(0.0 if group.coloured == 1.0 else ease)
            inks, words = self._inks(len(indices), group.coloured)
            images.append(self.composer.inked(torch.from_numpy(self.pool.masks[indices]), look, inks))
            subjects = self.pool.mask_subjects[indices]
            keys += [f"{word}{subject}" for word, subject in zip(words, subjects, strict=True)]
            kinds += list(self.pool.mask_kinds[indices])
        indices = self._draw(self.picture_members, self.picture_count)
        images.append(self.composer.coloured(torch.from_numpy(self.pool.pictures[indices]), PICTURE_GROUP.look))
        keys += list(self.pool.picture_subjects[indices])
        kinds += list(self.pool.picture_kinds[indices])
        identities = [f"{_SORTS.get(kind, '')}:{key}" for kind, key in zip(kinds, keys, strict=True)]
        _, first, inverse = np.unique(identities, return_index=True, return_inverse=True)
        texts = [caption(kinds[i], keys[i], self.rng) for i in first]
        return Batch(torch.cat(images), texts, torch.from_numpy(inverse))

    def state(self) -> dict[str, Any]:
        """Return the random state, from which `restore` continues with the next batch."""
        return {"numpy": self.rng.bit_generator.state, "torch": self.composer.generator.get_state()}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Continue from a state that `state` returned."""
        self.rng.bit_generator.state = state["numpy"]
        self.composer.generator.set_state(state["torch"])

    def _draw(self, members: tuple[list[np.ndarray], np.ndarray], count: int) -> np.ndarray:
        choices, weights = members
        subjects = self.rng.choice(len(choices), count, p=weights)
        return np.array([choices[s][self.rng.integers(len(choices[s]))] for s in subjects])

    def _inks(self, count: int, probability: float) -> tuple[Tensor | None, list[str]]:
        """Return named colours for a share of the pictures: RGB [count, 3] (NaN: any colour), and 'red ' or '' for captions."""
        if not probability:
            return None, [""] * count
        names = list(COLOURS)
        inks, words = np.full((count, 3), np.nan, dtype=np.float32), [""] * count
        for index in np.flatnonzero(self.rng.random(count) < probability):
            # The first six are the colours of the domain `shapes` and are drawn most often.
            word = names[self.rng.integers(6)] if self.rng.random() < 0.7 else names[self.rng.integers(len(names))]
            inks[index] = (np.array(COLOURS[word]) + self.rng.uniform(-0.1, 0.1, 3)).clip(0, 1)
            words[index] = f"{word} "
        return torch.from_numpy(inks), words


def _members(kinds: np.ndarray, subjects: np.ndarray, group: Group) -> tuple[list[np.ndarray], np.ndarray]:
    indices = defaultdict(list)
    for index in np.flatnonzero(np.isin(kinds, group.kinds)):
        indices[str(subjects[index])].append(index)
    choices = [np.array(pictures) for _, pictures in sorted(indices.items()) if len(pictures) >= group.fewest]
    weights = np.array([len(pictures) for pictures in choices], dtype=np.float64) ** group.tempering
    return choices, weights / weights.sum()
