"""Options set by a benchmark: they equal the released scripts' values and reach their methods."""

import pytest

from benchmarks import settings
from benchmarks.full.dataset_table import suite
from harness.config.resolve import resolve
from harness.config.run_config import RunConfig
from models.registry import UserError
from strategies import STRATEGIES
from strategies.zscl import ZSCL

CIL = {
    "epochs": 1, "lr": 7.1e-6, "warmup": 30, "batch_size": 64, "weight_decay": 0.0, "label_smoothing": 0.2,
    "image_loss": 5.0, "text_loss": 5.0, "l2": 0.0, "average_every": 10, "temperature": 2.0, "lr_by_task": {},
    "reference_reshuffle": True,
}  # fmt: skip
MTIL = {
    "iterations": 1001, "epochs": 0, "lr": 1e-5, "warmup": 100, "batch_size": 64, "weight_decay": 0.0, "label_smoothing": 0.2,
    "image_loss": 1.0, "text_loss": 1.0, "l2": 1.0, "average_every": 100, "temperature": 2.0,
    "lr_by_task": {"Aircraft": 5e-5, "MNIST": 5e-5}, "beta1": 0.9, "beta2": 0.999, "reference_batch": 64,
    "reference_reshuffle": False,
}  # fmt: skip
VIT = {"model": "ViT-B-16", "pretrained": "openai"}


def options(**config):
    return resolve(RunConfig(strategy="zscl", **config)).options


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({"benchmark": "mtil", "edition": "full"}, MTIL),
        ({"benchmark": "mtil", "edition": "full", "order": "II"}, MTIL),
        ({"benchmark": "mtil", "edition": "mini", **VIT}, MTIL),
        ({"benchmark": "stream", "tasks": ("MNIST", "digits"), **VIT}, MTIL),
        ({"benchmark": "cil", "dataset": "cifar100"}, CIL),
        ({"benchmark": "cil", "dataset": "tinyimagenet"}, CIL),
        ({"benchmark": "cil", **VIT}, CIL),
        ({"benchmark": "cil", "dataset": "imagenet100"}, {**CIL, "lr": 7e-6, "batch_size": 128, "weight_decay": 0.1}),
    ],
)
def test_the_released_scripts(config, expected):
    values = options(**config)
    assert {name: getattr(values, name) for name in expected} == expected


@pytest.mark.parametrize("benchmark", ["mtil", "cil"])
def test_mini_settings_are_for_the_tiny_model_alone(benchmark):
    values = settings.mini(benchmark)
    expected = {**values["finetune"], **values["zscl"]}
    assert {name: getattr(options(benchmark=benchmark), name) for name in expected} == expected
    other = options(benchmark=benchmark, **VIT)
    assert not options(benchmark=benchmark).reference_reshuffle
    assert other.lr != expected["lr"] and options(benchmark=benchmark).lr_by_task == {}


def test_the_full_edition_with_the_tiny_model_takes_the_mini_settings():
    assert options(edition="full", model="tiny") == options()


def test_learning_rates_of_the_eleven_datasets():
    rates = settings.mtil()["finetune"]["lr_by_task"]
    default = ZSCL.Options().lr
    assert {name: rates.get(name, default) for name in suite("mtil")} == {
        "Aircraft": 5e-5, "Caltech101": 1e-5, "CIFAR100": 1e-5, "DTD": 1e-5, "EuroSAT": 1e-5, "Flowers": 1e-5, "Food": 1e-5,
        "MNIST": 5e-5, "OxfordPet": 1e-5, "StanfordCars": 1e-5, "SUN397": 1e-5,
    }  # fmt: skip


def test_a_namesake_in_another_case_is_another_task():
    """The mini edition's mnist is not the paper's MNIST and has another learning rate."""
    assert "mnist" not in settings.mtil()["finetune"]["lr_by_task"]


@pytest.mark.parametrize(
    "options_by_strategy", [settings.CIL, settings.CIL_IMAGENET, settings.mtil(), settings.mini("mtil"), settings.mini("cil")]
)
def test_settings_name_strategies_and_their_options(options_by_strategy):
    for name, values in options_by_strategy.items():
        assert set(values) <= set(STRATEGIES.get(name).Options.__dataclass_fields__)


def test_content(tmp_path):
    (tmp_path / "names.txt").write_text("ant\nbee\n")
    assert settings.content(str(tmp_path / "names.txt")) == "ant\nbee\n" and settings.content(None) is None
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00\xd8")
    for name in ("missing.txt", "binary"):
        with pytest.raises(UserError, match=f"Cannot read .*{name}"):
            settings.content(str(tmp_path / name))
