"""Domains under another name, with other prompts than their own benchmark's."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from benchmarks.catalog import DomainSource, Source
from benchmarks.data.progress import Progress

if TYPE_CHECKING:
    from benchmarks.data.domain import Domain


@dataclass(frozen=True)
class Reworded:
    """A domain with another name, other templates and other words around its class names.

    Attributes:
        name: name in records.
        source: the domain.
        templates: the templates that replace the domain's. None: its own.
        words: the class name, with "{}" for the domain's class name.
    """

    name: str
    source: Source
    templates: tuple[str, ...] | None = None
    words: str = "{}"

    @property
    def edition(self) -> str:
        """The edition of the domain."""
        return self.source.edition

    def build(self, splits: Sequence[str], progress: Progress | None = None) -> Domain:
        """Read the domain. Other splits than `splits` may be None. Raises UserError for missing or damaged data."""
        domain = self.source.build(splits, progress)
        names = tuple(self.words.format(name) for name in domain.classnames)
        return replace(domain, name=self.name, classnames=names, templates=self.templates or domain.templates)

    def differences(self, domain: Domain) -> list[str]:
        """Return sentences on how the data differs from the paper's."""
        before, _, after = self.words.partition("{}")
        names = tuple(name.removeprefix(before).removesuffix(after) for name in domain.classnames)
        return self.source.differences(replace(domain, name=self.source.name, classnames=names))

    def version(self) -> str:
        """Return a digest of the data and the words."""
        content = f"{self.source.version()}\n{(self.templates, self.words)!r}"
        return hashlib.sha256(content.encode()).hexdigest()[:12]

    def sources(self) -> list[DomainSource]:
        """Return the domain that this one is made from."""
        return [self.source]
