"""Code that the command line does not name runs only after the user has agreed."""

import hashlib
import io
import json
import sys

import pytest

import cli
from harness.config.trust import check_code
from models.registry import UserError


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def theirs(tmp_path, monkeypatch):
    """A record from somebody else and the strategy file that it names."""
    code = f"open({str(tmp_path / 'sprung')!r}, 'w')\nclass Evil: pass\n"
    (tmp_path / "evil.py").write_text(code)
    (tmp_path / "run.json").write_text(json.dumps({"request": {"benchmark": "mtil", "strategy": "evil.py:Evil"}}))
    (tmp_path / "run.toml").write_text('benchmark = "mtil"\nstrategy = "./evil.py"\n')
    monkeypatch.chdir(tmp_path)
    return hashlib.sha256(code.encode()).hexdigest()


def parsed(*words):
    return cli.parser().parse_args([*words])


@pytest.mark.parametrize("command", ["bench", "sweep"])
@pytest.mark.parametrize("flags", [["--config", "run.json"], ["--config", "run.toml", "--quiet"]])
def test_without_consent_it_is_a_sentence(command, flags, theirs, tmp_path, capsys):
    assert cli.main([command, *flags]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and f"names {tmp_path / 'evil.py'} (SHA-256 {theirs}), whose code would be run" in said
    assert "--trust-code" in said and not (tmp_path / "sprung").exists()


@pytest.mark.parametrize(
    "words",
    [
        ["bench", "--config", "run.json", "--trust-code"],
        ["bench", "--config", "run.json", "--strategy", "zscl"],
        ["bench", "--config", "run.json", "--strategy", "other.py:Other"],
        ["sweep", "--config", "run.json", "--strategies", "zscl,lora"],
        ["sweep", "--config", "run.json", "--trust-code"],
        ["bench", "mtil"],
    ],
)
def test_with_consent_or_without_code(words, theirs):
    check_code(parsed(*words))


def test_the_same_file_on_the_command_line_is_consent(theirs, tmp_path):
    (tmp_path / "link.py").symlink_to("evil.py")
    request = {"benchmark": "mtil", "strategy": "zscl", "plugins": ["evil.py:Plugin"]}
    (tmp_path / "run.json").write_text(json.dumps({"request": request}))
    with pytest.raises(UserError, match="whose code would be run"):
        check_code(parsed("bench", "--config", "run.json"))
    for name in ("evil.py", "./evil.py:Method", "link.py:Method", str(tmp_path / "evil.py:Method")):
        check_code(parsed("bench", "--config", "run.json", "--strategy", name))
    check_code(parsed("sweep", "--config", "run.json", "--strategies", "zscl,evil.py:Method"))
    check_code(parsed("bench", "--config", "run.json", "--plugin", "replay"))


@pytest.mark.parametrize(("answer", "agreed"), [("y\n", True), ("Yes\n", True), ("\n", False), ("n\n", False), ("", False)])
def test_a_terminal_asks(answer, agreed, theirs, monkeypatch):
    terminal = Terminal()
    monkeypatch.setattr(sys, "stdin", Terminal(answer))
    monkeypatch.setattr(sys, "stderr", terminal)
    arguments = parsed("sweep", "--config", "run.json")
    if agreed:
        check_code(arguments)
    else:
        with pytest.raises(UserError):
            check_code(arguments)
    assert f"(SHA-256 {theirs}), whose code would be run. Run it? [y/N]" in terminal.getvalue()
    # The runs of a sweep are separate commands.
    assert arguments.trust_code is agreed


def test_quiet_asks_nobody(theirs, monkeypatch):
    monkeypatch.setattr(sys, "stdin", Terminal("y\n"))
    monkeypatch.setattr(sys, "stderr", terminal := Terminal())
    with pytest.raises(UserError):
        check_code(parsed("bench", "--config", "run.json", "--quiet"))
    assert terminal.getvalue() == ""


def test_a_file_that_is_not_there(theirs, tmp_path):
    (tmp_path / "evil.py").unlink()
    with pytest.raises(UserError, match=r"Cannot read the code evil\.py: the file or folder does not exist"):
        check_code(parsed("bench", "--config", "run.json"))
