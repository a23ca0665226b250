"""Toy models and domains: small enough that a whole run takes a second, built the way real ones are."""

import importlib.util
import itertools
import json
import os
import runpy
import shutil
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

if "PYTEST_XDIST_WORKER" in os.environ:
    # Workers share the processors, and so do the processes that tests start.
    os.environ["OMP_NUM_THREADS"] = os.environ["MKL_NUM_THREADS"] = "1"
if sys.dont_write_bytecode:
    # Tests start dozens of processes. Without bytecode on disk each of them compiles torch and Avalanche again.
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    sys.dont_write_bytecode = False

import open_clip
import pytest
import torch
from safetensors.torch import save_file

from benchmarks.data.dataset import TensorImages
from benchmarks.data.domain import Domain
from models.encoder import DualEncoder
from reference_data import Reference

CONTEXT, VOCABULARY = 32, 300
ARCHITECTURE = {
    "embed_dim": 32,
    "vision_cfg": {"image_size": 48, "patch_size": 12, "width": 32, "layers": 2, "head_width": 16},
    "text_cfg": {"context_length": CONTEXT, "vocab_size": VOCABULARY, "width": 32, "heads": 2, "layers": 2},
}
# open_clip's reader of OpenAI's weights takes a head for every 64 channels.
TOY = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": 24, "patch_size": 12, "width": 64, "layers": 2},
    "text_cfg": {"context_length": 77, "vocab_size": 300, "width": 64, "heads": 1, "layers": 1},
}
FAKES = Path(__file__).parent / "fakes"


LONGEST = (
    "test_several_processes",
    "test_kills",
    "test_a_sweep_of_real_runs",
    "test_tutorials",
    "test_readme",
    "test_deferred",
)


def pytest_make_parametrize_id(config, val, argname):
    """Name parameters that are bytes by their argument: packed bytes hold the time, and workers must agree on the names."""
    return argname if isinstance(val, bytes) else None


def pytest_collection_modifyitems(items):
    """Start the longest tests first, so that no worker waits for one of them at the end."""
    items.sort(key=lambda item: not any(name in item.nodeid for name in LONGEST))


def byte_tokens(strings, context_length=CONTEXT):
    """Start 298, bytes, end 299 (the largest id), padded with 0."""
    out = torch.zeros(len(strings), context_length, dtype=torch.long)
    for row, string in enumerate(strings):
        ids = [298, *list(string.encode())[: context_length - 2], 299]
        out[row, : len(ids)] = torch.tensor(ids)
    return out


def make_encoder(seed=0):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        clip = open_clip.model.CLIP(**ARCHITECTURE)
    return DualEncoder(clip, byte_tokens, 48, [0.5] * 3, [0.27] * 3, name="toy").eval()


def make_domain(name, classes=3, seed=0, train=48, val=12, test=24, templates=("a photo of a {}.", "the {}.")):
    """Classes differ in colour, so that a few steps of training learn something."""
    generator = torch.Generator().manual_seed(seed)
    colours = torch.randint(0, 256, (classes, 3, 1, 1), generator=generator)

    def split(n):
        labels = [i % classes for i in range(n)]
        noise = torch.randint(-40, 41, (n, 3, 48, 48), generator=generator)
        return TensorImages((colours[labels] + noise).clamp(0, 255).to(torch.uint8), labels)

    return Domain(name, [f"{name} {i}" for i in range(classes)], templates, split(train), split(val), split(test))


@pytest.fixture(scope="session")
def nowhere(tmp_path_factory):
    """An empty folder, in which every test starts."""
    return tmp_path_factory.mktemp("nowhere")


@pytest.fixture(scope="session")
def temporary():
    """A folder for temporary files. Its path is short: Ray's sockets have to fit below it."""
    folder = Path(tempfile.mkdtemp(prefix="t"))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(autouse=True)
def leaves_nothing(nowhere, temporary, monkeypatch):
    """Start each test in an empty folder, with an empty folder for temporary files; fail it when it leaves anything there."""
    monkeypatch.chdir(nowhere)
    monkeypatch.setenv("TMPDIR", str(temporary))
    monkeypatch.setattr(tempfile, "tempdir", None)
    yield
    for folder in (nowhere, temporary):
        # Ray and torchrun keep the logs of their workers there, and workers that load images their sockets until they end.
        left = sorted(path.name for path in folder.iterdir() if not path.name.startswith(("ray", "torchelastic_", "pymp-")))
        for path in folder.iterdir():
            shutil.rmtree(path, ignore_errors=True) if path.is_dir() and not path.is_symlink() else path.unlink()
        assert not left, f"left in the {'working' if folder == nowhere else 'temporary'} directory: {', '.join(left)}"


@pytest.fixture
def encoder():
    return make_encoder()


@pytest.fixture
def toy_domain():
    return make_domain


@pytest.fixture
def toy_encoder():
    return make_encoder


@pytest.fixture
def stream():
    """Two tasks of other colours and numbers of classes."""
    from benchmarks.scenario import scenario

    return scenario([make_domain("a", 3), make_domain("b", 5, seed=1)])


@pytest.fixture
def reference():
    generator = torch.Generator().manual_seed(5)
    images = torch.randint(0, 256, (40, 3, 48, 48), generator=generator).to(torch.uint8)
    return Reference(images, [f"thing {i}" for i in range(30)])


@pytest.fixture(scope="session")
def model_directory(tmp_path_factory):
    """A model directory as users save them: configuration, weights and merges."""
    folder = tmp_path_factory.mktemp("model")
    merges = Path(__file__).parent.parent / "models" / "tiny" / "bpe.txt.gz"
    shutil.copy(merges, folder / "bpe.txt.gz")
    vocabulary = open_clip.SimpleTokenizer(bpe_path=str(merges)).vocab_size
    architecture = json.loads(json.dumps(ARCHITECTURE))
    architecture["text_cfg"]["vocab_size"] = vocabulary
    with torch.random.fork_rng():
        torch.manual_seed(0)
        clip = open_clip.model.CLIP(**architecture)
    save_file({k: v.contiguous() for k, v in clip.state_dict().items()}, folder / "open_clip_model.safetensors")
    preprocess = {"mean": [0.5] * 3, "std": [0.27] * 3}
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": architecture, "preprocess_cfg": preprocess}))
    return folder


@pytest.fixture(scope="session")
def toy_study(model_directory, tmp_path_factory):
    """A study's table of five domains, of the model of `model_directory`; outcomes made up around lines over its IIMM."""
    from models.loading.local_files import weights_sha256

    path, weights = tmp_path_factory.mktemp("study") / "table.csv", weights_sha256(str(model_directory))
    lines = [
        "domain,edition,tuning,strategy,seed,model,pretrained,weights,updates,iimm,gain,gain_over_error,forgetting,"
        "gain_val,forgetting_val"
    ]
    for i, name in enumerate(("red", "ochre", "olive", "navy", "plum")):
        outcomes = f"{0.4 + 0.1 * i},1,2,3,{20 - 2 * i + i % 2},{1 + i}"
        lines.append(f"{name},mini,full,finetune,0,{model_directory},,{weights},3,{outcomes}")
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.fixture
def toy(monkeypatch):
    """An architecture that open_clip knows by name, and a state dict for it."""
    for name, extra in (("Toy", {}), ("Toy-quickgelu", {"quick_gelu": True}), ("Toy-packed", {"custom_text": True})):
        monkeypatch.setitem(open_clip.factory._MODEL_CONFIGS, name, {**TOY, **extra})
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return {k: v.clone() for k, v in open_clip.CLIP(**TOY).state_dict().items()}


@pytest.fixture
def home(tmp_path, monkeypatch):
    """The folder of cached pixels, this test's own."""
    monkeypatch.setenv("PERENNIAL_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "pixels"


@pytest.fixture
def server(monkeypatch):
    """A web server of this test's own on 127.0.0.1."""
    monkeypatch.setenv("no_proxy", "*")
    made = runpy.run_path(str(FAKES / "downloads.py"))["Server"]()
    yield made
    made.close()


@pytest.fixture
def hub(monkeypatch, tmp_path):
    """A local hub of this test's own. The process is logged in as the user who may write, and its cache is empty."""
    import huggingface_hub
    from huggingface_hub import constants

    from tools.local_hub.server import Hub

    with Hub(tmp_path / "repositories") as made:
        for name, value in made.environment(tmp_path / "huggingface", made.TOKEN).items():
            monkeypatch.setenv(name, value)
        # The library reads them when it is imported.
        template = made.endpoint + "/{repo_id}/resolve/{revision}/{filename}"
        for name, value in {
            "ENDPOINT": made.endpoint,
            "HUGGINGFACE_CO_URL_TEMPLATE": template,
            "HF_HUB_CACHE": str(tmp_path / "huggingface" / "hub"),
            "HF_HUB_OFFLINE": False,
            "HF_HUB_DISABLE_XET": True,
        }.items():
            monkeypatch.setattr(constants, name, value)
        yield made
        huggingface_hub.close_session()


@pytest.fixture
def toy_benchmark(monkeypatch):
    """A registered benchmark `toy`: three domains and a held-out one."""
    from benchmarks import BENCHMARKS
    from benchmarks.names import split_names
    from benchmarks.plan import Built, StreamPlan
    from benchmarks.settings import mini

    domains = {name: make_domain(name, 2 + i, seed=i) for i, name in enumerate(("red", "green", "blue", "grey"))}

    def stream(ask):
        names = ("red", "green", "blue") if ask.order in (None, "I") else split_names(ask.order)
        return StreamPlan(
            "toy",
            ask.edition or "mini",
            "I",
            names,
            ("grey",),
            lambda progress, splits, held=("test",): Built([domains[name] for name in names], [domains["grey"]]),
            protocol=ask.protocol or "task",
            tiny_settings=mini("mtil"),
        )

    monkeypatch.setitem(BENCHMARKS._objects, "toy", stream)
    return "toy"


@pytest.fixture
def trained(request):
    """Trains a method on experiences in turn; options that are not given are those of the test module's QUICK.

    `losses` of the strategy that comes back are those of all updates.
    """
    quick = getattr(request.module, "QUICK", {})

    def train(method, encoder, experiences, reference=None, tuning_name=None, options=None, seed=0, **changes):
        given = method.Options(**{**quick, **changes}) if options is None else replace(options, **changes)
        strategy = method(encoder=encoder, options=given, reference=reference, tuning_name=tuning_name, seed=seed)
        strategy.losses = []
        for experience in experiences:
            strategy.train(experience, eval_streams=[])
            strategy.losses += [record["loss"] for record in strategy.history]
        return strategy

    return train


@pytest.fixture(scope="session")
def same():
    """Return a function that tells whether two sets of weights are bit-exactly equal."""

    def compare(one, other):
        return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)

    return compare


@pytest.fixture(scope="session")
def go_on():
    """Gives a new strategy what a checkpoint held, in the harness's order, and trains the next experience."""

    def resume(strategy, weights, state, experience):
        strategy.prepare_run()
        strategy.encoder.load_state_dict(weights)
        strategy.load(state)
        strategy.train(experience, eval_streams=[])

    return resume


@pytest.fixture(scope="session")
def honest():
    """Writes the record of a run whose key, folder, accuracies and summary agree, and gives back its folder.

    `counts` maps (after, stream, task) to (correct, n); what else is given goes into `run.json`.
    """
    from harness.records.files import ACCURACY_COLUMNS, MEASURE_COLUMNS, TRAIN_COLUMNS, write_csv, write_json
    from harness.records.run_json import key_of
    from harness.records.summary import Percent, summarise
    from metrics.suite import Measure

    def write(root, identity, counts, measures=(), losses=(), status="finished", **document):
        rows, cells = {}, []
        for (after, stream, task), (correct, n) in counts.items():
            percent = 100 * correct / n if n else float("nan")
            rows.setdefault(after, {})[stream, task] = Percent(percent)
            cells.append(dict(zip(ACCURACY_COLUMNS, (after, stream, task, percent, correct, n), strict=True)))
        measured = [Measure(*m) for m in measures]
        summary = summarise(rows, identity["tasks"], identity["heldout"], measured) if status == "finished" else None
        key = key_of(identity)
        folder = root / f"{identity['strategy'].replace('/', '-')}-{key}"
        write_json(
            folder / "run.json",
            {"status": status, "identity": identity, "key": key, "summary": summary, "trainable_params": 5, **document},
        )
        write_csv(folder / "accuracy.csv", ACCURACY_COLUMNS, cells)
        write_csv(folder / "measures.csv", MEASURE_COLUMNS, [m._asdict() for m in measured])
        write_csv(folder / "train.csv", TRAIN_COLUMNS, losses)
        return folder

    return write


class Killed(BaseException):
    """Stands for SIGKILL: nothing of ours catches it."""


@pytest.fixture
def killed(monkeypatch):
    """Calls a function that ends when it is about to call `owner.name` for the n-th time, as if the process were killed."""

    def call(function, owner, name, n, error=Killed):
        original, count = getattr(owner, name), itertools.count(1)

        def dies(*args, **kwargs):
            if next(count) == n:
                raise error
            return original(*args, **kwargs)

        with monkeypatch.context() as patch:
            patch.setattr(owner, name, dies)
            with pytest.raises(error):
                function()

    return call


@pytest.fixture(scope="session")
def styles_run():
    """The function that makes a record of `bench generalisation` of known numbers."""
    return runpy.run_path(str(FAKES / "styles.py"))["run"]


@pytest.fixture(scope="session")
def sizes_of():
    """Functions that make records of `bench paint` with models of several sizes: `run` and `three`."""
    return SimpleNamespace(**runpy.run_path(str(FAKES / "sizes.py")))


@pytest.fixture(scope="session")
def full_roots():
    """The module that writes made-up data of the full edition, in the layouts of the real datasets."""
    spec = importlib.util.spec_from_file_location("full_roots", FAKES / "full_roots" / "__init__.py")
    module = sys.modules["full_roots"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def full_made(full_roots, tmp_path_factory):
    """A data folder with a made-up copy of every dataset of the full edition, and what is in each. To be read, not written."""
    root = tmp_path_factory.mktemp("full")
    return root, full_roots.write(root)


@pytest.fixture(scope="session")
def full_data(full_made):
    return full_made[0]
