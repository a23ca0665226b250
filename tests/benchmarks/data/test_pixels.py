"""Cached pixels are the same as without a cache."""

import copy
import os
import pickle
import runpy
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.numpy import load_file
from torch.utils.data import ConcatDataset, Dataset, Subset

from benchmarks.data import pixels
from benchmarks.data.dataset import TensorImages
from benchmarks.data.domain import Domain
from benchmarks.data.images import ImageFiles
from benchmarks.data.pixels import CachedImages, cached, cached_domain, clear, usage
from models.registry import UserError
from models.transforms import Preprocess, evaluation_transform

FAKES = runpy.run_path(str(Path(__file__).parents[2] / "fakes" / "pixels.py"))
SIZE, arrays, only, Counted, same = (FAKES[name] for name in ("SIZE", "arrays", "only", "Counted", "same"))

pytestmark = pytest.mark.usefixtures("home")


@pytest.mark.parametrize("kind", ["files", "grey", "colour", "subset", "concatenation"])
def test_cached_images_are_those_of_the_transform(kind, photographs):
    dataset = {
        "files": photographs,
        "grey": arrays(20, 9, 12),
        "colour": arrays(20, 32, 28, 3),
        "subset": Subset(photographs, [7, 3, 3, 39]),
        "concatenation": ConcatDataset([photographs, arrays(5, 40, 40, 3)]),
    }[kind]
    for _ in range(2):  # built, then read
        result = cached(dataset, SIZE, label="x-test")
        assert isinstance(result, CachedImages) and isinstance(result, TensorImages)
        assert same(result, dataset)


@pytest.mark.slow
def test_every_field_of_the_transform_counts(home, photographs):
    transforms = [Preprocess(SIZE, resize_mode=mode) for mode in ("shortest", "squash", "longest")]
    transforms += [Preprocess(SIZE, interpolation="bilinear"), Preprocess(SIZE, "longest", fill=9)]
    for preprocess in transforms:
        assert same(cached(photographs, preprocess, label="x"), photographs, preprocess)
    assert len(usage()) == len(transforms)
    cached(photographs, SIZE, label="x")
    assert len(usage()) == len(transforms), "a size without more fields means the first transform"


def test_a_second_time_reads_no_image(photographs):
    dataset = Counted(photographs)
    cached(dataset, SIZE, label="x")
    assert sorted(dataset.read) == list(range(40))
    dataset.read.clear()
    cached(dataset, SIZE, label="x")
    assert dataset.read == []


def test_one_worker_reads_in_the_calling_thread(photographs):
    dataset = Counted(photographs)
    assert same(cached(dataset, SIZE, label="x", workers=1), photographs)
    assert dataset.threads == {threading.get_ident()} and dataset.read[:40] == list(range(40))


def test_several_workers_keep_the_order_and_stay_a_few_blocks_ahead(photographs, monkeypatch):
    monkeypatch.setattr(pixels, "BLOCK", 2)
    dataset = Counted(photographs)
    blocks = pixels.decoded(dataset, SIZE, workers=3)
    first = next(blocks)
    time.sleep(0.05)
    assert len(dataset.read) <= 2 * (2 * 3 + 1) and threading.get_ident() not in dataset.threads
    assert same(TensorImages(torch.from_numpy(np.concatenate([first, *blocks])), photographs.targets), photographs)


def test_labels_come_from_the_dataset(photographs):
    cached(photographs, SIZE, label="x")
    other = ImageFiles(photographs.paths, [3 - t for t in photographs.targets])
    assert [label for _, label in cached(other, SIZE, label="x")] == other.targets
    assert len(usage()) == 1


def test_a_file_is_ordinary_safetensors(home, photographs):
    result = cached(photographs, SIZE, label="x")
    (images,) = load_file(only(home)).values()
    assert np.array_equal(images, result.images.numpy())


def test_the_map_is_private(home, photographs):
    result = cached(photographs, SIZE, label="x")
    before = only(home).read_bytes()
    result.images[0] = 7
    assert only(home).read_bytes() == before
    assert same(cached(photographs, SIZE, label="x"), photographs)


def test_a_map_larger_than_memory_is_read_only(photographs, monkeypatch):
    real = np.memmap

    def refusing(file, dtype, mode, *rest):
        if mode == "c":
            raise OSError(12, "Cannot allocate memory")
        return real(file, dtype, mode, *rest)

    monkeypatch.setattr(np, "memmap", refusing)
    assert same(cached(photographs, SIZE, label="x"), photographs)


def test_copies_map_the_file_again(home, photographs):
    result = cached(photographs, SIZE, label="x")
    pickled = pickle.dumps(result)
    assert len(pickled) < result.images.numel() / 10
    assert same(pickle.loads(pickled), photographs) and same(copy.deepcopy(result), photographs)
    clear()
    with pytest.raises(UserError, match="no longer exist"):
        pickle.loads(pickled)


@pytest.mark.parametrize("change", ["content", "time", "size", "order"])
def test_another_source_or_transform_is_another_file(change, photographs):
    cached(photographs, SIZE, label="x")
    # A new object, as in another run, because an object assumes that its files do not change.
    dataset, size = ImageFiles(photographs.paths, photographs.targets), SIZE
    if change == "content":
        Image.new("RGB", (50, 50), "red").save(photographs.paths[5])
    elif change == "time":
        os.utime(photographs.paths[5], (1, 1))
    elif change == "size":
        size = 16
    else:
        dataset = Subset(photographs, list(range(39, -1, -1)))
    assert same(cached(dataset, size, label="x"), dataset, size)
    assert len(usage()) == 2


@pytest.mark.parametrize("what", ["FORMAT", "pillow", "transform"])
def test_another_format_version_or_transform_code_is_another_file(what, photographs, monkeypatch):
    cached(photographs, SIZE, label="x")
    if what == "FORMAT":
        monkeypatch.setattr(pixels, "FORMAT", 0)
    elif what == "pillow":
        monkeypatch.setattr(pixels, "version", lambda package: "0.1")
    else:
        monkeypatch.setattr(pixels, "evaluation_transform", lambda size: lambda image: 255 - evaluation_transform(size)(image))
    result = cached(photographs, SIZE, label="x")
    assert len(usage()) == 2
    inverted = torch.equal(result[0][0], 255 - evaluation_transform(SIZE)(photographs[0][0]))
    assert inverted == (what == "transform")


def test_without_fingerprint_nothing_is_cached(home, photographs):
    class Bare(Dataset):
        def __len__(self):
            return 40

        def __getitem__(self, index):
            return photographs[index]

    dataset, memory = Bare(), TensorImages(torch.zeros(2, 3, 8, 8, dtype=torch.uint8), [0, 1])
    assert cached(dataset, SIZE, label="x") is dataset
    assert cached(memory, SIZE, label="x") is memory
    assert cached(ImageFiles([], []), SIZE, label="x").paths == []
    assert not home.exists()


def test_cached_images_are_not_cached_again(photographs):
    result = cached(photographs, SIZE, label="x")
    assert cached(result, SIZE, label="x") is result


@pytest.mark.slow
def test_progress_reports_images_and_bytes(photographs):
    told = []
    cached(photographs, 224, label="birds-test", progress=lambda *a: told.append(a))
    assert {what for _, _, what in told} == {"birds-test: decoding 40 images once, 6.0 MB on disk"}
    assert [done for done, _, _ in told] == [0, 16, 32, 40] and {total for _, total, _ in told} == {40}
    assert pixels.bytes_needed(40, 224) == usage()[0].bytes


def test_a_transform_of_another_size_is_a_bug_not_a_cache(home, photographs, monkeypatch):
    monkeypatch.setattr(pixels, "evaluation_transform", lambda given: evaluation_transform(SIZE + 1))
    with pytest.raises(ValueError, match="image 0 became"):
        cached(photographs, SIZE, label="x", workers=1)
    assert list(home.iterdir()) == []


def test_the_training_split_of_a_domain_is_not_cached(photographs, toy_domain):
    memory = toy_domain("red")
    domain = Domain("birds", ["a", "b", "c", "d"], ["{}"], photographs, None, Subset(photographs, [1, 2]), ood=photographs)
    result = cached_domain(domain, SIZE)
    assert result.train is photographs and result.val is None and result.classnames == domain.classnames
    assert same(result.test, domain.test) and same(result.ood, domain.ood)
    assert [u.label for u in usage()] == ["birds-ood", "birds-test"]
    assert cached_domain(domain, SIZE, splits=("test",)).ood is photographs
    assert cached_domain(memory, 48) is memory
