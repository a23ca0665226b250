"""The house rules that a reader relies on: imports point one way, packages are declared, files stay small."""

import ast
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
# What each package may import of ours, besides itself.
ALLOWED = {
    "models": set(),
    "reference_data": {"models"},
    "benchmarks": {"models", "reference_data"},
    "metrics": {"models", "reference_data", "benchmarks"},
    "strategies": {"models", "reference_data", "benchmarks", "metrics"},
    "harness": {"models", "reference_data", "benchmarks", "metrics", "strategies"},
}
# Run with `python -m`, imported by nobody: it drives whole runs.
SCRIPTS = {"tools/tune.py"}
MODULES = [p for package in ALLOWED for p in sorted((ROOT / package).rglob("*.py"))]


def imported(path):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module


@pytest.mark.parametrize("name", [n for p in MODULES if (n := str(p.relative_to(ROOT))) not in SCRIPTS])
def test_imports_point_one_way(name):
    path = ROOT / name
    package = name.split("/")[0]
    ours = {module.split(".")[0] for module in imported(path)} & {*ALLOWED, "cli", "tests"}
    assert ours - {package} <= ALLOWED[package]


def test_scripts_are_imported_by_nobody():
    modules = {s.removesuffix(".py").replace("/", ".") for s in SCRIPTS}
    for path in [*MODULES, ROOT / "cli.py"]:
        assert not modules & set(imported(path)), path


def test_packages_are_declared():
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    found = {".".join(p.parent.relative_to(ROOT).parts) for p in ROOT.glob("*/**/__init__.py") if ".venv" not in p.parts}
    assert set(declared) == {name for name in found if not name.startswith(("tests", "build"))}


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(ROOT)))
def test_files_are_rooms_not_halls(path):
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 400
