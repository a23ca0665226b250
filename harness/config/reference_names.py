"""The reference data that a run asks for: names with the defaults filled in, and digests of the data on disk."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from benchmarks.plan import StreamPlan


def reference_names(plan: StreamPlan, options: Any, pairs: bool = False) -> tuple[str, str]:
    """Return the names of the reference images and sentences in the options, with the benchmark's for "default".

    The default of pairs is the set of the benchmark's sentences, that is the drawn pairs or Conceptual Captions. The sentences
    of a folder of pairs are in it by default.
    """
    names = (getattr(options, "reference_images", "default"), getattr(options, "reference_sentences", "default"))
    if pairs:
        folder = plan.reference[1] if names[0] == "default" else names[0]
        return folder, folder if names[1] == "default" else names[1]
    images, sentences = (d if name == "default" else name for name, d in zip(names, plan.reference, strict=True))
    return images, sentences


def reference_on_disk(images: str, sentences: str, data_root: str) -> tuple[str | None, Sequence[str] | None]:
    """Return the digest of the reference data, and the paths of the images if they are in a folder of the user's."""
    from benchmarks import reference_lookup

    paths = reference_lookup.image_paths(images) if reference_lookup.is_folder(images) else None
    return reference_lookup.version(images, sentences, data_root, paths), paths


def pairs_on_disk(images: str, sentences: str, data_root: str, tasks: Sequence[str]) -> str | None:
    """Return the digest of the reference pairs."""
    from benchmarks import pair_lookup

    return pair_lookup.version(images, sentences, tasks, data_root)
