"""`export`: write the model of a finished run for open_clip, transformers, plain torch or ONNX."""

from __future__ import annotations

import argparse
import shlex
import sys

from harness.config.flags import add_output, group_of
from harness.export import ABOUT

EXAMPLES = """\
examples:
  python cli.py export results/mtil-mini-I/zscl-52556192e1 --to open_clip --out model
  python cli.py export RUN --after 3 --to huggingface --out model      needs a run with --keep all
  python cli.py export RUN --to huggingface --adapter --out adapter    LoRA as an adapter of peft
  python cli.py export RUN --to onnx --out model --push me/my-model    also upload it, to a private repository
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags of `export` to its parser."""
    targets = "; ".join(f"{name}: {about}" for name, about in ABOUT.items())
    parser.description = (
        "Write the model of a finished run for other programs, with its class names, text features and a model card. The "
        "folder appears only after a check: loaded in a fresh process without this project, it gives the same answers."
    )
    parser.epilog, parser.formatter_class = EXAMPLES, argparse.RawDescriptionHelpFormatter
    parser.add_argument("run", metavar="RUN", help="the folder of the run")
    parser.add_argument("--to", required=True, metavar="TARGET", help=targets)
    parser.add_argument("--out", required=True, metavar="DIR", help="the folder to make")
    parser.add_argument("--after", type=int, metavar="N", help="the model after task N (default: the last one that was kept)")
    parser.add_argument("--adapter", action="store_true", help="LoRA as an adapter of peft, with the base model in DIR/base")
    parser.add_argument(
        "--push", metavar="OWNER/NAME", help="also upload it to the hub (HF_ENDPOINT); a new repository is private"
    )
    check = group_of(parser, "check")
    check.add_argument(
        "--check-images", type=int, metavar="N", help="compare at most N test images per task (default: all of them)"
    )
    check.add_argument("--data-root", metavar="DIR", help="folder of the datasets (default: that of the run)")
    parser.add_argument("--trust-code", action="store_true", help="run the strategy and tuning files that the record names")
    add_output(parser)


def run(arguments: argparse.Namespace) -> int:
    """Export the model and say what was checked. Raises UserError."""
    from harness.display.screen import Screen
    from harness.export import EXPORTERS
    from harness.run.signals import handled, importing, stop
    from models.registry import UserError, unknown

    if arguments.to not in EXPORTERS:
        raise unknown("target of --to", arguments.to, EXPORTERS.names())
    if arguments.check_images is not None and arguments.check_images < 1:
        raise UserError(f"--check-images must be at least 1, got {arguments.check_images}.")
    screen = Screen(quiet=arguments.quiet)
    screen.say("loading torch and Avalanche ...", style="dim")
    with importing():
        from harness.export.write import Request, export
        from harness.run.failures import reporting_failures

    request = Request(
        arguments.run,
        arguments.to,
        arguments.out,
        arguments.after,
        arguments.adapter,
        arguments.push,
        arguments.check_images,
        arguments.data_root,
        arguments.trust_code,
        shlex.join(["python", "cli.py", *sys.argv[1:]]),
    )
    with reporting_failures(part=None), handled(stop):
        folder, checked, different, address = export(request, screen)
    if checked.logits is None:
        screen.say("every tensor is bit-exact (only this project can build the architecture)")
    else:
        kind = "random images" if checked.random else "test images"
        correct = sum(right for right, _ in checked.correct.values())
        answers = "" if checked.random else f" ({correct:,} of them correct)"
        screen.say(
            f"the same answers on {checked.images:,} {kind}{answers}; logits of up to {checked.largest:.1f} differ by at most "
            f"{checked.logits:.1g}"
        )
    if different:
        screen.say(
            f"warning: the run recorded another number of correct answers on {', '.join(different)} (another device or "
            "precision)",
            style="yellow",
        )
    screen.say(f"wrote {folder}; README.md shows how to use it")
    if address is not None:
        screen.say(f"uploaded to {address}")
    return 0
