"""The wheels for a machine without a network: versions, sizes, the limit and the archive. Nothing is downloaded."""

import subprocess
import tarfile
from pathlib import Path

import pytest

from models.registry import UserError
from tools import carry

ROOT = Path(__file__).parents[2]


@pytest.fixture
def tree(tmp_path):
    """A repository with three files that the run needs, two that it does not, one ignored, and two wheels."""
    root = tmp_path / "repository"
    files = {
        "cli.py": 10,
        "models/tiny/weights": 100,
        "models/tiny-coca/weights": 300,
        "tests/gpu/run.sh": 20,
        "tests/test_x.py": 40,
        "gpu-wheels/a-1.whl": 1000,
        "gpu-wheels/b-2.whl": 2000,
    }
    for name, size in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"x" * size)
    (root / ".gitignore").write_text("/gpu-wheels/\n")
    subprocess.run(["git", "init", "-q", str(root)], check=True)
    return root


def test_sizes_and_the_limit(tree):
    paths, wheels = carry.repository_files(tree), sorted((tree / "gpu-wheels").glob("*.whl"))
    assert paths == [
        ".gitignore",
        "cli.py",
        "models/tiny-coca/weights",
        "models/tiny/weights",
        "tests/gpu/run.sh",
        "tests/test_x.py",
    ]
    parts = carry.sizes(tree, paths, wheels)
    assert parts == {
        "files at the root": (23, 23), "models/tiny-coca": (300, 0), "models/tiny": (100, 100), "tests": (60, 20),
        "a-1.whl": (1000, 1000), "b-2.whl": (2000, 2000),
    }  # fmt: skip
    carry.check_size(parts, 3483 / carry.MIB)
    with pytest.raises(UserError, match=r"largest parts are b-2\.whl .*a-1\.whl .*models/tiny-coca"):
        carry.check_size(parts, 3482 / carry.MIB)


def test_the_archive_has_what_the_run_needs(tree, tmp_path):
    archive, paths = tmp_path / "all.tar.gz", carry.repository_files(tree)
    assert carry.pack(tree, paths, tree / "gpu-wheels", archive, 1) == archive.stat().st_size
    with tarfile.open(archive) as tar:
        names = {name for name in tar.getnames() if name != ".gitignore"}
    assert names == {"cli.py", "models/tiny/weights", "tests/gpu/run.sh", "gpu-wheels/a-1.whl", "gpu-wheels/b-2.whl"}
    with pytest.raises(UserError, match="limit"):
        carry.pack(tree, paths, tree / "gpu-wheels", archive, 1e-6)
    assert not archive.exists()


def test_versions_are_those_of_the_lock_file():
    lock = (ROOT / "requirements.lock").read_text()
    assert "avalanche-lib==0.6.0" in carry.pinned(lock, carry.CARRIED)
    assert carry.pinned("a==1\nb-c==2 ; python_version < '3'\n", ["b-c", "a"]) == ["b-c==2", "a==1"]
    with pytest.raises(UserError, match=r"has no x, y"):
        carry.pinned("a==1\n", ["a", "x", "y"])
