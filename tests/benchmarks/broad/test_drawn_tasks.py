"""The drawn tasks of the suite `broad`: pictures show their label by an independent reading, and splits share no picture."""

import numpy as np
import pytest
from scipy import ndimage

from benchmarks.broad import charts, draw, figures, numbers, surfaces
from benchmarks.broad.generated_rows import GENERATED
from benchmarks.broad.pen import Pen
from benchmarks.mini.render import generator

NAMES = tuple(GENERATED)


def pictures(name, label, count, other_style=False, seed="test"):
    """Return `count` pictures of a class, float [count, 48, 48, 3]."""
    picture, rng = draw.function(GENERATED[name]), generator(seed, name, str(label))
    return np.stack([picture(label, rng, other_style) for _ in range(count)]).transpose(0, 2, 3, 1).astype(float)


def ink_of(picture, least=45):
    """Return the pixels that differ from the ground, which is read from the border, as a boolean array."""
    smooth = ndimage.uniform_filter(picture, (2, 2, 0))
    border = np.concatenate([smooth[0], smooth[-1], smooth[:, 0], smooth[:, -1]])
    return np.abs(smooth - np.median(border, axis=0)).max(-1) > least


@pytest.mark.parametrize("name", NAMES)
def test_pictures_depend_only_on_label_style_and_generator(name):
    picture, last = draw.function(GENERATED[name]), len(GENERATED[name].classnames) - 1
    np.random.seed(5)
    before = np.random.get_state()[1].copy()
    for style in (False, True):
        first = picture(last, generator("a"), style)
        assert first.dtype == np.uint8 and first.shape == (3, 48, 48)
        assert np.array_equal(picture(last, generator("a"), style), first)
        assert not np.array_equal(picture(last, generator("b"), style), first)
        assert first.std() > 5
        assert not np.array_equal(picture(0, generator("a"), style), first)
    assert not np.array_equal(picture(0, generator("a"), True), picture(0, generator("a"), False))
    assert np.array_equal(np.random.get_state()[1], before), "the global generator is not used"


@pytest.mark.parametrize("name", NAMES)
def test_no_picture_is_in_two_splits(name):
    task = GENERATED[name]
    n = len(task.classnames)
    arrays = draw.draw(name, task._replace(sizes=(2 * n, n, n), ood=n))
    images = np.concatenate([arrays[f"{split}_images"] for split in ("train", "val", "test", "ood")])
    assert len({image.tobytes() for image in images}) == len(images) == 5 * n
    assert set(arrays["test_labels"].tolist()) == set(range(n)) and arrays["train_labels"].dtype == np.int64
    labels = arrays["train_labels"].tolist()
    assert n < 5 or labels != sorted(labels), "a prefix holds several classes"


def test_a_picture_that_was_seen_is_drawn_again(monkeypatch):
    rng = np.random.default_rng(0)
    flat = [np.full((3, 48, 48), rng.integers(0, 12), np.uint8) for _ in range(400)]
    monkeypatch.setattr(draw, "function", lambda task: lambda label, rng, style: flat.pop())
    task = GENERATED["pairs"]._replace(sizes=(4, 2, 2), ood=0)
    arrays = draw.draw("pairs", task)
    images = np.concatenate([arrays[f"{split}_images"] for split in ("train", "val", "test")])
    assert len({image.tobytes() for image in images}) == 8


def test_class_names_are_those_of_the_generators():
    for name, names in {
        "charts": charts.CHARTS,
        "colours": surfaces.HUES,
        "faces": figures.FACES,
        "figures": figures.FIGURES,
        "textures": surfaces.TEXTURES,
    }.items():
        assert GENERATED[name].classnames == tuple(names)
    words = ("zero", "one", "two", "three", "four", "five", "six")
    assert GENERATED["dominoes"].classnames == tuple(f"{words[a]} and {words[b]}" for a, b in numbers.TILES)


def test_the_list_is_broad():
    classes = [len(task.classnames) for task in GENERATED.values()]
    sizes = [task.sizes[0] for task in GENERATED.values()]
    assert min(classes) == 2 and max(classes) == 60
    assert min(sizes) == 500 and max(sizes) == 10_000 and np.log(sizes).std() > 0.6, "natural, unequal sizes"
    assert sum(task.skew > 0 for task in GENERATED.values()) >= 4, "some are imbalanced"
    assert all(task.ood >= 250 for task in GENERATED.values())


def test_a_pen_turns_figures_around_the_middle():
    pen = Pen(np.zeros((48, 48, 3)), np.pi / 2)
    pen.box(20, 4, 28, 12, np.full(3, 200.0))
    rows, columns = np.nonzero(pen.picture()[..., 0] > 100)
    assert (rows.mean(), columns.mean()) == pytest.approx((23.5, 39.5), abs=0.6), "clockwise: from the top to the right"
    pen = Pen(np.zeros((48, 48, 3)))
    pen.slice(24, 24, 10, 0, 90, np.full(3, 200.0))
    rows, columns = np.nonzero(pen.picture()[..., 0] > 100)
    assert rows.max() <= 24 and columns.min() >= 23 and len(rows) == pytest.approx(np.pi * 100 / 4, rel=0.1)


@pytest.mark.parametrize("style", [False, True])
@pytest.mark.parametrize("label", range(8))
def test_arrows_are_heaviest_at_the_head(label, style):
    angle = label * np.pi / 4
    for picture in pictures("arrows", label, 4, style):
        rows, columns = np.nonzero(ink_of(picture))
        along = columns * np.sin(angle) - rows * np.cos(angle)
        across = columns * np.cos(angle) + rows * np.sin(angle)
        if not style:
            assert np.ptp(along) > np.ptp(across)
            assert along.mean() > (along.min() + along.max()) / 2
        # Near the tip there is less across than in the middle of the head.
        assert np.ptp(across[along > along.max() - 2]) < np.ptp(across)


@pytest.mark.parametrize("style", [False, True])
def test_clocks_have_a_short_hand_at_the_hour(style):
    for label in range(11):
        for picture in pictures("clocks", label, 3, style):
            y, x = np.mgrid[0:48, 0:48] - 23.5
            angle, distance = np.arctan2(x, -y) % (2 * np.pi), np.hypot(x, y)
            face = np.median(picture[distance < 12], axis=0)
            ink = np.abs(picture - face).sum(-1)
            # Between the axle and the end of the hour hand, mean darkness by direction; the minute hand is at the top.
            near = (distance > 4.5) & (distance < 8.5)
            towards = [np.abs((angle - k * np.pi / 6 + np.pi) % (2 * np.pi) - np.pi) < 0.16 for k in range(12)]
            strength = [ink[near & sector].mean() for sector in towards]
            assert np.argmax(strength[1:]) == label, f"{label + 1} o'clock"


@pytest.mark.parametrize("label", [0, 1, 8, 14, 20, 27])
def test_dominoes_have_the_pips_of_their_numbers(label):
    for picture in pictures("dominoes", label, 4):
        tile, _ = ndimage.label(ndimage.binary_fill_holes(picture.min(-1) > 190))
        tile = tile == np.argmax(np.bincount(tile[tile > 0]))
        # The line in the middle of the tile is lighter than the pips.
        assert ndimage.label(tile & (picture.mean(-1) < 110))[1] == sum(numbers.TILES[label])


def test_displays_light_the_segments_of_their_digits():
    segments = {"0": 6, "1": 2, "2": 5, "3": 5, "4": 4, "5": 5, "6": 6, "7": 3, "8": 7, "9": 6}
    picture = draw.function(GENERATED["displays"])
    for style in (False, True):
        shown = {label: picture(label, generator("d"), style).astype(float).sum(0) for label in range(60)}
        # With one generator the segments have the same places and colours, so the lit area counts segments.
        lit = [np.abs(image - np.percentile(image, 20)).clip(60).sum() for image in shown.values()]
        counts = [sum(segments[digit] for digit in f"{label:02d}") for label in shown]
        assert np.corrcoef(lit, counts)[0, 1] > 0.97


@pytest.mark.parametrize("style", [False, True])
def test_gauges_are_filled_to_their_level(style):
    picture = draw.function(GENERATED["gauges"])
    for seed in range(6):
        drawn = [picture(label, generator("g", str(seed)), style).astype(float) for label in range(5)]
        filled = np.array([(np.abs(image - drawn[0]).max(0) > 25).sum() for image in drawn])
        expected = np.array([0, 0.25, 0.5, 0.75, 1])
        # A glass is wider at its top, so its liquid grows faster.
        assert filled / filled[-1] == pytest.approx(expected, abs=0.16) and (np.diff(filled) > 0).all()


@pytest.mark.parametrize("style", [False, True])
def test_pairs_and_positions_have_their_ink_in_place(style):
    for label in (0, 1):
        for picture in pictures("pairs", label, 6, style):
            ink = ink_of(picture)
            assert (ink[:, :24].sum() > ink[:, 24:].sum()) == (label == 0)
    for label in range(9):
        for picture in pictures("positions", label, 3, style):
            rows, columns = np.nonzero(ink_of(picture))
            assert (np.median(rows) // 16, np.median(columns) // 16) == divmod(label, 3)


def test_rotations_are_turned_by_quarters():
    picture = draw.function(GENERATED["rotations"])
    agree = []
    for seed in range(8):
        images = [picture(label, generator("r", str(seed)), False).transpose(1, 2, 0).astype(float) for label in range(4)]
        drawn = [ink_of(image) for image in images]
        boxes = [ink[ndimage.find_objects(ink.astype(int))[0]] for ink in drawn]
        for label in (1, 2, 3):
            back = np.rot90(boxes[label], label)
            height, width = (min(a, b) for a, b in zip(back.shape, boxes[0].shape, strict=True))
            agree.append((back[:height, :width] == boxes[0][:height, :width]).mean())
    assert np.mean(agree) > 0.8


def test_colours_have_the_colour_of_their_name():
    typical = {
        "blue": (40, 90, 190), "green": (40, 150, 60), "red": (205, 30, 30), "black": (15, 15, 15), "white": (248, 248, 248),
        "grey": (132, 132, 132), "yellow": (240, 225, 40), "orange": (240, 130, 25), "brown": (105, 60, 30),
        "purple": (105, 45, 150), "pink": (243, 135, 180),
    }  # fmt: skip
    names, right = list(typical), []
    for style in (False, True):
        for label, name in enumerate(GENERATED["colours"].classnames):
            for picture in pictures("colours", label, 6, style):
                ground = np.median(np.concatenate([picture[0], picture[-1]]), axis=0)
                distance = np.abs(ndimage.uniform_filter(picture, (3, 3, 0)) - ground).max(-1)
                colour = np.median(picture[distance > np.percentile(distance, 94)], axis=0)
                nearest = min(names, key=lambda other: np.abs(colour - np.array(typical[other])).sum())
                right.append(nearest == name)
    assert np.mean(right) > 0.9


def test_stripes_run_in_their_direction():
    for style in (False, True):
        for label, name in enumerate(("horizontal stripes", "vertical stripes")):
            assert GENERATED["textures"].classnames[label] == name
            for picture in pictures("textures", label, 4, style):
                smooth = ndimage.uniform_filter(picture, (3, 3, 0))
                down, across = (np.abs(np.diff(smooth, axis=axis)).mean() for axis in (0, 1))
                assert (down > 1.5 * across) if label == 0 else (across > 1.5 * down)


@pytest.mark.parametrize("style", [False, True])
def test_symmetric_patterns_are_their_mirror_image(style):
    for label in (0, 1):
        for picture in pictures("symmetry", label, 5, style):
            smooth = ndimage.uniform_filter(picture, (2, 2, 0))
            correlation = np.corrcoef(picture.ravel(), picture[:, ::-1].ravel())[0, 1]
            assert smooth.std() > 10
            assert correlation > 0.85 if label == 0 else correlation < 0.85


def test_figures_have_the_area_of_their_outline():
    for label, name in enumerate(figures.FIGURES):
        x, y = figures.outline(name).T
        area = abs(np.sum(x * np.roll(y, -1) - y * np.roll(x, -1))) / 2 * (0.64 if name == "ring" else 1)
        expected = {"circle": np.pi, "oval": 0.6 * np.pi, "ring": 0.64 * np.pi, "square": 2, "rectangle": 2.2, "diamond": 1.4}
        expected |= {"triangle": 3 * 3**0.5 / 4, "pentagon": 2.378, "hexagon": 1.5 * 3**0.5}
        if name in expected:
            assert area == pytest.approx(expected[name], rel=0.01)
        radius2 = [ink_of(picture).sum() / area for picture in pictures("figures", label, 3)]
        assert all(13**2 * 0.85 < value < 19**2 * 1.2 for value in radius2), name


def test_faces_and_shirts_differ_only_by_their_label():
    for name in ("faces", "shirts", "charts"):
        picture = draw.function(GENERATED[name])
        drawn = [picture(label, generator("f"), False) for label in range(len(GENERATED[name].classnames))]
        corners = [image[:, :3, :3].astype(int) for image in drawn]
        if name != "charts":
            assert all(np.abs(corner - corners[0]).max() <= 1 for corner in corners), "one ground"
        assert len({image.tobytes() for image in drawn}) == len(drawn)
