"""The console that every command prints through. It treats all text from outside as plain text.

Names, paths and messages of other libraries are not parsed as rich markup (`[old]`) or emoji codes (`:x:`). Their control
characters do not reach the terminal. A closed pipe or a full disk stops the output, but not the work.
"""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.text import Text

from models.files import reason
from models.registry import printable, problem_with

PIPED_WIDTH = 160


class OutputError(OSError):
    """Standard output could not be written, for example because it is redirected to a full disk."""


class SafeConsole(Console):
    """A rich console that prints every string as plain text. Markup must be passed as `rich.text.Text`.

    Args:
        options: options of `rich.console.Console`.
    """

    failure: OSError | None = None
    """The first failed write of any console, for the exit status. A closed pipe does not count."""

    def __init__(self, **options: Any):
        super().__init__(markup=False, emoji=False, highlight=False, **options)

    def render_str(self, text: str, **options: Any) -> Text:
        """Convert a string to text without markup."""
        return super().render_str(printable(text, multiline=True), **options)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """Render to segments. Replaces each control character of a text made elsewhere by one character."""
        for segment in super().render(renderable, options):
            if segment.control is None and not segment.text.isprintable():
                shown = "".join("\ufffd" if c not in "\t\n" and problem_with(c) else c for c in segment.text)
                yield Segment(shown, segment.style)
            else:
                yield segment

    def on_broken_pipe(self) -> None:
        """Stop the output. The work continues."""
        self.quiet = True
        _discard_output()

    def _write_buffer(self) -> None:
        try:
            super()._write_buffer()
        except BrokenPipeError:
            raise
        except OSError as error:
            del self._buffer[:]
            self.on_broken_pipe()
            _report_failure(error)


def make_console(width: int | None = None) -> SafeConsole:
    """Return a console as wide as the terminal. Without a terminal it is `width` (default `PIPED_WIDTH`) characters wide."""
    console = SafeConsole()
    return console if console.is_terminal else SafeConsole(width=width or PIPED_WIDTH)


def complain(message: str) -> None:
    """Print "perennial: ..." to standard error. A failed write is ignored."""
    with suppress(OSError, ValueError):
        print(f"perennial: {printable(message, multiline=True)}", file=sys.stderr, flush=True)


@contextmanager
def output() -> Iterator[None]:
    """Prepare standard output for a command, and flush it at the end.

    Characters missing from the output's encoding are written as escapes. A closed pipe is ignored.

    Raises:
        OutputError: if the output could not be written. The error has already been printed.
    """
    SafeConsole.failure = None
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    yield
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except BrokenPipeError:
        _discard_output()
    except OSError as error:
        _discard_output()
        _report_failure(error)
    if SafeConsole.failure is not None:
        failure = SafeConsole.failure
        raise OutputError(failure.errno, failure.strerror or str(failure), "standard output")


def _report_failure(error: OSError) -> None:
    """Report the first failed write of a command to standard error."""
    if SafeConsole.failure is None:
        SafeConsole.failure = error
        complain(f"cannot write the output ({reason(error)}). Nothing more is printed.")


def _discard_output() -> None:
    """Point standard output to the null device, so that flushing buffered text at exit cannot fail."""
    with suppress(OSError, ValueError, AttributeError):
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, sys.stdout.fileno())
        os.close(null)
