"""Operations of a training step by its parts: `python tests/speed/step_operations.py`.

Counts the calls of torch operations that compute or copy something (views excluded) in a ZSCL step and in its floor, the
student's forward and backward pass of the same images and prompts. On a GPU each is about one kernel that the host starts, and
one call for a list of tensors (`_foreach`, a fused optimiser) is a few. So the count on a CPU says where the host's time on a
GPU goes. Also counted are operations whose result the host reads, for which a GPU would have to finish its work.

Both towers have ViT-B/16's number of layers and a small width, because the count depends only on the layers. `--as-gpu` takes
the branches that a GPU takes: attention without copies at every size, L2 from norms, a fused optimiser.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from contextlib import contextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

import open_clip
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from benchmarks.data.dataset import TensorImages
from benchmarks.data.domain import Domain
from benchmarks.scenario import scenario
from models import attention
from models.encoder import DualEncoder
from models.loading.local_files import TINY
from reference_data import Reference
from strategies import l2
from strategies.engine import avalanche_template
from strategies.zscl import ZSCL

WAITS = ("_local_scalar_dense", "nonzero", "is_nonzero", "equal", "masked_select", "_unique2", "unique_dim")
"""Operations whose result, or the shape of it, the host reads."""
FREE = (
    *(
        "_unsafe_view",
        "profiler::_record_function_enter_new",
        "profiler::_record_function_exit",
        "detach",
        "empty",
        "empty_like",
    ),
    *("empty_strided", "new_empty", "new_empty_strided", "lift_fresh", "_reshape_alias"),
)
"""Operations that compute nothing and are not views."""


class Counted(TorchDispatchMode):
    """Counts operations by the part of the step that is current."""

    def __init__(self):
        super().__init__()
        self.part = "loop"
        self.calls: dict[str, Counter] = {}
        self.waits: dict[str, Counter] = {}

    def __torch_dispatch__(self, operation, types, arguments=(), keywords=None):
        name = operation._schema.name.removeprefix("aten::")
        if name in WAITS:
            self.waits.setdefault(self.part, Counter())[name] += 1
        if name not in FREE and not operation.is_view:
            self.calls.setdefault(self.part, Counter())[name] += 1
        return operation(*arguments, **(keywords or {}))

    @contextmanager
    def during(self, part):
        before, self.part = self.part, part
        try:
            yield
        finally:
            self.part = before


class Parts(ZSCL):
    """Counts one step after some that warm up."""

    counted_step = 2
    counter: Counted | None = None

    def _in(self, part, call, *arguments):
        if self.counter is None:
            return call(*arguments)
        with self.counter.during(part):
            return call(*arguments)

    def _unpack_minibatch(self):
        if self.clock.train_exp_iterations == self.counted_step:
            self.counter = Counted()
            self.counter.__enter__()
        self._in("batch", super()._unpack_minibatch)

    def forward(self):
        return self._in("forward", super().forward) if self.is_training else super().forward()

    def companion_images(self):
        return self._in("reference images", super().companion_images)

    def class_logits(self, features):
        return self._in("forward, prompts", super().class_logits, features)

    def compute_loss(self, batch):
        return self._in("losses", super().compute_loss, batch)

    def backward(self):
        self._in("backward", super().backward)

    def optimizer_step(self):
        self._in("optimiser", super().optimizer_step)

    def after_step(self, step):
        self._in("after the step", super().after_step, step)
        if self.counter is not None and step == self.counted_step:
            self.counter.__exit__(None, None, None)
            self.result, self.counter = self.counter, None


def encoder(layers, precision):
    """Return a narrow CLIP of so many layers in each tower."""
    tokenizer = open_clip.SimpleTokenizer(bpe_path=str(TINY / "bpe.txt.gz"))
    vision = {"image_size": 32, "patch_size": 16, "width": 32, "layers": layers, "head_width": 16}
    text = {"context_length": 77, "width": 32, "heads": 2, "layers": layers, "vocab_size": tokenizer.vocab_size}
    torch.manual_seed(0)
    clip = open_clip.CLIP(embed_dim=32, vision_cfg=vision, text_cfg=text)
    of = DualEncoder(clip, tokenizer, 32, [0.5] * 3, [0.27] * 3, name="narrow").train()
    of.precision = precision
    return of


def as_gpu(before):
    """Take the branches that a GPU takes; `before` the last change of them."""
    attention.LEAST = 0
    l2.on_gpu = lambda tensors: not before
    avalanche_template.make_optimizer = lambda groups, options, plain: torch.optim.AdamW(groups, lr=options.lr, fused=True)
    if before:
        global encoder
        streamlined = encoder

        def with_torch(*arguments):
            of = streamlined(*arguments)
            for module in of.clip.transformer.modules():
                if isinstance(module, attention.SelfAttention):
                    module.__class__ = nn.MultiheadAttention
            return of

        encoder = with_torch


def step(layers, precision, images, classes):
    """Return the counter of a ZSCL step and the losses up to it."""
    of = encoder(layers, precision)
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (4 * images, 3, of.image_size, of.image_size), generator=generator, dtype=torch.uint8)
    data = TensorImages(pixels, [i % classes for i in range(len(pixels))])
    domain = Domain("noise", [f"thing {i}" for i in range(classes)], ["a photo of a {}."], data, data, data)
    stream = scenario([domain], preprocess=of.preprocess).train_stream
    options = ZSCL.Options(
        iterations=Parts.counted_step + 1, batch_size=images, reference_batch=images, lr=1e-5, average_every=100
    )
    strategy = Parts(encoder=of, options=options, reference=Reference(pixels[: 2 * images], ["a dog", "a cat", "a house"]))
    strategy.train(stream[0], eval_streams=[])
    losses = [record["loss"] for record in strategy.history]
    return strategy.result, losses


def floor(layers, precision, images, classes):
    """Return the counter of the student's forward and backward pass."""
    of = encoder(layers, precision)
    pixels = torch.randint(0, 256, (2 * images, 3, of.image_size, of.image_size), dtype=torch.uint8)
    tokens = of.tokenize([f"a photo of a thing {i}." for i in range(classes)])
    length = of.needed_length(tokens)
    with Counted() as counter:
        with counter.during("forward"):
            loss = of.encode_images(pixels).sum() + of.encode_texts(tokens, length).sum()
        with counter.during("backward"):
            loss.backward()
    return counter


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--layers", type=int, default=12)
    parser.add_argument("--images", type=int, default=4)
    parser.add_argument("--classes", type=int, default=100)
    parser.add_argument("--precision", nargs="+", choices=("fp32", "bf16"), default=["fp32", "bf16"])
    parser.add_argument("--as-gpu", action="store_true", help="take the branches that a GPU takes")
    parser.add_argument(
        "--before", action="store_true", help="with --as-gpu: text tower through torch's attention, L2 tensor by tensor"
    )
    parser.add_argument("--top", type=int, default=0, help="also print the most frequent operations of each part")
    parser.add_argument("--json", type=Path)
    a = parser.parse_args()
    if a.as_gpu:
        as_gpu(a.before)
    found = []
    for precision in a.precision:
        counted, losses = step(a.layers, precision, a.images, a.classes)
        for what, counter in (("floor", floor(a.layers, precision, a.images, a.classes)), ("ZSCL step", counted)):
            total = 0
            for part, calls in counter.calls.items():
                waits = dict(counter.waits.get(part, {}))
                total += sum(calls.values())
                found.append({"precision": precision, "what": what, "part": part, "calls": sum(calls.values()), "waits": waits})
                print(f"{precision:<5} {what:<10} {part:<18} {sum(calls.values()):>6}", waits or "")
                for name, count in calls.most_common(a.top):
                    print(f"{'':<36}{name:<45} {count:>5}")
            print(f"{precision:<5} {what:<10} {'in all':<18} {total:>6}")
            found.append({"precision": precision, "what": what, "part": "in all", "calls": total, "waits": {}})
        print(precision, "losses", losses)
    if a.json is not None:
        a.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
