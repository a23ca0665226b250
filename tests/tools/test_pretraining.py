"""The pretraining of the tiny CLIP: names, captions, vocabulary, composed pictures, loss. No package is fetched."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from benchmarks.mini import concepts
from models.loading.load import load
from tools import captions, families, pool_shapes, pretrain, schedule, sources, vocabulary
from tools import icon_names as names
from tools.compose import Composer, Look
from tools.pool import Pool
from tools.sampler import COLOURS, MASK_GROUPS, PICTURE_GROUP, Sampler


@pytest.mark.parametrize(
    ("name", "plain"),
    [("bxs-bell-ring", "bell-ring"), ("flash-24-filled", "flash"), ("brand-github", "github"), ("cat-outline", "cat")],
)
def test_plain_names_lose_their_style(name, plain):
    assert names.plain(name) == plain


def test_names_without_words_are_left_out():
    assert names.words("shopping-cart") == "shopping cart"
    assert names.words("a-b") is None and names.words("one-two-three-four") is None and names.words("x264") is None


def test_icons_get_their_class_and_brands_are_separate():
    assert names.class_of("cloud-rain", ("nature",)) == ("nature", "rain")
    assert names.class_of("apple", ("nature", "transport")) is None
    assert names.class_of("apple", ("logos",)) == ("logos", "apple")


def test_no_source_of_pretraining_is_a_family_of_a_domain():
    packages = {source.package for source in sources.SOURCES}
    taken = {"ph", "ri", "codicon", "el", "fa", "fa6-solid", "fa6-regular", "fa6-brands", "fa-solid", "la", "mdi"}
    assert not packages & {f"@iconify-json/{family}" for family in taken}
    assert all(source.version[0].isdigit() and source.licence for source in sources.SOURCES)


def test_vocabulary_merges_the_most_frequent_pair_first(tmp_path):
    # "ab" 3 times: (a, b</w>); then "cab" has (c, ab</w>), once, and "xy" (x, y</w>), twice.
    merges = vocabulary.learn(["ab ab", "cab", "xy xy"], count=3)
    assert merges == [("a", "b</w>"), ("x", "y</w>"), ("c", "ab</w>")]
    vocabulary.save(merges, tmp_path / "bpe.txt.gz")
    tokenizer = vocabulary.load(tmp_path / "bpe.txt.gz")
    assert tokenizer.vocab_size == 512 + 3 + 2
    tokens = tokenizer(["ab cab"])[0].tolist()
    assert tokens[:4] == [515, 512, 514, 516] and set(tokens[4:]) == {0}


def test_every_kind_has_templates():
    rng = np.random.default_rng(0)
    for kind in ("nature", "icon", "logo", "logos", "letters", "digits", "digits-hand", "shapes", "counting", "emoji"):
        assert all("{}" in template for template in captions.templates(kind))
        assert "subject" in captions.caption(kind, "subject", rng)


@pytest.mark.slow
def test_pool_shapes_have_their_subjects():
    shapes = list(pool_shapes.items())
    assert all(mask.shape == (64, 64) and mask.dtype == np.uint8 for _, _, mask in shapes)
    assert {subject for kind, subject, _ in shapes if kind == "counting"} >= {"one thing", "six things", "eight things"}
    assert len(shapes) == len(pool_shapes.KINDS) * pool_shapes.SHAPE_VARIANTS + 8 * pool_shapes.GROUPS


def masks(n):
    squares = torch.zeros(n, 64, 64, dtype=torch.uint8)
    squares[:, 16:48, 16:48] = 255
    return squares


@pytest.mark.slow
def test_composed_pictures_are_seeded_and_in_range():
    first, again, other = (Composer(torch.Generator().manual_seed(seed)).inked(masks(8), Look()) for seed in (1, 1, 2))
    assert first.shape == (8, 3, 48, 48) and first.min() >= 0 and first.max() <= 1
    assert torch.equal(first, again) and not torch.equal(first, other)


def test_easy_pictures_are_white_on_black():
    look = Look().eased(1.0)
    assert look.white_on_black == 1.0 and look.turn == pytest.approx(0.2 * Look().turn) and look.scale[1] == Look().scale[1]
    picture = Composer(torch.Generator().manual_seed(0)).inked(masks(16), look)
    assert (picture[:, :, 24, 24] > 0.5).all() and picture[:, :, :3, :3].mean() < 0.15


def test_a_named_colour_is_the_colour_of_the_drawing():
    ink = torch.tensor([COLOURS["red"], COLOURS["blue"]])
    look = Look(turn=0, scale=(0.9, 0.9), shift=0, elastic=0, plate=0, lines=0)
    centre = Composer(torch.Generator().manual_seed(0)).inked(masks(2), look, ink)[:, :, 20:28, 20:28].mean((2, 3))
    assert torch.allclose(centre, ink, atol=0.1)


def tiny_pool():
    kinds = [kind for group in MASK_GROUPS.values() for kind in group.kinds for _ in range(3)]
    subjects = ["circle" if kind == "shapes" else "three things" if kind == "counting" else kind for kind in kinds]
    pictures = [kind for kind in PICTURE_GROUP.kinds for _ in range(2)]
    return Pool(
        masks(len(kinds)).numpy(),
        np.array(kinds),
        np.array(subjects),
        np.full((len(pictures), 4, 64, 64), 200, dtype=np.uint8),
        np.array(pictures),
        np.array([f"{kind} face" for kind in pictures]),
    )


@pytest.mark.slow
def test_batches_have_one_caption_per_subject():
    sampler = Sampler(tiny_pool(), 64, seed=0)
    batch = sampler.batch(ease=0.5)
    assert batch.images.shape == (64, 3, 48, 48)
    assert len(batch.subjects) == 64 and sorted(set(batch.subjects.tolist())) == list(range(len(batch.captions)))
    again = Sampler(tiny_pool(), 64, seed=0).batch(ease=0.5)
    assert torch.equal(again.images, batch.images) and again.captions == batch.captions
    assert any("circle" in caption for caption in batch.captions)


def test_loss_counts_all_images_of_a_subject_as_positives():
    generator = torch.Generator().manual_seed(0)
    images, texts = (F.normalize(torch.randn(n, 5, generator=generator), dim=1) for n in (4, 2))
    subjects = torch.tensor([0, 1, 0, 0])
    model = SimpleNamespace(
        encode_image=lambda x: 3 * images, encode_text=lambda x: 2 * texts, logit_scale=torch.tensor(math.log(4.0))
    )
    logits = 4 * images @ texts.T
    rows = [
        -(0.975 * row.log_softmax(0)[s] + 0.025 * row.log_softmax(0)[1 - s]) for row, s in zip(logits, subjects, strict=True)
    ]
    columns = logits.T.log_softmax(1)
    expected = 0.5 * torch.stack(rows).mean() + 0.5 * (-columns[0, [0, 2, 3]].mean() - columns[1, 1]) / 2
    assert families.clip_loss(model, images, texts, subjects) == pytest.approx(expected.item(), rel=1e-5)


def test_half_precision_gradients_are_close_to_full_precision():
    torch.manual_seed(0)
    model = pretrain.make_model(pretrain.configuration(600))
    images, tokens, subjects = torch.randn(6, 3, 48, 48), torch.randint(1, 599, (3, 16)), torch.tensor([0, 1, 2, 0, 1, 2])
    original = F.scaled_dot_product_attention
    pretrain.HalfCopy(model).gradients(images, tokens, subjects)
    assert F.scaled_dot_product_attention is original, "the patch is undone"
    low = torch.cat([p.grad.flatten() for p in model.parameters()])
    model.zero_grad()
    families.clip_loss(model, images, tokens, subjects).backward()
    full = torch.cat([p.grad.flatten() for p in model.parameters()])
    assert F.cosine_similarity(low, full, dim=0) > 0.98


def test_curriculum_goes_from_easy_to_varied():
    assert schedule.ease_at(0) == schedule.ease_at(0.06) == 1
    assert schedule.ease_at(0.23) == pytest.approx((1 + 0.08) / 2)
    assert schedule.ease_at(0.4) == schedule.ease_at(1) == pytest.approx(0.08)


def test_concept_tables_do_not_share_names():
    seen = {}
    for domain in ("nature", "transport", "objects", "buttons"):
        for label in concepts.ICON_DOMAINS[domain]:
            for name in concepts.icon_names(concepts.ICON_DOMAINS[domain], label):
                assert seen.setdefault(name, (domain, label)) == (domain, label), f"{name} means two classes"


@pytest.mark.parametrize(("width", "heads", "millions"), [(64, 2, 0.60), (128, 4, 1.90), (256, 8, 6.62)])
def test_sizes_differ_only_in_width(width, heads, millions):
    """Parameters counted by hand: blocks of 12 d^2 + 13 d, embeddings of patches, positions and tokens, norms, projections."""
    config = pretrain.configuration(3514, width)["model_cfg"]
    assert config["embed_dim"] == config["vision_cfg"]["width"] == config["text_cfg"]["width"] == width
    assert config["text_cfg"]["heads"] == heads
    count = sum(p.numel() for p in pretrain.make_model({"model_cfg": config}).parameters())
    assert count / 1e6 == pytest.approx(millions, abs=0.01)


def test_a_length_in_iterations_does_not_depend_on_the_clock(tmp_path, monkeypatch, capsys):
    seen = []

    class Model(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.logit_scale = torch.nn.Parameter(torch.zeros(()))
            self.matrix = torch.nn.Parameter(torch.zeros(2, 2))

    class Half:
        def __init__(self, model, loss):
            self.model = model

        def gradients(self, images, tokens, subjects):
            self.model.matrix.grad, self.model.logit_scale.grad = torch.ones(2, 2), torch.zeros(())
            return torch.zeros(())

    def batches(step, progress):
        seen.append((step, progress))
        return torch.zeros(1), torch.zeros(1), torch.zeros(1)

    for name, value in (("make_model", lambda config: Model()), ("HalfCopy", Half)):
        monkeypatch.setattr(pretrain, name, value)
    monkeypatch.setattr(pretrain, "zero_shot", lambda model, tokenizer: dict.fromkeys(pretrain.mini.STREAM, 1.0))
    pretrain.pretrain(batches, tmp_path, minutes=0, batch_size=1, rate=1.0, seed=0, report_every=1e9, iterations=5)
    assert seen == [(step, step / 5) for step in range(5)]
    assert "5 iterations" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--width", "100"], "a multiple of 32"),
        (["--iterations", "0"], "at least 1"),
        (["--batches", "x"], "--batches needs --iterations"),
        (["--width", "64"], "--out is needed"),
        (["--width", "64", "--family", "eva02", "--out", "x"], "--width must be 128 for --family eva02"),
    ],
)
def test_sizes_are_checked_first(words, message, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["pretrain", *words])
    with pytest.raises(SystemExit):
        pretrain.main()
    assert message in capsys.readouterr().err


def test_a_model_of_another_width_can_be_loaded_from_its_folder(tmp_path):
    tokenizer = vocabulary.load(pretrain.TINY / "bpe.txt.gz")
    config = pretrain.configuration(tokenizer.vocab_size, 64)
    pretrain.save(pretrain.make_model(config).state_dict(), config, tmp_path / "model")
    encoder = load(str(tmp_path / "model"))
    assert encoder.encode_texts(encoder.tokenize(["a cat."])).shape == (1, 64)
    assert encoder.tokenize(["a cat."]).tolist() == tokenizer(["a cat."]).tolist()
