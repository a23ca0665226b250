"""The mini edition's reference images and sentences, which are unrelated to its domains."""

import hashlib

import numpy as np
import pytest
import torch

from benchmarks import mini
from benchmarks.mini import concepts, iconfonts, reference
from benchmarks.mini import domain_table as table


def test_images_have_their_form_and_are_all_different():
    images = reference.images()
    assert images.shape == (1500, 3, 48, 48) and images.dtype == torch.uint8
    assert len({image.tobytes() for image in images.numpy()}) == 1500


@pytest.mark.slow
def test_images_are_drawn_the_same_again():
    assert np.array_equal(reference._draw(None), reference.images().numpy())


@pytest.mark.slow
def test_no_reference_image_is_in_a_domain():
    known = {hashlib.sha256(image.tobytes()).digest() for image in reference.images().numpy()}
    for name in (*mini.STREAM, *mini.HELDOUT):
        domain = mini.build(name)
        for data in (domain.train, domain.val, domain.test, domain.ood):
            if data is not None:
                assert not known & {hashlib.sha256(image.tobytes()).digest() for image in data.images.numpy()}


def test_no_reference_icon_is_in_a_domain():
    subjects = reference.icon_subjects()
    assert len(subjects) > 1300 and len(set(subjects)) == len(subjects)
    assert iconfonts.REFERENCE_FAMILY not in iconfonts.MAIN_FAMILIES + iconfonts.HELDOUT_FAMILIES
    classes = {name for entry in table.ENTRIES.values() for name in entry.classnames}
    assert not set(subjects) & classes
    assert not {subject.replace(" ", "-") for subject in subjects} & concepts.all_icon_names()
    words = {word for subject in subjects for word in subject.split()}
    assert not words & {"cat", "airplane", "github", "key", "play", "circle", "astronaut", "letter"}


def test_symbols_are_neither_letters_nor_digits():
    for character, name in reference.symbols():
        assert not character.isalnum(), name
        assert "digit" not in name and "letter" not in name and "star" not in name.split()


@pytest.mark.slow
def test_sentences_are_many_and_repeatable():
    sentences = reference.sentences()
    assert len(sentences) == 1500 == len(set(sentences))
    assert sentences == reference.sentences()
    prompts = {prompt for name in (*mini.STREAM, *mini.HELDOUT) for prompt in mini.build(name).prompts(0)}
    assert not prompts & set(sentences)


def test_sentences_name_no_class():
    """Check for a whole class name as a separate word. Colours and numbers are allowed, and letters are too short to check."""
    names = {
        name
        for domain in (*mini.STREAM, *mini.HELDOUT)
        for name in table.ENTRIES[domain].classnames
        if len(name) > 1 and name not in table.DIGITS
    }
    for sentence in reference.sentences():
        text = f" {sentence.rstrip('.')} "
        assert not [name for name in names if f" {name} " in text], sentence
