"""The record of a GPU as Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

STATUS = {
    "done": "done",
    "failed": "**a check failed**",
    "error": "**ended with an error**",
    "out of time": "**out of time**",
    "running": "was running",
    "waiting": "not started",
    "left out": "left out by --sections",
}
"""What a section's status is called in the table."""


def markdown(record: Mapping[str, Any]) -> str:
    """Return the record as a page: the machine, a row per section, and the tables of each section."""
    lines = [f"# Record of {record['machine'].get('device', 'an unknown device')}", ""]
    if record["small"]:
        lines += ["**A small size on a processor: the figures say only that the script runs.**", ""]
    if record["missing"]:
        lines += [f"**Incomplete. Missing: {', '.join(record['missing'])}.**", ""]
    facts = [("date", record["started"]), ("revision", record["git_revision"] or "unknown"), *record["machine"].items()]
    facts += [("seconds", record["seconds"]), ("limit", f"{record['limit_s']} s")]
    lines += [*table([{"": name, "value": value} for name, value in facts if name != "versions"])]
    versions = record["machine"].get("versions") or {}
    lines += ["", "Versions: " + ", ".join(f"{name} {version}" for name, version in versions.items()), "", "## Sections", ""]
    lines += table([_summary(name, section) for name, section in record["sections"].items()])
    for name, section in record["sections"].items():
        if section["status"] in ("waiting", "left out"):
            continue
        lines += ["", f"## {name}", "", section["about"]]
        for title, rows in (section.get("tables") or {}).items():
            if isinstance(rows, list) and rows and all(isinstance(row, Mapping) for row in rows):
                lines += ["", f"### {name}: {title}", "", *table(rows)]
        if section["status"] not in ("done", "failed") and section.get("tail"):
            lines += ["", "```text", *section["tail"].splitlines(), "```"]
    return "\n".join(lines) + "\n"


def _summary(name: str, section: Mapping[str, Any]) -> dict[str, Any]:
    passed, of = section["checks"]
    checks = f"{passed} of {of}" if of else "-"
    status = STATUS[section["status"]]
    return {"section": name, "status": status, "checks passed": checks, "s": section["seconds"], "limit s": section["limit_s"]}


def table(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return rows as a Markdown table. Its columns are the keys of all rows, in the order in which they first occur."""
    columns = list(dict.fromkeys(key for row in rows for key in row))
    numeric = {key for key in columns if all(isinstance(row.get(key, 0), (int, float)) for row in rows)}
    lines = [columns, ["---:" if key in numeric else "---" for key in columns]]
    lines += [[cell(row.get(key, "")) for key in columns] for row in rows]
    return [f"| {' | '.join(line)} |" for line in lines]


def cell(value: Any) -> str:
    """Return a value as the text of a cell: four significant digits, yes or no, no line breaks."""
    if isinstance(value, bool):
        return "yes" if value else "**no**"
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 10_000 else f"{value:.4g}"
    if value is None:
        return "-"
    return " ".join(str(value).split()).replace("|", "\\|")
