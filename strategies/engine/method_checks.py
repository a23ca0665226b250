"""Checks of a method's class when it is made. A mistake there would otherwise show late or never."""

from __future__ import annotations

import difflib
import inspect
import warnings

from models.registry import UserError

# The columns of `train.csv` before the method's terms.
TRAIN_COLUMNS = ("after", "iteration", "loss", "lr")
# The arguments that the loop passes to each hook.
HOOKS: dict[str, tuple[str, ...]] = {
    "before_run": (),
    "start_weights": (),
    "grow": ("experience",),
    "before_experience": (),
    "begin_stage": ("stage",),
    "companion_images": (),
    "training_route": (),
    "compute_loss": ("batch",),
    "after_backward": (),
    "after_step": ("step",),
    "learning_rate": ("step", "peak", "updates"),
    "after_experience": (),
    "test_features": (),
    "predict": ("features", "candidates"),
    "state": (),
    "load": ("state",),
    "budget": ("experience",),
    "task_state": (),
    "load_task": ("state", "step"),
}


def is_built_in(strategy_class: type) -> bool:
    """Return whether a strategy is part of this project, not of a user's file, an installed package or a registering module."""
    return strategy_class.__module__.partition(".")[0] == "strategies"


def check_class(method: type, base: type) -> None:
    """Check what a class adds to `base`, which is `Strategy`.

    A public method whose name is nearly a hook's would never be called, so it gives a warning.

    Raises:
        UserError: the class defines `__init__`, a hook that cannot take the loop's arguments, or `Options` that do not extend
            the base's.
    """
    name, attributes = method.__name__, vars(method)
    # Avalanche puts its own `__init__` into every class.
    if getattr(attributes.get("__init__"), "__qualname__", "") == f"{method.__qualname__}.__init__":
        raise UserError(f"{name} defines __init__, which a strategy must not do. Prepare in before_run or before_experience.")
    for hook in HOOKS.keys() & attributes.keys():
        _check_hook(f"{name}.{hook}", attributes[hook], HOOKS[hook])
    options = attributes.get("Options")
    base_options: type = base.Options  # type: ignore[attr-defined]  # declared by `Strategy`, which imports this module
    if options is not None and not (inspect.isclass(options) and issubclass(options, base_options)):
        raise UserError(f"{name}.Options must be a subclass of Strategy.Options, or of the options of the class it extends.")
    for attribute, value in attributes.items():
        known = attribute.startswith("_") or hasattr(super(method, method), attribute)
        if known or not inspect.isfunction(value):
            continue
        if close := difflib.get_close_matches(attribute, HOOKS, n=1, cutoff=0.85):
            warnings.warn(
                f"{name}.{attribute} is not a hook, so the loop never calls it. Did you mean {close[0]}?", stacklevel=3
            )


def _check_hook(label: str, hook: object, arguments: tuple[str, ...]) -> None:
    expected = f"({', '.join(('self', *arguments))})"
    if not inspect.isfunction(hook):
        raise UserError(f"{label} must be a method {expected}.")
    signature = inspect.signature(hook)
    try:
        signature.bind(None, *arguments)
    except TypeError as error:
        raise UserError(f"{label} must take {expected}, not {signature}.") from error
