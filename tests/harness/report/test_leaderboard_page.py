"""The page of the leaderboard: its tables, filters, links, and that it needs no network."""

import base64
import re
from pathlib import Path
from urllib.parse import unquote

import pytest

import cli
from harness.records.leaderboard import COLUMNS, table_of
from harness.records.runs import read
from harness.report.leaderboard_page import page
from harness.report.tables import number


@pytest.fixture(scope="module")
def board(results, parse):
    """The page of the records with the published rows, as text and elements."""
    table, by_row = table_of([run for run in read([results]) if run.finished], with_published=True)
    text = page(table, by_row, results.parent, "leaderboard results --published")
    return text, parse(text)


def test_it_asks_the_network_for_nothing(board):
    _, elements = board
    for tag, attributes in elements.tags:
        assert tag not in ("link", "img", "iframe", "object", "embed", "base", "form") and "src" not in attributes, tag
        assert not any(name.startswith("on") for name in attributes)
        # The only addresses outside are links to papers.
        # The only addresses outside are links to papers.
        address = attributes.get("href", "results")
        assert re.match(r"results|data:text/csv;|https://arxiv\.org/abs/", address), address
    [policy] = [a["content"] for t, a in elements.tags if t == "meta" and a.get("http-equiv") == "Content-Security-Policy"]
    assert policy.startswith("default-src 'none'") and [t for t, _ in elements.tags].count("script") == 1


def test_editions_are_in_separate_tables_and_one_is_chosen(board):
    _, elements = board
    sections = [a for t, a in elements.tags if t == "section"]
    assert {a["data-edition"] for a in sections} == {"mini", "full"}
    assert {a["data-protocol"] for a in sections if a["data-benchmark"] == "xtail"} == {"agnostic"}
    assert {a["data-protocol"] for a in sections if a["data-benchmark"].startswith("cil-")} == {"class"}
    options = "".join(elements.text).split("benchmark", 1)[0]
    assert options.rindex("mini") < options.rindex("full"), "the edition that has runs is chosen first"
    values = [a["value"] for t, a in elements.tags if t == "option"]
    assert values[:2] == ["mini", "full"] and values.count("") == 2, "all is a choice for benchmarks and protocols only"


def test_rows_records_and_commands(board, results):
    text, elements = board
    shown = "".join(elements.text)
    # Last of the seeds 0 to 2: 66, 67 and 68.
    assert "67.0 ± 1.0" in shown and "<script>alert" in shown and "<script>alert" not in text
    links = [a["href"] for t, a in elements.tags if t == "a" and a["href"].endswith("run.json")]
    assert len(links) == 2 * 5, "in the table and next to the command, one per finished run"
    assert all((results.parent / unquote(link)).is_file() for link in links)
    assert shown.count("python cli.py bench --config") == 5
    assert "https://arxiv.org/abs/2303.06628" in text
    [csv] = [a["href"] for t, a in elements.tags if a.get("download") == "leaderboard.csv"]
    rows = base64.b64decode(csv.partition("base64,")[2]).decode().splitlines()
    assert rows[0].startswith(",".join(COLUMNS)) and f"{len(rows) - 1} rows from 5 finished runs" in shown


def test_a_number_that_rounds_to_zero_has_no_sign():
    assert number(-0.01, 1, 0.04).text == "0.0 ± 0.0" and number(-1234.5, 1).text == "-1,234.5"


def test_an_empty_leaderboard_has_a_page(parse):
    table, by_row = table_of([])
    assert "There are no finished runs" in "".join(parse(page(table, by_row, Path.cwd())).text)


def test_a_page_that_cannot_be_written(results, capsys):
    assert cli.main(["leaderboard", str(results), "--html", "/dev/null/x", "--quiet"]) == 2
    assert "Cannot write /dev/null/x" in capsys.readouterr().err
