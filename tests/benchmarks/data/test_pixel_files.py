"""Files of cached pixels: no incomplete files, no failed runs, and a limited number of files."""

import os
import runpy
import shutil
import threading
import time
from collections import namedtuple
from pathlib import Path

import pytest
import torch
from filelock import FileLock

from benchmarks.data import pixel_files, pixels
from benchmarks.data.cache_folder import cache_folder
from benchmarks.data.pixels import CachedImages, cached, clear, usage
from benchmarks.mini import cache as mini_cache
from models.registry import UserError
from models.transforms import Preprocess

FAKES = runpy.run_path(str(Path(__file__).parents[2] / "fakes" / "pixels.py"))
SIZE, arrays, spread, only, Counted, same = (FAKES[name] for name in ("SIZE", "arrays", "spread", "only", "Counted", "same"))

pytestmark = pytest.mark.usefixtures("home")


@pytest.mark.parametrize("large", [False, True])
@pytest.mark.parametrize("damage", ["cut", "longer", "edited", "header", "empty", "other"])
def test_a_damaged_file_is_built_again(damage, large, home, photographs, monkeypatch):
    if large:
        monkeypatch.setattr(pixel_files, "ALWAYS_CHECKED", 0)
    sound = cached(photographs, SIZE, label="x").images.clone()
    path = only(home)
    content = bytearray(path.read_bytes())
    if damage == "cut":
        content = content[:-1]
    elif damage == "longer":
        content += b"x"
    elif damage == "edited":
        content[-1000] ^= 1
    elif damage == "header":
        content[20] ^= 255
    elif damage == "empty":
        content = b""
    else:
        content[:8] = b"\xff" * 8
    path.unlink()  # its map is still open
    path.write_bytes(content)
    if damage == "edited" and large:
        os.utime(path, (1, 1))
    dataset = Counted(photographs)
    assert torch.equal(cached(dataset, SIZE, label="x").images, sound)
    assert sorted(dataset.read) == list(range(40))
    assert spread(only(home)) == sound.numpy().tobytes()


def test_a_copied_file_is_verified_once(home, photographs, monkeypatch):
    monkeypatch.setattr(pixel_files, "ALWAYS_CHECKED", 0)
    cached(photographs, SIZE, label="x")
    built = int(only(home).stat().st_mtime)
    os.utime(only(home), (1, 1))
    dataset = Counted(photographs)
    assert same(cached(dataset, SIZE, label="x"), photographs)
    assert dataset.read == []
    assert int(only(home).stat().st_mtime) == built


def test_a_damaged_image_is_named_and_leaves_no_file(home, photographs):
    with open(photographs.paths[30], "r+b") as file:
        file.truncate(200)
    for workers in (1, 2):
        with pytest.raises(UserError, match=r"30\.jpg"):
            cached(photographs, SIZE, label="x", workers=workers)
        assert list(home.iterdir()) == []


def test_an_interrupted_build_leaves_no_finished_file(home, photographs):
    def interrupt(done, total, what):
        if done:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cached(photographs, SIZE, label="x", progress=interrupt)
    assert list(home.iterdir()) == [] and usage() == []
    # A killed build cannot tidy up.
    left = home / f"x-{'0' * 32}.123-0123abcd.part"
    left.write_bytes(b"half")
    os.utime(left, (1, 1))
    fresh = left.with_name(left.name.replace("123-", "124-"))
    fresh.write_bytes(b"somebody builds this one")
    assert same(cached(photographs, SIZE, label="x"), photographs)
    assert not left.exists() and fresh.exists() and len(usage()) == 1


def test_a_full_disk_is_reported_and_the_run_continues(home, photographs, monkeypatch):
    told = []
    space = namedtuple("space", "total used free")
    home.mkdir(parents=True)
    left = home / f"y-{'0' * 32}.123-0123abcd.part"
    left.write_bytes(b"of a killed build, in the way")
    os.utime(left, (1, 1))
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "disk_usage", lambda path: space(0, 0, pixels.MARGIN + 100))
        result = cached(photographs, SIZE, label="x", progress=lambda *a: told.append(a))
    assert result is photographs
    reason = "it needs 0.1 MB, but only 268.4 MB are free, of which 268.4 MB must stay free"
    assert told == [(40, 40, f"x is not cached in {home}: {reason}")]
    assert list(home.iterdir()) == []


def test_a_disk_that_fills_up_is_reported_and_the_run_continues(home, photographs, monkeypatch):
    told, real = [], pixel_files._write_all
    written = []

    class Full:
        def __init__(self, file):
            self.file = file

        def write(self, data):
            written.append(len(data))
            if sum(written) > 30_000:
                raise OSError(28, "No space left on device")
            return self.file.write(data)

    monkeypatch.setattr(pixel_files, "_write_all", lambda file, data: real(Full(file), data))
    assert cached(photographs, SIZE, label="x", progress=lambda *a: told.append(a)) is photographs
    assert told[-1] == (40, 40, f"x is not cached in {home}: no space is left on the disk")
    assert list(home.iterdir()) == []


def test_partial_writes_are_continued(photographs, monkeypatch):
    real = pixel_files._write_all

    class Slow:
        def __init__(self, file):
            self.file = file

        def write(self, data):
            return self.file.write(data[:999])

    monkeypatch.setattr(pixel_files, "_write_all", lambda file, data: real(Slow(file), data))
    assert same(cached(photographs, SIZE, label="x"), photographs)


def test_an_impossible_folder_is_reported_and_the_run_continues(tmp_path, photographs):
    told = []
    (tmp_path / "file").write_text("in the way")
    result = cached(photographs, SIZE, label="x", folder=tmp_path / "file" / "in", progress=lambda *a: told.append(a[2]))
    assert result is photographs and "is not cached" in told[-1]


def test_a_waiting_process_uses_the_file_of_the_other(home, photographs):
    """Another process holds the lock and has finished the file when it releases it."""
    finished = cached(photographs, SIZE, label="x")
    path = only(home)
    content = path.read_bytes()
    path.unlink()
    dataset, told = Counted(photographs), []
    other = FileLock(f"{path}.lock", thread_local=False)
    other.acquire()

    def progress(done, total, what):
        told.append(what)
        path.write_bytes(content)
        other.release()

    assert torch.equal(cached(dataset, SIZE, label="x", progress=progress).images, finished.images)
    assert dataset.read == [] and told == ["x: waiting for another process that decodes it"]


def test_building_at_once_harms_nothing(home, photographs, monkeypatch):
    """This holds even without locks, as on a file system that does not support them."""

    def refused(self, **options):
        raise NotImplementedError

    monkeypatch.setattr(FileLock, "acquire", refused)
    results = []
    threads = [threading.Thread(target=lambda: results.append(cached(photographs, SIZE, label="x"))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 4 and all(same(result, photographs) for result in results)
    assert only(home).name.startswith("x-")


def test_old_versions_are_deleted_and_alternating_ones_are_kept(home, monkeypatch):
    monkeypatch.setattr(pixel_files, "VERSIONS", 3)
    other = arrays(2, 9, 9, seed=100)
    cached(other, SIZE, label="other")
    datasets = [arrays(2, 9, 9, seed=seed) for seed in range(4)]
    for age, dataset in zip((400, 300, 200), datasets, strict=False):
        result = cached(dataset, SIZE, label="x")
        os.utime(f"{result.path}.used", (time.time() - age,) * 2)
    first = cached(datasets[0], SIZE, label="x")  # used again, so the second is the least recently used one
    cached(datasets[3], SIZE, label="x")
    assert [item.label for item in usage()] == ["other", "x", "x", "x"]
    assert first.path.exists()
    dataset = Counted(datasets[1])
    cached(dataset, SIZE, label="x")
    assert len(dataset.read) == 2
    monkeypatch.setattr(pixel_files, "VERSIONS", 8)
    month = (pixel_files.UNUSED_DAYS + 1) * 24 * 3600
    os.utime(f"{first.path}.used", (time.time() - month,) * 2)
    cached(arrays(2, 9, 9, seed=5), 8, label="x")
    assert not list(home.glob(f"{first.path.stem}*"))
    assert [item.size for item in usage()] == [SIZE, 8, SIZE, SIZE], "the other files are newer"


@pytest.mark.parametrize(("files", "left"), [(3, [3, 2, 0]), (2, [3, 2]), (0, [3, 2])])
def test_the_bytes_per_label_are_limited_but_two_files_are_kept(files, left, monkeypatch):
    monkeypatch.setattr(pixel_files, "LABEL_BYTES", files * pixels.bytes_needed(2, SIZE))
    datasets = [arrays(2, 9, 9, seed=seed) for seed in range(4)]
    cached(arrays(2, 9, 9, seed=9), SIZE, label="other")
    with monkeypatch.context() as patch:
        patch.setattr(pixel_files, "LABEL_BYTES", 10**9)
        for dataset, age in zip(datasets[:3], (200, 300, 100), strict=True):
            os.utime(f"{cached(dataset, SIZE, label='x').path}.used", (time.time() - age,) * 2)
    last = cached(datasets[3], SIZE, label="x")
    expected = [last.key if k == 3 else pixels._key(datasets[k].fingerprint(), Preprocess(SIZE)) for k in left]
    assert [pixel_files.read_header(item.path).key for item in usage() if item.label == "x"] == expected
    assert [item.label for item in usage()].count("other") == 1


def test_usage_and_clear(home, photographs):
    cached(photographs, SIZE, label="a/b-test")
    cached(photographs, 16, label="a/b-test")
    cached(photographs, SIZE, label="a-test")
    (home / "a-notes.safetensors").write_text("not ours")
    assert [(u.label, u.images, u.size, u.bytes) for u in usage()] == [
        ("a-test", 40, SIZE, 4096 + 40 * 3 * SIZE**2),
        ("a/b-test", 40, 16, 4096 + 40 * 3 * 16**2),
        ("a/b-test", 40, SIZE, 4096 + 40 * 3 * SIZE**2),
    ]
    assert clear("a") == 0
    assert clear("a/b-test") == 2 * 4096 + 40 * 3 * (SIZE**2 + 16**2)
    assert [u.label for u in usage()] == ["a-test"]
    assert clear() == 4096 + 40 * 3 * SIZE**2 and usage() == [] and clear() == 0
    assert [path.name for path in home.iterdir()] == ["a-notes.safetensors"]


def test_a_long_label_fits_a_file_name(photographs):
    label = "写真" * 200
    assert isinstance(cached(photographs, SIZE, label=label), CachedImages)
    assert usage()[0].label == label and clear(label) > 0


def test_folders_follow_the_environment(tmp_path, monkeypatch):
    monkeypatch.setenv("PERENNIAL_CACHE", str(tmp_path))
    assert mini_cache.folder() == tmp_path / "mini" and pixel_files.pixels_folder() == tmp_path / "pixels"
    monkeypatch.delenv("PERENNIAL_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder("mini") == tmp_path / "perennial" / "mini"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr("pathlib.Path.home", lambda: tmp_path)
    assert cache_folder("mini") == tmp_path / ".cache" / "perennial" / "mini"
