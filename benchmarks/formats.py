"""Image formats: the ones that are read, their file endings, and what to say about others.

Every image from outside is opened with `pillow_formats()`. Pillow knows more formats, but some of them start another program
(EPS starts Ghostscript), and others hold no picture (FITS, HDF5). Importing this module imports neither torch nor Pillow, so
listing files stays fast.
"""

from __future__ import annotations

import codecs
from functools import cache

READ: dict[str, tuple[str, ...]] = {
    "JPEG": (".jpg", ".jpeg", ".jpe", ".jfif"),
    "PNG": (".png", ".apng"),
    "GIF": (".gif",),
    "BMP": (".bmp", ".dib"),
    "TIFF": (".tif", ".tiff"),
    "WEBP": (".webp",),
    "AVIF": (".avif",),
    "JPEG2000": (".jp2", ".j2k", ".jpx", ".jpf", ".jpc", ".j2c"),
    "PPM": (".ppm", ".pgm", ".pbm", ".pnm", ".pfm"),
    "QOI": (".qoi",),
}
"""Pillow's name of each format that is read -> its file endings. A file may hold another format of this table."""

EXTENSIONS = tuple(ending for endings in READ.values() for ending in endings)

_CAMERA = (".dng", ".cr2", ".cr3", ".nef", ".arw", ".orf", ".rw2", ".raf")
_VIDEO = (".mp4", ".mov", ".avi", ".mkv", ".webm", ".m4v", ".mpg", ".mpeg")
UNREAD: dict[str, str] = {
    **dict.fromkeys((".heic", ".heif", ".hif"), "HEIC image"),
    **dict.fromkeys((".svg", ".svgz"), "SVG drawing"),
    **dict.fromkeys((".eps", ".ps", ".ai"), "PostScript file"),
    **dict.fromkeys((".wmf", ".emf"), "Windows metafile"),
    **dict.fromkeys((".fits", ".fit"), "FITS file"),
    **dict.fromkeys((".dcm", ".dicom"), "DICOM file"),
    **dict.fromkeys((".npy", ".npz"), "NumPy array"),
    **dict.fromkeys(_CAMERA, "camera's raw file"),
    **dict.fromkeys(_VIDEO, "video"),
    ".jxl": "JPEG XL image",
    ".psd": "Photoshop file",
    ".pdf": "PDF file",
    ".tga": "TGA image",
    ".pcx": "PCX image",
    ".ico": "ICO icon",
    ".icns": "ICNS icon",
    ".dds": "DDS texture",
    ".sgi": "SGI image",
    ".exr": "OpenEXR image",
    ".hdr": "Radiance HDR image",
    ".xcf": "GIMP file",
}
"""File endings of pictures that are not read -> what such a file is called in messages."""

# What a file that is not an image starts with -> what it is.
_SIGNATURES = (
    (b"%!PS", "a PostScript file"),
    (b"\xc5\xd0\xd3\xc6", "a PostScript file"),
    (b"%PDF", "a PDF file"),
    (b"version https://git-lfs", "a Git LFS pointer (`git lfs pull` fetches the image)"),
    (b"PK\x03\x04", "a ZIP archive"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"7z\xbc\xaf", "a 7-Zip archive"),
    (b"Rar!", "a RAR archive"),
    (b"8BPS", "a Photoshop file"),
    (b"\x93NUMPY", "a NumPy array"),
    (b"\x89HDF", "an HDF5 file"),
    (b"SIMPLE  =", "a FITS file"),
    (b"\xff\x0a", "a JPEG XL image"),
    (b"\x00\x00\x00\x0cJXL ", "a JPEG XL image"),
    (b"\x00\x05\x16\x07", "metadata of macOS (AppleDouble)"),
    (b"\x00\x00\x01\x00", "an ICO icon"),
    (b"\xd7\xcd\xc6\x9a", "a Windows metafile"),
    (b"v/1\x01", "an OpenEXR image"),
    (b"#?RADIANCE", "a Radiance HDR image"),
)
_BRANDS = {
    **dict.fromkeys((b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"mif1", b"msf1"), "a HEIC image"),
    **dict.fromkeys((b"avif", b"avis"), "an AVIF image, which this version of Pillow cannot read (`pip install -U pillow`)"),
}
HEAD = 512
"""Bytes of a file that `describe` looks at."""


@cache
def pillow_formats() -> tuple[str, ...]:
    """Return the formats of `READ` that the installed Pillow can open, for `Image.open(..., formats=...)`."""
    from PIL import Image

    Image.init()
    return tuple(name for name in READ if name in Image.OPEN)


def is_image(name: str) -> bool:
    """Tell by its name whether a file is an image that is read. Hidden files are not images."""
    return name.lower().endswith(EXTENSIONS) and not name.startswith(".")


def unread_kind(name: str) -> str | None:
    """Return what a picture in a format that is not read is called ("HEIC image"), by its name; None for other files."""
    return next((kind for ending, kind in UNREAD.items() if name.lower().endswith(ending)), None)


def describe(head: bytes) -> str | None:
    """Return what the first `HEAD` bytes of a file that is not an image show ("an HTML page"), or None if they show nothing."""
    for start, kind in _SIGNATURES:
        if head.startswith(start):
            return kind
    if head[4:8] == b"ftyp":
        return _BRANDS.get(head[8:12], "a video")
    if head[128:132] == b"DICM":
        return "a DICOM file"
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if text.startswith((b"<!doctype html", b"<html", b"<head", b"<body")):
        return "an HTML page"
    if b"<svg" in text and text.startswith(b"<"):
        return "an SVG drawing"
    if text.startswith(b"<"):
        return "an XML or HTML file"
    if head and all(byte >= 32 or byte in b"\t\r\n\f" for byte in head):
        try:
            # Incremental: the last character may be cut.
            codecs.getincrementaldecoder("utf-8")().decode(head)
            return "a text file"
        except UnicodeDecodeError:
            return None
    return None
