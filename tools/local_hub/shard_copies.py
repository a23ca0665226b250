"""Write ImageNet and its shifted test sets as CLIP_benchmark's copies: test/N.tar, class names and templates.

A sample of a shard is an image and a .cls file with the number of its class, and test/nshards.txt has the number of shards.
"""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

from benchmarks.full.dataset_table import ENTRIES, entry
from benchmarks.full.readers import list_images, reader_of
from benchmarks.own.version import CLIP_BENCHMARK
from benchmarks.shifts import COPIES
from tools.local_hub.dataset_copies import encoded

SAMPLES_PER_SHARD = 5000
CLASSES = {"imagenet-a": 200, "imagenet-r": 200, "objectnet": 113}
"""Classes of the sets that do not have all of ImageNet's."""


def origin(name: str, data_root: Path) -> str:
    """Return the dataset of the table whose test images a copy holds: the set itself if the folder has it, else ImageNet."""
    own = ENTRIES.get(name)
    return name if own is not None and all((data_root / folder).exists() for folder in own.folder) else "imagenet"


def names_with_copies(data_root: Path) -> list[str]:
    """Return the test sets that can be written from a data folder."""
    return [name for name in COPIES if all((data_root / folder).exists() for folder in entry(origin(name, data_root)).folder)]


def repository(name: str) -> str:
    """Return the repository of a copy."""
    return COPIES[name]


def write(name: str, data_root: Path, target: Path, samples_per_shard: int = SAMPLES_PER_SHARD) -> Path:
    """Write the copy of a test set of `benchmarks.shifts`, and return the folder of its repository.

    Args:
        name: a name of `benchmarks.shifts.COPIES`.
        data_root: the data folder with its images, or ImageNet's.
        target: the folder of the server, with `datasets` below it.
        samples_per_shard: images per tar file.

    Raises:
        UserError: the images are missing or damaged.
    """
    row = entry(origin(name, data_root))
    listing = list_images(row, data_root, "test")
    keys = [*row.fixed, *(key for key in listing.keys if key not in row.fixed)]
    keys = keys if row.name == name else keys[: CLASSES.get(name)]
    place = {key: number for number, key in enumerate(keys)}
    numbers = [number for number, key in enumerate(listing.labels) if key in place]
    folder = target / "datasets" / repository(name)
    (folder / "test").mkdir(parents=True, exist_ok=True)
    shards = [numbers[start : start + samples_per_shard] for start in range(0, len(numbers), samples_per_shard)]
    for shard, part in enumerate(shards):
        with tarfile.open(folder / "test" / f"{shard}.tar", "w") as archive:
            for number in part:
                [(data, file, key)] = encoded(listing, range(number, number + 1))
                _add(archive, f"s{number:07d}.cls", str(place[key]).encode())
                _add(archive, f"s{number:07d}{Path(file).suffix.lower().replace('.jpeg', '.jpg')}", data)
    (folder / "test" / "nshards.txt").write_text(f"{len(shards)}\n")
    named = reader_of(row).class_name
    (folder / "classnames.txt").write_text("".join(f"{row.fixed.get(key) or named(key)}\n" for key in keys))
    templates = [template.replace("{}", "{c}") for template in row.templates]
    (folder / CLIP_BENCHMARK).write_text("".join(f"{template}\n" for template in templates))
    return folder


def _add(archive: tarfile.TarFile, name: str, data: bytes) -> None:
    """Add a file to an archive, without the time and owner of this machine."""
    member = tarfile.TarInfo(name)
    member.size = len(data)
    archive.addfile(member, io.BytesIO(data))
