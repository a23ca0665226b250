"""The claims of A-CLIP's abstract (2402.09613): difficulty, and the balance of generalisation and forgetting."""

from __future__ import annotations

from harness.claims.claim import Claim, Verdict, verdict
from harness.claims.evidence import Evidence, runs_of
from harness.records.generalisation import DIFFERENCE, PREDICTORS, outcomes, paired, predictors

PAPER = "A-CLIP (2402.09613)"
BENCHMARK = "generalisation"
FULL, ATTENTION = "finetune", "attention"
TUNINGS = (FULL, "bitfit", ATTENTION, "lora", "adapter")


def silhouette_predicts_difficulty(evidence: Evidence) -> Verdict:
    """Judge by the rank correlations of both measures with the errors, and by the interval of their difference."""
    rows = predictors(outcomes(evidence.of(BENCHMARK, FULL)))
    if not rows:
        return Verdict("cannot be judged", "the records lack the measures silhouette and correct_pair")
    words, better = [], []
    for outcome, title in (("zero_shot_error", "zero-shot error"), ("error", "error after full fine-tuning")):
        rho = {row.predictor: row.rho for row in rows if row.outcome == outcome}
        # Low similarity and low silhouette mean a high error: the more negative, the better.
        better.append(rho[DIFFERENCE].high < 0)
        shown = ", ".join(f"{name} {rho[name].value:+.2f} [{rho[name].low:+.2f}, {rho[name].high:+.2f}]" for name in PREDICTORS)
        words.append(f"{title}: {shown} (rank correlation over {rho[DIFFERENCE].n} domains)")
    return verdict(all(better), "; ".join(words))


def attention_balances_best(evidence: Evidence) -> Verdict:
    """Judge by paired differences over domains between attention tuning and each other tuning."""
    by_tuning = {name: outcomes(evidence.of(BENCHMARK, name)) for name in TUNINGS}
    beaten, words = [], []
    for name in TUNINGS:
        if name == ATTENTION:
            continue
        pairs = paired(by_tuning[ATTENTION], by_tuning[name])
        worse = [outcome for outcome in ("gain_ood", "elsewhere") if pairs[outcome].high < 0]
        better = [outcome for outcome in ("gain_ood", "elsewhere") if pairs[outcome].low > 0]
        beaten.append(bool(better) and not worse)
        ood, elsewhere = (pairs[outcome].signed() for outcome in ("gain_ood", "elsewhere"))
        words.append(f"against {name}: {ood} in another style, {elsewhere} on other tasks")
    return verdict(all(beaten), f"{'; '.join(words)} (points, over {len(by_tuning[ATTENTION])} domains)")


CLAIMS = (
    Claim(
        "a-clip-1",
        PAPER,
        "The silhouette of a task's images predicts its difficulty better than the similarity of images to their class texts.",
        f"bench {BENCHMARK} --seed 0 1 2",
        "the silhouette has a lower rank correlation with the error than the similarity: the 95 % bootstrap interval over "
        "domains of the difference is below 0, for the zero-shot error and for the error after full fine-tuning",
        silhouette_predicts_difficulty,
        runs_of((BENCHMARK, FULL)),
    ),
    Claim(
        "a-clip-2",
        PAPER,
        "Tuning attention weights balances generalisation to another style and forgetting best among five tunings.",
        f"bench {BENCHMARK} --seed 0 1 2",
        "against each other tuning, the 95 % interval over domains of the difference is above 0 in another style or on other "
        "tasks, and below 0 in neither",
        attention_balances_best,
        runs_of(*((BENCHMARK, name) for name in TUNINGS)),
    ),
)
