"""Text from outside is printed and written as plain text."""

import io
import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from rich.table import Table
from rich.text import Text

from harness.display.console import OutputError, SafeConsole, complain, output
from harness.display.screen import Screen
from harness.records.files import GrowingTable, read_csv, spreadsheet_text, write_csv, write_table
from metrics.study_table import SHIPPED, read
from models.registry import printable

ROOT = Path(__file__).parents[3]
HOSTILE = ("[old]", "models[/old]/vit", "[red]x[/red]", ":smile:", "[link=file:///etc/passwd]here[/link]", "a\\[b]")


def shown(*items, width=80):
    text = io.StringIO()
    console = SafeConsole(file=text, width=width, force_terminal=True, color_system=None)
    for item in items:
        console.print(item)
    return text.getvalue()


@pytest.mark.parametrize("name", HOSTILE)
def test_text_is_never_markup(name):
    table = Table(title=name)
    table.add_column(name)
    table.add_row(name)
    assert shown(table, name).count(name) == 4


@pytest.mark.parametrize(
    ("text", "safe"),
    [
        ("a\x1b[2Jb", "a\\x1b[2Jb"),
        ("a\x9b2Jb", "a\\x9b2Jb"),
        ("a\rb\x07\x08\x7f", "a\\rb\\x07\\x08\\x7f"),
        ("x\u202egnp.exe", "x\\u202egnp.exe"),
        ("caf\udce9", "caf\\xe9"),
        ("gâteau 犬 👩‍🔬\ttab\nline", "gâteau 犬 👩‍🔬\ttab\nline"),
    ],
)
def test_control_characters_are_shown_as_escapes(text, safe):
    assert printable(text, multiline=True) == safe
    assert shown(text) == shown(safe)


def test_a_text_object_is_cleaned_too():
    assert shown(Text("a\x1b[2Jb")) == "a�[2Jb\n"


def test_a_screen_shows_names_with_brackets(capsys):
    screen = Screen()
    screen.banner("stream [x] [/y]", ["tasks: [/a]"])
    screen.say("failed m0: none of [/data/a, /data/b] is there", style="bold red")
    screen.data(0, 1, "reading [/z]")
    out = capsys.readouterr().out
    assert all(part in out for part in ("stream [x] [/y]", "tasks: [/a]", "none of [/data/a, /data/b]", "reading [/z]"))


class Broken(io.StringIO):
    def __init__(self, error):
        super().__init__()
        self.error = error

    def write(self, text):
        raise self.error


def test_a_closed_pipe_stops_the_output_but_not_the_work(monkeypatch, capfd):
    monkeypatch.setattr("harness.display.console._discard_output", lambda: None)
    console = SafeConsole(file=Broken(BrokenPipeError(32, "Broken pipe")))
    with output():
        console.print("a")
        console.print("b")
    assert console.quiet


def test_a_full_disk_is_reported_once(monkeypatch, capsys):
    monkeypatch.setattr("harness.display.console._discard_output", lambda: None)
    console = SafeConsole(file=Broken(OSError(28, "No space left on device")))

    def command():
        with output():
            console.print("a")
            console.print("b")

    with pytest.raises(OutputError, match="No space left"):
        command()
    assert capsys.readouterr().err.count("no space is left on the disk") == 1


def test_a_message_cannot_move_the_cursor_or_fail(monkeypatch, capsys):
    complain("no \x1b[2J there")
    assert capsys.readouterr().err == "perennial: no \\x1b[2J there\n"
    monkeypatch.setattr(sys, "stderr", Broken(BrokenPipeError(32, "Broken pipe")))
    complain("not printed")


def cli(*arguments, stdout=subprocess.PIPE, **environment):
    command = [sys.executable, str(ROOT / "cli.py"), *arguments]
    return subprocess.run(command, env={**os.environ, **environment}, stdout=stdout, stderr=subprocess.PIPE, text=True)


@pytest.mark.slow
def test_output_in_ascii_has_escapes():
    done = cli("leaderboard", str(ROOT / "tests"), "--published", PYTHONIOENCODING="ascii")
    assert done.returncode == 0 and done.stderr == ""
    done = cli("list", "strategies", "--long", PYTHONIOENCODING="ascii")
    assert done.returncode == 0 and done.stderr == "" and done.stdout.isascii()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full here")
def test_a_full_output_is_status_1():
    with open("/dev/full", "w") as full:
        done = cli("list", "strategies", stdout=full)
    assert (done.returncode, done.stderr.count("no space is left on the disk")) == (1, 1)
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_a_closed_pipe_is_not_an_error():
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w") as pipe:
        done = cli("list", "strategies", "--long", stdout=pipe)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("name", ["a\nb", "Icon\r", "a\r\nb", 'say "hi", twice', "tab\there", "=1+1", " blank "])
def test_records_read_any_name_back(tmp_path, name):
    row = {"task": name, "value": "1"}
    write_csv(tmp_path / "whole.csv", ("task", "value"), [row])
    table = GrowingTable(tmp_path / "grown.csv", ("task", "value"))
    table.add([row])
    table.write()
    assert read_csv(tmp_path / "whole.csv") == read_csv(tmp_path / "grown.csv") == [row]


def test_a_spreadsheet_runs_no_formula(tmp_path):
    names = ["=HYPERLINK(1)", "+a", "-a", "@a", "\ta", "-5", "+1e3", "plain", "a\x1bb"]
    write_table(pd.DataFrame({"strategy": names, "value": 1.5}), tmp_path / "t.csv")
    written = [row["strategy"] for row in read_csv(tmp_path / "t.csv")]
    assert written == ["'=HYPERLINK(1)", "'+a", "'-a", "'@a", "'\ta", "-5", "+1e3", "plain", "a\\x1bb"]
    assert spreadsheet_text(-1.0) == -1.0 and spreadsheet_text(None) is None


def test_a_study_reads_an_escaped_name_back(tmp_path):
    study = read(SHIPPED)
    first = study.domain.iloc[0]
    write_table(study.assign(domain=study.domain.replace({first: "=closeups"})), tmp_path / "table.csv")
    assert "'=closeups" in (tmp_path / "table.csv").read_text()
    assert "=closeups" in set(read(tmp_path).domain) and first not in set(read(tmp_path).domain)
