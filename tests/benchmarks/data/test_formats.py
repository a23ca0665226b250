"""Image formats: the endings of images, and the descriptions of other files."""

import pytest
from PIL import Image

from benchmarks.data.formats import EXTENSIONS, READ, UNREAD, describe, is_image, pillow_formats, unread_kind


def test_the_table_names_formats_and_endings_that_pillow_knows():
    Image.init()
    known = Image.registered_extensions()
    assert set(pillow_formats()) <= set(READ) and {"JPEG", "PNG", "TIFF", "WEBP"} <= set(pillow_formats())
    for name, endings in READ.items():
        for ending in endings:
            if ending in known:
                assert known[ending] in (name, "DIB"), ending
    assert not set(EXTENSIONS) & set(UNREAD)


def test_formats_that_run_programs_or_hold_no_picture_are_left_out():
    assert not {"EPS", "WMF", "FITS", "HDF5", "GRIB", "BUFR", "MPEG", "PSD", "IPTC"} & set(READ)


@pytest.mark.parametrize("name", ["a.jpg", "A.JPEG", "b.jfif", "c.avif", "d.JP2", "e.webp", "x.tar.png", "f.pbm"])
def test_names_of_images(name):
    assert is_image(name) and unread_kind(name) is None


@pytest.mark.parametrize("name", [".a.jpg", "._b.png", "a.txt", "jpg", "a.jpg.part", "Thumbs.db", "a.heic"])
def test_names_of_other_files(name):
    assert not is_image(name)


def test_unread_picture_formats_have_a_name():
    assert unread_kind("IMG_1.HEIC") == "HEIC image" and unread_kind("logo.svg") == "SVG drawing"
    assert unread_kind("notes.txt") is None


@pytest.mark.parametrize(
    ("head", "kind"),
    [
        (b"%!PS-Adobe-3.0 EPSF-3.0\n", "a PostScript file, which is not read: convert it to JPEG or PNG"),
        (b"\n<!DOCTYPE html><html>", "an HTML page, not an image"),
        (b"<html>404</html>", "an HTML page, not an image"),
        (b'<?xml version="1.0"?>\n<svg xmlns="x">', "an SVG drawing, which is not read: convert it to JPEG or PNG"),
        (b'<?xml version="1.0"?><Error>', "an XML or HTML file, not an image"),
        (
            b"version https://git-lfs.github.com/spec/v1\noid",
            "a Git LFS pointer, not an image: `git lfs pull` fetches the image",
        ),
        (b"\0\0\0\x18ftypheic\0\0\0\0", "a HEIC image, which is not read: convert it to JPEG or PNG"),
        (b"\0\0\0\x18ftypisom\0\0\0\0", "a video, not an image"),
        ("caf\u00e9 ".encode() * 200, "a text file, not an image"),
        ("\u00e9".encode() * 300 + b"x", "a text file, not an image"),
        (b'{"error": 404}', "a text file, not an image"),
        (b"\x01\x02\x03", None),
        (b"\xff\xd8\xff\xe0", None),
        (b"", None),
    ],
)
def test_descriptions_of_files(head, kind):
    assert describe(head[:512]) == kind
