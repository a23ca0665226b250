"""The rules of the layout: imports point one way and never in a circle, packages are declared, files stay small."""

import ast
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
# The packages of ours that each package may import, besides itself.
ALLOWED = {
    "models": set(),
    "reference_data": {"models"},
    "benchmarks": {"models", "reference_data"},
    "metrics": {"models", "reference_data", "benchmarks"},
    "strategies": {"models", "reference_data", "benchmarks", "metrics"},
    "harness": {"models", "reference_data", "benchmarks", "metrics", "strategies"},
    "tools": {"models", "reference_data", "benchmarks", "metrics", "strategies", "harness", "cli"},
}
SHIPPED = [package for package in ALLOWED if package != "tools"]
MODULES = [p for package in ALLOWED for p in sorted((ROOT / package).rglob("*.py"))]
# Folders of tests that mirror no package.
OTHER_TESTS = {"fakes", "robust", "speed", "gpu", "docs", "examples"}


def dotted(path):
    """Return the dotted name of a module's file."""
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def imported(path):
    """Yield the dotted names in the import statements of a file, of `from a import b` both a and a.b."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def circles(imports):
    """Return the groups of modules that import each other: Tarjan's strongly connected components of more than one."""
    index, low, stack, groups = {}, {}, [], []

    def visit(module):
        index[module] = low[module] = len(index)
        stack.append(module)
        for other in imports[module]:
            if other not in index:
                visit(other)
            if other in stack:
                low[module] = min(low[module], low[other])
        if low[module] == index[module]:
            at = stack.index(module)
            group, stack[at:] = stack[at:], []
            if len(group) > 1:
                groups.append(sorted(group))

    for module in imports:
        if module not in index:
            visit(module)
    return groups


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_point_one_way(path):
    package = path.relative_to(ROOT).parts[0]
    ours = {module.split(".")[0] for module in imported(path)} & {*ALLOWED, "cli", "perennial", "tests"}
    assert ours - {package} <= ALLOWED[package]


@pytest.mark.slow
def test_no_modules_import_each_other():
    names = {dotted(path): path for path in MODULES}
    # `from a import b` names the module a.b if it exists. Then the package a does not count as imported.
    imports = {}
    for name, path in names.items():
        mentioned = {module for module in imported(path) if module in names}
        imports[name] = {m for m in mentioned if not any(other.startswith(f"{m}.") for other in mentioned)} - {name}
    assert circles(imports) == []


def test_circles_are_found():
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"b"}, "d": {"a"}}) == [["b", "c"]]


def test_packages_are_declared():
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    assert set(declared) == {dotted(p) for package in SHIPPED for p in (ROOT / package).rglob("__init__.py")}


def test_packages_have_types_for_their_users():
    package_data = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]
    assert "py.typed" in package_data["*"]
    assert all((ROOT / package / "py.typed").exists() for package in SHIPPED)


def test_tests_mirror_the_packages():
    folders = {p.relative_to(ROOT / "tests") for p in (ROOT / "tests").rglob("*") if p.is_dir() and p.name != "__pycache__"}
    mirrored = {folder for folder in folders if folder.parts[0] not in OTHER_TESTS}
    assert not [str(folder) for folder in mirrored if not (ROOT / folder / "__init__.py").exists()]


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(ROOT)))
def test_files_are_at_most_400_lines(path):
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 400
