"""Pretrain the tiny CLIP that ships in models/tiny: `python -m tools.pretrain` (about 50 minutes, 2 cores).

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
from open_clip.model import CLIP
from open_clip.tokenizer import SimpleTokenizer
from safetensors.torch import save_file
from torch import Tensor

from benchmarks import mini
from benchmarks.mini import cache
from benchmarks.mini import domain_table as table
from models.loading.tokenizers import MERGES
from tools import captions, pool, vocabulary
from tools.pool import Pool
from tools.sampler import COLOURS, Sampler

TINY = Path(__file__).parents[1] / "models" / "tiny"
MEAN, STD = 0.5, 0.27
LOGIT_SCALE_INIT = 20.0
HEAD = 32
"""Width of an attention head."""
# A small transformer learns shapes in random colours very slowly. If it sees white on black first, it learns both sooner.
EASY_UNTIL, EASE_ENDS, LEAST_EASE = 0.06, 0.4, 0.08


def configuration(vocabulary_size: int, width: int = 128) -> dict[str, Any]:
    """Return the open_clip config: 48 x 48 images in patches of 8, two towers and embeddings of the same width.

    Args:
        vocabulary_size: number of tokens.
        width: width of both towers and of the embeddings, a multiple of 32, the width of a head.
    """
    return {
        "model_cfg": {
            "embed_dim": width,
            "vision_cfg": {"image_size": 48, "patch_size": 8, "width": width, "layers": 4, "head_width": HEAD},
            "text_cfg": {
                "context_length": vocabulary.CONTEXT,
                "vocab_size": vocabulary_size,
                "width": width,
                "heads": width // HEAD,
                "layers": 3,
            },
        },
        "preprocess_cfg": {"mean": [MEAN] * 3, "std": [STD] * 3, "interpolation": "bilinear"},
    }


def make_model(config: dict[str, Any]) -> Any:
    """Return an open_clip model with random weights."""
    architecture = config["model_cfg"]
    model = CLIP(
        embed_dim=architecture["embed_dim"],
        vision_cfg=architecture["vision_cfg"],
        text_cfg=architecture["text_cfg"],
    )
    with torch.no_grad():
        model.logit_scale.fill_(math.log(LOGIT_SCALE_INIT))
    return model


def learn_vocabulary(pictures: Pool) -> None:
    """Write models/tiny/bpe.txt.gz from the pool's captions and the domains' prompts."""
    rng = np.random.default_rng(0)
    kinds = np.concatenate([pictures.mask_kinds, pictures.picture_kinds])
    subjects = np.concatenate([pictures.mask_subjects, pictures.picture_subjects])
    texts = [captions.caption(kind, subject, rng) for kind, subject in zip(kinds, subjects, strict=True)]
    texts += [f"a {colour} {shape}." for colour in COLOURS for shape in np.unique(subjects[kinds == "shapes"])] * 5
    texts += [t.format(c) for e in table.ENTRIES.values() for t in e.templates for c in e.classnames] * 5
    vocabulary.save(vocabulary.learn(texts), TINY / MERGES)


def loss_of(model: Any, images: Tensor, tokens: Tensor, subjects: Tensor) -> Tensor:
    """Return a contrastive loss with several positives: images [B] against captions [U], one per subject, and the reverse.

    It is the mean of a cross-entropy over captions (label smoothing 0.05) and one over images, in which all images of a
    subject are equal positives.
    """
    image_features = F.normalize(model.encode_image(images), dim=-1)
    text_features = F.normalize(model.encode_text(tokens), dim=-1)
    logits = model.logit_scale.exp().clamp(max=100) * image_features.float() @ text_features.float().T
    positives = F.one_hot(subjects, len(tokens)).float().T
    positives = positives / positives.sum(dim=1, keepdim=True)
    to_text = F.cross_entropy(logits, subjects, label_smoothing=0.05)
    to_image = -(positives * logits.T.log_softmax(dim=1)).sum(dim=1).mean()
    loss: Tensor = 0.5 * to_text + 0.5 * to_image
    return loss


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

    The weights stay in float32, so small updates are not lost to rounding.
    """

    def __init__(self, model: Any):
        self.masters: list[Tensor] = list(model.parameters())
        self.copy = copy.deepcopy(model).bfloat16()
        self.copies: list[Tensor] = list(self.copy.parameters())

    def gradients(self, images: Tensor, tokens: Tensor, subjects: Tensor) -> Tensor:
        """Set the float32 model's gradients and return the loss."""
        with torch.no_grad():
            torch._foreach_copy_(list(self.copies), list(self.masters))
        self.copy.zero_grad()
        with attention_in_float32():
            loss = loss_of(self.copy, images.bfloat16(), tokens, subjects)
            torch.autograd.backward(loss)
        for master, low in zip(self.masters, self.copies, strict=True):
            master.grad = None if low.grad is None else low.grad.float()
        return loss.detach()


@torch.inference_mode()
def zero_shot(model: Any, tokenizer: SimpleTokenizer, split: str = "val") -> dict[str, float]:
    """Return the accuracy in percent on a split of every domain, with prompts averaged over the templates."""
    model.eval()
    accuracy = {}
    for name in (*mini.STREAM, *mini.HELDOUT):
        domain = mini.build(name)
        each = [F.normalize(model.encode_text(tokenizer(domain.prompts(t))), dim=-1) for t in range(len(domain.templates))]
        texts = torch.stack(each).sum(dim=0)
        data = getattr(domain, split)
        images = (data.images.float() / 255 - MEAN) / STD
        features = torch.cat([model.encode_image(part) for part in images.split(256)])
        accuracy[name] = 100 * (features @ texts.T).argmax(1).eq(torch.tensor(data.targets)).float().mean().item()
    model.train()
    return accuracy


def save(state: dict[str, Tensor], config: dict[str, Any], target: Path) -> None:
    """Write the weights, the config and the vocabulary into a folder that `models.load` reads."""
    target.mkdir(parents=True, exist_ok=True)
    if not (target / MERGES).exists():
        shutil.copyfile(TINY / MERGES, target / MERGES)
    (target / "open_clip_config.json").write_text(json.dumps(config, indent=2) + "\n")
    tensors = {name: tensor.detach().float().contiguous() for name, tensor in state.items()}
    temporary = target / "open_clip_model.safetensors.part"
    save_file(tensors, temporary)
    temporary.chmod(0o644)
    temporary.replace(target / "open_clip_model.safetensors")


def ease_at(progress: float) -> float:
    """Return the share of easy pictures: 1 until 6 % of the time, then falling linearly to 0.08 at 40 %, constant after."""
    return float(np.interp(progress, (EASY_UNTIL, EASE_ENDS), (1.0, LEAST_EASE)))


def pretrain(
    pictures: Pool,
    out: Path,
    minutes: float,
    batch_size: int,
    rate: float,
    seed: int,
    report_every: float,
    width: int = 128,
    iterations: int | None = None,
) -> None:
    """Train a model and write the running average of its weights to `out`, also at every report.

    Args:
        pictures: the pool of pictures.
        out: folder of the model.
        minutes: length of the training by the clock, which also sets the schedule.
        batch_size: images per iteration.
        rate: largest learning rate.
        seed: seed of the weights and the pictures.
        report_every: seconds between reports.
        width: width of the towers (`configuration`).
        iterations: length in iterations, in place of the clock.
    """
    torch.manual_seed(seed)
    tokenizer = vocabulary.load(TINY / MERGES)
    config = configuration(tokenizer.vocab_size, width)
    model = make_model(config)
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
    sampler = Sampler(pictures, batch_size, seed)
    half = HalfCopy(model)
    start = last = time.monotonic()
    running = None
    print(f"{sum(p.numel() for p in model.parameters()) / 1e6:.2f} M parameters", flush=True)

    def report(so_far: str) -> None:
        accuracy = zero_shot(average.module, tokenizer)
        save(average.module.state_dict(), config, out)
        stream = np.mean([accuracy[name] for name in mini.STREAM])
        scale = model.logit_scale.exp().item()
        each = " ".join(f"{name}={value:.0f}" for name, value in accuracy.items())
        print(f"{so_far}  scale {scale:.1f}  validation {stream:.1f}  {each}", flush=True)

    step = 0
    while (progress := (time.monotonic() - start) / (60 * minutes) if iterations is None else step / iterations) < 1:
        warm = min(1.0, (step + 1) / 200)
        for group in optimizer.param_groups:
            group["lr"] = rate * warm * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * progress)))
        batch = sampler.batch(ease_at(progress))
        tokens = tokenizer(batch.captions)
        loss = half.gradients((batch.images - MEAN) / STD, tokens, batch.subjects)
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
    parser.add_argument("--out", type=Path, default=TINY, help="folder of the model (default: models/tiny)")
    parser.add_argument("--minutes", type=float, default=48, help="training time; the schedule follows the clock (default: 48)")
    parser.add_argument("--iterations", type=int, help="length in iterations in place of --minutes; the schedule follows them")
    parser.add_argument("--width", type=int, default=128, help=f"width of the towers, a multiple of {HEAD} (default: 128)")
    parser.add_argument("--batch-size", type=int, default=128, help="images per step (default: 128)")
    parser.add_argument("--lr", type=float, default=1e-3, help="largest learning rate (default: 0.001)")
    parser.add_argument("--seed", type=int, default=0, help="random seed (default: 0)")
    parser.add_argument("--report-every", type=float, default=180, help="seconds between reports (default: 180)")
    parser.add_argument("--threads", type=int, default=2, help="threads of torch (default: 2)")
    parser.add_argument("--vocabulary", action="store_true", help="learn the vocabulary (models/tiny/bpe.txt.gz) again")
    args = parser.parse_args()
    if args.width < HEAD or args.width % HEAD:
        parser.error(f"--width must be a multiple of {HEAD}, got {args.width}")
    if args.iterations is not None and args.iterations < 1:
        parser.error(f"--iterations must be at least 1, got {args.iterations}")
    if args.width != 128 and args.out == TINY:
        parser.error("--out is needed for another --width: models/tiny is 128 wide")
    torch.set_num_threads(args.threads)
    pictures = pool.load_or_make(cache.folder().parent / "pretraining")
    if args.vocabulary or not (TINY / MERGES).exists():
        learn_vocabulary(pictures)
    pretrain(
        pictures, args.out, args.minutes, args.batch_size, args.lr, args.seed, args.report_every, args.width, args.iterations
    )


if __name__ == "__main__":
    main()
