"""Images to uint8 squares."""

import pickle

import numpy as np
import pytest
import torch
from open_clip.transform import PreprocessCfg, image_transform_v2
from PIL import Image

from models.registry import UserError
from models.transforms import Preprocess, evaluation_transform, to_rgb, training_transform


def test_an_image_of_the_right_size_is_left_alone():
    image = torch.randint(0, 256, (3, 48, 48)).to(torch.uint8)
    assert torch.equal(evaluation_transform(48)(image), image)


def test_rgb_comes_after_resizing():
    """A palette image is resized by index first, as in the reference code. Converting it first would blend colours."""
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


def picture(mode, width, height):
    pixels = np.random.default_rng(width * 1000 + height).integers(0, 256, (height, width, 4), dtype=np.uint8)
    if mode == "RGBA":
        return Image.fromarray(pixels)
    rgb = Image.fromarray(np.ascontiguousarray(pixels[..., :3]))
    return rgb.quantize(16) if mode == "P" else rgb.convert(mode)


def open_clips(preprocess, image):
    """open_clip's evaluation transform without its normalisation, back in uint8."""
    size, resize_mode, interpolation, fill = preprocess
    config = PreprocessCfg(size, "RGB", (0.0,) * 3, (1.0,) * 3, interpolation, resize_mode, fill)
    return (image_transform_v2(config, is_train=False)(image) * 255).round().to(torch.uint8)


@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
@pytest.mark.parametrize("resize_mode", ["shortest", "squash", "longest"])
@pytest.mark.parametrize("mode", ["RGB", "L", "LA", "P", "RGBA", "CMYK", "1"])
def test_the_pixels_are_those_of_open_clip(mode, resize_mode, interpolation):
    preprocess = Preprocess(24, resize_mode, interpolation, 9)
    for width, height in ((90, 30), (31, 77), (24, 24), (7, 5)):
        image = picture(mode, width, height)
        ours, reference = evaluation_transform(preprocess)(image), open_clips(preprocess, image)
        assert ours.shape == (3, 24, 24) and ours.dtype == torch.uint8
        if resize_mode == "longest" and mode in ("P", "CMYK", "1"):
            # open_clip pads with palette entry 9, or a little black ink. Ours pads with grey 9 in RGB.
            padding = (ours == 9).all(dim=0)
            ratio = max(width, height) / 24
            assert int((~padding).sum()) <= round(width / ratio) * round(height / ratio)
            ours, reference = ours[:, ~padding], reference[:, ~padding]
            assert ours.numel()
        assert torch.equal(ours, reference)


def test_an_int_is_the_shorter_side_with_bicubic():
    image = picture("RGB", 61, 40)
    assert torch.equal(evaluation_transform(24)(image), open_clips(Preprocess(24), image))
    assert Preprocess(24) == (24, "shortest", "bicubic", 0)


def test_longest_keeps_the_whole_image_and_pads_it():
    white = evaluation_transform(Preprocess(20, "longest", fill=70))(Image.new("RGB", (40, 20), (255, 255, 255)))
    assert (white[:, 5:15] == 255).all() and (white[:, :5] == 70).all() and (white[:, 15:] == 70).all()


@pytest.mark.parametrize("resize_mode", ["shortest", "squash", "longest"])
def test_tensors_go_the_same_way(resize_mode):
    image = picture("RGB", 50, 30)
    pixels = torch.from_numpy(np.asarray(image).copy()).permute(2, 0, 1)
    for inputs in (pixels, pixels[:1]):
        of_tensor = evaluation_transform(Preprocess(20, resize_mode))(inputs).int()
        pil = image if len(inputs) == 3 else Image.fromarray(inputs[0].numpy())
        of_image = evaluation_transform(Preprocess(20, resize_mode))(pil).int()
        assert of_tensor.shape == (3, 20, 20)
        assert int((of_tensor - of_image).abs().max()) <= 1, "rounding of two resizers"


@pytest.mark.parametrize("resize_mode", ["shortest", "squash", "longest"])
@pytest.mark.parametrize("size", [(1, 1), (1, 300), (300, 1), (3, 200), (200, 3)])
def test_strips(resize_mode, size):
    image = picture("RGB", *size)
    preprocess = Preprocess(16, resize_mode)
    result = evaluation_transform(preprocess)(image)
    assert result.shape == (3, 16, 16)
    if resize_mode != "longest":
        # Cutting the ends first moves the sampling grid by a fraction of a pixel if the scale is not a whole number.
        assert int((result.int() - open_clips(preprocess, image).int()).abs().max()) <= (0 if 1 in size else 2)
    assert training_transform(preprocess)(image).shape == (3, 16, 16)


def test_a_long_strip_takes_no_memory_to_speak_of():
    """Resized whole, it would have 224 x 22,400,000 pixels."""
    result = evaluation_transform(224)(Image.new("RGB", (100_000, 1), (1, 2, 3)))
    assert result.shape == (3, 224, 224) and result[:, 0, 0].tolist() == [1, 2, 3]


@pytest.mark.parametrize("kind", ["I;16", "I;16B", "I"])
def test_sixteen_bits_are_scaled_not_clipped(kind, tmp_path):
    values = np.array([[0, 256, 257], [32896, 65534, 65535], [1000, 128, 129]], dtype=np.uint16)
    if kind == "I;16":
        Image.fromarray(values).save(tmp_path / "sixteen.png")
        image = Image.open(tmp_path / "sixteen.png")
        assert image.mode in ("I;16", "I")
    else:
        image = Image.fromarray(values.astype(">u2") if kind == "I;16B" else values.astype(np.int32))
        assert image.mode == kind
    expected = torch.tensor([[0, 1, 1], [128, 255, 255], [4, 0, 1]], dtype=torch.uint8).expand(3, -1, -1)
    assert torch.equal(evaluation_transform(3)(image), expected)
    assert torch.equal(to_rgb(image), expected)
    crops = training_transform(8)(image)
    assert crops.shape == (3, 8, 8) and 0 < float(crops.float().mean()) < 255


def test_from_open_clip():
    config = {"size": (384, 384), "mode": "RGB", "interpolation": "random", "resize_mode": "squash", "fill_color": 0}
    assert Preprocess.from_open_clip(config) == Preprocess(384, "squash", "bicubic", 0)
    assert Preprocess.from_open_clip({"size": 48}) == Preprocess(48)
    with pytest.raises(UserError, match="only square inputs are supported"):
        Preprocess.from_open_clip({"size": (224, 336)})
    with pytest.raises(UserError, match="'centre'"):
        Preprocess.from_open_clip({"size": 224, "resize_mode": "centre"})


def test_transforms_can_be_sent_to_loader_processes():
    image = picture("RGB", 40, 30)
    transform = evaluation_transform(Preprocess(16, "longest"))
    assert torch.equal(pickle.loads(pickle.dumps(transform))(image), transform(image))
    pickle.dumps(training_transform(16))
