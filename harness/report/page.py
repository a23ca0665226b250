"""The page: everything in one file that asks the network for nothing."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Iterator, Sequence
from importlib.resources import files
from typing import Any, NamedTuple

import numpy as np

from harness.records.runs import Run
from harness.report import sentences as words
from harness.report.comparison import cost, curves, learning
from harness.report.figure import Figure, inline, settled
from harness.report.heat_map import CAPTION, columns, grid, matrix, shades
from harness.report.iimm_prediction import prediction
from harness.report.markup import Cell, Markup, number, scrolling, table, tag
from harness.report.sections import Section, unique
from harness.report.training_figures import alphas, losses
from harness.run.version import short_revision

SHADES = 41
MOST_LEVEL = 6
"""Headers of more columns than this are set upright."""
MOST_COLUMNS = 12
"""More columns do not fit on a small screen, where the matrix then scrolls."""
MOST_ROWS = 150
MOST_OPEN = 4
"""Matrices that are open at first; the rest are one click away."""


class Made(NamedTuple):
    """When and how a report was made: a date, the project's version and commit, and the options of the command."""

    date: str
    version: str
    commit: str | None
    options: str

    def __str__(self) -> str:
        commit = f"commit {short_revision(self.commit)}" if self.commit else "no commit known"
        return f"Made on {self.date} with Perennial {self.version} ({commit}): {self.options}"


def page(
    sections: Sequence[Section],
    unfinished: Sequence[Run],
    keep: Callable[[Figure], None] = lambda figure: None,
    made: Made | None = None,
) -> str:
    """Return the whole page; `keep` is called with every figure.

    Sections are in the leaderboard's order, then come the runs that are not finished.
    """
    slugs = {section.slug: 1 for section in sections}
    parts = [section_html(section, slugs, keep) for section in sections]
    if unfinished:
        parts.append(_unfinished(unfinished, slugs, keep))
    if not parts:
        parts.append(tag("p", "There are no runs here. `python cli.py bench mtil --strategy zscl` makes one."))
    style, script = _file("page.css") + _heat_rules(), _file("page.js")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=policy),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("title", "Report of continual-learning runs" + (f", {made.date}" if made else "")),
        tag("style", Markup(style)),
    )
    body = tag("body", _header(sections, unfinished, made), tag("main", *parts), _meanings(), tag("script", Markup(script)))
    return f"<!DOCTYPE html>\n{tag('html', head, body, lang='en')}\n"


def section_html(section: Section, slugs: dict[str, int], keep: Callable[[Figure], None]) -> Markup:
    """Return a section: the matrices, what is compared, then what each method did."""

    def shown(*found: Figure | str | None) -> Iterator[Markup]:
        for figure in found:
            if isinstance(figure, Figure):
                keep(figure)
                yield _figure(figure)
            elif figure is not None:
                yield tag("p", figure, class_="note")

    def block(title: str, *inside: Markup) -> Markup:
        return tag("div", tag("h3", title), *inside, class_="block")

    searches = [s for m in section.measured if (s := alphas(unique(f"{section.slug}-alpha-{m.label}", slugs), m)) is not None]
    iimm = [
        block(found.title if isinstance(found, Figure) else "IIMM against gain and forgetting", *shown(found))
        for found in prediction(section)
    ]
    return tag(
        "section",
        tag("h2", section.title, id=section.slug),
        tag("p", words.summary(section), class_="summary"),
        tag("h3", "Accuracy matrices"), *_matrices(section, slugs, keep),
        tag("h3", "Leaderboard"), words.leaderboard(section), words.options(section),
        tag(
            "div",
            block("Learning against forgetting", *shown(learning(section))),
            block("Accuracy over time", *shown(curves(section))),
            *iimm,
            *((block("Alpha curves", *_shut(searches, shown)),) if searches else ()),
            block("Losses", *shown(losses(section))),
            block("Cost", *shown(cost(section))),
            class_="figures",
        ),
        _machines(section),
    )  # fmt: skip


def _matrices(section: Section, slugs: dict[str, int], keep: Callable[[Figure], None]) -> Iterator[Markup]:
    """The matrices of all runs, those of the best methods open."""
    runs = [(m, run) for m in section.measured for run in m.runs]
    first = [(m, run) for m, run in runs if run is m.runs[0]][:MOST_OPEN]
    yield tag("p", f"{CAPTION} Framed: the task just trained.", class_="note")
    yield tag("div", *(_run(run, m.label, slugs, keep, opened=True) for m, run in first), class_="matrices")
    chosen = {id(run) for _, run in first}
    rest = [_run(run, m.label, slugs, keep) for m, run in runs if id(run) not in chosen]
    if len(rest) > MOST_OPEN:
        yield tag("details", tag("summary", f"{len(rest)} more matrices"), *rest)
    else:
        yield from rest


def _shut(found: Sequence[Figure | str], shown: Callable[..., Iterator[Markup]]) -> Iterator[Markup]:
    """The first figures open, any more of a kind shut."""
    for i, figure in enumerate(found):
        title = figure.title if isinstance(figure, Figure) and i >= 2 else None
        yield from [tag("details", tag("summary", title), *shown(figure))] if title else shown(figure)


def _header(sections: Sequence[Section], unfinished: Sequence[Run], made: Made | None) -> Markup:
    runs = [run for section in sections for m in section.measured for run in m.runs]
    counted = f"{len(runs)} finished run{'s' * (len(runs) != 1)}" + f", {len(unfinished)} not finished" * bool(unfinished)
    links = [tag("li", tag("a", section.title, href=f"#{section.slug}")) for section in sections]
    contents = tag("nav", tag("ul", *links), aria_label="Contents") if len(links) > 1 else ""
    about = [tag("p", str(made), class_="made")] if made else []
    return tag(
        "header",
        tag("h1", "What was learned, what was forgotten"),
        *about,
        tag("p", f"{counted}. {words.origin([*runs, *unfinished])}".strip()),
        contents,
    )


def _meanings() -> Markup:
    said = [("R[j, i]", "accuracy in percent on task i after training task j; row 0 is zero-shot")]
    said += [(of.heading, of.meaning) for of in (*words.METRICS.values(), *words.INCREMENTAL.values())]
    said.append(("Learning", "mean of R[i, i] - R[0, i]: the gain on a task from training it, over the initial model"))
    rows = [part for name, meaning in said for part in (tag("dt", name), tag("dd", meaning))]
    return tag("footer", tag("h2", "What the numbers are"), tag("dl", *rows))


def _figure(figure: Figure) -> Markup:
    rows = figure.numbers.rows
    behind: Any = tag("p", f"{len(rows):,} rows: see the CSV.", class_="note")
    if len(rows) <= MOST_ROWS:
        cells = [[_cell(v) if isinstance(v, (int, float)) or v is None else v for v in row] for row in rows]
        texts = next((i for i, v in enumerate(rows[0]) if not isinstance(v, str)), len(rows[0])) if rows else 1
        names = dict.fromkeys(figure.numbers.columns)
        behind = table(f"Numbers of: {figure.title}", names, cells, text_columns=max(1, texts))
    caption = tag("figcaption", figure.caption, " ", _download(figure))
    drawing = tag("div", inline(figure), class_="scroll")
    return tag("figure", drawing, caption, tag("details", tag("summary", "The numbers"), behind))


def _cell(value: Any) -> Cell:
    if isinstance(value, float):
        return Cell("-", "") if value != value else Cell(f"{settled(value):.4g}", f"{settled(value):.6g}")
    return Cell("-", "") if value is None else Cell(value, value)


def _download(figure: Figure) -> Markup:
    data = base64.b64encode(figure.numbers.written()).decode()
    name = f"{figure.slug}.csv"
    return tag("a", "CSV", href=f"data:text/csv;base64,{data}", download=name, class_="csv", aria_label=f"Download {name}")


def _machines(section: Section) -> Markup:
    names = {
        "method": None, "seeds": None, "train s": "mean over seeds", "eval s": "mean over seeds",
        "images / s": "of training", "peak MB": "of memory", "trained parameters": None, "device": None,
    }  # fmt: skip
    rows = []
    for m in section.measured:
        found = [number(m.row.get(k), 0) for k in ("train_seconds", "eval_seconds", "images_per_second", "peak_memory_mb")]
        devices = ", ".join(sorted({str(run.document.get("device", "-")) for run in m.runs}))
        rows.append([m.label, Cell(len(m.runs), len(m.runs)), *found, number(m.row.get("trainable_params"), 0), devices])
    return table("Cost, means over seeds", names, rows)


def _run(run: Run, label: str, slugs: dict[str, int], keep: Callable[[Figure], None], opened: bool = False) -> Markup:
    """Return a run's matrix as a heat map that is a table, and what else its record says."""
    d, seed = run.document, run.identity["seed"]
    title = f"{label}, seed {seed}"
    facts = [f"Folder: {run.folder.name}", f"status: {d['status']}"]
    facts += [f"{name}: {d[key]}" for name, key in (("device", "device"), ("started", "started")) if d.get(key)]
    said = [f"{'; '.join(facts)}.", *map(str, d.get("notes") or []), *map(str, d.get("differences") or [])]
    said += [f"It ended with: {d['error']}"] if d.get("error") else []
    if not run.cells:
        said.append("No accuracy is recorded.")
        return tag("details", tag("summary", title), *(tag("p", text, class_="note") for text in said))
    if not run.heldout:
        said.append("No domain was held out.")
    identity = run.identity
    figure = matrix(run, unique(f"{identity['benchmark']}-{identity.get('order')}-matrix-{label}-seed-{seed}", slugs), title)
    keep(figure)
    return tag(
        "details",
        tag("summary", title),
        _heat(run, figure),
        *(tag("p", text, class_="note") for text in said),
        tag("p", _download(figure), class_="note"),
        open=opened,
        class_="whole" if len(columns(run)) > MOST_COLUMNS else None,
    )


def _heat(run: Run, figure: Figure) -> Markup:
    values, heads = grid(run), columns(run)
    rows = []
    for j, of in enumerate(values):
        if j and not np.isfinite(of).any():
            continue
        cells = []
        for i, value in enumerate(of):
            trained = j >= 1 and i == j - 1
            shade = f"h{round(min(100, max(0, value)) / 100 * (SHADES - 1))}" if value == value else ""
            classes = f"{shade}{' trained' * trained}".strip()
            # By hand: a large report has hundreds of thousands of cells.
            text = f"{value:z.1f}" if value == value else "-"
            cells.append(Markup(f'<td class="{classes}">{text}</td>' if classes else f"<td>{text}</td>"))
        name = f"{j} {run.tasks[j - 1]}" if j else "zero-shot"
        rows.append(tag("tr", tag("th", name, scope="row"), *cells, class_=None if j else "zero"))
    head = tag("tr", tag("th", "after", scope="col"), *(tag("th", tag("span", h), scope="col", class_="n") for *_, h in heads))
    caption = f"{figure.title}."
    class_ = "heat" + " wide" * (len(heads) > MOST_COLUMNS) + " upright" * (MOST_LEVEL < len(heads) <= MOST_COLUMNS)
    inner = tag("table", tag("caption", caption), tag("thead", head), tag("tbody", *rows), class_=class_)
    return scrolling(inner, figure.title)


def _unfinished(runs: Sequence[Run], slugs: dict[str, int], keep: Callable[[Figure], None]) -> Markup:
    said = []
    for run in runs:
        identity, progress = run.identity, run.document.get("progress") or {}
        where = f"{identity['benchmark']}, {identity.get('edition')}, {identity.get('order')}: {identity['strategy']}"
        done = f"{progress.get('after', 0)} of {progress.get('of', len(run.tasks))} tasks"
        said.append(_run(run, f"{where} ({run.document['status']}, {done})", slugs, keep))
    text = "They count in no comparison above. The command that started a run continues it."
    return tag("section", tag("h2", "Runs that are not finished"), tag("p", text), *said)


def _file(name: str) -> str:
    return files("harness.report").joinpath(name).read_text(encoding="utf-8")


def _heat_rules() -> str:
    """Background and text colour of each shade; the text is whichever of black and white contrasts more (WCAG luminance)."""
    rules = []
    for i, colour in enumerate(shades(SHADES)):
        channels = [int(colour[k : k + 2], 16) / 255 for k in (1, 3, 5)]
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
        luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
        text = "#000000" if (luminance + 0.05) / 0.05 > 1.05 / (luminance + 0.05) else "#ffffff"
        rules.append(f".heat tbody tr td.h{i} {{ background: {colour}; color: {text}; }}\n")
    return "".join(rules)
