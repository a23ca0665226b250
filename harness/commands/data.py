"""`data`: show, download and verify the papers' datasets, and delete decoded images. `status` imports no torch."""

from __future__ import annotations

import argparse

from benchmarks.names import names_from_words
from harness.display.console import make_console
from harness.display.data_progress import DataProgress
from models.registry import UserError, unknown

EPILOG = """\
examples:
  python cli.py data status                            what is there, what is missing, and its size on disk
  python cli.py data status kitti                      one dataset: licence, folder, how to get it
  python cli.py data fetch EuroSAT DTD                 two datasets into data/
  python cli.py data fetch mtil --data-root DATA       all eleven of MTIL (SUN397 is 37 GB)
  python cli.py data fetch StanfordCars --from hub     the copy on the Hugging Face hub
  python cli.py data verify                            open every image of every dataset that is there
  python cli.py data verify PHOTOS                     the same for your own folder, CSV file or saved dataset
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the commands of `data` and their flags to its parser."""
    parser.description = "Show which datasets are on disk, download them, and check every image of them or of your data."
    parser.epilog, parser.formatter_class = EPILOG, argparse.RawDescriptionHelpFormatter
    commands = parser.add_subparsers(dest="data_command", required=True, metavar="command")

    status = commands.add_parser(
        "status",
        help="show what is there and what is missing",
        description="Show which datasets are in the data folder, how complete they are (files are counted, not opened) and how "
        "to get the others; also the reference data and the cache of decoded images.",
    )
    status.add_argument("names", nargs="*", metavar="NAME", help="datasets, or mtil, paint, cil (default: all, as tables)")

    fetch = commands.add_parser(
        "fetch",
        help="download datasets",
        description="Download datasets into the data folder. Complete datasets are skipped. The same command continues an "
        "interrupted download, and unfinished files are never read.",
    )
    fetch.add_argument(
        "names", nargs="+", metavar="NAME", help="datasets, or mtil, paint or cil for all of them that need no consent"
    )
    fetch.add_argument(
        "--from",
        dest="source",
        metavar="SOURCE",
        help="torchvision: the authors' files, in its layout; hub: the Hugging Face copy (default: the first one that works)",
    )

    verify = commands.add_parser(
        "verify",
        help="count and open every image",
        description="Build datasets, show a summary of each, compare their counts with the papers', and open every image. "
        "Damaged images are named. The exit status is 1 if something is wrong with the data.",
    )
    verify.add_argument(
        "names", nargs="*", metavar="NAME_OR_FOLDER", help="datasets, or your own data (default: all that is there)"
    )
    verify.add_argument("--quick", action="store_true", help="count images without opening them")
    verify.add_argument(
        "--model",
        metavar="NAME",
        help="the model whose tokenizer reads the prompts (default: tiny; ViT-B-16 for the papers' datasets)",
    )

    clear = commands.add_parser(
        "clear-cache",
        help="delete decoded images",
        description="Delete decoded images. Later runs decode them again. The datasets are not changed.",
    )
    clear.add_argument("label", nargs="?", metavar="LABEL", help="one split, as `data status` lists it (default: all)")

    for command in (status, fetch, verify):
        command.add_argument("--data-root", default="data", metavar="DIR", help="the data folder (default: data)")


def run(arguments: argparse.Namespace) -> int:
    """Run one of the commands. Return 1 if `verify` finds something wrong, otherwise 0.

    Raises UserError for mistakes, and at the end of a `fetch` that could not get everything.
    """
    commands = {"status": _status, "fetch": _fetch, "verify": _verify, "clear-cache": _clear}
    return commands[arguments.data_command](arguments)


def _status(arguments: argparse.Namespace) -> int:
    from harness.commands.data_status import show

    show(list(names_from_words(arguments.names)), arguments.data_root, make_console())
    return 0


def _fetch(arguments: argparse.Namespace) -> int:
    from benchmarks.full import data_folder as store
    from benchmarks.full.dataset_table import ENTRIES
    from benchmarks.full.download import Offline
    from benchmarks.full.downloads import how_to_get
    from benchmarks.full.fetch import SOURCES, fetch
    from harness.commands.data_status import images

    names = store.chosen(list(names_from_words(arguments.names)))
    if arguments.source is not None and arguments.source not in SOURCES:
        raise unknown("source", arguments.source, SOURCES)
    failures: dict[str, str] = {}
    with DataProgress(make_console()) as work:
        for name in names:
            row, before = ENTRIES[name], store.state(name, arguments.data_root)
            work.say(f"{name}: {row.about}", "bold")
            work.say(f"  licence: {row.licence}; source: {row.source}")
            if row.consent and name not in arguments.names and not before.complete and before.kind != "differs":
                work.say(f"  by hand: {how_to_get(row, arguments.data_root)}")  # a suite is fetched without them
                continue
            try:
                after = fetch(name, arguments.data_root, arguments.source, work, work.say, work.console.is_terminal)
            except Offline as error:
                rest = ", ".join(names[names.index(name) + 1 :])
                raise UserError(f"{error} Not tried: {rest}." if rest else str(error)) from error
            except UserError as error:
                failures[name] = str(error)
                if len(names) > 1:
                    work.say(f"  failed: {error}", "red")
                continue
            finally:
                work.end()
            where = ", ".join(map(str, after.places))
            if not after.complete and after.kind != "differs":
                failures[name] = f"{name} is incomplete ({images(after)}): {'; '.join(after.notes) or 'images are missing'}."
                work.say(f"  fetched, but {after.kind}: {images(after)}, in {where}", "yellow")
            elif after == before:
                work.say(f"  there already: {images(after)} images in {where} ({after.kind}); nothing to do.")
            else:
                work.say(f"  {after.kind}: {images(after)} images in {where}")
    if not failures:
        return 0
    if len(names) == 1:
        raise UserError(failures[names[0]])
    for name, why in failures.items():
        work.say(why if why.startswith(name) else f"{name}: {why}", "red")
    raise UserError(f"{len(failures)} of {len(names)} datasets are not complete: {', '.join(failures)}.")


def _verify(arguments: argparse.Namespace) -> int:
    from harness.commands.data_verify import shadows, targets, verify

    asked = list(names_from_words(arguments.names, arguments.data_root))
    names = targets(asked, arguments.data_root)
    opened: set[str] = set()
    verdicts = []
    with DataProgress(make_console()) as work:
        for note in shadows(asked, names, arguments.data_root):
            work.say(note, "yellow")
        for name in names:
            verdicts.append(verify(name, arguments.data_root, arguments.quick, work, opened, arguments.model))
            work.end()
        for verdict in verdicts:
            work.say(verdict.line, None if verdict.right else "red")
    return 0 if all(verdict.right for verdict in verdicts) else 1


def _clear(arguments: argparse.Namespace) -> int:
    from benchmarks.data import pixel_files
    from benchmarks.full.download import readable

    labels = {item.label for item in pixel_files.usage()}
    if arguments.label is not None and arguments.label not in labels:
        raise unknown("label of decoded images", arguments.label, labels)
    freed = pixel_files.clear(arguments.label)
    make_console().print(f"deleted {readable(freed)} of decoded images in {pixel_files.pixels_folder()}", soft_wrap=True)
    return 0
