"""The page: one file that needs no network. The HTML is in `templates/`, which escape every text."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from harness.records.runs import Run
from harness.report import sentences
from harness.report.comparison import cost, curves, learning
from harness.report.figure import Figure, inline, settled
from harness.report.generalisation_figures import generalisation
from harness.report.heat_map import CAPTION, columns, grid, matrix, shades
from harness.report.html import Provenance, file, record_link, render
from harness.report.iimm_prediction import prediction
from harness.report.patch_figures import patch_curves
from harness.report.scale_figure import scale
from harness.report.sections import Section, unique
from harness.report.tables import Cell, Table, number, table
from harness.report.training_figures import alphas, losses
from harness.report.transfer_figures import paint_table, transfer

SHADES = 41
MAX_LEVEL_HEADINGS = 6
"""With more columns, the headings of a matrix are upright."""
MAX_COLUMNS = 12
"""A matrix with more columns has its own row, and scrolls on a small screen."""
MAX_ROWS = 150
"""The data of a figure with more rows is only in its CSV file."""
MAX_OPEN = 4
"""Number of matrices that are open at first."""
MAX_OPEN_SEARCHES = 2


def page(
    sections: Sequence[Section],
    unfinished: Sequence[Run],
    provenance: Provenance | None = None,
    studies: Sequence[Figure] = (),
    leaderboard: str | None = None,
    folder: Path | None = None,
) -> tuple[str, list[Figure]]:
    """Return the HTML of the page and all figures in it.

    Args:
        sections: sections in the order of the leaderboard.
        unfinished: runs that are not finished, shown at the end.
        provenance: date, version and command; None leaves them out.
        studies: figures of studies, shown after the sections.
        leaderboard: address of the leaderboard's page, which is linked.
        folder: the folder of the page, for links to records; None leaves them out.
    """
    parts = _Parts(sections, folder)
    finished = [run for section in sections for method in section.measured for run in method.runs]
    counts = f"{len(finished)} finished run{'s' * (len(finished) != 1)}" + f", {len(unfinished)} unfinished" * bool(unfinished)
    style, script = file("page.css") + _heat_rules(), file("page.js")
    html = render(
        "page.html",
        style,
        script,
        sections=[parts.section(section) for section in sections],
        studies=[parts.block(figure.title, figure) for figure in studies],
        unfinished=[parts.unfinished(run) for run in unfinished],
        provenance=provenance,
        leaderboard=leaderboard,
        counts=counts,
        origin=sentences.origin([*finished, *unfinished]),
        definitions=sentences.DEFINITIONS,
        matrix_caption=CAPTION,
        max_open=MAX_OPEN,
    )
    return html, parts.figures


class _Parts:
    """The data of the templates, with all figures made so far and the anchors and file names in use."""

    def __init__(self, sections: Sequence[Section], folder: Path | None = None):
        self.folder = folder
        self.figures: list[Figure] = []
        self.slugs = {section.slug: 1 for section in sections}

    def section(self, section: Section) -> dict[str, Any]:
        """Return the data of a section."""
        runs = [(method, run) for method in section.measured for run in method.runs]
        best = [(method, run) for method, run in runs if run is method.runs[0]][:MAX_OPEN]
        best_ids = {id(run) for _, run in best}
        searched = (alphas(unique(f"{section.slug}-alpha-{m.label}", self.slugs), m) for m in section.measured)
        searches = [search for search in searched if search is not None]
        curves_of = (patch_curves(unique(f"{section.slug}-patches-{m.label}", self.slugs), m) for m in section.measured)
        patched = [figure for figure in curves_of if figure is not None]
        transfers = (transfer(unique(f"{section.slug}-transfer-{m.label}", self.slugs), m) for m in section.measured)
        transferred = [figure for figure in transfers if figure is not None]
        main, by_size = paint_table(section), scale(section)
        shared, options = sentences.options(section)
        # In this order: figures are numbered and saved in the order of the page.
        best_runs = [self._run(run, method.label, opened=True) for method, run in best]
        further_runs = [self._run(run, method.label) for method, run in runs if id(run) not in best_ids]
        return {
            "title": section.title,
            "slug": section.slug,
            "summary": sentences.summary(section),
            "best_runs": best_runs,
            "further_runs": further_runs,
            "leaderboard": sentences.leaderboard(section),
            "shared_options": shared,
            "options": options,
            "options_open": len(section.measured) <= sentences.MAX_OPTIONS,
            "blocks": [
                self.block("Learning against forgetting", learning(section)),
                self.block("Accuracy over time", curves(section)),
                *(
                    self.block(figure.title if isinstance(figure, Figure) else "IIMM against gain and forgetting", figure)
                    for figure in prediction(section)
                ),
                *([self.block(main.title, main)] if main is not None else []),
                *([self.block(by_size.title, by_size)] if by_size is not None else []),
                *([self.block("Broad transfer", *transferred)] if transferred else []),
                *(self.block(figure.title, figure) for figure in generalisation(section)),
                *([self.block("Test accuracy along the patches", *patched)] if patched else []),
                *([self.block("Alpha curves", *searches)] if searches else []),
                self.block("Losses", losses(section)),
                self.block("Cost", cost(section)),
            ],
            "costs": _costs(section),
        }

    def unfinished(self, run: Run) -> dict[str, Any]:
        """Return the data of an unfinished run."""
        identity, progress = run.identity, run.document.get("progress") or {}
        name = f"{identity['benchmark']}, {identity.get('edition')}, {identity.get('order')}: {identity['strategy']}"
        done = f"{progress.get('after', 0)} of {progress.get('of', len(run.tasks))} tasks"
        return self._run(run, f"{name} ({run.document['status']}, {done})")

    def block(self, title: str, *content: Figure | str) -> dict[str, Any]:
        """Return figures below a title. A sentence replaces a figure that cannot be drawn."""
        shown = [self._figure(figure) if isinstance(figure, Figure) else figure for figure in content]
        return {"title": title, "content": shown, "max_open": MAX_OPEN_SEARCHES}

    def _figure(self, figure: Figure) -> dict[str, Any]:
        return {
            **self._download(figure),
            "title": figure.title,
            "svg": inline(figure),
            "caption": figure.caption,
            "row_count": f"{len(figure.numbers.rows):,}",
            "numbers": _numbers(figure) if len(figure.numbers.rows) <= MAX_ROWS else None,
        }

    def _download(self, figure: Figure) -> dict[str, str]:
        """Keep the figure, and return its file name and its data as base64."""
        self.figures.append(figure)
        return {"slug": figure.slug, "csv": base64.b64encode(figure.numbers.written()).decode()}

    def _run(self, run: Run, label: str, opened: bool = False) -> dict[str, Any]:
        """Return a run's accuracy matrix and the notes of its record."""
        document, identity = run.document, run.identity
        title = f"{label}, seed {identity['seed']}"
        facts = [f"Folder: {run.folder.name}", f"status: {document['status']}"]
        facts += [f"{name}: {document[name]}" for name in ("device", "started") if document.get(name)]
        notes = [f"{'; '.join(facts)}.", *(document.get("notes") or []), *(document.get("differences") or [])]
        notes += [f"Error: {document['error']}"] if document.get("error") else []
        heat = None
        if not run.cells:
            notes.append("No accuracy is recorded.")
        else:
            if not run.heldout:
                notes.append("This run has no held-out domains.")
            name = f"{identity['benchmark']}-{identity.get('order')}-matrix-{label}-seed-{identity['seed']}"
            figure = matrix(run, unique(name, self.slugs), title)
            heat = {**self._download(figure), **_heat(run, figure.title)}
        wide = bool(run.cells) and len(columns(run)) > MAX_COLUMNS
        return {
            "title": title, "notes": notes, "heat": heat, "open": opened, "wide": wide, "record": record_link(run, self.folder),
        }  # fmt: skip


def _numbers(figure: Figure) -> Table:
    rows = figure.numbers.rows
    text_columns = next((i for i, value in enumerate(rows[0]) if not isinstance(value, str)), len(rows[0])) if rows else 1
    cells = [[value if isinstance(value, str) else _number(value) for value in row] for row in rows]
    return table(f"Data of: {figure.title}", dict.fromkeys(figure.numbers.columns), cells, max(1, text_columns))


def _number(value: Any) -> Cell:
    if value is None or value != value:
        return Cell("-", "")
    if isinstance(value, float):
        return Cell(f"{settled(value):.4g}", f"{settled(value):.6g}")
    return Cell(str(value), str(value))


def _costs(section: Section) -> Table:
    headings = {
        "method": None, "seeds": None, "train s": "mean over seeds", "eval s": "mean over seeds",
        "images / s": "during training", "peak MB": "of memory", "trained parameters": None, "device": None,
    }  # fmt: skip
    rows = []
    for method in section.measured:
        seconds = [number(method.row.get(name), 0) for name in ("train_seconds", "eval_seconds")]
        resources = [number(method.row.get(name), 0) for name in ("images_per_second", "peak_memory_mb", "trainable_params")]
        devices = ", ".join(sorted({str(run.document.get("device", "-")) for run in method.runs}))
        rows.append([method.label, _number(len(method.runs)), *seconds, *resources, devices])
    return table("Cost, means over seeds", headings, rows)


def _heat(run: Run, title: str) -> dict[str, Any]:
    """Return the accuracy matrix as table rows: a name, then the CSS class and text of each cell."""
    headings = [heading for *_, heading in columns(run)]
    rows = []
    for j, values in enumerate(grid(run)):
        if j == 0 or np.isfinite(values).any():
            cells = [_heat_cell(value, trained=j >= 1 and i == j - 1) for i, value in enumerate(values)]
            rows.append((f"{j} {run.tasks[j - 1]}" if j else "zero-shot", cells))
    css = "heat" + " wide" * (len(headings) > MAX_COLUMNS) + " upright" * (MAX_LEVEL_HEADINGS < len(headings) <= MAX_COLUMNS)
    return {"title": title, "headings": headings, "rows": rows, "css": css}


def _heat_cell(value: float, trained: bool) -> tuple[str, str]:
    shade = f"h{round(min(100, max(0, value)) / 100 * (SHADES - 1))}" if value == value else ""
    return f"{shade}{' trained' * trained}".strip(), f"{value:z.1f}" if value == value else "-"


def _heat_rules() -> str:
    """Return the colours of each shade, with black or white text, whichever has more contrast (WCAG luminance)."""
    rules = []
    for i, colour in enumerate(shades(SHADES)):
        channels = [int(colour[k : k + 2], 16) / 255 for k in (1, 3, 5)]
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
        luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
        text = "#000000" if (luminance + 0.05) / 0.05 > 1.05 / (luminance + 0.05) else "#ffffff"
        rules.append(f".heat tbody tr td.h{i} {{ background: {colour}; color: {text}; }}\n")
    return "".join(rules)
