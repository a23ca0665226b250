"""Names in list flags: separated by commas or blanks, with commas in names, and names with two meanings."""

import pytest

import cli
from benchmarks.catalog import find, shadows
from benchmarks.names import join_names, names_from_words, split_names
from harness.commands.bench import configs
from harness.config.options import seeds_in
from models.registry import UserError


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A working directory with the folders `signs, 2023`, `digits` and `root/a,b`."""
    work = tmp_path / "work"
    for folder in ("signs, 2023", "digits", "root/a,b", "root/digits", "root/letters"):
        (work / folder / "x").mkdir(parents=True)
    monkeypatch.chdir(work)
    return work


@pytest.mark.parametrize(
    ("words", "names"),
    [
        (["A,B", "C"], ("A", "B", "C")),
        (["A,", "B"], ("A", "B")),
        (["A , B"], ("A", "B")),
        (["", ","], ()),
        (["signs, 2023"], ("signs, 2023",)),
        (["signs, 2023,digits", "C"], ("signs, 2023", "digits", "C")),
        (["digits,signs, 2023"], ("digits", "signs, 2023")),
        (["signs, 2023:label=x,C"], ("signs, 2023:label=x", "C")),
        (["a,b"], ("a,b",)),
        ([r"signs\, 2024,C"], ("signs, 2024", "C")),
    ],
)
def test_names_of_words(place, words, names):
    assert names_from_words(words, "root") == names


def test_names_in_a_text(place):
    assert split_names("a,b") == ("a", "b") and split_names(r"a\,b,c") == ("a,b", "c") and split_names(["a,b"]) == ("a,b",)
    assert split_names(join_names(("a,b", "c"))) == ("a,b", "c")
    assert names_from_words(["a,b"]) == ("a", "b")


def run(*words):
    return configs(cli.parser().parse_args(["bench", *words]))


def test_every_list_flag_of_bench(place):
    for words in (["A,B", "C"], ["A", "B", "C"], ["A,B,C"]):
        [config] = run("stream", "--tasks", *words, "--heldout", *words, "--measures", *words, "--plugin", *words)
        assert config.tasks == config.heldout == config.measures == config.plugins == ("A", "B", "C")
    [config] = run("stream", "--tasks", "signs, 2023", "digits")
    assert config.tasks == ("signs, 2023", "digits")
    assert run("mtil", "--order", "A,B")[0].order == "A,B" and run("mtil", "--order", "A", "B")[0].order == ("A", "B")
    for words in (["0,1", "2"], ["0", "1", "2"], ["0-2"], ["0,1-2"]):
        assert [config.seed for config in run("mtil", "--seed", *words)] == [0, 1, 2]
    with pytest.raises(UserError, match="--seed takes whole numbers and ranges such as 0,1,2 or 0-4, got 'x'"):
        run("mtil", "--seed", "x")
    with pytest.raises(UserError, match="Which benchmark\\? Write it first, before the flags"):
        run("--tasks", "A", "stream")
    assert seeds_in(["3", "1-2"]) == [3, 1, 2]


def test_a_configuration_file_has_lists(place):
    (place / "run.toml").write_text('benchmark = "stream"\ntasks = ["a, b", "c"]\nheldout = "d\\\\, e,f"\n')
    [config] = run("--config", "run.toml")
    assert config.tasks == ("a, b", "c") and config.heldout == ("d, e", "f")


def test_a_builtin_name_wins_and_the_folder_is_mentioned(place):
    for name, note in (
        ("digits", "digits is read as a domain of the mini edition. Write ./digits for the folder."),
        ("letters", "letters is read as a domain of the mini edition. Write root/letters for the folder."),
        ("shapes", None),
    ):
        source = find(name, None, "root")
        assert source.edition == "mini" and shadows([source]) == ((note,) if note else ())
    assert find("./digits", None, "root").edition == "own" and shadows([find("./digits", None, "root")]) == ()
    (place / "root" / "gtsrb").mkdir()
    assert shadows([find("gtsrb", None, "root")]) == ()
    (place / "gtsrb").mkdir()
    assert shadows([find("gtsrb", None, "root")]) == (
        "gtsrb is read as a dataset of the papers. Write ./gtsrb for the folder.",
    )
