"""Perennial in Python: run a benchmark, look at its accuracy matrix, and use the model of a run.

```python
import perennial

result = perennial.bench("mtil", strategy="wise-ft")
result
```

Importing this module imports neither torch nor Avalanche. They are imported when a function is first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from harness.plan.plan import Plan
    from harness.saved.bench import Result, bench, plan
    from harness.saved.load import load_run
    from harness.saved.saved_run import SavedRun
    from models.registry import UserError

__all__ = ["Plan", "Result", "SavedRun", "UserError", "bench", "load_run", "plan"]

TARGETS = {
    "Plan": "harness.plan.plan",
    "Result": "harness.saved.bench",
    "SavedRun": "harness.saved.saved_run",
    "UserError": "models.registry",
    "bench": "harness.saved.bench",
    "load_run": "harness.saved.load",
    "plan": "harness.saved.bench",
}
"""The module of each public name."""


def __getattr__(name: str) -> Any:
    if name not in TARGETS:
        raise AttributeError(f"module 'perennial' has no attribute {name!r}; it has {', '.join(__all__)}")
    return getattr(importlib.import_module(TARGETS[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
