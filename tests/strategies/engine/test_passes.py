"""The towers' passes: in chunks with the same gradients, in bf16 near the same features, without waiting for the device."""

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from benchmarks.scenario import scenario
from models import tuning
from models.encoder import CPU_ROWS
from strategies import STRATEGIES
from strategies.engine.losses import CHECK_EVERY

QUICK = {"iterations": 3, "lr": 1e-3, "batch_size": 8, "warmup": 1}
# Operations that read values on the device, which has to finish its work first.
ASKS = ("_local_scalar_dense", "nonzero", "_unique2", "unique_dim", "equal", "masked_select", "is_nonzero")


@pytest.fixture
def stream(toy_domain):
    return scenario([toy_domain("a", 3), toy_domain("b", 5, seed=1)])


def pixels(count):
    return torch.randint(0, 256, (count, 3, 48, 48), generator=torch.Generator().manual_seed(0)).to(torch.uint8)


@pytest.mark.parametrize("tuned", ["full", "lora", "adapter"])
@pytest.mark.parametrize("size", [1, 3, 7])
def test_chunks_have_the_same_gradients(toy_encoder, tuned, size):
    found = []
    for microbatch in (None, size):
        encoder = toy_encoder().double()
        torch.manual_seed(1)
        trainable = tuning.apply(encoder, tuned)
        encoder.train()
        encoder.microbatch = microbatch
        images, texts = encoder.encode_images(pixels(7)), encoder.encode_texts(encoder.tokenize(["a b", "ccc", "d", "e f g"]))
        loss = encoder.logits(images, texts).logsumexp(dim=0).sum()
        loss.backward()
        found.append([loss.detach(), *(p.grad for p in trainable)])
    whole, chunked = found
    assert len(whole) > 2 and any(g is not None and g.abs().max() > 0 for g in whole[1:])
    for one, other in zip(whole, chunked, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-12)


def test_what_passes_at_once(toy_encoder, monkeypatch):
    encoder, seen = toy_encoder(), []
    original = encoder.clip.encode_image
    monkeypatch.setattr(encoder.clip, "encode_image", lambda x, **kw: seen.append(len(x)) or original(x, **kw))
    encoder.microbatch = 3
    encoder.encode_images(pixels(8)).sum().backward()
    assert seen == [3, 3, 2] * 2 or seen == [3, 3, 2, 2, 3, 3]
    seen.clear()
    with torch.no_grad():
        encoder.encode_images(pixels(8))
    assert seen == [8]


def test_a_cpus_caches(toy_encoder, monkeypatch):
    """Without a gradient images pass in small chunks, with the features of a single pass."""
    encoder, seen = toy_encoder(), []
    given = pixels(2 * CPU_ROWS + 3)
    whole = encoder.encode_images(given).detach()
    original = encoder.clip.encode_image
    monkeypatch.setattr(encoder.clip, "encode_image", lambda x, **kw: seen.append(len(x)) or original(x, **kw))
    with torch.no_grad():
        found = encoder.encode_images(given)
    assert seen == [CPU_ROWS, CPU_ROWS, 3]
    torch.testing.assert_close(found, whole, rtol=1e-6, atol=1e-7)


@pytest.mark.slow
def test_zscl_in_chunks(toy_encoder, stream, trained, reference):
    """Whole runs, with reference images and texts in chunks too."""
    runs = []
    for microbatch in (None, 4):
        encoder = toy_encoder().double()
        encoder.microbatch = microbatch
        runs.append(trained(STRATEGIES.get("zscl"), encoder, stream.train_stream, reference, reference_batch=6, l2=0.0))
    for one, other in zip(runs[0].encoder.parameters(), runs[1].encoder.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-7, atol=1e-9)


def test_bf16(toy_encoder):
    """Towers compute in bf16. Everything outside them has the weights' type, in which gradients arrive."""
    exact, half = toy_encoder(), toy_encoder()
    half.precision = "bf16"
    seen = []
    half.clip.visual.transformer.resblocks[0].mlp.c_fc.register_forward_hook(lambda m, i, o: seen.append(o.dtype))
    tokens = half.tokenize(["a b", "ccc"])
    for one, other in (
        (exact.encode_images(pixels(4)), half.encode_images(pixels(4))),
        (exact.encode_texts(tokens), half.encode_texts(tokens)),
    ):
        assert other.dtype == torch.float32 and not torch.equal(one, other)
        torch.testing.assert_close(one, other, rtol=0, atol=0.03)
    assert seen == [torch.bfloat16]
    half.encode_images(pixels(4)).sum().backward()
    assert half.clip.visual.conv1.weight.grad.dtype == torch.float32


class Asking(TorchDispatchMode):
    """Records operations whose result has to come back from the device."""

    def __init__(self):
        super().__init__()
        self.asked = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        name = function.overloadpacket.__name__
        masks = name == "index" and any(i is not None and i.dtype == torch.bool for i in args[1])
        if name in ASKS or masks:
            self.asked.append(name)
        return function(*args, **(kwargs or {}))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["finetune", "zscl", "wise-ft", "lora", "adapter"])
def test_a_step_asks_nothing_of_the_device(name, toy_encoder, stream, reference, monkeypatch):
    """In the passes and the losses. The loader's work in memory comes before."""
    method, asking = STRATEGIES.get(name), Asking()
    needed = {"reference": reference} if method.needs_reference else {}
    options = method.Options(**QUICK | {"iterations": 5})
    strategy = method(encoder=toy_encoder(), options=options, **needed)
    parts = {name: getattr(strategy, name) for name in ("forward", "compute_loss", "backward", "after_step")}

    def watched(part):
        def call(*arguments):
            with asking:
                return part(*arguments)

        return call

    # AdamW counts its steps in tensors in memory, and reads them.
    for part, function in parts.items():
        monkeypatch.setattr(strategy, part, watched(function))
    strategy.train(stream.train_stream[0], eval_streams=[])
    assert options.iterations < CHECK_EVERY and len(strategy.history) == 5
    # Once per task: the length of its prompts.
    assert asking.asked == ["_local_scalar_dense"]


def test_asking_is_noticed():
    with Asking() as asking:
        x = torch.arange(3)
        x[x > 1].sum().item()
        torch.unique(x)
    assert {"_local_scalar_dense", "index"} <= set(asking.asked) and any("unique" in name for name in asking.asked)
