"""Build a `Domain` from a table entry and a data folder: reader, splits and class names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch.utils.data import Subset

from benchmarks.data.dataset import ImageDataset, targets_of
from benchmarks.data.domain import Domain
from benchmarks.data.hub_images import HubImages
from benchmarks.data.images import ArrayImages, ImageFiles, file_source
from benchmarks.data.progress import Progress
from benchmarks.data.sampling import permutation
from benchmarks.full import hub_copies
from benchmarks.full.dataset_table import SPLITS, Entry, Missing, entry
from benchmarks.full.downloads import how_to_get
from benchmarks.full.listing import Listing, reading, union
from benchmarks.full.readers import list_images, reader_of
from models.registry import UserError

SEED = 42


def build(name: str, data_root: str | Path, splits: Sequence[str], progress: Progress | None = None) -> Domain:
    """Build a dataset as a domain; see `benchmarks.full.build`."""
    row, root = entry(name), Path(data_root)
    reader = reader_of(row)
    if unknown := set(splits) - set(SPLITS):
        raise UserError(f"Unknown split {sorted(unknown)[0]!r}. Splits: {', '.join(SPLITS)}.")
    wanted = [split for split in row.splits if split in splits]
    copy = hub_copies.folder_of(name, root)
    report = progress or (lambda done, total, what: None)
    keys: Sequence[str]
    datasets: Mapping[str, ImageDataset]
    try:
        if not all((root / folder).exists() for folder in row.folder):
            raise _missing(row, root)
        keys, datasets = _from_files(row, root, wanted, report)
        origin = "the paper's split"
    except Missing as error:
        if row.hub is None or not copy.is_dir():
            raise Missing(f"The dataset {name} is missing or incomplete: {error} {how_to_get(row, root)}") from error
        keys, datasets = _from_hub(row, copy, wanted, report)
        origin = f"the hub copy in {copy}"
    fixed = row.fixed
    return Domain(
        name,
        tuple(fixed.get(key) or reader.class_name(key) for key in keys),
        row.templates,
        datasets.get("train"),
        datasets.get("val"),
        datasets.get("test"),
        licence=row.licence,
        source=row.source,
        split_sources={split: _origin(row, split, origin) for split in datasets},
        published=True,
    )


def cut(n: int, fractions: Sequence[float]) -> dict[str, list[int]]:
    """Return the indices of a seeded split of n images.

    The first int(fraction * n) of torch's permutation with seed 42 are train, the next ones val, the rest test (ZSCL:
    `random_split` with Generator seed 42, 80/20).
    """
    order = permutation(n, SEED)
    indices, start = {}, 0
    for split, fraction in zip(("train", "val"), fractions, strict=False):
        size = int(fraction * n)
        indices[split], start = order[start : start + size], start + size
    return {**indices, "test": order[start:]}


def _origin(row: Entry, split: str, origin: str) -> str:
    """Return a phrase for `Domain.split_sources`."""
    if not row.cut:
        return origin
    shares = dict(zip(("train", "val"), row.cut, strict=False))
    share = shares.get(split, 1 - sum(row.cut))
    return f"{share:.0%} of all images, seed {SEED}".replace("%", " %")


def _missing(row: Entry, root: Path) -> Missing:
    places = " and ".join(str(root / folder) for folder in row.folder)
    copy = f" (or a hub copy in {hub_copies.folder_of(row.name, root)})" if row.hub else ""
    return Missing(f"{places} is expected{copy}.")


def _from_files(
    row: Entry, root: Path, splits: list[str], progress: Progress
) -> tuple[list[str], dict[str, ArrayImages | ImageFiles]]:
    """Return the class keys and the splits of torchvision's layout."""
    listings: dict[str, Listing] = {}
    if row.cut:
        progress(0, 1, f"reading {row.name}")
        whole = list_images(row, root, "all")
        indices = cut(len(whole.labels), row.cut)
        for split in splits:
            labels, files = ([column[i] for i in indices[split]] for column in (whole.labels, whole.files))
            listings[split] = Listing(whole.keys, labels, files)
        progress(1, 1, f"reading {row.name}")
    else:
        for step, split in enumerate(splits):
            progress(step, len(splits), f"reading {row.name} ({split})")
            listings[split] = list_images(row, root, split)
            progress(step + 1, len(splits), f"reading {row.name} ({split})")
    for split, listing in listings.items():
        _check_images(row, split, len(listing.labels), root)
    on_disk = union([listing.keys for listing in listings.values()])
    keys = [*row.fixed, *(key for key in on_disk if key not in row.fixed)]
    place = {key: index for index, key in enumerate(keys)}
    return keys, {split: _dataset(row, listing, place) for split, listing in listings.items()}


def _dataset(row: Entry, listing: Listing, place: Mapping[str, int]) -> ArrayImages | ImageFiles:
    targets = [place[label] for label in listing.labels]
    if listing.arrays is None:
        return ImageFiles(listing.files, targets, reader_of(row).mode)
    paths, load = listing.arrays
    with reading(paths[0]):
        return ArrayImages(load(), targets, file_source(*paths))


def _from_hub(row: Entry, folder: Path, splits: list[str], progress: Progress) -> tuple[list[str], dict[str, Any]]:
    """Return the class keys and the splits of a hub copy."""
    progress(0, 1, f"reading {row.name} (hub copy)")
    stored = ["all"] if row.cut else splits
    keys, copies = hub_copies.read(row, folder, stored, reader_of(row).mode)
    progress(1, 1, f"reading {row.name} (hub copy)")
    absent = [split for split in stored if split not in copies and split != "val"]
    if absent:
        raise Missing(f"The hub copy {folder} of {row.name} has no data for the split {absent[0]}.")
    datasets: dict[str, Any] = dict(copies)
    if row.cut:
        indices = cut(len(copies["all"]), row.cut)
        datasets = {split: Subset(copies["all"], indices[split]) for split in splits}
    for split, dataset in datasets.items():
        _check_images(row, split, len(dataset), folder)
    return keys, datasets


def _check_images(row: Entry, split: str, images: int, place: Path) -> None:
    if images == 0:
        raise Missing(f"{row.name} has no images in its {split} split under {place}.")


def differences(domain: Domain, row: Entry) -> list[str]:
    """Return sentences on how the data differs from the paper's; see `benchmarks.full.differences`."""
    sentences = []
    if len(domain.classnames) != row.classes:
        sentences.append(f"{row.name} has {len(domain.classnames)} classes here; the paper has {row.classes}.")
    if additional := [name for name in domain.classnames if row.fixed and name not in row.fixed.values()]:
        sentences.append(f"{row.name} has classes that are not in the paper: {', '.join(additional[:5])}.")
    for split in SPLITS:
        dataset = getattr(domain, split)
        if dataset is None:
            continue
        size = row.sizes[split]
        if size is not None and len(dataset) != size:
            sentences.append(f"{row.name} has {len(dataset):,} {split} images here; the paper has {size:,}.")
        if split == "val":
            continue
        if empty := sorted(set(range(len(domain.classnames))) - set(targets_of(dataset))):
            names = ", ".join(domain.classnames[i] for i in empty[:3]) + (", ..." if len(empty) > 3 else "")
            sentences.append(
                f"{len(empty)} of the {len(domain.classnames)} classes of {row.name} have no {split} images: {names}."
            )
    return sentences + _copy_differences(domain, row)


def _copy_differences(domain: Domain, row: Entry) -> list[str]:
    copies = [copy for split in SPLITS if (copy := _hub_copy(getattr(domain, split))) is not None]
    if not copies:
        return []
    start, sentences = f"{row.name} is {copies[0].where}", []
    if row.cut:
        sentences.append(f"{start}: its images are in another order, so the seeded split is not the paper's.")
    if any(copy.by_number for copy in copies):
        sentences.append(f"{start}: some of its class names are unknown, so classes are matched by number.")
    if domain.train is not None and domain.val is None and row.val is not None:
        sentences.append(f"{start}, which has no val split; the paper's has {row.val:,} images.")
    return sentences


def _hub_copy(dataset: Any) -> HubImages | None:
    while isinstance(dataset, Subset):
        dataset = dataset.dataset
    return dataset if isinstance(dataset, HubImages) else None
