"""No file runs code, except for a strategy file that the user names."""

import ast
import io
import json
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch

import cli
from benchmarks.mini import cache
from harness.records.files import file_sha256, write_json
from harness.run import checkpoint
from harness.run.run_files import CHECKPOINT_FILES, DIGESTS
from models.registry import UserError

ROOT = Path(__file__).parents[3]
PACKAGES = ("benchmarks", "harness", "metrics", "models", "reference_data", "strategies")
SOURCES = [ROOT / "cli.py", *(path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py")))]

NEVER = {
    *("eval", "exec", "compile", "__import__", "os.system", "os.popen", "runpy.run_path", "runpy.run_module"),
    *("pickle.load", "pickle.loads", "pickle.Unpickler", "cloudpickle.load", "cloudpickle.loads", "joblib.load"),
    *("dill.load", "dill.loads", "marshal.load", "marshal.loads", "shelve.open", "pandas.read_pickle"),
    *("torch.jit.load", "torch.hub.load", "yaml.load", "yaml.full_load", "yaml.unsafe_load", "shutil.unpack_archive"),
}
NEVER_METHODS = {"extractall", "exec_module", "load_module", "read_pickle", "unsafe_load"}
# Calls that are safe only with this argument.
ONLY_WITH = {"torch.load": ("weights_only", True), "numpy.load": ("allow_pickle", False)}
# Places where a forbidden call is safe, with the test that shows it.
WITH_CARE = {
    ("harness/config/user_file.py", "exec_module"): "the strategy file that the user names",
    ("strategies/engine/declared.py", "exec"): "the project's own source, of which only declarations are kept",
    ("strategies/engine/declared.py", "compile"): "the same",
    ("harness/export/reload.py", "exec"): "the lines that the export has written into its model card, before it is published",
    ("harness/export/reload.py", "compile"): "the same",
    ("benchmarks/full/unpack.py", "extract"): "tests/benchmarks/full/test_unpack.py",
    ("benchmarks/full/read_pickles.py", "pickle.Unpickler"): "CIFAR's own format: arrays and plain types alone",
    ("models/loading/torchscript.py", "pickle.Unpickler"): "tests/models/loading/test_read_weights.py",
}


def dotted(node, names):
    """Return the imported name of a call: `np.load` is numpy.load."""
    parts = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    head = names.get(node.id, node.id) if isinstance(node, ast.Name) else "?"
    return ".".join([head, *reversed(parts)])


def imported(tree):
    names = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            # `import a.b` binds the name a, `import a.b as c` binds c to a.b.
            whole = {alias.asname or alias.name.partition(".")[0]: alias for alias in node.names}
            names |= {name: alias.name if alias.asname else name for name, alias in whole.items()}
        elif isinstance(node, ast.ImportFrom):
            names |= {alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names}
    return names


def unsafe(source):
    """Return the places of a module that could run code from a file: (line, name)."""
    tree = ast.parse(source)
    names, found = imported(tree), []
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef):
            found += [(node.lineno, name) for base in node.bases if (name := dotted(base, names)) in NEVER]
        elif isinstance(node, (ast.Attribute, ast.Name)) and dotted(node, names) in NEVER - {"compile"}:
            found.append((node.lineno, dotted(node, names)))
        elif isinstance(node, ast.Call):
            name, method = dotted(node.func, names), dotted(node.func, names).rpartition(".")[2]
            given = {k.arg: k.value.value for k in node.keywords if isinstance(k.value, ast.Constant)}
            if name == "compile" or method in NEVER_METHODS:
                found.append((node.lineno, name if name == "compile" else method))
            if name in ONLY_WITH and given.get(ONLY_WITH[name][0]) is not ONLY_WITH[name][1]:
                found.append((node.lineno, name))
            if method == "extract" and isinstance(node.func, ast.Attribute):
                found.append((node.lineno, method))
            if given.get("shell") or given.get("trust_remote_code") or given.get("allow_pickle"):
                found.append((node.lineno, f"{name} with {sorted(given)}"))
    return found


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("import pickle\npickle.load(f)", "pickle.load"),
        ("from pickle import loads as l\nl(b)", "pickle.loads"),
        ("import pickle as p\nclass U(p.Unpickler): pass", "pickle.Unpickler"),
        ("import pickle\nread = pickle.loads", "pickle.loads"),
        ("import torch\ntorch.load(f)", "torch.load"),
        ("import torch\ntorch.load(f, weights_only=False)", "torch.load"),
        ("import torch\ntorch.load(f, weights_only=w)", "torch.load"),
        ("import numpy as np\nnp.load(f)", "numpy.load"),
        ("from numpy import load\nload(f, allow_pickle=True)", "numpy.load"),
        ("import yaml\nyaml.load(f)", "yaml.load"),
        ("import torch\ntorch.jit.load(f)", "torch.jit.load"),
        ("eval(s)", "eval"),
        ("exec(s)", "exec"),
        ("compile(s, '', 'exec')", "compile"),
        ("archive.extractall(folder)", "extractall"),
        ("archive.extract(member)", "extract"),
        ("spec.loader.exec_module(m)", "exec_module"),
        ("import subprocess\nsubprocess.run(c, shell=True)", "subprocess.run with ['shell']"),
    ],
)
def test_what_is_unsafe_is_found(source, name):
    assert name in [found for _, found in unsafe(source)]


def test_what_is_safe_is_not():
    source = "import re, torch\nimport numpy as np\nre.compile(s)\nmodel.eval()\nnp.load(f, allow_pickle=False)\n"
    assert not unsafe(source + "torch.load(f, weights_only=True)\nframe.eval\n")


@pytest.mark.slow
def test_no_module_runs_code_from_a_file():
    found = {
        (str(path.relative_to(ROOT)), name): line for path in SOURCES for line, name in unsafe(path.read_text(encoding="utf-8"))
    }
    assert len(SOURCES) > 100 and {f"{path}:{found[path, name]}: {name}" for path, name in found.keys() - WITH_CARE} == set()
    assert found.keys() == WITH_CARE.keys(), "no exception is left over"


@pytest.mark.parametrize("path", [path for path, name in WITH_CARE if name == "pickle.Unpickler"])
def test_unpicklers_know_a_few_names_and_never_ask_for_more(path):
    tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
    classes = [node for node in ast.walk(tree) if isinstance(node, ast.ClassDef)]
    (finder,) = [f for c in classes for f in c.body if isinstance(f, ast.FunctionDef) and f.name == "find_class"]
    called = {ast.unparse(node.func) for node in ast.walk(finder) if isinstance(node, ast.Call)}
    assert not any("super" in name or "import" in name or "getattr" in name for name in called)
    assert any(isinstance(node, ast.Raise) for node in ast.walk(finder))


class Trap:
    """Unpickling it makes a folder."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        import os

        return os.mkdir, (self.path,)


@pytest.mark.parametrize("name", CHECKPOINT_FILES)
@pytest.mark.parametrize("made", ["pickle", "torch.save"])
def test_a_strangers_checkpoint_runs_nothing(name, made, tmp_path):
    """The digests match, as those of a stranger's file would."""
    trap = Trap(tmp_path / "sprung")
    checkpoint.save_state(tmp_path, 0, {"w": torch.zeros(1)}, {"t": torch.ones(1)})
    source = tmp_path / "after-0"
    if made == "pickle":
        (source / name).write_bytes(pickle.dumps(trap))
    else:
        torch.save(trap, source / name)
    write_json(source / DIGESTS, {each: file_sha256(source / each) for each in CHECKPOINT_FILES})
    with pytest.raises(UserError, match=rf"after-0/{name} is missing or damaged"):
        checkpoint.load_state(tmp_path, 0)
    assert not (tmp_path / "sprung").exists()
    data = (source / name).read_bytes()
    pickle.loads(data) if made == "pickle" else torch.load(io.BytesIO(data), weights_only=False)
    assert (tmp_path / "sprung").is_dir(), "the trap is one"


def test_a_cache_with_objects_is_refused(tmp_path):
    path = tmp_path / "cache.npz"
    np.savez(path, images=np.array([Trap(tmp_path / "sprung")], dtype=object), allow_pickle=True)
    assert cache.read(path) is None and not (tmp_path / "sprung").exists()


def test_names_of_tensors_are_not_paths(tmp_path):
    """The JSON of a checkpoint can refer only to tensors of its file."""
    checkpoint.save_state(tmp_path, 0, {}, {"t": torch.ones(1)})
    source = tmp_path / "after-0"
    for name in ("../../secret", "/etc/passwd", 3, None, ["state.t"], {}):
        (source / "strategy.json").write_text(json.dumps({"t": {checkpoint.TENSOR: name}}))
        write_json(source / DIGESTS, {each: file_sha256(source / each) for each in CHECKPOINT_FILES})
        with pytest.raises(UserError, match=r"strategy\.json is missing or damaged"):
            checkpoint.load_state(tmp_path, 0)


def test_reading_records_runs_no_strategy_file(tmp_path):
    """The leaderboard, the report and comparisons name a user's method and do not run it."""
    for path in [*(ROOT / "harness" / "records").glob("*.py"), *(ROOT / "harness" / "report").glob("*.py")]:
        assert "user_file" not in path.read_text(encoding="utf-8")


def test_the_help_warns_that_a_strategy_file_is_code(capsys):
    with pytest.raises(SystemExit):
        cli.main(["bench", "--help"])
    assert "FILE.py:Class, which is run as code" in " ".join(capsys.readouterr().out.split())
    assert "run as code" in " ".join((ROOT / "README.md").read_text(encoding="utf-8").split())
