"""Declarations made without torch have the options, checks and keys of the classes."""

import dataclasses
import sys
import typing

import pytest

import models
from harness.config.resolve import check_names, outline, resolve
from harness.config.run_config import RunConfig
from models.loading.architectures import architectures, check_model
from models.registry import UserError
from strategies import STRATEGIES, TARGETS
from strategies.engine.avalanche_template import Template
from strategies.engine.declared import LIGHT, declared


@pytest.mark.parametrize("name", TARGETS)
def test_a_declaration_is_the_class_without_its_methods(name):
    found, real = declared(name), STRATEGIES.get(name)
    assert (found.__module__, found.__name__) == (real.__module__, real.__name__)
    assert (found.default_tuning, found.needs_reference, found.trains, found.needs_validation) == (
        *(real.default_tuning, real.needs_reference, real.trains, real.needs_validation),
    )
    assert dataclasses.asdict(found.Options()) == dataclasses.asdict(real.Options())
    assert typing.get_type_hints(found.Options) == typing.get_type_hints(real.Options)
    ours = [c.__name__ for c in real.__mro__ if c.__module__.startswith("strategies.") and not issubclass(Template, c)]
    assert [c.__name__ for c in found.__mro__ if c is not object] == ours


@pytest.mark.parametrize("name", TARGETS)
@pytest.mark.parametrize("more", [{}, {"model": "ViT-B-16", "pretrained": "openai", "options": {"lr": "0.1"}}])
def test_the_key_is_that_of_the_run(name, more, tmp_path):
    config = RunConfig(strategy=name, seed=3, out=str(tmp_path), **more)
    found, real = outline(config), resolve(config)
    assert found.identity() == real.identity() and found.folder == real.folder


@pytest.mark.parametrize(
    ("benchmark", "more"),
    [
        ("cil", {}),
        ("stream", {"tasks": ("digits", "letters"), "tuning": "lora", "options": {"tuning.rank": "2", "iterations": "3"}}),
        ("mtil", {"order": "II", "plugins": ("replay",), "options": {"replay.mem_size": "10"}}),
    ],
)
def test_other_benchmarks_tunings_and_plugins(benchmark, more):
    config = RunConfig(benchmark, "zscl", **more)
    assert outline(config).identity() == resolve(config).identity()


@pytest.mark.parametrize(
    "options",
    [{"lrr": "0.1"}, {"lr": "fast"}, {"l2": "-1"}, {"iterations": "0"}, {"tuning.rank": "2"}, {"teacher": "nobody"}],
)
def test_mistakes_are_told_in_the_same_words(options):
    config, said = RunConfig(strategy="zscl", options=options), []
    for check in (outline, resolve):
        with pytest.raises(UserError) as caught:
            check(config)
        said.append(str(caught.value))
    assert said[0] == said[1]


def test_code_of_users_is_left_to_its_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text("class Mine:\n    raise RuntimeError('this was run')\n")
    assert outline(RunConfig(strategy="mine.py:Mine")) is None


@pytest.mark.parametrize(
    ("name", "source", "words"),
    [
        ("none.py", None, r"There is no strategy file 'none\.py'"),
        ("mine.py:Mine", "class Mine(:\n    pass\n", r"mine\.py cannot be imported: SyntaxError in line 1: invalid syntax"),
        ("mine.py:Mine", "a = '\0'\n", r"mine\.py cannot be imported"),
        ("mine.py:Mein", "class Mine:\n    pass\n", r"Unknown strategy in mine\.py 'Mein'\. Did you mean Mine\?"),
    ],
)
def test_mistakes_in_a_file_are_told_before_anything_is_run(name, source, words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    if source is not None:
        (tmp_path / "mine.py").write_text(source)
    with pytest.raises(UserError, match=words):
        check_names(RunConfig(strategy=name))


@pytest.mark.parametrize(
    "source",
    [
        "class Mine: pass",
        "from other import Mine",
        "from other import *",
        "if True:\n    Mine = make()",
        "import other as Mine",
    ],
)
def test_a_class_may_be_made_in_any_way(source, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text(f"raise SystemExit\n{source}\n")
    check_names(RunConfig(strategy="mine.py:Mine"))


def test_light_modules_are(monkeypatch):
    for name in LIGHT:
        with open(sys.modules[name].__file__, encoding="utf-8") as file:
            assert "import torch" not in file.read()


def test_names_of_models(tmp_path, monkeypatch):
    import open_clip

    for name in (None, "tiny", str(tmp_path), "hf-hub:owner/model", "ViT-B-16", *models.KNOWN):
        check_model(name)
    with pytest.raises(UserError, match=r"Unknown model 'ViT-B-61'\. Did you mean ViT-B-16"):
        check_model("ViT-B-61")
    known = set(open_clip.list_models())
    monkeypatch.delitem(sys.modules, "open_clip")
    assert set(architectures()) == known
