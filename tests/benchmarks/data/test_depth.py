"""Users' images of every mode and depth: pixel values worked out by hand, and one scale for all images of a dataset."""

import io
import pickle
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from benchmarks.data.depth import own_rgb, scale_of
from benchmarks.data.domain import Domain
from benchmarks.data.images import ImageFiles, fingerprint_of, read_image
from benchmarks.data.opening import Undecodable
from benchmarks.own.check import check_heads, surveyed
from models.registry import UserError
from models.transforms import to_rgb

RED, BLUE = (200, 0, 0), (0, 0, 200)


def png(width, depth, colour, row, transparent=None, palette=None):
    """Write a PNG file of one row by hand, because Pillow does not write every depth."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    parts = [chunk(b"IHDR", struct.pack(">IIBBBBB", width, 1, depth, colour, 0, 0, 0))]
    parts += [chunk(b"PLTE", palette)] if palette else []
    parts += [chunk(b"tRNS", transparent)] if transparent else []
    return b"\x89PNG\r\n\x1a\n" + b"".join([*parts, chunk(b"IDAT", zlib.compress(b"\0" + row)), chunk(b"IEND", b"")])


def saved(image, kind, **options):
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def read(content, tmp_path):
    path = tmp_path / "image"
    path.write_bytes(content)
    return np.asarray(read_image(path, upright=True)).tolist()


def grey(*values):
    return [[[value] * 3 for value in values]]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        # Greyscale of 1, 2, 4 and 8 bits.
        (png(2, 1, 0, b"\x40"), grey(0, 255)),
        (png(4, 2, 0, b"\x1b"), grey(0, 85, 170, 255)),
        (png(2, 4, 0, b"\x5f"), grey(85, 255)),
        (png(2, 8, 0, b"\x05\xff"), grey(5, 255)),
        # The transparent grey of tRNS becomes white. Its number is in the scale of the depth.
        (png(2, 1, 0, b"\x40", b"\0\0"), grey(255, 255)),
        (png(4, 2, 0, b"\x1b", b"\0\1"), grey(0, 255, 170, 255)),
        (png(2, 4, 0, b"\x0f", b"\0\0"), grey(255, 255)),
        (png(2, 8, 0, b"\x05\x07", b"\0\5"), grey(255, 7)),
        (png(2, 16, 0, b"\x01\x00\xff\xff", b"\1\0"), grey(255, 255)),
        (png(2, 16, 0, b"\x01\x01\xff\xff"), grey(1, 255)),
        # Grey and alpha, of 8 and 16 bits: 100 at alpha 128 is (100 * 128 + 255 * 127 + 127) // 255 = 177.
        (png(2, 8, 4, b"\x64\xff\x64\x80"), grey(100, 177)),
        (png(2, 16, 4, b"\x64\x00\xff\xff\x64\x00\x80\x00"), grey(100, 177)),
        # RGB with a transparent colour, 8 and 16 bits.
        (png(2, 8, 2, b"\1\2\3\4\5\6", b"\0\1\0\2\0\3"), [[[255] * 3, [4, 5, 6]]]),
        (png(2, 16, 2, b"\1\0\2\0\3\0\xff\0\5\0\6\0", b"\1\0\2\0\3\0"), [[[255] * 3, [255, 5, 6]]]),
        # RGBA: opaque, half, none.
        (png(3, 8, 6, b"\1\2\3\xff\0\0\0\x80\7\7\7\0"), [[[1, 2, 3], [127] * 3, [255] * 3]]),
        # Palettes: opaque, one transparent entry, several with alpha.
        (png(2, 8, 3, b"\0\1", None, bytes([9, 8, 7, 1, 2, 3])), [[[9, 8, 7], [1, 2, 3]]]),
        (png(2, 8, 3, b"\0\1", b"\0", bytes([9, 8, 7, 1, 2, 3])), [[[255] * 3, [1, 2, 3]]]),
        (png(2, 8, 3, b"\0\1", b"\x80\xff", bytes([0, 0, 0, 1, 2, 3])), [[[127] * 3, [1, 2, 3]]]),
        # Numbers that the format scales.
        (b"P5\n2 1\n4095\n" + struct.pack(">HH", 0, 4095), grey(0, 255)),
        (b"P5\n2 1\n65535\n" + struct.pack(">HH", 257, 65535), grey(1, 255)),
        (b"P2\n2 1\n15\n3 15\n", grey(51, 255)),
        (b"Pf\n2 1\n-1.0\n" + struct.pack("<ff", 0.5, 1), grey(128, 255)),
        (saved(Image.new("CMYK", (1, 1), (0, 255, 255, 0)), "TIFF"), [[[255, 0, 0]]]),
        (saved(Image.new("1", (1, 1), 1), "TIFF"), grey(255)),
        (saved(Image.new("P", (1, 1), 0), "TIFF"), grey(0)),
        (saved(Image.new("LA", (1, 1), (100, 128)), "TIFF"), grey(177)),
        (saved(Image.new("RGBA", (1, 1), (0, 0, 0, 0)), "WEBP", lossless=True, exact=True), grey(255)),
        # TIFF images that store 0 for white: Pillow inverts 8 bits (as it writes them), not 16.
        (saved(Image.new("L", (1, 1), 5), "TIFF", tiffinfo={262: 0}), grey(5)),
        (saved(Image.fromarray(np.array([[0, 65535]], np.uint16)), "TIFF", tiffinfo={262: 0}), grey(255, 0)),
    ],
)  # fmt: skip
def test_values_of_each_kind_of_file(content, expected, tmp_path):
    assert read(content, tmp_path) == expected


@pytest.mark.parametrize(
    ("mode", "pixel", "expected"),
    [
        ("RGBa", (50, 0, 0, 100), (205, 155, 155)),  # premultiplied: colour + 255 - alpha
        ("La", (50, 100), (205, 205, 205)),
        ("PA", (0, 0), (255, 255, 255)),
        ("RGBX", (1, 2, 3, 4), (1, 2, 3)),
        ("YCbCr", (76, 85, 255), (254, 0, 0)),
        ("HSV", (0, 255, 255), (255, 0, 0)),
        ("LAB", (255, 128, 128), (254, 255, 254)),
        ("1", 1, (255, 255, 255)),
    ],
)
def test_values_of_modes_in_memory(mode, pixel, expected):
    assert own_rgb(Image.new(mode, (1, 1), pixel), None).getpixel((0, 0)) == expected


def test_the_first_frame_and_the_first_page(tmp_path):
    red, blue = Image.new("RGB", (2, 2), RED), Image.new("RGB", (2, 2), BLUE)
    for kind in ("PNG", "TIFF", "WEBP", "GIF"):
        more = {"lossless": True} if kind == "WEBP" else {}
        pixels = read(saved(red, kind, save_all=True, append_images=[blue], **more), tmp_path)
        assert np.abs(np.array(pixels) - RED).max() <= 1, kind


@pytest.mark.parametrize(
    ("kind", "low", "high", "scale"),
    [
        ("floating-point", 0, 1, (0, 1, False)),
        ("floating-point", 0.2, 0.4, (0, 1, False)),
        ("floating-point", 0, 255, (0, 255, False)),
        ("floating-point", 0, 90, (0, 255, False)),
        ("floating-point", 0, 1.5, (0, 1.5, True)),
        ("floating-point", -1, 1, (-1, 1, True)),
        ("floating-point", 0, 4080, (0, 4080, True)),
        ("32-bit", 0, 255, (0, 255, False)),
        ("32-bit", 0, 1, (0, 1, True)),
        ("32-bit", 0, 65535, (0, 65535, False)),
        ("32-bit", 0, 100_000, (0, 100_000, True)),
        ("32-bit", -1024, 3071, (-1024, 3071, True)),
        ("32-bit", 0, 0, (0, 1, True)),
        ("16-bit", 0, 65535, (0, 65535, False)),
        ("16-bit", 9, 16384, (0, 65535, False)),
        ("16-bit", 0, 16383, (0, 16383, True)),
        ("16-bit", 0, 4080, (0, 4095, True)),
        ("16-bit", 0, 1023, (0, 1023, True)),
        ("16-bit", 0, 255, (0, 255, True)),
        ("12-bit", 0, 80, (0, 4095, False)),
        ("full 16-bit", 0, 80, (0, 65535, False)),
    ],
)
def test_scales_by_range(kind, low, high, scale):
    assert scale_of(kind, low, high)[:3] == scale


@pytest.fixture
def shades(tmp_path):
    """Write images of a dtype with one row of values each; return a domain of them, split into train and test."""

    def write(dtype, *rows, ending="tif"):
        paths = []
        for number, values in enumerate(rows):
            paths.append(tmp_path / f"{number}.{ending}")
            Image.fromarray(np.array([values], dtype)).save(paths[-1])
        train = ImageFiles(paths[:1], [0], upright=True)
        return Domain("shades", ("a",), ("{}",), train, None, ImageFiles(paths[1:], [0] * len(paths[1:]), upright=True))

    return write


@pytest.mark.parametrize(
    ("dtype", "factor", "ending"),
    [
        (np.uint8, 1, "png"),
        (np.uint16, 257, "png"),
        (np.uint16, 257, "tif"),
        (np.uint16, 1, "png"),
        (np.float32, 1 / 255, "tif"),
        (np.float32, 1, "tif"),
        (np.float32, 257, "tif"),
        (np.int32, 1, "tif"),
        (np.int32, 257, "tif"),
        (np.int32, 65793, "tif"),
    ],
)
def test_the_same_picture_in_every_depth_is_the_same_picture(shades, dtype, factor, ending):
    levels = np.array([0, 1, 100, 254, 255], np.float64) * factor
    domain = shades(dtype, [0] * 5, levels, ending=ending)
    assert np.asarray(domain.test[0][0]).tolist() == grey(0, 1, 100, 254, 255)


def test_twelve_bits_in_sixteen_are_read_as_twelve_with_a_warning(shades):
    domain = check_heads(shades(np.uint16, [0, 4080], [16, 1600], ending="png"))
    assert np.asarray(domain.train[0][0]).tolist() == grey(0, 254)
    assert np.asarray(domain.test[0][0]).tolist() == grey(1, 100), (
        "4095 is white here too, because the scale is that of the dataset"
    )
    assert domain.warnings == (
        "2 greyscale images are 16-bit (largest value 4,080) and are read as 12-bit (0 to 4,095), which is a guess: if it is "
        "wrong, save them with 8 bits",
    )


def test_a_dark_image_stays_darker_than_a_bright_one(shades):
    domain = shades(np.float32, [0.0, 1.0], [0.0, 0.1], [0.0, 0.2])
    assert [np.asarray(domain.test[i][0]).max() for i in (0, 1)] == [26, 51]
    alone = read_image(shades(np.float32, [0, 0.1], [0, 0.1]).test.paths[0], upright=True)
    assert np.asarray(alone).max() == 26, "floating point up to 1 is 0 to 1 for every image"


def test_negative_values_are_stretched_with_a_warning(shades):
    domain, refusals = surveyed(shades(np.float32, [-1, 0, 1], [0, 0.5, 0]))
    assert np.asarray(domain.train[0][0]).tolist() == grey(0, 128, 255) and refusals == []
    assert "values -1 to 1) and are read as -1 (black) to 1 (white), which is a guess" in domain.warnings[0]


def test_conventions_give_a_note_and_no_warning(shades):
    for dtype, values, words in ((np.float32, [0, 1], "read as 0 to 1"), (np.int32, [0, 200], "read as 8-bit (0 to 255)")):
        domain = check_heads(shades(dtype, values, values))
        assert words in domain.notes[0] and domain.warnings == ()


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite(shades, value):
    domain = shades(np.float32, [0, 1], [0, value])
    for call in (lambda: check_heads(domain), lambda: domain.test[0]):
        with pytest.raises(UserError, match=r"Cannot read the image .*1\.tif: it has values that are not finite numbers"):
            call()
    assert np.asarray(domain.train[0][0]).tolist() == grey(0, 255)


def test_other_splits_and_processes_share_the_scale(shades):
    domain = shades(np.uint16, [0, 4080], [0, 80], ending="png")
    assert domain.train.depth is domain.test.depth
    again = pickle.loads(pickle.dumps(domain.test))
    assert np.asarray(again[0][0]).tolist() == grey(0, 5)
    only_dark = ImageFiles(domain.test.paths, [0], upright=True)
    assert fingerprint_of(only_dark) != fingerprint_of(domain.test), "other pixels"


def test_sixteen_bit_colour_of_twelve_bits_is_refused(tmp_path):
    for name, value in (("a", b"\x0f\xff"), ("b", b"\x00\x00")):
        (tmp_path / f"{name}.png").write_bytes(png(1, 16, 2, value * 3))
    images = ImageFiles([tmp_path / "a.png", tmp_path / "b.png"], [0, 0], upright=True)
    domain = Domain("d", ("a",), ("{}",), None, None, images)
    with pytest.raises(UserError, match=r"brightest value is 15 of 255, so they are nearly black\. Save them with 8 bits"):
        check_heads(domain)


def test_images_of_one_colour_give_a_warning(tmp_path):
    Image.new("RGBA", (4, 4), (255, 255, 255, 0)).save(tmp_path / "white.png")
    Image.new("L", (4, 4), 0).save(tmp_path / "black.png")
    Image.radial_gradient("L").save(tmp_path / "good.png")
    paths = [tmp_path / f"{name}.png" for name in ("white", "black", "good")]
    domain = check_heads(Domain("d", ("a",), ("{}",), None, None, ImageFiles(paths, [0] * 3, upright=True)))
    assert len(domain.warnings) == 1
    assert "2 of 3 images have only one colour" in domain.warnings[0] and "white.png" in domain.warnings[0]


def test_a_tree_on_transparency_is_a_tree_on_white(tmp_path):
    image = Image.new("RGBA", (4, 1), (0, 0, 0, 0))
    image.putpixel((1, 0), (10, 20, 30, 255))
    image.save(tmp_path / "x.png")
    pixels = np.asarray(read_image(tmp_path / "x.png", upright=True))
    assert pixels[0, :3].tolist() == [[255] * 3, [10, 20, 30], [255] * 3]
    paper = np.asarray(read_image(tmp_path / "x.png"))
    assert paper[0, :3].tolist() == [[0] * 3, [10, 20, 30], [0] * 3], "the papers' code drops alpha"


def test_floating_point_images_without_a_dataset_are_refused():
    with pytest.raises(UserError, match="floating-point values of unknown scale"):
        to_rgb(Image.new("F", (2, 2), 0.5))


def test_undecodable_images_have_a_separate_error():
    with pytest.raises(Undecodable, match="not finite"):
        own_rgb(Image.new("F", (1, 1), float("nan")), "floating-point")
