"""The plan and the domains of typographic attacks."""

import numpy as np
import pytest
import torch
from PIL import Image

from benchmarks import mini
from benchmarks.cases import typographic
from benchmarks.plan import Ask
from harness.config.resolve import outline
from harness.config.run_config import RunConfig
from models.registry import UserError

STUDIES = (typographic.stream, typographic.control)


def test_mini_plan():
    plan = typographic.stream(Ask(data_root="nowhere"))
    assert plan.names == ("wrong-words",) and plan.targets == ("new-typefaces", "new-words", "other-images")
    assert plan.heldout == ("nature", *mini.HELDOUT, *plan.targets)
    assert plan.model == "tiny-words" and plan.details["background"] == "nature" and plan.edition == "mini"


def test_the_control_differs_only_in_its_task():
    ask = Ask(data_root="nowhere")
    plan, control = typographic.stream(ask), typographic.control(ask)
    assert control.benchmark == "typographic-control" and control.names == ("without-words",)
    assert (control.targets, control.heldout, control.details) == (plan.targets, plan.heldout, plan.details)
    assert (control.model, control.tiny_settings) == (plan.model, plan.tiny_settings)
    assert control.version() != plan.version()
    with pytest.raises(UserError, match="'typographic-control' takes no --order"):
        typographic.control(Ask(order="II"))
    # The order that records of the benchmark name.
    assert typographic.control(Ask(order="default", data_root="nowhere")).names == control.names


@pytest.mark.slow
def test_the_control_trains_on_the_same_images_without_words():
    """Image i of both tasks shows the same picture, so equal batches have equal pictures."""
    built = [make(Ask(data_root="nowhere")).build(None, ("train", "val", "test")) for make in STUDIES]
    (task,), (control,) = (stream.trained for stream in built)
    clean = typographic.halves(mini.build("nature"))[0]
    assert control.classnames == task.classnames == clean.classnames and len(control.train) == len(task.train)
    differs = []
    for i in range(0, len(task.train), 17):
        (written, label), (without, same) = task.train[i], control.train[i]
        assert label == same and torch.equal(without, clean.train[i % len(clean.train)][0])
        differs.append((written != without).any(dim=0).float().mean().item())
    assert min(differs) > 0.01 and max(differs) < 0.9
    assert len(control.val) == len(clean.val) and torch.equal(control.val[3][0], clean.val[3][0])
    for one, other in zip(built[0].heldout, built[1].heldout, strict=True):
        assert one.name == other.name and torch.equal(one.test[5][0], other.test[5][0])


def test_the_default_model_can_read_and_keeps_the_mini_settings():
    resolved = outline(RunConfig("typographic", "paint-single", data_root="nowhere"))
    assert (resolved.model, resolved.pretrained) == ("tiny-words", None) and resolved.options.curve
    assert (resolved.options.alphas, resolved.options.iterations, resolved.options.warmup) == (11, 150, 15)
    other = outline(RunConfig("typographic", "paint-single", model="ViT-B-32", pretrained="openai", data_root="nowhere"))
    assert (other.model, other.pretrained) == ("ViT-B-32", "openai") and (other.options.alphas, other.options.iterations) == (
        21,
        2000,
    )


def test_full_plan(tmp_path):
    plan = typographic.stream(Ask(edition="full", data_root=str(tmp_path)))
    assert plan.heldout == ("sun397", "imagenet", "cifar10", "cifar100", "stl10", "food101", "new-typefaces", "new-words")
    assert plan.full_size and plan.model is None
    with pytest.raises(UserError, match="datasets are missing"):
        plan.check()
    assert typographic.stream(Ask(dataset="dtd", data_root=str(tmp_path))).heldout[0] == "dtd"


def test_photographs_in_the_data_folder_are_targets(tmp_path):
    (tmp_path / "typographic").mkdir()
    Image.new("RGB", (5, 5)).save(tmp_path / "typographic" / "label=dog_text=cat.png")
    plan = typographic.stream(Ask(data_root=str(tmp_path)))
    assert plan.targets[-2:] == ("photographs", "photographs-two-way") and "typographic" in plan.notes[0]


@pytest.mark.slow
def test_half_of_the_classes_are_new():
    """Words and classes of the second half are in no training image."""
    source = typographic.find("nature", "mini")
    seen = typographic._attacked(source, 0, False, ("train", "val", "test"), None)
    new = typographic._attacked(source, 1, True, ("test",), None)
    names = mini.build("nature").classnames
    assert seen.classnames == names[::2] and new.classnames == names[1::2]
    assert len(seen.train) == 13 * 24 * 3 and len(new.test) == 13 * 12 * 2 and new.train is None and new.val is None


def test_a_folder_as_background(tmp_path):
    names = ("cat", "dog", "egg", "mug")
    for split, name in ((split, name) for split in ("train", "val", "test") for name in names):
        folder = tmp_path / "pets" / split / name
        folder.mkdir(parents=True)
        Image.fromarray(np.full((30, 40, 3), 20 * len(name), dtype=np.uint8)).save(folder / "1.png")
    plan = typographic.stream(Ask(dataset=str(tmp_path / "pets"), data_root="nowhere"))
    assert plan.edition == "own" and plan.heldout == ("pets", *mini.HELDOUT, "new-typefaces", "new-words")
    built = plan.build(None, ("train", "val", "test"))
    [task] = built.trained
    assert task.classnames == ("cat", "egg") and len(task.train) == 2 and task.train[0][0].size == (40, 30)
    [clean] = typographic.control(Ask(dataset=str(tmp_path / "pets"), data_root="nowhere")).build(None, ("train",)).trained
    assert clean.classnames == ("cat", "egg") and [np.asarray(image).std() for image, _ in clean.train] == [0, 0]
    new = built.heldout[-1]
    assert new.classnames == ("dog", "mug") and new.train is None and len(new.test) == 2
    assert np.asarray(new.test[0][0]).std() > 0


def test_mistakes(tmp_path):
    for asked, message in (
        (Ask(edition="own"), "needs --dataset"),
        (Ask(order="II"), "takes no --order"),
        (Ask(tasks=("letters",)), "takes no --tasks"),
        (Ask(dataset="natur"), "Did you mean 'nature'|nature"),
    ):
        with pytest.raises(UserError, match=message):
            typographic.stream(asked)
    domain = mini.build("counting")
    with pytest.raises(UserError, match="at least 4 classes"):
        typographic.halves(typographic.halves(domain)[0])
