"""Pretrain the tiny CLIP that ships in models/tiny: `python -m tools.pretrain` (about 50 minutes, 2 cores).

The other families (`tools.families`) see the same pictures and captions in the same order, with the schedule of models/tiny:

    python -m tools.pretrain --family siglip     writes models/tiny-siglip; also coca, eva02 and cone

The first run needs the extra `pretrain` (resvg-py) and the npm client. The pool is stored in the cache folder. Every
few minutes the script prints the zero-shot accuracy on the domains' validation splits and writes a checkpoint. The test
splits are not used.

Models of other sizes that are pretrained alike, for the question whether larger models are patched better:

    python -m tools.pretrain --out small --width 64 --iterations 2000     0.6 M parameters
    python -m tools.pretrain --out base --width 128 --iterations 2000     1.9 M
    python -m tools.pretrain --out large --width 256 --iterations 2000    6.6 M

Then run `bench paint --strategy paint-single --model small` and so on. With --iterations, size and machine do not change what a
model sees: the same pictures in the same order, with the same schedule.
"""

from __future__ import annotations

import argparse
import contextlib
import copy
import json
import math
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from open_clip.tokenizer import SimpleTokenizer
from safetensors.torch import save_file
from torch import Tensor

from benchmarks import mini
from benchmarks.mini import cache
from benchmarks.mini import domain_table as table
from harness.records.files import write_csv
from models.loading.local_files import SHIPPED
from models.loading.tokenizers import MERGES
from tools import captions, pool, vocabulary
from tools.batches import Batches, Drawn, composed
from tools.families import FAMILIES, HEAD, MEAN, STD, clip_loss, configuration, make_model
from tools.pool import Pool
from tools.sampler import COLOURS, Sampler

TINY = SHIPPED["tiny"]
TINY_ITERATIONS = 8376
"""Length of the pretraining of models/tiny, which the clock set. The other families get the same."""
LOG = "training.csv"
LOG_COLUMNS = ("iteration", "images", "seconds", "threads", "device", "loss", "scale", "bias", "validation")


def learn_vocabulary(pictures: Pool) -> None:
    """Write models/tiny/bpe.txt.gz from the pool's captions and the domains' prompts."""
    rng = np.random.default_rng(0)
    kinds = np.concatenate([pictures.mask_kinds, pictures.picture_kinds])
    subjects = np.concatenate([pictures.mask_subjects, pictures.picture_subjects])
    texts = [captions.caption(kind, subject, rng) for kind, subject in zip(kinds, subjects, strict=True)]
    texts += [f"a {colour} {shape}." for colour in COLOURS for shape in np.unique(subjects[kinds == "shapes"])] * 5
    texts += [t.format(c) for e in table.ENTRIES.values() for t in e.templates for c in e.classnames] * 5
    vocabulary.save(vocabulary.learn(texts), TINY / MERGES)


@contextlib.contextmanager
def attention_in_float32() -> Iterator[None]:
    """Compute attention in float32 in a bfloat16 model: on CPUs its bfloat16 backward pass takes ten times as long."""
    original = F.scaled_dot_product_attention

    def attention(
        query: Tensor, key: Tensor, value: Tensor, attn_mask: Tensor | None = None, *options: Any, **more: Any
    ) -> Tensor:
        mask = None if attn_mask is None else attn_mask.float()
        return original(query.float(), key.float(), value.float(), mask, *options, **more).to(query.dtype)

    F.scaled_dot_product_attention = attention
    try:
        yield
    finally:
        F.scaled_dot_product_attention = original


class HalfCopy:
    """A bfloat16 copy of a float32 model that computes its gradients, 1.6 times as fast on CPUs with AVX512-BF16.

    The weights stay in float32, so small updates are not lost to rounding. The copy's logit scale and bias are float32 too.

    Args:
        model: the float32 model.
        loss: the loss of (model, images, tokens, subjects), as in `tools.families`.
    """

    def __init__(self, model: Any, loss: Callable[[Any, Tensor, Tensor, Tensor], Tensor] = clip_loss):
        self.loss = loss
        self.masters: list[Tensor] = list(model.parameters())
        self.copy = copy.deepcopy(model).bfloat16()
        self.copies: list[Tensor] = list(self.copy.parameters())
        for scalar in self.copies:
            # bfloat16 rounds a logit bias of -10 to steps of 1/16, and a logit scale of 100 to 98.9.
            if scalar.ndim == 0:
                scalar.data = scalar.data.float()

    def gradients(self, images: Tensor, tokens: Tensor, subjects: Tensor) -> Tensor:
        """Set the float32 model's gradients and return the loss."""
        with torch.no_grad():
            torch._foreach_copy_(list(self.copies), list(self.masters))
        self.copy.zero_grad()
        with attention_in_float32():
            loss = self.loss(self.copy, images.bfloat16(), tokens, subjects)
            torch.autograd.backward(loss)
        for master, low in zip(self.masters, self.copies, strict=True):
            master.grad = None if low.grad is None else low.grad.float()
        return loss.detach()


@torch.inference_mode()
def zero_shot(model: Any, tokenizer: SimpleTokenizer, split: str = "val") -> dict[str, float]:
    """Return the accuracy in percent on a split of every domain, with prompts averaged over the templates."""
    model.eval()
    accuracy, device = {}, model.logit_scale.device
    for name in (*mini.STREAM, *mini.HELDOUT):
        domain = mini.build(name)
        prompts = [tokenizer(domain.prompts(t)).to(device) for t in range(len(domain.templates))]
        each = [F.normalize(model.encode_text(tokens), dim=-1) for tokens in prompts]
        texts = torch.stack(each).sum(dim=0)
        data = getattr(domain, split)
        images = (data.images.float() / 255 - MEAN) / STD
        features = torch.cat([model.encode_image(part.to(device)) for part in images.split(256)])
        accuracy[name] = 100 * (features @ texts.T).argmax(1).cpu().eq(torch.tensor(data.targets)).float().mean().item()
    model.train()
    return accuracy


def save(state: dict[str, Tensor], config: dict[str, Any], target: Path, half: bool = False) -> None:
    """Write the weights, the config and the merges into a folder that `models.load` reads.

    Args:
        state: the weights.
        config: the open_clip config.
        target: the folder.
        half: store all weights but the logit scale and bias in float16, not in float32.
    """
    target.mkdir(parents=True, exist_ok=True)
    (target / "open_clip_config.json").write_text(json.dumps(config, indent=2) + "\n")
    if not (target / MERGES).exists():
        shutil.copyfile(TINY / MERGES, target / MERGES)
    tensors = {
        name: tensor.detach().cpu().to(torch.float16 if half and tensor.ndim else torch.float32).contiguous()
        for name, tensor in state.items()
    }
    temporary = target / "open_clip_model.safetensors.part"
    save_file(tensors, temporary)
    temporary.chmod(0o644)
    temporary.replace(target / "open_clip_model.safetensors")


def name_of(device: str) -> str:
    """Return the name of an accelerator, or "processor"."""
    return torch.cuda.get_device_name(device) if torch.device(device).type == "cuda" else "processor"


def pretrain(
    batches: Batches,
    out: Path,
    minutes: float,
    batch_size: int,
    rate: float,
    seed: int,
    report_every: float,
    width: int = 128,
    iterations: int | None = None,
    family: str = "clip",
    device: str = "cpu",
) -> None:
    """Train a model and write the running average of its weights to `out`, also at every report.

    Args:
        batches: the images, captions and subjects of an iteration at a progress from 0 to 1 (`composed`).
        out: folder of the model. `training.csv` in it has one row per report (`LOG_COLUMNS`).
        minutes: length of the training by the clock, which also sets the schedule.
        batch_size: images per iteration.
        rate: largest learning rate.
        seed: seed of the weights and the pictures.
        report_every: seconds between reports.
        width: width of the towers (`configuration`).
        iterations: length in iterations, in place of the clock.
        family: a key of `FAMILIES`. Weights of all but "clip" are stored in half precision.
        device: where the model trains.
    """
    torch.manual_seed(seed)
    tokenizer = vocabulary.load(TINY / MERGES)
    config = configuration(tokenizer.vocab_size, width, family)
    model = make_model(config).to(device)
    model.logit_scale.requires_grad_(FAMILIES[family].trains_scale)
    ema: Callable[[float], Callable[..., None]] = torch.optim.swa_utils.get_ema_multi_avg_fn
    average = torch.optim.swa_utils.AveragedModel(model, multi_avg_fn=ema(0.998))
    matrices = [p for p in model.parameters() if p.ndim >= 2]
    others = [p for p in model.parameters() if p.ndim < 2]
    optimizer = torch.optim.AdamW(
        [{"params": matrices, "weight_decay": 0.1}, {"params": others, "weight_decay": 0.0}],
        lr=rate,
        betas=(0.9, 0.98),
        fused=True,
    )
    half = HalfCopy(model, FAMILIES[family].loss)
    start = last = time.monotonic()
    running = None
    log: list[dict[str, object]] = []
    print(f"{sum(p.numel() for p in model.parameters()) / 1e6:.2f} M parameters", flush=True)

    def report(so_far: str) -> None:
        accuracy = zero_shot(average.module, tokenizer)
        save(average.module.state_dict(), config, out, half=family != "clip")
        stream = float(np.mean([accuracy[name] for name in mini.STREAM]))
        scale, bias = model.logit_scale.exp().item(), getattr(model, "logit_bias", None)
        shift = "" if bias is None else f"{bias.item():.2f}"
        seconds, loss = round(time.monotonic() - start), f"{running or math.nan:.4f}"
        spent = (step, step * batch_size, seconds, torch.get_num_threads(), name_of(device))
        values = (*spent, loss, f"{scale:.2f}", shift, f"{stream:.1f}")
        log.append(dict(zip(LOG_COLUMNS, values, strict=True)))
        write_csv(out / LOG, LOG_COLUMNS, log)
        each = " ".join(f"{name}={value:.0f}" for name, value in accuracy.items())
        print(f"{so_far}  scale {scale:.1f}  {shift and f'bias {shift}  '}validation {stream:.1f}  {each}", flush=True)

    step = 0
    while (progress := (time.monotonic() - start) / (60 * minutes) if iterations is None else step / iterations) < 1:
        warm = min(1.0, (step + 1) / 200)
        for group in optimizer.param_groups:
            group["lr"] = rate * warm * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * progress)))
        images, tokens, subjects = (part.to(device, non_blocking=True) for part in batches(step, progress))
        loss = half.gradients(images, tokens, subjects)
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        average.update_parameters(model)
        step += 1
        if step % 20 == 1:
            running = loss.item() if running is None else 0.9 * running + 0.1 * loss.item()
        now = time.monotonic()
        if now - last > report_every:
            last = now
            report(
                f"{now - start:5.0f} s  iteration {step}  {step * batch_size / (now - start):.0f} images/s  loss {running:.3f}"
            )
    report(f"{(time.monotonic() - start) / 60:.1f} minutes  {step} iterations  {step * batch_size} images")


def main() -> None:
    """Parse the command line and pretrain the model."""
    parser = argparse.ArgumentParser(prog="python -m tools.pretrain", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--family", choices=FAMILIES, default="clip", help="architecture and loss (default: clip)")
    parser.add_argument("--out", type=Path, help="folder of the model (default: models/tiny, models/tiny-FAMILY)")
    parser.add_argument("--minutes", type=float, default=48, help="training time; the schedule follows the clock (default: 48)")
    parser.add_argument(
        "--iterations",
        type=int,
        help=f"length in iterations in place of --minutes; the schedule follows them (default: {TINY_ITERATIONS} for all "
        "families but clip)",
    )
    parser.add_argument("--width", type=int, default=128, help=f"width of the towers, a multiple of {HEAD} (default: 128)")
    parser.add_argument("--batch-size", type=int, default=128, help="images per step (default: 128)")
    parser.add_argument("--lr", type=float, default=1e-3, help="largest learning rate (default: 0.001)")
    parser.add_argument("--seed", type=int, default=0, help="random seed (default: 0)")
    parser.add_argument("--report-every", type=float, default=180, help="seconds between reports (default: 180)")
    parser.add_argument("--threads", type=int, default=2, help="threads of torch (default: 2)")
    parser.add_argument("--device", default="cpu", help="device that trains (default: cpu)")
    parser.add_argument("--batches", type=Path, help="folder of batches drawn ahead by `tools.batches`; needs --iterations")
    parser.add_argument("--vocabulary", action="store_true", help="learn the vocabulary (models/tiny/bpe.txt.gz) again")
    args = parser.parse_args()
    family = FAMILIES[args.family]
    if args.width < HEAD or args.width % HEAD:
        parser.error(f"--width must be a multiple of {HEAD}, got {args.width}")
    if args.width != 128 and not family.widths:
        parser.error(f"--width must be 128 for --family {args.family}: its image tower in timm has one size")
    if args.iterations is not None and args.iterations < 1:
        parser.error(f"--iterations must be at least 1, got {args.iterations}")
    if args.width != 128 and args.out is None:
        parser.error(f"--out is needed for another --width: models/{family.model} is 128 wide")
    iterations = TINY_ITERATIONS if args.iterations is None and args.family != "clip" else args.iterations
    if args.batches is not None and iterations is None:
        parser.error("--batches needs --iterations: the clock does not say how long the pretraining is")
    torch.set_num_threads(args.threads)
    out = SHIPPED[family.model] if args.out is None else args.out
    if args.batches is None:
        pictures = pool.load_or_make(cache.folder().parent / "pretraining")
        if args.vocabulary or not (TINY / MERGES).exists():
            learn_vocabulary(pictures)
        batches = composed(Sampler(pictures, args.batch_size, args.seed), vocabulary.load(TINY / MERGES))
    else:
        batches = Drawn(args.batches, iterations).batch
    options = (args.minutes, args.batch_size, args.lr, args.seed, args.report_every, args.width, iterations, args.family)
    pretrain(batches, out, *options, args.device)


if __name__ == "__main__":
    main()
