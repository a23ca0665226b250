"""Records of known numbers, and the page made from them."""

import html.parser

import pytest

from harness import report

NAME = "<script>alert('x')</script>"
EVIL = f'</svg></details>{NAME}<img src=x onerror=alert(1)> $\\frac{{1}}$ "&amp;'


@pytest.fixture(scope="module")
def record(honest):
    """Return a function that writes a run of known numbers.

    Zero-shot accuracy on task i is 40 + i. Training the task adds `gain` + seed, and each later step subtracts 5.
    """

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
    page, board = folder / "report.html", folder / "board" / "leaderboard.html"
    assert report.write([results], page, folder / "figures", leaderboard=board) == page
    return folder


class Elements(html.parser.HTMLParser):
    """All tags with their attributes, and the visible text. Asserts that tags nest."""

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
def elements(written):
    """The elements of the page."""
    return Elements((written / "report.html").read_text(encoding="utf-8"))


@pytest.fixture(scope="session")
def parse():
    """The parser of HTML into elements."""
    return Elements


@pytest.fixture(scope="session")
def evil():
    """The task's name that contains markup."""
    return EVIL
