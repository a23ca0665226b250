"""The report: one page about finished runs that opens with no network, and its figures as files.

`write` is all that others need. Imports neither torch nor Avalanche.
"""

from __future__ import annotations

import datetime
import os
import shlex
from collections.abc import Sequence
from pathlib import Path


def write(results: Sequence[str | Path], html: str | Path, figures: str | Path | None = None) -> Path:
    """Write the page about all runs in or below `results` (folders or run.json files), and return its path.

    Runs that are not finished are shown and not compared. On one day the same records make the same page, byte by byte; the
    environment variable SOURCE_DATE_EPOCH (seconds) replaces the date.

    Args:
        figures: a folder for every figure as SVG and PNG, with the CSV behind it.

    Raises:
        UserError: for results that do not exist, for a damaged record or one that contradicts itself, naming its file, and
            where nothing can be written.
    """
    from harness.records.runs import present, read
    from harness.report.figure import Figure, save
    from harness.report.page import Made, page
    from harness.report.sections import sections
    from harness.run.version import git_revision, project_version
    from models.files import reason, write_output
    from models.registry import UserError

    runs = read([*present(results)])
    kept: list[Figure] = []
    made = Made(_today(), project_version(), git_revision(), f"report {shlex.join(map(str, results))}")
    text = page(sections(runs), [run for run in runs if not run.finished], kept.append, made)
    try:
        write_output(html, text.encode())
        for figure in kept if figures is not None else ():
            save(figure, Path(figures or "."))
    except OSError as error:
        raise UserError(f"Cannot write {error.filename or html}: {reason(error)}.") from error
    return Path(html)


def _today() -> str:
    """The date in words, that of SOURCE_DATE_EPOCH where it is set (reproducible-builds.org)."""
    epoch = os.environ.get("SOURCE_DATE_EPOCH", "")
    day = datetime.datetime.fromtimestamp(int(epoch), datetime.UTC) if epoch.isdecimal() else datetime.datetime.now()
    return f"{day.day} {day:%B %Y}"
