"""Plans of streams: names, held-out domains, protocols. No data is loaded."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

import models
from benchmarks import mini
from benchmarks.catalog import build_sources
from benchmarks.mtil import stream
from benchmarks.names import check_distinct, split_names
from benchmarks.plan import PROTOCOLS, Ask, Built, StreamPlan
from benchmarks.scenario import assemble, plan
from harness.config.run_config import RunConfig
from harness.display.screen import Screen
from harness.run.loop import run
from models.registry import UserError
from reference_data.mtil import ORDER_I, ORDER_II


def test_names_in():
    assert split_names(" a, b ,,c,") == ("a", "b", "c") and split_names(["a, b"]) == ("a, b",) and split_names("") == ()


@pytest.mark.parametrize(
    ("names", "heldout", "message"),
    [
        (["a", "b", "a", "b"], [], "The stream names a, b twice"),
        (["a"], ["b", "b"], "--heldout names b twice"),
        (["a", "seen"], [], "cannot be called 'seen'"),
        (["a"], ["seen"], "cannot be called 'seen'"),
        (["a", "b"], ["c", "b", "a"], "a, b cannot be both trained and held out"),
    ],
)
def test_no_name_twice(names, heldout, message):
    with pytest.raises(UserError, match=message):
        check_distinct(names, heldout)
    check_distinct(["a", "b"], ["c"])


def test_a_setting_of_another_benchmark_is_refused():
    for name in ("tasks", "dataset", "steps", "base", "classnames", "templates"):
        with pytest.raises(UserError, match=f"The benchmark 'mtil' takes no --{name}"):
            stream(Ask(**{name: 1 if name in ("steps", "base") else "x"}))


def test_the_papers_two_orders():
    columns = (9, 6, 7, 8, 5, 10, 0, 1, 3, 4, 2)
    assert list(ORDER_I) == sorted(ORDER_I, key=str.casefold) and len(ORDER_I) == 11
    assert tuple(ORDER_I[i] for i in columns) == ORDER_II
    for order, names in (("I", ORDER_I), ("II", ORDER_II), (None, ORDER_I), ("default", ORDER_I)):
        plan = stream(Ask(edition="full", order=order))
        assert plan.names == names and plan.heldout == () and plan.order == (order if order in ("I", "II") else "I")


def test_what_a_full_plan_is():
    full, small = stream(Ask(edition="full")), stream(Ask())
    assert (full.full_size, full.whole_train, full.reference) == (True, True, ("imagenet", "conceptual_captions"))
    assert (small.full_size, small.whole_train, small.reference) == (False, False, ("mini", "mini"))
    assert full.protocol == small.protocol == "task" and full.benchmark == small.benchmark == "mtil"


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("ask", [("mtil", {}), ("cil", {}), ("stream", {"tasks": ("logos",)})])
def test_a_protocol_that_was_asked_for(ask, protocol):
    assert plan(ask[0], Ask(protocol=protocol, **ask[1])).protocol == protocol


@pytest.mark.parametrize(
    ("ask", "heldout"),
    [
        (Ask(), mini.HELDOUT),
        (Ask(order="logos,digits"), tuple(n for n in mini.HELDOUT if n != "digits")),
        (Ask(heldout=()), ()),
        (Ask(heldout=("objects",)), ("objects",)),
        (Ask(order="logos", heldout=("mnist", "DTD")), ("mnist", "DTD")),
        (Ask(edition="full", order="DTD", heldout=("mnist", "logos")), ("mnist", "logos")),
    ],
)
def test_heldout(ask, heldout):
    assert stream(ask).heldout == heldout


def test_heldout_names_are_of_the_streams_edition_first(full_data):
    """The full edition's mnist has 10 made-up test images here. The mini edition's has another number."""
    built = stream(Ask(edition="full", order="DTD", heldout=("mnist",), data_root=str(full_data))).build(None, ("test",))
    assert len(built.heldout[0].test) == 10


def test_heldout_mistakes():
    with pytest.raises(UserError, match="Did you mean digits"):
        stream(Ask(heldout=("digit",)))
    with pytest.raises(UserError, match="--heldout names objects twice"):
        stream(Ask(heldout=("objects", "objects")))


@pytest.mark.parametrize(
    ("name", "ask", "message"),
    [
        ("mitl", Ask(), "Unknown benchmark 'mitl'. Did you mean mtil"),
        ("mtil", Ask(edition="ful"), "Unknown edition 'ful'. Did you mean full"),
        ("mtil", Ask(protocol="clas"), "Unknown protocol 'clas'. Did you mean class"),
    ],
)
def test_plan_names(name, ask, message):
    with pytest.raises(UserError, match=message):
        plan(name, ask)


def test_sources_are_read_with_the_splits_that_are_wanted(toy_domain):
    class Fake:
        def __init__(self, name):
            self.name, self.asked = name, []

        def build(self, splits, progress):
            self.asked.append(tuple(splits))
            return toy_domain(self.name)

        def differences(self, domain):
            return [f"{self.name}: {domain.name} differs"]

    trained, heldout = [Fake("a"), Fake("b")], [Fake("h")]
    built = build_sources(trained, heldout, None, ("train", "test"))
    assert [s.asked for s in (*trained, *heldout)] == [[("train", "test")], [("train", "test")], [("test",)]]
    assert [d.name for d in (*built.trained, *built.heldout)] == ["a", "b", "h"]
    assert built.differences == ["a: a differs", "b: b differs", "h: h differs"]


def test_images_are_held_out_for_validation_where_the_protocol_says_so(toy_domain):
    from dataclasses import replace

    domain = replace(toy_domain("a", train=50), val=None)
    base = replace(stream(Ask()), names=("a",), heldout=(), build=lambda progress, splits: Built([domain], []))
    sizes = {}
    for whole in (False, True):
        for hold_out in (None, False, True):
            made = assemble(replace(base, whole_train=whole), hold_out=hold_out, cache=False)
            sizes[whole, hold_out] = tuple(len(made.streams[s][0].dataset) for s in ("train", "val"))
    held, all_ = (45, 5), (50, 5)
    assert sizes == {
        (False, None): held, (False, False): all_, (False, True): held,
        (True, None): all_, (True, False): all_, (True, True): held,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("strategy", "order", "message"),
    [("finetune", "Flowers,Food", "2 datasets are missing"), ("zscl", "DTD", "No reference images: put ImageNet's")],
)
def test_missing_data_is_named_before_a_model_is_loaded(tmp_path, monkeypatch, full_roots, strategy, order, message):
    def load(*args):
        raise AssertionError("a model was loaded")

    monkeypatch.setattr(models, "load", load, raising=False)
    full_roots.write(tmp_path, ["DTD"])
    config = RunConfig("mtil", strategy, edition="full", order=order, data_root=str(tmp_path), out=str(tmp_path / "out"))
    with pytest.raises(UserError, match=message):
        run(config, Screen(quiet=True))
    assert not (tmp_path / "out").exists()


def test_planning_imports_nothing_heavy():
    code = (
        "import sys; from benchmarks import BENCHMARKS; from benchmarks.plan import Ask\n"
        "BENCHMARKS.get('mtil')(Ask(edition='full')); BENCHMARKS.get('cil')(Ask())\n"
        "BENCHMARKS.get('stream')(Ask(tasks=('logos',)))\n"
        "print({'torch', 'avalanche', 'numpy', 'PIL'} & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=Path(__file__).parents[2], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout == "set()\n"


@pytest.mark.parametrize("whole", [False, True])
def test_a_method_that_chooses_has_validation_images_of_all_domains(toy_domain, whole):
    """They are taken out of the training data even if the protocol trains on all of it. Held-out domains are never trained."""
    own, none, held = toy_domain("own"), toy_domain("none", seed=1, val=0), toy_domain("held", seed=2, val=0)
    none, held = replace(none, val=None), replace(held, val=None)
    asked = []

    def build(progress, splits, held_splits=("test",)):
        asked.append(tuple(held_splits))
        return Built([own, none], [held])

    base = StreamPlan("toy", "mini", "I", ("own", "none"), ("held",), build)
    made = assemble(replace(base, whole_train=whole), select=True, cache=False)
    experience = made.streams["train"][1]
    assert [len(e.dataset) for e in made.streams["train"]] == [48, 44] and len(experience.domain.val) == 4
    assert [(d.name, len(d.val), d.train) for d in experience.heldout_domains] == [("held", 4, None)]
    assert asked == [("train", "val", "test")]
    plain = assemble(replace(base, whole_train=True), cache=False)
    assert [len(e.dataset) for e in plain.streams["train"]] == [48, 48] and asked[1] == ("test",)
    assert plain.streams["train"][0].heldout_domains[0].val is None
