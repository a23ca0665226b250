"""Plugins from a user's file: `--plugin FILE.py:Class`, with options by `--set Class.name=value`."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import typing
from collections.abc import Mapping, Sequence
from typing import Any

from harness.config.options import convert, split_prefix
from harness.config.user_file import is_file, load_plugin
from models.registry import UserError, first_line, unknown
from strategies.plugins import built_in


@dataclasses.dataclass(frozen=True)
class UserPlugin:
    """A plugin class of a user's file, the SHA-256 of the file and the keywords that the class is made with."""

    reference: str
    kind: Any
    sha256: str
    options: Mapping[str, Any]


def user_plugins(
    references: Sequence[str], changes: Mapping[str, Any], strategy_class: Any
) -> tuple[dict[str, UserPlugin], dict[str, Any]]:
    """Return the plugins that are files, by class name, and the changes of options that are not theirs.

    Args:
        references: the values of `--plugin`. Those that are not files are ignored.
        changes: the user's changes to options.
        strategy_class: the strategy that the plugins act on.

    Raises:
        UserError: for a class that cannot be loaded or does not act on this strategy, two plugins with one name, and options
            that the constructor does not take.
    """
    plugins: dict[str, UserPlugin] = {}
    others = dict(changes)
    for reference in references:
        if not is_file(reference):
            continue
        # Imported here, because it imports Avalanche, which planning a sweep does not need.
        from strategies.engine.plugin_checks import check_plugin_class

        kind, sha256 = load_plugin(reference)
        name = kind.__name__
        check_plugin_class(kind)
        if name in plugins or name in built_in.PLUGINS:
            raise UserError(f"--plugin has two plugins called {name}; rename one of the classes.")
        if not strategy_class.trains and not any("_eval" in callback for callback in vars(kind)):
            raise UserError(f"The plugin {name} acts on training, and {strategy_class.__name__} does not train.")
        others, own_changes = split_prefix(others, name)
        plugins[name] = UserPlugin(reference, kind, sha256, _keywords(kind, own_changes))
    return plugins, others


def class_name(reference: str, plugins: Mapping[str, UserPlugin]) -> str:
    """Return the name of a plugin: the class name for a file, otherwise the reference."""
    return next((name for name, plugin in plugins.items() if plugin.reference == reference), reference)


def plugin_settings(options: Any) -> dict[str, Any]:
    """Return what decides the effect of a plugin, as JSON."""
    if isinstance(options, UserPlugin):
        return {**options.options, "sha256": options.sha256}
    return dataclasses.asdict(options)


def make_plugin(name: str, options: Any) -> Any:
    """Return a new plugin. Raises UserError for a user's class that rejects its options."""
    if not isinstance(options, UserPlugin):
        return built_in.make(name, options)
    try:
        return options.kind(**options.options)
    except (TypeError, ValueError) as error:
        raise UserError(f"The plugin {name} cannot be made: {type(error).__name__}: {first_line(error)}.") from error


def _keywords(kind: Any, changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return the keywords for a constructor: the user's values, and defaults that are plain values."""
    parameters = {
        name: parameter
        for name, parameter in inspect.signature(kind).parameters.items()
        if parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY)
    }
    try:
        hints = typing.get_type_hints(kind.__init__)
    except (NameError, TypeError):
        hints = {}
    keywords = {}
    for name, value in changes.items():
        if name not in parameters:
            raise unknown(f"option of the plugin {kind.__name__}", name, parameters)
        default = parameters[name].default
        hint = hints.get(name, type(default) if isinstance(default, (bool, int, float, str)) else Any)
        keywords[name] = _literal(value) if hint is Any else convert(f"{kind.__name__}.{name}", value, hint)
    for name, parameter in parameters.items():
        if parameter.default is parameter.empty and name not in keywords:
            raise UserError(f"The plugin {kind.__name__} needs the option {name}: --set {kind.__name__}.{name}=...")
        if isinstance(parameter.default, (bool, int, float, str, type(None))):
            keywords.setdefault(name, parameter.default)
    return keywords


def _literal(value: Any) -> Any:
    """Return the number, truth value or list that a text spells, otherwise the text."""
    try:
        return ast.literal_eval(value) if isinstance(value, str) else value
    except (ValueError, SyntaxError):
        return value
