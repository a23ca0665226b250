"""Stand-ins for the reference data of a distilling method, with the numbers of images and sentences of the run."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from avalanche.benchmarks import CLScenario

from benchmarks import pair_lookup, reference_lookup
from harness.config.resolve import Resolved
from harness.plan.ledger import Ledger
from harness.plan.stand_ins import ReferenceImages
from models.encoder import DualEncoder
from models.registry import UserError
from reference_data import Reference
from strategies.engine.schedule import budget

CAPTIONS = 15_840
"""Captions of Conceptual Captions' validation set, of which a copy may have fewer: many links no longer work."""
IMAGENET = 1_281_167


class CountedReference(NamedTuple):
    """Reference data for a counted run, or None; images that are decoded for it; sentences on what is not there."""

    data: Reference | None
    decoded: int
    missing: list[str]


def stand_in_reference(resolved: Resolved, encoder: DualEncoder, scenario: CLScenario, ledger: Ledger) -> CountedReference:
    """Return as many stand-in images and sentences as the run would read (`harness.run.build.load_reference`).

    Sentences that are there are read. Raises UserError for pairs that are missing, whose number is unknown.
    """
    if resolved.reference is None or not resolved.reads_reference:
        return CountedReference(None, 0, [])
    images, sentences = resolved.reference
    root, missing, size = resolved.config.data_root, list[str](), encoder.image_size
    if resolved.strategy_class.needs_pairs:
        if images == sentences == "mini":
            from benchmarks.mini import reference

            pictures, texts = reference.pairs(None)
            return CountedReference(Reference(ReferenceImages(ledger, len(pictures), size), texts), 0, [])
        pairs = pair_lookup.find_pairs(images, sentences, resolved.tasks, root)
        stand_ins = ReferenceImages(ledger, len(pairs.paths), size)
        return CountedReference(Reference(stand_ins, pairs.sentences, pairs.rows), len(pairs.paths), [])
    try:
        texts = reference_lookup.load_sentences(sentences, root)
    except UserError:
        if sentences != "conceptual_captions":
            raise
        missing.append(f"the reference sentences are missing: {CAPTIONS:,} short ones stand for them")
        texts = [f"a photo of thing number {i}" for i in range(CAPTIONS)]
    available, decoded = _images(resolved, images, missing)
    updates = [budget(resolved.options, len(experience.dataset)) for experience in scenario.streams["train"]]
    asked = resolved.strategy_class.reference_count(resolved.options, updates)
    count = available if asked is None or images == "mini" else min(asked, available)
    return CountedReference(Reference(ReferenceImages(ledger, count, size), texts), count if decoded else 0, missing)


def _images(resolved: Resolved, images: str, missing: list[str]) -> tuple[int, bool]:
    """Return the number of reference images that exist, and whether they have to be decoded."""
    if images in reference_lookup.OWN_IMAGES:
        return 0, False
    if images == "mini":
        from benchmarks.mini import reference

        return len(reference.images()), False
    if resolved.reference_paths is not None:
        return len(resolved.reference_paths), True
    root = resolved.config.data_root
    total, sets = 0, reference_lookup.joined(images)
    for name in sets:
        try:
            if (source := reference_lookup.dataset(name, root)) is not None:
                data: Any = source.build(("train",)).train
                total += len(data)
            else:
                total += len(reference_lookup.image_paths(name, root))
        except UserError:
            if name not in ("imagenet", "conceptual_captions"):
                raise
            missing.append(f"the reference images {name} are missing under {Path(root)}")
            total += IMAGENET if name == "imagenet" else CAPTIONS
    return total, True
