"""Survey the user's own images before they are used: find unreadable and blank ones, and the scales of deep greyscale."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple, Protocol

from PIL import Image

from benchmarks.data.depth import COLOUR, Scale, Scales, is_deep_grey, kind_of, mark, own_rgb, scale_of, value_range
from benchmarks.data.opening import MISSING, Undecodable, opened
from benchmarks.data.progress import Progress
from models.processors import processors

# Images between two reports of progress.
CHUNK = 256
PLAIN_SAMPLE, TRANSPARENT_SAMPLE = 32, 128
"""Images without and with transparency that are decoded in the search for blank ones."""


class Surveyed(Protocol):
    """A dataset of images that can be surveyed. `threads` says whether several threads may read it."""

    threads: bool

    def __len__(self) -> int: ...

    def source_of(self, index: int) -> str | bytes | Image.Image:
        """Return an image as a path, as the bytes of its file, or opened."""

    def name_of(self, index: int) -> str:
        """Return the name of an image in messages."""


class Seen(NamedTuple):
    """The findings of one image.

    Attributes:
        reason: why it cannot be read, or None.
        kind: its `kind_of`.
        low, high: the smallest and largest value of a deep image.
        transparent: whether it has transparency.
    """

    reason: str | None = None
    kind: str | None = None
    low: float = 0.0
    high: float = 0.0
    transparent: bool = False


class Survey(NamedTuple):
    """The findings of all images of a set of datasets.

    Attributes:
        unreadable: (dataset, index, reason) of each image that cannot be read.
        refusal: why the images as a whole cannot be used, or None.
        scales: scale by kind of deep greyscale.
        warnings, notes: sentences for the user.
        blank: a warning about images of one colour, or None. All deep images and a sample of the others are checked.
    """

    unreadable: list[tuple[int, int, str]]
    refusal: str | None
    scales: dict[str, Scale]
    warnings: tuple[str, ...]
    notes: tuple[str, ...]
    blank: str | None = None


class Depth:
    """The scales of one set of data, computed once from all its images.

    All splits of a domain belong to one `Depth`. The survey reads the head of every image and decodes those with more than
    8 bits.

    Args:
        datasets: the datasets of all splits.
    """

    def __init__(self, datasets: Sequence[Surveyed]):
        self.datasets = list(datasets)
        self.result: Survey | None = None
        self.lock = threading.RLock()

    def survey(self, progress: Progress | None = None, again: bool = False) -> Survey:
        """Return the survey of all images. It is made on the first call, and on calls with `again`."""
        with self.lock:
            if self.result is None or again:
                self.result = survey(self.datasets, progress)
            return self.result

    def scale(self, kind: str) -> Scale | None:
        """Return the scale of a kind, or None if the survey found no image of it."""
        return self.survey().scales.get(kind)

    def __getstate__(self) -> dict[str, Any]:
        return {"datasets": self.datasets, "result": self.result}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.datasets, self.result, self.lock = state["datasets"], state["result"], threading.RLock()


def survey(datasets: Sequence[Surveyed], progress: Progress | None = None) -> Survey:
    """Read the heads of all images, decode the deep ones for their range, and a sample of the others to find blank ones."""
    places = [(d, index) for d, dataset in enumerate(datasets) for index in range(len(dataset))]
    seen: list[Seen] = []
    with ThreadPoolExecutor(processors()) as pool:
        run: Callable[..., Iterator[Any]] = pool.map if all(dataset.threads for dataset in datasets) else map
        for start in range(0, len(places), CHUNK):
            seen += run(lambda place: look(datasets[place[0]], place[1]), places[start : start + CHUNK])
            if progress is not None:
                progress(len(seen), len(places), "checking the images")
        ranges: dict[str, tuple[float, float]] = {}
        for image in seen:
            if image.reason is None and image.kind is not None:
                low, high = ranges.get(image.kind, (image.low, image.high))
                ranges[image.kind] = (min(low, image.low), max(high, image.high))
        scales = {kind: scale_of(kind, *ends) for kind, ends in sorted(ranges.items()) if is_deep_grey(kind)}
        sampled = _sample(seen)
        depth = Depth([])
        depth.result = Survey([], None, scales, (), ())
        blank = list(run(lambda i: _blank(datasets[places[i][0]], places[i][1], depth), sampled))
    blanks = [
        i for i, image in enumerate(seen) if image.reason is None and is_deep_grey(image.kind) and image.low == image.high
    ]
    blanks += [i for i, one_colour in zip(sampled, blank, strict=True) if one_colour]
    counts = {kind: sum(image.kind == kind for image in seen) for kind in ranges}
    refusal, warnings, notes = _depths(scales, ranges, counts)
    blank_warning = None
    if blanks:
        d, index = places[min(blanks)]
        checked = len(sampled) + sum(is_deep_grey(image.kind) for image in seen)
        blank_warning = blank_sentence(len(blanks), checked, datasets[d].name_of(index))
    unreadable = [(*place, image.reason) for place, image in zip(places, seen, strict=True) if image.reason is not None]
    return Survey(unreadable, refusal, scales, tuple(warnings), tuple(notes), blank_warning)


def look(dataset: Surveyed, index: int) -> Seen:
    """Read the head of one image, and its range if it is deeper than 8 bits."""
    try:
        source = dataset.source_of(index)
        if isinstance(source, Image.Image):
            return _look_at(source)
        with opened(source) as image:
            return _look_at(image)
    except FileNotFoundError:
        return Seen(MISSING)
    except Undecodable as error:
        return Seen(str(error))


def blank_sentence(blank: int, checked: int, example: str) -> str:
    """Return the warning about `blank` images of one colour among `checked` ones, with the name of an example."""
    number = f"{blank:,} of {checked:,} images" if checked > 1 else "the image"
    verb, pronoun = ("have", "them") if blank > 1 else ("has", "it")
    return (
        f"{number} {verb} only one colour, for example {example}: check {pronoun} (transparent parts become white; "
        "docs/data.md describes how each kind of image is read)"
    )


def is_blank(image: Image.Image) -> bool:
    """Return whether an RGB image has (nearly) one colour: no channel varies by more than 2 of 255."""
    extremes: Any = image.getextrema()
    return all(high - low <= 2 for low, high in (extremes if isinstance(extremes[0], tuple) else (extremes,)))


def _look_at(image: Image.Image) -> Seen:
    kind = kind_of(image)
    transparent = bool(image.has_transparency_data)
    if kind is None:
        return Seen(transparent=transparent)
    image.load()
    if kind != COLOUR:
        return Seen(None, kind, *value_range(image, kind), transparent)
    extremes: Any = image.convert("RGB").getextrema()
    return Seen(None, kind, min(low for low, _ in extremes), max(high for _, high in extremes), transparent)


def _sample(seen: Sequence[Seen]) -> list[int]:
    """Return the indices of evenly spaced readable 8-bit images, without and with transparency."""
    chosen: list[int] = []
    for transparent, most in ((False, PLAIN_SAMPLE), (True, TRANSPARENT_SAMPLE)):
        able = [
            i
            for i, image in enumerate(seen)
            if image.reason is None and not is_deep_grey(image.kind) and image.transparent == transparent
        ]
        chosen += able[:: max(1, -(-len(able) // most))]
    return sorted(chosen)


def _blank(dataset: Surveyed, index: int, depth: Scales) -> bool:
    try:
        source = dataset.source_of(index)
        if isinstance(source, Image.Image):
            return is_blank(own_rgb(source.copy(), kind_of(source), depth))
        with opened(source) as image:
            kind = kind_of(image)
            mark(image)
            # This decodes JPEG files at an eighth of their size.
            image.draft("RGB", (32, 32))
            image.load()
            return is_blank(own_rgb(image, kind, depth))
    except (Undecodable, FileNotFoundError):
        return False  # reported when the image is decoded for use


def _depths(
    scales: dict[str, Scale], ranges: dict[str, tuple[float, float]], counts: dict[str, int]
) -> tuple[str | None, list[str], list[str]]:
    """Return a refusal, warnings and notes about images deeper than 8 bits."""
    refusal, warnings, notes = None, [], []
    for kind, scale in scales.items():
        low, high = ranges[kind]
        values = f"values {low:,.6g} to {high:,.6g}" if low < 0 else f"largest value {high:,.6g}"
        sentence = f"{counts[kind]:,} greyscale images are {kind} ({values}) and are read as {scale.name}"
        if scale.guess:
            warnings.append(f"{sentence}, which is a guess: if it is wrong, save them with 8 bits")
        else:
            notes.append(sentence)
    if COLOUR in ranges:
        brightest = int(ranges[COLOUR][1])
        images = f"{counts[COLOUR]:,} images have 16-bit colour, of which only the upper 8 bits are read. The brightest value"
        if brightest < 16:
            refusal = f"{images} is {brightest} of 255, so they are nearly black. Save them with 8 bits per channel."
        elif brightest < 64:
            warnings.append(
                f"{images} is {brightest} of 255, so they are dark. If they should not be, save them with 8 bits per channel"
            )
    return refusal, warnings, notes
