"""Webdataset shards as domains, and members that are refused or not read."""

import io
import os
import pickle
import tarfile

import pytest
from PIL import Image

from benchmarks.catalog import find as find_source
from benchmarks.data.images import fingerprint_of
from benchmarks.own import check_images, data_version, domain, from_webdataset, kind_of
from benchmarks.own.webdataset_index import split_of
from models.registry import UserError


def png(value):
    buffer = io.BytesIO()
    Image.new("L", (3, 3), value).save(buffer, "png")
    return buffer.getvalue()


def shard(path, members, mode="w"):
    """Write a tar file of (name, bytes) pairs or of TarInfo objects."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, mode) as tar:
        for member in members:
            if isinstance(member, tarfile.TarInfo):
                tar.addfile(member)
                continue
            info = tarfile.TarInfo(member[0])
            info.size = len(member[1])
            tar.addfile(info, io.BytesIO(member[1]))
    return path


def samples(labels, first=0, ending="cls", text=str):
    return [
        member
        for i, label in enumerate(labels)
        for member in ((f"s{first + i:05}.png", png(first + i)), (f"s{first + i:05}.{ending}", text(label).encode()))
    ]


def content(dataset):
    """Return the first pixel of each image, and its label."""
    return [(dataset[i][0].getpixel((0, 0))[0], dataset[i][1]) for i in range(len(dataset))]


def test_shards_of_splits(tmp_path):
    root = tmp_path / "WDS"
    shard(root / "train-000000.tar", samples([0, 1, 1]))
    shard(root / "train-000001.tar", samples([0], first=3))
    shard(root / "test" / "000000.tar", samples([1, 0], first=10))
    assert kind_of(root) == "shards"
    loaded = domain("WDS", tmp_path)
    assert loaded.name == "WDS" and loaded.classnames == ("0", "1") and loaded.val is None
    assert content(loaded.train) == [(0, 0), (1, 1), (2, 1), (3, 0)] and content(loaded.test) == [(10, 1), (11, 0)]
    assert loaded.train[0][0].mode == "RGB" and check_images(loaded) == []
    assert dict(loaded.split_sources) == {"train": "the shards called train", "test": "the shards called test"}
    version = data_version(root)
    (root / "classnames.txt").write_text("cat\ndog\n")
    named = domain(root)
    assert named.classnames == ("cat", "dog") and content(named.test) == content(loaded.test)
    assert len({version, data_version(root)}) == 2
    assert fingerprint_of(named.train) == fingerprint_of(loaded.train) != fingerprint_of(named.test)
    assert find_source(str(root)).name == "WDS" and find_source(str(root / "train-000000.tar")).name == "train-000000"


def test_a_single_tar_is_split(tmp_path):
    file = shard(tmp_path / "birds.tar", samples(["a b", "c_d"] * 10, text=str, ending="txt"))
    loaded = domain(file)
    assert loaded.name == "birds" and loaded.classnames == ("a b", "c d")
    pixels = sorted(content(loaded.train) + content(loaded.val) + content(loaded.test))
    assert pixels == [(i, i % 2) for i in range(20)] and len(loaded.test) == 2
    assert loaded.split_sources["test"] == "10 % of each class, seed 0"
    before = data_version(file)
    shard(file, samples(["c_d", "a b"] * 10, ending="txt"))
    os.utime(file, ns=(1, 1))
    assert data_version(file) != before


def test_training_shards_without_test_shards_are_split(tmp_path):
    shard(tmp_path / "x" / "train-000000.tar", samples([0, 1] * 10))
    for place in (tmp_path / "x", tmp_path / "x" / "train-000000.tar"):
        loaded = domain(place)
        assert len(loaded.test) == 2 and loaded.split_sources["test"] == "10 % of each class, seed 0"


def test_a_shard_of_validation_is_tested_on(tmp_path):
    shard(tmp_path / "x" / "train.tar", samples([0, 1]))
    shard(tmp_path / "x" / "val.tar", samples([1, 0], first=5))
    loaded = from_webdataset(tmp_path / "x")
    assert content(loaded.test) == [(5, 1), (6, 0)] and "no labelled test split" in loaded.split_sources["test"]


def test_choice_of_the_label(tmp_path):
    def both(i, extra):
        return [(f"a/{i}.png", png(i)), *[(f"a/{i}.{ending}", text.encode()) for ending, text in extra.items()]]

    def made(*rows, name="x"):
        return shard(tmp_path / f"{name}.tar", [member for i, row in enumerate(rows * 3) for member in both(i, row)])

    names = made({"cls": "0", "txt": "cat"}, {"cls": "1", "txt": "dog"})
    assert domain(names).classnames == ("cat", "dog")
    assert domain(names, classnames=["kitten", "hound"]).classnames == ("kitten", "hound")
    captions = made(*({"cls": str(i % 2), "txt": f"photo {i}"} for i in range(9)))
    assert domain(captions).classnames == ("0", "1")
    with pytest.raises(UserError, match=r"column 'txt' of .*x\.tar has 20 different texts for 20 images: captions"):
        domain(shard(tmp_path / "x.tar", samples(range(20), ending="txt")))
    facts = made({"json": '{"label": 0, "breed": "a"}'}, {"json": '{"label": 1, "breed": "b"}'})
    assert domain(facts).classnames == ("0", "1") and domain(f"{facts}:label=json.breed").classnames == ("a", "b")
    assert find_source(f"{facts}:label=json.breed").name == "x-json.breed"
    assert domain(made({"json": "0"}, {"json": "1"})).classnames == ("0", "1")
    several = made({"json": '{"class": "a", "category": "b"}'}, {"json": '{"class": "b", "category": "b"}'})
    with pytest.raises(UserError, match=r"several possible columns for the label .* `\S+x\.tar:label=json\.category`"):
        domain(several)
    masks = shard(
        tmp_path / "m.tar", [m for i in range(8) for m in (*both(i, {"cls": str(i % 2)}), (f"a/{i}.seg.png", png(99)))]
    )
    assert [value for value, _ in content(domain(masks).train)] == sorted(value for value, _ in content(domain(masks).train))
    two = shard(tmp_path / "t.tar", [m for i in range(8) for m in (*both(i, {"cls": str(i % 2)}), (f"a/{i}.jpg", png(50 + i)))])
    with pytest.raises(UserError, match=r"sample 't\.tar/a/0' has several images \(png, jpg\): choose one, .*:image=png`"):
        domain(two)
    assert min(value for value, _ in content(domain(f"{two}:image=jpg").train)) >= 50


class Boom:
    def __reduce__(self):
        return os.mkdir, ("pwned",)


def test_nothing_is_extracted_or_unpickled(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    bad = pickle.dumps(Boom())
    link, hard, device = tarfile.TarInfo("s9.png"), tarfile.TarInfo("s8.png"), tarfile.TarInfo("s7.png")
    link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
    hard.type, hard.linkname = tarfile.LNKTYPE, "../../secret"
    device.type = tarfile.CHRTYPE
    members = [
        *samples([0, 1] * 5),
        ("s00000.pyd", bad),
        ("../../../evil.txt", b"x"),
        ("/abs/evil.txt", b"x"),
        link,
        hard,
        device,
    ]
    file = shard(tmp_path / "x.tar", members)
    with pytest.raises(UserError, match=r"sample 'x\.tar/\.\./\.\./\.\./evil' has no image"):
        domain(file)
    loaded = domain(shard(tmp_path / "y.tar", [*members[:21], link, hard, device]))
    assert len(loaded.train) + len(loaded.test) + len(loaded.val) == 10
    with pytest.raises(UserError, match=r"has no label, only a member \.pyd; binary members such as Python pickles"):
        domain(shard(tmp_path / "z.tar", [(f"{i}.{e}", d) for i in range(4) for e, d in (("png", png(i)), ("pyd", bad))]))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["x.tar", "y.tar", "z.tar"]


def long_json():
    return b'{"label": "' + b"x" * (1 << 20) + b'"}'


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ([], r"has no samples: a shard needs members such as 0001\.jpg and 0001\.cls"),
        (
            [("a/1.png", png(0)), ("b/2.png", png(1))],
            r"'x\.tar/a/1' has no label; its members are \.png\. .* unpack the tar file",
        ),
        (samples([0, 1])[:-1], "the label member|has no label"),
        ([*samples([0, 1]), ("s9.cls", b"0")], r"sample 'x\.tar/s9' has no image; its members are \.cls"),
        (samples([0, 1, ""]), "The label of the sample .*s00002' is empty"),
        ([*samples([0, 1]), ("s00000.png", png(3))], r"sample 'x\.tar/s00000' of .* has two members \.png"),
        ([("a.png", png(0)), ("a.cls", b"\xff\xfe0")], r"member \.cls of the sample .* is not UTF-8 text"),
        ([("a.png", png(0)), ("a.json", b"{")], r"member \.json of the sample .* is not valid JSON"),
        ([("a.png", png(0)), ("a.json", b"[" * 100_000)], "is not valid JSON"),
        ([("a.png", png(0)), ("a.json", long_json())], "is larger than 1 MB"),
        (samples(["a\x1bb", "c"] * 3, ending="txt"), "contains a control character"),
        (samples([0.5, 1.5] * 3), r"x\.tar, sample x\.tar/s00000: the label 0\.5 is a number with a fraction"),
    ],
)
def test_mistakes(tmp_path, members, message):
    with pytest.raises(UserError, match=message):
        domain(shard(tmp_path / "x.tar", members))


def test_damaged_shards(tmp_path):
    whole = shard(tmp_path / "x.tar", samples([0, 1] * 5)).read_bytes()
    for name, data, message in (
        ("cut.tar", whole[:700], "is cut short|not a readable tar"),
        ("short.tar", whole[: len(whole) // 3], "is cut short"),
        ("text.tar", b"no tar file " * 200, "is not a readable tar file"),
        ("empty.tar", b"", "is not a readable tar file"),
        ("gz.tar", b"\x1f\x8b" + whole, "is compressed, but shards are read in place: decompress it first"),
        ("bits.tar", whole[:512] + bytes(b ^ 0x55 for b in whole[512:]), "is cut short|is damaged after its first members"),
    ):
        (tmp_path / name).write_bytes(data)
        with pytest.raises(UserError, match=message):
            domain(tmp_path / name)
    shard(tmp_path / "bad.tar", [*samples([0, 1] * 5), ("z.png", b"no image"), ("z.cls", b"0")])
    problems = check_images(domain(tmp_path / "bad.tar"))
    assert len(problems) == 1 and problems[0].startswith("Cannot read the image of the sample 'bad.tar/z'")


def test_other_folders(tmp_path):
    for name in ("a", "b"):
        (tmp_path / "photos" / name).mkdir(parents=True)
        (tmp_path / "photos" / name / "0.png").write_bytes(png(0))
    shard(tmp_path / "photos" / "backup.tar", samples([0, 1]))
    assert kind_of(tmp_path / "photos") == "folder"
    shard(tmp_path / "w" / "train-0.tar", samples([0, 1]))
    shard(tmp_path / "w" / "more.tar", samples([0, 1]))
    with pytest.raises(UserError, match=r"name of .*more\.tar has no split .* but other shards"):
        domain(tmp_path / "w")
    for file, split in {"imagenet-train-000000.tar": "train", "v/val_0.tar": "val", "trainer-0.tar": None}.items():
        assert split_of(str(tmp_path / file), tmp_path) == split
    (tmp_path / "x.zip").write_text("")
    shard(tmp_path / "gz" / "train-0.tar.gz", samples([0, 1]), "w:gz")
    with pytest.raises(UserError, match=r"train-0\.tar\.gz is compressed, but shards are read in place: decompress it first"):
        domain(tmp_path / "gz")
    with pytest.raises(UserError, match=r"000001\}\.tar is a pattern, not a name: give the folder that holds the files"):
        find_source(str(tmp_path / "w" / "train-{000000..000001}.tar"))
    with pytest.raises(UserError, match=r"x\.zip is an archive: unpack it and give the resulting folder"):
        domain(tmp_path / "x.zip")
    with pytest.raises(UserError, match="is neither a tar file nor a folder of tar files"):
        from_webdataset(tmp_path / "photos")


def test_a_published_list_may_name_two_classes_alike(tmp_path):
    """CLIP_benchmark's list for ImageNet has "missile" and "sunglasses" twice."""
    shard(tmp_path / "test" / "0.tar", samples([0, 1, 2]))
    (tmp_path / "classnames.txt").write_text("missile\nfox\nmissile\n")
    with pytest.raises(UserError, match="'missile' and 'missile' have the same class name"):
        from_webdataset(tmp_path)
    (tmp_path / "zeroshot_classification_templates.txt").write_text("a photo of a {c}.\n")
    made = from_webdataset(tmp_path)
    assert made.classnames == ("missile", "fox", "missile") and made.published and made.test.targets == [0, 1, 2]
    # Labels that are names would be ambiguous.
    shard(tmp_path / "test" / "0.tar", samples(["missile", "fox"]))
    with pytest.raises(UserError, match="have the same class name"):
        from_webdataset(tmp_path)
