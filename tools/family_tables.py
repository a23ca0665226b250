"""Measure the tiny models of all families: `python -m tools.family_tables` writes two CSV files under reference_data/tables/.

- families.csv: one row per model and mini domain. Percent of images classified correctly, prompts averaged over the templates,
  and mean cosines on the validation images with the first template: of two images, of an image and its class, of an image and
  the other classes.
- family_models.csv: one row per model. Parameters, size, logit scale and bias of the weights, and the last report of the
  pretraining (`training.csv` in the model's folder).

Models whose weights are not in this copy are left out. `tools.pages` writes the tables of the cards and pages from these files.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from harness.records.files import read_csv, write_csv
from models.loading.local_files import FAMILIES, SHIPPED, is_here, weights_sha256

FOLDER = Path(__file__).parents[1] / "reference_data" / "tables"
LOG = "training.csv"
MODELS = ("tiny", *FAMILIES)
SPLITS = ("val", "test", "ood")
COSINES = ("image_image", "image_text", "image_wrong_text")
COLUMNS = ("model", "domain", "role", "chance", *(name for split in SPLITS for name in (split, f"n_{split}")), *COSINES)
REPORT = ("iterations", "images", "seconds", "threads", "device", "loss", "validation")
MODEL_COLUMNS = ("model", "family", "parameters", "decoder_parameters", "megabytes", "scale", "bias", *REPORT, "weights")
Row = Mapping[str, str]
Markdown = Callable[[Sequence[str], Sequence[Sequence[str]]], str]


def measure(name: str) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Return a model's row of family_models.csv and its rows of families.csv."""
    import models
    from benchmarks import mini
    from metrics.embedding import embed
    from metrics.evaluate import evaluate
    from metrics.iimm import iimm
    from models.classifier import PromptClassifier

    encoder = models.load(name)
    classifier, rows = PromptClassifier(encoder), []
    for domain_name in (*mini.STREAM, *mini.HELDOUT):
        domain = mini.build(domain_name)
        assert domain.val is not None
        features = embed(encoder, domain.val, domain.prompts(0)).features
        x, t, y = features.image_features.double(), features.text_features.double(), features.labels
        pairs = iimm(x, t, y)
        cosines = (pairs.intra, float((x * t[y]).sum(dim=1).mean()), pairs.inter)
        row = {"model": name, "domain": domain_name, "role": "held out" if domain_name in mini.HELDOUT else "stream"}
        row["chance"] = f"{100 / len(domain.classnames):.1f}"
        for split in SPLITS:
            accuracy = evaluate(classifier, domain, split)
            row |= {split: f"{100 * accuracy.correct / accuracy.n:.1f}", f"n_{split}": str(accuracy.n)}
        rows.append({**row, **{column: f"{value:.3f}" for column, value in zip(COSINES, cosines, strict=True)}})
    counts = {name: p.numel() for name, p in encoder.clip.named_parameters()}
    bias = getattr(encoder.clip, "logit_bias", None)
    model = {
        "model": name,
        "family": FAMILIES.get(name, "clip"),
        "parameters": sum(counts.values()),
        "decoder_parameters": sum(n for part, n in counts.items() if part.startswith("text_decoder.")),
        "megabytes": f"{(SHIPPED[name] / 'open_clip_model.safetensors').stat().st_size / 1e6:.1f}",
        "scale": f"{encoder.clip.logit_scale.exp().item():.1f}",
        "bias": "" if bias is None else f"{bias.item():.2f}",
        "weights": str(weights_sha256(name))[:8],
        **report(SHIPPED[name] / LOG),
    }
    return model, rows


def report(log: Path) -> dict[str, str]:
    """Return the last report of a pretraining. Its values are empty without a log: `tiny` is older than logs."""
    reports = read_csv(log)
    if not reports:
        return dict.fromkeys(REPORT, "")
    last = reports[-1]
    return {"iterations": last["iteration"], **{name: last[name] for name in REPORT[1:]}}


def card(name: str, domains: Sequence[Row], models: Sequence[Row], markdown: Markdown) -> str:
    """Return the measured part of a model's card: its training, then accuracy and cosines per domain.

    Args:
        name: the model.
        domains: rows of families.csv.
        models: rows of family_models.csv.
        markdown: makes a table of headings and rows.
    """
    own = [row for row in domains if row["model"] == name]
    about = next((row for row in models if row["model"] == name), None)
    if about is None or not own:
        return "Not measured yet: the weights are not in this copy of the project."
    facts = [
        ["iterations of 128 images", number(about["iterations"])],
        ["images", number(about["images"])],
        ["minutes", f"{float(about['seconds']) / 60:.0f} ({about['device']})" if about["seconds"] else "-"],
        ["loss at the end, running mean", about["loss"] or "-"],
        ["parameters", number(about["parameters"]) + decoder(about)],
        ["weights in MB", about["megabytes"]],
        ["logit scale", about["scale"]],
        ["logit bias", about["bias"] or "-"],
        *([title, mean(own, column, 3)] for title, column in COSINE_TITLES.items()),
        ["accuracy, mean of the stream", mean([r for r in own if r["role"] == "stream"], "test", 1)],
        ["accuracy, mean of the held-out domains", mean([r for r in own if r["role"] == "held out"], "test", 1)],
    ]
    headings = ["domain", "role", "chance", "test", "n", "ood", "n", "image-image", "image-own text", "image-other text"]
    cells = ("domain", "role", "chance", "test", "n_test", "ood", "n_ood", *COSINES)
    table = markdown(headings, [[row[column] for column in cells] for row in own])
    return f"{markdown(['quantity', 'value'], facts)}\n\n{table}"


COSINE_TITLES = {
    "cosine of two images, mean of the domains": "image_image",
    "cosine of an image and its class": "image_text",
    "cosine of an image and another class": "image_wrong_text",
}


def overview(domains: Sequence[Row], models: Sequence[Row], markdown: Markdown) -> str:
    """Return one row per measured model: size, logit scale, mean cosines and mean accuracies. Arguments as in `card`."""
    body = []
    for model in models:
        own = [row for row in domains if row["model"] == model["model"]]
        accuracies = [mean([r for r in own if r["role"] == role], "test", 1) for role in ("stream", "held out")]
        size = [f"{(int(model['parameters']) - int(model['decoder_parameters'])) / 1e6:.1f}", model["megabytes"]]
        body.append([f"`{model['model']}`", *size, model["scale"], *(mean(own, c, 2) for c in COSINES), *accuracies])
    headings = ["model", "M parameters", "MB", "logit scale", "image-image", "image-own text", "image-other text"]
    return markdown([*headings, "stream", "held out"], body) if body else "Not measured yet."


def mean(rows: Sequence[Row], column: str, digits: int) -> str:
    """Return the mean of a column."""
    return f"{sum(float(row[column]) for row in rows) / len(rows):.{digits}f}"


def number(text: str) -> str:
    """Return a whole number with thousands separators, "-" for an empty text."""
    return f"{int(text):,}" if text else "-"


def decoder(model: Row) -> str:
    """Return the note on a text decoder, which no feature passes through; empty without one."""
    count = int(model["decoder_parameters"])
    return f", of them {count:,} in the text decoder" if count else ""


def main() -> None:
    """Measure the models that are here and write both files."""
    parser = argparse.ArgumentParser(prog="python -m tools.family_tables", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, default=FOLDER, help="folder of the CSV files (default: reference_data/tables)")
    args = parser.parse_args()
    measured = [measure(name) for name in MODELS if is_here(name)]
    tables = (
        ("family_models.csv", MODEL_COLUMNS, [model for model, _ in measured]),
        ("families.csv", COLUMNS, [row for _, rows in measured for row in rows]),
    )
    for file, columns, rows in tables:
        write_csv(args.out / file, columns, rows)
        print(f"{len(rows)} rows in {args.out / file}")


if __name__ == "__main__":
    main()
