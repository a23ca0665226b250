"""Webdataset shards as a domain. Images stay in their tar files and are decoded when they are read."""

from __future__ import annotations

from pathlib import Path

from benchmarks.data.domain import Domain
from benchmarks.data.shard_images import ShardImages
from benchmarks.own.labels import labelling
from benchmarks.own.names import Names, Templates
from benchmarks.own.reader import make_domain, parse_request, read_annotations
from benchmarks.own.split import draw_splits, with_test
from benchmarks.own.version import CLIP_BENCHMARK
from benchmarks.own.webdataset_index import read_shards, shard_files
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
    """Read a tar file of samples, or a folder of such files (see `webdataset_index`).

    The name of a shard, or of the folder that it is in, contains its split ("train-000000.tar", "test/0.tar"). Without a test
    split the validation split is tested on. If no name contains a split, or all are of the train split, 80/10/10 of each class
    are taken, seeded, by the keys of the samples.

    Args:
        path: the file or folder; `:label=ENDING` and `:image=ENDING` may follow.
        classnames: class names, or a file with them. If None, those in classnames.txt next to the shards, or the labels
            (see `labels.labelling`).
        templates: prompt templates, or a file with them. If None, those in templates.txt next to the shards, or in
            CLIP_benchmark's zeroshot_classification_templates.txt ("a photo of a {c}."), or "a photo of a {}.".
        name: the domain's name; that of the file or folder if None.
        seed: the seed of the split.
        image_column: the ending of the image members, if it is ambiguous ("jpg").
        label_column: the ending of the label members, if it is ambiguous ("cls", "json.species").

    Returns:
        The domain.

    Raises:
        UserError: for every mistake, naming the shard and the sample.

    Example:
        >>> len(from_webdataset("shards", label_column="json.species").test)
        1000
    """
    request = parse_request(path, image=image_column, label=label_column)
    place = request.place
    if not place.exists() or not shard_files(place):
        raise UserError(f"{request.name} is neither a tar file nor a folder of tar files.")
    folder = place if place.is_dir() else place.parent
    if templates is None and not (folder / "templates.txt").is_file() and (folder / CLIP_BENCHMARK).is_file():
        lines = (folder / CLIP_BENCHMARK).read_text(encoding="utf-8").splitlines()
        templates = [line.strip().replace("{c}", "{}") for line in lines if line.strip()]
    published = classnames is None and (folder / CLIP_BENCHMARK).is_file()
    annotations = read_annotations(folder, classnames, templates)
    shards = read_shards(place, request.columns, named=annotations.classnames is None)
    samples = sorted(shards, key=lambda sample: sample.key)
    written, where = [sample.label for sample in samples], lambda i: f"{place}, sample {samples[i].key}"
    classes = labelling(written, annotations.classnames, where, published)
    if {sample.split for sample in samples} <= {None, "train"}:
        division = draw_splits(classes.labels, classes.keys, seed)
    else:
        indices: dict[str, list[int]] = {}
        for i, sample in enumerate(samples):
            indices.setdefault(str(sample.split), []).append(i)
        division = with_test(indices, {split: f"the shards called {split}" for split in indices}, str(place))

    def images(indices: list[int]) -> ShardImages:
        chosen = [samples[i] for i in indices]
        return ShardImages([s.place for s in chosen], [classes.labels[i] for i in indices], [s.key for s in chosen])

    return make_domain(
        name or (place.name if place.is_dir() else place.stem),
        classes.names,
        annotations.templates,
        division.map(images),
        where=str(place),
        source=f"webdataset shards {place}",
        published=published,
    )
