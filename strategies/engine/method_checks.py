"""What a method's class must look like, checked when the class is made: a mistake there would otherwise show late or never."""

from __future__ import annotations

import difflib
import inspect
import warnings

from models.registry import UserError

# Of `train.csv`, before the method's own terms.
TRAIN_COLUMNS = ("after", "iteration", "loss", "lr")
# What the loop hands to each hook.
HOOKS: dict[str, tuple[str, ...]] = {
    "before_run": (),
    "before_experience": (),
    "companion_images": (),
    "compute_loss": ("batch",),
    "after_step": ("step",),
    "learning_rate": ("step", "peak", "updates"),
    "after_experience": (),
    "state": (),
    "load": ("state",),
    "budget": ("experience",),
    "task_state": (),
    "load_task": ("state", "step"),
}


def is_built_in(strategy_class: type) -> bool:
    """Whether a strategy comes with the project: not in a user's file, an installed package or a module that registers it."""
    return strategy_class.__module__.partition(".")[0] == "strategies"


def check_class(method: type, base: type) -> None:
    """Check what a class adds to `base`, `Strategy`.

    Raises UserError for an `__init__`, a hook that cannot take what the loop hands to it, and `Options` that do not extend the
    base's. A public method whose name nearly is a hook's would never be called: that is a warning.
    """
    name, own = method.__name__, vars(method)
    # Avalanche puts one of its own into every class.
    if getattr(own.get("__init__"), "__qualname__", "") == f"{method.__qualname__}.__init__":
        raise UserError(f"{name} defines __init__, which a strategy must not: prepare in before_run or before_experience.")
    for hook in HOOKS.keys() & own.keys():
        _check_hook(f"{name}.{hook}", own[hook], HOOKS[hook])
    options = own.get("Options")
    if options is not None and not (inspect.isclass(options) and issubclass(options, base.Options)):  # type: ignore[attr-defined]
        raise UserError(f"{name}.Options must be a subclass of Strategy.Options, or of the options of the class it extends.")
    for attribute, value in own.items():
        known = attribute.startswith("_") or hasattr(super(method, method), attribute)
        if known or not inspect.isfunction(value):
            continue
        if close := difflib.get_close_matches(attribute, HOOKS, n=1, cutoff=0.85):
            warnings.warn(f"{name}.{attribute} is no hook and is never called by the loop: is {close[0]} meant?", stacklevel=3)


def _check_hook(label: str, hook: object, handed: tuple[str, ...]) -> None:
    wanted = f"({', '.join(('self', *handed))})"
    if not inspect.isfunction(hook):
        raise UserError(f"{label} must be a method {wanted}.")
    signature = inspect.signature(hook)
    try:
        signature.bind(None, *handed)
    except TypeError as error:
        raise UserError(f"{label} must take {wanted}, not {signature}.") from error
