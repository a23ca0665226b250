"""The claims of the abstract on IIMM (2407.15731)."""

from __future__ import annotations

import functools

from harness.claims.claim import Claim, Verdict, verdict
from harness.claims.evidence import Evidence

PAPER = "IIMM (2407.15731)"
OUTCOMES = {"gain_over_error": "gain over the zero-shot error", "forgetting": "forgetting"}


def has_study(evidence: Evidence) -> str | None:
    """Need the table of a study, with zero-shot accuracies, over which a measure has to improve."""
    if evidence.study is None:
        return "no study of this edition and model"
    return None if "zero_shot" in evidence.study else "the table of the study has no column zero_shot"


def _predicts(outcome: str, evidence: Evidence) -> Verdict:
    """Judge by the slopes of IIMM in the lines of a study."""
    lines = evidence.lines
    rows = lines[(lines.outcome == outcome) & (lines.measure == "iimm")]
    positive, negative = rows[rows.low > 0], rows[rows.high < 0]
    beats = rows[(rows.error < rows.error_of_mean) & (rows.low > 0)]
    reason = (
        f"{OUTCOMES[outcome]}: the slope is above 0 for {len(positive)} of {len(rows)} tunings, below 0 for {len(negative)}; "
        f"it also beats the mean of the other domains for {len(beats)} (n = {int(rows.n.min())} domains)"
    )
    return verdict(len(beats) == len(rows), reason)


def _best(outcome: str, evidence: Evidence) -> Verdict:
    """Judge by the leave-one-out errors of all measures."""
    lines = evidence.lines
    rows = lines[lines.outcome == outcome]
    errors = [(group, float(group[group.measure == "iimm"].error.iloc[0])) for _, group in rows.groupby("tuning")]
    places = sorted(int((group.error < error).sum()) + 1 for group, error in errors)
    count = rows.measure.nunique()
    reason = f"{OUTCOMES[outcome]}: IIMM's error is number {', '.join(map(str, places))} of {count} predictors, by tuning"
    return verdict(all(place == 1 for place in places), reason)


def has_families(evidence: Evidence) -> str | None:
    """Need studies of the four families of the plan."""
    from harness.study.confirmatory import FAMILIES, of_families

    found = 0 if evidence.study is None else of_families(evidence.study).model.nunique()
    return None if found >= FAMILIES else f"studies of {FAMILIES} families are needed, and there are {found}"


def works_across_families(evidence: Evidence) -> Verdict:
    """Judge by the verdicts of the study's plan (docs/study_plan.md) on the paper's two outcomes."""
    from harness.study.confirmatory import SUPPORTED, confirmatory, overall

    assert evidence.study is not None
    lines = confirmatory(evidence.study)
    found = overall(lines).set_index("outcome")
    reason = "; ".join(
        f"{title}: {row[SUPPORTED]} of {row.lines} lines supported, with full fine-tuning "
        f"{row[f'{SUPPORTED} with full']} of {row['families with full']} families"
        for title, row in ((OUTCOMES.get(str(name), "gain in points"), row) for name, row in found.iterrows())
    )
    return verdict(all(found.loc[outcome].claim == "confirmed" for outcome in OUTCOMES), reason)


def predicts_gain(evidence: Evidence) -> Verdict:
    """Judge by the lines for the gain."""
    return _predicts("gain_over_error", evidence)


def predicts_forgetting(evidence: Evidence) -> Verdict:
    """Judge by the lines for forgetting."""
    return _predicts("forgetting", evidence)


_RULE = (
    "for every tuning of the study, the 95 % interval of IIMM's slope is above 0, and its leave-one-out error is below that "
    "of the mean of the other domains"
)
_COMMAND = "study --protocol paper --domains broad"

CLAIMS = (
    Claim(
        "iimm-1",
        PAPER,
        "A higher IIMM before training predicts a larger gain from fine-tuning.",
        _COMMAND,
        _RULE,
        predicts_gain,
        has_study,
    ),
    Claim(
        "iimm-2",
        PAPER,
        "A higher IIMM before training predicts more forgetting.",
        _COMMAND,
        _RULE,
        predicts_forgetting,
        has_study,
    ),
    Claim(
        "iimm-3",
        PAPER,
        "IIMM predicts outcomes better than other transferability measures.",
        _COMMAND,
        "IIMM has the smallest leave-one-out error of all predictors for every tuning, for the gain",
        functools.partial(_best, "gain_over_error"),
        has_study,
    ),
    Claim(
        "iimm-4",
        PAPER,
        "The measure works across families of encoders.",
        f"{_COMMAND} --model with CLIP, SigLIP, CoCa and EVA-02",
        "the lines of full fine-tuning are supported in all four families, by the plan of the study, for the gain over the "
        "zero-shot error and for forgetting",
        works_across_families,
        has_families,
        compares_models=True,
    ),
)
