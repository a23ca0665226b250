"""The mini edition's domains: their content, no leaks between splits, and reproducible drawing."""

import hashlib
import subprocess
import sys
from collections import Counter

import numpy as np
import pytest
import torch
import torch.nn.functional as F

import models
from benchmarks import mini
from benchmarks.mini import cache, closeups, concepts, iconfonts, icons, letters, render, shapes
from benchmarks.mini import domain_table as table
from models.loading.local_files import TINY

NAMES = (*mini.STREAM, *mini.HELDOUT)


@pytest.fixture(scope="module")
def domains():
    return {name: mini.build(name) for name in NAMES}


def splits_of(domain):
    return {s: getattr(domain, s) for s in ("train", "val", "test", "ood") if getattr(domain, s) is not None}


def test_orders_hold_the_same_domains():
    assert len(mini.STREAM) == 8 and tuple(sorted(mini.STREAM)) == mini.STREAM
    assert sorted(mini.ORDER_II) == sorted(mini.STREAM) and mini.ORDER_II != mini.STREAM
    assert not set(mini.STREAM) & set(mini.HELDOUT)
    assert set(NAMES) == set(table.ENTRIES)
    assert sum(table.ENTRIES[name].made_by == "people" for name in mini.STREAM) >= 5


def test_the_table_needs_no_heavy_import():
    code = "import sys; from benchmarks import mini; mini.summary(); print(*{'torch', 'numpy', 'PIL'} & set(sys.modules))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == ""


@pytest.mark.slow
def test_summary_agrees_with_the_domains(domains):
    rows = {row["name"]: row for row in mini.summary()}
    for name, domain in domains.items():
        row = rows[name]
        assert row["classes"] == len(domain.classnames)
        for split in ("train", "val", "test", "ood"):
            data = getattr(domain, split)
            assert row[split] == (0 if data is None else len(data))
        assert row["licence"] and row["source"]


@pytest.mark.parametrize("name", NAMES)
def test_splits_have_the_right_form(domains, name):
    domain, entry = domains[name], table.ENTRIES[name]
    assert domain.classnames == entry.classnames and len(set(domain.classnames)) == len(domain.classnames)
    assert len(domain.templates) >= 2
    assert len(domain.test) >= 300
    if name in mini.STREAM:
        assert 600 <= len(domain.train) <= 900 and 200 <= len(domain.val) <= 300
    per_class = dict(zip(("train", "val", "test", "ood"), (*entry.per_class, entry.ood), strict=True))
    for split, data in splits_of(domain).items():
        assert data.images.dtype == torch.uint8 and data.images.shape[1:] == (3, 48, 48)
        assert Counter(data.targets) == dict.fromkeys(range(len(entry.classnames)), per_class[split])


def test_a_prefix_of_a_split_holds_every_class(domains):
    for domain in domains.values():
        classes = len(domain.classnames)
        assert set(domain.test.targets[:classes]) == set(range(classes))


def test_icons_and_letters_have_a_held_out_family(domains):
    for name in (*concepts.ICON_DOMAINS, "letters"):
        assert len(domains[name].ood) >= 200
    assert not set(iconfonts.MAIN_FAMILIES) & set(iconfonts.HELDOUT_FAMILIES)
    assert not set(letters.MAIN_FONTS) & set(letters.HELDOUT_FONTS)


def test_no_image_is_in_two_splits_or_domains(domains):
    seen = {}
    for name, domain in domains.items():
        for split, data in splits_of(domain).items():
            for index, image in enumerate(data.images.numpy()):
                key = hashlib.sha256(image.tobytes()).digest()
                assert key not in seen, f"{name}/{split}/{index} is also {seen[key]}"
                seen[key] = f"{name}/{split}/{index}"
    assert len(seen) == sum(len(data) for domain in domains.values() for data in splits_of(domain).values())


@pytest.mark.slow
@pytest.mark.parametrize("name", ["transport", "shapes", "closeups"])
def test_drawing_depends_only_on_the_name(domains, name):
    np.random.seed(5)
    before = np.random.get_state()[1].copy()
    again = mini.draw(name)
    assert np.array_equal(np.random.get_state()[1], before), "the global generator is not used"
    for split, data in splits_of(domains[name]).items():
        assert np.array_equal(again[f"{split}_images"], data.images.numpy())
        assert again[f"{split}_labels"].tolist() == data.targets


def test_generators_are_independent_of_each_other():
    first = render.generator("a", "b").random(3)
    render.generator("c").random(100)
    assert np.array_equal(render.generator("a", "b").random(3), first)
    assert not np.array_equal(render.generator("b", "a").random(3), first)


def test_photograph_crops_of_two_splits_share_no_pixel():
    for classname in table.PHOTOGRAPHS:
        taken = [set(closeups.cells(classname, split)) for split in closeups.SHARES]
        assert sum(map(len, taken)) == len(set.union(*taken)) == closeups.GRID**2
    picture = closeups.photograph("cat")
    width, height = picture.width / closeups.GRID, picture.height / closeups.GRID
    boxes = []
    picture.crop = lambda box: boxes.append(box) or type(picture).crop(picture, box)
    try:
        for index in range(20):
            closeups.crop("cat", (2, 3), render.generator("test", str(index)))
    finally:
        del picture.crop
    assert len(boxes) == 20
    for left, top, right, bottom in boxes:
        assert 2 * width <= left < right <= 3 * width and 3 * height <= top < bottom <= 4 * height


@pytest.mark.slow
def test_every_icon_class_is_drawn_by_main_and_held_out_families():
    for name, classes in concepts.ICON_DOMAINS.items():
        for label in classes:
            assert icons.drawings(name, label, iconfonts.MAIN_FAMILIES)
            assert icons.drawings(name, label, iconfonts.HELDOUT_FAMILIES)
    with pytest.raises(LookupError, match="no icon for class 'cat'"):
        icons.drawings("nature", "cat", ("codicon",))


def test_icon_masks_are_centred_and_fill_the_frame():
    mask = iconfonts.drawing("phosphor", iconfonts.glyphs_by_name("phosphor")["cat"][0])
    assert mask.shape == (64, 64) and mask.dtype == np.uint8
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    assert max(np.ptp(rows), np.ptp(columns)) == 59
    assert abs(rows.mean() - 31.5) <= 1 and abs(columns.mean() - 31.5) <= 1


def test_placing_a_mask_keeps_its_share_of_the_canvas():
    mask = np.full((64, 64), 255, dtype=np.uint8)
    alpha = render.place(mask, render.generator("test"), (0.5, 0.5), 0.0, 0.0)
    assert alpha.sum() == pytest.approx(24 * 24, rel=0.03) and alpha[24, 24] == 1 and alpha[2, 2] == 0
    alpha = render.place(mask, render.generator("test"), (0.5, 0.5), 90.0, 0.0)
    assert alpha.sum() == pytest.approx(24 * 24, rel=0.03), "turning keeps the area"


@pytest.mark.parametrize(
    ("shape", "area"),
    [("circle", np.pi * 100), ("ring", np.pi * 64), ("square", 2 * 11.5**2), ("cross", 4 * 3.6 * (20 - 3.6))],
)
def test_shapes_cover_their_area(shape, area):
    assert shapes.shape_alpha(shape, 24, 24, 10, 0.3).sum() == pytest.approx(area, rel=0.06)
    assert set(shapes.PALETTE) == set(table.COLOURS)


def test_groups_have_the_number_of_things_of_their_class():
    from scipy.ndimage import label

    for count in (1, 4, 6):
        alpha = np.zeros((48, 48))
        original = render.paint

        def record(picture, colour, part, original=original, alpha=alpha):
            alpha[part > 0.3] = 1
            return original(picture, colour, part)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(render, "paint", record)
            shapes.group(count, render.generator("test", str(count)))
        assert label(alpha, np.ones((3, 3)))[1] == count, "corners touch within one thing"


def test_unknown_domain_is_one_clear_sentence():
    with pytest.raises(ValueError, match="no domain 'natur'; did you mean 'nature'"):
        mini.build("natur")


class Maker:
    def __init__(self):
        self.calls = 0

    def __call__(self):
        self.calls += 1
        return {"numbers": np.arange(2000), "words": np.array(["a", "bc"])}


@pytest.fixture
def maker(monkeypatch, tmp_path):
    monkeypatch.setenv("PERENNIAL_CACHE", str(tmp_path))
    return Maker()


def test_cache_is_read_again(maker, tmp_path):
    for _ in range(2):
        arrays = cache.load_or_make("x", maker)
        assert arrays["numbers"].tolist() == list(range(2000)) and arrays["words"].tolist() == ["a", "bc"]
    assert maker.calls == 1
    assert [p.suffix for p in (tmp_path / "mini").iterdir()] == [".npz"], "no temporary file is left"


def damage_nothing_left(path):
    path.write_bytes(b"")


def damage_cut_off(path):
    path.write_bytes(path.read_bytes()[:5000])


def damage_one_bit(path):
    data = bytearray(path.read_bytes())
    data[data.index(np.arange(500, 600).tobytes())] ^= 1
    path.write_bytes(bytes(data))


def damage_pickle(path):
    np.savez(path, numbers=np.array([{"a": 1}], dtype=object))


@pytest.mark.parametrize("damage", [damage_nothing_left, damage_cut_off, damage_one_bit, damage_pickle])
def test_damaged_cache_is_made_again(maker, damage):
    cache.load_or_make("x", maker)
    damage(cache.path("x"))
    assert cache.load_or_make("x", maker)["numbers"].tolist() == list(range(2000))
    assert maker.calls == 2
    cache.load_or_make("x", maker)
    assert maker.calls == 2, "and is valid again"


def test_cache_file_changes_with_the_generator(monkeypatch):
    before = cache.path("x")
    monkeypatch.setattr(cache, "GENERATOR_VERSION", cache.GENERATOR_VERSION + 1)
    assert cache.path("x") != before and cache.path("x").parent == before.parent


def test_a_cache_that_cannot_be_written_only_costs_time(monkeypatch, tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("")
    monkeypatch.setenv("PERENNIAL_CACHE", str(blocked))
    maker = Maker()
    for _ in range(2):
        cache.load_or_make("x", maker)
    assert maker.calls == 2


def zero_shot(encoder, domain, data):
    """Return the percentage of correct predictions with prompts averaged over the templates, without using `metrics`."""
    with torch.inference_mode():
        texts = sum(
            F.normalize(encoder.encode_texts(encoder.tokenize(domain.prompts(t))), dim=-1) for t in range(len(domain.templates))
        )
        pixels = (data.images.float() / 255 - 0.5) / 0.27
        answers = torch.cat([encoder.encode_images(part) for part in pixels.split(256)]) @ texts.T
    return 100 * answers.argmax(1).eq(torch.tensor(data.targets)).float().mean().item()


def test_tiny_clip_has_the_files_it_needs():
    files = {path.name: path.stat().st_size for path in TINY.iterdir()}
    assert {"open_clip_config.json", "open_clip_model.safetensors", "bpe.txt.gz", "README.md"} <= set(files)
    assert sum(files.values()) <= 15e6


def test_tiny_clip_loads_with_plain_open_clip():
    import json

    import open_clip

    folder = TINY
    model = open_clip.create_model(f"local-dir:{folder}")
    tokenizer = open_clip.tokenizer.SimpleTokenizer(bpe_path=str(folder / "bpe.txt.gz"), context_length=16)
    config = json.loads((folder / "open_clip_config.json").read_text())["model_cfg"]["text_cfg"]
    assert config["vocab_size"] == tokenizer.vocab_size == model.token_embedding.num_embeddings
    assert config["context_length"] == tokenizer.context_length
    assert tokenizer.eot_token_id == tokenizer.vocab_size - 1, "argmax pooling finds the end"
    texts = model.encode_text(tokenizer(["a picture of a cat.", "a picture of a dog."]), normalize=True)
    assert texts.shape == (2, 128) and (texts[0] @ texts[1]).item() < 0.99


def test_no_prompt_is_cut_off():
    tokenizer = models.load("tiny").tokenize
    for name in NAMES:
        for template in table.ENTRIES[name].templates:
            tokens = tokenizer([template.format(c) for c in table.ENTRIES[name].classnames])
            assert (tokens[:, -1] == 0).all(), f"{name}: {template!r} needs all of the context"
