"""Fill the measured numbers of README.md, docs/ and the model cards from the CSV files under reference_data/tables/.

    python -m tools.pages            fill every region
    python -m tools.pages --check    exit with 1 if a page and its CSV differ
    python -m tools.pages --figures RUN    take the picture of README.md from the folder of a finished run

A page marks a region, and this script writes what is inside:

    <!-- table: NAME -->             a Markdown table of `TABLES`
    <!-- /table -->
    <!-- value: FILE KEY COLUMN -->68.3<!-- /value -->    one cell; KEY is the first columns of its row, joined by "/"

Sentences about a table are written by hand. `<!-- read with: FILE DIGEST -->` says for which content of the CSV they were
checked. When the CSV changes, the check fails until somebody has read them again and has put in the new digest.

Imports neither torch nor Avalanche, unless a page has a table of the study.
"""

from __future__ import annotations

import argparse
import hashlib
import re
import sys
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path

from models.loading.local_files import FAMILIES
from tools import study_pages
from tools.gpu_rows import PASSES, STEPS, gpu_table
from tools.mini_pages import CIL_METRICS, COSTS, METRICS, result_table, results, short_leaderboard
from tools.tables import TABLE_FOLDER, columns, markdown, number, rows, value

ROOT = Path(__file__).parent.parent
CASES = ("paint", "typographic", "typographic-control", "counting", "vqa", "transfer-study")
PAPERS = ("ZSCL", "PAINT", "IIMM", "A-CLIP")
STUDY_TABLES = ("outcomes", "best", "lines", "predictions")
REGION = re.compile(r"(<!-- table: (\S+) -->\n).*?(<!-- /table -->)", re.DOTALL)
READ_WITH = re.compile(r"<!-- read with: (\S+) (\S+) -->")
VALUE = re.compile(r"(<!-- value: (\S+) (.+?) (\S+) -->).*?(<!-- /value -->)", re.DOTALL)


def speed(measurement: str) -> str:
    """Return one measurement of speed.csv: a row per case, a column per quantity with its unit, and the command."""
    selected = [row for row in rows("speed") if row["measurement"] == measurement]
    cases = list(dict.fromkeys(row["case"] for row in selected))
    quantities = {row["quantity"]: row["unit"] for row in selected}
    cells = {(row["case"], row["quantity"]): number(row["value"]) for row in selected}
    headings = ["case", *(f"{name}, {unit}" if unit else name for name, unit in quantities.items())]
    table = markdown(headings, [[case, *(cells.get((case, name), "") for name in quantities)] for case in cases])
    command = selected[0]["command"]
    return f"{table}\n\nMeasured by `{command}`." if command else table


def matrix_table(name: str) -> str:
    """Return the matrix of mini_zscl_matrix.csv, or its summary numbers."""
    from tools.matrix_pages import accuracy_table, summary_table

    return markdown(*{"cells": accuracy_table, "numbers": summary_table}[name](rows("mini_zscl_matrix")))


@cache
def study() -> list[str]:
    """Return the tables of study_mini_40.csv, and the line of counts, as `harness.study.findings` writes them."""
    from harness.study import findings
    from metrics.study_table import FORTY_UPDATES, read

    blocks = findings.markdown(read(FORTY_UPDATES)).split("\n\n")
    tables = [i for i, block in enumerate(blocks) if block.startswith("|")]
    return [f"{blocks[i - 1]}\n\n{blocks[i]}" for i in tables] + [blocks[-1]]


def study_power() -> str:
    """Return the power of studies, as `study --power` shows it."""
    from harness.display.power_table import power_heads, power_rows
    from metrics.power import TASKS, power_table
    from metrics.suite import ONE_MODEL

    tests = len(ONE_MODEL)
    return markdown(power_heads(), power_rows(power_table(TASKS, tests), tests))


def protocol_grids() -> str:
    """Return the rates and sizes of the grids of `study --protocol paper`."""
    from harness.study.protocol import LARGE, TINY

    body = []
    for name in ("full", "bitfit", "attention", "lora", "adapter", "probe"):
        large, tiny = (" ".join(f"{rate:g}" for rate in grids[name].lr) for grids in (LARGE, TINY))
        sizes = [f"{size} {' '.join(map(str, getattr(LARGE[name], size)))}" for size in ("rank", "reduction")]
        body.append([f"`{name}`", large, tiny, next((size for size in sizes if not size.endswith(" ")), "-")])
    return markdown(["tuning", "rates, large models", "rates, tiny models", "sizes"], body)


def study_calibration() -> str:
    """Return the validation accuracies of study_calibration.csv: one row per tuning, domain and size, one column per rate."""
    selected = rows("study_calibration")
    rates = sorted({row["lr"] for row in selected}, key=float)
    cells = {(row["tuning"], row["domain"], row["size"], row["passes"], row["lr"]): row["val_accuracy"] for row in selected}
    body = [
        [f"`{key[0]}`", *key[1:], *(number(cells.get((*key, rate), "")) or "-" for rate in rates)]
        for key in dict.fromkeys(key[:4] for key in cells)
    ]
    return markdown(["tuning", "domain", "size", "passes", *rates], body)


FULL_RUN = {
    "full_run_memory": ("memory",),
    "full_run_disk": ("disk",),
    "full_run_compute": ("ViT-B/16", "MTIL"),
}
"""Parts of full_run_cost.csv by table."""


def full_run(parts: Sequence[str]) -> str:
    """Return the rows of full_run_cost.csv of some parts. Several parts have a column with their names."""
    headings = {name: name for name in (*(["part"] if len(parts) > 1 else []), "quantity", "value", "unit", "basis")}
    selected = [row for row in rows("full_run_cost") if row["part"] in parts]
    return markdown(list(headings.values()), [[number(row[column]) or "-" for column in headings] for row in selected])


def plan_check() -> str:
    """Return plan_check.csv as a table: planned / measured by strategy and quantity."""
    table = rows("plan_check")
    quantities = list(dict.fromkeys(row["quantity"] for row in table))
    ratios = {(row["run"], row["strategy"], row["quantity"]): row["ratio"] for row in table}
    seconds = {(row["run"], row["strategy"]): row["measured"] for row in table if row["quantity"] == "total"}
    body = [
        [run, f"`{strategy}`", total, *(ratios.get((run, strategy, quantity), "-") for quantity in quantities)]
        for (run, strategy), total in seconds.items()
    ]
    commands = ", ".join(f"`{command}`" for command in dict.fromkeys(row["command"] for row in table))
    return f"{markdown(['run', 'strategy', 'seconds', *quantities], body)}\n\nMeasured by {commands}."


def case(benchmark: str) -> str:
    """Return the results of a case study in cases.csv."""
    from tools.case_tables import page_table

    selected = [row for row in rows("cases") if row["benchmark"] == benchmark and row["strategy"] == "paint-single"]
    return markdown(*page_table(selected)) if selected else "Not measured yet."


def batch_checks() -> str:
    """Return the dependent predictions in batch_check.csv."""
    from tools.result_rows import batch_table

    return batch_table(rows("batch_check"))


def method_costs() -> str:
    """Return method_costs.csv: what each method trains, stores and takes per test image."""
    body = [
        [f"[`{r['strategy']}`](methods/{r['strategy']}.md)", number(r["trained"]), number(r["stored_per_task"]), r["ratio"]]
        for r in rows("method_costs")
    ]
    heads = ["strategy", "parameters that train", "bytes stored per task", "time per test image / plain model"]
    return markdown(heads, body)


def transfer() -> str:
    """Return the effects of `transfer-study` in transfer.csv."""
    from tools.case_tables import transfer_table

    return markdown(*transfer_table(rows("transfer"))) if rows("transfer") else "Not measured yet."


def generalisation(name: str) -> str:
    """Return the gains or the predictors of difficulty in generalisation.csv."""
    from tools.generalisation_rows import difficulty_table, gains_table

    tables = {"gains": gains_table, "difficulty": difficulty_table}
    headings, body = tables[name](rows("generalisation"))
    return markdown(headings, body) if body else "Not measured yet."


def scale(name: str) -> str:
    """Return what patches keep, or how alike both models are, by size of the model in scale.csv."""
    from tools.scale_rows import ALIKE, KEPT, scale_table

    headings, body = scale_table(rows("scale"), {"kept": KEPT, "alike": ALIKE}[name])
    return markdown(headings, body) if body else "Not measured yet."


def family(model: str | None) -> str:
    """Return the measured part of the card of a tiny model, or with None the table of all of them."""
    from tools.family_tables import card, overview

    tables = rows("families"), rows("family_models")
    return overview(*tables, markdown) if model is None else card(model, *tables, markdown)


def broad_drawing() -> str:
    """Return the sentence on the time to draw the tasks in broad_tasks.csv."""
    from tools.broad_table import drawing_sentence

    return drawing_sentence(rows("broad_tasks"))


def input_feeds() -> str:
    """Return the processor cores that keep a GPU busy, from speed.csv and gpu_speed.csv."""
    from tools.input_table import feeding_rows

    return markdown(*feeding_rows(rows("speed"), rows("gpu_speed")))


def paint_main() -> str:
    """Return PAINT's main table in paint.csv."""
    headings = {
        "test_sets": "accuracy on", "method": "method", "seeds": "seeds", "zero_shot": "zero-shot", "fine_tuned": "fine-tuned",
        "patched": "patched", "relative_fine_tuned": "relative: fine-tuned", "relative_patched": "relative: patched",
    }  # fmt: skip
    return columns("paint", headings) if rows("paint") else "Not measured yet."


def claims(paper: str) -> str:
    """Return the verdicts on a paper's claims in claims.csv."""
    selected = [row for row in rows("claims") if row["paper"].startswith(paper)]
    body = [[row["text"], f"**{row['verdict']}**", row["reason"], f"`{row['command']}`"] for row in selected]
    return markdown(["claim", "verdict", "figures", "command"], body)


TABLES: dict[str, Callable[[], str]] = {
    "leaderboard": short_leaderboard,
    "mini_mtil": lambda: result_table(results("mtil"), METRICS, {}, "methods/"),
    "mini_mtil_cost": lambda: result_table(results("mtil"), {}, COSTS),
    "mini_mtil_agnostic": lambda: result_table(results("mtil", "agnostic"), METRICS, {}, "methods/"),
    "batch_check": batch_checks,
    "method_costs": method_costs,
    "mini_cil": lambda: result_table(
        results("cil-nature-5"), CIL_METRICS, {n: COSTS[n] for n in COSTS if n != "trainable_params"}
    ),
    "mini_zero_shot": lambda: columns(
        "mini_zero_shot",
        {"domain": "domain", "role": "role", "chance": "chance", "test": "test", "n_test": "n", "ood": "ood", "n_ood": "n"},
    ),
    "broad_tasks": lambda: columns(
        "broad_tasks",
        {
            **{name: name for name in ("task", "origin", "classes", "train", "val", "test", "ood", "largest", "chance")},
            "zero_shot": "zero-shot",
            "iimm": "IIMM",
            "draw_seconds": "drawing s",
        },
    ),
    "broad_drawing": broad_drawing,
    "mini_gains": lambda: columns(
        "mini_gains",
        {
            "domain": "domain",
            "zero_shot": "zero-shot",
            "finetune_after_task": "`finetune` just after the task",
            "gain": "gain",
            "zscl_after_task": "`zscl` just after the task",
            "iimm_zero_shot": "IIMM before training",
        },
    ),
    "gpu_steps": lambda: gpu_table(rows("gpu_speed"), STEPS),
    "gpu_passes": lambda: gpu_table(rows("gpu_speed"), PASSES),
    "gpu_profile": lambda: gpu_table(rows("gpu_speed"), ("profile",)),
    "gpu_kernels": lambda: columns("gpu_kernels", {"part": "part", "ms": "ms", "kernels": "kernels"}),
    "gpu_parity": lambda: columns(
        "gpu_parity",
        {
            "runs": "run on the GPU",
            "strategies": "strategies",
            "within": "within the limit",
            "largest_difference": "largest difference",
            "limit": "limit",
            "replayed": "with passes that are replayed",
            "equal": "equal to the run without graphs",
        },
    ),
    "input_feeds": input_feeds,
    **study_pages.TABLES,
    "families": lambda: family(None),
    **{name: (lambda name=name: family(name)) for name in FAMILIES},  # type: ignore[misc]
    "matrix": lambda: matrix_table("cells"),
    "matrix_numbers": lambda: matrix_table("numbers"),
    "protocol_grids": protocol_grids,
    "study_calibration": study_calibration,
    "study_power": study_power,
    **{name: (lambda parts=parts: full_run(parts)) for name, parts in FULL_RUN.items()},  # type: ignore[misc]
    "plan_check": plan_check,
    "rehearsal_runs": lambda: columns("rehearsal_runs", {"run": "run", "seconds": "seconds", "results_mb": "results, MB"}),
    "transfer": transfer,
    "paint_main": paint_main,
    "scale_kept": lambda: scale("kept"),
    "scale_alike": lambda: scale("alike"),
    "generalisation_gains": lambda: generalisation("gains"),
    "generalisation_difficulty": lambda: generalisation("difficulty"),
    **{f"case_{name}": (lambda name=name: case(name)) for name in CASES},  # type: ignore[misc]
    **{f"claims_{paper}": (lambda paper=paper: claims(paper)) for paper in PAPERS},  # type: ignore[misc]
    **{f"study_{name}": (lambda i=i: study()[i]) for i, name in enumerate((*STUDY_TABLES, "counts"))},  # type: ignore[misc]
    **{f"speed_{name}": (lambda name=name: speed(name)) for name in dict.fromkeys(r["measurement"] for r in rows("speed"))},  # type: ignore[misc]
}


def filled(text: str) -> str:
    """Return the text of a page with every region filled."""
    text = REGION.sub(lambda m: f"{m[1]}{TABLES[m[2]]()}\n{m[3]}", text)
    return VALUE.sub(lambda m: f"{m[1]}{value(m[2], m[3], m[4])}{m[5]}", text)


def digest(name: str) -> str:
    """Return the first eight hexadecimal digits of the SHA-256 of a CSV file."""
    return hashlib.sha256((TABLE_FOLDER / f"{name}.csv").read_bytes()).hexdigest()[:8]


def unread(text: str) -> list[str]:
    """Return the markers, as they should be, of CSV files that changed since the sentences of a page were checked."""
    return [f"<!-- read with: {name} {digest(name)} -->" for name, known in READ_WITH.findall(text) if known != digest(name)]


def pages() -> list[Path]:
    """Return the pages that may have regions."""
    return [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")), *sorted((ROOT / "models").glob("*/README.md"))]


def main() -> int:
    """Fill or check the pages; return the exit status."""
    parser = argparse.ArgumentParser(description="Fill the measured numbers of the pages from their CSV files.")
    parser.add_argument("--check", action="store_true", help="change nothing; exit with 1 if a page and its CSV differ")
    parser.add_argument("--figures", type=Path, metavar="RUN", help="draw the picture of README.md from a run's folder")
    arguments = parser.parse_args()
    if arguments.figures:
        from tools.matrix_pages import draw

        draw(arguments.figures, ROOT / "docs" / "assets", TABLE_FOLDER / "mini_zscl_matrix.csv")
        rows.cache_clear()
    stale = [page for page in pages() if filled(page.read_text(encoding="utf-8")) != page.read_text(encoding="utf-8")]
    for page in stale:
        if arguments.check:
            print(f"{page.relative_to(ROOT)} differs from its tables: run `python -m tools.pages`.", file=sys.stderr)
        else:
            page.write_text(filled(page.read_text(encoding="utf-8")), encoding="utf-8")
            print(f"filled {page.relative_to(ROOT)}")
    changed = [(page, marker) for page in pages() for marker in unread(page.read_text(encoding="utf-8"))]
    for page, marker in changed:
        print(f"{page.relative_to(ROOT)}: read its sentences again, then write {marker}", file=sys.stderr)
    return int(arguments.check and bool(stale or changed))


if __name__ == "__main__":
    raise SystemExit(main())
