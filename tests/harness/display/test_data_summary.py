"""The summary of data that `bench`, `measure` and `data verify` print."""

import io
from dataclasses import replace

import pytest
import torch
from rich.console import Console

from benchmarks.data.dataset import TensorImages
from benchmarks.data.domain import Domain
from harness.display.data_summary import are_codes, print_data_summary, summarise_datasets
from models.loading.load import prompt_reader


def images(labels):
    return TensorImages(torch.zeros(len(labels), 3, 8, 8, dtype=torch.uint8), labels)


def domain(name="pets", names=("cat", "dog", "emu", "fox"), train=(0, 0, 0, 1, 1, 2), test=(0, 1, 2, 2, 3), **more):
    sources = {"train": "the folder Training/", "test": "the validation split, there is no labelled test split"}
    return Domain(
        name, names, ("a photo of a {}.", "the {}."), images(train), None, images(test), split_sources=sources, **more
    )


def shown(domains, **more):
    lines, console = [], Console(file=io.StringIO(), width=110)
    print_data_summary(domains, lambda text, style=None: lines.append(text), console.print, **more)
    return lines, console.file.getvalue()


def test_one_dataset_is_described_in_lines():
    lines, _ = shown([domain()])
    assert lines == [
        '  pets: 4 classes: cat, dog, emu, ...; prompt "a photo of a cat.", first of 2 templates',
        "    train: 6 images, 0 to 3 per class (the folder Training/)",
        "    test: 5 images, 1 to 2 per class (the validation split, there is no labelled test split)",
        "warning: 1 of the 4 classes of pets has no training images (fox). This class is not trained.",
    ]


def test_the_prompt_is_cut_as_the_model_reads_it():
    names = ("high resolution studio photograph of one single star", "cat")
    lines, _ = shown([domain(names=names, train=(0, 1), test=(0, 1))], reader=prompt_reader("tiny"))
    assert 'prompt "a photo of a high resolution studio photograph of one"' in lines[0]


def test_held_out_data_show_only_the_test_split():
    lines, _ = shown([domain(), replace(domain("held"), train=images(()))], trained=1)
    assert [line for line in lines if line.startswith("  held")] and sum(line.startswith("    train") for line in lines) == 1
    assert not any("held has" in line for line in lines)


def test_classes_without_a_test_image_are_named():
    lines, _ = shown([domain(train=(0, 1, 2, 3), test=(0, 0))])
    assert lines[-1] == (
        "warning: 3 of the 4 classes of pets have no test images (dog, emu, fox). "
        "The accuracy on these classes is not measured."
    )


def test_many_datasets_are_one_table():
    lines, table = shown([domain(f"d{i}", train=(0, 1, 2, 3), test=(0, 1, 2, 3)) for i in range(11)])
    rows = [line.split() for line in table.splitlines()]
    assert rows[1][:6] == ["d0", "4", "4", "(1)", "4", "(1)"] and len(rows) == 12
    assert lines == [
        "  in parentheses: images per class, smallest to largest",
        "  train: the folder Training/; test: the validation split, there is no labelled test split",
    ]


def test_the_steps_of_a_class_incremental_stream_are_one_dataset():
    steps = [
        replace(domain(f"step-{k}", names, (0, 1), (0, 1)), part_of="pets") for k, names in enumerate((("a", "b"), ("c", "d")))
    ]
    [summary] = summarise_datasets(steps)
    assert summary.classes_text() == "4 classes in 2 steps: a, b, c, ..." and summary.counts["train"] == [1, 1, 1, 1]


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
def test_a_warning_on_names_that_are_numbers_names_the_flag(names, codes):
    assert are_codes(names) is codes
    lines, _ = shown([domain(names=names, train=range(len(names)), test=range(len(names)))])
    assert any("Give real names with --classnames FILE" in line for line in lines) is codes
    lines, _ = shown([domain(names=names, train=range(len(names)), test=range(len(names)), published=True)])
    assert not any("--classnames" in line for line in lines), "the papers' digits"
