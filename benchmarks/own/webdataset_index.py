"""Index webdataset shards: tar files whose members are samples, such as `KEY.jpg` and `KEY.cls`. No torch.

Nothing is extracted or unpickled: images are read in place, and labels are short texts.
"""

from __future__ import annotations

import json
import os
import tarfile
from collections.abc import Iterable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.data.byte_range import ByteRange
from benchmarks.data.formats import EXTENSIONS
from benchmarks.own.columns import (
    CAPTION,
    LABEL,
    check_captions,
    find_column,
    how_to_choose,
    known,
    named_twin,
    split_in,
    split_in_path,
)
from models.registry import UserError, escaped

LARGEST_LABEL = 1 << 20
"""The largest size of a label member in bytes; our choice. A JSON file about an image is far smaller."""

_TEXTS = ("cls", "txt", "text", "label", "class", "caption", "title", "index", "id")
_PICKLES = ("pyd", "pickle", "pkl", "pth", "pt", "npy", "npz", "mp", "msg", "msgpack", "cbor", "ten", "tb")
# Compressed tar files are listed so that they can be refused by name.
_ENDINGS = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".tar.zst")


class Sample(NamedTuple):
    """One image: its key ("train-000000.tar/s00001"), its place, its label as written, and its split or None."""

    key: str
    place: ByteRange
    label: str
    split: str | None


class _Members(NamedTuple):
    """A sample before image and label are chosen: image members by ending, label texts by column, other endings."""

    key: str
    images: dict[str, ByteRange]
    texts: dict[str, str]
    others: tuple[str, ...]


def shard_files(place: str | Path) -> list[str]:
    """Return the tar files of a folder or of its split folders, sorted; for a tar file, the file.

    The result is empty for a folder without shards, and for a folder with folders of images next to archives.
    """
    place = Path(place)
    if place.is_file():
        return [os.path.abspath(place)] if place.suffix.lower() == ".tar" else []
    shards: list[str] = []
    for folder in (place, *(inner for inner in _folders(place) if split_in(inner.name) or inner.name == "data")):
        with os.scandir(folder) as entries:
            files = [e for e in entries if e.name.lower().endswith(_ENDINGS) and not e.name.startswith(".") and e.is_file()]
        shards += [os.path.abspath(entry.path) for entry in files]
    if shards and any(_has_images(inner) for inner in _folders(place)):
        return []
    return sorted(shards)


def split_of(shard: str, place: str | Path) -> str | None:
    """Return the split in the name of a shard or of its folder ("train-000000.tar", "test/0.tar"), or None."""
    root = str(place) if os.path.isdir(place) else os.path.dirname(place)
    return split_in_path(os.path.splitext(os.path.relpath(shard, root))[0])


def read_shards(place: str | Path, columns: Mapping[str, str] | None = None, named: bool = True) -> list[Sample]:
    """Return the samples of a tar file, or of the tar files of a folder, in the order of the shards.

    Members of one sample have the same name up to the first dot of the last component. The label is the member `cls`, a value
    of a member `json` (`label`, `class`, ...), or the member `txt`. If several of these correspond one to one, words are
    preferred to the numbers that stand for them.

    Args:
        place: the tar file or the folder.
        columns: the ending of the image and label members by role, as the user chose it; `json.KEY` is a JSON value.
        named: prefer class names to the numbers that stand for them. False if class names are given.

    Raises:
        UserError: naming the shard and the sample, for a damaged tar file, a sample without a label or with several images,
            and labels that are only in a Python pickle or another binary member.
    """
    columns = columns or {}
    files = shard_files(place)
    splits = {shard: split_of(shard, place) for shard in files}
    if None in splits.values() and len(set(splits.values())) > 1:
        unmarked = next(shard for shard, split in splits.items() if split is None)
        raise UserError(
            f"The name of {unmarked} has no split (train, val or test), but other shards of {place} have one: rename it."
        )
    versions = [(shard, *_version(shard)) for shard in files]
    pairs = [(shard, sample) for shard, size, time in versions for sample in _members(shard, size, time)]
    if not pairs:
        raise UserError(f"{place} has no samples: a shard needs members such as 0001.jpg and 0001.cls.")
    samples = [sample for _, sample in pairs]
    images = _one_of("image", columns.get("image"), samples, [sample.images for sample in samples], str(place))
    labels = _label_of(columns.get("label"), samples, str(place), named)
    return [
        Sample(sample.key, image, label, splits[shard])
        for (shard, sample), image, label in zip(pairs, images, labels, strict=True)
    ]


def described(place: str | Path) -> list[str]:
    """Return one line per sample for the digest of the data: its split, its key, the places of its images, its texts."""
    lines = []
    for shard in shard_files(place):
        for sample in _members(shard, *_version(shard)):
            places = [f"{ending} {p.offset} {p.size}" for ending, p in sorted(sample.images.items())]
            lines.append(f"{split_of(shard, place)} {sample.key} {places} {sorted(sample.texts.items())}")
    return lines


def _one_of(role: str, choice: str | None, samples: list[_Members], values: list[dict[str, Any]], where: str) -> list[Any]:
    """Return the value of the chosen member of each sample, or of the only one. Raises UserError."""
    endings = sorted({ending for value_by_ending in values for ending in value_by_ending})
    if choice is not None:
        choice = find_column(role, choice.removeprefix("."), [], endings, where)
    chosen = []
    for sample, value_by_ending in zip(samples, values, strict=True):
        candidates = [ending for ending in value_by_ending if choice is None or ending == choice]
        if len(candidates) > 1:
            raise UserError(
                f"The sample {escaped(sample.key)} has several {role}s ({', '.join(candidates)}): choose one, for example "
                f"{how_to_choose(where, role, candidates[0])}."
            )
        if not candidates:
            raise UserError(f"The sample {escaped(sample.key)} has no {role}{f' .{choice}' if choice else ''}{_hint(sample)}.")
        chosen.append(value_by_ending[candidates[0]])
    return chosen


def _label_of(choice: str | None, samples: list[_Members], where: str, named: bool) -> list[str]:
    """Return the labels of the samples: from the chosen member, else from the usual one. Raises UserError."""
    columns = [column for column in samples[0].texts if all(column in sample.texts for sample in samples)]
    # By the plain name; a member takes precedence over a JSON value of the same name.
    plain = {column.removeprefix("json."): column for column in reversed(columns)}
    if choice is None:
        twin = named_twin(list(plain), lambda name: [sample.texts[plain[name]] for sample in samples]) if named else None
        usual = known("label", list(plain))
        # `cls` is webdataset's name for the label.
        best = twin or next((name for name in ("cls", "label") if name in usual), None)
        candidates = [plain[name] for name in usual]
        choice = plain[best] if best is not None else find_column("label", None, candidates, columns, where)
    texts = [sample.texts for sample in samples]
    if choice is None:
        for sample in samples:
            if not any(column.removeprefix("json.") in (*LABEL, *CAPTION) for column in sample.texts):
                raise UserError(
                    f"The sample {escaped(sample.key)} has no label{_hint(sample)}. A label is a member .cls or .txt next to "
                    "the image, or a value called label in a member .json. If the images are in class folders, unpack the tar "
                    "file first."
                )
        raise UserError(f"The samples of {where} do not all have the same label member: choose one with {where}:label=ENDING.")
    labels = _one_of("label", choice, samples, texts, where)
    for sample, label in zip(samples, labels, strict=True):
        if not label:
            raise UserError(f"The label of the sample {escaped(sample.key)} is empty.")
    check_captions(choice.removeprefix("json."), labels, where)
    return labels


def _hint(sample: _Members) -> str:
    pickled = [ending for ending in sample.others if ending in _PICKLES]
    if pickled:
        return f", only a member .{pickled[0]}; binary members such as Python pickles are not read"
    endings = [*sample.images, *sample.texts, *sample.others]
    return f"; its members are {', '.join(f'.{ending}' for ending in endings)}" if endings else ""


@lru_cache(maxsize=4096)
def _members(shard: str, size: int, changed: int) -> tuple[_Members, ...]:
    """Return the samples of a shard that have an image or a label. `size` and `changed` only distinguish its versions."""
    samples: dict[str, _Members] = {}
    try:
        with open(shard, "rb") as file, tarfile.open(fileobj=file, mode="r:") as tar:
            for member in _files(tar):
                head, _, last = member.name.rpartition("/")
                stem, _, ending = last.partition(".")
                if not stem or not ending or last.startswith("._"):
                    continue
                key = f"{os.path.basename(shard)}/{f'{head}/' if head else ''}{stem}"
                sample = samples.setdefault(key, _Members(key, {}, {}, ()))
                ending = ending.lower()
                if ending in sample.images or ending in sample.texts or (ending == "json" and "json" in sample.others):
                    raise UserError(f"The sample {escaped(key)} of {shard} has two members .{ending}.")
                if f".{ending}" in EXTENSIONS:
                    if member.offset_data + member.size > size:
                        raise tarfile.ReadError("unexpected end of data")
                    sample.images[ending] = ByteRange(shard, member.offset_data, member.size)
                elif ending in _TEXTS or ending == "json":
                    if member.size > LARGEST_LABEL:
                        raise UserError(
                            f"The member .{ending} of the sample {escaped(key)} is larger than 1 MB, so it is not a label."
                        )
                    position = file.tell()
                    file.seek(member.offset_data)
                    data = file.read(member.size)
                    file.seek(position)
                    sample.texts.update(_texts(ending, data, f"The member .{ending} of the sample {escaped(key)}"))
                    samples[key] = sample._replace(others=(*sample.others, ending)) if ending == "json" else sample
                else:
                    samples[key] = sample._replace(others=(*sample.others, ending))
            # tarfile stops silently at a damaged header and at an early end.
            file.seek(tar.offset)
            if file.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
                raise tarfile.ReadError("unexpected end of data" if tar.offset >= size else "damaged header")
    except UserError:
        raise
    # For damaged headers (invalid numbers, names without an end) tarfile also raises other errors than its own.
    except (tarfile.TarError, OSError, ValueError, EOFError, OverflowError, RecursionError, KeyError) as error:
        raise UserError(_damage(shard, error)) from error
    return tuple(sample for sample in samples.values() if sample.images or sample.texts)


def _files(tar: tarfile.TarFile) -> Iterable[tarfile.TarInfo]:
    """Yield the ordinary files of a tar file, without links, devices and sparse files."""
    while (member := tar.next()) is not None:
        tar.members = []  # type: ignore[attr-defined]  # undocumented; tarfile would keep all members in memory
        if member.isreg() and not member.issparse():
            yield member


def _texts(ending: str, data: bytes, where: str) -> dict[str, str]:
    """Return the texts of a label member by column: the member's ending, or "json.KEY" for each value of a JSON object."""
    try:
        text = data.decode("utf-8-sig")
        if ending != "json":
            return {ending: text.strip()}
        content = json.loads(text)
    except UnicodeDecodeError as error:
        raise UserError(f"{where} is not UTF-8 text.") from error
    except (ValueError, RecursionError) as error:
        raise UserError(f"{where} is not valid JSON.") from error
    if isinstance(content, dict):
        plain = (str, int, float)
        return {f"json.{key}": str(value).strip() for key, value in content.items() if isinstance(value, plain)}
    return {"json.label": str(content).strip()} if isinstance(content, (str, int)) else {}


def _damage(shard: str, error: BaseException) -> str:
    try:
        with open(shard, "rb") as file:
            start = file.read(6)
    except OSError as unreadable:
        return f"Cannot read {shard}: {unreadable.strerror}."
    if start.startswith((b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"\x28\xb5\x2f\xfd")):
        return f"{shard} is compressed, but shards are read in place: decompress it first (gunzip, bunzip2, unxz or unzstd)."
    if "damaged header" in str(error):
        return f"The shard {shard} is damaged after its first members: copy or download it again."
    if "unexpected end" in str(error) or "truncated" in str(error):
        return f"The shard {shard} is cut short: copy or download it again."
    return f"{shard} is not a readable tar file: copy or download it again."


def _version(shard: str) -> tuple[int, int]:
    try:
        status = os.stat(shard)
    except OSError as error:
        raise UserError(f"Cannot read {shard}: {error.strerror}.") from error
    return status.st_size, status.st_mtime_ns


def _folders(place: Path) -> list[Path]:
    with os.scandir(place) as entries:
        return sorted(Path(e.path) for e in entries if e.is_dir() and not e.name.startswith("."))


def _has_images(folder: Path) -> bool:
    """Return whether an image is in a folder or one level deeper: it has class folders, or is a class folder."""
    for root, folders, files in os.walk(folder):
        if any(name.lower().endswith(EXTENSIONS) and not name.startswith(".") for name in files):
            return True
        if Path(root) != folder:
            folders.clear()
    return False
