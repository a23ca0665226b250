"""Check an exported model in a fresh process: the lines of its README give the answers of the run's model."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from harness.export import head
from harness.export.exportable import Exportable
from harness.export.exporters import Code, Exporter
from harness.export.reload import receive, send
from harness.export.state_dict import WEIGHTS, StateDict
from models.modes import evaluating
from models.registry import UserError, first_line
from models.transforms import evaluation_transform

if TYPE_CHECKING:
    from harness.saved import SavedRun

TOLERANCE = 1e-5
"""The largest difference of logits, relative to the largest logit if that is above 1."""
PHOTOS = ((3, 2), (2, 3), (2, 2))
"""Width and height of the photos that preprocessing is checked on, in sides of the model's square, with odd remainders."""
SAMPLE = 64
"""Random images that take the place of test images that are not at hand."""


class Batch(NamedTuple):
    """Images of a task or held-out domain, uint8 [B, 3, S, S], and their labels [B]; None for random images."""

    task: str
    pixels: Tensor
    labels: Tensor | None


class Checked(NamedTuple):
    """Differences between an exported model and the run's.

    Attributes:
        images: number of images.
        random: whether they are random images.
        logits: largest difference of logits; None if the architecture cannot be built without this project.
        largest: the largest logit.
        texts: largest difference of logits from text features that are encoded again; None if the target has no tokenizer.
        photo: largest difference of normalised pixels of photos; None as for `logits`.
        correct: correct answers of the exported model and number of images by task, under the run's protocol. Tasks with
            questions are left out.
    """

    images: int
    random: bool
    logits: float | None
    largest: float
    texts: float | None
    photo: float | None
    correct: dict[str, tuple[int, int]]


class FreshProcess:
    """A process that runs the lines of a README, without this project on its path. Use it as a context manager."""

    def __enter__(self) -> FreshProcess:
        root = str(Path(__file__).resolve().parents[2])
        path = [p for p in os.environ.get("PYTHONPATH", "").split(os.pathsep) if p and os.path.realpath(p) != root]
        # The folder must be enough, so nothing is asked of a hub.
        self._temporary = tempfile.TemporaryDirectory()
        settings = {"HF_HUB_OFFLINE": "1", "TQDM_DISABLE": "1", "TMPDIR": self._temporary.name}
        environment = {**os.environ, **settings, "PYTHONPATH": os.pathsep.join(path)}
        self._errors: IO[bytes] = tempfile.TemporaryFile()
        script = Path(__file__).with_name("reload.py")
        self._process = subprocess.Popen(
            [sys.executable, "-P", str(script), root],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            env=environment,
            cwd=os.sep,
        )
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None and self._process.stdout is not None
        with suppress(OSError):
            self._process.stdin.close()
        self._process.stdout.close()
        # It has nothing to save, and ending torch takes seconds.
        self._process.kill()
        self._process.wait()
        self._errors.close()
        self._temporary.cleanup()

    def ask(self, do: str, arrays: Sequence[NDArray[Any]] = (), **values: Any) -> tuple[dict[str, Any], list[NDArray[Any]]]:
        """Return the reply to a request. Raises UserError with the process's error."""
        assert self._process.stdin is not None and self._process.stdout is not None
        try:
            send(self._process.stdin, {"do": do, **values}, arrays)
            reply = receive(self._process.stdout)
        except BrokenPipeError:
            reply = None
        if reply is None:
            self._process.wait()
            raise _unusable(f"its process ended with status {self._process.returncode}; {self._last_words()}")
        if "error" in reply[0]:
            raise _unusable(first_line(reply[0]["error"]))
        return reply

    def _last_words(self) -> str:
        self._errors.seek(0)
        lines = self._errors.read().decode(errors="replace").strip().splitlines()
        return lines[-1] if lines else "it printed nothing"


def check(exporter: Exporter, folder: Path, saved: SavedRun, batches: Iterable[Batch], fresh: FreshProcess) -> Checked:
    """Compare the model in a folder with the run's model.

    Args:
        exporter: the exporter that wrote the folder.
        folder: the folder, with its head.
        saved: the run's model.
        batches: the images. Logits are compared among the classes of each batch's task, and among those that compete under the
            run's protocol, or all.
        fresh: the process.

    Returns:
        The differences.

    Raises:
        UserError: the model cannot be loaded, a difference is above `TOLERANCE`, or the answer to an image is another one.
    """
    model, code = exporter.model, exporter.code()
    if isinstance(exporter, StateDict):
        _check_tensors(model, folder, fresh)
    if code is None:
        return Checked(0, False, None, 0.0, None, None, {})
    numpy = code.numpy
    lines = {
        **code._asdict(),
        "choice": head.choice(model),
        "classes": head.classes(numpy),
        "score": head.score(model, numpy),
        "show": head.show(numpy),
    }
    fresh.ask("load", code=lines, folder=str(folder))
    texts = _check_texts(model, code, fresh)
    photo = _check_photos(exporter, fresh)
    names = [each.name for each in model.heads]
    count, difference, largest, random = 0, 0.0, 0.0, False
    correct: dict[str, tuple[int, int]] = {}
    for batch in batches:
        label = names.index(batch.task)
        rivals = saved.rivals(label)
        tasks = [[label], sorted({label, *rivals}) if rivals else [*range(len(names))]]
        ours = _logits(saved, batch.pixels, tasks)
        choices = [[names[number] for number in choice] for choice in tasks]
        theirs = [torch.tensor(part) for part in fresh.ask("logits", [batch.pixels.numpy()], choices=choices)[1]]
        for mine, their in zip(ours, theirs, strict=True):
            apart, size = float((mine - their).abs().max()), float(mine.abs().max())
            difference, largest = max(difference, apart), max(largest, size)
            if not apart <= TOLERANCE * max(1.0, size) or not torch.equal(_answers(mine, size), _answers(their, size)):
                raise UserError(
                    f"The exported model answers differently: on images of {batch.task} its logits differ by up to {apart:.2g} "
                    f"from those of the run's model, of up to {size:.3g}. Nothing was written."
                )
        count += len(batch.pixels)
        random |= batch.labels is None
        if batch.labels is not None and model.heads[label].groups is None:
            right, seen = correct.get(batch.task, (0, 0))
            logits = _arranged(saved, theirs[1], label, rivals) if rivals else theirs[0]
            correct[batch.task] = right + int((logits.argmax(dim=1) == batch.labels).sum()), seen + len(batch.labels)
    return Checked(count, random, difference, largest, texts, photo, correct)


def random_batches(saved: SavedRun) -> Iterator[Batch]:
    """Yield `SAMPLE` random images for the first task."""
    side, generator = saved.encoder.image_size, torch.Generator().manual_seed(0)
    coarse = torch.rand(SAMPLE, 3, 6, 6, generator=generator)
    smooth = F.interpolate(coarse, (side, side), mode="bilinear") + 0.1 * torch.rand(SAMPLE, 3, side, side, generator=generator)
    yield Batch(next(iter(saved.heads())), (smooth.clamp(0, 1) * 255).to(torch.uint8), None)


def _answers(logits: Tensor, size: float) -> Tensor:
    """Return the answer to each image: the largest logit, or the first of those that are equal up to rounding."""
    # Equal prompts of two tasks have equal logits.
    near = logits >= logits.amax(dim=1, keepdim=True) - TOLERANCE * max(1.0, size)
    return near.int().argmax(dim=1)


def _arranged(saved: SavedRun, logits: Tensor, label: int, rivals: Sequence[int]) -> Tensor:
    """Return logits among the classes that compete for images of a task, with the task's classes first."""
    classifier = saved.classifier
    classifier.compete(label, rivals)
    try:
        return classifier.arrange(logits, label, classifier.candidates(classifier.competing(label)))
    finally:
        classifier.compete(label)


def _logits(saved: SavedRun, pixels: Tensor, choices: Sequence[Sequence[int]]) -> list[Tensor]:
    """Return the run's logits of images among the classes of each choice of tasks."""
    strategy = saved.strategy
    with torch.no_grad(), evaluating(saved.classifier):
        features = saved.encoder.encode_images(pixels.to(saved.encoder.device))
        return [strategy.predict(features, saved.classifier.candidates(tuple(choice))).cpu() for choice in choices]


def _check_tensors(model: Exportable, folder: Path, fresh: FreshProcess) -> None:
    """Raise UserError if a file of tensors does not hold the model's."""
    reply, _ = fresh.ask("weights", path=str(folder / WEIGHTS))
    wanted = {
        name: [list(tensor.shape), hashlib.sha256(tensor.contiguous().numpy().tobytes()).hexdigest()]
        for name, tensor in model.weights.items()
    }
    if reply["weights"] != wanted:
        raise _unusable("its tensors are not those of the run")


def _check_texts(model: Exportable, code: Code, fresh: FreshProcess) -> float | None:
    """Return the largest difference of logits from text features that the target's tokenizer and text tower give."""
    if not code.texts:
        return None
    _, rows = fresh.ask("texts", tasks=[each.name for each in model.heads])
    scale = float(model.encoder.clip.logit_scale.detach().exp())
    apart = max(
        float(scale * (torch.tensor(row) - each.text.cpu()).norm(dim=1).max())
        for row, each in zip(rows, model.heads, strict=True)
    )
    if not apart <= TOLERANCE * max(1.0, scale):
        raise UserError(
            "The exported model reads texts differently: with its tokenizer and text tower, logits differ by up to "
            f"{apart:.2g}. Nothing was written."
        )
    return apart


def _check_photos(exporter: Exporter, fresh: FreshProcess) -> float:
    """Return the largest difference of normalised pixels, and run all lines of the README on the photos."""
    encoder, generator, largest = exporter.model.encoder, np.random.default_rng(0), 0.0
    transform = evaluation_transform(encoder.preprocess)
    with tempfile.TemporaryDirectory() as folder:
        for number, (wide, high) in enumerate(PHOTOS):
            side, path = encoder.image_size, str(Path(folder, f"{number}.png"))
            coarse = Image.fromarray(generator.integers(0, 256, (5, 7, 3), np.uint8))
            photo = coarse.resize((side * wide + 7, side * high + 4), Image.Resampling.BICUBIC)
            photo.save(path)
            reply, [theirs] = fresh.ask("photo", path=path)
            ours = encoder.normalise(transform(photo)[None].to(encoder.device)).cpu()
            if theirs.shape != ours.shape or not reply["printed"].strip():
                raise _unusable("it prepares photos differently")
            apart = (torch.tensor(theirs) - ours).abs()
            largest = max(largest, float(apart.max()))
            # A crop that is shifted by one pixel changes every pixel a little.
            if float(apart.max()) > TOLERANCE and (exporter.exact_photos or float(apart.mean()) > 0.1):
                raise UserError(
                    f"The exported model prepares photos differently: normalised pixels differ by {float(apart.max()):.2g}. "
                    "Nothing was written."
                )
    return largest


def _unusable(why: str) -> UserError:
    return UserError(f"The exported model cannot be used in a fresh process: {why}. Nothing was written.")
