"""Look at all images of the user's own data before they are used: which cannot be read, how deep they are, which are blank."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, NamedTuple

from PIL import Image

from benchmarks.data.depth import COLOUR, Depth, Scale, is_deep_grey, kind_of, mark, own_rgb, scale_of, value_range
from benchmarks.data.opening import MISSING, Undecodable, opened

if TYPE_CHECKING:
    from benchmarks.plan import Progress

# Images between two reports of progress.
CHUNK = 256
PLAIN_SAMPLE, TRANSPARENT_SAMPLE = 32, 128
"""Images without and with transparency that are decoded to look for blank ones."""


class Seen(NamedTuple):
    """One image: why it cannot be read (None), its kind, its smallest and largest value if deep, and its transparency."""

    reason: str | None = None
    kind: str | None = None
    low: float = 0.0
    high: float = 0.0
    transparent: bool = False


class Survey(NamedTuple):
    """What all images of a dataset show.

    `unreadable`: (dataset, index, reason) of images that cannot be read. `refusal`: why the images as a whole cannot be
    used. `scales`: by kind of depth. `warnings` and `notes`: sentences for the user. `blank`: the warning about images of
    one colour among the deep ones and a sample of the others, if there are any.
    """

    unreadable: list[tuple[int, int, str]]
    refusal: str | None
    scales: dict[str, Scale]
    warnings: tuple[str, ...]
    notes: tuple[str, ...]
    blank: str | None = None


def survey(datasets: Sequence[Any], progress: Progress | None = None) -> Survey:
    """Read the heads of all images, decode the deep ones for their range, and a sample of the others for blank ones."""
    places = [(d, index) for d, dataset in enumerate(datasets) for index in range(len(dataset))]
    seen: list[Seen] = []
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        run: Callable[..., Iterator[Any]] = pool.map if all(dataset.threads for dataset in datasets) else map
        for start in range(0, len(places), CHUNK):
            seen += run(lambda place: look(datasets[place[0]], place[1]), places[start : start + CHUNK])
            if progress is not None:
                progress(len(seen), len(places), "looking at the images")
        ranges: dict[str, tuple[float, float]] = {}
        for one in seen:
            if one.reason is None and one.kind is not None:
                low, high = ranges.get(one.kind, (one.low, one.high))
                ranges[one.kind] = (min(low, one.low), max(high, one.high))
        scales = {kind: scale_of(kind, *ends) for kind, ends in sorted(ranges.items()) if is_deep_grey(kind)}
        sampled = _sample(seen)
        done = Depth([])
        done.result = Survey([], None, scales, (), ())
        blank = list(run(lambda i: _blank(datasets[places[i][0]], places[i][1], done), sampled))
    blanks = [i for i, one in enumerate(seen) if one.reason is None and is_deep_grey(one.kind) and one.low == one.high]
    blanks += [i for i, found in zip(sampled, blank, strict=True) if found]
    counts = {kind: sum(one.kind == kind for one in seen) for kind in ranges}
    refusal, warnings, notes = _depths(scales, ranges, counts)
    one_colour = None
    if blanks:
        d, index = places[min(blanks)]
        looked = len(sampled) + sum(is_deep_grey(one.kind) for one in seen)
        one_colour = blank_sentence(len(blanks), looked, datasets[d].name_of(index))
    unreadable = [(*place, one.reason) for place, one in zip(places, seen, strict=True) if one.reason is not None]
    return Survey(unreadable, refusal, scales, tuple(warnings), tuple(notes), one_colour)


def look(dataset: Any, index: int) -> Seen:
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


def blank_sentence(blank: int, looked: int, example: str) -> str:
    """Return the warning about images of one colour."""
    number = f"{blank:,} of {looked:,} images" if looked > 1 else "the image"
    are = "are" if blank > 1 else "is"
    return (
        f"{number} {are} one colour all over, such as {example}: look at {'them' if blank > 1 else 'it'} (transparent parts "
        "are laid over white, docs/data.md has what happens to every kind of image)"
    )


def is_blank(image: Image.Image) -> bool:
    """Tell whether an RGB image has (nearly) one colour: no channel varies by more than 2 of 255."""
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
    """Return evenly spaced readable images of 8 bits, without and with transparency."""
    chosen: list[int] = []
    for transparent, most in ((False, PLAIN_SAMPLE), (True, TRANSPARENT_SAMPLE)):
        able = [
            i
            for i, one in enumerate(seen)
            if one.reason is None and not is_deep_grey(one.kind) and one.transparent == transparent
        ]
        chosen += able[:: max(1, -(-len(able) // most))]
    return sorted(chosen)


def _blank(dataset: Any, index: int, depth: Depth) -> bool:
    try:
        source = dataset.source_of(index)
        if isinstance(source, Image.Image):
            return is_blank(own_rgb(source.copy(), kind_of(source), depth))
        with opened(source) as image:
            kind = kind_of(image)
            mark(image)
            # JPEG files are decoded at an eighth of their size here.
            image.draft("RGB", (32, 32))
            image.load()
            return is_blank(own_rgb(image, kind, depth))
    except (Undecodable, FileNotFoundError):
        return False  # it shows when it is decoded


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
            warnings.append(f"{sentence}, which is a guess: save them as 8 bits if it is wrong")
        else:
            notes.append(sentence)
    if COLOUR in ranges:
        brightest = int(ranges[COLOUR][1])
        images = (
            f"{counts[COLOUR]:,} images have 16-bit colour, of which only the upper 8 bits are read, and the brightest value"
        )
        if brightest < 16:
            refusal = f"{images} is {brightest} of 255: they are nearly black. Save them with 8 bits per channel."
        elif brightest < 64:
            warnings.append(
                f"{images} is {brightest} of 255: they are dark; save them with 8 bits per channel if they should not be"
            )
    return refusal, warnings, notes
