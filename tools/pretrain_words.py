"""Train models/tiny-words, a tiny CLIP that reads: `python -m tools.pretrain_words` (at most 20 minutes of one core).

The pretraining of models/tiny has no written words, so a wrong word over a picture does not mislead it
(`python -m tools.attackable`). This trains its image tower further; the text tower does not change. A batch has

- pictures of the pretraining pool without words, whose features should stay those of models/tiny,
- pictures with a class name, which should match the prompts of that name,
- pictures with a nonsense word, which should keep the features that the picture has without it. So the model reads words, and
  does not merely react to text.

The words are class names of mini domains, in the typefaces of the pool. No case study uses these typefaces. The words of other
domains are left out, to show that the model reads only words that it has seen. No test split is used, and the last weights are
taken.
"""

from __future__ import annotations

import argparse
import copy
import io
import math
import shutil
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from open_clip.tokenizer import SimpleTokenizer
from PIL import ImageFont
from safetensors.torch import load_file, save_file
from torch import Tensor

from benchmarks import mini
from benchmarks.cases.written_words import PIXELS, write
from benchmarks.mini import cache, render
from benchmarks.mini.domain_table import ENTRIES
from tools import families, pool, pretrain, schedule, sources, vocabulary
from tools.attackable import nonsense
from tools.sampler import Sampler

TINY_WORDS = pretrain.TINY.with_name("tiny-words")
DOMAINS = ("nature", "transport")
WORDS = tuple(name for domain in DOMAINS for name in ENTRIES[domain].classnames)
PLAIN, WRITTEN = 48, 80
"""Pictures of a batch without and with a word."""
NAMED = 0.6
"""Share of the pictures with a word whose word is a class name. The others have a nonsense word."""
KEEP = 15.0
"""Weight of 1 - cosine of the features that should stay, next to the cross-entropy of the words (our choice)."""
EASY_UNTIL, EASE_ENDS, LEAST_EASE = 0.1, 0.5, 0.2
"""Shares of the updates: at first all words are on plain grounds, later on pictures of the pool."""


def typefaces(folder: Path) -> list[ImageFont.FreeTypeFont]:
    """Return the Latin typefaces of the pretraining pool, weights 400 and 700, from packages that are fetched if missing."""
    faces = []
    for source in sources.SOURCES:
        if source.holds in ("font", "hand"):
            files = sources.read(sources.fetch(source, folder / "packages"), "-normal.woff")
            family = source.package.split("/")[1]
            for weight in (400, 700):
                if (data := files.get(f"{family}-latin-{weight}-normal.woff")) is not None:
                    faces.append(ImageFont.truetype(io.BytesIO(data), PIXELS))
    return faces


def with_words(
    images: Tensor, named: Tensor, faces: Sequence[ImageFont.FreeTypeFont], ease: float, rng: np.random.Generator
) -> tuple[Tensor, Tensor]:
    """Write a random class name or a nonsense word over each picture.

    Args:
        images: pictures [n, 3, 48, 48] in 0..1.
        named: whether a picture gets a class name [n].
        faces: the typefaces.
        ease: the share of pictures with a class name that are replaced by a plain ground first.
        rng: the source of every choice.

    Returns:
        The new pictures, and for each picture the index in `WORDS` of its class name, or of the name whose length its nonsense
        word has [n].
    """
    words = rng.integers(len(WORDS), size=len(images))
    written = torch.empty_like(images)
    for place, word in enumerate(words):
        picture = (images[place] * 255).round().byte().permute(1, 2, 0).numpy()
        if named[place] and rng.random() < ease:
            picture = render.flat(render.colour(rng)).astype(np.uint8)
        text = WORDS[word] if named[place] else nonsense(WORDS[word], rng)
        drawn = write(picture, text, faces[int(rng.integers(len(faces)))], rng)
        written[place] = torch.from_numpy(drawn).permute(2, 0, 1) / 255
    return written, torch.from_numpy(words)


@torch.inference_mode()
def word_features(model: Any, tokenizer: SimpleTokenizer) -> Tensor:
    """Return unit text features [W, d] of the words, averaged over the templates of their domains."""
    rows = []
    for domain in DOMAINS:
        entry = ENTRIES[domain]
        each = [
            F.normalize(model.encode_text(tokenizer([t.format(c) for c in entry.classnames])), dim=-1) for t in entry.templates
        ]
        rows.append(F.normalize(torch.stack(each).sum(dim=0), dim=-1))
    return torch.cat(rows)


def loss_of(features: Tensor, kept: Tensor, keep: Tensor, words: Tensor, text: Tensor, scale: float) -> tuple[Tensor, Tensor]:
    """Return the loss of a batch and the share of named words that are recognised among all words.

    Args:
        features: unit image features [B, d].
        kept: the features [K, d] that the pictures `keep` should have. Their loss is 1 - cosine, times `KEEP`.
        keep: their places in the batch [K].
        words: the word of each other picture [B - K], in the order of the batch.
        text: unit text features of all words [W, d].
        scale: the logit scale.
    """
    named = torch.ones(len(features), dtype=torch.bool)
    named[keep] = False
    logits = scale * features[named] @ text.T
    stay = 1 - (features[keep] * kept).sum(dim=1).mean()
    hits = (logits.argmax(dim=1) == words).float().mean()
    return F.cross_entropy(logits, words) + KEEP * stay, hits.detach()


def train(out: Path, start_from: Path, iterations: int, rate: float, seed: int, report_every: int) -> None:
    """Train an image tower and write the model with the running average of its weights to `out`, also at every report.

    Args:
        out: folder of the model.
        start_from: folder of the model whose image tower is trained further. Words are on plain grounds at first only if it is
            models/tiny. The features that should stay are always those of models/tiny.
        iterations: number of updates.
        rate: largest learning rate. It falls to 0 as a cosine.
        seed: seed of all choices.
        report_every: updates between reports.
    """
    torch.manual_seed(seed)
    folder = cache.folder().parent / "pretraining"
    sampler, faces = Sampler(pool.load_or_make(folder), PLAIN + WRITTEN, seed), typefaces(folder)
    rng = np.random.default_rng([seed, 1])
    tokenizer = vocabulary.load(pretrain.TINY / "bpe.txt.gz")
    model = families.make_model(families.configuration(tokenizer.vocab_size))
    model.load_state_dict(load_file(pretrain.TINY / "open_clip_model.safetensors"))
    teacher = copy.deepcopy(model.visual).bfloat16().eval()
    text, scale = word_features(model, tokenizer).clone(), model.logit_scale.exp().item()
    model.load_state_dict(load_file(start_from / "open_clip_model.safetensors"))
    tower, half = model.visual, copy.deepcopy(model.visual).bfloat16()
    ema: Callable[[float], Callable[..., None]] = torch.optim.swa_utils.get_ema_multi_avg_fn
    average = torch.optim.swa_utils.AveragedModel(tower, multi_avg_fn=ema(0.99))
    matrices, others = ([p for p in tower.parameters() if (p.ndim >= 2) == large] for large in (True, False))
    groups = [{"params": matrices, "weight_decay": 0.1}, {"params": others, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=rate, betas=(0.9, 0.98), fused=True)
    start, running = time.process_time(), np.zeros(2)
    print(f"{len(faces)} typefaces, {len(WORDS)} words", flush=True)
    for step in range(1, iterations + 1):
        progress = step / (iterations + 1)
        for group in optimizer.param_groups:
            group["lr"] = rate * min(1, step / 50) * 0.5 * (1 + math.cos(math.pi * progress))
        ease = LEAST_EASE
        if start_from == pretrain.TINY:
            ease = float(np.interp(progress, (EASY_UNTIL, EASE_ENDS), (1.0, LEAST_EASE)))
        clean = sampler.batch(schedule.LEAST_EASE).images
        clean = clean[torch.from_numpy(rng.permutation(len(clean)))]
        named = torch.from_numpy(rng.random(WRITTEN) < NAMED)
        written, words = with_words(clean[PLAIN:], named, faces, ease, rng)
        keep = torch.cat([torch.ones(PLAIN, dtype=torch.bool), ~named])
        with torch.no_grad():
            torch._foreach_copy_(list(half.parameters()), list(tower.parameters()))
        half.zero_grad()
        with pretrain.attention_in_float32():
            with torch.no_grad():
                kept = F.normalize(teacher(pixels(clean[keep])).float(), dim=-1)
            features = F.normalize(half(pixels(torch.cat([clean[:PLAIN], written]))).float(), dim=-1)
            loss, hits = loss_of(features, kept, keep.nonzero().flatten(), words[named], text, scale)
            torch.autograd.backward(loss)
        for master, low in zip(tower.parameters(), half.parameters(), strict=True):
            master.grad = None if low.grad is None else low.grad.float()
        torch.nn.utils.clip_grad_norm_(tower.parameters(), 1.0)
        optimizer.step()
        average.update_parameters(tower)
        running += (np.array([loss.item(), hits.item()]) - running) * max(0.02, 1 / step)
        if step % 50 == 0:
            spent = time.process_time() - start
            print(f"iteration {step}  {spent:.0f} s  loss {running[0]:.3f}  words {100 * running[1]:.1f} %", flush=True)
        if step % report_every == 0 or step == iterations:
            shown = copy.deepcopy(model)
            shown.visual = copy.deepcopy(average.module)
            save(shown.state_dict(), out)
            accuracy = pretrain.zero_shot(shown, tokenizer)
            stream = np.mean([accuracy[name] for name in mini.STREAM])
            print(f"  validation {stream:.1f}  " + " ".join(f"{n}={a:.0f}" for n, a in accuracy.items()), flush=True)


def pixels(images: Tensor) -> Tensor:
    """Return normalised bfloat16 pixels of pictures in 0..1."""
    return ((images - families.MEAN) / families.STD).bfloat16()


def save(state: dict[str, Tensor], out: Path) -> None:
    """Write a model folder: the weights in half precision, and the configuration and the merges of models/tiny."""
    out.mkdir(parents=True, exist_ok=True)
    for name in ("open_clip_config.json", "bpe.txt.gz"):
        shutil.copyfile(pretrain.TINY / name, out / name)
    save_file({name: tensor.half().contiguous() for name, tensor in state.items()}, out / "open_clip_model.safetensors")
    (out / "open_clip_model.safetensors").chmod(0o644)


def main() -> None:
    """Parse the command line and train the model."""
    parser = argparse.ArgumentParser(prog="python -m tools.pretrain_words", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, default=TINY_WORDS, help="folder of the model (default: models/tiny-words)")
    parser.add_argument("--start", type=Path, default=pretrain.TINY, help="model folder to start from (default: models/tiny)")
    parser.add_argument("--iterations", type=int, default=1500, help="updates of 128 pictures (default: 1500)")
    parser.add_argument("--lr", type=float, default=1e-3, help="largest learning rate (default: 0.001)")
    parser.add_argument("--seed", type=int, default=0, help="random seed (default: 0)")
    parser.add_argument("--report-every", type=int, default=400, help="updates between reports (default: 400)")
    args = parser.parse_args()
    torch.set_num_threads(1)
    train(args.out, args.start, args.iterations, args.lr, args.seed, args.report_every)


if __name__ == "__main__":
    main()
