"""`data status`: show which datasets are in the data folder, and how to get the others. Imports no torch."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from benchmarks.data import pixel_files
from benchmarks.full import data_folder as store
from benchmarks.full.dataset_table import ENTRIES, root_flag, suite
from benchmarks.full.download import readable
from benchmarks.full.downloads import fetch_command, fetchable
from benchmarks.full.fetch import PARTIAL
from harness.display.data_progress import DataProgress
from harness.display.plain_table import plain_table

STYLES = {"complete": "green", "hub copy": "green", "incomplete": "yellow", "differs": "yellow", "missing": "dim"}


def show(names: list[str], data_root: str, console: Console) -> None:
    """Show one table of datasets per suite and the use of the disk, or everything about the datasets that are named."""
    named = store.chosen(names)
    states, sizes = {}, {}
    with DataProgress(console, lines=False) as work:
        every = named or list(ENTRIES)
        for done, name in enumerate(every):
            work(done, len(every), f"counting {name}")
            states[name] = store.state(name, data_root)
            for place in states[name].places:
                if place not in sizes:
                    sizes[place] = store.size(place)
    if named:
        for state in states.values():
            _block(state, sizes, data_root, console)
        return
    for title in store.SUITES:
        here = [states[name] for name in suite(title)]
        _line(console, f"{title}: {sum(state.complete for state in here)} of {len(here)} complete in {data_root}", "bold")
        console.print(_suite_table(here, sizes), highlight=False)
    where = root_flag(data_root)
    _line(
        console,
        f"  fetch: `python cli.py data fetch NAME ...{where}`; by hand: `python cli.py data status NAME{where}` says how",
    )
    _rest(sizes, Path(data_root), console)


def images(state: store.State) -> str:
    """Return "6,667" for a complete dataset, "train 9 of 3,334, test 6 of 3,333" for an incomplete one, "-" if missing."""
    if not state.counts:
        return "-"
    if state.complete and None not in state.counts.values():
        return f"{sum(n for n in state.counts.values() if n is not None):,}"
    parts = []
    for split, number in state.counts.items():
        size = state.expected.get(split)
        count = "not counted" if number is None else f"{number:,}"
        parts.append(f"{'' if split == 'all' else split + ' '}{count}" + (f" of {size:,}" if size is not None else ""))
    return ", ".join(parts)


def remedy(state: store.State) -> str:
    """Return how to complete a dataset: "fetch" or "by hand", or "" if it is complete."""
    if state.complete or state.kind == "differs":
        return ""
    return "fetch" if fetchable(state.row) else "by hand"


def _line(console: Console, text: str, style: str | None = None) -> None:
    console.print(text, style=style, highlight=False, soft_wrap=True)


def _suite_table(states: list[store.State], sizes: dict[Path, int]) -> Table:
    table = plain_table()
    table.add_column("  name", no_wrap=True)
    table.add_column("state", no_wrap=True)
    table.add_column("images")
    table.add_column("size", justify="right", no_wrap=True)
    table.add_column("licence")
    table.add_column("to do", no_wrap=True)
    for state in states:
        size = sum(sizes[place] for place in state.places)
        cells = (images(state), readable(size) if state.places else "-", state.row.licence, remedy(state))
        table.add_row(f"  {state.row.name}", Text(state.kind, style=STYLES[state.kind]), *cells)
    return table


def _block(state: store.State, sizes: dict[Path, int], data_root: str, console: Console) -> None:
    line = partial(_line, console)
    row = state.row
    line(f"{row.name}: {state.kind}", "bold")
    line(f"  {row.about} ({row.suite})")
    wanted = ", ".join(f"{'' if split == 'all' else split + ' '}{size:,}" for split, size in state.expected.items() if size)
    line(f"  images: {images(state)}; the paper's: {wanted}, in {row.classes} classes")
    for place in state.places:
        line(f"  on disk: {place}, {readable(sizes[place])}")
    for note in state.notes:
        line(f"  {note}", "yellow")
    if state.kind == "missing":
        line(f"  expected: {' and '.join(str(Path(data_root) / folder) for folder in row.folder)}")
    line(f"  licence: {row.licence}; source: {row.source}")
    if not state.complete and state.kind != "differs":
        command, needs = fetch_command(row, data_root)
        if command:
            line(f"  get it: {command}{needs}")
        line(f"  {'or ' if command else ''}by hand: {row.get}")


def _rest(sizes: dict[Path, int], root: Path, console: Console) -> None:
    """Show reference data, unfinished downloads, the cache of decoded images, and the size of everything."""
    line = partial(_line, console)
    line("reference data for distillation", "bold")
    for reference in store.references(root):
        line(f"  {reference.name}: {reference.summary} ({reference.path})")
        if not reference.present:
            line(f"    {reference.how_to_get}", "dim")
    cached = pixel_files.usage()
    line("on disk", "bold")
    line(f"  datasets: {readable(sum(sizes.values()))} in {root}")
    if (root / PARTIAL).is_dir():
        unfinished = readable(store.size(root / PARTIAL))
        line(f"  unfinished: {unfinished} in {root / PARTIAL} (the next `data fetch` of the same set continues it)")
    total = readable(sum(item.bytes for item in cached))
    line(f"  decoded images: {total} of {len(cached)} splits in {pixel_files.pixels_folder()}")
    for item in cached:
        line(f"    {item.label}: {item.images:,} images of {item.size} pixels, {readable(item.bytes)}", "dim")
    if cached:
        line("    `python cli.py data clear-cache [LABEL]` deletes them; they are made again when needed.", "dim")
