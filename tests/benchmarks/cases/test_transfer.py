"""Halves of domains, domains that share classes, and the plan of the transfer study."""

import pytest
import torch

from benchmarks import mini
from benchmarks.cases import transfer
from benchmarks.cases.case import Made
from benchmarks.cases.halves import halves, split_labels
from benchmarks.catalog import find
from benchmarks.data.dataset import targets_of
from benchmarks.data.overlap import shared_classes
from benchmarks.plan import Ask
from models.registry import UserError


@pytest.mark.parametrize("count", [2, 3, 26, 101])
def test_halves_share_no_class_and_separate_neighbours(count):
    first, second = split_labels(count, "letters")
    assert sorted(first + second) == list(range(count)) and abs(len(first) - len(second)) <= 1
    for even in range(0, count - 1, 2):
        assert (even in first) != (even + 1 in first)
    assert split_labels(count, "letters") == (first, second)


def test_halves_depend_on_the_name_and_need_two_classes():
    assert len({tuple(split_labels(26, name)[0]) for name in ("letters", "nature", "cars")}) == 3
    with pytest.raises(ValueError, match="'one' has 1 class"):
        split_labels(1, "one")


def test_a_half_has_its_classes_images_in_every_split(toy_domain):
    whole = toy_domain("signs", 5)
    a, b = [half.build(("train", "val", "test")) for half in halves(Made("signs", lambda splits, progress: whole))]
    assert (a.name, b.name, a.part_of, b.part_of) == ("signs-a", "signs-b", "signs", "signs")
    assert sorted(a.classnames + b.classnames) == sorted(whole.classnames) and a.templates == whole.templates
    for split in ("train", "val", "test"):
        images = getattr(whole, split)
        of_class = {name: [image for image, label in images if whole.classnames[label] == name] for name in whole.classnames}
        for half in (a, b):
            pairs = list(getattr(half, split))
            assert targets_of(getattr(half, split)) == [label for _, label in pairs]
            for label, name in enumerate(half.classnames):
                mine = [image for image, target in pairs if target == label]
                assert len(mine) == len(of_class[name]) and all(map(torch.equal, mine, of_class[name]))


def test_shared_classes_are_found_whatever_their_spelling(toy_domain):
    from dataclasses import replace

    domains = [replace(toy_domain(name, 2), classnames=names) for name, names in (
        ("a", ("Map-Pin", "cat")), ("b", ("map_pin", "dog")), ("c", ("red map pin", "cats")), ("d", ("DOG", "cow")),
    )]  # fmt: skip
    assert shared_classes(domains) == [["a", "b"], ["b", "d"]]
    parts = [half.build(("train", "val", "test")) for half in halves(Made("a", lambda splits, progress: domains[0]))]
    assert shared_classes([domains[0], *parts]) == [["a", "a-a"], ["a", "a-b"]]


def test_the_plan_has_every_task_of_paint_and_the_halves():
    plan = transfer.stream(Ask())
    assert plan.names[:8] == mini.STREAM and plan.names[8:10] == ("letters-a", "letters-b") and len(plan.names) == 14
    assert plan.details == {"halves": [[f"{name}-a", f"{name}-b"] for name in ("letters", "nature", "shapes")]}
    assert plan.heldout == mini.HELDOUT and plan.targets == () and plan.settings["paint-single"]["curve"]
    full = transfer.stream(Ask(edition="full", data_root="nowhere"))
    assert full.names[-2:] == ("resisc45-a", "resisc45-b") and full.full_size
    with pytest.raises(UserError, match="missing"):
        full.check()
    for wrong in ({"edition": "own"}, {"order": "II"}, {"tasks": ("letters",)}):
        with pytest.raises(UserError, match="transfer-study"):
            transfer.stream(Ask(**wrong))


def test_halves_of_a_papers_dataset_in_its_real_layout(full_roots, tmp_path):
    full_roots.write(tmp_path, ["dtd"])
    source = find("dtd", "full", str(tmp_path))
    whole, parts = source.build(("train", "val", "test")), [half.build(("train", "val", "test")) for half in halves(source)]
    assert sorted(parts[0].classnames + parts[1].classnames) == sorted(whole.classnames)
    assert sum(len(part.test) for part in parts) == len(whole.test)
    first, second = [half.version() for half in halves(source)]
    assert first != second and first == halves(source)[0].version()
