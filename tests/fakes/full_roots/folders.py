"""Made-up data of datasets in folders of image files."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np

from .files import PER_CLASS, Made, save, text

CARS = ("AM General Hummer SUV 2000", "Acura RL Sedan 2012", "smart fortwo Convertible 2012")
SCENES = {
    "/a/abbey": "abbey",
    "/a/airplane_cabin": "airplane_cabin",
    "/a/apartment_building/outdoor": "apartment_building/outdoor",
}
WNIDS = ("n01440764", "n01443537", "n01484850")
TINY = ("n02124075", "n04067472", "n04540053")


def aircraft(root: Path) -> Made:
    base, variants = root / "fgvc-aircraft-2013b" / "data", ("707-320", "A300B4", "F/A-18")
    text(base / "variants.txt", variants)
    number = 0
    for split in ("train", "val", "test"):
        rows = []
        for label, variant in enumerate(variants):
            for _ in range(PER_CLASS[split]):
                number += 1
                save(base / "images" / f"{number:07d}.jpg", label, number)
                rows.append(f"{number:07d} {variant}")
        text(base / f"images_variant_{split}.txt", rows)
    return Made(3, {"train": 9, "test": 6})


def aircraft_coop(root: Path) -> Made:
    aircraft(root)
    return Made(3, {"train": 9, "val": 6, "test": 6})


def caltech101(root: Path) -> Made:
    for label, name in enumerate(("BACKGROUND_Google", "Faces", "accordion", "yin_yang")):
        for number in range(1, 6):
            mode = "L" if name == "yin_yang" else "RGB"
            save(root / "caltech101" / "101_ObjectCategories" / name / f"image_{number:04d}.jpg", label, number, mode)
    return Made(101, {"train": 12, "test": 3})


def dtd(root: Path) -> Made:
    base = root / "dtd" / "dtd"
    for split in ("train", "val", "test"):
        rows = []
        for label, name in enumerate(("banded", "polka-dotted")):
            for number in range(PER_CLASS[split]):
                file = f"{name}/{name}_{split}{number}.jpg"
                save(base / "images" / file, label, number)
                rows.append(file)
        text(base / "labels" / f"{split}1.txt", rows)
    return Made(2, {"train": 6, "test": 4})


def dtd_merged(root: Path) -> Made:
    dtd(root)
    return Made(2, {"train": 10, "test": 4})


def eurosat(root: Path) -> Made:
    for label, name in enumerate(("AnnualCrop", "Forest", "SeaLake")):
        for number in range(1, 11):
            save(root / "eurosat" / "2750" / name / f"{name}_{number}.jpg", label, number)
    return Made(10, {"train": 24, "test": 6})


def eurosat_paint(root: Path) -> Made:
    eurosat(root)
    return Made(10, {"train": 24, "val": 3, "test": 3})


def flowers(root: Path) -> Made:
    from scipy.io import savemat

    base = root / "flowers-102"
    labels = [1, 2, 102, 1, 2, 102, 1, 2, 102]
    for number, label in enumerate(labels, 1):
        save(base / "jpg" / f"image_{number:05d}.jpg", label, number)
    savemat(base / "imagelabels.mat", {"labels": np.array([labels], dtype=np.uint8)})
    savemat(
        base / "setid.mat", {"trnid": np.array([[1, 2, 3]]), "valid": np.array([[4, 5, 6]]), "tstid": np.array([[9, 8, 7]])}
    )
    return Made(102, {"train": 3, "test": 3})


def food(root: Path) -> Made:
    base = root / "food-101"
    for split in ("train", "test"):
        files = {}
        for label, name in enumerate(("apple_pie", "baby_back_ribs")):
            files[name] = [f"{name}/{split}{number}" for number in range(PER_CLASS[split])]
            for number, file in enumerate(files[name]):
                save(base / "images" / f"{file}.jpg", label, number)
        text(base / "meta" / f"{split}.json", [json.dumps(files)])
    return Made(2, {"train": 6, "test": 4})


def pets(root: Path) -> Made:
    base = root / "oxford-iiit-pet"
    for split in ("trainval", "test"):
        rows = []
        for label, (name, kind) in enumerate((("Abyssinian", 1), ("american_bulldog", 2), ("Bengal", 1)), 1):
            for number in range(2):
                image = f"{name}_{number + (0 if split == 'trainval' else 10)}"
                save(base / "images" / f"{image}.jpg", label, number)
                rows.append(f"{image} {label} {kind} 1")
        text(base / "annotations" / f"{split}.txt", rows)
    return Made(3, {"train": 6, "test": 6})


def cars(root: Path) -> Made:
    from scipy.io import savemat

    base = root / "stanford_cars"
    (base / "devkit").mkdir(parents=True, exist_ok=True)
    names = np.empty((1, len(CARS)), dtype=object)
    names[0] = CARS
    savemat(base / "devkit" / "cars_meta.mat", {"class_names": names})
    fields = [(k, object) for k in ("bbox_x1", "bbox_y1", "bbox_x2", "bbox_y2", "class", "fname")]
    for split, path in (("train", base / "devkit" / "cars_train_annos.mat"), ("test", base / "cars_test_annos_withlabels.mat")):
        count = len(CARS) * PER_CLASS[split]
        rows = np.empty((1, count), dtype=fields)
        for number in range(count):
            label = number % len(CARS)
            rows[0, number] = (1, 1, 9, 9, label + 1, f"{number + 1:05d}.jpg")
            save(base / f"cars_{split}" / f"{number + 1:05d}.jpg", label, number)
        savemat(path, {"annotations": rows})
    return Made(3, {"train": 9, "test": 6})


def sun397(root: Path) -> Made:
    base = root / "SUN397"
    text(base / "ClassName.txt", SCENES)
    lists: dict[str, list[str]] = {"Training_01.txt": [], "Testing_01.txt": []}
    for label, scene in enumerate(SCENES):
        for number in range(5):
            file = f"{scene}/sun_{'abcde'[number]}{label}.jpg"
            save(base / file[1:], label, number)
            lists["Training_01.txt" if number < 3 else "Testing_01.txt"].append(file)
    for name, rows in lists.items():
        text(base / name, rows)
    return Made(3, {"train": 12, "test": 3})


def sun397_partition(root: Path) -> Made:
    sun397(root)
    return Made(3, {"train": 9, "test": 6})


def gtsrb(root: Path) -> Made:
    base = root / "gtsrb"
    for label in (0, 7, 42):
        for number in range(3):
            save(base / "GTSRB" / "Training" / f"{label:05d}" / f"00000_{number:05d}.ppm", label, number)
        text(base / "GTSRB" / "Training" / f"{label:05d}" / f"GT-{label:05d}.csv", ["Filename;ClassId"])
    with (base / "GT-final_test.csv").open("w", newline="") as file:
        table = csv.writer(file, delimiter=";")
        table.writerow(["Filename", "Width", "Height", "Roi.X1", "Roi.Y1", "Roi.X2", "Roi.Y2", "ClassId"])
        for number, label in enumerate((42, 0, 7)):
            save(base / "GTSRB" / "Final_Test" / "Images" / f"{number:05d}.ppm", label, number)
            table.writerow([f"{number:05d}.ppm", 16, 16, 1, 1, 9, 9, label])
    return Made(43, {"train": 9, "test": 3})


def kitti(root: Path) -> Made:
    """Write 30 images of 10 videos, three per video, shuffled, with distances of 5, 12, 30 m and no vehicle in turn."""
    base, count = root / "Kitti" / "raw", 30
    videos = [f"2011_09_26 2011_09_26_drive_{number // 3:04d}_sync {number % 3:010d}" for number in range(count)]
    order = np.random.default_rng(0).permutation(count)
    text(base / "mapping" / "train_mapping.txt", videos)
    text(base / "mapping" / "train_rand.txt", [",".join(str(int(line) + 1) for line in order)])
    for number in range(count):
        label = number % 4
        save(base / "training" / "image_2" / f"{number:06d}.png", label, number)
        car = "Car 0.00 0 1.5 10 10 20 20 1.5 1.6 3.9 1.0 1.6 {z} 0.1"
        rows = ["Pedestrian 0.00 0 1.5 10 10 20 20 1.5 1.6 3.9 1.0 1.6 2.0 0.1"]
        if label < 3:
            rows += [car.format(z=(5.0, 12.0, 30.0)[label]), car.format(z=60.0)]
        rows.append("DontCare -1 -1 -10 1 1 2 2 -1 -1 -1 -1000 -1000 -1000 -10")
        text(base / "training" / "label_2" / f"{number:06d}.txt", rows)
    return Made(4, {"train": 24, "val": 3, "test": 3})


def clevr(root: Path) -> Made:
    """Write scenes of 3 to 10 objects, twice each for training and once for validation, and test images without scenes."""
    base = root / "clevr" / "CLEVR_v1.0"
    for split, rounds in (("train", 2), ("val", 1), ("test", 1)):
        scenes = []
        for number in range(8 * rounds):
            file, objects = f"CLEVR_{split}_{number:06d}.png", 3 + number % 8
            save(base / "images" / split / file, objects, number)
            one = {"shape": "cube", "color": "red", "size": "large", "material": "metal", "3d_coords": [0.1, 0.2, 0.3]}
            scenes.append({"image_index": number, "split": split, "image_filename": file, "objects": [one] * objects})
        if split != "test":
            info = {"split": split, "version": "1.0", "license": "CC BY 4.0"}
            text(base / "scenes" / f"CLEVR_{split}_scenes.json", [json.dumps({"info": info, "scenes": scenes})])
    return Made(8, {"train": 16, "test": 8})


def resisc45(root: Path) -> Made:
    base = root / "resisc45"
    rows: dict[str, list[str]] = {"train": [], "val": [], "test": []}
    for label, name in enumerate(("airplane", "baseball_diamond")):
        for number in range(1, 8):
            file = f"{name}_{number:03d}.jpg"
            save(base / "NWPU-RESISC45" / name / file, label, number)
            rows["train" if number < 4 else "val" if number < 6 else "test"].append(file)
    for split, files in rows.items():
        text(base / f"resisc45-{split}.txt", files)
    return Made(45, {"train": 6, "val": 4, "test": 4})


def imagenet(root: Path) -> Made:
    for label, wnid in enumerate(WNIDS):
        for number in range(3):
            save(root / "imagenet" / "train" / wnid / f"{wnid}_{number}.JPEG", label, number)
        save(root / "imagenet" / "val" / wnid / f"ILSVRC2012_val_{label:08d}.JPEG", label, 9)
    save(root / "imagenet" / "train" / "n15075141" / "n15075141_1.JPEG", 3, 1)
    save(root / "imagenet" / "val" / "n15075141" / "ILSVRC2012_val_00000003.JPEG", 3, 9)
    return Made(1000, {"train": 10, "test": 4})


def imagenet100(root: Path) -> Made:
    imagenet(root)
    return Made(100, {"train": 9, "test": 3})


def tinyimagenet(root: Path) -> Made:
    base, rows = root / "tiny-imagenet-200", []
    for label, wnid in enumerate(TINY):
        for number in range(3):
            save(base / "train" / wnid / "images" / f"{wnid}_{number}.JPEG", label, number)
        text(base / "train" / wnid / f"{wnid}_boxes.txt", [f"{wnid}_0.JPEG\t0\t0\t9\t9"])
        save(base / "val" / "images" / f"val_{label}.JPEG", label, 9)
        rows.append(f"val_{label}.JPEG\t{wnid}\t0\t0\t9\t9")
    text(base / "val" / "val_annotations.txt", rows)
    return Made(200, {"train": 9, "test": 3})
