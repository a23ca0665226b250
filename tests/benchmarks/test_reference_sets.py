"""Reference images and sentences by name, on made-up files."""

import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from benchmarks import full
from benchmarks.data.images import ImageFiles
from benchmarks.data.pixels import usage
from benchmarks.data.sampling import permutation
from benchmarks.full.dataset_table import lines
from benchmarks.reference import FileImages, load
from benchmarks.reference_lookup import CAPTIONS, RAW_CAPTIONS, check, image_paths, is_folder, load_sentences, version
from harness.config.resolve import outline, resolve
from harness.config.run_config import RunConfig
from models.registry import UserError
from models.transforms import Preprocess


@pytest.fixture
def root(tmp_path, monkeypatch):
    """A working directory: `pictures` with 12 images of one grey each, image i named and filled with i."""
    monkeypatch.setenv("PERENNIAL_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    for i in range(12):
        save(tmp_path / "pictures" / ("a" if i % 2 else "b") / f"{i:02d}.png", i)
    return tmp_path


def save(path, value):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((20, 30, 3), value, dtype=np.uint8)).save(path)


def captions(folder, rows, name=CAPTIONS, separator="\t"):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text("".join(separator.join(row) + "\n" for row in rows), encoding="utf-8")


def values(images):
    """Return the number of each image."""
    whole = images[:] if isinstance(images, torch.Tensor) else images[torch.arange(len(images))]
    assert whole.dtype == torch.uint8 and whole.shape[1:] == (3, 8, 8)
    assert all(len(image.unique()) == 1 for image in whole)
    return [int(image[0, 0, 0]) for image in whole]


def test_a_folder_and_a_text_file(root):
    Path("texts.txt").write_text("a red hat\n\n  two dogs \nthree\n")
    reference = load("pictures", "texts.txt", 8)
    assert values(reference.images) == [1, 3, 5, 7, 9, 11, 0, 2, 4, 6, 8, 10], "sorted by path"
    assert reference.sentences == ["a red hat", "two dogs", "three"]


@pytest.mark.parametrize("cache", [True, False])
def test_count_is_a_random_choice_and_always_the_same(root, cache):
    Path("texts.txt").write_text("one\n")

    def chosen(count):
        return values(load("pictures", "texts.txt", 8, count=count, cache=cache).images)

    everything = chosen(99)
    assert chosen(5) == chosen(5) == [everything[i] for i in permutation(12, 0)[:5]] != everything[:5]
    assert sorted(chosen(12)) == sorted(everything) == list(range(12))
    assert len(usage()) == 2 * cache, "one file for all, one for five"


def test_a_folder_that_was_searched_is_not_searched_again(root, monkeypatch):
    Path("texts.txt").write_text("one\n")
    paths = image_paths("pictures")
    monkeypatch.setattr("benchmarks.reference_lookup.files_under", None)
    assert version("pictures", "mini", paths=paths) == version("pictures", "mini", paths=paths) is not None
    assert len(load("pictures", "texts.txt", 8, paths=paths).images) == 12


def test_without_a_cache_threads_decode(root, monkeypatch):
    paths, met = image_paths("pictures"), threading.Barrier(3, timeout=20)

    class Meeting(ImageFiles):
        """Wait until three images are being read."""

        def __getitem__(self, index):
            met.wait()
            return super().__getitem__(index)

    monkeypatch.setattr("benchmarks.reference.threads", lambda: 3)
    read, plain = FileImages(Meeting(paths, [0] * 12), 8), FileImages(ImageFiles(paths, [0] * 12), 8)
    index = torch.tensor([7, 0, 3, 3, 11, 1])
    assert torch.equal(read[index], plain[index]) and torch.equal(read[:], plain[:])
    assert [int(image[0, 0, 0]) for image in read[index]] == [2, 1, 7, 7, 10, 3], "in the order asked for"


def test_images_outside_the_choice_are_not_decoded(root):
    Path("texts.txt").write_text("one\n")
    chosen = set(values(load("pictures", "texts.txt", 8, count=4, cache=False).images))
    for i in set(range(12)) - chosen:
        next(Path("pictures").rglob(f"{i:02d}.png")).write_bytes(b"broken")
    assert set(values(load("pictures", "texts.txt", 8, count=4).images)) == chosen


def test_ones_own_photographs_are_turned_upright(root):
    Path("texts.txt").write_text("one\n")
    pixels = np.zeros((40, 40, 3), dtype=np.uint8)
    pixels[:, :20] = 255
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees to the right
    (root / "one").mkdir()
    Image.fromarray(pixels).save(root / "one" / "phone.png", exif=exif)
    for cache in (True, False):
        image = load("one", "texts.txt", 8, cache=cache).images[:][0]
        assert image[:, :3].min() > 200 and image[:, 5:].max() < 50, "what was left is on top"


@pytest.mark.parametrize("preprocess", [8, Preprocess(8, "squash")])
def test_the_cache_changes_nothing(root, preprocess):
    Path("texts.txt").write_text("one\n")
    rng = np.random.default_rng(0)
    for i in range(5):
        Image.fromarray(rng.integers(0, 256, (30, 20 + i, 3), dtype=np.uint8)).save(root / "pictures" / f"noise{i}.jpg")
    chosen, read = (load("pictures", "texts.txt", preprocess, cache=cache).images for cache in (True, False))
    assert isinstance(read, FileImages) and not isinstance(chosen, FileImages) and len(chosen) == len(read) == 17
    index = torch.tensor([16, 0, 3, 3])
    assert torch.equal(chosen[index], read[index]) and torch.equal(chosen[2:5], read[2:5])
    again = load("pictures", "texts.txt", preprocess).images
    assert torch.equal(again[:], chosen[:]) and list((root / "cache").rglob("*reference-pictures*"))


def test_imagenet(root, full_roots):
    full_roots.write(root / "data", ["imagenet"])
    paths = image_paths("imagenet", str(root / "data"))
    assert len(paths) == 10 and all("/train/" in path for path in paths)
    sentences = load_sentences("imagenet")
    names = [line.split("\t")[-1] for line in lines("names_imagenet")]
    assert len(sentences) == 1000 and sentences == [f"a photo of a {name}." for name in names]
    assert sentences[0] == "a photo of a tench."


@pytest.mark.parametrize("folder", ["conceptual_captions", "cc_data", "."])
def test_conceptual_captions(root, folder):
    place = root / "data" / folder
    rows = [("title", "filepath"), ('a "tall" tree', "val/2.png"), ("über uns", "val/1.png"), ("gone", "val/9.png"), ("x", "")]
    captions(place, rows)
    for i in (1, 2, 3):
        save(place / "val" / f"{i}.png", i)
    reference = load("conceptual_captions", "conceptual_captions", 8, data_root=str(root / "data"))
    assert values(reference.images) == [1, 2], "those that the table names and that are there"
    assert reference.sentences[1:] == ["über uns", "gone", "x"], "a sentence needs no image"


@pytest.mark.parametrize(
    ("name", "separator", "header"),
    [("said.csv", ",", "caption"), ("said.tsv", "\t", "title"), ("said.csv", "\t", "title"), ("said.CSV", ",", "title")],
)
def test_a_table_of_ones_own(root, name, separator, header):
    captions(root, [("id", header), ("1", "a hat"), ("2", " "), ("3", "a cat")], name, separator)
    assert load_sentences(name) == ["a hat", "a cat"]


def test_quoted_cells(root):
    Path("said.csv").write_text('title,n\n"a hat, red",1\n"say ""hi""",2\n')
    assert load_sentences("said.csv") == ["a hat, red", 'say "hi"']


@pytest.mark.slow
def test_the_mini_set_needs_no_files(root):
    reference = load("mini", "mini", 8)
    assert reference.images.shape == (1500, 3, 8, 8) and len(reference.sentences) == 1500


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: image_paths("imagenet"), r"ImageNet's training images into data/imagenet/train\. Or choose other data"),
        (lambda: image_paths("imagnet"), "Unknown reference images 'imagnet'. Use one of mini, imagenet, conceptual_captions"),
        (lambda: image_paths("empty"), "The folder of reference images empty has no image"),
        (lambda: image_paths("conceptual_captions"), "No reference data: put Validation_GCC.* into"),
        (lambda: image_paths("conceptual_captions", "dead"), "None of the images that .* names .column filepath. exists"),
        (lambda: load_sentences("conceptual_captions"), "No reference data: put Validation_GCC.* into"),
        (lambda: load_sentences("texts.tx"), r"Unknown reference sentences 'texts\.tx'. Use one of"),
        (lambda: load_sentences("empty"), "Unknown reference sentences 'empty'"),
        (lambda: load_sentences("blank.txt"), r"blank\.txt has no sentences"),
        (lambda: load_sentences("binary.txt"), r"binary\.txt is not a text file"),
        (lambda: load_sentences("binary.csv"), r"binary\.csv cannot be read as a table of sentences"),
        (lambda: load_sentences("other.csv"), r"other\.csv has no column title or caption"),
        (lambda: load("pictures", "texts.txt", 8), r"Cannot read the image .*00\.png"),
    ],
)
def test_mistakes_are_one_sentence(root, call, message):
    Path("empty").mkdir()
    Path("blank.txt").write_text("\n  \n")
    Path("texts.txt").write_text("one\n")
    for name in ("binary.txt", "binary.csv"):
        Path(name).write_bytes(b"title\n\xff\xfe\x00\xd8\n")
    Path("other.csv").write_text("name,n\na,1\n")
    captions(root / "dead", [("title", "filepath"), ("gone", "val/9.png")])
    Path("pictures/b/00.png").write_bytes(b"broken")
    with pytest.raises(UserError, match=message) as error:
        call()
    assert "\n" not in str(error.value)


def test_the_check_is_quick_and_says_the_same(root, full_roots, monkeypatch):
    data = str(root / "data")
    check("mini", "mini", data)
    check("pictures", "texts.txt", data)
    with pytest.raises(UserError, match=r"ImageNet's training images into .*imagenet/train"):
        check("imagenet", "mini", data)
    for images, sentences in (("conceptual_captions", "mini"), ("mini", "conceptual_captions")):
        with pytest.raises(UserError, match="No reference data"):
            check(images, sentences, data)
    captions(root / "dead", [("title", "filepath"), ("gone", "val/9.png")])
    with pytest.raises(UserError, match=r"None of the images that .* names"):
        check("conceptual_captions", "mini", str(root / "dead"))
    full_roots.write(root / "data", ["imagenet"])
    captions(root / "data", [("title", "filepath")])
    monkeypatch.setattr("benchmarks.reference_lookup.files_under", None)
    check("imagenet", "conceptual_captions", data)


def test_versions_of_what_ships_or_is_missing(root):
    assert version("mini", "mini") is None and version("mini", "imagenet") is None
    assert version("imagenet", "conceptual_captions") is None, "missing: `check` says so"


def test_the_version_of_imagenet_is_how_many_images_there_are(root, full_roots):
    data = str(root / "data")
    full_roots.write(root / "data", ["imagenet"])
    whole = version("imagenet", "mini", data)
    assert whole is not None and whole == version("imagenet", "imagenet", data)
    image = Path(image_paths("imagenet", data)[0])
    (image.parent / "notes.txt").write_text("no image")
    assert version("imagenet", "mini", data) == whole
    image.unlink()
    assert version("imagenet", "mini", data) != whole


def test_the_version_of_the_captions_is_their_table_and_how_many_images_are_there(root):
    place = root / "conceptual_captions"

    def both():
        return version("conceptual_captions", "conceptual_captions", str(root)), version(
            "mini", "conceptual_captions", str(root)
        )

    captions(place, [("title", "filepath"), ("a hat", "1.png"), ("a cat", "2.png")])
    save(place / "1.png", 1)
    one = both()
    save(place / "2.png", 2)
    two = both()
    assert one[0] != two[0] and one[1] == two[1] and None not in (*one, *two)
    captions(place, [("title", "filepath"), ("a hat", "1.png"), ("a dog", "2.png")])
    assert both()[0] != two[0] and both()[1] != two[1]


def test_versions_are_of_ones_own_data(root):
    Path("texts.txt").write_text("one\n")
    both, images, texts = version("pictures", "texts.txt"), version("pictures", "mini"), version("mini", "texts.txt")
    assert len({both, images, texts}) == 3 and version("pictures", "texts.txt") == both
    Path("texts.txt").write_text("two\n")
    assert version("mini", "texts.txt") != texts and version("pictures", "mini") == images
    Path("pictures/a/01.png").unlink()
    assert version("pictures", "mini") != images


RAW = 'a "quoted tree\thttp://a.example/1.jpg\nüber uns\thttps://b.example/2.jpg\n" alone\thttp://c.example/3.jpg\n'


def test_googles_table_without_a_header(root):
    """Captions and addresses, no quoting. The sentences are all captions; there are no images."""
    place = root / "data" / "conceptual_captions"
    place.mkdir(parents=True)
    (place / RAW_CAPTIONS).write_text(RAW, encoding="utf-8")
    data = str(root / "data")
    assert load_sentences("conceptual_captions", data) == ['a "quoted tree', "über uns", '" alone']
    assert version("mini", "conceptual_captions", data) is not None
    check("mini", "conceptual_captions", data)
    with pytest.raises(UserError, match=r"None of the images that .* names"):
        check("conceptual_captions", "mini", data)
    captions(place, [("title", "filepath"), ("made", "1.png")])
    assert load_sentences("conceptual_captions", data) == ["made"], "a table with images comes first"
    Path("own.tsv").write_text(RAW, encoding="utf-8")
    assert len(load_sentences("own.tsv")) == 3


def test_another_dataset_as_reference(root, full_roots):
    data = str(root / "data")
    full_roots.write(root / "data", ["Food"])
    whole = load("Food", "Food", 8, data_root=data)
    domain = full.build("Food", data, ("train", "test"))
    expected = FileImages(domain.train, 8)[:]
    assert torch.equal(whole.images[:], expected) and len(expected) > 2
    assert whole.sentences == domain.prompts(0) and "apple pie, a type of food." in whole.sentences[0]
    few = load("Food", "mini", 8, data_root=data, count=2, cache=False).images
    assert torch.equal(few[:], expected[permutation(len(expected), 0)[:2]])
    assert len({version("Food", "mini", data), version("Food", "Food", data), version("mini", "mini", data)}) == 3
    check("Food", "Food", data)
    for pair in (("MNIST", "mini"), ("mini", "MNIST")):
        with pytest.raises(UserError, match="The dataset MNIST is missing"):
            check(*pair, data)


def test_parts_of_imagenet(root, full_roots, monkeypatch):
    data = str(root / "data")
    full_roots.write(root / "data", ["imagenet"])
    everything = image_paths("imagenet", data)
    folders = sorted({Path(path).parent.name for path in everything})
    two = image_paths("imagenet:classes=2", data)
    assert two == [path for path in everything if Path(path).parent.name in folders[:2]] and len(two) < len(everything)
    monkeypatch.setattr("benchmarks.reference_lookup.PER_CLASS", 1)
    assert len(image_paths("imagenet:classes=2", data)) == 2
    chosen = image_paths("imagenet:images=4", data)
    assert chosen == sorted(everything[i] for i in permutation(len(everything), 42)[:4])
    assert load_sentences("imagenet:classes=3") == load_sentences("imagenet")[:3]
    assert version("imagenet:classes=2", "mini", data) == version("imagenet", "mini", data), "the name is in the key itself"
    assert len(load("imagenet:images=4", "mini", 8, data_root=data).images) == 4
    for name in ("imagenet:", "imagenet:classes=0", "imagenet:classes=1001", "imagenet:pictures=3", "imagenet:images=x"):
        with pytest.raises(UserError, match="Parts of ImageNet are"):
            image_paths(name, data)
    with pytest.raises(UserError, match="asks for more than the"):
        image_paths("imagenet:images=999999", data)


def test_without_distillation_no_reference_data_is_asked_for(root):
    """The paper's rows WE and WE_WiSE: weight averaging only."""
    off = {"image_loss": "0", "text_loss": "0"}
    config = {"benchmark": "mtil", "edition": "full", "data_root": "nowhere"}
    assert not outline(RunConfig(strategy="zscl", options=off, **config)).reads_reference
    assert not resolve(RunConfig(strategy="zscl", options=off, **config)).reads_reference
    for options in ({}, {"image_loss": "0"}, {**off, "feature_mse": "1"}, {**off, "negatives": "captions"}):
        assert outline(RunConfig(strategy="zscl", options=options, **config)).reads_reference
    assert not outline(RunConfig(strategy="finetune", **config)).reads_reference


def test_several_datasets_as_reference(root, full_roots):
    """Images and sentences one after another; ImageNet's parts and the captions may be among them."""
    data = str(root / "data")
    full_roots.write(root / "data", ["Food", "CIFAR100", "imagenet"])
    full_roots.captions(root / "data")
    single = [load(name, name, 8, data_root=data, cache=False) for name in ("CIFAR100", "Food")]
    both = load("CIFAR100,Food", "CIFAR100,Food", 8, data_root=data)
    images = torch.cat([each.images[:] for each in single])
    assert torch.equal(both.images[:], images) and both.sentences == single[0].sentences + single[1].sentences
    few = load("CIFAR100,Food", "mini", 8, data_root=data, count=3, cache=False).images
    assert torch.equal(few[:], images[permutation(len(images), 0)[:3]])
    files = [len(image_paths(name, data)) for name in ("imagenet:images=4", "conceptual_captions")]
    mixed = load("imagenet:images=4,conceptual_captions,Food", "imagenet:classes=2,conceptual_captions", 8, data_root=data)
    assert files == [4, 3] and len(mixed.images) == 7 + len(single[1].images)
    assert mixed.sentences == load_sentences("imagenet")[:2] + load_sentences("conceptual_captions", data)
    assert not is_folder("CIFAR100,Food") and is_folder("a,b")


def test_keys_and_checks_of_several_datasets(root, full_roots):
    data = str(root / "data")
    full_roots.write(root / "data", ["Food", "CIFAR100", "imagenet"])
    full_roots.captions(root / "data")
    pairs = [("Food", "mini"), ("CIFAR100,Food", "mini"), ("mini", "CIFAR100,Food"), ("Food,imagenet", "mini")]
    pairs.append(("Food,conceptual_captions", "mini"))
    versions = [version(images, sentences, data) for images, sentences in pairs]
    assert None not in versions and versions[1] == versions[2], "a run's key has the names too"
    assert len({*versions}) == 4
    check("CIFAR100,Food,imagenet", "Food,conceptual_captions", data)
    for images, sentences in (("Food,MNIST", "mini"), ("mini", "MNIST,Food")):
        with pytest.raises(UserError, match="The dataset MNIST is missing"):
            check(images, sentences, data)
    full_roots.write(root / "other", ["Food"])
    for images in ("Food,imagenet", "Food,conceptual_captions"):
        with pytest.raises(UserError, match="No reference"):
            check(images, "mini", str(root / "other"))
    for name in ("Food,pictures", "Food,mini", "Food,"):
        with pytest.raises(UserError, match="several of them joined by commas, or a folder"):
            image_paths(name, data)
        with pytest.raises(UserError, match="several of them joined by commas, or a text file"):
            load_sentences(name, data)


def test_a_folder_with_a_comma_in_its_name_is_a_folder(root):
    Path("pictures").rename("Food,pictures")
    assert len(load("Food,pictures", "mini", 8).images) == 12 and version("Food,pictures", "mini") is not None
