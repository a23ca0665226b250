"""Resolve names of domains to their sources: the mini edition, the papers' datasets, or the user's data."""

from __future__ import annotations

import hashlib
import os
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

from benchmarks import broad, mini, settings, shifts
from benchmarks.broad import task_table
from benchmarks.data.progress import Progress
from benchmarks.full.dataset_table import ENTRIES as FULL
from benchmarks.full.dataset_table import root_flag
from benchmarks.full.downloads import how_to_get
from benchmarks.names import check_distinct
from benchmarks.plan import Ask, Built, StreamPlan
from models.registry import UserError, check_text, unknown

if TYPE_CHECKING:
    from benchmarks.data.domain import Domain

MINI = (*mini.STREAM, *mini.HELDOUT)
BROAD = tuple(task_table.TASKS)
SPLITS = ("train", "val", "test")
OWN_READING = 2
"""Version of the code that reads users' data. Increase it if the same files give other pixels or splits: runs then differ."""


class DomainSource(Protocol):
    """A domain that can be built."""

    @property
    def name(self) -> str:
        """The name in records."""

    @property
    def edition(self) -> str:
        """The edition: "mini", "broad", "full" or "own"."""

    def build(self, splits: Sequence[str], progress: Progress | None = None) -> Domain:
        """Read the domain. Other splits than `splits` may be None. Raises UserError for missing or damaged data."""
        ...

    def differences(self, domain: Domain) -> list[str]:
        """Return sentences on how the domain differs from a paper's data."""
        ...

    def version(self) -> str:
        """Return a digest of everything that decides images, classes and splits."""
        ...

    def sources(self) -> list[DomainSource]:
        """Return the domains that this one is made from."""
        ...


@dataclass(frozen=True)
class Source:
    """A domain that can be built.

    Attributes:
        name: name in records.
        edition: "mini", "broad", "full" or "own".
        asked: the name as the user wrote it.
        data_root: the data folder.
        classnames: a file that replaces the class names of the user's data.
        templates: a file that replaces the templates of the user's data.
    """

    name: str
    edition: str
    asked: str
    data_root: str = "data"
    classnames: str | None = None
    templates: str | None = None

    def build(self, splits: Sequence[str] = SPLITS, progress: Progress | None = None) -> Domain:
        """Read the domain. Other splits than `splits` may be None. Raises UserError for missing or damaged data."""
        if self.edition == "mini":
            return mini.build(self.name, progress)
        if self.edition == "broad":
            return broad.build(self.name, self.data_root, progress)
        if self.edition == "full":
            from benchmarks import full

            return full.build(self.name, self.data_root, splits, progress)
        from benchmarks import own
        from benchmarks.own.check import check_heads

        domain = replace(
            own.domain(self.asked, self.data_root, classnames=self.classnames, templates=self.templates), name=self.name
        )
        return check_heads(domain, splits, progress)

    def with_files(self, classnames: str | None, templates: str | None) -> Source:
        """Return the source with files of class names and templates. Raises UserError for files with a built-in domain."""
        if self.edition != "own" and (classnames or templates):
            raise UserError(
                f"--classnames and --templates apply only to your data: {self.asked} has fixed class names and templates."
            )
        return replace(self, classnames=classnames, templates=templates)

    def shadowed(self) -> str | None:
        """Return a sentence on a folder of the user with the name of this built-in domain, or None."""
        if self.edition == "own" or self.name != self.asked:
            return None
        in_root = os.path.join(self.data_root, self.name)
        # The data folder holds the papers' datasets.
        places = [f"./{self.name}"] if self.edition == "full" else [f"./{self.name}", in_root]
        for place in places:
            paper = self.edition == "full" and os.path.abspath(place) == os.path.abspath(in_root)
            if os.path.isdir(place) and not paper:
                kinds = {"mini": "a domain of the mini edition", "broad": "a task of the suite broad"}
                which = kinds.get(self.edition, "a dataset of the papers")
                return f"{self.name} is read as {which}. Write {place} for the folder."
        return None

    def differences(self, domain: Domain) -> list[str]:
        """Return sentences on how a domain of the full edition differs from the paper's data."""
        if self.edition != "full":
            return []
        from benchmarks import full

        return full.differences(domain, FULL[self.name])

    def sources(self) -> list[DomainSource]:
        """Return no domains: this one is read from files or drawn."""
        return []

    def version(self) -> str:
        """Return a digest of the data on disk or of the code that renders it, with class names and templates."""
        if self.edition == "mini":
            from benchmarks.mini import cache

            return cache.version_key()
        if self.edition == "broad":
            return broad.version(self.name, self.data_root)
        if self.edition == "full":
            from benchmarks import full

            row = FULL[self.name]
            content = f"{full.version(self.name, self.data_root)}\n{(row.fixed, row.templates)!r}"
        else:
            from benchmarks import own

            # A hub dataset counts by its name: its files are unknown before the first download.
            hub = own.kind_of(self.asked, self.data_root) == "hub"
            content = f"{OWN_READING}\n{self.asked if hub else own.data_version(self.asked, self.data_root)}"
        return hashlib.sha256(content.encode()).hexdigest()[:12]


def find(name: str, edition: str | None = None, data_root: str = "data") -> Source:
    """Return the source of a domain: a built-in name, a path, <data-root>/NAME or a hub name, in this order.

    Args:
        name: the name as the user wrote it.
        edition: "mini" or "full" allows only the names of that edition. "own" and None allow every name, also of the suite
            `broad` and of `benchmarks.shifts`. Of equal names the mini edition comes first, then `benchmarks.shifts`.
        data_root: the data folder.

    Raises:
        UserError: for an unknown name, with the nearest known ones, and for a name that records cannot hold.
    """
    check_text(name, "dataset name")
    if edition in (None, "mini", "own") and name in MINI:
        return Source(name, "mini", name, data_root)
    if edition in (None, "own") and name in shifts.COPIES:
        return Source(name, "own", str(shifts.folder_of(name, data_root)), data_root)
    if edition in (None, "full", "own") and name in FULL:
        return Source(name, "full", name, data_root)
    if edition in (None, "own") and name in BROAD:
        return Source(name, "broad", name, data_root)
    if edition in ("mini", "full"):
        if name in BROAD:
            raise UserError(f"{name!r} belongs to the suite broad, not to the {edition} edition: leave out --edition.")
        other = "full" if edition == "mini" else "mini"
        if name in (FULL if other == "full" else MINI):
            raise UserError(f"{name!r} belongs to the {other} edition, not to the {edition} edition: leave out --edition.")
        if _own_name(name, data_root) is not None:
            raise UserError(f"{name!r} is your own data, not part of the {edition} edition: leave out --edition.")
        raise unknown(f"domain of the {edition} edition", name, MINI if edition == "mini" else FULL)
    own_name = _own_name(name, data_root)
    if own_name is None:
        from benchmarks import own

        if (refused := own.why_not(name, data_root)) is not None:
            raise UserError(refused)
        error = str(unknown("domain", name, [*MINI, *BROAD, *FULL])).split(" Known:")[0]
        raise UserError(f"{error} It is neither a built-in domain (`list domains`) nor an existing folder or file.")
    return Source(own_name, "own", name, data_root)


def find_all(names: Sequence[str], edition: str | None, data_root: str) -> tuple[str, list[Source]]:
    """Return the edition of several domains together, and their sources.

    The name `broad` stands for the tasks of the suite that are present (`suite_names`). If no edition is given, it is "mini" if
    all domains belong to the mini edition, "full" if all are papers' datasets, and otherwise "own".
    """
    names = suite_names(names, data_root)
    if edition is None:
        for candidate, known in (("mini", MINI), ("full", FULL)):
            if all(name in known for name in names):
                return candidate, [find(name, candidate, data_root) for name in names]
        edition = "own"
    return edition, [find(name, edition, data_root) for name in names]


def suite_names(names: Sequence[str], data_root: str) -> list[str]:
    """Return the names with `broad` replaced by the mini domains and the tasks of the suite that are present."""
    suite = (*MINI, *task_table.present(data_root))
    return [name for asked in names for name in (suite if asked == task_table.SUITE else (asked,))]


def suite_notes(names: Sequence[str], data_root: str) -> list[str]:
    """Return a sentence on the missing tasks of the suite `broad` if it is among the names."""
    note = task_table.missing_note(data_root) if task_table.SUITE in names else None
    return [note] if note else []


def check_present(sources: Sequence[DomainSource]) -> None:
    """Raise UserError if no file of one of the papers' datasets or of a task from study data exists. Imports no torch."""
    from benchmarks import full

    for source in sources:
        if isinstance(source, Source) and source.edition == "broad":
            task_table.check_present(source.name, source.data_root)
    read = [source for source in sources if isinstance(source, Source) and source.edition == "full"]
    missing = [FULL[source.name] for source in read if not full.folders(source.name, source.data_root)]
    if not missing:
        return
    root, names = read[0].data_root, [entry.name for entry in missing]
    if len(missing) == 1:
        places = " and ".join(f"{root}/{folder}" for folder in missing[0].folder)
        raise UserError(f"The dataset {names[0]} is missing: {places} not found. {how_to_get(missing[0], root)}")
    raise UserError(
        f"{len(names)} datasets are missing under {root!r} (--data-root): {', '.join(names)}. "
        f"`python cli.py data status{root_flag(root)}` lists the datasets, and "
        f"`python cli.py data fetch NAME...{root_flag(root)}` downloads them."
    )


def versions(sources: Sequence[DomainSource], *facts: object) -> str | None:
    """Return one digest for several sources and further facts. For the mini edition it is the edition's version."""
    each = [source.version() for source in sources]
    if all(isinstance(source, Source) and source.edition == "mini" for source in sources):
        return each[0] if each else None
    return hashlib.sha256("\n".join([*each, *(repr(fact) for fact in facts)]).encode()).hexdigest()[:12]


def held_out(ask: Ask, edition: str, names: Sequence[str], default: Sequence[str]) -> list[Source]:
    """Return the held-out sources: the given ones, or the default without the trained domains.

    Given names mean copies of `benchmarks.shifts` first, then domains of the stream's edition, then others. The name "none"
    stands for no domain.
    """
    if ask.heldout == ("none",):
        return []
    if ask.heldout is None:
        return [find(name, edition, ask.data_root) for name in default if name not in names]
    sources = []
    for name in ask.heldout:
        try:
            named = edition in ("mini", "full") and name not in shifts.COPIES
            sources.append(find(name, edition if named else None, ask.data_root))
        except UserError:
            sources.append(find(name, None, ask.data_root))
    return sources


def shadows(sources: Sequence[Source]) -> tuple[str, ...]:
    """Return one sentence per built-in domain that has the name of a folder of the user."""
    return tuple(note for source in sources if (note := source.shadowed()) is not None)


def plan_of(
    ask: Ask,
    benchmark: str,
    edition: str,
    order: str,
    trained: Sequence[DomainSource],
    heldout: Sequence[DomainSource],
    **more: Any,
) -> StreamPlan:
    """Return the plan of a stream of whole domains, one per task, with MTIL's settings.

    The stream is full-size if one of the tasks is a paper's dataset. `more` are further fields of the plan.

    Raises:
        UserError: for a repeated domain, and for a domain that is both trained and held out.
    """
    names, held = tuple(source.name for source in trained), tuple(source.name for source in heldout)
    check_distinct(names, held)
    sources = [*trained, *heldout]
    full_size = any(source.edition == "full" for source in trained)
    return StreamPlan(
        benchmark=benchmark,
        edition=edition,
        order=order,
        names=names,
        heldout=held,
        build=partial(build_sources, trained, heldout),
        protocol=ask.protocol or "task",
        duplicates=ask.duplicates or "own",
        check=lambda: check_present(sources),
        version=lambda: versions(sources),
        settings=settings.mtil(),
        tiny_settings=settings.mini("mtil"),
        full_size=full_size,
        reference=("imagenet", "conceptual_captions") if full_size else ("mini", "mini"),
        **more,
    )


def build_sources(
    trained: Sequence[DomainSource],
    heldout: Sequence[DomainSource],
    progress: Progress | None,
    splits: Sequence[str],
    heldout_splits: Sequence[str] = ("test",),
) -> Built:
    """Read the domains of the sources: `splits` of the trained ones, `heldout_splits` of the held-out ones."""
    trained_domains = [source.build(splits, progress) for source in trained]
    heldout_domains = [source.build(heldout_splits, progress) for source in heldout]
    pairs = zip([*trained, *heldout], [*trained_domains, *heldout_domains], strict=True)
    return Built(trained_domains, heldout_domains, [line for source, domain in pairs for line in source.differences(domain)])


def _own_name(name: str, data_root: str) -> str | None:
    """Return the name of the user's data in records, or None if the name does not mean data of the user.

    It is the last component of the path, followed by the label column if one was chosen: a stream may use several.
    """
    from benchmarks import own
    from benchmarks.own.columns import chosen_columns

    data = own.find(name, data_root)
    if data is None:
        return None
    last = chosen_columns(name).name.rstrip("/").replace("\\", "/").rsplit("/", 1)[-1]
    if last in (".", "..", "~", ""):
        last = os.path.basename(data.place)
    if data.kind not in ("folder", "hub") and last.lower().endswith(tuple(own.FILES)):
        last = last.rsplit(".", 1)[0]
    # Accents composed or decomposed are one name.
    return unicodedata.normalize("NFC", "-".join([last, *filter(None, [data.columns.get("label")])]))
