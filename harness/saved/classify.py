"""The likeliest classes of image files, as a table."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import pandas as pd
import torch
from torch import Tensor

from benchmarks.data.progress import Progress
from harness.saved.images import pixels
from harness.saved.saved_run import SavedRun
from models.registry import UserError

COLUMNS = ("image", "rank", "task", "class", "probability")
BATCH = 256


class Classified(NamedTuple):
    """A table of answers with the columns `COLUMNS`, and a sentence for each image that cannot be read."""

    answers: pd.DataFrame
    unread: list[str]


def classify(
    saved: SavedRun, paths: Sequence[Path], top: int = 5, tasks: Sequence[str] | None = None, progress: Progress | None = None
) -> Classified:
    """Classify image files with the model of a run. Images that cannot be read are left out.

    Args:
        saved: the model.
        paths: the files.
        top: classes per image.
        tasks: as in `SavedRun.predict`.
        progress: called as progress(done, total, what).

    Raises:
        UserError: as `SavedRun.predict`, except for images that cannot be read.
    """
    rows: list[tuple[str, int, str, str, float]] = []
    unread: list[str] = []
    for start in range(0, len(paths), BATCH):
        read: list[Path] = []
        images: list[Tensor] = []
        for path in paths[start : start + BATCH]:
            if progress is not None:
                progress(start, len(paths), "classify images")
            try:
                images.append(pixels([path], saved.encoder.preprocess))
                read.append(path)
            except UserError as error:
                unread.append(str(error))
        if images:
            for path, answers in zip(read, saved.top(torch.cat(images), top, tasks), strict=True):
                rows += [(str(path), rank, *answer) for rank, answer in enumerate(answers, start=1)]
    return Classified(pd.DataFrame(rows, columns=[*COLUMNS]), unread)
