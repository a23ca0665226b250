"""Image files: fingerprints that depend on the data and not on its name, and upright photographs."""

import os

import numpy as np
import pytest
from PIL import Image

from benchmarks.data.formats import pillow_formats
from benchmarks.data.images import ArrayImages, ImageFiles, file_source, fingerprint_of, read_image
from models.registry import UserError


@pytest.fixture
def photo(tmp_path):
    """Write an image twice as wide as high, red on its left, with the EXIF tag for a turn by 90 degrees clockwise."""
    image = Image.new("RGB", (32, 16), (0, 0, 200))
    image.paste((200, 0, 0), (0, 0, 16, 16))
    exif = Image.Exif()
    exif[0x0112] = 6
    image.save(tmp_path / "photo.png", exif=exif)
    return tmp_path / "photo.png"


def test_fingerprints_do_not_depend_on_the_working_directory(photo, monkeypatch):
    monkeypatch.chdir(photo.parent)
    absolute, relative = ImageFiles([photo], [0]), ImageFiles(["photo.png"], [0])
    assert fingerprint_of(absolute) == fingerprint_of(relative) == fingerprint_of(ImageFiles(["./photo.png"], [0]))
    pixels = np.zeros((1, 4, 4), dtype=np.uint8)
    first, second = (ArrayImages(pixels, [0], file_source(path)) for path in (photo, "photo.png"))
    assert fingerprint_of(first) == fingerprint_of(second)


def test_fingerprints_are_computed_once(photo, monkeypatch):
    images, calls, stat = ImageFiles([photo], [0]), [], os.stat
    monkeypatch.setattr(os, "stat", lambda path, **how: calls.append(path) or stat(path, **how))
    assert len({images.fingerprint() for _ in range(3)}) == 1
    assert calls.count(str(photo)) == 1


def test_fingerprints_depend_on_how_images_are_read(photo):
    kinds = [ImageFiles([photo], [0]), ImageFiles([photo], [0], None), ImageFiles([photo], [0], upright=True)]
    assert len({images.fingerprint() for images in kinds}) == 3
    before = ImageFiles([photo], [0]).fingerprint()
    os.utime(photo, ns=(1, 1))
    assert ImageFiles([photo], [0]).fingerprint() != before
    with pytest.raises(UserError, match=r"none\.png is missing"):
        ImageFiles([photo.parent / "none.png"], [0]).fingerprint()


def test_upright(photo):
    stored, turned = read_image(photo), read_image(photo, upright=True)
    assert stored.size == (32, 16) and stored.getpixel((0, 0)) == (200, 0, 0) == stored.getpixel((0, 15))
    assert turned.size == (16, 32) and turned.getpixel((0, 0)) == (200, 0, 0) == turned.getpixel((15, 0))
    assert turned.getpixel((0, 31)) == (0, 0, 200)
    assert ImageFiles([photo], [0], upright=True)[0][0].tobytes() == turned.tobytes()
    assert read_image(photo, None, upright=True).size == (16, 32)


def test_damaged_exif_data_is_ignored(tmp_path):
    Image.new("RGB", (6, 4)).save(tmp_path / "x.jpg", exif=b"Exif\0\0II*\0\x08\0\0\0\xff\xff broken")
    Image.new("RGB", (6, 4)).save(tmp_path / "y.jpg", exif=b"Exif\0\0no such thing")
    for name in ("x.jpg", "y.jpg"):
        assert read_image(tmp_path / name, upright=True).size == (6, 4)


def refused(path, content=None):
    """Write a file and return why it cannot be read, the same as users' own and as a paper's image."""
    if content is not None:
        path.write_bytes(content)
    reasons = set()
    for upright in (False, True):
        with pytest.raises(UserError) as error:
            read_image(path, upright=upright)
        reasons.add(str(error.value))
    (reason,) = reasons
    assert reason.startswith(f"Cannot read the image {path}: ") and "\n" not in reason
    return reason.removeprefix(f"Cannot read the image {path}: ")


def test_an_image_with_too_many_pixels_is_counted_and_one_below_the_limit_is_read_silently(tmp_path, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 600)
    Image.new("1", (50, 40)).save(tmp_path / "over.png")
    Image.new("1", (50, 20)).save(tmp_path / "warn.png")
    reason = refused(tmp_path / "over.png")
    assert reason.startswith("it has 2,000 pixels, more than Pillow's limit of 1,200; make it smaller (")
    for upright in (False, True):
        assert read_image(tmp_path / "warn.png", upright=upright).size == (50, 20), "a warning would be an error here"


def test_messages_describe_files_that_are_not_images(tmp_path, photo):
    path = tmp_path / "x.png"
    assert refused(path, b"") == "the file is empty (0 bytes)."
    assert refused(path, b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n").startswith(
        "it is a PostScript file, which is not"
    )
    assert refused(path, b"<html>404</html>") == "it is an HTML page, not an image."
    assert refused(path, b"\0\1\2\3" * 9) == "it is not an image, or it is damaged at its start."
    content = photo.read_bytes()
    assert refused(path, content[: len(content) // 2]).startswith("it is damaged or cut short (")
    assert refused(path, content[:20]).startswith("it is ")


def test_a_damaged_tiff_file_prints_nothing(tmp_path, capfd):
    Image.radial_gradient("L").save(tmp_path / "x.tif", compression="tiff_lzw")
    content = (tmp_path / "x.tif").read_bytes()
    middle = len(content) // 2
    reason = refused(tmp_path / "x.tif", content[:middle] + bytes(middle // 2) + content[middle + middle // 2 :])
    assert reason.startswith("it is damaged or cut short (")
    assert capfd.readouterr().err == ""


def test_postscript_starts_no_program(tmp_path, monkeypatch):
    from PIL import EpsImagePlugin

    monkeypatch.setattr(EpsImagePlugin, "Ghostscript", lambda *a, **k: pytest.fail("Ghostscript was started"))
    Image.new("RGB", (4, 4)).save(tmp_path / "x.eps")
    assert "PostScript" in refused(tmp_path / "x.png", (tmp_path / "x.eps").read_bytes())


def test_the_content_counts_and_not_the_ending(tmp_path):
    image = Image.new("RGB", (3, 2), (250, 0, 0))
    for kind in ("JPEG", "PNG", "GIF", "BMP", "TIFF", "WEBP", "AVIF", "JPEG2000", "PPM", "QOI"):
        if kind not in pillow_formats():
            continue
        image.save(tmp_path / "x.jpg", kind)
        picture = read_image(tmp_path / "x.jpg", upright=True)
        assert picture.size == (3, 2) and picture.mode == "RGB"
        assert max(abs(a - b) for a, b in zip(picture.getpixel((1, 1)), (250, 0, 0), strict=True)) < 12, kind


def test_palettes_with_transparency_give_no_warning(tmp_path):
    image = Image.new("P", (2, 1))
    image.putpalette([10, 20, 30, 40, 50, 60])
    image.putpixel((1, 0), 1)
    image.save(tmp_path / "x.png", transparency=b"\x00\xff")
    for mode, upright, expected in (("RGB", False, (10, 20, 30)), (None, False, (10, 20, 30)), ("RGB", True, (255,) * 3)):
        picture = read_image(tmp_path / "x.png", mode, upright).convert("RGB")
        assert [picture.getpixel((x, 0)) for x in (0, 1)] == [expected, (40, 50, 60)]


def test_damaged_and_missing_images_are_named(photo):
    content = photo.read_bytes()
    photo.write_bytes(content[: len(content) // 2])
    with pytest.raises(UserError, match=r"Cannot read the image .*photo\.png"):
        read_image(photo, upright=True)
    with pytest.raises(UserError, match=r"none\.png is missing"):
        read_image(photo.parent / "none.png")


@pytest.mark.parametrize("upright", [False, True])
@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.bmp"])
def test_pixels_are_pillows_and_survive_the_file(tmp_path, name, upright):
    noise = np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8)
    Image.fromarray(noise).resize((90, 60)).save(tmp_path / name)
    with Image.open(tmp_path / name) as image:
        expected = np.asarray(image.convert("RGB")).copy()
    read = read_image(tmp_path / name, upright=upright)
    (tmp_path / name).write_bytes(b"")
    assert read.mode == "RGB" and np.array_equal(np.asarray(read.crop((5, 5, 80, 50))), expected[5:50, 5:80])
