"""Protocols by value: every cell of a real class-incremental run against features that this test computes, model by model."""

import json
from dataclasses import replace
from itertools import accumulate, pairwise

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

import models
from benchmarks import plan as plans
from harness.config.resolve import resolve
from harness.config.run_config import RunConfig
from harness.display.screen import Screen
from harness.records.files import read_csv
from harness.records.leaderboard import leaderboard
from harness.run import checkpoint
from harness.run import loop as runner
from harness.run.loop import run
from models.classifier import PromptClassifier
from strategies import STRATEGIES, Strategy

TEMPLATES = ("a photo of a {}.", "the {}.")
CLASSES = ("ant", "bee", "cat", "dog", "elk", "fox", "gnu")
HELDOUT = ("oak", "elm", "fir")
ORDER = ("cat", "bee", "gnu", "ant", "fox", "elk", "dog")
SIZES = (3, 2, 2)
STEPS = tuple(ORDER[a:b] for a, b in pairwise((0, *accumulate(SIZES))))
TASKS = ("step-1", "step-2", "step-3")
QUICK = {"epochs": 0, "iterations": 6, "batch_size": 8, "warmup": 1, "lr": 0.003}


def write(root, classes, seed):
    """Write one colour per class. Class k has 3 + 2 k test images, so that steps have different sizes."""
    rng = np.random.default_rng(seed)
    for k, name in enumerate(classes):
        colour = rng.integers(0, 256, 3)
        for split, count in (("train", 6), ("val", 2), ("test", 3 + 2 * k)):
            (root / split / name).mkdir(parents=True)
            for i in range(count):
                pixels = np.clip(colour + rng.integers(-90, 91, (48, 48, 3)), 0, 255).astype(np.uint8)
                Image.fromarray(pixels).save(root / split / name / f"{i}.png")
    (root / "templates.txt").write_text("\n".join(TEMPLATES) + "\n")
    return root


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("data")
    return write(root / "zoo", CLASSES, 0), write(root / "wood", HELDOUT, 1)


@pytest.fixture
def config(folders, model_directory, tmp_path, monkeypatch):
    monkeypatch.setenv("PERENNIAL_CACHE", str(tmp_path / "cache"))
    zoo, wood = folders
    return RunConfig(
        "cil", "finetune", dataset=str(zoo), steps=3, order=ORDER, heldout=(str(wood),), model=str(model_directory),
        options=QUICK, out=str(tmp_path / "results"), measure_n=10, device="cpu", workers=0,
    )  # fmt: skip


@pytest.fixture
def kept(monkeypatch):
    """The weights that are saved after each row."""
    found, original = {}, checkpoint.save_state

    def save(folder, after, weights, *more):
        found[after] = {name: tensor.clone() for name, tensor in weights.items()}
        return original(folder, after, weights, *more)

    monkeypatch.setattr(checkpoint, "save_state", save)
    return found


def pixels(folder, name):
    files = sorted((folder / "test" / name).glob("*.png"))
    return torch.stack([torch.from_numpy(np.asarray(Image.open(f)).copy()).permute(2, 0, 1) for f in files])


@torch.no_grad()
def correct(encoder, folder, own, competing):
    """Return the number of images of the classes `own` whose most similar class in `competing` is right, and of all images."""
    each = [F.normalize(encoder.clip.encode_text(encoder.tokenize([t.format(c) for c in competing])), dim=1) for t in TEMPLATES]
    texts = F.normalize((each[0] + each[1]) / 2, dim=1)
    right = total = 0
    for name in own:
        images = F.normalize(encoder.clip.encode_image((pixels(folder, name) / 255 - 0.5) / 0.27), dim=1)
        answers = (images @ texts.T).argmax(dim=1).tolist()
        right += sum(competing[answer] == name for answer in answers)
        total += len(answers)
    return right, total


def competitors(protocol, after, step):
    """Return the classes that compete for a test image of a step (from 1) after `after` steps."""
    last = {"task": None, "class": max(after, step), "agnostic": 3}[protocol]
    return list(STEPS[step - 1]) if last is None else [name for names in STEPS[:last] for name in names]


def by_hand(weights, folders, model, protocol):
    """Return {(after, stream, task): (correct, n)} for models given by their weights."""
    zoo, wood = folders
    encoder, cells = models.load(model), {}
    for after, state in sorted(weights.items()):
        encoder.load_state_dict(state)
        for step, own in enumerate(STEPS, 1):
            cells[after, "test", f"step-{step}"] = correct(encoder, zoo, own, competitors(protocol, after, step))
        cells[after, "heldout", "wood"] = correct(encoder, wood, HELDOUT, list(HELDOUT))
        if protocol == "class" and after:
            # One head over all classes so far, as the class-incremental papers count.
            seen = [name for names in STEPS[:after] for name in names]
            cells[after, "test", "seen"] = correct(encoder, zoo, seen, seen)
    return cells


def cells(folder):
    return {
        (int(r["after"]), r["stream"], r["task"]): (int(r["correct"]), int(r["n"])) for r in read_csv(folder / "accuracy.csv")
    }


def percent(cell):
    return 100 * cell[0] / cell[1]


@pytest.mark.slow
@pytest.mark.parametrize("protocol", plans.PROTOCOLS)
def test_every_cell(config, folders, kept, protocol):
    result = run(replace(config, protocol=protocol), Screen(quiet=True))
    found, expected = cells(result.folder), by_hand(kept, folders, config.model, protocol)
    assert sorted(kept) == [0, 1, 2, 3] and found == expected
    rows = read_csv(result.folder / "accuracy.csv")
    assert [float(r["accuracy"]) for r in rows] == pytest.approx([percent(c) for c in found.values()])
    assert len({found[after, "test", "step-1"] for after in range(4)}) > 1, "training changes the answers"
    if protocol != "task":
        other = by_hand(kept, folders, config.model, "task")
        assert any(found[key] != other[key] for key in other), "rivals matter on this data"
        assert all(found[key] == other[key] for key in other if key[1] == "heldout")
    assert ("cil_average" in result.summary) == (protocol == "class")
    if protocol == "class":
        seen = [percent(expected[after, "test", "seen"]) for after in (1, 2, 3)]
        mean = np.mean([percent(expected[3, "test", task]) for task in TASKS])
        assert abs(seen[2] - mean) > 0.5, "pooled over images, not the mean of the steps"
        assert result.summary["cil_average"] == pytest.approx(np.mean(seen))
        assert result.summary["cil_last"] == pytest.approx(seen[2])


@pytest.mark.slow
def test_the_zero_shot_model_is_asked_again_as_classes_arrive(config, folders, kept, monkeypatch):
    calls, original = [], runner._evaluate
    monkeypatch.setattr(runner, "_evaluate", lambda *a: calls.append(1) or original(*a))
    result = run(replace(config, strategy="zero-shot", options={}), Screen(quiet=True))
    weights = {after: kept[0] for after in range(4)}
    found = cells(result.folder)
    assert found == by_hand(weights, folders, config.model, "class") and len(calls) == 4
    step_1 = [found[after, "test", "step-1"][0] for after in range(1, 4)]
    assert step_1 == sorted(step_1, reverse=True) and step_1[0] > step_1[-1], "more rivals never help"
    assert result.summary["retention"] == pytest.approx(100), "steps to come are scored alike in every row"


@pytest.mark.slow
@pytest.mark.parametrize("protocol", plans.PROTOCOLS)
def test_training_looks_at_the_classes_of_its_task_alone(config, protocol):
    widths = {}

    @STRATEGIES.register("watching-logits")
    class Watching(Strategy):
        def compute_loss(self, batch):
            name = self.experience.domain.name
            widths.setdefault(name, set()).add(self.mb_output.shape[1])
            prompts = [TEMPLATES[0].format(c) for c in self.experience.domain.classnames]
            texts = self.encoder.encode_texts(self.encoder.tokenize(prompts))
            expected = self.encoder.logits(self.encoder.encode_images(batch.images), texts)
            torch.testing.assert_close(self.mb_output, expected, rtol=1e-4, atol=1e-4)
            assert int(batch.labels.max()) < self.mb_output.shape[1]
            return super().compute_loss(batch)

    try:
        run(
            replace(config, strategy="watching-logits", protocol=protocol, options={**QUICK, "iterations": 2}),
            Screen(quiet=True),
        )
    finally:
        STRATEGIES._objects.pop("watching-logits")
    assert widths == dict(zip(TASKS, ({size} for size in SIZES), strict=True))


def test_rivals_count_in_evaluation_only(encoder, toy_domain):
    classifier = PromptClassifier(encoder)
    for label, name in enumerate(("red", "green")):
        classifier.register_domain(label, toy_domain(name, 3 + label))
    classifier.compete(0, [1])
    assert len(classifier.train().head(0)) == 3 and len(classifier.eval().head(0)) == 7
    classifier.compete(0)
    assert len(classifier.head(0)) == 3


@torch.no_grad()
def test_a_class_that_two_tasks_share_is_one_class(encoder, toy_domain):
    """The same prompt in another batch differs in its last bits, so rounding would decide a tie between the two."""
    first = toy_domain("a")
    names = {0: ("cat", "dog"), 1: ("fox", "dog", "gnu"), 2: ("dog", "cat")}
    templates = {0: first.templates, 1: first.templates, 2: ("another {}.",)}
    classifier = PromptClassifier(encoder).eval()
    for label in names:
        classifier.register_domain(label, replace(first, classnames=names[label], templates=templates[label]))
    classifier.compete(0, [1, 2])
    expected = [classifier.text_features(0), classifier.text_features(1)[[0, 2]], classifier.text_features(2)]
    assert torch.equal(classifier.head(0), torch.cat(expected)), "fox and gnu, and both of other templates"


@pytest.mark.slow
def test_a_killed_run_keeps_the_rows_of_all_classes_so_far(config, killed, tmp_path):
    whole = run(replace(config, out=str(tmp_path / "whole")), Screen(quiet=True))
    killed(lambda: run(config, Screen(quiet=True)), runner, "_evaluate", 4)
    assert (2, "test", "seen") in cells(resolve(config).folder)
    result = run(config, Screen(quiet=True))
    assert cells(result.folder) == cells(whole.folder) and result.summary == pytest.approx(whole.summary, nan_ok=True)


@pytest.mark.slow
def test_the_leaderboard_shows_the_papers_numbers_and_marks_the_rest(config):
    usual = run(config, Screen(quiet=True))
    for change in ({"protocol": "agnostic"}, {"shots": 2}, {"limit": 5}):
        run(replace(config, **change), Screen(quiet=True))
    table = leaderboard([config.out])
    assert list(table.columns)[29:32] == ["protocol", "shots", "limit"] and len(table) == 4
    plain = table[table.protocol.isna() & table.shots.isna() & table.limit.isna()].iloc[0]
    assert plain.benchmark == "cil-zoo-3" and plain.edition == "own"
    assert (plain.average, plain["last"]) == pytest.approx((usual.summary["cil_average"], usual.summary["cil_last"]))
    assert usual.summary["average"] != pytest.approx(usual.summary["cil_average"])
    assert table.protocol.dropna().tolist() == ["agnostic"]
    assert table.shots.dropna().tolist() == [2] and table.limit.dropna().tolist() == [5]
    other = table[table.protocol == "agnostic"].iloc[0]
    summary = json.loads((resolve(replace(config, protocol="agnostic")).folder / "run.json").read_text())["summary"]
    assert (other.average, other["last"]) == pytest.approx((summary["average"], summary["last"]))
