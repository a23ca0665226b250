"""How many images of each dataset lie on disk, told without decoding one and without torch: files are listed and counted
against the dataset's own lists, or the headers of arrays are read.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Collection, Iterable
from itertools import islice
from pathlib import Path

from benchmarks.data.formats import is_image
from benchmarks.full.dataset_table import Entry, names

Count = Callable[[Path, str], int]


def splits(row: Entry) -> dict[str, int | None]:
    """What is counted of a dataset, and the paper's number of images: per split, or "all" for a set that comes whole."""
    sizes = {split: size for split, size in row.sizes.items() if size is not None or (split == "train" and not row.train)}
    if row.cut or row.name == "kitti":  # whose split goes by video
        return {"all": sum(size for size in sizes.values() if size is not None)}
    return sizes


def of(row: Entry) -> Count:
    """Counts the images of one split (or "all") of an entry, in torchvision's layout under a data folder.

    It raises FileNotFoundError for a list or folder that is not there, and any other exception for one that is damaged.
    Raises NotImplementedError for an entry that `COUNTS` lacks.
    """
    if row.name not in COUNTS:
        raise NotImplementedError(f"benchmarks/full/count.py does not say how {row.name} is counted: add it to COUNTS.")
    return COUNTS[row.name]


def _aircraft(root: Path, split: str) -> int:
    base = root / "fgvc-aircraft-2013b" / "data"
    _needed(base / "variants.txt")
    return _listed(base / "images" / f"{line.split(' ')[0]}.jpg" for line in _lines(base / f"images_variant_{split}.txt"))


def _caltech101(root: Path, split: str) -> int:
    return _tree(root / "caltech101" / "101_ObjectCategories", skip=("BACKGROUND_Google",))


def _cifar10(root: Path, split: str) -> int:
    batches = [f"data_batch_{i}" for i in range(1, 6)] if split == "train" else ["test_batch"]
    return _cifar(root / "cifar-10-batches-py", batches, "labels", "batches.meta")


def _cifar100(root: Path, split: str) -> int:
    return _cifar(root / "cifar-100-python", [split], "fine_labels", "meta")


def _cifar(base: Path, batches: list[str], labels: str, meta: str) -> int:
    from benchmarks.full.read_pickles import load

    _needed(base / meta)
    loaded = [load(base / batch) for batch in batches]
    return sum(min(len(batch["data"]), len(batch[labels])) for batch in loaded)


def _dtd(root: Path, split: str) -> int:
    base = root / "dtd" / "dtd"
    return _listed(base / "images" / line for line in _lines(base / "labels" / f"{split}1.txt"))


def _dtd_merged(root: Path, split: str) -> int:
    return sum(_dtd(root, part) for part in (("train", "val") if split == "train" else (split,)))


def _eurosat(root: Path, split: str) -> int:
    return _tree(root / "eurosat" / "2750")


def _flowers(root: Path, split: str) -> int:
    from scipy.io import loadmat

    base = root / "flowers-102"
    _needed(base / "imagelabels.mat")
    numbers = loadmat(str(base / "setid.mat"))["trnid" if split == "train" else "tstid"].ravel()
    return _listed(base / "jpg" / f"image_{int(number):05d}.jpg" for number in numbers)


def _food(root: Path, split: str) -> int:
    base = root / "food-101"
    listing = json.loads((base / "meta" / f"{split}.json").read_text())
    return _listed(base / "images" / f"{name}.jpg" for files in listing.values() for name in files)


def _idx(folder: str) -> Count:
    def count(root: Path, split: str) -> int:
        base, prefix = root / folder / "raw", "train" if split == "train" else "t10k"
        sizes = []
        for path, head in ((f"{prefix}-images-idx3-ubyte", 16), (f"{prefix}-labels-idx1-ubyte", 8)):
            with (base / path).open("rb") as file:
                start = file.read(head)
            stated, item = int.from_bytes(start[4:8], "big"), 784 if head == 16 else 1
            # A file cut short holds fewer than its header says.
            sizes.append(min(stated, max(0, (base / path).stat().st_size - head) // item))
        return min(sizes)

    return count


def _pets(root: Path, split: str) -> int:
    base = root / "oxford-iiit-pet"
    lines = _lines(base / "annotations" / ("trainval.txt" if split == "train" else f"{split}.txt"))
    return _listed(base / "images" / f"{line.split(' ')[0]}.jpg" for line in lines)


def _cars(root: Path, split: str) -> int:
    base = root / "stanford_cars"
    _needed(base / "devkit" / "cars_meta.mat")
    _needed(base / "devkit" / "cars_train_annos.mat" if split == "train" else base / "cars_test_annos_withlabels.mat")
    return len(_images(base / f"cars_{split}"))


def _sun397(root: Path, split: str) -> int:
    base = root / "SUN397"
    scenes = [line[3:] for line in _lines(base / "ClassName.txt")]
    return sum(sum(name.startswith("sun_") for name in _images(base / scene[0] / scene)) for scene in scenes)


def _sun397_partition(root: Path, split: str) -> int:
    base, name = root / "SUN397", "Training_01.txt" if split == "train" else "Testing_01.txt"
    _needed(base / "ClassName.txt")
    path = base / "Partitions" / name if (base / "Partitions" / name).is_file() else base / name
    return _listed(base / line.lstrip("/") for line in _lines(path))


def _gtsrb(root: Path, split: str) -> int:
    base = root / "gtsrb"
    if split == "train":
        return _tree(base / "GTSRB" / "Training")
    lines = _lines(base / "GT-final_test.csv")[1:]
    return _listed(base / "GTSRB" / "Final_Test" / "Images" / line.split(";")[0] for line in lines)


def _kitti(root: Path, split: str) -> int:
    base = root / "Kitti" / "raw"
    _needed(base / "mapping" / "train_rand.txt")
    lines = len(_lines(base / "mapping" / "train_mapping.txt"))
    numbers = [f"{number:06d}" for number in range(lines)]
    images = {Path(name).stem for name in _images(base / "training" / "image_2")}
    labels = {Path(name).stem for name in os.listdir(base / "training" / "label_2")}
    return sum(number in images and number in labels for number in numbers)


def _resisc45(root: Path, split: str) -> int:
    base = root / "resisc45"
    lines = _lines(base / f"resisc45-{split}.txt")
    return _listed(base / "NWPU-RESISC45" / line.rsplit("_", 1)[0] / line for line in lines)


def _svhn(root: Path, split: str) -> int:
    from scipy.io import whosmat

    path = root / "svhn" / f"{split}_32x32.mat"
    _needed(path)
    shapes = {name: shape for name, shape, _ in whosmat(str(path))}
    return min(shapes["X"][3], max(shapes["y"]))


def _stl10(root: Path, split: str) -> int:
    base = root / "stl10_binary"
    _needed(base / "class_names.txt")
    images, labels = (base / f"{split}_X.bin").stat().st_size // (3 * 96 * 96), (base / f"{split}_y.bin").stat().st_size
    return min(images, labels)


def _imagenet(root: Path, split: str) -> int:
    return _tree(_imagenet_folder(root, split))


def _imagenet100(root: Path, split: str) -> int:
    return _tree(_imagenet_folder(root, split), only=set(islice(names("imagenet"), 100)))


def _imagenet_folder(root: Path, split: str) -> Path:
    base = root / "imagenet"
    if split == "train":
        return base / "train"
    return base / "val_in_folder" if (base / "val_in_folder").is_dir() else base / "val"


def _tinyimagenet(root: Path, split: str) -> int:
    base = root / "tiny-imagenet-200"
    if split == "train":
        return _tree(base / "train", inner="images")
    return _listed(base / "val" / "images" / line.split("\t")[0] for line in _lines(base / "val" / "val_annotations.txt"))


COUNTS: dict[str, Count] = {
    "Aircraft": _aircraft,
    "Caltech101": _caltech101,
    "CIFAR100": _cifar100,
    "DTD": _dtd,
    "EuroSAT": _eurosat,
    "Flowers": _flowers,
    "Food": _food,
    "MNIST": _idx("MNIST"),
    "OxfordPet": _pets,
    "StanfordCars": _cars,
    "SUN397": _sun397,
    "cars": _cars,
    "dtd": _dtd_merged,
    "eurosat": _eurosat,
    "gtsrb": _gtsrb,
    "kitti": _kitti,
    "mnist": _idx("MNIST"),
    "resisc45": _resisc45,
    "sun397": _sun397_partition,
    "svhn": _svhn,
    "imagenet": _imagenet,
    "cifar10": _cifar10,
    "cifar100": _cifar100,
    "stl10": _stl10,
    "food101": _food,
    "fashion_mnist": _idx("FashionMNIST"),
    "tinyimagenet": _tinyimagenet,
    "imagenet100": _imagenet100,
}


def hub_copy(row: Entry, folder: Path) -> dict[str, int | None]:
    """Images per split (or "all") of a hub copy, by the headers of its Arrow or parquet files; a split it lacks is 0.

    Raises OSError or ValueError for a damaged one.
    """
    if row.hub is None:
        return {}
    rows = _saved(folder) if (folder / "dataset_dict.json").is_file() else None
    if rows is None and (folder / "state.json").is_file():
        rows = {"train": _arrow(folder)}
    if rows is None:  # a parquet snapshot: its files' splits are the reader's to tell
        return dict.fromkeys(splits(row))
    counted = {split: sum(rows.get(name, 0) for name in parts) for split, parts in row.hub.splits.items()}
    return {split: counted.get(split, 0) for split in splits(row) if split in counted or split != "val"}


def hub_names(row: Entry, folder: Path) -> list[str]:
    """The class names that a hub copy says; empty where its labels are plain numbers. Raises as `hub_copy` does."""
    if row.hub is None:
        return []
    files = sorted([*folder.glob("dataset_info.json"), *folder.glob("*/dataset_info.json")])
    if files:
        features = json.loads(files[0].read_text()).get("features") or {}
    else:
        import pyarrow.parquet

        tables = sorted(path for path in folder.rglob("*.parquet") if not path.relative_to(folder).parts[0].startswith("."))
        stored = pyarrow.parquet.read_schema(tables[0]).metadata or {} if tables else {}
        features = json.loads(stored.get(b"huggingface", b"{}")).get("info", {}).get("features", {})
    return list((features.get(row.hub.label) or {}).get("names") or [])


def _saved(folder: Path) -> dict[str, int]:
    present = json.loads((folder / "dataset_dict.json").read_text())["splits"]
    return {str(split): _arrow(folder / str(split)) for split in present}


def _arrow(folder: Path) -> int:
    import pyarrow

    total = 0
    for item in json.loads((folder / "state.json").read_text())["_data_files"]:
        with pyarrow.memory_map(str(folder / item["filename"])) as source:
            total += sum(batch.num_rows for batch in pyarrow.ipc.open_stream(source))
    return total


def _tree(folder: Path, only: Collection[str] | None = None, skip: Collection[str] = (), inner: str = "") -> int:
    with os.scandir(folder) as items:
        classes = [item.name for item in items if item.is_dir() and not item.name.startswith(".")]
    return sum(len(_images(folder / c / inner)) for c in classes if c not in skip and (only is None or c in only))


def _images(folder: Path) -> list[str]:
    return list(filter(is_image, _names(folder)))


def _listed(paths: Iterable[Path]) -> int:
    """How many of these files are there; each folder is listed once."""
    wanted: dict[Path, list[str]] = {}
    for path in paths:
        wanted.setdefault(path.parent, []).append(path.name)
    total = 0
    for folder, files in wanted.items():
        present = set(_names(folder))
        total += sum(file in present for file in files)
    return total


def _names(folder: Path) -> list[str]:
    try:
        return os.listdir(folder)
    except (FileNotFoundError, NotADirectoryError):
        return []


def _lines(path: Path) -> list[str]:
    return [line.strip() for line in path.read_text().splitlines() if line.strip()]


def _needed(path: Path) -> None:
    if not path.exists():
        raise FileNotFoundError(2, "is missing", str(path))
