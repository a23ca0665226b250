"""HTML of the pages: templates, their style and script, links, and the line that tells where a page is from."""

from __future__ import annotations

import base64
import datetime
import hashlib
import os
from importlib.resources import files
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from harness.records.runs import Run
from harness.records.schema import RECORD
from harness.report.tables import clean
from harness.run.version import git_revision, project_version, short_revision
from models.files import descriptor


class Provenance(NamedTuple):
    """The date of a report, the version and commit of the project, and the command."""

    date: str
    version: str
    commit: str | None
    command: str

    def __str__(self) -> str:
        commit = f"commit {short_revision(self.commit)}" if self.commit else "unknown commit"
        return f"Made on {self.date} with Perennial {self.version} ({commit}): {self.command}"


def provenance(command: str) -> Provenance:
    """Return the provenance of a page that is made now by a command."""
    return Provenance(today(), project_version(), git_revision(), command)


def today() -> str:
    """Return the date in words. SOURCE_DATE_EPOCH (reproducible-builds.org) replaces today's date."""
    epoch = os.environ.get("SOURCE_DATE_EPOCH", "")
    day = datetime.datetime.fromtimestamp(int(epoch), datetime.UTC) if epoch.isdecimal() else datetime.datetime.now()
    return f"{day.day} {day:%B %Y}"


def render(template: str, style: str, script: str, **values: Any) -> str:
    """Return the HTML of a template, which escapes every text. Only `script` may run: the page's policy has its digest."""
    environment = Environment(
        loader=PackageLoader("harness.report"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
        finalize=_finalize,
    )
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    html = environment.get_template(template).render(style=Markup(style), script=Markup(script), script_digest=digest, **values)
    return html.lstrip() + "\n"


def _finalize(value: Any) -> Any:
    """Replace characters that no file can hold, in every text of the page."""
    return value if isinstance(value, Markup) else clean(str(value))


def file(name: str) -> str:
    """Return a file of this package as text."""
    return files("harness.report").joinpath(name).read_text(encoding="utf-8")


def folder_of(html: str | Path) -> Path:
    """Return the folder in which a page will be, for its links; the working directory for /dev/stdout."""
    return Path(os.getcwd()) if descriptor(html) is not None else Path(os.path.abspath(html)).parent


def link(path: str | Path, folder: Path) -> str:
    """Return the relative address of a file, from a page in a folder."""
    return quote(Path(os.path.relpath(path, folder)).as_posix())


def record_link(run: Run, folder: Path | None) -> str | None:
    """Return the address of the `run.json` of a run, from a page in a folder. None without a folder."""
    if run.address is not None:
        from harness.hub.repository import web_address

        return web_address(f"{run.address}/{RECORD}")
    return None if folder is None else link(run.folder / RECORD, folder)
