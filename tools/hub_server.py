"""Serve a folder as the Hugging Face hub: `python tools/hub_server.py --root HUB --data DATA`.

The clients of the hub (huggingface_hub, datasets, open_clip, transformers) then read from it and write to it unchanged, with
the environment variables that the server prints. Its folders are HUB/models/OWNER/NAME and HUB/datasets/OWNER/NAME.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from models.registry import UserError
from tools.local_hub import dataset_copies, model_copies, shard_copies
from tools.local_hub.answers import GUEST, OWNER
from tools.local_hub.faults import FAULTS, Faults
from tools.local_hub.server import Hub


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(
        prog="python tools/hub_server.py",
        description=(__doc__ or "").split("\n")[0],
        epilog=f"Tokens: {OWNER} may do everything. {GUEST} may not write, and is not accepted by gated repositories.",
    )
    parser.add_argument("--root", required=True, type=Path, metavar="HUB", help="folder of the repositories")
    parser.add_argument("--port", type=int, default=8765, help="port on 127.0.0.1; 0: a free one (default: 8765)")
    parser.add_argument(
        "--data", type=Path, metavar="DATA", help="data folder: copies of its datasets that HUB lacks are written"
    )
    parser.add_argument(
        "--weights", action="append", default=[], metavar="OWNER/NAME=PATH", help="model directory or safetensors file to offer"
    )
    parser.add_argument("--gated", action="append", default=[], metavar="OWNER/NAME", help="repository that asks for consent")
    parser.add_argument(
        "--private", action="append", default=[], metavar="OWNER/NAME", help="repository that only its owner sees"
    )
    parser.add_argument("--fail", type=int, default=0, metavar="N", help="every Nth request fails")
    parser.add_argument("--fault", choices=FAULTS, action="append", help="how: busy (503) or cut; both in turn by default")
    parser.add_argument(
        "--only", default="", metavar="TEXT", help="count only requests whose path contains TEXT, such as lfs-data"
    )
    parser.add_argument("--slow", type=float, default=0.0, metavar="BYTES_PER_S", help="speed of each connection")
    parser.add_argument("--page", type=int, default=1000, metavar="N", help="files per answer of a listing (default: 1000)")
    parser.add_argument("--quiet", action="store_true", help="do not show requests")
    return parser


def write_copies(data_root: Path, target: Path) -> list[Path]:
    """Write the hub copies of all datasets in a data folder that the target lacks. Raises UserError."""
    written = []
    for module in (dataset_copies, shard_copies):
        for name in module.names_with_copies(data_root):
            if not (target / "datasets" / module.repository(name)).is_dir():
                written.append(module.write(name, data_root, target))
                print(f"{name}: {written[-1]}", flush=True)
    return written


def main(words: list[str] | None = None) -> int:
    """Serve until interrupted."""
    arguments = parser().parse_args(words)
    try:
        if arguments.data is not None:
            write_copies(arguments.data, arguments.root)
        for pair in arguments.weights:
            name, equals, source = pair.partition("=")
            if not equals or name.count("/") != 1:
                raise UserError(f"--weights {pair} is not OWNER/NAME=PATH.")
            model_copies.write(name, Path(source).expanduser(), arguments.root)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    faults = Faults(arguments.fail, arguments.only, tuple(arguments.fault or FAULTS), arguments.slow)
    with Hub(arguments.root, arguments.port, faults, shown=not arguments.quiet) as hub:
        repositories = hub.answers.repositories
        hub.answers.page = arguments.page
        for kind, name in repositories.names():
            # Hashes are computed here, so that no client waits for them.
            count = len(repositories.snapshot(kind, name).files)
            states = [word for word in ("gated", "private") if name in getattr(arguments, word)]
            for word in states:
                getattr(hub.answers, word).add((kind, name))
            print(f"{kind} {name}: {count} files{''.join(f', {word}' for word in states)}")
        print(f"export HF_ENDPOINT={hub.endpoint} HF_HUB_DISABLE_XET=1 NO_PROXY=127.0.0.1", flush=True)
        try:
            while True:
                time.sleep(3600)
        except KeyboardInterrupt:
            return 0


if __name__ == "__main__":
    sys.exit(main())
