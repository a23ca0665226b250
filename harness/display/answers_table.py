"""The answers of `classify` on the screen."""

from __future__ import annotations

import pandas as pd
from rich.table import Table

from harness.display.plain_table import plain_table


def answers_table(answers: pd.DataFrame, images: int) -> Table:
    """Return a table of the likeliest classes of the first images.

    Args:
        answers: as `harness.saved.classify.classify` returns them.
        images: most images in the table.
    """
    table = plain_table()
    table.add_column("image")
    table.add_column("probability", justify="right")
    table.add_column("class")
    table.add_column("task", style="dim")
    shown = answers[answers.image.isin(answers.image.unique()[:images])]
    for image, rank, task, classname, probability in shown.itertuples(index=False):
        table.add_row(image if rank == 1 else "", f"{probability:.3f}", classname, task)
    return table
