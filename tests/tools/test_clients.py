"""Fetching packages: the client's command, the checksum, and errors in one sentence. Nothing is fetched."""

import hashlib
import subprocess
from pathlib import Path

import pytest

from models.registry import UserError
from tools import clients
from tools.clients import Package
from tools.study_data.packages import PACKAGES

CONTENT = b"the package"
DIGEST = hashlib.sha256(CONTENT).hexdigest()
PACKAGE = Package("npm", "@set/icons", "1.2.3", DIGEST, "MIT")


@pytest.fixture
def client(monkeypatch):
    """Replace the clients by one that writes a file into the current folder, and return the commands that were run."""
    commands = []

    def run(command, cwd, **options):
        commands.append(command)
        Path(cwd, "set-icons-1.2.3.tgz").write_bytes(CONTENT)
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(clients.shutil, "which", lambda name: f"/bin/{name}")
    monkeypatch.setattr(clients.subprocess, "run", run)
    return commands


@pytest.mark.parametrize(
    ("package", "name"),
    [
        (PACKAGE, "set-icons-1.2.3.tgz"),
        (Package("pypi", "some-data", "0.4", "", ""), "some_data-0.4-py3-none-any.whl"),
        (Package("debian", "cards", "1:3.2-1", "", ""), "cards_1%3a3.2-1_all.deb"),
    ],
)
def test_names_of_files(package, name):
    assert clients.file_name(package) == name


def test_a_package_is_fetched_once_with_the_client_of_its_registry(client, tmp_path):
    path = clients.fetch(PACKAGE, tmp_path)
    assert path.read_bytes() == CONTENT and list(tmp_path.iterdir()) == [path]
    assert clients.fetch(PACKAGE, tmp_path) == path
    assert client == [["/bin/npm", "pack", "--silent", "@set/icons@1.2.3"]]


def test_a_wrong_checksum_is_refused_when_fetched_and_when_stored(client, tmp_path):
    wrong = PACKAGE._replace(sha256="0" * 64)
    with pytest.raises(UserError, match=f"is refused: its SHA-256 is {DIGEST}, expected 0000.*Remove the file"):
        clients.fetch(wrong, tmp_path)
    assert list(tmp_path.iterdir()) == []
    clients.fetch(PACKAGE, tmp_path)
    with pytest.raises(UserError, match="is refused"):
        clients.fetch(wrong, tmp_path)


def test_a_client_that_fails_or_is_missing_is_one_sentence(monkeypatch, tmp_path):
    monkeypatch.setattr(clients.shutil, "which", lambda name: f"/bin/{name}")

    def failing(command, **options):
        return subprocess.CompletedProcess(command, 100, "", "Reading\nE: Version '1:3.2-1' was not found\n")

    monkeypatch.setattr(clients.subprocess, "run", failing)
    debian = Package("debian", "cards", "1:3.2-1", "", "")
    with pytest.raises(UserError, match=r"Cannot fetch cards 1:3.2-1 with .*: E: Version '1:3.2-1' was not found.*bookworm"):
        clients.fetch(debian, tmp_path)

    def silent(command, timeout, **options):
        raise subprocess.TimeoutExpired(command, timeout)

    monkeypatch.setattr(clients.subprocess, "run", silent)
    with pytest.raises(UserError, match=r"no answer within 900 seconds\. Check the network"):
        clients.fetch(PACKAGE, tmp_path)
    monkeypatch.setattr(clients.shutil, "which", lambda name: None)
    with pytest.raises(UserError, match="the client `npm` is not installed"):
        clients.fetch(PACKAGE, tmp_path)


def test_every_package_of_the_study_is_pinned():
    for package in PACKAGES.values():
        assert len(package.sha256) == 64 and package.version[0].isdigit() and package.licence, package.name
