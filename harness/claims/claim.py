"""Claims and verdicts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, NamedTuple

from harness.claims.evidence import Evidence

Word = Literal["holds", "does not hold", "cannot be judged", "not run"]


class Verdict(NamedTuple):
    """A verdict and the sentence with the figures behind it."""

    word: Word
    reason: str


@dataclass(frozen=True)
class Claim:
    """A claim of an abstract.

    Attributes:
        name: identifier, such as "zscl-2".
        paper: name and arXiv number.
        text: the claim in our words.
        command: the command or commands whose records decide it, separated by semicolons.
        rule: the verdict's rule.
        judge: applies the rule to evidence. It is not called without the records that `needs` names.
        needs: returns a sentence on the records that are missing, or None.
        compares_models: whether the evidence has the runs of all models of an edition, not of one model.
    """

    name: str
    paper: str
    text: str
    command: str
    rule: str
    judge: Callable[[Evidence], Verdict]
    needs: Callable[[Evidence], str | None]
    compares_models: bool = False

    def verdict(self, evidence: Evidence) -> Verdict:
        """Return the verdict by some evidence, "not run" if records are missing."""
        missing = self.needs(evidence)
        return Verdict("not run", missing) if missing is not None else self.judge(evidence)


def verdict(holds: bool, reason: str) -> Verdict:
    """Return "holds" or "does not hold"."""
    return Verdict("holds" if holds else "does not hold", reason)


def cannot_judge(reason: str) -> Callable[[Evidence], Verdict]:
    """Return a judge of a claim that the project's records cannot decide."""
    return lambda evidence: Verdict("cannot be judged", reason)


def nothing(evidence: Evidence) -> None:
    """Need no record."""
