"""ImageNet's shifted test sets: copies in the layout of CLIP_benchmark's converter, held out by name."""

import io
import tarfile

import pytest
from PIL import Image

from benchmarks import cil
from benchmarks.catalog import find
from benchmarks.data.dataset import targets_of
from benchmarks.mtil import stream
from benchmarks.plan import Ask
from benchmarks.shifts import ABOUT, COPIES
from models.registry import UserError

NAMES = ("tench", "goldfish", "great white shark")


def write_copy(folder, per_shard=3):
    """Write what the converter writes: test/N.tar with sNNNNNNN.webp and .cls, nshards.txt, class names and templates."""
    (folder / "test").mkdir(parents=True)
    for number in range(2):
        with tarfile.open(folder / "test" / f"{number}.tar", "w") as tar:
            for index in range(number * per_shard, (number + 1) * per_shard):
                image = io.BytesIO()
                Image.new("RGB", (8, 8), (index, 0, 0)).save(image, "webp", lossless=True)
                for ending, content in (("webp", image.getvalue()), ("cls", str(index % 3).encode())):
                    info = tarfile.TarInfo(f"s{index:07d}.{ending}")
                    info.size = len(content)
                    tar.addfile(info, io.BytesIO(content))
    (folder / "test" / "nshards.txt").write_text("2\n")
    (folder / "classnames.txt").write_text("\n".join(NAMES) + "\n")
    (folder / "zeroshot_classification_templates.txt").write_text("a bad photo of a {c}.\nitap of the {c}.\n")


@pytest.mark.parametrize("name", COPIES)
def test_a_copy_is_held_out_by_its_name(name, tmp_path):
    write_copy(tmp_path / "wds" / name)
    plan = stream(Ask(edition="full", order="DTD", heldout=(name,), data_root=str(tmp_path)))
    assert plan.heldout == (name,) and plan.edition == "full"
    domain = find(name, None, str(tmp_path)).build(("test",))
    assert (domain.name, domain.classnames, domain.train) == (name, NAMES, None)
    assert domain.templates == ("a bad photo of a {}.", "itap of the {}.")
    assert targets_of(domain.test) == [0, 1, 2, 0, 1, 2] and domain.test[4][0].getpixel((0, 0)) == (4, 0, 0)


def test_the_version_depends_on_the_templates(tmp_path):
    folder = tmp_path / "wds" / "imagenet-a"
    write_copy(folder)
    before = find("imagenet-a", None, str(tmp_path)).version()
    (folder / "zeroshot_classification_templates.txt").write_text("a {c}.\n")
    assert find("imagenet-a", None, str(tmp_path)).version() != before
    (folder / "templates.txt").write_text("the {}.\n")
    assert find("imagenet-a", None, str(tmp_path)).build(("test",)).templates == ("the {}.",), "the user's come first"


def test_a_missing_copy_names_its_download(tmp_path):
    with pytest.raises(
        UserError, match=r"imagenet-r is missing.*`hf download clip-benchmark/wds_imagenet-r --repo-type dataset"
    ):
        stream(Ask(heldout=("imagenet-r",), data_root=str(tmp_path)))


@pytest.mark.parametrize("name", ["imagenet-r", "objectnet"])
def test_the_name_of_a_dataset_in_steps_still_means_the_copy_when_held_out(name, full_data, tmp_path):
    write_copy(tmp_path / "wds" / name)
    assert find(name, None, str(tmp_path)).edition == "own" and find(name, "full", str(full_data)).edition == "full"
    held = cil.stream(Ask(dataset="cub", edition="full", heldout=(name,), data_root=str(tmp_path)))
    # The three classes of the copy, as no dataset in steps is in this folder.
    assert held.heldout == (name,) and find(name, None, str(tmp_path)).build(("test",)).classnames == NAMES
    with pytest.raises(UserError, match=f"{name} cannot be both trained and held out"):
        cil.stream(Ask(dataset=name, heldout=(name,), data_root=str(tmp_path)))


def test_every_copy_is_described():
    assert list(ABOUT) == list(COPIES)
