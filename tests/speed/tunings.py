"""Cost of a training step under each tuning: `python tests/speed/tunings.py [--model ViT-B-32] [--batch 16] [--classes 40]`.

Random weights, one synthetic batch, AdamW; medians of a few steps after one that is not counted. Two more rows: LoRA with its
matrices computed at each use instead of once per pass, and the adapter with its prompts through the tower at each step.
"""

import argparse
import contextlib
import statistics
import time
from types import SimpleNamespace

import torch
import torch.nn.functional as F
from torch.nn.utils import parametrize

import models
from models import tuning
from models.classifier import PromptClassifier


def seconds(args, name, slow=False, **options):
    encoder = models.load(args.model, "random")
    tuning.apply(encoder, name, **options)
    classifier = PromptClassifier(encoder).train()
    names = tuple(f"class {i}" for i in range(args.classes))
    domain = SimpleNamespace(name="synthetic", classnames=names, templates=("a photo of a {}.",))
    classifier.adaptation(SimpleNamespace(task_labels=[0], domain=domain))
    optimizer = torch.optim.AdamW(tuning.trainable(classifier), lr=1e-5)
    pixels = torch.randint(0, 256, (args.batch, 3, encoder.image_size, encoder.image_size)).to(torch.uint8)
    labels = torch.arange(args.batch) % args.classes
    tower = slow or tuning.trains_text_tower(encoder)
    text, took = tuning.trains_text(encoder), []
    for _ in range(args.steps + 1):
        began = time.perf_counter()
        optimizer.zero_grad()
        F.cross_entropy(classifier(pixels, 0), labels).backward()
        optimizer.step()
        if text:
            encoder.touch_text(tower=tower)
        took.append(time.perf_counter() - began)
    return statistics.median(took[1:])


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="ViT-B-32")
    for name, default in (("batch", 16), ("classes", 40), ("steps", 3)):
        parser.add_argument(f"--{name}", type=int, default=default)
    args = parser.parse_args()
    for name in ("full", "visual", "bitfit", "attention", "lora", "adapter", "probe"):
        print(f"{name:10} {seconds(args, name):7.3f} s a step")
    print(f"{'adapter':10} {seconds(args, 'adapter', slow=True):7.3f} s with the prompts through the tower at each step")
    cached, parametrize.cached = parametrize.cached, contextlib.nullcontext
    print(f"{'lora':10} {seconds(args, 'lora'):7.3f} s with matrices computed at each use")
    parametrize.cached = cached


if __name__ == "__main__":
    main()
