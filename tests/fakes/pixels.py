"""Images to cache, and what a cache of them must hold."""

import threading

import numpy as np
import torch
from torch.utils.data import Dataset

from benchmarks.data import pixel_files
from benchmarks.data.images import ArrayImages
from models.transforms import evaluation_transform

SIZE = 24


def arrays(*shape, seed=1):
    images = np.random.default_rng(seed).integers(0, 256, shape, np.uint8)
    return ArrayImages(images, [i % 3 for i in range(len(images))], f"noise {shape} {seed}")


def spread(path):
    """The file's bytes from the pixels on."""
    header = pixel_files.read_header(path)
    return path.read_bytes()[header.offset :]


def only(folder):
    """Return the only cached file of a folder that holds nothing else."""
    path, used = sorted(folder.iterdir())
    assert path.suffix == ".safetensors" and used == path.with_name(f"{path.name}.used")
    return path


class Counted(Dataset):
    """Notes what is read, and by how many threads; items of a wrapped dataset."""

    def __init__(self, dataset):
        self.dataset, self.targets = dataset, dataset.targets
        self.read, self.threads = [], set()

    def __len__(self):
        return len(self.dataset)

    def __getitem__(self, index):
        self.read.append(index)
        self.threads.add(threading.get_ident())
        return self.dataset[index]

    def fingerprint(self):
        return self.dataset.fingerprint()


def same(found, dataset, preprocess=SIZE):
    transform = evaluation_transform(preprocess)
    assert len(found) == len(dataset)
    for i in range(len(dataset)):
        image, label = found[i]
        assert torch.equal(image, transform(dataset[i][0])), i
        assert torch.equal(transform(image), image)
        assert label == dataset[i][1]
    return True
