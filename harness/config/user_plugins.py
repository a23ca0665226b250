"""Plugins from a user's file: `--plugin FILE.py:Class`, with options by `--set Class.name=value`."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import typing
from collections.abc import Mapping, Sequence
from typing import Any

from harness.config.options import convert, split
from harness.config.user_file import is_file, load_plugin
from models.registry import UserError, first_line, unknown
from strategies.plugins import built_in as plugin_module


@dataclasses.dataclass(frozen=True)
class UserPlugin:
    """A plugin class of a user's file, the SHA-256 of the file and the keywords that the class is made with."""

    reference: str
    kind: Any
    sha256: str
    options: Mapping[str, Any]


def user_plugins(
    names: Sequence[str], changes: Mapping[str, Any], strategy_class: Any
) -> tuple[dict[str, UserPlugin], dict[str, Any]]:
    """The plugins among `names` that are files, by class name, and the changes of options that are not theirs.

    Raises UserError for a class that cannot be loaded or does not act on this strategy, two plugins of one name, and options
    that its constructor does not take.
    """
    found: dict[str, UserPlugin] = {}
    rest = dict(changes)
    for reference in names:
        if not is_file(reference):
            continue
        # Here: it imports Avalanche, without which a sweep can be planned.
        from strategies.engine.plugin_checks import check_plugin_class

        kind, sha256 = load_plugin(reference)
        name = kind.__name__
        check_plugin_class(kind)
        if name in found or name in plugin_module.PLUGINS:
            raise UserError(f"--plugin has two plugins called {name}; rename one of the classes.")
        if not strategy_class.trains and not any("_eval" in callback for callback in vars(kind)):
            raise UserError(f"The plugin {name} acts on training, and {strategy_class.__name__} does not train.")
        rest, given = split(rest, name)
        found[name] = UserPlugin(reference, kind, sha256, _options(kind, given))
    return found, rest


def class_name(reference: str, found: Mapping[str, UserPlugin]) -> str:
    """The name of a plugin among those of a run: of a file, that of its class."""
    return next((name for name, plugin in found.items() if plugin.reference == reference), reference)


def plugin_settings(options: Any) -> dict[str, Any]:
    """What decides the effect of a plugin, as JSON."""
    if isinstance(options, UserPlugin):
        return {**options.options, "sha256": options.sha256}
    return dataclasses.asdict(options)


def make_plugin(name: str, options: Any) -> Any:
    """A new plugin. Raises UserError for a user's class that refuses its options."""
    if not isinstance(options, UserPlugin):
        return plugin_module.make(name, options)
    try:
        return options.kind(**options.options)
    except (TypeError, ValueError) as error:
        raise UserError(f"The plugin {name} cannot be made: {type(error).__name__}: {first_line(error)}.") from error


def _options(kind: Any, given: Mapping[str, Any]) -> dict[str, Any]:
    """The keywords of a constructor that are given, and its plain defaults."""
    parameters = {
        name: parameter
        for name, parameter in inspect.signature(kind).parameters.items()
        if parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY)
    }
    try:
        hints = typing.get_type_hints(kind.__init__)
    except (NameError, TypeError):
        hints = {}
    options = {}
    for name, value in given.items():
        if name not in parameters:
            raise unknown(f"option of the plugin {kind.__name__}", name, parameters)
        default = parameters[name].default
        hint = hints.get(name, type(default) if isinstance(default, (bool, int, float, str)) else Any)
        options[name] = _plain(value) if hint is Any else convert(f"{kind.__name__}.{name}", value, hint)
    for name, parameter in parameters.items():
        if parameter.default is parameter.empty and name not in options:
            raise UserError(f"The plugin {kind.__name__} needs the option {name}: --set {kind.__name__}.{name}=...")
        if isinstance(parameter.default, (bool, int, float, str, type(None))):
            options.setdefault(name, parameter.default)
    return options


def _plain(value: Any) -> Any:
    """A word of the command line as the number, truth value or list that it spells, else as it is."""
    try:
        return ast.literal_eval(value) if isinstance(value, str) else value
    except (ValueError, SyntaxError):
        return value
