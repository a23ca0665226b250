"""The report: one page about finished runs that needs no network, and its figures as files.

Imports neither torch nor Avalanche.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from harness.report.figure import Figure


def write(
    results: Sequence[str | Path],
    html: str | Path,
    figures: str | Path | None = None,
    studies: Sequence[str] = (),
    leaderboard: str | Path | None = None,
) -> Path:
    """Write a page about all runs in `results`.

    Unfinished runs are shown, but not compared. On the same day, the same records give a byte-identical page. The environment
    variable SOURCE_DATE_EPOCH (seconds) replaces the date.

    Args:
        results: folders, which are searched downwards, or run.json files.
        html: path of the page.
        figures: folder for every figure as SVG, PNG and CSV; None writes no figures.
        studies: folders of studies or their tables, which are drawn together at the end of the page.
        leaderboard: path of the leaderboard's page, which is written too. Both pages link to each other.

    Returns:
        The path of the page.

    Raises:
        UserError: for results that do not exist, for a damaged record or one that contradicts itself, or if a file cannot be
            written.
    """
    from harness.records.runs import present, read
    from harness.report.figure import save
    from harness.report.html import folder_of, link, provenance
    from harness.report.page import page
    from harness.report.sections import sections
    from models.files import reason, write_output
    from models.registry import UserError

    runs = read([*present(results)]) if results else []
    words = [*map(str, results), *(["--study", *studies] if studies else [])]
    command, of_studies = f"report {shlex.join(words)}", _study_figures(studies) if studies else []
    address = None if leaderboard is None else link(leaderboard, folder_of(html))
    unfinished = [run for run in runs if not run.finished]
    text, drawn = page(sections(runs), unfinished, provenance(command), of_studies, address, folder_of(html))
    try:
        write_output(html, text.encode())
        if figures is not None:
            for figure in drawn:
                save(figure, Path(figures))
    except OSError as error:
        raise UserError(f"Cannot write {error.filename or html}: {reason(error)}.") from error
    if leaderboard is not None:
        from harness.records.leaderboard import table_of
        from harness.report import leaderboard_page

        table, by_row = table_of([run for run in runs if run.finished])
        leaderboard_page.write(table, by_row, leaderboard, f"leaderboard {shlex.join(map(str, results))}", report=html)
    return Path(html)


def _study_figures(studies: Sequence[str]) -> list[Figure]:
    from harness.report.study_figures import study_figures
    from harness.study.predictors import read_studies

    return study_figures(read_studies(studies))
