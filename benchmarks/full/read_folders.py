"""Sets that lie in class folders, or beside a list of file names: what torchvision's classes find, and the same for the
sets that it has no class for. Every reader takes the data root and a split and returns a `Part`.

torchvision's own classes read the annotations wherever they do so without MD5 checks; labels go by the class's name, so
that an incomplete copy keeps its names.
"""

from __future__ import annotations

from itertools import islice
from pathlib import Path
from typing import Any

from benchmarks.full.dataset_table import names
from benchmarks.full.parts import Part, class_tree, joined, listed, needed, reading
from models.registry import UserError


def aircraft(root: Path, split: str) -> Part:
    """FGVC-Aircraft by variant; split train is not trainval (ZSCL's code)."""
    from torchvision.datasets import FGVCAircraft

    base = root / "fgvc-aircraft-2013b" / "data"
    needed(base / "images")
    with reading(base / f"images_variant_{split}.txt"):
        data = FGVCAircraft(str(root), split=split)
    return _indexed(data.classes, data._image_files, data._labels)


def caltech101(root: Path, split: str) -> Part:
    """Caltech-101, whole: categories sorted, then images by number, which is torchvision's order too."""
    return class_tree(root / "caltech101" / "101_ObjectCategories", skip=("BACKGROUND_Google",))


def dtd(root: Path, split: str) -> Part:
    """Describable textures, partition 1: one of its three splits."""
    from torchvision.datasets import DTD

    needed(root / "dtd" / "dtd" / "images")
    with reading(root / "dtd" / "dtd" / "labels" / f"{split}1.txt"):
        data = DTD(str(root), split=split, partition=1)
    return _indexed(data.classes, data._image_files, data._labels)


def dtd_merged(root: Path, split: str) -> Part:
    """PAINT's textures: the official train and val splits together train (stated by the author in an issue)."""
    return joined(dtd(root, "train"), dtd(root, "val")) if split == "train" else dtd(root, split)


def eurosat(root: Path, split: str) -> Part:
    """EuroSAT, whole: class folders sorted, then files by name, as torchvision's ImageFolder."""
    return class_tree(root / "eurosat" / "2750")


def food(root: Path, split: str) -> Part:
    """Food-101, the official lists."""
    from torchvision.datasets import Food101

    path = root / "food-101" / "meta" / f"{split}.json"
    needed(path, root / "food-101" / "images")
    with reading(path):
        data = Food101(str(root), split=split)
    return _indexed(data.classes, data._image_files, data._labels)


def pets(root: Path, split: str) -> Part:
    """Oxford-IIIT Pet; what trains is trainval."""
    from torchvision.datasets import OxfordIIITPet

    official = "trainval" if split == "train" else split
    path = root / "oxford-iiit-pet" / "annotations" / f"{official}.txt"
    needed(path, root / "oxford-iiit-pet" / "images")
    with reading(path):
        data = OxfordIIITPet(str(root), split=official)
    numbers = sorted(set(data._labels))
    if len(numbers) != len(data.classes):
        raise UserError(f"{path} gives one class number to several breeds, or one breed several numbers.")
    place = {number: index for index, number in enumerate(numbers)}
    return _indexed(data.classes, data._images, [place[number] for number in data._labels])


def cars(root: Path, split: str) -> Part:
    """Stanford Cars, with the labels of the test images in cars_test_annos_withlabels.mat."""
    from torchvision.datasets import StanfordCars

    base = root / "stanford_cars"
    annotations = base / "devkit" / "cars_train_annos.mat" if split == "train" else base / "cars_test_annos_withlabels.mat"
    needed(annotations, base / "devkit" / "cars_meta.mat", base / f"cars_{split}")
    with reading(annotations):
        data = StanfordCars(str(root), split=split)
    paths = [Path(path) for path, _ in data._samples]
    return _indexed(data.classes, paths, [int(label) for _, label in data._samples])


def sun397(root: Path, split: str) -> Part:
    """SUN397, whole, sorted by path: torchvision lists the files in the file system's order (our choice)."""
    from torchvision.datasets import SUN397

    base = root / "SUN397"
    with reading(base / "ClassName.txt"):
        data = SUN397(str(root))
    order = sorted(range(len(data)), key=lambda i: data._image_files[i].relative_to(base).as_posix())
    return _indexed(data.classes, [data._image_files[i] for i in order], [data._labels[i] for i in order])


def sun397_partition(root: Path, split: str) -> Part:
    """SUN397's official partition 01 (Training_01.txt, Testing_01.txt, in SUN397/ or SUN397/Partitions/): customary, not
    confirmed for PAINT.
    """
    base, name = root / "SUN397", "Training_01.txt" if split == "train" else "Testing_01.txt"
    path = base / "Partitions" / name if (base / "Partitions" / name).is_file() else base / name
    with reading(base / "ClassName.txt"):
        keys = [line[3:].strip() for line in (base / "ClassName.txt").read_text().splitlines() if line.strip()]
    with reading(path):
        lines = [Path(line.strip().lstrip("/")) for line in path.read_text().splitlines() if line.strip()]
        labels = ["/".join(line.parts[1:-1]) for line in lines]
        unknown = sorted(set(labels) - set(keys))
        if unknown:
            raise UserError(f"{path} names classes that ClassName.txt lacks: {', '.join(unknown[:5])}.")
    return listed(keys, [base / line for line in lines], labels)


def gtsrb(root: Path, split: str) -> Part:
    """German traffic signs: the folders of Training_fixed, and the final test images with GT-final_test.csv."""
    from torchvision.datasets import GTSRB

    if split == "train":
        return class_tree(root / "gtsrb" / "GTSRB" / "Training")
    path = root / "gtsrb" / "GT-final_test.csv"
    needed(path, root / "gtsrb" / "GTSRB" / "Final_Test" / "Images")
    with reading(path):
        data = GTSRB(str(root), split="test")
    labels = [f"{label:05d}" for _, label in data._samples]
    return listed(sorted(set(labels)), [Path(path) for path, _ in data._samples], labels)


def resisc45(root: Path, split: str) -> Part:
    """NWPU-RESISC45 with the published lists resisc45-{train,val,test}.txt, one CLASS_NNN.jpg a line."""
    base = root / "resisc45"
    path = base / f"resisc45-{split}.txt"
    with reading(path):
        files = [line.strip() for line in path.read_text().splitlines() if line.strip()]
    labels = [name.rsplit("_", 1)[0] for name in files]
    return listed(sorted(set(labels)), [base / "NWPU-RESISC45" / k / f for k, f in zip(labels, files, strict=True)], labels)


def imagenet(root: Path, split: str, first: int | None = None) -> Part:
    """ImageNet-1k in folders by wnid; the validation images (val/ or val_in_folder/) are the test set.

    `first` keeps only that many classes, in wnid order.
    """
    base = root / "imagenet"
    folder = base / "train"
    if split == "test":
        folder = base / "val_in_folder" if (base / "val_in_folder").is_dir() else base / "val"
    return class_tree(folder, only=None if first is None else set(islice(names("imagenet"), first)))


def imagenet100(root: Path, split: str) -> Part:
    """The first 100 classes of ImageNet-1k (ZSCL's list); other folders are left alone."""
    return imagenet(root, split, first=100)


def tinyimagenet(root: Path, split: str) -> Part:
    """TinyImageNet: train/WNID/images, and the validation images with val_annotations.txt as the test set. Its class order
    (that of its own wnids.txt, which the class-incremental orders number) is the table's, not the folders'.
    """
    base = root / "tiny-imagenet-200"
    if split == "train":
        return class_tree(base / "train", inner="images")
    path = base / "val" / "val_annotations.txt"
    with reading(path):
        rows = [line.split("\t")[:2] for line in path.read_text().splitlines() if line.strip()]
        files, labels = [row[0] for row in rows], [row[1] for row in rows]
    return listed(sorted(set(labels)), [base / "val" / "images" / name for name in files], labels)


def _indexed(classes: Any, images: Any, labels: Any) -> Part:
    """A part from torchvision's class list, paths and class numbers."""
    keys = [str(name) for name in classes]
    bad = sorted({int(label) for label in labels if not 0 <= int(label) < len(keys)})
    if bad:
        raise UserError(f"Class numbers outside the list of {len(keys)} classes: {', '.join(map(str, bad[:5]))}.")
    return listed(keys, [Path(image) for image in images], [keys[int(label)] for label in labels])
