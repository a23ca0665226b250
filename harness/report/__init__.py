"""The report: one page about finished runs that needs no network, and its figures as files.

Imports neither torch nor Avalanche.
"""

from __future__ import annotations

import datetime
import os
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from harness.report.figure import Figure


def write(
    results: Sequence[str | Path], html: str | Path, figures: str | Path | None = None, studies: Sequence[str] = ()
) -> Path:
    """Write a page about all runs in `results`.

    Unfinished runs are shown, but not compared. On the same day, the same records give a byte-identical page. The environment
    variable SOURCE_DATE_EPOCH (seconds) replaces the date.

    Args:
        results: folders, which are searched downwards, or run.json files.
        html: path of the page.
        figures: folder for every figure as SVG, PNG and CSV; None writes no figures.
        studies: folders of studies or their tables, which are drawn together at the end of the page.

    Returns:
        The path of the page.

    Raises:
        UserError: for results that do not exist, for a damaged record or one that contradicts itself, or if a file cannot be
            written.
    """
    from harness.records.runs import present, read
    from harness.report.figure import save
    from harness.report.page import Provenance, page
    from harness.report.sections import sections
    from harness.run.version import git_revision, project_version
    from models.files import reason, write_output
    from models.registry import UserError

    runs = read([*present(results)]) if results else []
    words = [*map(str, results), *(["--study", *studies] if studies else [])]
    provenance = Provenance(_today(), project_version(), git_revision(), f"report {shlex.join(words)}")
    of_studies = _study_figures(studies) if studies else []
    text, drawn = page(sections(runs), [run for run in runs if not run.finished], provenance, of_studies)
    try:
        write_output(html, text.encode())
        if figures is not None:
            for figure in drawn:
                save(figure, Path(figures))
    except OSError as error:
        raise UserError(f"Cannot write {error.filename or html}: {reason(error)}.") from error
    return Path(html)


def _study_figures(studies: Sequence[str]) -> list[Figure]:
    from harness.report.study_figures import study_figures
    from harness.study.predictors import read_studies

    return study_figures(read_studies(studies))


def _today() -> str:
    """Return the date in words. SOURCE_DATE_EPOCH (reproducible-builds.org) replaces today's date."""
    epoch = os.environ.get("SOURCE_DATE_EPOCH", "")
    day = datetime.datetime.fromtimestamp(int(epoch), datetime.UTC) if epoch.isdecimal() else datetime.datetime.now()
    return f"{day.day} {day:%B %Y}"
