"""Hub copies in place of torchvision's layout: both formats, labels by name, and refused copies."""

from dataclasses import replace
from pathlib import Path

import pytest
from torch.utils.data import Subset, random_split

from benchmarks import full
from benchmarks.data.dataset import targets_of
from benchmarks.data.images import fingerprint_of, read_image
from benchmarks.full import hub_copies as hub
from benchmarks.full.dataset_table import ENTRIES
from models.registry import UserError

EUROSAT = [
    "Annual Crop", "Forest", "Herbaceous Vegetation", "Highway", "Industrial Buildings", "Pasture", "Permanent Crop",
    "Residential Buildings", "River", "SeaLake",
]  # fmt: skip


@pytest.fixture
def write(full_roots):
    return full_roots.write_hub


@pytest.mark.parametrize("parquet", [None, "data"])
def test_both_formats(parquet, write, tmp_path):
    write(tmp_path / "hub" / "Food", {"train": 4, "validation": 2}, ["apple_pie", "baby_back_ribs"], "image", "label", parquet)
    domain = full.build("Food", tmp_path)
    assert domain.classnames == ("apple pie", "baby back ribs")
    assert (len(domain.train), len(domain.test), domain.val) == (4, 2, None)
    assert targets_of(domain.train) == [0, 1, 0, 1]
    image, label = domain.test[1]
    assert image.mode == "RGB" and image.size == (16, 16) and label == 1
    assert fingerprint_of(domain.train) != fingerprint_of(domain.test)
    assert fingerprint_of(full.build("Food", tmp_path).train) == fingerprint_of(domain.train)
    assert full.folders("Food", tmp_path) == (tmp_path / "hub" / "Food",)


def test_other_columns_and_configurations(write, tmp_path):
    write(tmp_path / "hub" / "cifar100", {"train": 2, "test": 2}, ["apple", "aquarium_fish"], "img", "fine_label")
    assert full.build("cifar100", tmp_path).classnames == ("apple", "aquarium_fish")
    digits = list("0123456789")
    write(tmp_path / "hub" / "svhn", {"train": 10, "test": 10}, digits, "image", "label", "cropped_digits")
    write(tmp_path / "hub" / "svhn", {"train": 3, "test": 3}, digits, "image", "label", "full_numbers")
    assert len(full.build("svhn", tmp_path).train) == 10


def test_labels_go_by_name_where_names_are_known(write, tmp_path):
    wnids = list(reversed(ENTRIES["tinyimagenet"].fixed))
    write(tmp_path / "hub" / "tinyimagenet", {"train": 200, "valid": 2}, wnids, "image", "label")
    domain = full.build("tinyimagenet", tmp_path, ("test",))
    assert domain.train is None and targets_of(domain.test) == [199, 198]
    assert domain.classnames[0] == "Egyptian Mau"
    fashion = ["T - shirt / top", *list(ENTRIES["fashion_mnist"].fixed.values())[1:]]
    write(tmp_path / "hub" / "fashion_mnist", {"train": 10, "test": 10}, fashion, "image", "label")
    assert not full.build("fashion_mnist", tmp_path).test.by_number


def test_whole_set_is_put_together_and_cut(write, tmp_path):
    write(tmp_path / "hub" / "EuroSAT", {"train": 12, "test": 4, "validation": 4}, EUROSAT, "image", "label")
    domain = full.build("EuroSAT", tmp_path)
    import torch

    train, test = random_split(range(20), [16, 4], generator=torch.Generator().manual_seed(42))
    assert isinstance(domain.test, Subset) and domain.test.indices == list(test.indices)
    assert domain.train.indices == list(train.indices)
    whole = [i % 10 for i in range(12)] + [0, 1, 2, 3] + [0, 1, 2, 3]
    assert targets_of(domain.test) == [whole[i] for i in test.indices]
    sentences = full.differences(domain)
    assert any("seeded split is not the paper's" in line for line in sentences)
    assert any("classes are matched by number" in line for line in sentences)


def test_pets_are_named_as_torchvision_names_them(write, tmp_path):
    write(tmp_path / "hub" / "OxfordPet", {"train": 2, "test": 2}, ["abyssinian", "american_bulldog"], "image", "label")
    assert full.build("OxfordPet", tmp_path).classnames == ("Abyssinian", "American Bulldog")


def test_a_missing_validation_split_is_said(write, tmp_path):
    names = list(ENTRIES["resisc45"].fixed)
    write(tmp_path / "hub" / "resisc45", {"train": 45, "test": 45}, names, "image", "label")
    domain = full.build("resisc45", tmp_path)
    assert domain.val is None
    assert any("no val split; the paper's has 6,300" in line for line in full.differences(domain))


def test_layout_comes_before_the_copy_unless_a_file_is_missing(write, tmp_path):
    write(tmp_path / "hub" / "sun397", {"train": 4, "test": 2}, ["abbey", "airplane_cabin"], "image", "label")
    (tmp_path / "SUN397").mkdir()
    (tmp_path / "SUN397" / "ClassName.txt").write_text("/a/abbey\n")
    assert len(full.build("sun397", tmp_path).train) == 4
    for name in ("Training_01.txt", "Testing_01.txt"):
        (tmp_path / "SUN397" / name).write_text("/a/abbey/sun_a.jpg\n")
    (tmp_path / "SUN397" / "a" / "abbey").mkdir(parents=True)
    (tmp_path / "SUN397" / "a" / "abbey" / "sun_a.jpg").touch()
    assert len(full.build("sun397", tmp_path).train) == 1


def test_names_in_another_order_that_are_not_all_known_are_refused(write, tmp_path):
    mixed = ["Forest", "Annual Crop", *EUROSAT[2:]]
    write(tmp_path / "hub" / "EuroSAT", {"train": 10}, mixed, "image", "label")
    with pytest.raises(UserError, match="has its classes in another order"):
        full.build("EuroSAT", tmp_path)


def test_too_many_classes_are_refused(write, tmp_path):
    write(tmp_path / "hub" / "EuroSAT", {"train": 11}, [*EUROSAT, "Parking lot"], "image", "label")
    with pytest.raises(UserError, match=r"has 11 classes, EuroSAT has 10; unknown here: .*Parking lot"):
        full.build("EuroSAT", tmp_path)


def test_missing_split_column_and_format(write, tmp_path):
    write(tmp_path / "hub" / "Food", {"train": 2}, ["a", "b"], "image", "label")
    with pytest.raises(UserError, match="has no data for the split test"):
        full.build("Food", tmp_path)
    write(tmp_path / "hub" / "food101", {"train": 2, "validation": 2}, ["a", "b"], "picture", "label")
    with pytest.raises(UserError, match=r"has no column 'image': it has picture, label"):
        full.build("food101", tmp_path)
    (tmp_path / "hub" / "gtsrb").mkdir()
    with pytest.raises(UserError, match="is not a hub copy"):
        full.build("gtsrb", tmp_path)


def test_damaged_copies(write, tmp_path):
    folder = tmp_path / "hub" / "Food"
    write(folder, {"train": 2, "validation": 2}, ["a", "b"], "image", "label")
    for path in (folder / "train").glob("*.arrow"):
        path.write_bytes(path.read_bytes()[:50])
    with pytest.raises(UserError, match="damaged or incomplete"):
        full.build("Food", tmp_path)
    (folder / "dataset_dict.json").write_text('{"splits": ')
    with pytest.raises(UserError, match=r"Cannot read .*dataset_dict\.json"):
        full.build("Food", tmp_path)


def test_an_image_that_cannot_be_decoded(tmp_path):
    import datasets

    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=["a", "b"])})
    rows = {"image": [{"bytes": b"no image", "path": None}], "label": [1]}
    made = datasets.Dataset.from_dict(rows, features=features)
    datasets.DatasetDict({"train": made, "validation": made}).save_to_disk(str(tmp_path / "hub" / "Food"))
    domain = full.build("Food", tmp_path)
    with pytest.raises(UserError, match="Cannot read image 0 of the hub copy ethz/food101"):
        domain.test[0]


def test_labels_without_names_go_by_number(tmp_path):
    import datasets
    from PIL import Image

    features = datasets.Features({"image": datasets.Image(), "label": datasets.Value("int64")})

    def save(name, *labels):
        made = datasets.Dataset.from_dict({"image": [Image.new("RGB", (4, 4))] * 2, "label": labels}, features=features)
        datasets.DatasetDict({"train": made, "test": made}).save_to_disk(str(tmp_path / "hub" / name))

    save("resisc45", 1, 44)
    domain = full.build("resisc45", tmp_path)
    assert targets_of(domain.test) == [1, 44] and domain.classnames[1] == "airport"
    assert any("classes are matched by number" in line for line in full.differences(domain))
    save("gtsrb", 1, 46)
    with pytest.raises(UserError, match=r"labels outside its classes: 46"):
        full.build("gtsrb", tmp_path)
    save("dtd", 1, 46)  # the table does not have its class names
    command = f"Fetch it again with `python cli.py data fetch dtd --data-root {tmp_path} --from hub`"
    with pytest.raises(UserError, match=f"has no class names: its column 'label' .* {command}"):
        full.build("dtd", tmp_path)


def test_pixels_are_those_of_files(tmp_path):
    """16-bit greyscale is scaled, not clipped. Photographs are read as torchvision reads them, without their EXIF data."""
    import datasets
    import numpy as np
    from PIL import Image

    Image.fromarray(np.array([[0, 300], [30000, 65535], [1, 2]], dtype=np.uint16)).save(tmp_path / "deep.png")
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (6, 4), (9, 9, 200)).save(tmp_path / "phone.jpg", exif=exif)
    files = [tmp_path / "deep.png", tmp_path / "phone.jpg"]
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=["a", "b"])})
    rows = {"image": [{"bytes": path.read_bytes(), "path": None} for path in files], "label": [0, 1]}
    made = datasets.Dataset.from_dict(rows, features=features)
    datasets.DatasetDict({"train": made, "validation": made}).save_to_disk(str(tmp_path / "hub" / "Food"))
    test = full.build("Food", tmp_path).test
    for index, path in enumerate(files):
        assert test[index][0].tobytes() == read_image(path).tobytes() and test[index][0].size == read_image(path).size
    assert test[0][0].getpixel((1, 0)) == (1, 1, 1) and test[1][0].size == (6, 4)


def test_label_order_tolerates_what_imagenets_copy_has():
    row = replace(ENTRIES["imagenet"])
    copy_names = [f"{name}, and more" if i % 2 else name for i, name in enumerate(row.fixed.values())]
    order, by_number = hub.label_order(copy_names, row, Path("x"))
    assert by_number and order[999] == 999


@pytest.mark.parametrize(
    ("path", "split"),
    [
        ("data/train-00000-of-00017.parquet", "train"),
        ("data/valid-00000-of-00001-70d52db3c749a935.parquet", "valid"),
        ("default/test/0000.parquet", "test"),
    ],
)
def test_splits_of_parquet_files(path, split):
    assert hub._split_of(Path(path)) == split
