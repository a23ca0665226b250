"""The report in a real browser: it renders, makes no requests, and its tables sort."""

import json
import os
import select
import shutil
import subprocess
import time
from pathlib import Path

import pytest

from harness.records.leaderboard import table_of
from harness.records.runs import Run
from harness.report import leaderboard_page
from harness.report.page import page
from harness.report.sections import Method, Section

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here (Debian: apt-get install chromium)")
EVIL = "</svg><script>window.fell = 1</script><img src=x onerror='window.fell = 1'>"
FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--remote-debugging-pipe",
)


class Browser:
    """One page of a headless Chromium, controlled by the DevTools protocol over two pipes."""

    def __init__(self, profile):
        self.events, self.number, self.buffer, self.session = [], 0, b"", None
        theirs_in, self.out = os.pipe()
        self.back, theirs_out = os.pipe()
        # The protocol uses descriptors 3 and 4.
        command = f'exec "$0" "$@" 3<&{theirs_in} 4>&{theirs_out}'
        self.process = subprocess.Popen(
            ["bash", "-c", command, CHROMIUM, *FLAGS, f"--user-data-dir={profile}", "about:blank"],
            pass_fds=(theirs_in, theirs_out), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        os.close(theirs_in)
        os.close(theirs_out)
        target = self.ask("Target.createTarget", url="about:blank")["targetId"]
        self.session = self.ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.ask(f"{domain}.enable")

    def close(self):
        os.close(self.out)
        os.close(self.back)
        self.process.kill()
        self.process.wait()

    def ask(self, method, **parameters):
        self.number += 1
        number, session = self.number, {"sessionId": self.session} if self.session else {}
        os.write(self.out, json.dumps({"id": number, "method": method, "params": parameters, **session}).encode() + b"\0")
        answer = self.read(lambda message: message.get("id") == number)
        assert "error" not in answer, answer
        return answer["result"]

    def read(self, wanted, seconds=60):
        end = time.monotonic() + seconds
        while True:
            while b"\0" in self.buffer:
                text, self.buffer = self.buffer.split(b"\0", 1)
                message = json.loads(text)
                if "method" in message:
                    self.events.append(message)
                if wanted(message):
                    return message
            assert select.select([self.back], [], [], max(0, end - time.monotonic()))[0], "the browser does not answer"
            data = os.read(self.back, 1 << 20)
            assert data, "the browser has ended"
            self.buffer += data

    def open(self, path):
        self.events.clear()
        self.ask("Page.navigate", url=path.resolve().as_uri())
        if not any(event["method"] == "Page.loadEventFired" for event in self.events):
            self.read(lambda message: message.get("method") == "Page.loadEventFired")

    def value(self, expression):
        answer = self.ask("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def show(self, media="screen", scheme="light", width=1100):
        self.ask("Emulation.setEmulatedMedia", media=media, features=[{"name": "prefers-color-scheme", "value": scheme}])
        self.ask("Emulation.setDeviceMetricsOverride", width=width, height=1000, deviceScaleFactor=1, mobile=False)

    def messages(self):
        """Return the messages of the console, and the addresses requested except the page."""
        messages = [e["params"]["entry"]["text"] for e in self.events if e["method"] == "Log.entryAdded"]
        messages += [
            str(e["params"]) for e in self.events if e["method"] in ("Runtime.exceptionThrown", "Runtime.consoleAPICalled")
        ]
        requests = [e["params"]["request"]["url"] for e in self.events if e["method"] == "Network.requestWillBeSent"]
        return messages + requests[1:]


def method(label, values, average):
    """Return a run of two tasks and a held-out domain, with its accuracies after 0, 1 and 2 tasks."""
    names = (("test", "red"), ("test", EVIL), ("heldout", "grey"))
    cells = {(j, *name): float(v) for j, row in enumerate(values) for name, v in zip(names, row, strict=True)}
    identity = {
        "tasks": ["red", EVIL],
        "heldout": ["grey"],
        "seed": 0,
        "benchmark": "mtil",
        "order": "I",
        "strategy": label,
        "model": "tiny",
    }
    search = {"task": EVIL, "points": [[0.0], [1.0]], "patching": [1.0, 2.0], "supported": [], "chosen": [1.0]}
    document = {
        "identity": identity, "status": "finished", "key": label, "summary": {}, "device": "cpu", "searches": [search],
        "train_seconds": 3.0, "eval_seconds": 1.0,
    }  # fmt: skip
    measures, losses = [(1, "iimm", 0.2), (2, "iimm", 0.3)], {"loss": [(1, 2.0), (1, 1.0), (2, 2.0), (2, 0.5)]}
    row = {"strategy": label, "average": average, "model": "tiny", "tuning": "full", "train_seconds": 3.0, "eval_seconds": 1.0}
    return Method(label, row, (Run(Path("run"), document, cells, measures, losses),))


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    browser = Browser(tmp_path_factory.mktemp("profile"))
    yield browser
    browser.close()


@pytest.fixture
def opened(browser, tmp_path):
    rows = [[10, 20, 90], [50, 15, 80], [40, 60, 84]]
    methods = (method("b10", rows, 9.5), method(EVIL, rows[:1] * 3, None), method("b9", rows[::-1], 10.25))
    (tmp_path / "report.html").write_text(page([Section("A <b>title</b>", "a-title", methods)], [])[0], encoding="utf-8")
    browser.show()
    browser.open(tmp_path / "report.html")
    return browser


@pytest.mark.slow
def test_it_renders_without_console_messages(opened):
    figures = opened.value("""[...document.querySelectorAll('svg')].map(svg => {
        const box = svg.getBoundingClientRect();
        const marks = [...svg.querySelectorAll('path, use, text')].filter(e => e.getBoundingClientRect().width > 0);
        return [svg.checkVisibility({visibilityProperty: true, opacityProperty: true}), box.width, box.height, marks.length];
    })""")
    # Learning, curves, IIMM twice, alphas three times (the third is closed), losses, cost.
    assert len(figures) == 9
    assert [visible for visible, *_ in figures].count(True) == 8 and not figures[6][0]
    for _, width, height, marks in figures:
        assert width > 300 and height > 80 and marks > 20
    assert opened.value("document.querySelector('h2').textContent") == "A <b>title</b>"
    assert opened.value("[window.fell ?? 0, document.images.length, document.scripts.length]") == [0, 0, 1]
    assert opened.messages() == []


def test_console_messages_and_requests_are_seen(browser, tmp_path):
    (tmp_path / "bad.html").write_text("<script>console.error('no')</script><img src='http://127.0.0.1:9/x.png'>")
    browser.open(tmp_path / "bad.html")
    assert any("no" in c for c in browser.messages()) and "http://127.0.0.1:9/x.png" in browser.messages()


@pytest.mark.slow
def test_injected_scripts_and_addresses_do_not_work(opened, tmp_path):
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    (tmp_path / "broken.html").write_text(text.replace("<main>", f"<main>{EVIL}"), encoding="utf-8")
    opened.open(tmp_path / "broken.html")
    assert opened.value("window.fell ?? 0") == 0
    assert any("Content Security Policy" in message for message in opened.messages())


@pytest.mark.slow
def test_tables_sort(opened):
    names = "[...document.querySelector('table.cards').tBodies[0].rows].map(row => row.cells[0].textContent)"
    heads = "[...document.querySelector('table.cards').tHead.rows[0].cells]"

    def click(name):
        return opened.value(f"""(() => {{
            const head = {heads}.find(head => head.textContent === '{name}');
            head.querySelector('button').click();
            return [head.getAttribute('aria-sort'), {heads}.filter(h => h.hasAttribute('aria-sort')).length, {names}];
        }})()""")

    assert opened.value(names) == ["b10", EVIL, "b9"]
    # Sorted as numbers. Rows without a number stay at the end.
    assert click("Average") == ["descending", 1, ["b9", "b10", EVIL]]
    assert click("Average") == ["ascending", 1, ["b10", "b9", EVIL]]
    assert click("method") == ["ascending", 1, [EVIL, "b9", "b10"]]
    assert opened.messages() == []


@pytest.mark.slow
def test_filters_of_the_leaderboard(browser, tmp_path):
    table, by_row = table_of([], with_published=True)
    (tmp_path / "board.html").write_text(leaderboard_page.page(table, by_row, tmp_path), encoding="utf-8")
    browser.show()
    browser.open(tmp_path / "board.html")
    shown = """[...document.querySelectorAll('main > section:not([hidden])')].map(s => [s.dataset.benchmark, s.dataset.protocol,
        [...s.querySelectorAll('tbody tr')].filter(r => r.checkVisibility()).map(r => r.cells[0].textContent)])"""

    def choose(**fields):
        for name, value in fields.items():
            browser.value(f"""(() => {{
                const field = document.querySelector("[data-filter='{name}']");
                field.value = '{value}';
                field.dispatchEvent(new Event('input', {{bubbles: true}}));
            }})()""")
        return browser.value(shown)

    assert len(browser.value(shown)) > 10
    assert {benchmark for benchmark, *_ in choose(benchmark="mtil")} == {"mtil"}
    assert all(protocol == "agnostic" for _, protocol, _ in choose(benchmark="", protocol="agnostic"))
    named = choose(benchmark="mtil", protocol="task", method="WISE")
    assert named and all(rows == ["wise-ft"] for *_, rows in named)
    nothing = "document.querySelector('.nothing').hidden"
    assert browser.value(nothing) and choose(method="nobody") == [] and not browser.value(nothing)
    assert browser.messages() == []


# WCAG contrast of two colours "rgb(r, g, b)".
CONTRAST = """(a, b) => {
    const light = text => {
        const [r, g, b] = text.match(/\\d+/g).map(v => v / 255).map(
            c => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
        return 0.2126 * r + 0.7152 * g + 0.0722 * b + 0.05;
    };
    return Math.max(light(a) / light(b), light(b) / light(a));
}"""


@pytest.mark.slow
@pytest.mark.parametrize(("media", "scheme", "light"), [("screen", "light", 1), ("screen", "dark", 0), ("print", "dark", 1)])
def test_contrast_in_light_and_dark_and_on_paper(opened, media, scheme, light):
    opened.show(media, scheme)
    found = opened.value(f"""(() => {{
        const contrast = {CONTRAST}, paper = getComputedStyle(document.body).backgroundColor;
        const against = (query, name, ground) => Math.min(...[...document.querySelectorAll(query)].map(
            e => contrast(getComputedStyle(e)[name], ground ?? getComputedStyle(e).backgroundColor)));
        return [contrast(paper, 'rgb(0, 0, 0)') > 10, against('p, th, figcaption, summary', 'color', paper),
                against('svg text', 'fill', paper), against('.heat td', 'color')];
    }})()""")
    assert found[0] == bool(light) and min(found[1:]) >= 4.5


@pytest.mark.slow
def test_everything_is_open_on_paper_and_closed_again(opened):
    closed = "document.querySelectorAll('details:not([open])').length"
    before = opened.value(closed)
    assert before > 5
    opened.value("dispatchEvent(new Event('beforeprint'))")
    assert opened.value(closed) == 0
    opened.value("dispatchEvent(new Event('afterprint'))")
    assert opened.value(closed) == before


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(("width", "columns"), [(420, 1), (1280, 3)])
def test_nothing_is_wider_than_the_window(opened, width, columns, scheme):
    """With everything open, neither the page nor any table or figure scrolls sideways."""
    opened.show(scheme=scheme, width=width)
    opened.value("document.querySelectorAll('details').forEach(details => details.open = true)")
    assert opened.value("document.documentElement.scrollWidth") <= width
    found = opened.value("""[...document.querySelectorAll('body *')].filter(e => {
        const box = e.getBoundingClientRect();
        return e.checkVisibility() && (box.right > innerWidth + 0.5 || box.left < -0.5);
    }).map(e => e.outerHTML.slice(0, 80))""")
    assert found == []
    scrolled = "[...document.querySelectorAll('.scroll')].filter(e => e.scrollWidth > e.clientWidth + 1).length"
    assert opened.value(scrolled) == 0
    places = "new Set([...document.querySelectorAll('.block')].map(e => Math.round(e.getBoundingClientRect().left))).size"
    assert opened.value(places) == columns
    body = opened.value("[document.querySelector('main').getBoundingClientRect().width, innerWidth]")
    assert body[0] > body[1] - 60, "the page is as wide as the window"
    text = "Math.min(...[...document.querySelectorAll('svg text')].map(e => e.getBoundingClientRect().height))"
    assert opened.value(text) >= 8, "figures can be read"
