"""Datasets and models as repositories of a hub: they give what the files gave, also through the real clients."""

import os
import shutil

import pytest
from torch.utils.data import Subset

import cli
import models
from benchmarks import full
from benchmarks.data.dataset import targets_of
from benchmarks.own.webdataset import from_webdataset
from harness.records.runs import read
from models.registry import UserError
from tools import hub_server
from tools.local_hub import dataset_copies, model_copies, shard_copies


def same_images(one, other):
    return len(one) == len(other) and all(
        one[i][0].convert("RGB").tobytes() == other[i][0].convert("RGB").tobytes() for i in range(len(one))
    )


@pytest.mark.parametrize(("name", "files"), [("Food", 4), ("MNIST", 3)])
def test_a_parquet_copy_is_the_dataset(name, files, full_roots, tmp_path):
    full_roots.write(tmp_path / "data", [name])
    original = full.build(name, tmp_path / "data")
    assert dataset_copies.names_with_copies(tmp_path / "data") == [name]
    sizes = {
        split: sum(len(data) for data, *_ in dataset_copies.encoded(part, range(len(part.labels))))
        for split, part in ((split, full_listing(name, tmp_path / "data", split)) for split in ("train", "test"))
    }
    folder = dataset_copies.write(name, tmp_path / "data", tmp_path / "hub", shard_bytes=-(-sizes["train"] // 2))
    assert len(list(folder.rglob("*.parquet"))) == files
    text = (folder / "README.md").read_text()
    assert text.startswith("---\n") and "  path: data/train-*" in text and f"num_bytes: {sizes['test']}" in text
    shutil.copytree(folder, tmp_path / "other" / "hub" / name)
    copy = full.build(name, tmp_path / "other")
    assert copy.classnames == original.classnames
    for split in ("train", "test"):
        assert targets_of(getattr(copy, split)) == targets_of(getattr(original, split))
        assert same_images(getattr(copy, split), getattr(original, split))


def full_listing(name, root, split):
    from benchmarks.full.dataset_table import entry
    from benchmarks.full.readers import list_images

    return list_images(entry(name), root, split)


def test_a_whole_set_is_spread_over_the_splits_of_its_copy(full_roots, tmp_path):
    full_roots.write(tmp_path / "data", ["EuroSAT"])
    folder = dataset_copies.write("EuroSAT", tmp_path / "data", tmp_path / "hub")
    assert sorted(path.name for path in (folder / "data").iterdir()) == [
        f"{split}-00000-of-00001.parquet" for split in ("test", "train", "validation")
    ]
    shutil.copytree(folder, tmp_path / "other" / "hub" / "EuroSAT")
    one, other = (full.build("EuroSAT", tmp_path / root) for root in ("data", "other"))
    assert targets_of(one.test) == targets_of(other.test) and same_images(one.test, other.test)
    with pytest.raises(UserError, match="kitti has no copy on the hub: choose one of Caltech101, "):
        dataset_copies.write("kitti", tmp_path / "data", tmp_path / "hub")
    with pytest.raises(UserError, match="Food cannot be copied"):
        dataset_copies.write("Food", tmp_path / "data", tmp_path / "hub")


def test_shards_of_a_test_set(full_roots, tmp_path, monkeypatch):
    full_roots.write(tmp_path, ["imagenet"])
    assert shard_copies.names_with_copies(tmp_path) == list(shard_copies.COPIES)
    original = full.build("imagenet", tmp_path, ("test",))
    monkeypatch.setitem(shard_copies.CLASSES, "imagenetv2", 3)
    chosen = [i for i, label in enumerate(targets_of(original.test)) if label < 3]
    folder = shard_copies.write("imagenetv2", tmp_path, tmp_path / "hub", samples_per_shard=2)
    shards = -(-len(chosen) // 2)
    assert (folder / "test" / "nshards.txt").read_text() == f"{shards}\n" and (folder / "test" / f"{shards - 1}.tar").is_file()
    copy = from_webdataset(folder)
    assert copy.classnames == original.classnames[:3] and copy.templates == original.templates
    assert targets_of(copy.test) == [targets_of(original.test)[i] for i in chosen]
    assert same_images(copy.test, Subset(original.test, chosen))


def test_models_as_repositories(tmp_path):
    (tmp_path / "w.safetensors").write_bytes(b"weights")
    folder = model_copies.write("timm/x.openai", tmp_path / "w.safetensors", tmp_path / "hub")
    assert [path.name for path in folder.iterdir()] == ["open_clip_model.safetensors"]
    model_copies.write("timm/x.openai", tmp_path / "w.safetensors", tmp_path / "hub")
    with pytest.raises(UserError, match="neither a model directory nor a file of weights in safetensors"):
        model_copies.write("timm/x.openai", tmp_path / "w.pt", tmp_path / "hub")


def test_the_command_refuses(tmp_path, capsys):
    assert hub_server.main(["--root", str(tmp_path), "--weights", "tiny=models/tiny"]) == 2
    assert "--weights tiny=models/tiny is not OWNER/NAME=PATH." in capsys.readouterr().err


def test_datasets_and_weights_of_a_run_come_from_the_hub(hub, full_roots, model_directory, tmp_path, monkeypatch, capsys):
    """The real clients fetch two datasets and a model; then the hub is not needed any more."""
    import datasets

    monkeypatch.setattr(datasets.config, "HF_ENDPOINT", hub.endpoint)
    monkeypatch.setenv("PERENNIAL_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    full_roots.write(tmp_path / "source", ["EuroSAT", "Food"])
    hub_server.write_copies(tmp_path / "source", hub.answers.repositories.root)
    model_copies.write("me/toy", model_directory, hub.answers.repositories.root)
    # Every third request for data is cut off in the middle.
    hub.faults.every, hub.faults.only, hub.faults.kinds = 3, "lfs-data", ("cut",)
    monkeypatch.setattr("benchmarks.full.fetch.WAITS", (0, 0, 0, 0))
    with monkeypatch.context() as patch:
        patch.setattr("huggingface_hub.file_download.time.sleep", lambda _: None)
        assert cli.main(["data", "fetch", "EuroSAT", "Food", "--from", "hub"]) == 2
    out = capsys.readouterr()
    assert "the connection was lost (Server disconnected" in out.out
    assert "2 of 2 datasets are not complete" in out.err and "EuroSAT is incomplete" in out.out
    assert sorted(os.listdir("data/hub")) == ["EuroSAT", "Food"] and os.listdir("data") == ["hub"]
    assert not list((tmp_path / "huggingface").rglob("*.parquet")), "the disk has the images once"
    hub.faults.every = 0
    words = [
        "bench",
        "mtil",
        "--edition",
        "full",
        "--order",
        "Food,EuroSAT",
        "--model",
        "hf-hub:me/toy",
        "--set",
        "iterations=1",
    ]
    assert cli.main([*words, "--strategy", "finetune", "--limit", "4", "--device", "cpu", "--quiet"]) == 0
    [run] = read(["results"])
    assert run.finished and run.identity["model"] == "hf-hub:me/toy" and run.identity["tasks"] == ["Food", "EuroSAT"]
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    asked = len(hub.asked)
    assert models.load("hf-hub:me/toy").image_size == 48 and full.build("Food", "data").test is not None
    assert len(hub.asked) == asked
