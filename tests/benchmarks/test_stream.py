"""`stream`: any domains in the given order, from either edition, folders, or a mixture."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmarks import mini, settings
from benchmarks.plan import Ask
from benchmarks.scenario import make
from benchmarks.stream import stream
from harness.config.resolve import resolve
from harness.config.run_config import RunConfig
from models.registry import UserError


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A working directory with a folder of images, `pets`."""
    monkeypatch.setenv("PERENNIAL_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    for split, count in (("train", 4), ("val", 2), ("test", 3)):
        for k, label in enumerate(("cat", "dog")):
            (tmp_path / "pets" / split / label).mkdir(parents=True)
            for i in range(count):
                pixels = np.full((16, 16, 3), 100 * k + i, dtype=np.uint8)
                Image.fromarray(pixels).save(tmp_path / "pets" / split / label / f"{i}.png")
    return tmp_path


@pytest.fixture
def drawn(monkeypatch, toy_domain):
    """Toy domains in place of the mini edition's: rendering those takes seconds."""
    monkeypatch.setattr(mini, "build", lambda name, progress=None: toy_domain(name))


def test_a_plan(here):
    plan = stream(Ask(tasks=("shapes", "logos")))
    assert (plan.benchmark, plan.edition, plan.order, plan.protocol) == ("stream", "mini", "custom", "task")
    assert plan.names == ("shapes", "logos") and plan.heldout == ("buttons", "digits", "objects")
    assert not plan.full_size and not plan.whole_train and plan.reference == ("mini", "mini")
    assert plan.settings == settings.mtil() and plan.tiny_settings == settings.mini("mtil")


@pytest.mark.parametrize(
    ("tasks", "edition", "full_size"),
    [
        (("DTD", "food101"), "full", True),
        (("mnist", "logos"), "mini", False),
        (("logos", "DTD"), "own", True),
        (("mnist", "pets"), "own", False),
        (("./pets",), "own", False),
    ],
)
def test_the_edition_follows_from_the_names(here, tasks, edition, full_size):
    plan = stream(Ask(tasks=tasks))
    assert (plan.edition, plan.full_size) == (edition, full_size)
    assert plan.reference == (("imagenet", "conceptual_captions") if full_size else ("mini", "mini"))


def test_a_mixture_is_built_in_the_order_of_the_names(here, drawn, full_data):
    made = make("stream", tasks="DTD, pets ,logos", heldout="shapes,Food", data_root=str(full_data), preprocess=8, cache=False)
    assert [e.domain.name for e in made.train_stream] == ["DTD", "pets", "logos"]
    assert [e.domain.name for e in made.streams["heldout"]] == ["shapes", "Food"]
    assert [len(e.dataset) for e in made.streams["test"]] == [4, 6, 24]
    # 6 training images of the paper's DTD are far from its 1,880, and 4 test images of Food from its 25,250.
    assert any("DTD" in line for line in made.differences) and any("Food" in line for line in made.differences)
    assert not any("pets" in line or "logos" in line for line in made.differences)


def test_files_that_go_with_a_dataset_of_ones_own(here, drawn):
    Path("names.txt").write_text("grey cat\nblack dog\n")
    Path("prompts.txt").write_text("my {}.\n")
    ask = {"tasks": ("logos", "pets"), "classnames": "names.txt", "templates": "prompts.txt"}
    made = make("stream", **ask, preprocess=8, cache=False)
    logos, pets = (e.domain for e in made.train_stream)
    assert pets.classnames == ("grey cat", "black dog") and pets.templates == ("my {}.",)
    assert logos.classnames[0] == "logos 0" and logos.templates[0] == "a photo of a {}."
    before = resolve(RunConfig("stream", **ask))
    Path("prompts.txt").write_text("your {}.\n")
    assert resolve(RunConfig("stream", **ask)).key != before.key, "their text decides numbers"


def test_the_order_of_the_names_is_the_order(here):
    one, two = (resolve(RunConfig("stream", tasks=tasks)) for tasks in (("logos", "shapes"), ("shapes", "logos")))
    assert one.order_label != two.order_label and one.folder.parent.name == f"stream-mini-{one.order_label}"


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (Ask(), "bench stream needs --tasks"),
        (Ask(tasks=()), "bench stream needs --tasks"),
        (Ask(tasks=("mnits",)), "Did you mean mnist"),
        (Ask(tasks=("logos", "nowhere/at/all")), "It is neither a built-in domain"),
        (Ask(tasks=("logos", "shapes", "logos")), "The stream names logos twice"),
        (Ask(tasks=("pets", "./pets")), "The stream names pets twice"),
        (Ask(tasks=("pets",), heldout=("pets/",)), "pets cannot be both trained and held out"),
        (Ask(tasks=("logos",), heldout=("logos",)), "logos cannot be both trained and held out"),
        (Ask(tasks=("logos",), heldout=("shaps",)), "Did you mean shapes"),
        (Ask(tasks=("logos",), order="I"), "leave out --order"),
        (Ask(edition="mini", tasks=("logos", "DTD")), "'DTD' belongs to the full edition"),
        (Ask(edition="full", tasks=("pets",)), "'pets' is your own data"),
        (Ask(tasks=("logos",), dataset="x"), "takes no --dataset"),
        (Ask(tasks=("logos",), steps=3), "takes no --steps"),
        (Ask(tasks=("logos",), templates="t.txt"), "exactly one task with your data, not 0"),
        (Ask(tasks=("pets",), templates="missing.txt"), r"Cannot read missing\.txt"),
    ],
)
def test_mistakes(here, ask, message):
    with pytest.raises(UserError, match=message):
        stream(ask)


def test_missing_data_is_told_by_the_check(here):
    stream(Ask(tasks=("logos", "pets"))).check()
    with pytest.raises(UserError, match="The dataset DTD is missing"):
        stream(Ask(tasks=("logos", "DTD"), data_root="nowhere")).check()
    with pytest.raises(UserError, match="The dataset Food is missing"):
        stream(Ask(tasks=("logos",), heldout=("Food",), data_root="nowhere")).check()


@pytest.mark.parametrize(
    ("ask", "heldout"),
    [
        (Ask(tasks=("pets",)), ("buttons", "digits", "objects")),
        (Ask(tasks=("digits", "logos")), ("buttons", "objects")),
        (Ask(tasks=("pets", "DTD")), ()),
        (Ask(tasks=("pets",), heldout=("none",)), ()),
        (Ask(tasks=("pets",), heldout=()), ()),
        (Ask(tasks=("pets",), heldout=("shapes",)), ("shapes",)),
    ],
)
def test_something_is_held_out_unless_papers_data_are_trained(here, ask, heldout):
    assert stream(ask).heldout == heldout
