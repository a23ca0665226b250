"""Fill class names into a prompt template."""

from __future__ import annotations

from collections.abc import Sequence


def fill(template: str, classnames: Sequence[str]) -> list[str]:
    """Return one prompt per class name, in class order. Only "{}" is replaced, so braces in class names are safe."""
    return [template.replace("{}", name) for name in classnames]
