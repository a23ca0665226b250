"""`stream`: any domains, one after the other: the papers' datasets, the mini edition's, the user's own."""

from __future__ import annotations

from dataclasses import replace

from benchmarks import mini, settings
from benchmarks.catalog import find_all, held_out, plan_of, shadows
from benchmarks.names import split_names
from benchmarks.plan import Ask, StreamPlan
from models.registry import UserError


def stream(ask: Ask) -> StreamPlan:
    """Return the plan of the tasks named, in that order (or, with `order`, in that one).

    The edition follows from the names: all of one edition make it that edition's, anything else makes it "own". Held out by
    default, so that a run on your own data says what is lost: the mini edition's three, as far as they are not trained. They
    need no download and a second per evaluation of the tiny model. Next to the papers' datasets nothing is held out, as in
    the papers.

    Raises UserError for unknown names, a domain named twice, or one both trained and held out.
    """
    ask.refuse("stream", "dataset", "steps", "base")
    tasks = split_names(ask.tasks or ())
    if not tasks:
        raise UserError("bench stream needs --tasks, domain names or folders; `list domains` has the names.")
    if ask.order not in (None, "default"):
        raise UserError("bench stream takes its order from --tasks: leave out --order.")
    edition, trained = find_all(tasks, ask.edition, ask.data_root)
    if ask.classnames or ask.templates:
        own = [source for source in trained if source.edition == "own"]
        if len(own) != 1:
            raise UserError(
                f"--classnames and --templates belong to a single dataset of your own, but {len(own)} of the tasks are; "
                "a folder may hold its own classnames.txt and templates.txt."
            )
        trained = [replace(s, classnames=ask.classnames, templates=ask.templates) if s is own[0] else s for s in trained]
    default = () if any(source.edition == "full" for source in trained) else mini.HELDOUT
    heldout = held_out(ask, edition, [source.name for source in trained], default)
    notes = shadows([*trained, *heldout] if ask.heldout is not None else trained)
    details = {"classnames": settings.content(ask.classnames), "templates": settings.content(ask.templates)}
    return plan_of(ask, "stream", edition, "custom", trained, heldout, details=details, notes=notes)
