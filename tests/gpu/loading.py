"""Measure how long training waits for JPEG files: `python tests/gpu/loading.py --work DIR`.

`tools/rehearsal.py` writes the first two sets of MTIL with pictures of the real sizes. `finetune` and `zscl` train 50 updates
on each, with ViT-B/16 in bf16 and processes that read (`waiting.py`). zscl distils on the current task's images here.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
sys.path.insert(0, str(Path(__file__).parent))

from results import Results

ROOT = Path(__file__).resolve().parents[2]
TASKS = ("Aircraft", "Caltech101")


def write_files(folder: Path, images_per_class: int, real_sizes: bool, workers: int) -> float:
    """Write the two sets. Return the seconds that it took."""
    command = [
        sys.executable,
        str(ROOT / "tools" / "rehearsal.py"),
        "--root",
        str(folder),
        "--only",
        *map(str.lower, TASKS),
        "--no-weights",
    ]
    command += ["--images-per-class", str(images_per_class), "--workers", str(workers), *["--real-sizes"] * real_sizes]
    began = time.perf_counter()
    subprocess.run(command, check=True, cwd=ROOT)
    return time.perf_counter() - began


def main() -> None:
    """Write the files, train, and write the shares."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--images-per-class", type=int)
    parser.add_argument("--updates", type=int)
    parser.add_argument("--small", action="store_true", help="a small model, few images and few updates")
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    results, cores = Results(asked.json), len(os.sched_getaffinity(0))
    images = asked.images_per_class or (1 if asked.small else 5)
    asked.work.mkdir(parents=True, exist_ok=True)
    data = asked.work / "data"
    results.figure(f"writing of {images} images per class", write_files(data, images, not asked.small, cores), "s", "measured")
    files = [path for path in data.rglob("*.jpg") if path.is_file()]
    results.figure("JPEG files", len(files), "", "counted")
    results.figure(
        "mean size of a file", sum(path.stat().st_size for path in files) / max(1, len(files)) / 1000, "kB", "counted"
    )

    from harness.config.run_config import RunConfig
    from harness.display.screen import Screen
    from harness.run.loop import run

    updates = asked.updates or (4 if asked.small else 50)
    model = {"model": "tiny"} if asked.small else {"model": "ViT-B-16", "pretrained": "random", "precision": "bf16"}
    for strategy in ("finetune", "zscl"):
        lines = asked.work / f"{strategy}.jsonl"
        # 64 + 64 images per update on a GPU; zscl's reference images are those of the task.
        options: dict[str, object] = {"iterations": updates, "batch_size": 8 if asked.small else 64, "Waiting.path": str(lines)}
        if strategy == "zscl":
            options |= {
                "reference_batch": options["batch_size"],
                "reference_images": "current",
                "reference_sentences": "classnames",
            }
        config = RunConfig(
            "stream",
            strategy=strategy,
            tasks=TASKS,
            edition="full",
            data_root=str(data),
            heldout=(),
            measures=("iimm",),
            measure_n=32,
            limit=20 if asked.small else None,
            plugins=(f"{Path(__file__).parent / 'waiting.py'}:Waiting",),
            options=options,
            workers=0 if asked.small else min(12, cores),
            device=asked.device,
            out=str(asked.work / "results"),
            **model,
        )
        run(config, Screen(quiet=True))
        for line in lines.read_text(encoding="utf-8").splitlines():
            results.add("waiting", strategy=strategy, workers=config.workers, **json.loads(line))


if __name__ == "__main__":
    main()
