"""`data verify`: build a dataset, compare its counts with the paper's, and open every image."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from benchmarks.catalog import BROAD, MINI, Source, find
from benchmarks.full import data_folder as store
from benchmarks.full.dataset_table import ENTRIES, root_flag, suite
from benchmarks.full.downloads import how_to_get
from harness.config.resolve import DEFAULT_MODELS
from harness.display.data_progress import DataProgress
from harness.display.data_summary import print_data_summary
from models.registry import UserError, check_text, unknown

if TYPE_CHECKING:
    from benchmarks.data.domain import Domain

SPLITS = ("train", "val", "test", "ood")


class Verdict(NamedTuple):
    """The result of one dataset: a line for the end of the output, and whether everything is right."""

    line: str
    right: bool


def targets(names: list[str], data_root: str) -> list[str]:
    """Return the names to verify, with suites replaced by their datasets; without names, all datasets in the data folder.

    A name means the same as in `bench` and `measure`: first a built-in domain, then the user's data. The exception is `mnist`,
    which is one of the papers' datasets and a mini domain: it means the dataset if the data folder has it.

    Raises UserError for an unknown name, and for a dataset that is not there.
    """
    from benchmarks import own

    if not names:
        there = [name for name in ENTRIES if store.state(name, data_root).kind != "missing"]
        if not there:
            status = f"`python cli.py data status{root_flag(data_root)}`"
            raise UserError(f"There is no dataset in {data_root} yet: {status} lists what there is to get.")
        return there
    chosen: list[str] = []
    for name in names:
        check_text(name, "dataset name")
        if name in store.SUITES:
            chosen += [n for n in suite(name) if store.state(n, data_root).kind != "missing"]
        elif name in ENTRIES and not (name in MINI and store.state(name, data_root).kind == "missing"):
            if store.state(name, data_root).kind == "missing":
                raise UserError(f"The dataset {name} is not in {data_root}. {how_to_get(ENTRIES[name], data_root)}")
            chosen.append(name)
        elif name in (*MINI, *BROAD) or own.kind_of(name, data_root) is not None:
            chosen.append(name)
        elif (refused := own.why_not(name, data_root)) is not None:
            raise UserError(refused)
        else:
            raise unknown("dataset, folder or CSV file", name, [*MINI, *BROAD, *ENTRIES, *store.SUITES])
    return list(dict.fromkeys(chosen))


def shadows(asked: list[str], names: list[str], data_root: str) -> list[str]:
    """Return notes on names that are also folders of the user.

    Args:
        asked: the names on the command line.
        names: the same with suites replaced by their datasets.
        data_root: the data folder.
    """
    editions = {**dict.fromkeys(MINI, "mini"), **dict.fromkeys(BROAD, "broad"), **dict.fromkeys(ENTRIES, "full")}
    sources = [Source(name, editions[name], name, data_root) for name in names if name in editions]
    notes = [note for source in sources if (note := source.shadowed()) is not None]
    suites = [name for name in asked if name in store.SUITES and Path(name).is_dir()]
    notes += [f"{name} is read as a suite of the papers' datasets. Write ./{name} for the folder." for name in suites]
    if both := [name for name in asked if name in MINI and name in names and name in ENTRIES]:
        notes.append(f"{both[0]} is also a domain of the mini edition, which `bench` and `measure` take without --edition full")
    return notes


def verify(name: str, data_root: str, quick: bool, work: DataProgress, opened: set[str], model: str | None = None) -> Verdict:
    """Verify one dataset, report problems as they are found, and return the verdict.

    Args:
        name: a dataset of the papers, a mini domain, or the user's data.
        data_root: the data folder.
        quick: do not open images.
        work: the progress display.
        opened: image files that are verified already, because several datasets share files. This dataset's are added.
        model: the model whose tokenizer reads the prompts; None: the default model for the data.
    """
    published = name in ENTRIES and store.state(name, data_root).kind != "missing"
    try:
        domain, differences, notes = _published(name, data_root, work) if published else _own(name, data_root, quick, work)
    except UserError as error:
        work.say(str(error), "red")
        return Verdict(f"{name}: cannot be read", False)
    equal = _show_summary(domain, published, model, work)
    damaged: list[str] = []
    for sentence in differences:
        work.say(sentence, "yellow")
    for sentence in notes:
        work.say(sentence, "dim")
    if not quick:
        from benchmarks.data.survey import blank_sentence
        from benchmarks.full import checksums
        from benchmarks.own.check import find_problems

        if published and all((Path(data_root) / folder).exists() for folder in ENTRIES[name].folder):
            damaged = checksums.wrong(ENTRIES[name], Path(data_root), work)
        left = _without(domain, opened)
        files = {split: paths for split in SPLITS if (paths := _paths(getattr(left, split))) is not None}
        problems = find_problems(left, progress=work)
        bad = {files[p.split][p.index] for p in problems if p.split in files and not p.blank}
        opened.update(path for paths in files.values() for path in paths if path not in bad)
        damaged += [problem.sentence for problem in problems if not problem.blank]
        if not published and (blank := [problem.sentence for problem in problems if problem.blank]):
            work.say(f"warning: {blank_sentence(len(blank), _count(left), blank[0])}", "yellow")
    for sentence in [*damaged, *equal]:
        work.say(sentence, "red")
    line = _line(name, domain, quick, published, differences, damaged) + (", classes with equal prompts" if equal else "")
    return Verdict(line, not differences and not damaged and not equal)


def _show_summary(domain: Domain, published: bool, model: str | None, work: DataProgress) -> list[str]:
    """Show the summary of a dataset as a run would show it. Return the message on classes with equal prompts, if any."""
    from benchmarks.data.domain import with_validation
    from models.loading.load import prompt_reader
    from models.prompt_reader import check_prompts

    work.end()
    reader = prompt_reader(model or DEFAULT_MODELS[published][0])
    if model is None:
        work.say(f"prompts are checked for the model {reader.model} (--model NAME: for another)", "dim")
    warnings, wrong = [], []
    try:
        warnings = check_prompts(reader, [domain])
    except UserError as error:
        wrong = [str(error)]
    # The papers' datasets are counted as they are. From other data a run takes validation images out of the training split.
    shown = domain if published else with_validation(domain)
    print_data_summary([shown], work.say, work.console.print, reader, warnings=warnings)
    return wrong


def _published(name: str, data_root: str, work: DataProgress) -> tuple[Domain, list[str], list[str]]:
    """Return the domain of a dataset of the papers, its differences from the paper, and notes on a hub copy."""
    from benchmarks import full

    domain = full.build(name, data_root, progress=work)
    differences = full.differences(domain)
    notes = [sentence for sentence in differences if sentence.startswith(f"{name} is the hub copy")]
    return domain, [sentence for sentence in differences if sentence not in notes], notes


def _own(name: str, data_root: str, quick: bool, work: DataProgress) -> tuple[Domain, list[str], list[str]]:
    """Return the user's domain, and problems of its images as a whole (unless `quick`)."""
    from benchmarks import broad, mini, own
    from benchmarks.own.check import surveyed

    if name in MINI:
        return mini.build(name, work), [], []
    if name in BROAD:
        return broad.build(name, data_root, work), [], []
    work(0, 1, f"reading {name}")
    domain = replace(own.domain(name, data_root), name=find(name, None, data_root).name)
    if quick:
        return domain, [], []
    return *surveyed(domain, work), []


def _line(name: str, domain: Domain, quick: bool, published: bool, differences: list[str], damaged: list[str]) -> str:
    parts = [f"{_count(domain):,} images" + ("" if published else f" in {len(domain.classnames)} classes")]
    if quick:
        parts.append("not opened")
    else:
        parts.append(_several(len(damaged), "damaged file") if damaged else "all readable")
    if published:
        parts.append(f"{_several(len(differences), 'difference')} from the table" if differences else "as the table says")
    return f"{name}: {', '.join(parts)}"


def _count(domain: Domain) -> int:
    """Return the number of images in all splits."""
    return sum(len(dataset) for split in SPLITS if (dataset := getattr(domain, split)) is not None)


def _several(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _without(domain: Domain, opened: set[str]) -> Domain:
    """Return the domain without the image files that are verified already."""
    from torch.utils.data import Subset

    if not opened:
        return domain
    changed: dict[str, Any] = {}
    for split in SPLITS:
        dataset = getattr(domain, split)
        paths = _paths(dataset)
        if paths is not None:
            changed[split] = Subset(dataset, [i for i, path in enumerate(paths) if path not in opened])
    return replace(domain, **changed)


def _paths(dataset: Any) -> list[str] | None:
    """Return the image files of a split, or None if its images are not files."""
    from torch.utils.data import Subset

    from benchmarks.data.images import ImageFiles

    if isinstance(dataset, Subset):
        inner = _paths(dataset.dataset)
        return None if inner is None else [inner[i] for i in dataset.indices]
    return list(dataset.paths) if isinstance(dataset, ImageFiles) else None
