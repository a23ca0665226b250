"""Layouts of ImageNet and its relatives, of the scenes of KITTI and CLEVR, and of the class-incremental datasets."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tools.rehearsal_data.content import Content, Item, document, text

DISTANCES = (5.0, 12.0, 30.0)
"""Metres to the nearest vehicle of KITTI's first three classes. The fourth has no vehicle."""


def imagenet(root: Path, content: Content) -> list[Item]:
    """Write ImageNet-1k: training and validation images in folders by wnid."""
    base, items = root / "imagenet", []
    for shot in content.by_class("train"):
        items.append(Item("train", shot.key, base / "train" / shot.key / f"{shot.key}_{shot.number}.JPEG"))
    for number, shot in enumerate(content.by_class("test")):
        items.append(Item("test", shot.key, base / "val" / shot.key / f"ILSVRC2012_val_{number + 1:08d}.JPEG"))
    for item, shot in zip(items, [*content.by_class("train"), *content.by_class("test")], strict=True):
        content.save(item.path, *shot)
    return items


def tinyimagenet(root: Path, content: Content) -> list[Item]:
    """Write TinyImageNet: train/WNID/images with boxes, validation images in one folder with their annotations."""
    base, items, rows = root / "tiny-imagenet-200", [], []
    text(base / "wnids.txt", content.classes)
    boxes: dict[str, list[str]] = {key: [] for key in content.classes}
    for shot in content.by_class("train"):
        path = base / "train" / shot.key / "images" / f"{shot.key}_{shot.number}.JPEG"
        content.save(path, *shot)
        items.append(Item("train", shot.key, path))
        boxes[shot.key].append(f"{path.name}\t0\t0\t9\t9")
    for key, lines in boxes.items():
        text(base / "train" / key / f"{key}_boxes.txt", lines)
    for number, shot in enumerate(content.by_class("test")):
        path = base / "val" / "images" / f"val_{number}.JPEG"
        content.save(path, *shot)
        items.append(Item("test", shot.key, path))
        rows.append(f"{path.name}\t{shot.key}\t0\t0\t9\t9")
    text(base / "val" / "val_annotations.txt", rows)
    return items


def kitti(root: Path, content: Content) -> list[Item]:
    """Write KITTI's object set: images in turn of the classes "0" to "3", their objects, and the video of each, shuffled.

    A video has three images. The class of an image follows from the z of its nearest vehicle (`benchmarks.full.kitti`).
    """
    base, items = root / "Kitti" / "raw", []
    shots = list(content.in_turn("all"))
    videos = [f"2011_09_26 2011_09_26_drive_{i // 3:04d}_sync {i % 3:010d}" for i in range(len(shots))]
    order = np.random.default_rng(0).permutation(len(shots))
    text(base / "mapping" / "train_mapping.txt", videos)
    text(base / "mapping" / "train_rand.txt", [",".join(str(int(line) + 1) for line in order)])
    for number, shot in enumerate(shots):
        path, label = base / "training" / "image_2" / f"{number:06d}.png", int(shot.key)
        content.save(path, *shot)
        items.append(Item("all", shot.key, path))
        rows = ["Pedestrian 0.00 0 1.5 10 10 20 20 1.5 1.6 3.9 1.0 1.6 2.0 0.1"]
        if label < len(DISTANCES):
            rows += [f"Car 0.00 0 1.5 10 10 20 20 1.5 1.6 3.9 1.0 1.6 {z} 0.1" for z in (DISTANCES[label], 60.0)]
        rows.append("DontCare -1 -1 -10 1 1 2 2 -1 -1 -1 -1000 -1000 -1000 -10")
        text(base / "training" / "label_2" / f"{number:06d}.txt", rows)
    return items


def clevr(root: Path, content: Content) -> list[Item]:
    """Write CLEVR: numbered images and their scenes. A class is the number of objects. The test split has no scenes."""
    base, items = root / "clevr" / "CLEVR_v1.0", []
    one = {"shape": "cube", "color": "red", "size": "large", "material": "metal", "3d_coords": [0.1, 0.2, 0.3]}
    for split in ("train", "val", "test"):
        scenes = []
        for number, shot in enumerate(content.in_turn(split)):
            path = base / "images" / split / f"CLEVR_{split}_{number:06d}.png"
            content.save(path, *shot)
            items.append(Item(split, shot.key, path))
            scene = {"image_index": number, "split": split, "image_filename": path.name}
            scenes.append({**scene, "objects": [one] * int(shot.key)})
        if split != "test":
            info = {"split": split, "version": "1.0", "license": "CC BY 4.0"}
            document(base / "scenes" / f"CLEVR_{split}_scenes.json", {"info": info, "scenes": scenes})
    return items


def cub(root: Path, content: Content) -> list[Item]:
    """Write CUB-200-2011: lists number the images, and have the class and the split of each. Classes are "001.Name"."""
    base, items = root / "CUB_200_2011", []
    for split in ("train", "test"):
        for shot in content.by_class(split):
            path = base / "images" / shot.key / f"{shot.key[4:]}_{shot.number:04d}_{796_100 + shot.number}.jpg"
            content.save(path, *shot)
            items.append(Item(split, shot.key, path))
    lists = {
        "classes": content.classes,
        "images": [f"{item.key}/{item.path.name}" for item in items],
        "image_class_labels": [content.classes.index(item.key) + 1 for item in items],
        "train_test_split": [int(item.split == "train") for item in items],
    }
    for name, values in lists.items():
        text(base / f"{name}.txt", [f"{number} {value}" for number, value in enumerate(values, start=1)])
    return items


def imagenet_r(root: Path, content: Content) -> list[Item]:
    """Write ImageNet-R with the lists of mammoth, whose images are not in the order of the classes."""
    base, items = root / "imagenet-r", []
    for split in ("train", "test"):
        shots = list(content.by_class(split))
        for shot in shots:
            path = base / shot.key / f"sketch_{shot.number}.jpg"
            content.save(path, *shot)
            items.append(Item(split, shot.key, path))
        files = [f"- data/imagenet-r/{shot.key}/sketch_{shot.number}.jpg" for shot in reversed(shots)]
        targets = [f"- {content.classes.index(shot.key)}" for shot in reversed(shots)]
        text(base / f"imagenet-r_{split}.yaml", ["data:", *files, "targets:", *targets])
    return items


def objectnet(root: Path, content: Content) -> list[Item]:
    """Write ObjectNet: class folders, and the class name of each folder. Classes are the names, such as "Air freshener"."""
    base, items = root / "objectnet-1.0", []
    folders = {key: key.lower().replace(" ", "_").replace("-", "_") for key in content.classes}
    for shot in content.by_class("all"):
        path = base / "images" / folders[shot.key] / f"{shot.number:07x}a0b1c2d.png"
        content.save(path, *shot)
        items.append(Item("all", shot.key, path))
    document(base / "mappings" / "folder_to_objectnet_label.json", {folder: key for key, folder in folders.items()})
    return items


def captions(root: Path, content: Content) -> list[Item]:
    """Write Conceptual Captions' validation set as ZSCL's code gathers it. Classes are the sentences."""
    base, rows = root / "conceptual_captions", ["title\tfilepath"]
    items: list[Item] = []
    for shot in content.in_turn("all"):
        path = base / "validation" / f"{len(items)}.jpg"
        content.save(path, *shot)
        items.append(Item("all", shot.key, path))
        rows.append(f"{shot.key}\tvalidation/{path.name}")
    text(base / "Validation_GCC-1.1.0-Validation_output.csv", rows)
    return items
