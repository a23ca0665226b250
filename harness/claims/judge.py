"""Verdicts on all claims, from results, from a study and from the project's recorded verdicts."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from harness.claims import a_clip, iimm, paint, zscl
from harness.claims.claim import Claim
from harness.claims.evidence import Evidence, groups_of
from harness.records.runs import present, read
from metrics.study_table import read as read_study
from metrics.study_table import table_path
from models.loading.local_files import SHIPPED

CLAIMS: tuple[Claim, ...] = (*zscl.CLAIMS, *paint.CLAIMS, *iimm.CLAIMS, *a_clip.CLAIMS)
RECORDED = Path(__file__).parents[2] / "reference_data" / "tables" / "claims.csv"
"""The verdicts on the mini edition by the project's own runs, written by `claims --csv`."""


SEVERAL = "several models"
"""The model of a verdict that compares models."""


class Row(NamedTuple):
    """The verdict on a claim, with the edition and model of the runs behind it.

    `source` is "results" for the given runs, "study" for a study, and "recorded" for the project's own runs.
    """

    claim: str
    paper: str
    text: str
    verdict: str
    reason: str
    edition: str
    model: str
    source: str
    command: str
    rule: str


def judge(results: Sequence[str | Path], study: str | None = None, recorded: bool = True) -> list[Row]:
    """Return a row per claim.

    Runs of the full edition are preferred to others, and then those of the models that ship with the project. A claim whose
    runs are missing gets the recorded verdict.

    Args:
        results: folders of results.
        study: a study's folder or table; None: the study that is included.
        recorded: use recorded verdicts.

    Raises:
        UserError: for results or a study that do not exist or are damaged.
    """
    table = read_study(table_path(study))
    groups = groups_of(read([*present(results)]))
    studied = {(str(part.edition.iloc[0]), str(model)): part for model, part in table.groupby("model", sort=False)}
    keys = sorted({*groups, *studied}, key=lambda key: (key[0] != "full", key[1] not in SHIPPED, key))
    evidence = {key: Evidence(groups.get(key, ()), studied.get(key)) for key in keys}
    editions = dict.fromkeys(edition for edition, _ in keys)
    every = {
        (edition, SEVERAL): Evidence(
            tuple(run for key in keys if key[0] == edition for run in groups.get(key, ())),
            table[table.model.isin([model for of_edition, model in studied if of_edition == edition])],
        )
        for edition in editions
    }
    known = _recorded() if recorded else {}
    return [_row(claim, every if claim.compares_models else evidence, known.get(claim.name)) for claim in CLAIMS]


def _row(claim: Claim, evidence: dict[tuple[str, str], Evidence], recorded: Row | None) -> Row:
    rows = []
    for (edition, model), each in evidence.items():
        word, reason = claim.verdict(each)
        source = "study" if claim in iimm.CLAIMS else "results"
        rows.append(Row(claim.name, claim.paper, claim.text, word, reason, edition, model, source, claim.command, claim.rule))
        if word in ("holds", "does not hold"):
            # The others are of other models. Fitting the lines of a study takes seconds.
            return rows[-1]
    if recorded is not None and recorded.verdict in ("holds", "does not hold"):
        return recorded._replace(source="recorded")
    return rows[0]._replace(edition="", model="", source="")


def _recorded() -> dict[str, Row]:
    if not RECORDED.is_file():
        return {}
    with RECORDED.open(newline="", encoding="utf-8") as file:
        return {row["claim"]: Row(**{name: row[name] for name in Row._fields}) for row in csv.DictReader(file)}


def table_of(rows: Sequence[Row]) -> pd.DataFrame:
    """Return rows as a table."""
    return pd.DataFrame(rows, columns=list(Row._fields))
