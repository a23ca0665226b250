"""Made-up data of the datasets of class-incremental CLIP, in the layouts of their archives."""

from __future__ import annotations

import json
from pathlib import Path

from .files import Made, save, text

BIRDS = ("001.Black_footed_Albatross", "002.Laysan_Albatross", "018.Spotted_Catbird")
RENDITIONS = ("n01443537", "n01484850", "n02007558")
OBJECTS = {"air_freshener": "Air freshener", "banana": "Banana", "t_shirt": "T-shirt"}


def cub(root: Path) -> Made:
    base, images, labels, parts = root / "CUB_200_2011", [], [], []
    for label, bird in enumerate(BIRDS):
        for number in range(5):
            file = f"{bird}/{bird[4:]}_{number:04d}_{796100 + number}.jpg"
            save(base / "images" / file, label, number)
            images.append(file)
            labels.append(str(label + 1))
            parts.append(str(int(number % 2 == 0)))
    lists = {"classes": BIRDS, "images": images, "image_class_labels": labels, "train_test_split": parts}
    for name, values in lists.items():
        text(base / f"{name}.txt", [f"{number} {value}" for number, value in enumerate(values, start=1)])
    return Made(3, {"train": 9, "test": 6})


def imagenet_r(root: Path) -> Made:
    base, lists = root / "imagenet-r", {"train": [], "test": []}
    for label, wnid in enumerate(RENDITIONS):
        for number in range(5):
            save(base / wnid / f"sketch_{number}.jpg", label, number)
            # The lists are shuffled.
            lists["test" if number == 1 else "train"].insert(0, (f"- data/imagenet-r/{wnid}/sketch_{number}.jpg", f"- {label}"))
    for split, rows in lists.items():
        images, targets = zip(*rows, strict=True)
        text(base / f"imagenet-r_{split}.yaml", ["data:", *images, "targets:", *targets])
    return Made(3, {"train": 12, "test": 3})


def objectnet(root: Path) -> Made:
    base = root / "objectnet-1.0"
    for label, folder in enumerate(OBJECTS):
        for number in range(5):
            save(base / "images" / folder / f"{label}{number}a0b1c2d3.png", label, number)
    (base / "mappings").mkdir(parents=True, exist_ok=True)
    (base / "mappings" / "folder_to_objectnet_label.json").write_text(json.dumps(OBJECTS))
    return Made(3, {"train": 12, "test": 3})
