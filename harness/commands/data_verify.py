"""`data verify`: builds a dataset, counts it against the paper, and opens every image."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from benchmarks.catalog import MINI, Source, find
from benchmarks.full import data_folder as store
from benchmarks.full.dataset_table import ENTRIES, root_flag
from benchmarks.full.downloads import how_to_get
from harness.config.resolve import DEFAULT_MODELS
from harness.display.data_progress import DataProgress
from harness.display.data_summary import print_data_summary
from models.registry import UserError, check_text, unknown

if TYPE_CHECKING:
    from benchmarks.data.domain import Domain

SPLITS = ("train", "val", "test", "ood")


class Verdict(NamedTuple):
    """One dataset's result: its line for the end, and whether all is right."""

    line: str
    right: bool


def targets(names: list[str], data_root: str) -> list[str]:
    """Return what to verify: the names with suites spelt out, or all that is in the data folder.

    A name means what it means in `bench` and `measure`: first a built-in domain, then data of the user. Only `mnist`, which is
    one of the papers' datasets and a mini domain, is the former where the data folder has it.

    Raises UserError for a name that is neither, and for a dataset that is not there.
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
            chosen += [n for n in store.suite(name) if store.state(n, data_root).kind != "missing"]
        elif name in ENTRIES and not (name in MINI and store.state(name, data_root).kind == "missing"):
            if store.state(name, data_root).kind == "missing":
                raise UserError(f"The dataset {name} is not in {data_root}. {how_to_get(ENTRIES[name], data_root)}")
            chosen.append(name)
        elif name in MINI or own.kind_of(name, data_root) is not None:
            chosen.append(name)
        elif (refused := own.why_not(name, data_root)) is not None:
            raise UserError(refused)
        else:
            raise unknown("dataset, folder or CSV file", name, [*MINI, *ENTRIES, *store.SUITES])
    return list(dict.fromkeys(chosen))


def shadows(asked: list[str], names: list[str], data_root: str) -> list[str]:
    """Return sentences on names that are folders of the user too: as `asked`, and `names` with suites spelt out."""
    editions = {**dict.fromkeys(MINI, "mini"), **dict.fromkeys(ENTRIES, "full")}
    sources = [Source(name, editions[name], name, data_root) for name in names if name in editions]
    notes = [note for source in sources if (note := source.shadowed()) is not None]
    suites = [name for name in asked if name in store.SUITES and Path(name).is_dir()]
    notes += [f"{name} is read as a suite of the papers' datasets. Write ./{name} for the folder." for name in suites]
    if both := [name for name in asked if name in MINI and name in names and name in ENTRIES]:
        notes.append(f"{both[0]} is also a domain of the mini edition, which `bench` and `measure` take without --edition full")
    return notes


def verify(name: str, data_root: str, quick: bool, work: DataProgress, opened: set[str], model: str | None = None) -> Verdict:
    """Verify one dataset, say what is wrong as it is found, and return the verdict.

    `model` names the model whose tokenizer reads the prompts; None: the default one for the data.
    `opened` holds image files that another dataset has opened already, and gets this one's: several datasets of the papers
    are made of the same files.
    """
    listed = name in ENTRIES and store.state(name, data_root).kind != "missing"
    try:
        domain, said, notes = _listed(name, data_root, work) if listed else _own(name, data_root, quick, work)
    except UserError as error:
        work.say(str(error), "red")
        return Verdict(f"{name}: cannot be read", False)
    equal = _understood(domain, listed, model, work)
    damaged: list[str] = []
    for sentence in said:
        work.say(sentence, "yellow")
    for sentence in notes:
        work.say(sentence, "dim")
    if not quick:
        from benchmarks.data.survey import blank_sentence
        from benchmarks.full import checksums
        from benchmarks.own.check import find_problems

        if listed and all((Path(data_root) / folder).exists() for folder in ENTRIES[name].folder):
            damaged = checksums.wrong(ENTRIES[name], Path(data_root), work)
        left = _without(domain, opened)
        files = {split: paths for split in SPLITS if (paths := _paths(getattr(left, split))) is not None}
        problems = find_problems(left, progress=work)
        bad = {files[p.split][p.index] for p in problems if p.split in files and not p.blank}
        opened.update(path for paths in files.values() for path in paths if path not in bad)
        damaged += [problem.sentence for problem in problems if not problem.blank]
        if not listed and (blank := [problem.sentence for problem in problems if problem.blank]):
            work.say(f"warning: {blank_sentence(len(blank), _count(left), blank[0])}", "yellow")
    for sentence in [*damaged, *equal]:
        work.say(sentence, "red")
    line = _line(name, domain, quick, listed, said, damaged) + (", classes with equal prompts" if equal else "")
    return Verdict(line, not said and not damaged and not equal)


def _understood(domain: Domain, listed: bool, model: str | None, work: DataProgress) -> list[str]:
    """Show what was understood of a dataset, as a run would see it; the sentence on classes with equal prompts, if any."""
    from benchmarks.data.domain import with_validation
    from models.loading.load import prompt_reader
    from models.prompt_reader import check_prompts

    work.end()
    reader = prompt_reader(model or DEFAULT_MODELS[listed][0])
    if model is None:
        work.say(f"prompts are checked for the model {reader.model} (--model NAME: for another)", "dim")
    warnings, wrong = [], []
    try:
        warnings = check_prompts(reader, [domain])
    except UserError as error:
        wrong = [str(error)]
    # The papers' datasets are counted as they are; of other data a run takes validation images out of the training split.
    shown = domain if listed else with_validation(domain)
    print_data_summary([shown], work.say, work.console.print, reader, warnings=warnings)
    return wrong


def _listed(name: str, data_root: str, work: DataProgress) -> tuple[Domain, list[str], list[str]]:
    """The domain, what is wrong about it, and what is good to know of a hub copy."""
    from benchmarks import full

    domain = full.build(name, data_root, progress=work)
    said = full.differences(domain)
    notes = [sentence for sentence in said if sentence.startswith(f"{name} is the hub copy")]
    return domain, [sentence for sentence in said if sentence not in notes], notes


def _own(name: str, data_root: str, quick: bool, work: DataProgress) -> tuple[Domain, list[str], list[str]]:
    """Read the user's domain with remarks on its images (unless `quick`), and what is wrong with the images as a whole."""
    from benchmarks import mini, own
    from benchmarks.own.check import surveyed

    if name in MINI:
        return mini.build(name, work), [], []
    work(0, 1, f"reading {name}")
    domain = replace(own.domain(name, data_root), name=find(name, None, data_root).name)
    if quick:
        return domain, [], []
    return *surveyed(domain, work), []


def _line(name: str, domain: Domain, quick: bool, listed: bool, said: list[str], damaged: list[str]) -> str:
    parts = [f"{_count(domain):,} images" + ("" if listed else f" in {len(domain.classnames)} classes")]
    if quick:
        parts.append("not opened")
    else:
        parts.append(_several(len(damaged), "damaged file") if damaged else "all readable")
    if listed:
        parts.append(f"{_several(len(said), 'difference')} from the table" if said else "as the table says")
    return f"{name}: {', '.join(parts)}"


def _count(domain: Domain) -> int:
    """Return the number of images in all splits."""
    return sum(len(dataset) for split in SPLITS if (dataset := getattr(domain, split)) is not None)


def _several(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _without(domain: Domain, opened: set[str]) -> Domain:
    """The domain without the image files that were opened already."""
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
    """The files of a split, None where its images are no files."""
    from torch.utils.data import Subset

    from benchmarks.data.images import ImageFiles

    if isinstance(dataset, Subset):
        inner = _paths(dataset.dataset)
        return None if inner is None else [inner[i] for i in dataset.indices]
    return dataset.paths if isinstance(dataset, ImageFiles) else None
