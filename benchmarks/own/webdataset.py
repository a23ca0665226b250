"""Webdataset shards as a domain: images stay in their tar files and are decoded when they are asked for."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from benchmarks.data.domain import Domain
from benchmarks.data.shard_images import ShardImages
from benchmarks.own.columns import chosen_columns
from benchmarks.own.labels import labelling
from benchmarks.own.names import Names, Templates, read_names, read_templates
from benchmarks.own.scan import ANNOTATIONS
from benchmarks.own.shards import read_shards, shard_files
from benchmarks.own.split import check_presence, drawn_sources, sources_with_test, split_by_class, split_note, with_test
from models.paths import user_path
from models.registry import UserError


def from_webdataset(
    path: str | Path,
    *,
    classnames: Names = None,
    templates: Templates = None,
    name: str | None = None,
    seed: int = 0,
    image_column: str | None = None,
    label_column: str | None = None,
) -> Domain:
    """Read the domain of a tar file of samples, or of a folder of such files (see `shards`).

    The split is said by the name of a shard or of the folder that it is in ("train-000000.tar", "test/0.tar"). Without a test
    split the validation split is tested on. If no name says a split, or all say train, 80/10/10 of each class are taken,
    seeded, by the samples' keys. Class names are the labels, or for numbers those of `classnames` or of classnames.txt next to
    the shards (see `labels.labelling`).

    Args:
        path: the file or folder; `:label=ENDING` and `:image=ENDING` may follow.
        image_column, label_column: endings of the members, where they are not clear ("cls", "json.species").

    Raises:
        UserError: for every mistake, naming the shard and the sample.
    """
    text, columns = chosen_columns(str(path))
    columns |= {role: c for role, c in (("image", image_column), ("label", label_column)) if c is not None}
    place = Path(os.path.abspath(user_path(text)))
    if not place.exists() or not shard_files(place):
        raise UserError(f"{text} is neither a tar file nor a folder of them.")
    folder = place if place.is_dir() else place.parent
    beside = {file: folder / file for file in ANNOTATIONS if (folder / file).is_file()}
    given = read_names(classnames if classnames is not None else beside.get(ANNOTATIONS[0]))
    samples = sorted(read_shards(place, columns, named=given is None), key=lambda sample: sample.key)
    found = labelling([sample.label for sample in samples], given, lambda i: f"{place}, sample {samples[i].key}")
    if {sample.split for sample in samples} <= {None, "train"}:
        indices = split_by_class(found.labels, found.keys, seed)
        note = split_note(seed)
        sources = drawn_sources(seed)
    else:
        indices = {}
        for i, sample in enumerate(samples):
            indices.setdefault(str(sample.split), []).append(i)
        sources = sources_with_test({split: f"the shards called {split}" for split in indices})
        indices, note = with_test(indices, str(place))
    splits: dict[str, Any] = {
        split: ShardImages([samples[i].place for i in part], [found.labels[i] for i in part], [samples[i].key for i in part])
        for split, part in indices.items()
        if part
    }
    check_presence({split: images.targets for split, images in splits.items()}, found.names, str(place), "class")
    return Domain(
        name=name or (place.name if place.is_dir() else place.stem),
        classnames=found.names,
        templates=read_templates(templates if templates is not None else beside.get(ANNOTATIONS[1])),
        train=splits.get("train"),
        val=splits.get("val"),
        test=splits["test"],
        source=f"webdataset shards {place}" + (f", {note}" if note else ""),
        split_sources={split: sources[split] for split in splits},
    )
