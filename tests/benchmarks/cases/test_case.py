"""Plans of case studies: roles of their domains, settings, and records."""

from dataclasses import replace

import pytest

from benchmarks import BENCHMARKS, mini
from benchmarks.cases import paint
from benchmarks.cases.case import Made, case_plan
from benchmarks.catalog import find
from benchmarks.plan import Ask
from benchmarks.scenario import assemble
from harness.config.resolve import outline
from harness.config.run_config import RunConfig
from harness.records.run_json import retained
from harness.records.summary import summarise
from metrics.accuracy import Accuracy
from metrics.matrix import retention
from models.registry import UserError


@pytest.fixture
def toy_case(toy_domain, monkeypatch):
    """A registered case study: one task, one supported domain, and a target that has training images, which nobody sees."""

    def made(name, seed):
        return Made(name, lambda splits, progress: toy_domain(name, 3, seed=seed))

    def stream(ask):
        trained, targets = [made("words", 0)], [made("new-words", 1)]
        plan = case_plan(ask, "toy-case", "mini", trained, ("digits",), targets)
        kept = toy_domain("digits", 3, seed=2)
        build = plan.build

        def with_toy(progress, splits, heldout_splits=("test",)):
            built = build(progress, splits, heldout_splits)
            return built._replace(heldout=[kept if domain.name == "digits" else domain for domain in built.heldout])

        return replace(plan, build=with_toy)

    monkeypatch.setitem(BENCHMARKS._objects, "toy-case", stream)
    return stream


def test_targets_have_only_test_images(toy_case, toy_encoder):
    plan = toy_case(Ask())
    assert plan.heldout == ("digits", "new-words") and plan.targets == ("new-words",)
    built = assemble(plan, encoder=toy_encoder(), select=True, cache=False)
    supported, target = [experience.domain for experience in built.streams["heldout"]]
    assert len(supported.val) and target.val is None and target.train is None and len(target.test) == 24


def test_other_supported_tasks_leave_the_targets(toy_case):
    plan = toy_case(Ask(heldout=("letters", "new-words")))
    assert plan.heldout == ("letters", "new-words") and plan.targets == ("new-words",)
    assert toy_case(Ask(heldout=("none",))).heldout == ("new-words",)
    with pytest.raises(UserError, match="takes no --tasks"):
        toy_case(Ask(tasks=("letters",)))


def test_the_version_follows_code_and_data():
    one, source = Made("words", lambda splits, progress: None), find("letters")
    versions = {one.version(), replace(one, code=2).version(), replace(one, name="x").version()}
    assert len(versions | {replace(one, of=(source,)).version()}) == 4


def test_retention_leaves_targets_out(toy_case):
    identity = {"heldout": ["digits", "new-words"], "targets": ["new-words"]}
    assert retained(identity) == ("digits",) and retained({"heldout": ["digits"]}) == ("digits",)
    resolved = outline(RunConfig("toy-case", "paint-single"))
    assert resolved.retained == ("digits",)
    keys = [("test", "words"), ("heldout", "digits"), ("heldout", "new-words")]
    rows = {0: (5, 8, 1), 1: (9, 6, 9)}
    rows = {after: {key: Accuracy(n, 10) for key, n in zip(keys, row, strict=True)} for after, row in rows.items()}
    assert summarise(rows, ["words"], resolved.retained)["retention"] == 75.0
    assert retention([[90.0]], [50.0], [[60.0]], [80.0]).summary == 75.0


def test_identity_names_targets_only_where_there_are_any(toy_case):
    assert outline(RunConfig("toy-case", "paint-single")).identity()["targets"] == ["new-words"]
    assert "targets" not in outline(RunConfig("mtil", "paint-sequential")).identity()


def test_a_record_asks_for_the_same_run(toy_case):
    resolved = outline(RunConfig("toy-case", "paint-single"))
    again = replace(resolved.config, heldout=tuple(resolved.request["heldout"]))
    assert outline(again).key == resolved.key


def test_every_patching_method_records_its_curve():
    for name in ("paint-single", "paint-joint", "paint-sequential", "paint-parallel", "ties", "lines"):
        assert outline(RunConfig("paint", name)).options.curve, name
        assert not outline(RunConfig("mtil", name)).options.curve, name


def test_joint_patching_trains_each_task_as_long_as_single_patching():
    for benchmark, budget in (("paint", "sum"), ("mtil", "task")):
        assert outline(RunConfig(benchmark, "paint-joint")).options.joint_budget == budget, benchmark


def test_paint_has_the_papers_tasks():
    plan = paint.stream(Ask(edition="full", data_root="nowhere"))
    assert plan.names == ("cars", "dtd", "eurosat", "gtsrb", "kitti", "mnist", "resisc45", "sun397", "svhn")
    assert plan.heldout == ("imagenet", "cifar10", "cifar100", "stl10", "food101") and plan.full_size
    with pytest.raises(UserError, match="14 datasets are missing"):
        plan.check()
    assert paint.stream(Ask()).names == mini.STREAM and paint.stream(Ask()).heldout == mini.HELDOUT
    for wrong in ({"edition": "own"}, {"order": "II"}):
        with pytest.raises(UserError, match="bench stream"):
            paint.stream(Ask(**wrong))


def test_paint_takes_any_order_of_its_tasks():
    order = tuple(reversed(mini.STREAM))
    plan = paint.stream(Ask(order=order))
    assert (plan.names, plan.order) == (order, "custom") and plan.heldout == mini.HELDOUT
    assert paint.stream(Ask(order="default")).order == "default" and paint.stream(Ask(order=",".join(order))).names == order
    for wrong in (order[:-1], (*order, "letters"), ("digits", *order[1:])):
        with pytest.raises(UserError, match="each of its 8 tasks once"):
            paint.stream(Ask(order=wrong))
