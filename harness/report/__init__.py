"""The report: one page about finished runs that opens with no network, and its figures as files.

`write` is all that others need. Imports neither torch nor Avalanche.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path


def write(results: Sequence[str | Path], html: str | Path, figures: str | Path | None = None) -> Path:
    """Write the page about all runs in or below `results` (folders or run.json files), and give back where it is.

    `figures`: a folder for every figure as SVG and PNG, with the CSV behind it. Runs that are not finished are shown and not
    compared. The same records make the same page, byte by byte.

    Raises UserError for results that do not exist, for a damaged record, naming its file, and where nothing can be written.
    """
    from harness.records import write_bytes
    from harness.report.figure import Figure, save
    from harness.report.methods import sections
    from harness.report.page import page
    from harness.runs import present, read
    from models.registry import UserError

    runs = read([*present(results)], losses=True)
    kept: list[Figure] = []
    text = page(sections(runs), [run for run in runs if not run.finished], kept.append)
    try:
        write_bytes(Path(html), text.encode())
        for figure in kept if figures is not None else ():
            save(figure, Path(figures or "."))
    except OSError as error:
        raise UserError(f"Cannot write {error.filename or html}: {error.strerror}.") from error
    return Path(html)
