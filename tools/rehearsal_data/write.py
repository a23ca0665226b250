"""Write the sets of the rehearsal into a folder: one at a time, whole or not at all. A record lists the finished ones."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from benchmarks.data.progress import Progress
from benchmarks.full.data_folder import size as bytes_of
from models.files import write_bytes
from models.registry import UserError
from tools.rehearsal_data import coop
from tools.rehearsal_data.content import Content, Size
from tools.rehearsal_data.pictures import draw, variation
from tools.rehearsal_data.sets import SETS, RehearsalSet

RECORD = "rehearsal.json"
PARTIAL = ".partial"
SMALL_SIDE = 64
"""Pixels of the longer side, unless pictures have real sizes."""
SAMPLE = 3
"""Pictures of each set that are drawn to estimate its size."""


@dataclass(frozen=True)
class Settings:
    """Settings that the files of a rehearsal depend on.

    Attributes:
        images_per_class: training images per class.
        real_sizes: pictures have the size of the real ones, instead of at most 64 pixels.
        seed: of the looks of the classes and of the random weights.
    """

    images_per_class: int = 4
    real_sizes: bool = False
    seed: int = 0


class Folder:
    """A folder that holds a rehearsal, and the record of its finished sets.

    Args:
        root: the folder. It must be new, empty or a rehearsal of the same settings.
        settings: what its files depend on.

    Raises:
        UserError: for a folder with other content.
    """

    def __init__(self, root: Path, settings: Settings):
        self.root, self.settings = root, settings
        self._file = root / RECORD
        self._record: dict[str, Any] = {"settings": asdict(settings), "done": {}, "moving": None}
        if self._file.is_file():
            self._record = json.loads(self._file.read_text(encoding="utf-8"))
            if (written := self._record["settings"]) != asdict(settings):
                raise UserError(f"{root} has a rehearsal of other settings ({_shown(written)}). Give these, or another --root.")
        elif root.exists() and (not root.is_dir() or any(root.iterdir())):
            raise UserError(f"{root} is not empty, and no rehearsal wrote it. Give a new or empty folder as --root.")
        root.mkdir(parents=True, exist_ok=True)
        self._save()

    @property
    def done(self) -> Mapping[str, int]:
        """Bytes of each finished part."""
        return self._record["done"]  # type: ignore[no-any-return]

    @contextmanager
    def part(self, name: str) -> Iterator[Path]:
        """Write a part of the rehearsal into the yielded folder. It is then moved into place and recorded.

        Raises:
            UserError: if a file or folder of the part exists already and does not come from an interrupted move.
        """
        partial = self.root / PARTIAL
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir()
        yield partial
        for source in partial.iterdir():
            target = self.root / source.name
            if target.exists() and self._record["moving"] != name:
                raise UserError(f"{target} exists, and the rehearsal did not write it. Remove it, or give another --root.")
        self._record["moving"] = name
        self._save()
        size = bytes_of(partial)
        for source in list(partial.iterdir()):
            target = self.root / source.name
            shutil.rmtree(target, ignore_errors=True)
            source.replace(target)
        partial.rmdir()
        self._record["moving"] = None
        self._record["done"][name] = size
        self._save()

    def _save(self) -> None:
        write_bytes(self._file, json.dumps(self._record, indent=2).encode())


def _shown(settings: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in settings.items())


class Painter:
    """Draws and encodes the pictures of one set.

    Args:
        one: the set.
        settings: images per class, sizes and seed.
    """

    def __init__(self, one: RehearsalSet, settings: Settings):
        self.one, self.settings = one, settings
        self.names = one.class_names(settings.images_per_class)

    def draw(self, key: str, number: int, size: Size | None) -> Image.Image:
        """Return the picture of a class and number, without a size in that of the set."""
        if size is None:
            width, height = self.one.size
            if self.one.varied:
                scale, upright = variation(self.names[key], number)
                width, height = round(scale * width), round(scale * height)
                width, height = (height, width) if upright else (width, height)
            shrink = 1.0 if self.settings.real_sizes else min(1.0, SMALL_SIDE / max(width, height))
            size = max(8, round(shrink * width)), max(8, round(shrink * height))
        return draw(self.names[key], number, size, self.settings.seed)

    def encode(self, key: str, number: int, suffix: str) -> bytes:
        """Return the content of the image file of a class and number. The suffix says the format."""
        image, file_format = self.draw(key, number, None), Image.registered_extensions()[suffix.lower()]
        odd = self.one.odd.get((key, number))
        if odd in Image.MIME:
            file_format = str(odd)
        elif odd is not None:
            image = image.convert(odd)
        file = io.BytesIO()
        image.save(file, file_format, **({"quality": self.one.quality} if file_format == "JPEG" else {}))
        return file.getvalue()


def write_set(root: Path, name: str, settings: Settings, workers: int = 1, progress: Progress | None = None) -> None:
    """Write the files of one set under a data folder, with CoOp's split of it.

    Args:
        root: the data folder.
        name: a key of `SETS`.
        settings: images per class, sizes and seed.
        workers: threads that draw pictures.
        progress: called as progress(done, total, what).
    """
    one = SETS[name]
    painter, total = Painter(one, settings), one.images(settings.images_per_class)
    report = progress or (lambda done, total, what: None)
    waiting: list[Future[None]] = []
    drawn = 0

    def draw_one(key: str, number: int, size: Size | None) -> Image.Image:
        nonlocal drawn
        drawn += 1
        report(drawn, total, name)
        return painter.draw(key, number, size)

    with ThreadPoolExecutor(workers, thread_name_prefix="draw") as pool:

        def save(path: Path, key: str, number: int) -> None:
            waiting.append(pool.submit(_save, path, painter, key, number))

        content = Content(tuple(painter.names), one.per_class(settings.images_per_class), draw_one, save)
        items = one.layout(root, content)
        for done, future in enumerate(as_completed(waiting), start=1):
            future.result()
            report(done, total, name)
    if one.coop is not None and items:
        coop.write(root, one.coop, items)


def _save(path: Path, painter: Painter, key: str, number: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(painter.encode(key, number, path.suffix))


def estimate(name: str, settings: Settings) -> int:
    """Return the bytes of a set, estimated from a few of its pictures. Lists and annotations are not counted."""
    one = SETS[name]
    painter, count = Painter(one, settings), one.images(settings.images_per_class)
    keys = list(painter.names)[:: max(1, len(painter.names) // SAMPLE)][:SAMPLE]
    if one.suffix is None:
        width, height = one.size
        return count * width * height * (1 if name.endswith("mnist") else 3)
    return count * sum(len(painter.encode(key, 2, one.suffix)) for key in keys) // len(keys)
