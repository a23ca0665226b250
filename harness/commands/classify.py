"""`classify`: classify images with the model of a finished run."""

from __future__ import annotations

import argparse

from benchmarks.names import names_from_words
from harness.config.flags import add_output
from models.registry import UserError

SHOWN = 20
"""Images whose answers the screen shows. The CSV file has all."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags of `classify` to its parser."""
    parser.description = (
        "Classify images with the model of a finished run, with the method's own prediction and the heads in its "
        "checkpoint. The exit status is 1 if an image cannot be read."
    )
    parser.add_argument("images", nargs="+", metavar="IMAGE", help="image files and folders of images")
    parser.add_argument("--run", required=True, metavar="RUN", help="the folder of a finished run")
    parser.add_argument(
        "--after", type=int, metavar="N", help="the model after task N, if it was kept (default: after the last task)"
    )
    parser.add_argument(
        "--tasks",
        nargs="+",
        metavar="NAME",
        help="tasks and held-out domains whose classes compete (default: all tasks learned so far)",
    )
    parser.add_argument("--top", type=int, default=5, metavar="K", help="classes per image (default: 5)")
    parser.add_argument("--device", default="auto", help="device: auto (default), cpu, cuda or cuda:N")
    parser.add_argument("--trust-code", action="store_true", help="run the strategy, tuning and plugin files of the run")
    add_output(parser, csv="write the answers as CSV, one row per image and class")


def run(arguments: argparse.Namespace) -> int:
    """Classify the images and show their likeliest classes. Raises UserError."""
    from harness.display.screen import Screen
    from harness.records.files import check_table
    from harness.run.signals import handled, importing, stop
    from harness.saved.image_files import image_files

    if arguments.top < 1:
        raise UserError(f"--top must be at least 1, got {arguments.top}.")
    check_table(arguments.csv)
    paths = image_files(arguments.images)
    screen = Screen(quiet=arguments.quiet)
    screen.say("loading torch ...", style="dim")
    with importing():
        from harness.display.answers_table import answers_table
        from harness.display.console import complain
        from harness.records.files import write_table
        from harness.run.failures import reporting_failures
        from harness.saved import load_run
        from harness.saved.classify import classify

    with reporting_failures(part=None), handled(stop):
        saved = load_run(arguments.run, arguments.after, arguments.device, trust_code=arguments.trust_code)
        tasks = [*names_from_words(arguments.tasks)] if arguments.tasks else None
        try:
            answers, unread = classify(saved, paths, arguments.top, tasks, screen.data)
        finally:
            screen.end()
    for sentence in unread:
        complain(sentence)
    if not len(answers):
        raise UserError("None of the images can be read.")
    if arguments.csv:
        write_table(answers, arguments.csv)
    screen.show(answers_table(answers, SHOWN))
    images = answers.image.nunique()
    if images > SHOWN:
        screen.say(
            f"{SHOWN} of {images:,} images are shown" + ("" if arguments.csv else "; --csv FILE writes all"), style="dim"
        )
    if arguments.csv:
        screen.say(f"wrote {arguments.csv} ({len(answers)} rows)")
    return 1 if unread else 0
