"""Your own images: measure them, fine-tune a model on them, save it and load it again.

python examples/own_data.py [FOLDER] [--iterations N]

FOLDER has one folder per class. Without it, the script draws a small one.
"""

import argparse
import shutil
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image
from safetensors.torch import save_file

import models
from benchmarks import own
from benchmarks.scenario import scenario
from metrics.embedding import embed
from metrics.evaluate import evaluate
from metrics.iimm import iimm
from metrics.plugins import AccuracyMatrix
from models.classifier import PromptClassifier
from strategies.wise_ft import WiSEFT

COLOURS = {"red tile": (200, 40, 40), "green tile": (40, 160, 60), "blue tile": (40, 60, 200)}


def draw(folder: Path, images: int = 40) -> Path:
    """Write a folder of class folders with noisy coloured tiles."""
    generator = np.random.default_rng(0)
    for name, colour in COLOURS.items():
        (folder / name).mkdir(parents=True)
        for i in range(images):
            pixels = np.array(colour) + generator.normal(0, 60, (64, 64, 3))
            Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(folder / name / f"{i}.png")
    return folder


def main(arguments: list[str] | None = None) -> None:
    """Run the example."""
    parser = argparse.ArgumentParser(description="Measure your own images, fine-tune on them, save and reload the model.")
    parser.add_argument("folder", nargs="?", type=Path, help="one folder per class (default: drawn tiles)")
    parser.add_argument("--iterations", type=int, default=40, help="updates")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as scratch:
        work(options.folder or draw(Path(scratch, "tiles")), options.iterations, Path(scratch))


def work(folder: Path, iterations: int, scratch: Path) -> None:
    """Measure, fine-tune, save, reload."""
    encoder = models.load("tiny")
    stream = scenario([own.domain(str(folder))], encoder=encoder)
    (experience,) = stream.train_stream
    domain = experience.domain
    measured = embed(encoder, domain.train, domain.prompts(0)).features
    score = iimm(measured.image_features, measured.text_features, measured.labels)
    print(f"{domain.name}: {len(domain.classnames)} classes, {len(domain.train)} training images, IIMM {score.score:.3f}")

    accuracy = AccuracyMatrix()
    training = WiSEFT.Options(iterations=iterations, lr=3e-4, batch_size=32, warmup=4, alpha=0.5)
    strategy = WiSEFT(encoder=encoder, options=training, metrics=[accuracy])
    strategy.eval(stream.test_stream)
    strategy.train(experience, eval_streams=[])
    strategy.eval(stream.test_stream)
    before, after = (accuracy.rows[j]["test", domain.name] for j in (0, 1))
    print(f"test accuracy {before.percent:.1f} before, {after.percent:.1f} after, on {after.n} images")

    # A model directory: the configuration, the vocabulary and the new weights.
    deployed = scratch / "deployed"
    deployed.mkdir()
    for name in ("open_clip_config.json", "bpe.txt.gz"):
        shutil.copy(Path(models.__file__).parent / "tiny" / name, deployed)
    save_file(
        {name: tensor.contiguous() for name, tensor in strategy.weights().items()}, deployed / "open_clip_model.safetensors"
    )
    reloaded = PromptClassifier(models.load(str(deployed)))
    reloaded.register_domain(0, domain)
    saved = evaluate(reloaded, domain)
    print(f"saved and loaded again: {saved.percent:.1f}")


if __name__ == "__main__":
    main()
