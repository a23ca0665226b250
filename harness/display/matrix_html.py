"""The accuracy matrix as an HTML table, for notebooks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

from benchmarks.names import SEEN
from harness.display.matrix_table import Rows
from harness.records.titles import METRIC_TITLES

TASK, EARLY = "font-weight:bold", "opacity:0.5"


def matrix_html(rows: Rows, tasks: Sequence[str], heldout: Sequence[str], summary: Mapping[str, float] | None = None) -> str:
    """Return the accuracy matrix in percent, with the task just trained in bold and tasks not trained yet pale.

    Args:
        rows: accuracy matrix; row 0 is zero-shot.
        tasks: names of the tasks in order.
        heldout: names of the held-out domains. Their columns have parentheses.
        summary: metrics of the run, which are listed below the table; None: none.
    """
    seen = any(("test", SEEN) in cells for cells in rows.values())
    columns = [
        *([("test", SEEN)] if seen else []),
        *(("test", task) for task in tasks),
        *(("heldout", name) for name in heldout),
    ]
    heads = [name if stream == "test" else f"({name})" for stream, name in columns]
    lines = ["<table>", f"<tr><th>after</th>{''.join(f'<th>{escape(head)}</th>' for head in heads)}</tr>"]
    for after, cells in sorted(rows.items()):
        values = []
        for stream, name in columns:
            cell = cells.get((stream, name))
            number = tasks.index(name) + 1 if stream == "test" and name in tasks else 0
            style = f' style="{TASK if number == after else EARLY}"' if number >= max(1, after) else ""
            values.append(f"<td{style}>{'' if cell is None else f'{cell.percent:.1f}'}</td>")
        label = "zero-shot" if after == 0 else f"{after} {tasks[after - 1]}"
        lines.append(f"<tr><th>{escape(label)}</th>{''.join(values)}</tr>")
    lines.append("</table>")
    if summary is not None:
        shown = [
            f"{name} {summary[key]:.1f}"
            for key, name in METRIC_TITLES.items()
            if key in summary and summary[key] == summary[key]
        ]
        lines.append(f"<p>{escape(', '.join(shown))}</p>")
    return "\n".join(lines)
