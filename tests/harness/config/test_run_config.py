"""From flags and files to a resolved configuration."""

import dataclasses
import importlib.util
import json
import re
import shutil
import sys
from dataclasses import dataclass
from typing import Literal

import pytest

from benchmarks import settings as benchmark_settings
from harness.config.config_file import read_file
from harness.config.options import make_options, parse_assignments
from harness.config.resolve import check_names, resolve, unchanged_data
from harness.config.run_config import RunConfig
from models.registry import UserError
from strategies import STRATEGIES
from strategies.engine.strategy import Strategy
from strategies.zscl import ZSCL

METHOD = """
from dataclasses import dataclass
from strategies import Strategy

class MyMethod(Strategy):
    @dataclass(frozen=True)
    class Options(Strategy.Options):
        weight: float = 1.0
        flag: bool = False
        kind: str = "a"

    def compute_loss(self, batch):
        return self.options.weight * super().compute_loss(batch)
"""


def test_defaults_are_the_mini_edition_with_the_tiny_model():
    resolved = resolve(RunConfig())
    assert resolved.strategy_class is ZSCL and (resolved.model, resolved.pretrained) == ("tiny", None)
    assert resolved.order_label == "I" and len(resolved.tasks) >= 8 and len(resolved.heldout) >= 2
    assert resolved.folder.parent.name == "mtil-mini-I" and resolved.folder.name == f"zscl-{resolved.key}"


def test_the_key_is_what_decides_the_numbers():
    base = resolve(RunConfig()).key
    same = [RunConfig(device="cpu"), RunConfig(out="elsewhere"), RunConfig(fresh=True), RunConfig(order="default")]
    settings = benchmark_settings.mini("mtil")
    same.append(RunConfig(options={"lr": str(settings["finetune"]["lr"])}))
    assert {resolve(c).key for c in same} == {base}
    other = [
        RunConfig(seed=1), RunConfig(limit=5), RunConfig(order="II"), RunConfig(options={"l2": 7}),
        RunConfig(strategy="finetune"),
        RunConfig(tuning="visual"), RunConfig(measure_n=10), RunConfig(heldout=()), RunConfig(pretrained="random"),
    ]  # fmt: skip
    keys = [resolve(c).key for c in other]
    assert len({base, *keys}) == len(other) + 1


def test_measures_are_in_the_key_where_they_are_not_the_default():
    base = resolve(RunConfig())
    usual = ("iimm", "iimm_intra", "iimm_inter", "silhouette", "correct_pair", "cka")
    assert base.measures == usual and "measures" not in base.identity()
    assert resolve(RunConfig(measures=usual[::-1])).key == base.key
    more, order = resolve(RunConfig(measures=("logme", "iimm"))), resolve(RunConfig(measures=("iimm", "logme", "iimm")))
    assert more.key != base.key and order.key == more.key and more.identity()["measures"] == ["iimm", "logme"]
    assert resolve(RunConfig(measures=("all",))).measures[-1] == "cka"


def test_a_custom_order_has_its_own_folder():
    one, two = (resolve(RunConfig(order=order)) for order in ("mnist,logos", "logos,mnist"))
    assert re.fullmatch("custom-[0-9a-f]{8}", one.order_label) and one.order_label != two.order_label
    assert one.folder.parent.name == f"mtil-mini-{one.order_label}" and one.identity()["order"] == one.order_label


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"benchmark": "mitl"}, "Did you mean mtil"),
        ({"edition": "Mini"}, "Did you mean mini"),
        ({"strategy": "zsl"}, "Did you mean zscl"),
        ({"tuning": "ful"}, "Did you mean full"),
        ({"order": "mnits"}, "mnist"),
        ({"heldout": ("digit",)}, "Did you mean digits"),
        ({"limit": 0}, "--limit must be at least 2"),
        ({"seed": -1}, "--seed"),
        ({"options": {"itertions": 5}}, "Did you mean iterations"),
        ({"options": {"iterations": "many"}}, "iterations takes a whole number, got 'many'"),
        ({"options": {"iterations": 0}}, "iterations must be at least 1"),
        ({"options": {"lr": "-1"}}, "lr must be at least 0"),
        ({"options": {"lr": "nan"}}, "lr takes a finite number"),
        ({"options": {"lr": "inf"}}, "lr takes a finite number"),
        ({"options": {"label_smoothing": 2}}, "label_smoothing must be at most 1"),
        ({"options": {"beta1": 1}}, "beta1 must be less than 1"),
        ({"options": {"l2": -1}}, "l2 must be at least 0"),
        ({"protocol": "agnostc"}, "Did you mean agnostic"),
        ({"shots": 0}, "--shots must be at least 1"),
        ({"tasks": ("mnist",)}, "takes no --tasks"),
        ({"steps": 3}, "takes no --steps"),
        ({"measure_n": 1}, "--measure-n"),
        ({"measures": ("silouette",)}, "Did you mean silhouette"),
        ({"options": {"temperature": 0}}, "temperature must be greater than 0"),
        ({"strategy": "nowhere.py:X"}, "no strategy file"),
    ],
)
def test_mistakes(change, message):
    with pytest.raises(UserError, match=message):
        resolve(RunConfig(**change))


def test_options_take_class_then_edition_then_user():
    settings = benchmark_settings.mini("mtil")
    mini = make_options(ZSCL, benchmark_settings.mini("mtil"), {})
    assert mini.iterations == settings["finetune"]["iterations"] and mini.l2 == settings["zscl"]["l2"]
    assert mini.temperature == 2.0, "the class default where the edition has none"
    full = make_options(ZSCL, {}, {})
    assert full == ZSCL.Options() and full.iterations == 1001
    changed = make_options(ZSCL, benchmark_settings.mini("mtil"), {"iterations": "7", "l2": 3})
    assert (changed.iterations, changed.l2) == (7, 3.0) and isinstance(changed.l2, float)


def test_a_subclass_inherits_the_settings_of_its_base():
    class Mine(ZSCL):
        pass

    assert make_options(Mine, benchmark_settings.mini("mtil"), {}) == make_options(ZSCL, benchmark_settings.mini("mtil"), {})


def test_another_model_keeps_the_papers_options():
    """The settings of the tiny model would ruin a real one."""
    options = resolve(RunConfig(model="ViT-B-16", pretrained="openai")).options
    assert dataclasses.replace(options, lr_by_task={}) == ZSCL.Options()
    # ZSCL's scripts train two of its datasets at 5e-5, the others at 1e-5.
    assert options.lr == 1e-5 and options.lr_by_task == {"Aircraft": 5e-5, "MNIST": 5e-5}


def test_a_namesake_is_not_a_built_in_strategy():
    namesake = type("ZSCL", (Strategy,), {"Options": Strategy.Options})
    assert make_options(namesake, benchmark_settings.mini("mtil"), {}) == make_options(
        Strategy, benchmark_settings.mini("mtil"), {}
    )


def test_forgotten_dataclass_decorator():
    class Mine(Strategy):
        class Options(Strategy.Options):
            weight: float = 1.0

    with pytest.raises(UserError, match=r"Mine\.Options needs @dataclass"):
        make_options(Mine, benchmark_settings.mini("mtil"), {})


def test_the_key_knows_the_weights_and_the_pictures(tmp_path, monkeypatch, model_directory):
    folder = tmp_path / "model"
    shutil.copytree(model_directory, folder)
    config = RunConfig(model=str(folder))
    before = resolve(config)
    weights = folder / "open_clip_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"x")
    assert resolve(config).key != before.key and before.weights_sha256
    monkeypatch.setattr("benchmarks.mini.cache.GENERATOR_VERSION", 10**6)
    assert resolve(RunConfig()).data_version != before.data_version


def test_the_seeds_of_a_command_look_at_the_data_once(tmp_path, monkeypatch):
    """Two commands in one process see changes of the data between them."""
    drawn = []
    monkeypatch.setattr("benchmarks.mini.cache.version_key", lambda: drawn.append(1) or "drawn")

    def looks(config):
        before = len(drawn)
        resolve(config)
        return len(drawn) - before

    once = looks(RunConfig())
    assert once > 0 and looks(RunConfig(seed=1)) == once
    with unchanged_data():
        assert [looks(RunConfig(seed=seed)) for seed in range(3)] == [once, 0, 0]
        assert looks(RunConfig(order="mnist,logos")) > 0 and looks(RunConfig(benchmark="cil")) > 0, "other data"
    monkeypatch.setattr("benchmarks.mini.cache.version_key", lambda: "changed")
    with unchanged_data():
        assert resolve(RunConfig()).data_version == "changed"


def test_the_key_knows_the_reference_data_on_disk(tmp_path, full_roots):
    full_roots.write(tmp_path, ["imagenet"])
    full_roots.captions(tmp_path)
    config = RunConfig(options={"reference_images": "imagenet"}, data_root=str(tmp_path))
    whole = resolve(config)
    assert whole.reference == ("imagenet", "mini") and whole.reference_version and whole.reference_paths is None
    next((tmp_path / "imagenet" / "train").rglob("*.*")).unlink()
    assert resolve(config).key != whole.key
    absent = resolve(dataclasses.replace(config, data_root=str(tmp_path / "nowhere")))
    assert absent.reference_version is None, "the run says that it is missing"


def test_a_folder_of_reference_images_is_searched_once(tmp_path, full_roots, monkeypatch):
    from benchmarks import reference_lookup as reference_files

    full_roots.save(tmp_path / "pictures" / "one.png", 0, 0)
    searched, search = [], reference_files.files_under
    monkeypatch.setattr(reference_files, "files_under", lambda folder: searched.append(str(folder)) or search(folder))
    resolved = resolve(RunConfig(options={"reference_images": str(tmp_path / "pictures")}))
    assert list(resolved.reference_paths) == [str(tmp_path / "pictures" / "one.png")]
    assert resolved.reference_version and searched == [str(tmp_path / "pictures")]


def test_values_are_converted_by_type():
    class Kinds(Strategy):
        @dataclass(frozen=True)
        class Options(Strategy.Options):
            flag: bool = False
            word: Literal["one", "two"] = "one"
            maybe: int | None = None
            names: tuple[str, ...] = ()

    found = make_options(Kinds, {}, {"flag": "yes", "word": "two", "maybe": "3", "names": "ab,cd"})
    assert (found.flag, found.word, found.maybe, found.names) == (True, "two", 3, ("ab", "cd"))
    assert make_options(Kinds, {}, {"maybe": "none"}).maybe is None
    with pytest.raises(UserError, match="true or false"):
        make_options(Kinds, {}, {"flag": "perhaps"})
    with pytest.raises(UserError, match="value of word 'tow'\\. Did you mean two"):
        make_options(Kinds, {}, {"word": "tow"})


@pytest.mark.slow
def test_a_users_file(tmp_path):
    file = tmp_path / "my_method.py"
    file.write_text(METHOD)
    resolved = resolve(RunConfig(strategy=f"{file}:MyMethod", options={"weight": "2", "flag": "true"}))
    assert resolved.strategy_slug == "my-method" and resolved.options.weight == 2.0 and resolved.options.flag
    assert resolve(RunConfig(strategy=str(file), options={"weight": "2", "flag": "1"})).key == resolved.key
    register = "\nimport strategies\nstrategies.register('mine-once')(MyMethod)"
    file.write_text(METHOD + register)
    twice = [resolve(RunConfig(strategy=f"{file}:MyMethod")) for _ in range(2)]
    assert twice[0].strategy_class is twice[1].strategy_class, "a file runs once: registering twice would fail"
    file.write_text(METHOD + "\n# changed")
    changed = resolve(RunConfig(strategy=f"{file}:MyMethod", options={"weight": "2", "flag": "true"}))
    assert changed.key != resolved.key, "the file's content is part of the key"
    with pytest.raises(UserError, match="Did you mean MyMethod"):
        resolve(RunConfig(strategy=f"{file}:MyMethd"))
    file.write_text("x = 1")
    with pytest.raises(UserError, match="no subclass"):
        resolve(RunConfig(strategy=str(file)))
    file.write_text(METHOD + "\nclass Other(MyMethod): pass")
    with pytest.raises(UserError, match="several strategies"):
        resolve(RunConfig(strategy=str(file)))


def test_assignments():
    assert parse_assignments(["lr=1e-3", "batch-size = 4"]) == {"lr": "1e-3", "batch_size": "4"}
    with pytest.raises(UserError, match="key=value"):
        parse_assignments(["lr"])


def test_files(tmp_path):
    toml = tmp_path / "c.toml"
    toml.write_text('benchmark = "mtil"\nheldout = ["digits"]\norder = ["mnist", "logos"]\n[options]\nlr = 0.1\n')
    assert RunConfig(**read_file(str(toml))) == RunConfig(
        benchmark="mtil", heldout=("digits",), order=("mnist", "logos"), options={"lr": 0.1}
    )
    toml.write_text("benchmrk = 1")
    with pytest.raises(UserError, match="Did you mean benchmark"):
        read_file(str(toml))
    toml.write_text("seed = [0, 1]\nlimit = '5'\nheldout = 'digits,objects'")
    assert read_file(str(toml)) == {"seed": [0, 1], "limit": 5, "heldout": ("digits", "objects")}
    for wrong in ("limit = 'five'", "options = [1]", "measure_n = 1.5", "seed = true", "limit = [1]"):
        toml.write_text(wrong)
        with pytest.raises(UserError, match="takes"):
            read_file(str(toml))
    toml.write_text("= broken")
    with pytest.raises(UserError, match=r"c\.toml is not valid"):
        read_file(str(toml))
    with pytest.raises(UserError, match="Cannot read"):
        read_file(str(tmp_path / "none.toml"))


def test_a_record_reproduces_its_run(tmp_path):
    resolved = resolve(RunConfig(seed=3, options={"l2": 2.5}))
    request = {**dataclasses.asdict(resolved.config), "options": resolved.identity()["options"]}
    for name in ("out", "device", "fresh"):
        request.pop(name)
    (tmp_path / "run.json").write_text(json.dumps({"request": request, "status": "finished"}))
    assert resolve(RunConfig(**read_file(str(tmp_path / "run.json")))).key == resolved.key


@pytest.mark.parametrize("thing", [object, dataclasses, lambda: None])
def test_a_name_that_offers_no_strategy(thing, monkeypatch):
    monkeypatch.setitem(STRATEGIES._objects, "odd", thing)
    with pytest.raises(UserError, match=r"^The strategy 'odd' is not a subclass of strategies\.Strategy but "):
        resolve(RunConfig(strategy="odd"))


def test_the_code_of_a_registered_method_is_in_the_key(tmp_path, monkeypatch):
    file = tmp_path / "elsewhere.py"
    keys = []
    for body in (METHOD, METHOD + "\n# changed"):
        file.write_text(body)
        spec = importlib.util.spec_from_file_location("elsewhere", file)
        module = importlib.util.module_from_spec(spec)
        monkeypatch.setitem(sys.modules, "elsewhere", module)
        spec.loader.exec_module(module)
        monkeypatch.setitem(STRATEGIES._objects, "elsewhere", module.MyMethod)
        keys.append(resolve(RunConfig(strategy="elsewhere")).key)
    assert keys[0] != keys[1]
    assert resolve(RunConfig(strategy="lwf")).strategy_sha256 is None, "the project's own are told by its version"


def test_a_users_file_sees_its_neighbours_behind_everything_else(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "path", [*sys.path])
    (tmp_path / "beside_it.py").write_text("WEIGHT = 3.0")
    (tmp_path / "models.py").write_text("raise RuntimeError('hides ours')")
    file = tmp_path / "my_method.py"
    file.write_text("import beside_it\nimport models.registry\n" + METHOD)
    assert resolve(RunConfig(strategy=str(file))).strategy_class.__name__ == "MyMethod"


def test_a_rate_for_a_task_that_there_is_not():
    with pytest.raises(UserError, match=r"task of lr_by_task 'mnst'\. Did you mean mnist"):
        resolve(RunConfig(options={"lr_by_task.mnst": "1e-4"}))
    assert resolve(RunConfig(options={"lr_by_task.mnist": "1e-4"})).options.lr_by_task == {"mnist": 1e-4}


@pytest.mark.parametrize(
    ("setting", "what"),
    [
        ({"tasks": ("digits", "a\nb")}, r"value of --tasks 'a\\nb' contains a line break"),
        ({"data_root": "caf\udce9"}, r"value of --data-root 'caf\\xe9' contains a byte that is not UTF-8"),
        (
            {"options": {"reference_images": "a\x1b[2J"}},
            r"value of --set reference_images= 'a\\x1b\[2J' contains a control char",
        ),
    ],
)
def test_settings_that_records_cannot_hold(setting, what):
    with pytest.raises(UserError, match=what):
        check_names(RunConfig(benchmark="stream", **setting))
