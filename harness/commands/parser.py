"""The argument parser: it reports mistakes in one sentence, with hints from the command that was typed."""

from __future__ import annotations

import argparse
import dataclasses
import difflib
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NoReturn

from models.registry import UserError

ADVICE = {
    "--resume": ("--fresh", "the same command again continues an interrupted run"),
    "--overwrite": ("--fresh", "--fresh starts a finished run over"),
    "--force": ("--fresh", "--fresh starts a finished run over"),
    "--output": ("--out", "--out DIR says where records go"),
    "--output-dir": ("--out", "--out DIR says where records go"),
    "--gpu": ("--device", "--device cuda:0 chooses a GPU"),
    "--gpus": ("--device", "--device cuda:0 chooses a GPU"),
    "--method": ("--strategy", "--strategy NAME chooses the method"),
    "--dataset-root": ("--data-root", "--data-root DIR says where the datasets are"),
}
"""Flags of other programs. For each: a flag that the command must have for the advice to hold, and the advice."""


class Parser(argparse.ArgumentParser):
    """An argument parser that reports every mistake as a `UserError`.

    `fill` adds the arguments. It is called once, when they are needed, so that only the typed command is imported.
    """

    fill: Callable[[Parser], None] | None = None

    def filled(self) -> Parser:
        """Return the parser with its arguments."""
        if self.fill is not None:
            fill, self.fill = self.fill, None
            fill(self)
        return self

    def format_help(self) -> str:
        """Return the text of `--help`."""
        self.filled()
        return super().format_help()

    def format_usage(self) -> str:
        """Return the first lines of `--help`."""
        self.filled()
        return super().format_usage()

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Parse the known arguments, as argparse does."""
        self.filled()
        return super().parse_known_args(args, namespace)

    def parse_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Parse the arguments. Raises UserError, with hints from the command that was typed."""
        parsed, unknown = self.parse_known_args(args, namespace)
        if unknown:
            self._chosen(parsed)._refuse(unknown, parsed)
        return parsed

    def error(self, message: str) -> NoReturn:
        """Raise UserError with the nearest flag, choice or command of this parser, if one is near."""
        known = list(self._words())
        wrong = [w for w in re.findall(r"[\w-]{3,}", message.partition("(")[0]) if w not in known]
        near = [m for word in wrong for m in difflib.get_close_matches(word, known, n=1, cutoff=0.7)]
        hint = f" Did you mean {near[0]}?" if near else ""
        raise UserError(f"{message[:1].upper()}{message[1:]}.{hint} See `{self.prog} --help`.")

    def _refuse(self, unknown: Sequence[str], parsed: argparse.Namespace) -> NoReturn:
        """Raise UserError for arguments that this command does not take."""
        flag = next((word.partition("=")[0] for word in unknown if word.startswith("-")), None)
        option = (flag or "").lstrip("-").replace("-", "_")
        if flag is not None and "--set" in self._option_string_actions and option in _options(parsed):
            advice = f"{option} is an option of training or of the strategy; write --set {option}=VALUE"
            raise UserError(f"`{self.prog}` has no flag {flag}: {advice}.")
        needed, advice = ADVICE.get(flag or "", (None, ""))
        if needed in self._option_string_actions:
            raise UserError(f"`{self.prog}` has no flag {flag}: {advice}.")
        self.error(f"unrecognized arguments: {' '.join(unknown)}")

    def _chosen(self, parsed: argparse.Namespace) -> Parser:
        """Return the parser of the command that was typed."""
        for action in self._commands():
            command: Parser | None = action.choices.get(getattr(parsed, action.dest, None))
            if command is not None:
                return command._chosen(parsed)
        return self

    def _commands(self) -> Iterator[Any]:
        for action in self._actions:
            if isinstance(action.choices, dict):
                yield action

    def _words(self) -> Iterator[str]:
        yield from self._option_string_actions
        for action in self._actions:
            yield from map(str, action.choices or ())


def _options(parsed: argparse.Namespace) -> set[str]:
    """Return the names of the options that `--set` takes for the strategy that was typed."""
    from strategies.engine.declared import declared

    try:
        options = declared(getattr(parsed, "strategy", None) or "zscl").Options
    except UserError:
        options = declared("zscl").Options
    return {field.name for field in dataclasses.fields(options)}
