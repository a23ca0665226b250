"""Measure whether written words mislead a model: `python -m tools.attackable --model tiny`.

Every image of a split gets the name of a wrong class, and as a control a nonsense word of the same length in the same
typeface, size, place and colours.
"""

from __future__ import annotations

import argparse
import string
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

import models
from benchmarks import mini
from benchmarks.cases.written_words import HELDOUT_TYPEFACES, TYPEFACES, choose, write
from benchmarks.mini.render import generator
from models.classifier import PromptClassifier


@dataclass(frozen=True)
class Attack:
    """Percent of images: classified correctly without a word, with a wrong word and with a nonsense word.

    `read` and `read_nonsense` are the percent classified as the wrong word: with that word written, and with the nonsense
    word written in its place.
    """

    clean: float
    attacked: float
    nonsense: float
    read: float
    read_nonsense: float
    n: int


def nonsense(word: str, rng: np.random.Generator) -> str:
    """Return random letters with the length and the blanks of a word."""
    letters = string.ascii_lowercase
    return "".join(letters[rng.integers(26)] if c.isalpha() else c for c in word)


def attack(classifier: PromptClassifier, name: str, split: str, typefaces: Sequence[str]) -> Attack:
    """Return how a model answers on a split of a mini domain with words of the domain's other classes written over it.

    Args:
        classifier: the model.
        name: a domain of the mini edition.
        split: "val" or "test".
        typefaces: typefaces of the words.
    """
    domain = mini.build(name)
    data = getattr(domain, split)
    labels = torch.tensor(data.targets)
    wrong: list[int] = []
    attacked: list[Tensor] = []
    control: list[Tensor] = []
    for index, (image, label) in enumerate(data):
        rng = generator("attackable", name, split, str(index))
        word = int((label + rng.integers(1, len(domain.classnames))) % len(domain.classnames))
        text = domain.classnames[word]
        picture, seed = image.permute(1, 2, 0).numpy(), int(rng.integers(2**32))
        wrong.append(word)
        for pictures, written in ((attacked, text), (control, nonsense(text, rng))):
            again = np.random.default_rng(seed)
            drawn = write(picture, written, choose(text, typefaces, again), again)
            pictures.append(torch.from_numpy(drawn).permute(2, 0, 1))
    words = torch.tensor(wrong)
    classifier.register_domain(0, domain)
    clean = _answers(classifier, data.images)
    misled, other = _answers(classifier, torch.stack(attacked)), _answers(classifier, torch.stack(control))

    def percent(hits: Tensor) -> float:
        return 100 * hits.float().mean().item()

    return Attack(
        percent(clean == labels),
        percent(misled == labels),
        percent(other == labels),
        percent(misled == words),
        percent(other == words),
        len(labels),
    )


@torch.inference_mode()
def _answers(classifier: PromptClassifier, images: Tensor) -> Tensor:
    classifier.eval()
    return torch.cat([classifier(part, 0).argmax(dim=1) for part in torch.split(images, 256)])


def main() -> None:
    """Parse the command line and print one line per domain and set of typefaces."""
    parser = argparse.ArgumentParser(prog="python -m tools.attackable", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", default="tiny", help="name or folder of a model (default: tiny)")
    parser.add_argument("--split", choices=("val", "test"), default="val", help="split of the images (default: val)")
    parser.add_argument("domains", nargs="*", default=["nature", "transport"], help="domains (default: nature transport)")
    args = parser.parse_args()
    encoder = models.load(args.model)
    print("domain     typefaces  clean  wrong word  nonsense  answers the word  the same with nonsense  n")
    for name in args.domains:
        for title, typefaces in (("training", TYPEFACES), ("held-out", HELDOUT_TYPEFACES)):
            a = attack(PromptClassifier(encoder), name, args.split, typefaces)
            figures = f"{a.clean:6.1f} {a.attacked:11.1f} {a.nonsense:9.1f} {a.read:17.1f} {a.read_nonsense:23.1f}"
            print(f"{name:10} {title:9} {figures}  {a.n}")


if __name__ == "__main__":
    main()
