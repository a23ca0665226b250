"""Open untrusted image files: only allowed formats, no Pillow warnings, and one exception type with a reason."""

from __future__ import annotations

import ctypes
import io
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path

from PIL import Image, UnidentifiedImageError

from benchmarks.data.formats import HEAD, describe, pillow_formats

MISSING = "it is missing"


class Undecodable(ValueError):
    """An image cannot be decoded. The text completes "Cannot read the image PATH: ..." and has no full stop."""


@contextmanager
def opened(source: str | Path | bytes) -> Iterator[Image.Image]:
    """Open an image by its path or its bytes. Nothing is decoded before `load`.

    Raises:
        FileNotFoundError: for a path that does not exist.
        Undecodable: with the reason, for any error of Pillow on the file, also inside the `with` block.
    """
    _ignore_pillow_warnings()
    _silence_libtiff()
    size: tuple[int, int] | None = None
    try:
        with Image.open(io.BytesIO(source) if isinstance(source, bytes) else source, formats=pillow_formats()) as image:
            size = image.size
            yield image
    except (FileNotFoundError, Undecodable):
        raise
    except Image.DecompressionBombError as error:
        raise Undecodable(_too_large(error)) from error
    except UnidentifiedImageError as error:
        raise Undecodable(_not_an_image(source)) from error
    except MemoryError as error:
        pixels = f"its {size[0]:,} x {size[1]:,} pixels" if size else "it"
        raise Undecodable(f"there is not enough memory for {pixels}") from error
    except OSError as error:
        if error.errno is not None:
            raise Undecodable(error.strerror or str(error)) from error
        raise Undecodable(_damaged(source, error)) from error
    except Exception as error:  # decoders raise anything on damaged files: SyntaxError, struct.error, KeyError, ...
        raise Undecodable(_damaged(source, error)) from error


def _ignore_pillow_warnings() -> None:
    """Ignore the warnings of Pillow's modules: damaged EXIF data, many pixels, palettes, ...

    This is a filter because `warnings.catch_warnings` is unsafe in threads. It is inserted again if another filter precedes it.
    """
    pillow_filter = ("ignore", None, Warning, re.compile(r"PIL(\.|$)"), 0)
    if not warnings.filters or warnings.filters[0] != pillow_filter:
        warnings.filterwarnings("ignore", module=r"PIL(\.|$)")


@cache
def _silence_libtiff() -> None:
    """Stop libtiff from printing to standard error about damaged files, for which Pillow raises an error anyway.

    This works for the library in Pillow's wheels for Linux and macOS. Elsewhere libtiff still prints.
    """
    package = Path(Image.__file__).parent
    for library in (*package.parent.glob("pillow.libs/libtiff*"), *package.glob(".dylibs/libtiff*")):
        with suppress(OSError, AttributeError):
            loaded = ctypes.CDLL(str(library))
            loaded.TIFFSetErrorHandler(None)
            loaded.TIFFSetWarningHandler(None)


def _too_large(error: Image.DecompressionBombError) -> str:
    limit = 2 * (Image.MAX_IMAGE_PIXELS or 0)
    pixels = re.search(r"\((\d+) pixels\)", str(error))
    count = f"{int(pixels[1]):,} pixels" if pixels else "more pixels"
    return (
        f"it has {count}, more than Pillow's limit of {limit:,}; make it smaller (models use a few hundred pixels per side) "
        "or remove it"
    )


def _not_an_image(source: str | Path | bytes) -> str:
    head = _head(source)
    if not head:
        return "the file is empty (0 bytes)"
    kind = describe(head)
    if kind is not None and kind.startswith("an AVIF image") and "AVIF" in pillow_formats():
        return "it is a damaged AVIF image"
    return "it is not an image, or it is damaged at its start" if kind is None else f"it is {kind}"


def _damaged(source: str | Path | bytes, error: Exception) -> str:
    if not _head(source):
        return "the file is empty (0 bytes)"
    text = str(error).strip().splitlines()
    if isinstance(error, NotImplementedError | ImportError) and text:
        return text[0].rstrip(".")
    return f"it is damaged or cut short ({text[0].rstrip('.') if text else type(error).__name__})"


def _head(source: str | Path | bytes) -> bytes:
    if isinstance(source, bytes):
        return source[:HEAD]
    try:
        with open(source, "rb") as file:
            return file.read(HEAD)
    except OSError:
        return b""
