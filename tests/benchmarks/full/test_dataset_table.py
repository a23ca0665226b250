"""The table of the papers' datasets against independent facts: sums, orders, counts of templates, torchvision's lists."""

import json
import random
import subprocess
import sys
from itertools import product
from pathlib import Path

import numpy as np
import pytest

from benchmarks.cil import CLIP_DATASETS, DATASETS
from benchmarks.full import dataset_table as table
from benchmarks.full.dataset_table import ENTRIES
from models.registry import UserError

MTIL = (
    "Aircraft", "Caltech101", "CIFAR100", "DTD", "EuroSAT", "Flowers", "Food", "MNIST", "OxfordPet", "StanfordCars", "SUN397",
)  # fmt: skip
TEMPLATES = {
    "Aircraft": 2, "Caltech101": 34, "CIFAR100": 18, "DTD": 8, "EuroSAT": 3, "Flowers": 1, "Food": 1, "MNIST": 1,
    "OxfordPet": 1, "StanfordCars": 9, "SUN397": 2, "cars": 8, "dtd": 8, "eurosat": 3, "gtsrb": 3, "kitti": 1, "mnist": 1,
    "resisc45": 18, "sun397": 2, "svhn": 1, "imagenet": 80, "cifar10": 18, "cifar100": 18, "stl10": 2, "food101": 1,
    "fashion_mnist": 8, "tinyimagenet": 1, "imagenet100": 1, "clevr": 1,
    "cub": 1, "imagenet-r": 1, "objectnet": 1, "coop-aircraft": 2, "coop-caltech101": 34,
    "coop-cars": 9, "coop-dtd": 8, "coop-eurosat": 3, "coop-flowers": 1, "coop-food101": 1, "coop-pets": 1, "coop-sun397": 2,
    "coop-ucf101": 1,
}  # fmt: skip
PATCHING = ("cars", "dtd", "eurosat", "gtsrb", "kitti", "mnist", "resisc45", "sun397", "svhn")
SUPPORTED = ("imagenet", "cifar10", "cifar100", "stl10", "food101")


def test_names_and_suites():
    assert table.suite("mtil") == MTIL
    assert set(table.suite("paint")) == {*PATCHING, *SUPPORTED, "fashion_mnist"}
    zscl = ("cifar100", "tinyimagenet", "imagenet100")
    assert table.suite("cil") == (*zscl, "cub", "imagenet-r", "objectnet")
    assert table.suite("cases") == ("clevr",)
    assert set(table.suite("coop")) == {name for name in ENTRIES if name.startswith("coop-")}
    assert tuple(DATASETS) == (*zscl, "imagenet"), "ImageNet belongs to PAINT's suite"
    assert {*table.suite("cil")} - {*zscl} <= set(CLIP_DATASETS) <= set(ENTRIES)
    assert set(ENTRIES) == set(TEMPLATES)


def test_sums_of_the_papers():
    assert sum(ENTRIES[name].classes for name in MTIL) == 1201
    assert sum(ENTRIES[name].test for name in MTIL) == 97209
    assert sum(ENTRIES[name].test for name in PATCHING) == 88144
    assert sum(ENTRIES[name].test for name in SUPPORTED) == 103250


@pytest.mark.parametrize(("name", "whole"), [("Caltech101", 8677), ("EuroSAT", 27000), ("SUN397", 108754)])
def test_seeded_sizes_follow_from_the_whole_sets(name, whole):
    assert (ENTRIES[name].train, ENTRIES[name].test) == (int(0.8 * whole), whole - int(0.8 * whole))


def test_kitti_and_merged_sizes():
    assert sum(ENTRIES["kitti"].sizes.values()) == 7481
    assert ENTRIES["dtd"].train == 2 * ENTRIES["DTD"].train
    assert sum(ENTRIES["eurosat"].sizes.values()) == 27000
    assert sum(ENTRIES["resisc45"].sizes.values()) == 45 * 700
    for name, whole in (("eurosat", 27000), ("food101", 101000), ("sun397", 39700), ("cars", 16185), ("aircraft", 10000)):
        assert sum(ENTRIES[f"coop-{name}"].sizes.values()) == whole
    assert ENTRIES["coop-sun397"].test == ENTRIES["sun397"].test and ENTRIES["coop-cars"].test == ENTRIES["cars"].test
    assert sum(ENTRIES["coop-pets"].sizes.values()) == ENTRIES["OxfordPet"].train + ENTRIES["OxfordPet"].test
    assert ENTRIES["tinyimagenet"].test == 200 * 50 and ENTRIES["imagenet100"].test == 100 * 50
    assert sum(filter(None, ENTRIES["cub"].sizes.values())) == 11788


def test_learning_rates():
    assert {name: ENTRIES[name].lr for name in MTIL} == {n: 5e-5 if n in ("Aircraft", "MNIST") else 1e-5 for n in MTIL}
    assert all(row.lr is None for row in ENTRIES.values() if row.suite != "mtil")


def test_templates():
    assert {name: len(row.templates) for name, row in ENTRIES.items()} == TEMPLATES
    for row in ENTRIES.values():
        assert len(set(row.templates)) == len(row.templates) and all("{}" in t for t in row.templates)
    first = {
        "Aircraft": "a photo of a {}, a type of aircraft.",
        "Caltech101": "a photo of a {}.",
        "CIFAR100": "a photo of a {}.",
        "DTD": "a photo of a {} texture.",
        "EuroSAT": "a centered satellite photo of {}.",
        "Flowers": "a photo of a {}, a type of flower.",
        "Food": "a photo of a {}, a type of food.",
        "MNIST": 'a photo of the number: "{}".',
        "OxfordPet": "a photo of a {}, a type of pet.",
        "StanfordCars": "a photo of a {}, a type of car.",
        "SUN397": "a photo of a {}.",
        "food101": "a photo of {}, a type of food.",
        "kitti": "{}",
    }
    assert {name: ENTRIES[name].templates[0] for name in first} == first


def test_templates_that_are_products():
    kinds = ("", "blurry ", "black and white ", "low contrast ", "high contrast ", "bad ", "good ")
    cifar = {f"a {kind}photo of {a} {{}}." for kind, a in product(kinds, ("a", "the"))}
    cifar |= {f"a photo of {a} {size} {{}}." for a, size in product(("a", "the"), ("small", "big"))}
    assert set(ENTRIES["CIFAR100"].templates) == cifar
    dtd = {f"a photo of {a} {{}} {what}." for a, what in product(("a", "the"), ("texture", "pattern", "thing", "object"))}
    assert set(ENTRIES["DTD"].templates) == dtd
    views = product(("satellite", "aerial"), ("imagery", "photo", "view"), ("", "a ", "the "))
    assert set(ENTRIES["resisc45"].templates) == {f"{source} {kind} of {a}{{}}." for source, kind, a in views}


def test_class_orders():
    orders = table.class_orders()
    tiny = list(range(200))
    random.Random(0).shuffle(tiny)
    assert orders["tinyimagenet"] == tiny
    hundred = list(range(100))
    np.random.RandomState(1993).shuffle(hundred)
    assert orders["imagenet100"] == hundred
    thousand = list(range(1000))
    np.random.RandomState(1993).shuffle(thousand)
    assert orders["imagenet"] == thousand and thousand[:4] == [54, 7, 894, 512] and thousand[-2:] == [697, 417]
    assert sorted(orders["cifar100"]) == list(range(100))
    assert orders["cifar100"][:10] == [87, 0, 52, 58, 44, 91, 68, 97, 51, 15]


@pytest.mark.parametrize("name", [name for name, row in ENTRIES.items() if row.names])
def test_fixed_class_names_are_as_many_as_classes(name):
    row = ENTRIES[name]
    assert len(row.fixed) == row.classes
    assert all(value == value.strip() and value for value in row.fixed.values())


def test_lists_against_torchvisions_own():
    from torchvision.datasets import MNIST, FashionMNIST, Flowers102
    from torchvision.models._meta import _IMAGENET_CATEGORIES

    assert list(ENTRIES["MNIST"].fixed.values()) == MNIST.classes
    assert list(ENTRIES["fashion_mnist"].fixed.values()) == FashionMNIST.classes
    flowers = list(ENTRIES["Flowers"].fixed.values())
    assert sum(a == b for a, b in zip(flowers, Flowers102.classes, strict=True)) >= 95
    ours = [name.lower() for name in ENTRIES["imagenet"].fixed.values()]
    same = [a == b.lower() for a, b in zip(ours, _IMAGENET_CATEGORIES, strict=True)]
    assert sum(same) >= 650


def test_keys_on_disk():
    for name in ("Caltech101", "EuroSAT", "gtsrb", "resisc45", "imagenet"):
        keys = list(ENTRIES[name].fixed)
        assert keys == sorted(keys), name
    assert all(len(key) == 9 and key[0] == "n" for key in [*ENTRIES["imagenet"].fixed, *ENTRIES["tinyimagenet"].fixed])
    assert list(ENTRIES["imagenet100"].fixed) == list(ENTRIES["imagenet"].fixed)[:100]
    assert set(ENTRIES["tinyimagenet"].fixed) - set(ENTRIES["imagenet"].fixed) != set(ENTRIES["tinyimagenet"].fixed)
    assert ENTRIES["Caltech101"].fixed["crocodile_head"] == "head of a  crocodile"
    assert ENTRIES["Caltech101"].fixed["car_side"] == "side of a car"
    assert ENTRIES["EuroSAT"].fixed == ENTRIES["eurosat"].fixed
    assert ENTRIES["EuroSAT"].fixed["SeaLake"] == "lake or sea"


def test_every_entry_says_where_it_comes_from():
    for row in ENTRIES.values():
        assert row.about and row.licence and row.source and row.get.endswith("."), row.name
        assert row.folder and not any(folder.startswith(("/", "..")) for folder in row.folder)
        if row.hub:
            assert row.hub.id.count("/") == 1 and row.hub.splits
    for name in ("StanfordCars", "cars", "Caltech101"):
        assert ENTRIES[name].hub is not None and "dead" in ENTRIES[name].get


def test_summary_is_plain_data():
    rows = table.summary()
    assert [row["name"] for row in rows] == list(ENTRIES)
    assert json.loads(json.dumps(rows)) == rows
    assert set(rows[0]) == {"name", "suite", "about", "classes", "train", "val", "test", "licence", "get"}


def test_unknown_name():
    with pytest.raises(UserError, match=r"Unknown dataset 'Caltech10'\. Did you mean Caltech101"):
        table.entry("Caltech10")


def test_the_table_needs_neither_torch_nor_numpy():
    code = (
        "import sys, benchmarks.full.dataset_table as t\nt.summary()\nprint({'torch', 'numpy', 'datasets'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=Path(table.HERE).parents[1])
    assert done.stdout.strip() == "set()", done.stderr
