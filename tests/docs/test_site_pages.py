"""The generated pages: docstrings as Markdown, and a card for every method."""

import pytest

from strategies import TARGETS
from tools import site_pages

DOCSTRING = """\
Fine-tune near the start. The loss is

    loss = ce + l2 * d

        with d >= 0

and nothing else.

Source:
    A paper.

    Its code.

Command:
    `python cli.py bench`

The end."""


def test_sections_get_headings_and_formulas_stay_aligned():
    assert site_pages.prose(DOCSTRING) == (
        "Fine-tune near the start. The loss is\n\n```text\nloss = ce + l2 * d\n\n    with d >= 0\n```\n\nand nothing else.\n\n"
        "### Source\n\nA paper.\n\nIts code.\n\nThe end."
    )


def test_an_asterisk_in_a_name_is_not_markup():
    assert site_pages.starred("ZSCL* and `a*b` in *it") == "ZSCL\\* and `a*b` in \\*it"
    assert site_pages.code("a*b|c") == "`a*b\\|c`"


@pytest.fixture(scope="module")
def generated():
    return site_pages.pages()


@pytest.mark.slow
def test_every_method_has_a_card_with_result_state_and_options(generated):
    for name in TARGETS:
        card = generated[f"methods/{name}.md"]
        assert "Not measured yet" not in card and site_pages.STATE in card
        assert "| `lr` |" in card and f"[`{name}`]({name}.md)" in generated["methods/index.md"]
    assert "Transfer 68.1, Average 75.4, Last 83.6" in generated["methods/zscl.md"]


def test_each_row_of_a_card_has_its_command(generated):
    card = generated["methods/joint.md"]
    assert card.count("- `joint` (") == 2 and "--set joint_budget=sum`" in card


def test_the_needs_of_a_method_are_shown(generated):
    index = generated["methods/index.md"]
    assert "alpha searched on validation images (2208.05592) | validation | no |" in index
    assert "from the initial weights (2208.05592) | none | no |" in index
    assert "| training (in a memory) | no |" in index and "L2 (2303.06628) | none | yes |" in index
    assert "[`joint`](joint.md) (the updates of all tasks together)" in index
    assert (
        "with the tuning `lora`" in generated["methods/lora.md"]
        and "ZSCL\\* in its tables" in generated["methods/zscl-star.md"]
    )


def test_a_default_of_none_is_shown(generated):
    for path, page in generated.items():
        if path.startswith("methods/") and path != "methods/index.md":
            rows = [line for line in page.partition("## Options")[2].splitlines() if line.startswith("| `")]
            both = "| mini edition | full edition |" in page
            assert rows and (not both or not any("|  |" in row for row in rows)), path


def test_the_guide_for_contributors_is_a_page(generated):
    assert (
        generated["contributing.md"].startswith("# Contributing") and "A reader for a dataset" in generated["contributing.md"]
    )


def test_every_command_and_its_flags_are_on_the_page(generated):
    page = generated["reference/commands.md"]
    for heading in ("## bench", "## sweep", "### data fetch", "## list"):
        assert f"\n{heading}\n" in page
    assert "| `--shots N` |" in page and page.count("| `--shots N` |") == 1
