"""Random crops: torchvision's numbers, and resampling by Pillow or torch."""

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import InterpolationMode, v2

from benchmarks import Domain
from benchmarks.data.images import ImageFiles
from benchmarks.scenario import scenario
from models.random_crop import crop_box
from models.transforms import Preprocess, training_transform
from strategies.engine.batches import training_images
from strategies.engine.training_options import TrainingOptions


def picture(width, height, smooth=8):
    """A colourful picture with edges; smooth=1 is noise."""
    noise = np.random.default_rng(width).integers(0, 256, (height // smooth + 1, width // smooth + 1, 3), np.uint8)
    return Image.fromarray(noise).resize((width, height), Image.Resampling.BICUBIC)


@pytest.mark.parametrize("size", [(375, 500), (690, 1024), (48, 48), (2, 3), (1, 7), (7, 1), (100, 300), (300, 100)])
def test_boxes_and_generator_are_torchvisions(size):
    crop = v2.RandomResizedCrop(8, scale=(0.9, 1.0))
    image = torch.zeros(3, *size)
    for seed in range(60):
        torch.manual_seed(seed)
        expected = crop.make_params([image])
        state = torch.get_rng_state()
        torch.manual_seed(seed)
        assert crop_box(*size)._asdict() == expected
        assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("mode", ["RGB", "L", "P", "RGBA", "CMYK"])
@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
def test_pixels_are_torchvisions(mode, interpolation):
    image = picture(120, 90).quantize(16) if mode == "P" else picture(120, 90).convert(mode)
    crop = v2.RandomResizedCrop(40, scale=(0.9, 1.0), interpolation=InterpolationMode(interpolation), antialias=True)
    torch.manual_seed(1)
    expected = v2.functional.pil_to_tensor(crop(image).convert("RGB"))
    torch.manual_seed(1)
    assert torch.equal(training_transform(Preprocess(40, interpolation=interpolation))(image), expected)


@pytest.mark.parametrize("smooth", [1, 8])
@pytest.mark.parametrize("size", [(500, 375), (300, 400), (60, 80)])
def test_torch_differs_by_one_in_few_values(size, smooth):
    """Enlarged images also have single differences of 2: both passes of the resizing round."""
    image = picture(*size, smooth)
    torch.manual_seed(0)
    expected = training_transform(224)(image).int()
    torch.manual_seed(0)
    difference = (training_transform(224, "torch")(image).int() - expected).abs()
    assert 0 < float((difference > 0).float().mean()) < 0.01 and float((difference > 1).float().mean()) < 1e-4
    assert int(difference.max()) <= 2


def test_other_modes_are_resized_by_pillow():
    for image in (picture(90, 60).quantize(16), picture(90, 60).convert("RGBA")):
        torch.manual_seed(0)
        expected = training_transform(32)(image)
        torch.manual_seed(0)
        assert torch.equal(training_transform(32, "torch")(image), expected)


def test_the_option_chooses_the_transform(tmp_path):
    picture(300, 200, 1).save(tmp_path / "a.png")
    files = ImageFiles([tmp_path / "a.png"], [0])
    experience = scenario([Domain("a", ("x",), ("{}",), files, None, files)], preprocess=64).train_stream[0]
    images = {}
    for resampling in ("pillow", "torch"):
        data = training_images(experience, TrainingOptions(resampling=resampling))
        torch.manual_seed(0)
        images[resampling] = data[0][0]
        torch.manual_seed(0)
        assert torch.equal(images[resampling], training_transform(64, resampling)(picture(300, 200, 1)))
    assert not torch.equal(images["pillow"], images["torch"])


def test_torch_without_a_crop_is_refused():
    with pytest.raises(ValueError, match="resampling=torch has no effect with augmentation=none"):
        TrainingOptions(resampling="torch", augmentation="none")
