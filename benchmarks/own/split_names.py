"""Recognise the split in a folder's name: "Training", "seg_test", "val2017". No torch."""

from __future__ import annotations

import re
from typing import NamedTuple

SPLIT_WORDS = {
    **dict.fromkeys(("train", "training", "trn", "trainval"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "validate", "dev", "devel", "development"), "val"),
    **dict.fromkeys(("test", "testing", "tests", "tst", "holdout", "heldout"), "test"),
    **dict.fromkeys(("eval", "evaluation", "evaluate"), "eval"),
}
"""Split by word. "eval" is the test split, or the validation split if another folder is the test split."""

_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+|[^\W\d_A-Za-z]+")
_FILLING = frozenset(
    _WORD.findall(
        "set sets data dataset datasets split splits image images img imgs picture pictures pic pics photo photos folder "
        "folders dir file files jpg jpeg png the my"
    )
)
_UNLABELLED = frozenset(_WORD.findall("pred preds predict prediction predictions unlabeled unlabelled submission inference"))


class Mark(NamedTuple):
    """The split in a folder's name, and the other words of the name ("seg" of "seg_train")."""

    split: str
    rest: tuple[str, ...]


def words_of(name: str) -> list[str]:
    """Return the lower-case words of a name, divided at blanks, signs, digits and capitals ("trainSet2": train, set, 2)."""
    return [word.lower() for word in _WORD.findall(name)]


def mark_of(name: str) -> Mark | None:
    """Return the split in a folder's name, or None for no split and for several.

    Numbers and words such as "set", "data" and "images" do not count. "train_val" is a training split.
    """
    splits, rest = [], []
    words = words_of(name)
    # "tRaIn" is one word.
    for word in words if any(map(_split_of, words)) else words_of(name.lower()):
        split = _split_of(word)
        if split is not None:
            splits.append(split)
        elif word not in _FILLING and not word.isdigit():
            rest.append(word)
    if splits == ["train", "val"]:
        splits = ["train"]
    return Mark(splits[0], tuple(rest)) if len(splits) == 1 else None


def is_filling(name: str) -> bool:
    """Return whether a folder's name says nothing about its content: "images", "data", "img_files"."""
    words = words_of(name)
    return bool(words) and all(word in _FILLING or word.isdigit() for word in words) and not name.isdigit()


def is_unlabelled(name: str) -> bool:
    """Return whether a folder's name says that its images have no labels: "seg_pred", "unlabeled"."""
    return any(word in _UNLABELLED for word in words_of(name))


def _split_of(word: str) -> str | None:
    """Return the split of a word, also if it is joined with a filling word ("trainset")."""
    if word in SPLIT_WORDS:
        return SPLIT_WORDS[word]
    joined = (split for start, split in SPLIT_WORDS.items() if word.startswith(start) and word[len(start) :] in _FILLING)
    return next(joined, None)
