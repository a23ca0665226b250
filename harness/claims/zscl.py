"""The claims of ZSCL's abstract (2303.06628)."""

from __future__ import annotations

from harness.claims.claim import Claim, Verdict, cannot_judge, nothing, verdict
from harness.claims.evidence import Evidence, points, runs_of

PAPER = "ZSCL (2303.06628)"
RIVALS = ("lwf", "icarl", "wise-ft", "lwf-vr")
"""The earlier methods of the paper's tables that run here."""


def forgets(evidence: Evidence) -> Verdict:
    """Judge by the Retention of fine-tuning."""
    kept = evidence.summary("mtil", "finetune", "retention")
    reason = f"fine-tuning keeps {kept.mean:.1f} % of zero-shot accuracy [{kept.low:.1f}, {kept.high:.1f}], {kept.n} seeds"
    return verdict(kept.high < 100, reason)


def preserves(evidence: Evidence) -> Verdict:
    """Judge by the Transfer of zscl against fine-tuning."""
    difference = evidence.difference("mtil", ("zscl",), ("finetune",), "transfer")
    return verdict(difference.low > 0, f"Transfer of zscl minus finetune: {points(difference)}")


def averages(evidence: Evidence) -> Verdict:
    """Judge by the Average of zscl with and without the weight average."""
    difference = evidence.difference("mtil", ("zscl",), ("zscl", "average_every"), "average")
    return verdict(difference.low > 0, f"Average with minus without the weight average: {points(difference)}")


def _leads(benchmark: str, metric: str, evidence: Evidence) -> Verdict:
    """Judge by the smallest lead of zscl over the earlier methods that have runs."""
    ran = [name for name in RIVALS if len(evidence.of(benchmark, name)) > 1]
    leads = {name: evidence.difference(benchmark, ("zscl",), (name,), metric) for name in ran}
    smallest = min(leads, key=lambda name: leads[name].low)
    reason = f"{metric} of zscl minus {smallest}, its closest rival of {', '.join(ran)}: {points(leads[smallest])}"
    return verdict(leads[smallest].low > 0, reason)


def leads_mtil(evidence: Evidence) -> Verdict:
    """Judge by Average on MTIL."""
    return _leads("mtil", "average", evidence)


def leads_cil(evidence: Evidence) -> Verdict:
    """Judge by the class-incremental average."""
    return _leads("cil", "cil_average", evidence)


CLAIMS = (
    Claim(
        "zscl-1",
        PAPER,
        "Learning new tasks one after another costs a vision-language model its zero-shot ability.",
        "bench mtil --strategy finetune --seed 0 1 2",
        "the 95 % interval over seeds of finetune's Retention is below 100",
        forgets,
        runs_of(("mtil", "finetune")),
    ),
    Claim(
        "zscl-2",
        PAPER,
        "Distilling the initial model on reference data, with a weight average, preserves zero-shot transfer.",
        "bench mtil --strategy zscl --seed 0 1 2; bench mtil --strategy finetune --seed 0 1 2",
        "the 95 % interval over seeds of the difference in Transfer, zscl minus finetune, is above 0",
        preserves,
        runs_of(("mtil", "zscl"), ("mtil", "finetune")),
    ),
    Claim(
        "zscl-3",
        PAPER,
        "The average of weights during training improves the result.",
        "bench mtil --strategy zscl --seed 0 1 2; bench mtil --strategy zscl --set average_every=0 --seed 0 1 2",
        "the 95 % interval over seeds of the difference in Average, with minus without, is above 0",
        averages,
        runs_of(("mtil", "zscl"), ("mtil", "zscl", "average_every")),
    ),
    Claim(
        "zscl-4",
        PAPER,
        "The reference images need semantic diversity, not labels, captions or the pre-training data.",
        "bench mtil --edition full --strategy zscl --set reference_images=imagenet:classes=100",
        "needs the full edition with reference sets of several sizes",
        cannot_judge("the mini edition has one reference set, and no full run is recorded"),
        nothing,
    ),
    Claim(
        "zscl-5",
        PAPER,
        "ZSCL beats earlier methods on multi-domain task-incremental learning.",
        "sweep mtil --strategies zscl,lwf,icarl,wise-ft,lwf-vr --seeds 0,1,2",
        "the 95 % interval over seeds of the difference in Average is above 0 against each earlier method",
        leads_mtil,
        runs_of(("mtil", "zscl"), ("mtil", "lwf"), ("mtil", "wise-ft")),
    ),
    Claim(
        "zscl-6",
        PAPER,
        "ZSCL beats earlier methods on class-incremental learning.",
        "sweep cil --strategies zscl,lwf,wise-ft --seeds 0,1,2",
        "the 95 % interval over seeds of the difference in cil_average is above 0 against each earlier method",
        leads_cil,
        runs_of(("cil", "zscl"), ("cil", "lwf")),
    ),
)
