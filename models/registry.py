"""Names: one literal table per registry, resolved late, with errors that suggest the nearest valid names.

Everything that a user can name (a strategy, a benchmark, a domain, a model) is resolved here. Listing names imports nothing
heavy, and a typing error gives the same message everywhere.
"""

from __future__ import annotations

import difflib
import functools
import importlib
import importlib.metadata
import unicodedata
from collections.abc import Callable, Iterable, Mapping
from typing import Any


class UserError(ValueError):
    """A mistake in the user's input. The command line prints it as one sentence and exits with status 2."""


def unknown(kind: str, name: str, valid: Iterable[str]) -> UserError:
    """Return the error for an unknown name, with the nearest valid names first and then all of them."""
    names = sorted(valid)
    folded = {n.casefold(): n for n in names}
    near = [folded[n] for n in difflib.get_close_matches(name.casefold(), folded, n=3, cutoff=0.5)]
    hint = f" Did you mean {' or '.join(near)}?" if near else ""
    return UserError(f"Unknown {kind} {name!r}.{hint} Known: {', '.join(names) or 'none'}.")


def first_line(error: BaseException) -> str:
    """Return the first line of another library's message without its full stop, or the class of an empty error."""
    return (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")


def printable(text: str, multiline: bool = False) -> str:
    r"""Return a text for a terminal or a message with the characters that could change a terminal written as escapes.

    These are the characters that `check_text` refuses. `multiline` keeps tabs and line feeds. Bytes of a file name that are
    not UTF-8 appear as bytes.

    Examples:
        >>> printable("caf\udce9\x1b[2J")
        'caf\\xe9\\x1b[2J'
    """
    if text.isprintable():
        return text
    unescaped = "\t\n" if multiline else ""
    return "".join(_escape(c) if c not in unescaped and problem_with(c) else c for c in text)


def escaped(text: str) -> str:
    """Return a name in quotes for a message, with its characters as in `printable`."""
    return f"'{printable(text)}'"


def shortened(text: str, longest: int = 60) -> str:
    """Return a name for a message, with its middle cut out if it has more than `longest` characters."""
    half = longest // 2 - 2
    return text if len(text) <= longest else f"{text[:half]} ... {text[-half:]}"


def check_text(text: str, what: str) -> str:
    """Return a name or template unchanged if records and terminals can hold it.

    Every name that a user gives is checked here before it reaches a record: names of domains and tasks, class names and
    templates, from a folder, a table, a hub dataset or Python. Letters of every script, blanks, punctuation, emoji and brackets
    are valid.

    Args:
        text: the name as the user sees it.
        what: the noun for it in the message, such as "class folder" or "label in line 3 of photos.csv".

    Returns:
        The text.

    Raises:
        UserError: the text has line breaks, tabs or other control characters, characters that change the direction of text or
            are invisible, or bytes of a file name that are not UTF-8. The message has the name in its `escaped` form.

    Examples:
        ```python
        name = check_text(name, "class folder")
        ```
    """
    problem = next(filter(None, map(problem_with, text)), None)
    if problem is not None:
        raise UserError(f"The {what} {escaped(text)} contains {problem}, which records cannot hold: rename it.")
    return text


# Zero-width joiners (U+200C, U+200D) and tags are left out: words and emoji need them.
_INVISIBLE = frozenset("\u00ad\u200b\u2060\ufeff")
_DIRECTION = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


def problem_with(character: str) -> str | None:
    """Return the problem with a character in a name, or None."""
    if character.isprintable():  # the usual case, which needs no category
        return None
    if "\udc80" <= character <= "\udcff":
        return f"a byte that is not UTF-8 ({_escape(character)})"
    if character in "\n\r\v\f\x1c\x1d\x1e\x85\u2028\u2029":
        return f"a line break ({_escape(character)})"
    if unicodedata.category(character) == "Cc":
        return f"{'a tab' if character == chr(9) else 'a control character'} ({_escape(character)})"
    if unicodedata.category(character) == "Cs":
        return f"half of a character ({_escape(character)})"
    if character in _DIRECTION:
        return f"a character that changes the direction of text ({_escape(character)})"
    return f"an invisible character ({_escape(character)})" if character in _INVISIBLE else None


def _escape(character: str) -> str:
    """Return a character as an escape sequence."""
    if "\udc80" <= character <= "\udcff":  # Python's form of a byte of a file name
        return f"\\x{ord(character) - 0xDC00:02x}"
    return character.encode("unicode_escape", "surrogatepass").decode("ascii")


def out_of_memory(error: BaseException) -> bool:
    """Return whether an error reports that memory could not be allocated. torch has no separate class for it on a CPU."""
    texts = ("can't allocate memory", "not enough memory", "cannot allocate memory", "out of memory")
    return isinstance(error, MemoryError) or any(text in str(error).lower() for text in texts)


def lazy(module: str, places: Mapping[str, str]) -> Callable[[str], Any]:
    """Return a module's `__getattr__` (PEP 562) that imports names from other modules when they are first used.

    Args:
        module: the name of the module.
        places: name -> module that defines it.
    """

    def attribute(name: str) -> Any:
        if name not in places:
            raise AttributeError(f"module {module!r} has no attribute {name!r}")
        return getattr(importlib.import_module(places[name]), name)

    return attribute


class Registry:
    """Name -> object, from a literal table of "module:attribute" targets and from what users register.

    Nothing is imported before `get`. A built-in name takes precedence over one of an installed package.

    Args:
        kind: the noun used in messages.
        table: name -> target.
        entry_points: the group under which installed packages offer more objects.
    """

    def __init__(self, kind: str, table: Mapping[str, str], entry_points: str | None = None):
        self.kind = kind
        self._targets: dict[str, str] = dict(table)
        self._objects: dict[str, Any] = {}
        self._group = entry_points

    def __contains__(self, name: str) -> bool:
        return name in self._targets or name in self._objects or name in self._offered

    def names(self) -> list[str]:
        """Return all names: built-in ones in the table's order, then registered ones, then those of installed packages."""
        return list(dict.fromkeys([*self._targets, *self._objects, *self._offered]))

    @functools.cached_property
    def _offered(self) -> dict[str, importlib.metadata.EntryPoint]:
        """Entry points of installed packages by name."""
        points = importlib.metadata.entry_points(group=self._group) if self._group else ()
        return {point.name: point for point in points}

    def get(self, name: str) -> Any:
        """Return the object of a name. Raises UserError if the name is unknown or an installed package cannot be loaded."""
        if name not in self._objects:
            if name in self._targets:
                module, attribute = self._targets[name].split(":")
                self._objects[name] = getattr(importlib.import_module(module), attribute)
            elif name in self._offered:
                self._objects[name] = self._load(self._offered[name])
            else:
                raise unknown(self.kind, name, self.names())
        return self._objects[name]

    def remove(self, which: Callable[[Any], bool]) -> None:
        """Remove the registered objects for which `which` is true."""
        for name in [name for name, target in self._objects.items() if name not in self._targets and which(target)]:
            del self._objects[name]

    def _load(self, point: importlib.metadata.EntryPoint) -> Any:
        """Load the object of an installed package. Raises UserError if that fails."""
        try:
            return point.load()
        except (Exception, SystemExit) as error:  # another project's package may fail in any way
            package = getattr(getattr(point, "dist", None), "name", None)
            raise UserError(
                f"The {self.kind} {point.name!r} of an installed package ({package or 'unknown'}: {point.value}) cannot be "
                f"loaded: {type(error).__name__}: {first_line(error)}."
            ) from error

    def register(self, name: str) -> Callable[[Any], Any]:
        """Return a decorator that adds an object under a new name. Raises UserError if the name is taken."""

        def add(target: Any) -> Any:
            if name in self:
                raise UserError(f"The {self.kind} name {name!r} is already taken.")
            self._objects[name] = target
            return target

        return add
