"""Changed records: every command that reads runs refuses them and names the contradiction."""

import csv
import hashlib
import json
import shutil

import pytest

import cli
from harness import report
from harness.records.compare import CompareConfig, compare
from harness.records.files import digest, read_csv, write_json
from harness.records.leaderboard import leaderboard
from harness.records.run_check import Contradiction
from harness.records.run_json import key_of
from harness.records.runs import read, read_one
from models.registry import UserError

TASKS = ["step-1", "step-2"]


def identity(strategy="finetune", **changes):
    return {
        "benchmark": "cil-x-2", "edition": "mini", "order": "I", "tasks": TASKS, "heldout": ["h"], "strategy": strategy,
        "strategy_sha256": None, "options": {"lr": 0.1, "lr_by_task": {}}, "model": "tiny", "pretrained": None,
        "tuning": "full", "tuning_options": {}, "protocol": "class", "data_version": None, "seed": 0, "limit": 40,
        "shots": None, "measure_n": 10, **changes,
    }  # fmt: skip


@pytest.fixture
def record(honest, tmp_path):
    """Write a run of two steps with everything that a record can hold."""

    def write(root="results", level=0, updates=12, **changes):
        of = identity(**changes)
        counts = {
            (0, "test", "step-1"): (4, 10), (0, "test", "step-2"): (9, 30), (0, "heldout", "h"): (11, 20),
            (1, "test", "step-1"): (8 + level, 10), (1, "test", "step-2"): (6, 30), (1, "heldout", "h"): (9, 20),
            (1, "test", "seen"): (8 + level, 10),
            (2, "test", "step-1"): (5 + level, 10), (2, "test", "step-2"): (21, 30), (2, "heldout", "h"): (8, 20),
            (2, "test", "seen"): (26 + level, 40),
        }  # fmt: skip
        measures = [("before", j, f"step-{j}", m, 0.25 * j, 9) for j in (1, 2) for m in ("iimm", "iimm_zero_shot")]
        losses = [{"after": j, "iteration": i, "loss": 3 / (i + j + of["seed"]), "lr": 0.1} for j in (1, 2)
                  for i in range(updates // 2)]  # fmt: skip
        request = {**{n: of[n] for n in ("edition", "model", "pretrained", "tuning", "protocol", "seed", "limit", "shots")}}
        request |= {"strategy": of["strategy"], "plugins": [], "options": {**of["options"], "tuning.rank": 4}}
        return honest(
            tmp_path / root, of, counts, measures, losses, request=request, samples={"test": [10, 30], "heldout": [20]},
            started="2026-01-02T03:04:05Z", train_seconds=3.5 + level, eval_seconds=1.25, error=None,
            progress={"after": 2, "of": 2}, device="cpu",
        )  # fmt: skip

    return write


def rehashed(folder, **changes):
    """Change the identity together with the key and the name of the folder, as a careful forger does."""
    document = json.loads((folder / "run.json").read_text())
    document["identity"].update(changes)
    document["key"] = key_of(document["identity"])
    write_json(folder / "run.json", document)
    return folder.rename(folder.with_name(f"{document['identity']['strategy']}-{document['key']}"))


def edited(**values):
    """Return a change of a document. Keywords are dotted names with "__" for the dot."""

    def change(folder):
        document = json.loads((folder / "run.json").read_text())
        for name, value in values.items():
            *way, last = name.split("__")
            place = document
            for each in way:
                place = place[each]
            place[last] = value
        write_json(folder / "run.json", document)

    return change


def table(name, at, **values):
    """Return a change of one row of a table. Without values the row is removed, with `again` it is repeated."""

    def change(folder):
        with (folder / name).open(newline="") as file:
            rows = list(csv.DictReader(file))
        header = list(rows[0])
        if not values:
            del rows[at]
        elif "again" in values:
            rows.append(rows[at])
        else:
            rows[at].update(values)
        with (folder / name).open("w", newline="") as file:
            writer = csv.DictWriter(file, header)
            writer.writeheader()
            writer.writerows(rows)

    return change


ACCURACY, MEASURES = "accuracy.csv", "measures.csv"
FORGED = {
    "limit taken out": (edited(identity__limit=None), r"run\.json.* its key is \w+, but the hash of its identity is \w+"),
    "strategy renamed": (edited(identity__strategy="zscl"), "the hash of its identity"),
    "seed of the identity": (edited(identity__seed=3), "the hash of its identity"),
    "an option": (edited(identity__options__lr=0.2), "the hash of its identity"),
    "an entry more": (edited(identity__note="x"), "the hash of its identity"),
    "key": (edited(key="0123456789"), "its key is 0123456789, but the hash"),
    "seed and key": (lambda f: rehashed(f, seed=1), "request.seed is 0, but identity.seed is 1"),
    "limit and key": (lambda f: rehashed(f, limit=None), "request.limit is 40, but identity.limit is None"),
    "strategy and key": (lambda f: rehashed(f, strategy="joint"), "request.strategy is 'finetune', but identity.strategy is"),
    "options and key": (lambda f: rehashed(f, options={"lr": 1}), "request.options.lr is 0.1, but identity.options.lr is 1"),
    "folder": (lambda f: f.rename(f.with_name("finetune-0123456789")), "its folder is called finetune-0123456789"),
    "status": (edited(status="done"), "its status is 'done', not one of"),
    "finished too early": (edited(progress__after=1), "but its progress is 1 of 2"),
    "finished with an error": (edited(error="RuntimeError: x"), "it ended with an error"),
    "no summary": (edited(summary=None), "it has no summary"),
    "a summary": (edited(summary__last=99.0), r"summary.last is 99.0000, but by accuracy.csv it is 60.0000"),
    "a summary taken out": (edited(summary__forgetting=None), "summary.forgetting is missing, but"),
    "a summary of the classes": (edited(summary__cil_last=99.0), "summary.cil_last is 99"),
    "a summary that no table has": (edited(summary__best=99.0), "summary.best is 99.0000, but .* it is undefined"),
    "IIMM of the summary": (edited(summary__iimm_mean=0.9), "summary.iimm_mean is 0.9000, but by measures.csv it is 0.3750"),
    "a measure": (table(MEASURES, 1, value="0.9"), "summary.iimm_mean is 0.3750, but by measures.csv it is 0.7000"),
    "a measure that is text": (table(MEASURES, 0, value="x"), r"measures\.csv is damaged \(could not convert"),
    "a measure twice": (table(MEASURES, 0, again=1), r"measures\.csv.* row 6 \(before 1, iimm\) repeats row 2"),
    "a measure of another task": (table(MEASURES, 0, task="b"), "is of 'b', which is not task 1"),
    "a measure of no experience": (table(MEASURES, 0, experience="9"), "which is not task 9"),
    "the accuracy column": (table(ACCURACY, 3, accuracy="99"), r"row 5 \(after 1, test, step-1\) has accuracy 99, but 8 of"),
    "accuracy no number": (table(ACCURACY, 3, accuracy=""), "has accuracy nan, but 8 of 10"),
    "the accuracy of all classes": (table(ACCURACY, 10, accuracy="99"), "has accuracy 99, but 26 of 40"),
    "accuracy and counts": (table(ACCURACY, 3, accuracy="90.0", correct="9"), "seen after 1 has 8 of 10, but its tasks have 9"),
    "counts of all classes": (table(ACCURACY, 10, accuracy="75.0", correct="30"), "seen after 2 has 30 of 40, but its tasks"),
    "held out": (table(ACCURACY, 5, accuracy="50.0", correct="10"), "summary.retention is"),
    "more correct than images": (table(ACCURACY, 3, accuracy="120.0", correct="12"), "has 12 correct answers of 10"),
    "correct below 0": (table(ACCURACY, 3, accuracy="-10.0", correct="-1"), "has -1 correct answers"),
    "other images": (table(ACCURACY, 5, correct="90", n="200"), "is of 200 images, elsewhere h has 20"),
    "no images": (table(ACCURACY, 5, accuracy="nan", correct="0", n="0"), "is of 0 images"),
    "a count that is text": (table(ACCURACY, 3, n="ten"), r"accuracy\.csv is damaged \(invalid literal"),
    "a row twice": (table(ACCURACY, 3, again=1), r"row 13 \(after 1, test, step-1\) repeats row 5"),
    "a row taken out": (table(ACCURACY, 5), "there is no accuracy after 1 of h"),
    "all classes taken out": (table(ACCURACY, 6), "it has seen after 1 of 2 steps"),
    "another task": (table(ACCURACY, 3, task="other"), "is of a task that run.json does not name"),
    "a step too many": (table(ACCURACY, 3, after="3"), "is of a step that does not exist"),
    "no table": (lambda f: (f / ACCURACY).unlink(), r"accuracy\.csv is missing, so the summary in run\.json cannot be checked"),
    "an empty table": (lambda f: (f / ACCURACY).write_text(""), "there is no accuracy after 0 of step-1, step-2, h"),
    "no measures": (lambda f: (f / MEASURES).unlink(), "by measures.csv it is undefined"),
}  # fmt: skip


@pytest.mark.parametrize("what", FORGED)
def test_a_changed_record_is_named_by_every_reader(record, tmp_path, what):
    change, said = FORGED[what]
    record(strategy="zscl", level=1)
    folder = record()
    assert len(leaderboard([tmp_path / "results"])) == 2, "an honest record is read"
    folder = change(folder) or folder
    page = tmp_path / "r.html"
    for reader in (
        lambda: leaderboard([tmp_path / "results"]),
        lambda: report.write([tmp_path / "results"], page),
        lambda: compare(CompareConfig("finetune", "zscl", (str(tmp_path / "results"),))),
        lambda: read_one((folder if folder.is_dir() else tmp_path) / "run.json"),
    ):
        with pytest.raises(UserError, match=said) as caught:
            reader()
        assert str(folder) in str(caught.value)
    assert not page.exists()


def test_consistent_numbers_that_the_run_did_not_write(record, tmp_path):
    """Counts, percentages and summary are forged together, but the checkpoint has the digest of the table."""
    folder, better = record(), record(root="better", level=1)
    latest = {"after": 2, "key": json.loads((folder / "run.json").read_text())["key"], "tables": {}}
    latest["tables"] = {name: digest(read_csv(folder / name)) for name in ("accuracy.csv", "measures.csv", "train.csv")}
    write_json(folder / "checkpoint" / "latest.json", latest)
    text = (folder / "accuracy.csv").read_text()
    (folder / "accuracy.csv").write_text(text.replace("\n", "\r\n"), newline="")
    assert len(read([folder])) == 1, "line endings are not numbers"
    shutil.copy(better / "accuracy.csv", folder)
    edited(summary=json.loads((better / "run.json").read_text())["summary"])(folder)
    with pytest.raises(Contradiction, match=r"accuracy\.csv contradicts itself: it is not the table that the run wrote"):
        read([folder])
    write_json(folder / "checkpoint" / "latest.json", {**latest, "key": "0123456789"})
    with pytest.raises(Contradiction, match=r"latest\.json contradicts itself: it belongs to the run 0123456789"):
        read([folder])
    (folder / "checkpoint" / "latest.json").write_text("{")
    assert len(read([folder])) == 1, "a damaged checkpoint says nothing about the tables"


def test_the_commands_end_with_status_2_and_a_message_also_when_quiet(record, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    record(strategy="zscl", level=1)
    folder = record()
    edited(identity__limit=None)(folder)
    for words in (["leaderboard"], ["report"], ["compare", "finetune", "zscl"]):
        assert cli.main([*words, "--quiet"]) == 2
        out, err = capsys.readouterr()
        assert out == "" and err.startswith("perennial: results/finetune-") and "the hash of its identity" in err
    assert not (tmp_path / "report.html").exists()


def test_a_copy_with_another_seed_is_a_copy(record, tmp_path):
    """The request, the key, the name of the folder and the times are changed too."""
    folder = record()
    copy = shutil.copytree(folder, folder.with_name("copy"))
    assert len(read([tmp_path])) == 1, "an unchanged copy counts once"
    edited(request__seed=1)(copy)
    copy = rehashed(copy, seed=1)
    said = r"run\.json contradicts itself: it has every number of .*, also its times or losses, but another identity \(seed "
    with pytest.raises(Contradiction, match=said):
        read([tmp_path])
    edited(started="2026-02-02T03:04:05Z", train_seconds=4.0)(copy)
    with pytest.raises(Contradiction, match=said):
        leaderboard([tmp_path])
    edited(request__strategy="zscl")(copy)
    copy = rehashed(copy, strategy="zscl")
    edited(started="2026-01-02T03:04:05Z", train_seconds=3.5)(copy)
    copy = copy.rename(tmp_path / copy.name)
    for reader in (lambda: leaderboard([copy, folder]), lambda: compare(CompareConfig(str(copy), str(folder), ()))):
        with pytest.raises(Contradiction, match="every number"):
            reader()


def test_an_exact_copy_compares_as_equal(record, tmp_path):
    folder = record()
    copy = shutil.copytree(folder, tmp_path / "elsewhere" / folder.name)
    assert set(compare(CompareConfig(str(folder), str(copy), ())).difference) == {0}


def test_honest_runs_with_the_same_numbers_pass(record, tmp_path, capsys):
    """Zero-shot has the same accuracy with every seed, and options without effect give the same losses."""
    for seed in (0, 1):
        folder = record(strategy="zero-shot", seed=seed, updates=0)
        edited(eval_seconds=1.0 + seed)(folder)
    for n in (10, 20):
        edited(train_seconds=float(n))(record(measure_n=n))
    assert leaderboard([tmp_path]).seeds.tolist() == [1, 1, 2] and capsys.readouterr().err == ""


def test_one_run_with_different_numbers_is_reported(record, tmp_path, capsys):
    record()
    record(root="other", level=1)
    assert len(read([tmp_path / "results", tmp_path / "other"])) == 1
    assert "are the same run with different numbers" in capsys.readouterr().err


def test_a_key_is_the_same_before_and_after_the_file():
    values = {"b": float("nan"), "a": (1, 2), 10: 1, 9: 0.1, "é\udcff": None}
    assert key_of(values) == key_of({"b": None, "a": [1, 2], "10": 1, "9": 0.1, "é\udcff": None})
    # Keys have always been the digest of sorted JSON.
    assert key_of({"b": 1, "a": [1.5, None]}) == hashlib.sha256(b'{"a": [1.5, null], "b": 1}').hexdigest()[:10]


def test_folders_may_have_any_name_that_is_not_another_key(record, tmp_path):
    folder = record()
    for name in ("baseline", "finetune copy", f"{folder.name}.bak", f"old-{folder.name}"):
        folder = folder.rename(folder.with_name(name))
        assert len(read([tmp_path])) == 1


@pytest.fixture
def linked(record, tmp_path, monkeypatch):
    """Return a run in another folder, and a results folder with one run."""
    monkeypatch.chdir(tmp_path)
    away = record(root="disk/cil-x-2-mini-I", level=1, strategy="zscl")
    record(root="results/cil-x-2-mini-I")
    return away


@pytest.mark.slow
@pytest.mark.parametrize("place", ["run", "benchmark", "results", "run.json's folder, twice"])
def test_links_are_followed(linked, tmp_path, place, capsys):
    root = tmp_path / "results"
    if place == "benchmark":
        (root / "linked").symlink_to(linked.parent)
    elif place == "results":
        (tmp_path / "link").symlink_to(tmp_path / "disk")
    else:
        (root / "cil-x-2-mini-I" / linked.name).symlink_to(linked)
    if "twice" in place:
        (root / "again").symlink_to(linked.parent)
    roots = ["results", "link"] if place == "results" else ["results"]
    table = leaderboard(roots)
    assert table.strategy.tolist() == ["zscl", "finetune"]
    assert not any(run.startswith("/") for run in table.run), "relative to the working directory"
    assert set(compare(CompareConfig("zscl", "finetune", tuple(roots))).seeds) == {1}
    assert cli.main(["report", *roots, "--quiet"]) == 0 and "2 finished runs" in (tmp_path / "report.html").read_text()
    assert capsys.readouterr().err == ""


def test_a_run_is_not_compared_with_itself_by_another_path(linked, tmp_path):
    (tmp_path / "link").symlink_to(linked)
    with pytest.raises(UserError, match="A and B are both the run in"):
        compare(CompareConfig("link", str(linked), ()))


def test_a_link_to_a_parent_is_reported(linked, tmp_path, capsys):
    for i, target in enumerate((".", "..", tmp_path, "/")):
        (tmp_path / "results" / "cil-x-2-mini-I" / f"loop{i}").symlink_to(target)
    (tmp_path / "results" / "self").symlink_to("self")
    (tmp_path / "results" / "gone").symlink_to("/nowhere/at/all")
    assert cli.main(["leaderboard", "--quiet"]) == 0
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 6 and sum("is a symbolic link to one of its parent folders" in line for line in lines) == 4
    assert "perennial: results/gone is a symbolic link to /nowhere/at/all, which does not exist; it is not counted." in lines
    assert len(leaderboard(["results"])) == 1


def test_a_file_as_root(record, tmp_path):
    folder = record()
    assert len(read([folder / "run.json"])) == len(read([folder, folder / "run.json"])) == 1
