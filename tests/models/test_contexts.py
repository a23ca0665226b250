"""Contexts of class prompts: their positions under several tokenizers, and prompts with a context put in."""

import pytest
import torch

import models
from models.contexts import context_span, placeholder, with_context
from models.registry import UserError


def test_the_span_of_a_byte_tokenizer(toy_encoder):
    """A start token, the twelve letters and blanks of "a photo of a", one more blank, then the name."""
    reader = toy_encoder().reader
    assert context_span(reader, "a photo of a {}.") == (1, 14)
    assert context_span(reader, placeholder(4)) == (1, 9)
    with pytest.raises(UserError, match="no words before the class name"):
        context_span(reader, "{} in a photo")


@pytest.mark.slow
def test_the_span_is_that_of_the_words_for_every_tiny_model():
    """Both tokenizers write a start token first."""
    for name in ("tiny", "tiny-siglip"):
        encoder = models.load(name)
        start, end = context_span(encoder.reader, "a photo of a {}.")
        words = encoder.tokenize(["a photo of a"])[0, start:end]
        for row in encoder.tokenize(["a photo of a dog.", "a photo of a 7."]):
            assert torch.equal(row[start:end], words) and row[end] != words[-1]
        assert start == 1


def test_a_context_takes_its_positions():
    embeddings, context = torch.arange(12.0).view(2, 6, 1), torch.tensor([[-1.0], [-2.0]])
    assert with_context(embeddings, context, 1)[..., 0].tolist() == [[0, -1, -2, 3, 4, 5], [6, -1, -2, 9, 10, 11]]
    assert torch.equal(with_context(embeddings[:1], embeddings[0, 1:3], 1), embeddings[:1])
