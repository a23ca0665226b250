"""The image formats that are read, their file endings, and descriptions of other formats for messages.

Every untrusted image is opened with `pillow_formats()`. Pillow supports more formats, but some of them start another program
(EPS starts Ghostscript), and others hold no picture (FITS, HDF5). This module imports neither torch nor Pillow, so that
listing files is fast.
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
"""File endings by Pillow's name of each format that is read. A file may hold another format of this table."""

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
"""Names in messages of picture formats that are not read, by file ending."""

_CONVERT = ", which is not read: convert it to JPEG or PNG"
_OTHER = ", not an image"
# The first bytes of files that are not read, and descriptions of such files.
_SIGNATURES = (
    (b"%!PS", f"a PostScript file{_CONVERT}"),
    (b"\xc5\xd0\xd3\xc6", f"a PostScript file{_CONVERT}"),
    (b"%PDF", f"a PDF file{_CONVERT}"),
    (b"8BPS", f"a Photoshop file{_CONVERT}"),
    (b"\xff\x0a", f"a JPEG XL image{_CONVERT}"),
    (b"\x00\x00\x00\x0cJXL ", f"a JPEG XL image{_CONVERT}"),
    (b"\x00\x00\x01\x00", f"an ICO icon{_CONVERT}"),
    (b"\xd7\xcd\xc6\x9a", f"a Windows metafile{_CONVERT}"),
    (b"v/1\x01", f"an OpenEXR image{_CONVERT}"),
    (b"#?RADIANCE", f"a Radiance HDR image{_CONVERT}"),
    (b"SIMPLE  =", f"a FITS file{_CONVERT}"),
    (b"\x93NUMPY", f"a NumPy array{_CONVERT}"),
    (b"\x89HDF", f"an HDF5 file{_CONVERT}"),
    (b"version https://git-lfs", f"a Git LFS pointer{_OTHER}: `git lfs pull` fetches the image"),
    (b"PK\x03\x04", f"a ZIP archive{_OTHER}"),
    (b"\x1f\x8b", f"a gzip archive{_OTHER}"),
    (b"7z\xbc\xaf", f"a 7-Zip archive{_OTHER}"),
    (b"Rar!", f"a RAR archive{_OTHER}"),
    (b"\x00\x05\x16\x07", f"metadata of macOS (AppleDouble){_OTHER}"),
)
_BRANDS = {
    **dict.fromkeys((b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"mif1", b"msf1"), f"a HEIC image{_CONVERT}"),
    **dict.fromkeys((b"avif", b"avis"), "an AVIF image, which this version of Pillow does not read: `pip install -U pillow`"),
}
HEAD = 512
"""The number of bytes at the start of a file that `describe` needs."""


@cache
def pillow_formats() -> tuple[str, ...]:
    """Return the formats of `READ` that the installed Pillow can open, for `Image.open(..., formats=...)`."""
    from PIL import Image

    Image.init()
    return tuple(name for name in READ if name in Image.OPEN)


def is_image(name: str) -> bool:
    """Return whether a file's name is that of an image that is read. Hidden files are not images."""
    return name.lower().endswith(EXTENSIONS) and not name.startswith(".")


def unread_kind(name: str) -> str | None:
    """Return the format of a picture that is not read ("HEIC image") from its name; None for other files."""
    return next((kind for ending, kind in UNREAD.items() if name.lower().endswith(ending)), None)


def describe(head: bytes) -> str | None:
    """Describe a file that cannot be opened by its first `HEAD` bytes; None if they are not recognised.

    The phrase completes "it is ...", for example "an HTML page, not an image".
    """
    for start, kind in _SIGNATURES:
        if head.startswith(start):
            return kind
    if head[4:8] == b"ftyp":
        return _BRANDS.get(head[8:12], f"a video{_OTHER}")
    if head[128:132] == b"DICM":
        return f"a DICOM file{_CONVERT}"
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if text.startswith((b"<!doctype html", b"<html", b"<head", b"<body")):
        return f"an HTML page{_OTHER}"
    if b"<svg" in text and text.startswith(b"<"):
        return f"an SVG drawing{_CONVERT}"
    if text.startswith(b"<"):
        return f"an XML or HTML file{_OTHER}"
    if head and all(byte >= 32 or byte in b"\t\r\n\f" for byte in head):
        try:
            # Incremental, because the last character may be cut off.
            codecs.getincrementaldecoder("utf-8")().decode(head)
            return f"a text file{_OTHER}"
        except UnicodeDecodeError:
            return None
    return None
