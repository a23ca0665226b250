"""Weights files of other programs are read, and nothing in them is run."""

import pickle
import shutil
import warnings
import zipfile

import pytest
import torch
from open_clip.model import build_model_from_openai_state_dict
from open_clip.transformer import QuickGELU
from safetensors.torch import load_file, save_file

import models
from models.loading import read_weights
from models.loading.torchscript import read_tensors
from models.registry import UserError


def as_openai(state):
    """Half precision where OpenAI's is, and the entries that only OpenAI writes."""
    stored = ("ln_", "embedding", "logit_scale")
    half = {k: v if any(part in k for part in stored) else v.half() for k, v in state.items()}
    extras = {"input_resolution": 24, "context_length": 77, "vocab_size": 300}
    return {**half, **{k: torch.tensor(v) for k, v in extras.items()}}


def quick(encoder):
    return isinstance(encoder.clip.visual.transformer.resblocks[0].mlp.gelu, QuickGELU)


def same(encoder, state):
    loaded = encoder.clip.state_dict()
    return all(torch.equal(loaded[k], v.float()) for k, v in state.items() if k in loaded)


def archive_of(state, path):
    """A TorchScript archive with these parameters and buffers, like OpenAI's."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        root = torch.nn.Module()
        for name, tensor in state.items():
            module, *_, last = root, *name.split(".")
            for part in name.split(".")[:-1]:
                if not hasattr(module, part):
                    module.add_module(part, torch.nn.Module())
                module = getattr(module, part)
            if tensor.is_floating_point():
                module.register_parameter(last, torch.nn.Parameter(tensor))
            else:
                module.register_buffer(last, tensor)
        torch.jit.script(root).save(str(path))


@pytest.mark.slow
@pytest.mark.parametrize("wrap", ["bare", "state_dict", "module", "both", "compiled", "compiled twice", "ours"])
def test_weights_files_as_other_programs_save_them(toy, tmp_path, wrap):
    content = {
        "bare": toy,
        "state_dict": {"epoch": 3, "name": "run", "state_dict": toy, "optimizer": {"state": {}}},
        "module": {f"module.{k}": v for k, v in toy.items()},
        "both": {"state_dict": {f"module.{k}": v for k, v in toy.items()}},
        "compiled twice": {
            "state_dict": {f"{('module._orig_mod.', '_orig_mod.module.')[i % 2]}{k}": v for i, (k, v) in enumerate(toy.items())}
        },
        "compiled": {"model": {f"_orig_mod.{k}": v for k, v in toy.items()}},
        "ours": {f"clip.{k}": v for k, v in toy.items()},
    }[wrap]
    torch.save(content, tmp_path / "weights.pt")
    encoder = models.load("Toy", str(tmp_path / "weights.pt"))
    assert same(encoder, toy) and not quick(encoder) and not encoder.training
    assert all(p.dtype == torch.float32 for p in encoder.parameters())
    assert quick(models.load("Toy-quickgelu", str(tmp_path / "weights.pt"))), "what the user says"


@pytest.mark.slow
def test_safetensors_and_old_files(toy, tmp_path):
    save_file(toy, tmp_path / "weights.safetensors")
    torch.save(toy, tmp_path / "weights.bin", _use_new_zipfile_serialization=False)
    for file in ("weights.safetensors", "weights.bin"):
        assert same(models.load("Toy", str(tmp_path / file)), toy)


@pytest.mark.parametrize("form", ["pt", "safetensors", "TorchScript"])
def test_openai_weights_are_recognised_and_computed_with_quickgelu(toy, tmp_path, form):
    state = as_openai(toy)
    path = tmp_path / ("openai.safetensors" if form == "safetensors" else "openai.pt")
    if form == "TorchScript":
        archive_of(state, path)
    else:
        (save_file if form == "safetensors" else torch.save)(state, path)
    encoder = models.load("Toy", str(path))
    assert quick(encoder) and same(encoder, state)

    reference = build_model_from_openai_state_dict(dict(state)).float()
    tokens = torch.zeros(2, 77, dtype=torch.long)
    tokens[:, :4] = torch.tensor([[298, 7, 8, 299], [298, 9, 299, 0]])
    pixels = torch.randn(2, 3, 24, 24, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        images, texts = reference.encode_image(pixels, normalize=True), reference.encode_text(tokens, normalize=True)
        torch.testing.assert_close(encoder.encode_images(pixels), images)
        torch.testing.assert_close(encoder.encode_texts_plain(tokens), texts)


@pytest.mark.slow
def test_the_text_tower_may_be_packed_or_not(toy, tmp_path):
    torch.save(toy, tmp_path / "plain.pt")
    packed = models.load("Toy-packed", str(tmp_path / "plain.pt"))
    assert type(packed.clip).__name__ == "CustomTextCLIP"
    torch.save(packed.clip.state_dict(), tmp_path / "packed.pt")
    assert same(models.load("Toy", str(tmp_path / "packed.pt")), toy)


def test_scalars_of_any_shape_and_buffers_that_are_not_saved(toy, tmp_path):
    extra = {"attn_mask": torch.zeros(77, 77), "logit_scale": toy["logit_scale"].reshape(1)}
    torch.save({**toy, **extra}, tmp_path / "weights.pt")
    assert same(models.load("Toy", str(tmp_path / "weights.pt")), toy)


def test_torchscript_tensors_are_those_of_its_state_dict(tmp_path):
    """Views, half precision, empty tensors, integers, attributes that are not tensors."""

    class Inner(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.small = torch.nn.Parameter(torch.randn(3, 4).half())
            self.scale, self.sides, self.label = 2.5, [1, 2], "inner"
            self.register_buffer("steps", torch.arange(3))
            self.register_buffer("nothing", torch.empty(0))

        def forward(self, x):
            return x * self.scale + self.sides[0]

    class Outer(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = Inner()
            self.turned = torch.nn.Parameter(torch.randn(4, 6).t())
            self.layers = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.ReLU())

        def forward(self, x):
            return self.layers(self.inner(x))

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        scripted = torch.jit.script(Outer())
        scripted.save(str(tmp_path / "archive.pt"))
    expected, result = scripted.state_dict(), read_tensors(tmp_path / "archive.pt")
    assert expected.keys() == result.keys()
    for name, tensor in expected.items():
        assert tensor.dtype == result[name].dtype and torch.equal(tensor, result[name])


class Evil:
    def __reduce__(self):
        import os

        return os.mkdir, (EVIL,)


EVIL = ""


@pytest.fixture
def trap(tmp_path, monkeypatch):
    """The folder that `Evil` creates when it is unpickled."""
    monkeypatch.setitem(globals(), "EVIL", str(tmp_path / "ran"))
    return tmp_path / "ran"


@pytest.mark.parametrize("form", ["zip", "old", "plain pickle"])
def test_a_pickle_that_would_run_code_is_refused(toy, tmp_path, trap, form):
    path, named = tmp_path / "evil.pt", r" \(posix\.mkdir\), "
    if form == "plain pickle":
        path.write_bytes(pickle.dumps({"state_dict": Evil()}, protocol=5))
        named = ", "
    else:
        torch.save({**toy, "x": Evil()}, path, _use_new_zipfile_serialization=form == "zip")
    with pytest.raises(UserError, match=r"evil\.pt is a pickle that could run code when it is read" + named):
        models.load("Toy", str(path))
    assert not trap.exists()


@pytest.mark.parametrize("what", ["code", "tensor"])
def test_a_torchscript_archive_is_read_without_running_it(toy, tmp_path, trap, what):
    archive_of(as_openai(toy), tmp_path / "good.pt")
    with zipfile.ZipFile(tmp_path / "good.pt") as good, zipfile.ZipFile(tmp_path / "evil.pt", "w") as evil:
        for entry in good.namelist():
            data = good.read(entry)
            if entry.endswith("/data.pkl"):
                data = pickle.dumps(Evil()) if what == "code" else data.replace(b"HalfStorage", b"Evil_Loader")
            evil.writestr(entry, data)
    with pytest.raises(UserError, match=r"evil\.pt cannot be read without running it .*torch\.jit\.load"):
        models.load("Toy", str(tmp_path / "evil.pt"))
    assert not trap.exists()


@pytest.mark.parametrize("form", ["pt", "old.pt", "safetensors", "script.pt"])
@pytest.mark.parametrize("damage", ["cut", "start", "empty", "text", "garbled"])
def test_damaged_files_are_named(toy, tmp_path, form, damage):
    path = tmp_path / f"weights.{form}"
    if form == "script.pt":
        archive_of(as_openai(toy), path)
    elif form == "safetensors":
        save_file(toy, path)
    else:
        torch.save(toy, path, _use_new_zipfile_serialization=form == "pt")
    whole = path.read_bytes()
    garbled = bytearray(whole)
    garbled[8:64] = b"\xff" * 56
    path.write_bytes(
        {"cut": whole[: len(whole) // 2], "start": whole[:40], "empty": b"", "text": b"no weights\n" * 9, "garbled": garbled}[
            damage
        ]
    )
    with pytest.raises(UserError, match=f"weights\\.{form}") as error:
        models.load("Toy", str(path))
    assert len(str(error.value).splitlines()) == 1


def test_files_that_hold_something_else(tmp_path, toy):
    torch.save({"accuracy": 1.0}, tmp_path / "other.pt")
    torch.save([1, 2], tmp_path / "list.pt")
    for file in ("other.pt", "list.pt"):
        with pytest.raises(UserError, match=f"{file} has no state dict"):
            models.load("Toy", str(tmp_path / file))
    with pytest.raises(UserError, match=r"missing\.pt does not exist"):
        models.load("Toy", str(tmp_path / "missing.pt"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("missing", "'visual.ln_post.weight' is missing"),
        ("shape", r"'visual.conv1.weight' is \[64, 3, 6, 6\] in the file and \[64, 3, 12, 12\] in the model"),
        ("unexpected", "the model has no 'visual.head.weight'"),
        ("context", r"'positional_embedding' is \[40, 64\] in the file and \[77, 64\] in the model: another context_length"),
        ("another", "'positional_embedding' is missing"),
    ],
)
def test_weights_that_do_not_fit_name_the_first_tensor(toy, tmp_path, change, message):
    if change == "missing":
        toy.pop("visual.ln_post.weight")
    elif change == "shape":
        toy["visual.conv1.weight"] = torch.zeros(64, 3, 6, 6)
        toy.pop("visual.ln_post.weight")
    elif change == "unexpected":
        toy["visual.head.weight"] = torch.zeros(1)
    elif change == "context":
        toy["positional_embedding"] = torch.zeros(40, 64)
    else:
        toy = {"fc.weight": torch.zeros(2, 2)}
    torch.save(toy, tmp_path / "weights.pt")
    with pytest.raises(UserError, match=rf"weights\.pt do not fit Toy: {message}\."):
        models.load("Toy", str(tmp_path / "weights.pt"))


def test_a_directory_whose_weights_do_not_fit_or_would_run_code(model_directory, tmp_path, trap):
    folder = shutil.copytree(model_directory, tmp_path / "model")
    state = load_file(folder / "open_clip_model.safetensors")
    (folder / "open_clip_model.safetensors").unlink()
    torch.save({"state_dict": {f"module.{k}": v for k, v in state.items()}}, folder / "my.pt")
    models.load(str(folder))
    state.pop("ln_final.bias")
    torch.save(state, folder / "my.pt")
    with pytest.raises(UserError, match=r"my\.pt do not fit .*'ln_final\.bias' is missing"):
        models.load(str(folder))
    torch.save(Evil(), folder / "my.pt")
    with pytest.raises(UserError, match="could run code"):
        models.load(str(folder))
    assert not trap.exists()


def test_reading_leaves_the_names_of_the_file(toy, tmp_path):
    torch.save(as_openai(toy), tmp_path / "openai.pt")
    weights = read_weights.read(tmp_path / "openai.pt")
    assert weights.openai and weights.state.keys() == toy.keys() and weights.path == tmp_path / "openai.pt"


@pytest.mark.parametrize("wrap", ["towers compiled", "visual in DataParallel", "Lightning", "net", "counter", "inner module"])
def test_names_of_wrapped_modules(toy, tmp_path, wrap):
    content = {
        "towers compiled": {k.replace("visual.", "visual._orig_mod.", 1): v for k, v in toy.items()},
        "visual in DataParallel": {k.replace("visual.", "visual.module.", 1): v for k, v in toy.items()},
        "Lightning": {"state_dict": {f"model.{k}": v for k, v in toy.items()}, "optimizer_states": [{}]},
        "net": {"net": toy, "accuracy": 0.3},
        "counter": {**toy, "step": 7},
        "inner module": {f"image_encoder.model.{k}": v for k, v in toy.items()} | {"classification_head.bias": torch.ones(3)},
    }[wrap]
    torch.save(content, tmp_path / "weights.pt")
    encoder = models.load("Toy", str(tmp_path / "weights.pt"))
    assert same(encoder, toy)
    notes = [note for note in encoder.notes if "also has 'classification_head.bias', which the model does not have" in note]
    assert len(notes) == (wrap == "inner module")


@pytest.mark.slow
def test_two_models_in_a_file_and_tunings_that_are_kept_apart(toy, tmp_path):
    path = tmp_path / "weights.pt"
    torch.save({f"{of}.{k}": v for k, v in toy.items() for of in ("student", "teacher")}, path)
    with pytest.raises(UserError, match=r"are of several models \('student\.', 'teacher\.'\)"):
        models.load("Toy", str(path))
    torch.save({f"clip.{k}": v for k, v in toy.items()} | {"image_adapter.down.weight": torch.ones(2, 2)}, path)
    with pytest.raises(UserError, match=r"a run with --tuning adapter or a method .*export RUN --to safetensors --out"):
        models.load("Toy", str(path))


@pytest.mark.slow
def test_a_file_is_known_by_its_content(toy, tmp_path, monkeypatch):
    save_file(toy, tmp_path / "weights.bin")
    torch.save(toy, tmp_path / "weights.safetensors")
    torch.save(toy, tmp_path / "checkpoint_last")
    monkeypatch.chdir(tmp_path)
    for file in ("./weights.bin", "./weights.safetensors", "checkpoint_last"):
        assert same(models.load("Toy", file), toy)


def test_weights_of_transformers_are_named(tmp_path, toy):
    torch.save({f"{part}.layer.weight": torch.ones(2) for part in ("text_model", "vision_model")}, tmp_path / "weights.pt")
    with pytest.raises(UserError, match="Its names are those of transformers"):
        models.load("Toy", str(tmp_path / "weights.pt"))


@pytest.mark.parametrize("form", ["pt", "safetensors"])
@pytest.mark.parametrize(
    ("error", "message"),
    [
        (MemoryError(), "There is not enough memory to read the weights file"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"), "not enough memory"),
        (OSError(12, "Cannot allocate memory"), "not enough memory"),
        (OSError(5, "Input/output error"), "cannot be read: the disk reports an input/output error"),
        (OSError(24, "Too many open files"), "cannot be read: this process has too many files open"),
        (RuntimeError("unexpected end"), "is damaged, cut short or not a"),
    ],
)
def test_reasons_for_which_a_file_is_not_read(toy, tmp_path, monkeypatch, form, error, message):
    import safetensors

    def fail(*_, **__):
        raise error

    (save_file if form == "safetensors" else torch.save)(toy, tmp_path / f"weights.{form}")
    monkeypatch.setattr(safetensors, "safe_open", fail)
    monkeypatch.setattr(torch, "load", fail)
    with pytest.raises(UserError, match=message) as caught:
        models.load("Toy", str(tmp_path / f"weights.{form}"))
    assert ("damaged" in str(caught.value)) == ("damaged" in message)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:1\nsize 2\n", "is a pointer of Git LFS"),
        (b"<!DOCTYPE html>\n<html></html>", "is a web page"),
        (None, "is a folder"),
    ],
)
def test_files_that_are_something_else(tmp_path, toy, content, message):
    path = tmp_path / "weights.safetensors"
    path.mkdir() if content is None else path.write_bytes(content)
    with pytest.raises(UserError, match=message):
        models.load("Toy", str(path))


def test_an_archive_that_unpacks_without_end(tmp_path, toy, monkeypatch):
    monkeypatch.setattr("models.loading.torchscript.LARGEST_CODE", 1_000_000)
    with zipfile.ZipFile(tmp_path / "weights.pt", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("weights/data/0", bytes(2_000_000))
    with pytest.raises(UserError, match=r"compressed parts unpack to 2,000,000 bytes"):
        models.load("Toy", str(tmp_path / "weights.pt"))


@pytest.mark.parametrize("first", [*pickle.PROTO, *b"P"])
def test_a_header_whose_length_begins_like_a_pickle_or_an_archive_is_still_safetensors(first, tmp_path):
    """The header's length is its first byte here; padding makes it each of them."""
    for padding in range(256):
        save_file({"a": torch.ones(2)}, tmp_path / "w.safetensors", {"padding": "x" * padding})
        if (tmp_path / "w.safetensors").read_bytes()[0] == first:
            break
    else:
        pytest.fail("no header has this length")
    assert read_weights.read(tmp_path / "w.safetensors").state["a"].tolist() == [1, 1]
