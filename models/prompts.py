"""Class names in a prompt template: the one place where "{}" is filled."""

from __future__ import annotations

from collections.abc import Sequence


def fill(template: str, classnames: Sequence[str]) -> list[str]:
    """One prompt per class name, in class order. Only "{}" is replaced, so braces in class names are safe."""
    return [template.replace("{}", name) for name in classnames]
