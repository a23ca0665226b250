"""`stream`: any domains in sequence, from the papers' datasets, the mini edition and the user's data."""

from __future__ import annotations

from benchmarks import mini, settings
from benchmarks.catalog import find_all, held_out, plan_of, shadows, suite_notes
from benchmarks.names import split_names
from benchmarks.plan import Ask, StreamPlan
from models.registry import UserError


def stream(ask: Ask) -> StreamPlan:
    """Return the plan of the given tasks in their order.

    If all names belong to one edition, the stream has that edition, otherwise it is "own". By default the mini edition's three
    held-out domains that are not trained are held out, so a run on the user's data reports forgetting. They need no download,
    and evaluating them takes the tiny model a second. A stream with one of the papers' datasets holds out nothing, as in the
    papers.

    Raises:
        UserError: for an unknown name, a repeated domain, and a domain that is both trained and held out.
    """
    ask.refuse("stream", "dataset", "steps", "base")
    tasks = split_names(ask.tasks or ())
    if not tasks:
        raise UserError("bench stream needs --tasks with domain names or folders. `list domains` shows the names.")
    if ask.order not in (None, "default"):
        raise UserError("bench stream takes the order of the tasks from --tasks: leave out --order.")
    edition, trained = find_all(tasks, ask.edition, ask.data_root)
    if ask.classnames or ask.templates:
        own = [source for source in trained if source.edition == "own"]
        if len(own) != 1:
            raise UserError(
                f"--classnames and --templates need exactly one task with your data, not {len(own)}. Put classnames.txt and "
                "templates.txt into the folders instead."
            )
        trained = [s.with_files(ask.classnames, ask.templates) if s is own[0] else s for s in trained]
    default = () if any(source.edition == "full" for source in trained) else mini.HELDOUT
    heldout = held_out(ask, edition, [source.name for source in trained], default)
    named = [*trained, *heldout] if ask.heldout is not None else trained
    notes = (*suite_notes(tasks, ask.data_root), *shadows(named))
    details = {"classnames": settings.content(ask.classnames), "templates": settings.content(ask.templates)}
    return plan_of(ask, "stream", edition, "custom", trained, heldout, details=details, notes=notes)
