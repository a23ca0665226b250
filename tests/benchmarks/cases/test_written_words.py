"""Words over pictures: where they are, how they contrast, and in which typefaces."""

import numpy as np
import pytest

from benchmarks.cases import written_words as words
from benchmarks.mini.render import luminance


def drawn(text, seed, side=48, ground=120, typefaces=words.TYPEFACES):
    rng = np.random.default_rng(seed)
    picture = np.full((side, side, 3), ground, dtype=np.uint8)
    return words.write(picture, text, words.choose(text, typefaces, rng), rng)


def test_the_typefaces_of_training_and_test_share_no_family():
    def family(name):
        return "cm" if name.startswith("cm") else "STIX" if name.startswith("STIX") else "DejaVu"

    train, test = ({family(name) for name in names} for names in (words.TYPEFACES, words.HELDOUT_TYPEFACES))
    assert train == {"DejaVu"} and test == {"STIX", "cm"}


@pytest.mark.parametrize("name", words.TYPEFACES + words.HELDOUT_TYPEFACES)
def test_every_typeface_draws_every_letter_differently(name):
    letters = "abcdefghijklmnopqrstuvwxyz"
    shapes = {words.mask(letter, words.font(name)).tobytes() for letter in letters}
    assert len(shapes) == len(letters)


def test_a_text_is_inside_the_picture_and_large_enough():
    for seed in range(20):
        changed = (drawn("thermometer", seed) != 120).any(axis=2)
        rows, columns = np.flatnonzero(changed.any(1)), np.flatnonzero(changed.any(0))
        assert columns[-1] - columns[0] >= 0.8 * 48 and rows[-1] - rows[0] <= 0.6 * 48
        assert changed.mean() < 0.6


def test_the_seed_decides_the_picture():
    pictures = {drawn("rain", seed).tobytes() for seed in (1, 1, 2, 3)}
    assert len(pictures) == 3


def test_the_size_of_a_word_follows_the_picture():
    def width(side):
        columns = np.flatnonzero((drawn("rain", 4, side) != 120).any(axis=(0, 2)))
        return (columns[-1] - columns[0]) / side

    assert width(192) == pytest.approx(width(48), abs=0.08)


@pytest.mark.parametrize("ground", [0, 90, 128, 255])
def test_ink_contrasts_with_every_ground(ground):
    rng = np.random.default_rng(0)
    ground = np.full(3, ground, dtype=np.float32)
    for _ in range(50):
        assert abs(luminance(words.contrasting(ground, rng)) - luminance(ground)) >= words.CONTRAST


def test_every_word_has_a_line():
    one, two = (words.mask(text, words.font("DejaVuSans")) for text in ("gaspump", "gas pump"))
    assert two.height > 1.5 * one.height and two.width < one.width


def test_typefaces_without_accents_are_not_chosen_for_them():
    rng = np.random.default_rng(0)
    for _ in range(10):
        assert words.choose("café", words.HELDOUT_TYPEFACES, rng).getname()[0] == "STIXGeneral"
    with pytest.raises(ValueError, match="high"):
        words.choose("café", ("cmr10",), rng)
