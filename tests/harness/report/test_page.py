"""The report as a page: from records on disk to HTML."""

import base64
import csv
import html.parser
import re
import subprocess
import sys
import time
import tomllib
from pathlib import Path

import pytest
from matplotlib.colors import to_hex

from harness import report
from harness.records.runs import read
from harness.report import page as report_page
from harness.report.comparison import curves, learning
from harness.report.figure_style import OTHERS, looks, styled
from harness.report.iimm_prediction import NO_CHAIN, prediction
from harness.report.markup import Markup
from harness.report.sections import sections
from harness.run.version import git_revision, project_version, short_revision
from models.registry import UserError
from strategies import STRATEGIES

NAME = "<script>alert('x')</script>"
EVIL = f'</svg></details>{NAME}<img src=x onerror=alert(1)> $\\frac{{1}}$ "&amp;'


@pytest.fixture(scope="module")
def record(honest):
    """Writes a run of known numbers: zero-shot 40 + i on task i; training it adds `gain` + seed, each later step takes 5."""

    def write(
        root,
        strategy="finetune",
        seed=0,
        tasks=("red", "green", EVIL),
        heldout=("grey",),
        gain=30.0,
        **more,
    ):
        identity = {
            "benchmark": "mtil", "edition": "mini", "order": "I", "tasks": list(tasks), "heldout": list(heldout),
            "strategy": strategy, "strategy_sha256": None, "options": {"lr": 1}, "model": "tiny", "pretrained": None,
            "tuning": "full", "protocol": "task", "seed": seed, "limit": None, "shots": None, "measure_n": 10,
        }  # fmt: skip
        identity |= {name: more.pop(name) for name in ("order", "benchmark", "options", "model") if name in more}
        done, seen = more.pop("done", len(tasks)), more.pop("seen", False)
        measured = more.pop("measured", ("iimm", "iimm_zero_shot"))
        trains = strategy != "zero-shot"

        def cell(j, i):
            return 40.0 + i + (gain + seed - 5 * (j - 1 - i) if trains and i < min(j, len(tasks)) else 0)

        steps = range(1, done + 1)
        names = [*(("test", t) for t in tasks), *(("heldout", h) for h in heldout)]
        counts = {(j, *of): (round(10 * cell(j, i)), 1000) for j in range(done + 1) for i, of in enumerate(names)}
        for j in steps if seen else ():
            parts = [counts[j, "test", task] for task in tasks[:j]]
            counts[j, "test", "seen"] = tuple(map(sum, zip(*parts, strict=True)))
        measures = [("before", j, tasks[j - 1], m, 0.2 + 0.1 * j, 9) for j in steps for m in measured]
        losses = [{"after": j, "iteration": i, "loss": 3 / (i + j), "lr": 0.1} for j in steps for i in (1, 2, 3) if trains]
        losses = [row | ({"extra": 0.5} if row["after"] > 1 else {}) for row in losses]
        return honest(root, identity, counts, measures, losses, **{
            "train_seconds": 10.0, "eval_seconds": 1.0, "images_per_second": None, "peak_memory_mb": 2.0,
            "device": "cpu", "progress": {"after": done, "of": len(tasks)}, **more,
        })  # fmt: skip

    return write


SEARCHES = [
    {"task": EVIL, "points": [[0.0], [0.5], [1.0]], "patching": [1.0, 5.0, 4.0], "supported": [9.0, 8.0, 2.0], "chosen": [0.5]}
]


@pytest.fixture(scope="module")
def results(tmp_path_factory, record):
    root = tmp_path_factory.mktemp("results")
    for seed in (0, 1, 2):
        record(root, "finetune", seed)
    record(root, f"weird/{NAME}", 0, gain=20.0, searches=SEARCHES, notes=[NAME])
    record(root, "zero-shot", 0)
    record(root, "finetune", 7, order="II", status="failed", done=1, error=f"RuntimeError: {NAME}")
    return root


@pytest.fixture(scope="module")
def written(results, tmp_path_factory):
    folder = tmp_path_factory.mktemp("page")
    assert report.write([results], folder / "report.html", folder / "figures") == folder / "report.html"
    return folder


class Elements(html.parser.HTMLParser):
    """All tags with their attributes, and the visible text; complains when tags do not nest."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.open, self.text = [], [], []
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag != "meta":
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] not in ("script", "style"):
            self.text.append(data)


@pytest.fixture(scope="module")
def page(written):
    return Elements((written / "report.html").read_text(encoding="utf-8"))


@pytest.mark.slow
def test_the_page_is_whole_and_asks_for_nothing(page, written):
    text = (written / "report.html").read_text(encoding="utf-8")
    assert "http" not in text.replace("http-equiv", "") and "@import" not in text and "url(#" in text
    assert not re.search(r"url\((?!#)", text)
    for tag, attributes in page.tags:
        assert tag not in ("link", "img", "iframe", "object", "embed", "base", "form") and "src" not in attributes, tag
        assert attributes.get("href", "#").startswith(("#", "data:text/csv;base64,"))
    [policy] = [a["content"] for t, a in page.tags if t == "meta" and a.get("http-equiv") == "Content-Security-Policy"]
    assert policy.startswith("default-src 'none'") and "script-src 'sha256-" in policy


def test_names_are_text(page):
    assert [t for t, _ in page.tags].count("script") == 1
    assert not any(name.startswith("on") for _, attributes in page.tags for name in attributes)
    shown = "".join(page.text)
    assert EVIL in shown and f"weird/{NAME}" in shown and f"RuntimeError: {NAME}" in shown


def test_every_identifier_is_there_once_and_every_link_leads_somewhere(page):
    ids = [a["id"] for _, a in page.tags if "id" in a]
    assert len(ids) == len(set(ids))
    links = {a["href"][1:] for _, a in page.tags if a.get("href", "").startswith("#")}
    assert links <= set(ids)
    for tag, attributes in page.tags:
        if tag == "svg":
            assert attributes["role"] == "img" and set(attributes["aria-labelledby"].split()) <= set(ids)


def test_it_opens_with_the_summary_then_the_matrices_then_the_leaderboard(page):
    shown = "".join(page.text)
    parts = ["Best Last: finetune", "Accuracy matrices", "finetune, seed 0", "Leaderboard: mtil, mini edition, Order I"]
    parts += ["Options", "Learning against forgetting", "Accuracy over time", "IIMM against gain", "IIMM against forgetting"]
    parts += ["Alpha curves", "Losses", "Cost", "Runs that are not"]
    places = [shown.index(part) for part in parts]
    assert places == sorted(places)
    # Last, seeds 0 to 2: (40 + 30 - 10 + 41 + 30 - 5 + 42 + 30) / 3 = 66, and one point more a seed.
    assert "2 trained methods, 1 to 3 seeds each" in shown and "Best Last: finetune 67.0 ± 1.0 (n = 3), then" in shown
    assert "Best Average: finetune 59.4 ± 0.7 (n = 3), then weird/" in shown and "52.1 (n = 1)" in shown
    assert "Zero-shot, without training, has Last 41.0" in shown


@pytest.mark.slow
def test_the_summary_takes_zero_shot_from_row_0_where_no_run_stands_for_it(tmp_path, record):
    record(tmp_path, "finetune")
    text = report.write([tmp_path], tmp_path / "r.html").read_text()
    assert "Zero-shot (row 0 of the runs) has Last 41.0, Transfer 41.5, Average 41.0." in text
    assert "one seed shows no spread" in text and "One seed each, hence no intervals." in text


def rows(path):
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_the_numbers_behind_the_figures(written):
    folder, name = written / "figures", "mtil-mini-edition-order-i"
    learning = {row["method"]: row for row in rows(folder / f"{name}-learning.csv")}
    # Gains of 30, 31 and 32; task 1 falls by 10 and task 2 by 5. t of 0.975 with two degrees of freedom is 4.3027.
    of = learning["finetune"]
    assert [float(of[k]) for k in ("learning", "learning_sd", "forgetting", "n")] == [31, 1, 7.5, 3]
    assert float(of["learning_high"]) == pytest.approx(31 + 4.30265 / 3**0.5, rel=1e-4)
    assert learning["zero-shot"]["learning_low"] == "" and float(learning["zero-shot"]["learning"]) == 0
    curve = [r for r in rows(folder / f"{name}-curves.csv") if r["method"] == "finetune" and r["task"] == "red"]
    assert [(float(r["accuracy"]), r["n"]) for r in curve] == [(40, "3"), (71, "3"), (66, "3"), (61, "3")]
    gains = [r for r in rows(folder / f"{name}-iimm-gain.csv") if r["method"] == "finetune"]
    assert [(r["iimm"], r["gain"]) for r in gains] == [("0.3", "31"), ("0.4", "31"), ("0.5", "31")]
    lost = [r for r in rows(folder / f"{name}-iimm-forgetting.csv") if r["method"] == "finetune"]
    # Of three others (two tasks, one held out) none, one and two fall by 5.
    assert [float(r["forgetting"]) for r in lost] == pytest.approx([0, 5 / 3, 10 / 3], rel=1e-5)
    assert float(lost[0]["slope"]) == pytest.approx(50 / 3, rel=1e-5)
    losses = [r for r in rows(folder / f"{name}-losses.csv") if r["method"] == "finetune"]
    assert [float(r["value"]) for r in losses if r["term"] == "loss"][:2] == [1.5, 1.0]
    assert len([r for r in losses if r["term"] == "extra"]) == 6
    assert float(rows(folder / f"{name}-cost.csv")[0]["train_seconds"]) == 10


def test_every_figure_has_its_three_files_and_its_csv_in_the_page(page, written):
    files = list((written / "figures").iterdir())
    stems = {p.stem for p in files}
    assert len(files) == 3 * len(stems) and {p.suffix for p in files} == {".svg", ".png", ".csv"}
    links = {a["download"]: a["href"] for _, a in page.tags if "download" in a}
    assert set(links) == {f"{stem}.csv" for stem in stems}
    for name, link in links.items():
        assert base64.b64decode(link.partition(",")[2]) == (written / "figures" / name).read_bytes()
    kinds = ("learning", "curves", "iimm-gain", "iimm-forgetting", "losses", "cost", "alpha", "matrix")
    assert [sum(kind in stem for stem in stems) for kind in kinds] == [1, 1, 1, 1, 1, 1, 1, 6]


def test_matrices_are_heat_maps_with_a_zero_shot_row(page):
    at = [i for i, (t, a) in enumerate(page.tags) if t == "table" and a.get("class") == "heat"]
    assert len(at) == 6
    cells = [a.get("class") for t, a in page.tags[at[0] : at[1]] if t == "td"]
    # 40 percent of 40 steps is 16; task 1, just trained, 70 percent.
    assert cells[0] == "h16" and cells[4] == "h28 trained" and sum("trained" in c for c in cells) == 3
    assert [t for t, _ in page.tags].count("details") >= 6


@pytest.mark.slow
def test_the_same_records_make_the_same_page(results, written, tmp_path):
    again = report.write([results], tmp_path / "again.html")
    assert again.read_bytes() == (written / "report.html").read_bytes()


@pytest.mark.slow
def test_a_missing_file_leaves_a_sentence(tmp_path, record):
    folder = record(tmp_path, "finetune", measured=())
    for name in ("train.csv", "measures.csv"):
        (folder / name).unlink()
    text = report.write([tmp_path], tmp_path / "r.html").read_text()
    assert "There are no losses" in text and "These runs have no IIMM in measures.csv." in text


@pytest.mark.slow
def test_one_task_nothing_held_out_nothing_trained(tmp_path, record):
    record(tmp_path / "one", "finetune", tasks=("red",), heldout=())
    text = report.write([tmp_path / "one"], tmp_path / "r.html").read_text()
    assert "Learning against forgetting needs at least two tasks" in text and "No domain was held out." in text
    assert "IIMM against forgetting: no step has both numbers." in text
    record(tmp_path / "none", "zero-shot")
    text = report.write([tmp_path / "none"], tmp_path / "r.html").read_text()
    assert "No trained method here yet. Zero-shot, without training, has Last 41.0" in text
    assert "needs a method that trains one task after the other" in text and "There are no losses" in text


@pytest.mark.slow
def test_methods_without_steps_are_left_out_of_iimm(tmp_path, record):
    assert set(NO_CHAIN) <= set(STRATEGIES.names())
    record(tmp_path, "joint")
    assert "needs a method that trains one task after the other" in report.write([tmp_path], tmp_path / "r.html").read_text()
    record(tmp_path, "finetune")
    text = report.write([tmp_path], tmp_path / "r.html", tmp_path / "figures").read_text()
    assert "Without joint: every row starts anew from the initial model." in text
    [gains] = (tmp_path / "figures").glob("*-iimm-gain.csv")
    assert {row["method"] for row in rows(gains)} == {"finetune"}


@pytest.mark.slow
def test_a_given_alpha_is_said(tmp_path, record):
    record(tmp_path, "paint-sequential", searches=[{"task": "red", "chosen": [0.5]}])
    assert "paint-sequential: alpha was given, not searched." in report.write([tmp_path], tmp_path / "r.html").read_text()


def test_unfinished_runs_alone_and_no_runs_at_all(tmp_path, record):
    folder = record(tmp_path / "a", "finetune", status="running", done=1)
    text = report.write([tmp_path / "a"], tmp_path / "r.html").read_text()
    assert "1 of 3 tasks" in text and "Leaderboard" not in text
    (folder / "accuracy.csv").unlink()
    assert "No accuracy is recorded." in report.write([tmp_path / "a"], tmp_path / "r.html").read_text()
    (tmp_path / "empty").mkdir()
    assert "There are no runs here." in report.write([tmp_path / "empty"], tmp_path / "r.html").read_text()


@pytest.mark.slow
def test_runs_in_steps_of_classes(tmp_path, record):
    record(tmp_path, "finetune", tasks=("step-1", "step-2"), heldout=(), benchmark="cil-nature-2", seen=True)
    text = report.write([tmp_path], tmp_path / "r.html", tmp_path / "figures").read_text()
    assert "all classes so far" in text and "There is no zero-shot run to compare with." in text
    [curves] = (tmp_path / "figures").glob("*-curves.csv")
    assert [r["accuracy"] for r in rows(curves) if r["task"] == "seen"] == ["70", "68"]


@pytest.mark.slow
def test_mistakes_are_sentences(tmp_path, record):
    with pytest.raises(UserError, match=r"There are no results at .*nowhere"):
        report.write([tmp_path / "nowhere"], tmp_path / "r.html")
    folder = record(tmp_path / "runs", "finetune")
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="Cannot write"):
        report.write([folder], tmp_path / "file" / "r.html")
    (folder / "accuracy.csv").write_text("after,stream,task\nx,test,red\n")
    with pytest.raises(UserError, match=r"accuracy\.csv is damaged"):
        report.write([folder], tmp_path / "r.html")
    for text in ("{", "[]", '{"status": "finished"}'):
        (folder / "run.json").write_text(text)
        with pytest.raises(UserError, match=r"run\.json"):
            report.write([folder], tmp_path / "r.html")
    assert not (tmp_path / "r.html").exists()


def test_methods_are_the_leaderboards_rows(results, tmp_path, record):
    [section] = sections(read([results]))
    assert [(m.label, len(m.runs)) for m in section.methods] == [("finetune", 3), (f"weird/{NAME}", 1), ("zero-shot", 1)]
    assert [run.identity["seed"] for run in section.methods[0].runs] == [0, 1, 2]
    for order in ("I", "II"):
        for seed in (0, 1):
            record(tmp_path / "a;b", "finetune", seed, order=order)
    made = sections(read([tmp_path, tmp_path]))
    assert [[(m.label, len(m.runs), m.derived) for m in section.methods] for section in made] == [
        [("finetune", 2, False), ("zero-shot", 2, True)]
    ] * 2


@pytest.mark.slow
def test_zero_shot_is_a_row_and_in_the_figures(tmp_path, record):
    """From row 0 where nobody ran it: accuracies 40, 41 and 42, whatever is trained."""
    for seed in (0, 1):
        record(tmp_path / "runs", "finetune", seed)
    text = report.write([tmp_path / "runs"], tmp_path / "r.html", tmp_path / "figures").read_text()
    page = Elements(text)
    shown = " ".join("".join(page.text).split())
    assert "zero-shot (row 0)" in shown and "2 finished runs." in shown and text.count('class="heat"') == 2
    [learning] = (tmp_path / "figures").glob("*-learning.csv")
    [zero] = [row for row in rows(learning) if row["method"] == "zero-shot"]
    assert (zero["learning"], zero["forgetting"]) == ("0", "0")
    [curves] = (tmp_path / "figures").glob("*-curves.csv")
    line = [(r["after"], r["accuracy"]) for r in rows(curves) if (r["method"], r["task"]) == ("zero-shot", "green")]
    assert line == [(str(j), "41") for j in range(4)]
    [cost] = (tmp_path / "figures").glob("*-cost.csv")
    assert [row["method"] for row in rows(cost)] == ["finetune"]
    [section] = sections(read([tmp_path / "runs"]))
    row = section.methods[-1].row
    assert (row["last"], row["last_std"], row["transfer"], row["retention"], row["iimm_mean"]) == pytest.approx(
        (41, 0, 41.5, 100, 0.4)
    )
    record(tmp_path / "runs", "finetune", model="small")
    labels = [m.label for m in sections(read([tmp_path / "runs"]))[0].methods]
    assert labels == ["finetune, small", "zero-shot, small", "finetune, tiny", "zero-shot, tiny"]


@pytest.mark.slow
def test_the_title_says_when_and_how(tmp_path, record, monkeypatch):
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    started = {"git_revision": "0123456789abcdef" * 2 + "01234567+changes", "versions": {"torch": "9.8"}}
    record(tmp_path / "runs", started="2026-01-02T03:04:05Z", **started)
    record(tmp_path / "runs", "other", started="2026-01-05T03:04:05Z", options={"lr": 2, "l2": 0.5}, **started)
    text = report.write([tmp_path / "runs"], tmp_path / "r.html").read_text()
    shown = " ".join("".join(Elements(text).text).split())
    revision = git_revision()
    commit = f"commit {short_revision(revision)}" if revision else "no commit known"
    assert f"Made on 14 November 2023 with Perennial {project_version()} ({commit}): report {tmp_path / 'runs'}" in shown
    assert "The runs: started 2026-01-02 to 2026-01-05, commit 0123456789+changes, torch 9.8." in shown
    assert "<title>Report of continual-learning runs, 14 November 2023</title>" in text
    assert "Set alike for all methods: tuning full." in shown and "Options in which the methods differ" in shown
    version = tomllib.loads((Path(__file__).parents[3] / "pyproject.toml").read_text())["project"]["version"]
    assert project_version() == version


def test_legends_show_the_colours_of_what_is_drawn(tmp_path, record):
    """Panels of several colours have a grey legend; elsewhere the legend's handles have the methods' own."""
    for i, strategy in enumerate(("a", "b")):
        record(tmp_path, strategy, gain=30.0 + i)
    [section] = sections(read([tmp_path]))
    look = looks([m.label for m in section.methods], section.references)
    gain, _ = prediction(section)
    with styled():
        for figure, expected in ((learning(section), look), (curves(section), look), (gain, None)):
            [legend] = figure.draw().legends
            labels = [text.get_text() for text in legend.get_texts()]
            colours = [h.get_color() if hasattr(h, "get_color") else h.get_facecolor() for h in legend.legend_handles]
            if expected is None:
                assert labels == ["a task", "least squares", "95 % interval of the line"]
                assert {to_hex(colour) for colour in colours} == {OTHERS}
            else:
                assert [to_hex(colour) for colour in colours] == [look[label].colour for label in labels]
                assert set(labels) == {"a", "b", "zero-shot"}


def calls(function):
    """How many Python and C functions are called: what the work grows with, whatever the machine does beside it."""
    count = 0

    def profile(frame, event, argument):
        nonlocal count
        count += event in ("call", "c_call")

    sys.setprofile(profile)
    try:
        function()
    finally:
        sys.setprofile(None)
    return count


@pytest.mark.slow
def test_the_work_grows_with_the_number_of_methods_and_not_faster(tmp_path, record, monkeypatch):
    """Besides the drawings, which show a fixed number of methods."""
    monkeypatch.setattr(report_page, "inline", lambda figure: Markup(""))
    made, page = [], tmp_path / "r.html"
    for n in (0, 60, 120, 240):
        for i in range(n // 2 if n > 60 else 0, n):
            # One strategy with many settings, and names that are alike in their first eighty letters.
            record(tmp_path / "runs", "m" * 90 + f"-{i}" * (i % 2), gain=float(i % 50), options={"lr": 1, "index": i})
        (tmp_path / "runs").mkdir(exist_ok=True)
        made.append(calls(lambda: report.write([tmp_path / "runs"], page)))
    _, first, second, third = made
    # From 150 rows on, the tables behind the figures are in the CSV only.
    assert 0.3 < (third - second) / (2 * (second - first)) < 1.1, made


@pytest.mark.slow
def test_a_hundred_runs_make_a_page_that_is_usable(tmp_path, record):
    for i in range(50):
        for seed in (0, 1):
            record(tmp_path, f"m{i}", seed, gain=float(i))
    began = time.perf_counter()
    written = report.write([tmp_path], tmp_path / "r.html")
    assert time.perf_counter() - began < 60 and written.stat().st_size < 4e6
    text = written.read_text()
    assert text.count('class="heat"') == 100 and "Not drawn, but in the CSV: 42 further methods." in text


@pytest.mark.slow
def test_writing_imports_neither_torch_nor_avalanche(tmp_path, record):
    record(tmp_path, "finetune")
    code = (
        "import sys; from harness.report import write; assert 'matplotlib' not in sys.modules; "
        f"write([{str(tmp_path)!r}], {str(tmp_path / 'r.html')!r}); "
        "print([m for m in ('torch', 'avalanche', 'matplotlib.pyplot') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stderr


@pytest.mark.slow
def test_an_alpha_for_each_task_is_said(tmp_path, record):
    record(tmp_path, "iimm-guided", searches=[{"task": "red", "chosen": [0.5]}, {"task": "green", "chosen": [0.25]}])
    text = report.write([tmp_path], tmp_path / "r.html").read_text()
    assert "iimm-guided: alpha was set for each task before it was trained. red (seed 0): 0.5; green (seed 0): 0.25." in text
