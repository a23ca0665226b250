"""Images to uint8 squares."""

import numpy as np
import torch
from PIL import Image

from models.transforms import evaluation_transform, training_transform


def test_an_image_of_the_right_size_is_left_alone():
    image = torch.randint(0, 256, (3, 48, 48)).to(torch.uint8)
    assert torch.equal(evaluation_transform(48)(image), image)


def test_rgb_comes_after_resizing():
    """A palette image is resized by index first, as in the reference code; converting first would blend colours."""
    pixels = np.zeros((8, 8), dtype=np.uint8)
    pixels[:, 4:] = 1
    image = Image.fromarray(pixels, mode=None).convert("P")
    image.putpalette([255, 0, 0, 0, 0, 255] + [0] * 762)
    result = evaluation_transform(4)(image)
    expected = torch.from_numpy(np.asarray(image.resize((4, 4), Image.Resampling.NEAREST).convert("RGB")).copy()).permute(
        2, 0, 1
    )
    assert torch.equal(result, expected)


def test_the_shorter_side_is_resized_and_the_centre_kept():
    wide = Image.new("L", (90, 30), 0)
    wide.paste(255, (30, 0, 60, 30))
    result = evaluation_transform(30)(wide)
    assert result.shape == (3, 30, 30) and result.dtype == torch.uint8
    assert int(result.min()) == 255


def test_training_crops_differ_and_follow_the_seed():
    image = torch.randint(0, 256, (3, 60, 60), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    transform = training_transform(48)
    torch.manual_seed(3)
    one, two = transform(image), transform(image)
    torch.manual_seed(3)
    assert torch.equal(transform(image), one) and not torch.equal(one, two)
    assert one.shape == (3, 48, 48) and one.dtype == torch.uint8
