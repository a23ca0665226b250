"""What was understood of data, as `bench`, `measure` and `data verify` show it."""

import io
from dataclasses import replace

import pytest
import torch
from rich.console import Console

from benchmarks.data.dataset import TensorImages
from benchmarks.data.domain import Domain
from harness.display.data_summary import are_codes, facts, print_data_summary
from models.loading.load import prompt_reader


def images(labels):
    return TensorImages(torch.zeros(len(labels), 3, 8, 8, dtype=torch.uint8), labels)


def domain(name="pets", names=("cat", "dog", "emu", "fox"), train=(0, 0, 0, 1, 1, 2), test=(0, 1, 2, 2, 3), **more):
    sources = {"train": "the folder Training/", "test": "the validation split, there is no labelled test split"}
    return Domain(
        name, names, ("a photo of a {}.", "the {}."), images(train), None, images(test), split_sources=sources, **more
    )


def shown(domains, **more):
    said, console = [], Console(file=io.StringIO(), width=110)
    print_data_summary(domains, lambda text, style=None: said.append(text), console.print, **more)
    return said, console.file.getvalue()


def test_one_dataset_has_a_line_for_each_fact():
    said, _ = shown([domain()])
    assert said == [
        '  pets: 4 classes: cat, dog, emu, ...; prompt "a photo of a cat.", first of 2 templates',
        "    train: 6 images, 0 to 3 of a class (the folder Training/)",
        "    test: 5 images, 1 to 2 of a class (the validation split, there is no labelled test split)",
        "warning: 1 of the 4 classes of pets has no training image (fox): it is not trained",
    ]


def test_the_prompt_is_what_the_model_reads_of_it():
    names = ("high resolution studio photograph of one single star", "cat")
    said, _ = shown([domain(names=names, train=(0, 1), test=(0, 1))], reader=prompt_reader("tiny"))
    assert 'prompt "a photo of a high resolution studio photograph of one"' in said[0]


def test_held_out_data_are_only_tested():
    said, _ = shown([domain(), replace(domain("held"), train=images(()))], trained=1)
    assert [line for line in said if line.startswith("  held")] and sum(line.startswith("    train") for line in said) == 1
    assert not any("held has" in line for line in said)


def test_classes_without_a_test_image_are_named():
    said, _ = shown([domain(train=(0, 1, 2, 3), test=(0, 0))])
    assert said[-1] == (
        "warning: 3 of the 4 classes of pets have no test image (dog, emu, fox): their accuracy is not measured"
    )


def test_many_datasets_are_a_row_each():
    said, table = shown([domain(f"d{i}", train=(0, 1, 2, 3), test=(0, 1, 2, 3)) for i in range(11)])
    rows = [line.split() for line in table.splitlines()]
    assert rows[1][:6] == ["d0", "4", "4", "(1)", "4", "(1)"] and len(rows) == 12
    assert said == [
        "  in brackets: images of one class, least and most",
        "  train: the folder Training/; test: the validation split, there is no labelled test split",
    ]


def test_steps_of_one_dataset_are_one():
    parts = [
        replace(domain(f"step-{k}", names, (0, 1), (0, 1)), part_of="pets") for k, names in enumerate((("a", "b"), ("c", "d")))
    ]
    [found] = facts(parts)
    assert found.classes() == "4 classes in 2 steps: a, b, c, ..." and found.counts["train"] == [1, 1, 1, 1]


@pytest.mark.parametrize(
    ("names", "codes"),
    [
        (("0", "1", "2"), True),
        (("0.", "1."), True),
        (("class 1", "class 2"), True),
        (("n01440764", "n01443537"), True),
        (("boeing 707", "747"), False),
        (("zero", "one"), False),
        (("1", "cat"), False),
    ],
)
def test_numbers_as_names_are_warned_of_with_the_flag_that_helps(names, codes):
    assert are_codes(names) is codes
    said, _ = shown([domain(names=names, train=range(len(names)), test=range(len(names)))])
    assert any("--classnames FILE gives real names" in line for line in said) is codes
    said, _ = shown([domain(names=names, train=range(len(names)), test=range(len(names)), published=True)])
    assert not any("--classnames" in line for line in said), "the papers' digits"
