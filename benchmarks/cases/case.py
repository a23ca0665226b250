"""Domains that case studies make, and the plans of case studies."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from benchmarks.catalog import DomainSource, check_present, held_out, plan_of, versions
from benchmarks.data.progress import Progress
from benchmarks.plan import Ask, Settings, StreamPlan
from models.registry import UserError

if TYPE_CHECKING:
    from benchmarks.data.domain import Domain

PATCHING = ("paint-single", "paint-sequential", "paint-joint", "task-arithmetic")
"""The strategies that patch; the merging methods inherit the settings of task arithmetic."""


@dataclass(frozen=True)
class Made:
    """A domain that a case study draws or makes from other domains.

    Attributes:
        name: name in records.
        make: returns the domain. It may leave out splits other than the given ones.
        of: the domains that it is made from. Their data is a part of its version.
        edition: "mini", "full" or "own".
        code: version of the code that makes it. Increase it if the same data gives other images, classes or splits.
    """

    name: str
    make: Callable[[Sequence[str], Progress | None], Domain]
    of: tuple[DomainSource, ...] = ()
    edition: str = "mini"
    code: int = 1

    def build(self, splits: Sequence[str], progress: Progress | None = None) -> Domain:
        """Return the domain. Other splits than `splits` may be None. Raises UserError for missing or damaged data."""
        return replace(self.make(splits, progress), name=self.name)

    def differences(self, domain: Domain) -> list[str]:
        """Return no sentences: a paper's data that this domain is made from is described by its own source."""
        return []

    def version(self) -> str:
        """Return a digest of the data that the domain is made from and of the code that makes it."""
        from benchmarks.mini import cache

        parts = [self.name, str(self.code), cache.version_key(), *(source.version() for source in self.of)]
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:12]

    def sources(self) -> list[DomainSource]:
        """Return the domains that this one is made from."""
        return [*self.of]


def edition_of(ask: Ask, benchmark: str, editions: Collection[str], no_order: str | None, other: str = "") -> str:
    """Return the edition that was asked for, "mini" by default.

    Args:
        ask: the user's settings.
        benchmark: name of the study.
        editions: the editions that it has.
        no_order: the message about an order, for a study without one. None: the study has orders.
        other: a sentence on what to run for other data.

    Raises:
        UserError: for another edition, and for an order that the study does not have.
    """
    edition = ask.edition or "mini"
    if edition not in editions:
        has = f"edition{'s' * (len(editions) > 1)} {' and '.join(editions)}{' only' * (len(editions) == 1)}"
        raise UserError(f"{benchmark} has the {has}, not {edition!r}.{other}")
    if no_order is not None and ask.order not in (None, "default"):
        raise UserError(no_order)
    return edition


def case_plan(
    ask: Ask,
    benchmark: str,
    edition: str,
    trained: Sequence[DomainSource],
    supported: Sequence[str],
    targets: Sequence[DomainSource] = (),
    changes: Settings | None = None,
    **more: Any,
) -> StreamPlan:
    """Return the plan of a case study, in which every method that patches also records its alpha curve.

    Args:
        ask: the user's settings. `heldout` replaces the supported tasks; the targets stay.
        benchmark: name in records.
        edition: "mini", "full" or "own".
        trained: the tasks.
        supported: names of the supported tasks by default.
        targets: the domains on which training is meant to have an effect.
        changes: options by strategy in place of those of mtil.
        more: further fields of the plan.

    Raises:
        UserError: for settings that a case study does not take, an unknown name, and a repeated domain.
    """
    ask.refuse(benchmark, "tasks", "dataset", "steps", "base", "classnames", "templates")
    target_names = tuple(target.name for target in targets)
    if ask.heldout is not None:
        # The record of a run names the targets among its held-out domains.
        chosen = tuple(name for name in ask.heldout if name not in target_names)
        ask = replace(ask, heldout=chosen or ("none",))
    kept = held_out(ask, edition, [source.name for source in trained], supported)
    options: dict[str, dict[str, Any]] = {name: {"curve": True} for name in PATCHING}
    for name, values in (changes or {}).items():
        options[name] = {**options.get(name, {}), **values}
    sources = [*trained, *kept, *targets]
    made_from = dict.fromkeys(source for each in sources for source in each.sources())
    plan = plan_of(ask, benchmark, edition, "default", trained, [*kept, *targets], targets=target_names, **more)
    return replace(
        plan,
        check=lambda: check_present([*sources, *made_from]),
        version=lambda: versions(sources),
        settings=_merged(plan.settings, options),
        tiny_settings=_merged(plan.tiny_settings, options),
    )


def _merged(base: Settings, changes: Settings) -> dict[str, dict[str, Any]]:
    names = dict.fromkeys((*base, *changes))
    return {name: {**base.get(name, {}), **changes.get(name, {})} for name in names}
