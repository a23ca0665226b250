"""Named pipes, devices and links as input and output: no hang, and nothing is replaced that is not a file."""

import errno
import os
import socket
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

import cli
from benchmarks.mini import cache
from harness.config.config_file import read_file
from harness.records.files import check_table, read_csv, read_json, write_json
from harness.run import locks
from harness.run.locks import AtWork, Holder, at_work, holder, locked
from harness.sweep import child_process as child
from harness.sweep.run_status import last_line
from models import files
from models.files import NotRegular, open_file, read_text, reason, remove_named, write_bytes, write_output
from models.registry import UserError

ROOT = Path(__file__).parents[2]


@pytest.fixture
def pipe(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    return tmp_path / "pipe"


def test_a_named_pipe_is_read_by_nobody(pipe):
    """Each of these calls would otherwise wait forever."""
    for read in (open_file, read_text, write_json):
        with pytest.raises(NotRegular):
            read(pipe, {}) if read is write_json else read(pipe)
    for read in (read_json, read_csv, lambda path: read_file(str(path)), cache.read):
        with pytest.raises(UserError, match="it is a named pipe, not a file"):
            read(pipe)
    assert last_line(pipe) == ""
    with pytest.raises(OSError, match="not a file"):
        child.start(["true"], str(pipe), ".", {})
    with pytest.raises(OSError, match="not a file"):
        child.start(["true"], "/dev/null", ".", {})
    assert stat.S_ISFIFO(pipe.stat().st_mode)


@pytest.mark.parametrize("what", ["a named pipe", "a symbolic link", "a folder", "a socket"])
def test_what_is_in_the_lock_files_place(what, tmp_path):
    path, reference = tmp_path / "run" / ".lock", tmp_path / "thesis.tex"
    path.parent.mkdir()
    reference.write_text("years of work")
    if what == "a named pipe":
        os.mkfifo(path)
    elif what == "a symbolic link":
        path.symlink_to(reference)
    elif what == "a folder":
        path.mkdir()
    else:
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(os.path.relpath(path))
    assert not at_work(path.parent)
    with pytest.raises(UserError, match=f"The lock file .* is {what}, not a file: remove it"), locked(path.parent):
        pass
    assert reference.read_text() == "years of work"


def test_a_lock_says_whose_it_is(tmp_path, monkeypatch):
    monkeypatch.setattr(locks, "PATIENCE", 0.0)
    with locked(tmp_path):
        mine = holder(tmp_path)
        assert mine.pid == os.getpid() and mine.host == socket.gethostname() and mine.is_here
        with pytest.raises(AtWork, match=rf"at work on {tmp_path}: process {mine.pid} on {mine.host} since \d{{4}}.*\d\.$"):
            locked(tmp_path).__enter__()
        # The error for a file of another machine on a drive without locks.
        (tmp_path / ".lock").write_text("42\nnode7\n")
        with pytest.raises(AtWork, match=r"process 42 on node7 since .*If it no longer runs there \(`ps"):
            locked(tmp_path).__enter__()
        (tmp_path / ".lock").write_text("\x1b[31mhello")
        with pytest.raises(AtWork, match=r"If it no longer runs, remove .*/\.lock and start again") as caught:
            locked(tmp_path).__enter__()
        assert "\x1b" not in str(caught.value)
    assert not Holder(2**40, socket.gethostname(), 0).is_here and not Holder(os.getpid(), "node7", 0).is_here
    with locked(tmp_path):
        assert holder(tmp_path).pid == os.getpid(), "what the last holder wrote is replaced"


def test_no_lock_service(tmp_path, monkeypatch):
    import fcntl

    def refuse(number):
        def flock(handle, how):
            raise OSError(number, os.strerror(number))

        return flock

    monkeypatch.setattr(locks, "PATIENCE", 0.0)
    monkeypatch.setattr(fcntl, "flock", refuse(errno.ENOLCK))
    with pytest.raises(UserError, match="no lock service"), locked(tmp_path / "a"):
        pass
    monkeypatch.setattr(fcntl, "flock", refuse(errno.ENOSYS))
    with locked(tmp_path / "b"), pytest.raises(AtWork, match=rf"process {os.getpid()} on "):
        locked(tmp_path / "b").__enter__()


def test_output_to_devices_pipes_and_links(pipe, tmp_path, capfd, monkeypatch):
    for device in ("/dev/null", "/dev/stdout", "/proc/self/fd/1"):
        write_output(device, b"text\n")
    assert capfd.readouterr().out == "text\n" * 2
    with pytest.raises(OSError, match="/dev/full") as caught:
        write_output("/dev/full", b"x")
    assert caught.value.errno == errno.ENOSPC and stat.S_ISCHR(os.stat("/dev/full").st_mode)
    got = []
    reader = threading.Thread(target=lambda: got.append(pipe.read_bytes()))
    reader.start()
    write_output(pipe, b"x" * 100_000)
    reader.join()
    assert got == [b"x" * 100_000] and stat.S_ISFIFO(pipe.stat().st_mode)
    monkeypatch.setattr(files, "READER", 0.0)
    with pytest.raises(OSError, match="nobody reads this named pipe"):
        write_output(pipe, b"x")
    table, link, dangling = (tmp_path / name for name in ("table.csv", "link", "dangling"))
    table.write_text("old")
    table.chmod(0o640)
    link.symlink_to(table)
    dangling.symlink_to(tmp_path / "new.csv")
    write_output(link, b"1")
    write_output(dangling, b"2")
    assert link.is_symlink() and table.read_text() == "1" and stat.S_IMODE(table.stat().st_mode) == 0o640
    assert dangling.is_symlink() and (tmp_path / "new.csv").read_text() == "2"
    # A file of a record: the link is replaced, and its target stays.
    write_bytes(link, b"3")
    assert not link.is_symlink() and table.read_text() == "1"
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_standard_output_that_is_a_file_keeps_what_is_in_it(tmp_path):
    out = tmp_path / "said.txt"
    code = "print('a', flush=True); from models.files import write_output as w; w('/dev/stdout', b'page\\n'); print('b')"
    with out.open("w") as file:
        subprocess.run([sys.executable, "-c", code], stdout=file, cwd=ROOT, check=True)
    assert out.read_text() == "a\npage\nb\n"


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("folder", "it is a folder, not a file"),
        ("new/", "it is a folder, not a file"),
        ("socket", "it is a socket, not a file"),
        ("loop", "its symbolic links form a loop"),
        ("file/x.csv", "one component of the path is a file"),
        ("n" * 300, "the name is too long"),
        ("unread/new/t.csv", "permission denied"),
    ],
)
def test_outputs_that_cannot_be_are_told_before_the_work(name, words, tmp_path, monkeypatch):
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "unread").mkdir(mode=0o500)
    monkeypatch.chdir(tmp_path)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("socket")
    if "unread" in name and os.geteuid() == 0:
        monkeypatch.setattr(os, "access", lambda path, mode: not str(path).endswith("unread"))
    with pytest.raises(UserError, match=f"Cannot write {name}: {words}"):
        check_table(name)


def test_deleting_goes_by_name_and_never_through_a_link(tmp_path):
    home, folder = tmp_path / "home", tmp_path / "run"
    for each in (home, folder):
        each.mkdir()
        (each / "run.json").touch()
    for name in ("notes.txt", ".run.json.abcd1234", ".run.json.bak", "run.json.old"):
        (folder / name).touch()
    (folder / "accuracy.csv").symlink_to(home / "run.json")
    (folder / "train.csv").mkdir()
    left = remove_named(folder, r"run\.json", r"accuracy\.csv", r"train\.csv")
    assert left == [folder / "train.csv"]
    assert sorted(os.listdir(folder)) == [".run.json.bak", "notes.txt", "run.json.old", "train.csv"]
    (tmp_path / "link").symlink_to(home)
    assert remove_named(tmp_path / "link", r"run\.json") == [] and (home / "run.json").exists()


def test_reasons_are_sentences():
    assert reason(OSError(errno.EMFILE, "Too many open files")).startswith("this process has too many files open; raise")
    assert reason(OSError(errno.EDQUOT, "x")) != reason(OSError(errno.ENOSPC, "x"))
    assert reason(OSError(errno.EXDEV, "Invalid cross-device link")) == "Invalid cross-device link"


def test_a_working_directory_that_is_gone(tmp_path, monkeypatch, capsys):
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    assert cli.main(["list"]) == 2
    assert capsys.readouterr().err == "perennial: The working directory no longer exists: change to another one with cd.\n"


def test_no_home_folder(monkeypatch):
    from benchmarks.data.cache_folder import cache_folder

    for name in ("PERENNIAL_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(Path, "home", lambda: Path("~").expanduser())
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)
    with pytest.raises(UserError, match="set PERENNIAL_CACHE to a folder"):
        cache_folder("pixels")
