"""The splits published with CoOp: classes by number, images by list, and files that contradict themselves."""

import json

import pytest

from benchmarks import full
from benchmarks.full.dataset_table import ENTRIES
from benchmarks.full.downloads import remote_files
from models.registry import UserError


def names_in(dataset):
    return ["/".join(path.split("/")[-2:]) for path in dataset.paths]


def test_a_split_is_the_list_of_the_file(full_data):
    domain = full.build("coop-eurosat", full_data)
    content = json.loads((full_data / "eurosat" / "split_zhou_EuroSAT.json").read_text())
    for split in ("train", "val", "test"):
        dataset = getattr(domain, split)
        assert names_in(dataset) == [path for path, _, _ in content[split]]
        assert dataset.targets == [number for _, number, _ in content[split]]
    assert domain.classnames == ("Annual Crop Land", "Forest", "Sea or Lake")
    assert domain.templates == ENTRIES["EuroSAT"].templates


def test_the_images_of_cars_are_in_two_folders(full_data):
    domain = full.build("coop-cars", full_data)
    folders = {split: {path.split("/")[-2] for path in getattr(domain, split).paths} for split in ("train", "val", "test")}
    assert folders == {"train": {"cars_train"}, "val": {"cars_train"}, "test": {"cars_test"}}
    assert domain.classnames == ("2000 AM General Hummer SUV", "2012 Acura RL Sedan", "2012 smart fortwo Convertible")


def test_names_with_underscores_are_read_with_spaces(full_data):
    assert "airplane cabin" in full.build("coop-sun397", full_data).classnames
    assert full.build("coop-ucf101", full_data).prompts()[0] == "a photo of a person doing Apply Eye Makeup."


def test_aircraft_has_its_official_validation_split(full_data):
    aircraft = full.build("coop-aircraft", full_data)
    assert len(aircraft.val) == 6 and aircraft.train.paths == full.build("Aircraft", full_data).train.paths


@pytest.mark.parametrize(
    ("test", "message"),
    [
        ([["a.jpg", 0, "x"], ["b.jpg", 0, "y"]], "one class number to several class names"),
        ([["a.jpg", 0, "x"], ["b.jpg", 1, "x"]], "one name several numbers"),
        ([["a.jpg", 0, "x"], ["b.jpg", 2, "y"]], "does not number its 2 classes from 0 to 1"),
        ([["a.jpg", 0]], "damaged or incomplete"),
    ],
)
def test_a_file_that_contradicts_itself(test, message, tmp_path):
    (tmp_path / "flowers-102" / "jpg").mkdir(parents=True)
    file = tmp_path / "flowers-102" / "split_zhou_OxfordFlowers.json"
    file.write_text(json.dumps({"train": [], "val": [], "test": test}))
    with pytest.raises(UserError, match=message):
        full.build("coop-flowers", tmp_path)


def test_the_version_depends_on_the_list(full_roots, tmp_path):
    full_roots.write(tmp_path, ["coop-pets"])
    before, file = full.version("coop-pets", tmp_path), tmp_path / "oxford-iiit-pet" / "split_zhou_OxfordPets.json"
    content = json.loads(file.read_text())
    content["train"] = content["train"][1:]
    file.write_text(json.dumps(content))
    assert full.version("coop-pets", tmp_path) != before


def test_every_list_is_fetched_under_its_name():
    for name, row in ENTRIES.items():
        if row.suite == "coop" and name != "coop-aircraft":
            own = [file for file in remote_files(row) if file.file.endswith(".json")]
            assert [f"{file.folder}/{file.file}" for file in own] == [path for path in row.folder if path.endswith(".json")]
            assert "drive.google.com/uc?export=download&id=" in own[0].urls[0]
