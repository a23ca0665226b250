"""The console that every command prints through: text from outside is shown as it is, and never obeyed.

Names, paths and messages of other libraries are neither rich markup (`[old]`) nor emoji codes (`:x:`). Control characters
in them do not reach the terminal. A closed pipe or a full disk behind the output ends the output and not the work.
"""

from __future__ import annotations

import io
import os
import re
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.text import Text

from models.files import reason

PIPED_WIDTH = 160
UNSHOWABLE = re.compile(
    # Control characters but tab and line feed, Unicode's line separators and direction overrides, unpaired surrogates.
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u200e\u200f\u061c\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)


def printable(text: str) -> str:
    r"""Return the text with each character that could change the terminal written as an escape.

    Example:
        >>> printable("caf\x1b[2J")
        'caf\\x1b[2J'
    """
    return UNSHOWABLE.sub(lambda match: match[0].encode("unicode_escape", "surrogatepass").decode(), text)


class OutputError(OSError):
    """The output of a command could not be written: a full disk behind a redirection."""


class SafeConsole(Console):
    """A rich console that takes every string as plain text. Markup has to be asked for as `rich.text.Text`."""

    failure: OSError | None = None
    """The first failed write of any console, for the exit status; a closed pipe is not counted."""

    def __init__(self, **options: Any):
        super().__init__(markup=False, emoji=False, highlight=False, **options)

    def render_str(self, text: str, **options: Any) -> Text:
        """Convert a string to text without markup."""
        return super().render_str(printable(text), **options)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """Render to segments. Texts that were made elsewhere are cleaned here, one character for one."""
        for segment in super().render(renderable, options):
            if segment.control is None and UNSHOWABLE.search(segment.text):
                yield Segment(UNSHOWABLE.sub("\ufffd", segment.text), segment.style)
            else:
                yield segment

    def on_broken_pipe(self) -> None:
        """Print nothing more. The work goes on."""
        self.quiet = True
        _discard_output()

    def _write_buffer(self) -> None:
        try:
            super()._write_buffer()
        except BrokenPipeError:
            raise
        except OSError as error:
            SafeConsole.failure = SafeConsole.failure or error
            del self._buffer[:]
            self.on_broken_pipe()
            complain(f"cannot write the output ({reason(error)}); nothing more is printed.")


def make_console(width: int | None = None) -> SafeConsole:
    """Return a console as wide as the terminal, or `width` (default `PIPED_WIDTH`) characters wide where there is none."""
    console = SafeConsole()
    return console if console.is_terminal else SafeConsole(width=width or PIPED_WIDTH)


def complain(message: str) -> None:
    """Print "perennial: ..." to standard error. Does nothing where that is closed or full."""
    with suppress(OSError, ValueError):
        print(f"perennial: {printable(message)}", file=sys.stderr, flush=True)


@contextmanager
def output() -> Iterator[None]:
    """Prepare standard output for a command, and flush it at the end.

    Characters that the output's encoding lacks are written as escapes. Raises OutputError when the output could not be written,
    and nothing for a closed pipe.
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
        SafeConsole.failure = error
        _discard_output()
    if SafeConsole.failure is not None:
        failure = SafeConsole.failure
        raise OutputError(failure.errno, failure.strerror or str(failure), "standard output")


def _discard_output() -> None:
    """Point standard output to the null device, so that what is still buffered cannot fail at exit."""
    with suppress(OSError, ValueError, AttributeError):
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, sys.stdout.fileno())
        os.close(null)
