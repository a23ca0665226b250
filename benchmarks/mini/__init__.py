"""The mini edition: small domains from installed packages, drawn on first use and cached.

`STREAM` (Order I), `ORDER_II`, `HELDOUT` and `summary()` need neither torch nor NumPy; `build(name)` draws the images.
docs/mini.md describes each domain and how much of it the tiny CLIP has seen in pretraining.

Files in reading order:
    domain_table.py, concepts.py    the domains at a glance; the classes of the icon domains
    render.py, iconfonts.py         drawing on a 48 x 48 canvas; icons as masks
    icons.py, letters.py, shapes.py, closeups.py, handwriting.py    the images of the domains
    corrupted.py                    out-of-distribution images made from test images
    reference.py                    reference images and sentences for distillation
    cache.py                        drawn images on disk
"""

from __future__ import annotations

import dataclasses
import difflib
from typing import TYPE_CHECKING

from benchmarks.data.progress import Progress
from benchmarks.mini.domain_table import ENTRIES, HELDOUT, ORDER_II, STREAM, summary

if TYPE_CHECKING:
    import numpy as np

    from benchmarks.data.domain import Domain

__all__ = ["HELDOUT", "ORDER_II", "STREAM", "build", "draw", "summary"]

SPLITS = ("train", "val", "test", "ood")


def build(name: str, progress: Progress | None = None) -> Domain:
    """Return a domain with uint8 [3, 48, 48] images, from the cache, or drawn (seconds) and cached.

    Args:
        name: a name in `STREAM` or `HELDOUT`.
        progress: called as progress(done, total, what) while images are drawn.

    Raises:
        ValueError: for an unknown name.

    Example:
        >>> build("shapes").prompts()[0]
        'a noisy picture of a red circle.'
    """
    from benchmarks.data.array_domain import array_domain
    from benchmarks.data.dataset import TensorImages
    from benchmarks.mini import cache, corrupted

    if name not in ENTRIES:
        close = difflib.get_close_matches(name, ENTRIES, n=1)
        hint = f"; did you mean {close[0]!r}?" if close else f"; its domains are {', '.join(sorted(ENTRIES))}"
        raise ValueError(f"the mini edition has no domain {name!r}{hint}")
    arrays = cache.load_or_make(name, lambda: _drawn(name, progress))
    domain = array_domain(name, ENTRIES[name], arrays, "the mini edition")
    if name in corrupted.DOMAINS:
        assert isinstance(domain.test, TensorImages)
        domain = dataclasses.replace(domain, ood=corrupted.CorruptedImages(name, domain.test))
    return domain


def draw(name: str, progress: Progress | None = None) -> dict[str, np.ndarray]:
    """Draw a domain without the cache: `<split>_images` uint8 [N, 3, 48, 48] and `<split>_labels` int64 [N].

    Domains without another source have a corrupted test split as out-of-distribution split.
    """
    from benchmarks.mini import corrupted

    arrays = _drawn(name, progress)
    if name not in corrupted.DOMAINS:
        return arrays
    images = corrupted.images(name, arrays["test_images"])
    return {**arrays, "ood_images": images, "ood_labels": arrays["test_labels"].copy()}


def _drawn(name: str, progress: Progress | None) -> dict[str, np.ndarray]:
    """Draw the arrays of a domain that are cached."""
    from benchmarks.mini import closeups, corrupted, handwriting, icons, letters, shapes

    report = progress or (lambda done, total, what: None)
    entry = ENTRIES[name]
    if name in ("mnist", "digits"):
        drawn = handwriting.splits(name)
    else:
        family = {"letters": letters, "closeups": closeups, "shapes": shapes, "counting": shapes}.get(name, icons)
        ood = 0 if name in corrupted.DOMAINS else entry.ood
        counts = {s: n for s, n in zip(SPLITS, (*entry.per_class, ood), strict=True) if n}
        seen: set[bytes] = set()
        drawn = {}
        for done, (split, per_class) in enumerate(counts.items()):
            report(done, len(counts), f"drawing {name} ({split})")
            drawn[split] = family.images(name, split, per_class, seen)
    report(1, 1, f"drew {name}")
    return _arrays(drawn)


def _arrays(drawn: dict[str, list[list[np.ndarray]]]) -> dict[str, np.ndarray]:
    """Return the arrays of pictures by split and class, interleaved so that the first n images cover the classes evenly."""
    import numpy as np

    arrays = {}
    for split, classes in drawn.items():
        pairs = [
            (pictures[index], label)
            for index in range(max(map(len, classes)))
            for label, pictures in enumerate(classes)
            if index < len(pictures)
        ]
        arrays[f"{split}_images"] = np.stack([picture for picture, _ in pairs])
        arrays[f"{split}_labels"] = np.array([label for _, label in pairs], dtype=np.int64)
    return arrays
