"""The values of ZSCL's released code, by strategy and benchmark, each with the file of the repository that has it.

The repository is Thunderbeee/ZSCL at b96e714. A default of ours that changes makes a test here fail.
"""

import pytest
import torch
import torchvision.transforms as v1
from PIL import Image
from torchvision.transforms import InterpolationMode
from torchvision.transforms import functional as F

from harness.config.resolve import outline
from harness.config.run_config import RunConfig
from models.transforms import evaluation_transform, training_transform
from strategies.negatives import CAPTIONS, make_negatives
from strategies.reference_sources import LENGTH, SENTENCES

MTIL = {"benchmark": "mtil", "edition": "full"}
CIFAR100, TINY = ({"benchmark": "cil", "dataset": name} for name in ("cifar100", "tinyimagenet"))
IMAGENET100 = {"benchmark": "cil", "dataset": "imagenet100"}
IMAGENET100_50_5 = {**IMAGENET100, "base": 50, "steps": 10}

# Flags of all scripts in mtil/scripts, and what they leave to mtil/src/args.py and mtil/src/utils.py.
MTIL_TRAINING = {
    "lr": 1e-5, "lr_by_task": {"Aircraft": 5e-5, "MNIST": 5e-5},  # the arrays `lr` of the scripts
    "iterations": 1001,  # --iterations 1000, and the loop makes one more
    "epochs": 0,
    "label_smoothing": 0.2,  # --ls
    "batch_size": 64,  # args.py --batch-size
    "warmup": 100,  # args.py --warmup_length
    "weight_decay": 0.0,  # args.py --wd
    "beta1": 0.9, "beta2": 0.999,  # finetune.py and args.py --beta2
}  # fmt: skip
# cil/continual_clip/models.py (one epoch and one more update, warm-up) and cil/configs/class/*.yaml.
CIL_TRAINING = {
    "epochs": 1, "warmup": 30, "beta1": 0.9, "beta2": 0.999, "lr_by_task": {},  # models.py
    "lr": 7.1e-6, "batch_size": 64, "label_smoothing": 0.2, "weight_decay": 0.0,  # cifar100_10-10-iCaRL.yaml
}  # fmt: skip
IMAGENET_TRAINING = {**CIL_TRAINING, "lr": 7e-6, "batch_size": 128, "weight_decay": 0.1, "label_smoothing": 0.0}
LOSSES = {"image_loss": 1.0, "text_loss": 1.0, "temperature": 2.0}  # finetune.py; args.py --T
CIL_LOSSES = {"image_loss": 5.0, "text_loss": 5.0, "temperature": 2.0}  # cil/continual_clip/models.py
NONE_OF = {"feature_mse": 0.0, "image_image": 0.0, "weight_adjust": False, "negatives": "none"}  # off in all scripts
CIL_ZSCL = {
    **CIL_LOSSES, **NONE_OF, "l2": 0.0, "average_every": 10, "reference_batch": 64,
    "reference_reshuffle": True, "teacher": "zero-shot",
}  # fmt: skip
CIL_ICARL = {
    **CIL_LOSSES, **NONE_OF, "teacher": "previous",
    # dynamic_dataset.py: memory_size and the limit of getNewDataset; utils.py: batch(iterable, n=64).
    "memory": 5_000, "candidates": 10_000, "memory_batch": 64,
}  # fmt: skip

RELEASED = [
    ("mtil/scripts/finetune.sh", "finetune", MTIL, MTIL_TRAINING),
    ("mtil/scripts/finetune.sh", "finetune", {**MTIL, "order": "II"}, MTIL_TRAINING),
    ("mtil/scripts/ZSCL.sh", "zscl", MTIL, {
        **MTIL_TRAINING, **LOSSES, **NONE_OF, "l2": 1.0, "average_every": 100, "reference_batch": 64,
        "reference_reshuffle": False, "reference_images": "default", "reference_sentences": "default", "teacher": "zero-shot",
        "average_pull": 1.0, "moving_average": "none", "merge": "none",
    }),
    ("mtil/scripts/ZSCL_stars.sh", "zscl-star", MTIL, {
        **MTIL_TRAINING, **LOSSES, **NONE_OF, "l2": 0.0, "average_every": 100, "reference_batch": 64,
    }),
    ("mtil/scripts/ZSCL_WiSE.sh: --wise_ft_alpha", "zscl", MTIL, {"merge_alpha": 0.8}),
    ("mtil/src/args.py: --ref_wise_alpha, --mv_avg_decay, --avg_freq", "zscl", MTIL, {
        "teacher_alpha": 0.8, "moving_decay": 0.999, "average_every": 100,
    }),
    ("mtil/scripts/WiSE_finetune.sh", "wise-ft", MTIL, {**MTIL_TRAINING, "alpha": 0.8, "anchor": "previous"}),
    ("mtil/scripts/wc.sh", "l2", MTIL, {**MTIL_TRAINING, "l2": 1.0}),
    ("mtil/scripts/lwf.sh", "lwf", MTIL, {
        **MTIL_TRAINING, **LOSSES, **NONE_OF, "teacher": "previous",
        "reference_images": "current", "reference_sentences": "classnames",
    }),
    ("mtil/scripts/lwf_vr.sh", "lwf-vr", MTIL, {
        **MTIL_TRAINING, **LOSSES, **NONE_OF, "teacher": "previous",
        "reference_images": "current", "reference_sentences": "random",
    }),
    ("mtil/src/args.py: --memory_size; dynamic_dataset.py; icarl.py", "icarl", MTIL, {
        **MTIL_TRAINING, **LOSSES, **NONE_OF, "memory": 10_000, "candidates": 30_000, "memory_batch": 0, "teacher": "zero-shot",
    }),
    ("cil/configs/class/cifar100_10-10-iCaRL.yaml", "icarl", CIFAR100, {**CIL_TRAINING, **CIL_ICARL}),
    ("cil/configs/class/cifar100_10-10-LwF.yaml", "lwf", CIFAR100, {**CIL_TRAINING, **CIL_LOSSES, "teacher": "previous"}),
    ("cil/configs/class/tinyimagenet_100-10-ZSCL.yaml; models.py", "zscl", TINY, {**CIL_TRAINING, **CIL_ZSCL}),
    ("cil/configs/class/tinyimagenet_100-10-iCaRL.yaml", "icarl", TINY, {**CIL_TRAINING, **CIL_ICARL}),
    ("cil/configs/class/imagenet100_10-10-ZSCL.yaml", "zscl", IMAGENET100, {
        **IMAGENET_TRAINING, **CIL_ZSCL, "label_smoothing": 0.2, "reference_batch": 128,
    }),
    ("cil/configs/class/imagenet100_50-5-ZSCL.yaml", "zscl", IMAGENET100_50_5, {
        **IMAGENET_TRAINING, **CIL_ZSCL, "reference_batch": 128,
    }),
    ("cil/configs/class/imagenet100_10-10-LwF.yaml: lwfvr", "lwf-vr", IMAGENET100, {**IMAGENET_TRAINING, **CIL_LOSSES}),
    ("cil/configs/class/imagenet100_10-10-iCaRL.yaml", "icarl", IMAGENET100, {**IMAGENET_TRAINING, **CIL_ICARL}),
    ("cil/configs/class/imagenet100_50-5-iCaRL.yaml", "icarl", IMAGENET100_50_5, {**IMAGENET_TRAINING, **CIL_ICARL}),
    ("cil/configs/class/imagenet1000_100-100.yaml", "zscl", {"benchmark": "cil", "dataset": "imagenet"}, {
        **CIL_TRAINING, **CIL_ZSCL, "batch_size": 128, "reference_batch": 128, "weight_decay": 0.1,  # decay: ImageNet-100's
    }),
]  # fmt: skip


@pytest.mark.parametrize(
    ("source", "strategy", "config", "expected"), RELEASED, ids=[f"{s}-{i}" for i, (_, s, *_) in enumerate(RELEASED)]
)
def test_options_are_those_of_the_released_code(source, strategy, config, expected):
    options = outline(RunConfig(strategy=strategy, **config)).options
    assert {name: getattr(options, name) for name in expected} == expected, source


def test_reference_data_of_the_released_code():
    """ImageNet's images and the captions in mtil/scripts/ZSCL.sh; the captions' images and sentences in cil/configs."""
    assert outline(RunConfig(strategy="zscl", **MTIL)).reference == ("imagenet", "conceptual_captions")
    for config in (CIFAR100, TINY, IMAGENET100):
        assert outline(RunConfig(strategy="zscl", **config)).reference == ("conceptual_captions", "conceptual_captions")


def test_random_sentences_and_negatives(encoder):
    """1,000 sentences of ten tokens in `virtual_vocab`; 100 captions in each step for ce_method `ext` (cil/.../models.py)."""
    assert (SENTENCES, LENGTH, CAPTIONS) == (1000, 10, 100)
    negatives = make_negatives("captions", encoder, [f"caption {i}" for i in range(120)], [], seed=0)
    assert len(negatives.features()) == 100


def gradient(width=90, height=60):
    image = Image.linear_gradient("L").resize((width, height))
    return Image.merge("RGB", (image, image.rotate(180), image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)))


@pytest.mark.parametrize("seed", range(5))
def test_a_seeded_crop_of_a_training_image(seed):
    """RandomResizedCrop with scale (0.9, 1.0), ratio 3/4 to 4/3 and bicubic in mtil/clip/clip.py, without a flip."""
    image = gradient()
    torch.manual_seed(seed)
    crop = v1.RandomResizedCrop.get_params(image, (0.9, 1.0), (3 / 4, 4 / 3))
    pixels = F.resized_crop(image, *crop, [48, 48], InterpolationMode.BICUBIC)
    torch.manual_seed(seed)
    assert torch.equal(training_transform(48)(image), F.pil_to_tensor(pixels))


def test_the_crop_keeps_nine_tenths_of_the_area():
    """A crop of a picture whose red is its row and whose green is its column shows how much of it is left."""
    side = 200
    rows, columns = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
    picture = torch.stack([rows, columns, torch.zeros_like(rows)]).to(torch.uint8)
    torch.manual_seed(0)
    areas = []
    for _ in range(200):
        red, green, _ = training_transform(side)(picture).float()
        areas.append(float((red.max() - red.min() + 1) * (green.max() - green.min() + 1)) / side**2)
    assert 0.88 < min(areas) < 0.92 and max(areas) > 0.98


def test_reference_images_are_not_augmented():
    """Resize of the shorter side, bicubic, and centre crop in mtil/clip/clip.py."""
    pixels = F.center_crop(F.resize(gradient(), 48, InterpolationMode.BICUBIC), [48, 48])
    assert torch.equal(evaluation_transform(48)(gradient()), F.pil_to_tensor(pixels))
