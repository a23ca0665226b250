"""`typographic`: images with the name of a wrong class written over them, after PAINT (2208.05592, typographic attacks).

The classes of a background domain are split into two halves, every second class each. The task, `wrong-words`, is to name the
object in images of the first half that have the name of another class of that half written over them. Alpha is chosen by
validation images of the task and of the supported domains, the clean background domain among them.

Targets, with test images only:

    new-typefaces           the classes and words of the task, in typefaces that no training image has
    new-words               the classes and words of the other half, in the same new typefaces
    other-images            mini edition: another domain with its words, in the same new typefaces
    photographs             the photographs in <data-root>/typographic, among all names in the folder
    photographs-two-way     the same photographs, between label and text

`typographic-control` asks how much of a patch's gain comes from its images and classes, not from the words on them: it trains
on the same images without words (`without-words`), chooses alpha without any written word, and has the same targets.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from benchmarks import mini
from benchmarks.cases import paint
from benchmarks.cases.attack_photographs import Photographs, folder_in
from benchmarks.cases.case import Made, case_plan
from benchmarks.cases.halves import divided
from benchmarks.catalog import DomainSource, Source, find
from benchmarks.data.progress import Progress
from benchmarks.plan import Ask, StreamPlan
from models.registry import UserError

if TYPE_CHECKING:
    from benchmarks.data.domain import Domain

BACKGROUND = {"mini": "nature", "full": "sun397"}
"""The images under the words by default (our choice)."""
SUPPORTED = {"mini": mini.HELDOUT, "full": paint.SUPPORTED["full"], "own": mini.HELDOUT}
COPIES = {"train": 3, "val": 3, "test": 2}
"""Pictures per image of a mini domain, with different words."""
UPDATES = {"iterations": 150, "warmup": 15}
"""Training of the tiny model in place of mtil's 40 updates. Of the two, 150 had the better mean of validation accuracy on the
task and on the supported domains at the chosen alpha (seed 0, learning rate 3e-4)."""


def stream(ask: Ask) -> StreamPlan:
    """Return the plan: `--dataset` names the background, and `--data-root` may contain a folder of photographs.

    Raises:
        UserError: for settings that the study does not take, and an unknown name.
    """
    return _plan(ask, "typographic", "wrong-words", _wrong_words)


def control(ask: Ask) -> StreamPlan:
    """Return the plan of the control: the same training images, classes, settings and targets, without words in training.

    Raises:
        UserError: as for `stream`.
    """
    return _plan(ask, "typographic-control", "without-words", _without_words)


def _plan(ask: Ask, benchmark: str, task: str, make: Callable[[Source, Sequence[str], Progress | None], Domain]) -> StreamPlan:
    ask.refuse(benchmark, "order")
    name = ask.dataset or BACKGROUND.get(ask.edition or "mini")
    if name is None:
        raise UserError(f"bench {benchmark} --edition own needs --dataset with a folder, whose images get the words.")
    background = find(name, ask.edition, ask.data_root)
    edition = background.edition

    def target(name: str, half: int | None, of: Source = background) -> Made:
        return Made(name, partial(_attacked, of, half, True), (of,), of.edition)

    targets: list[DomainSource] = [target("new-typefaces", 0), target("new-words", 1)]
    if edition == "mini":
        other = find("transport" if background.name != "transport" else "nature", "mini")
        targets.append(target("other-images", None, other))
    folder = folder_in(ask.data_root)
    if folder is not None:
        targets += [Photographs(folder, two_way=False), Photographs(folder, two_way=True)]
    notes = (f"the photographs in {folder} are targets",) if folder is not None else ()
    supported = list(dict.fromkeys((background.asked, *SUPPORTED[edition])))
    trained = [Made(task, partial(make, background), (background,), edition)]
    plan = case_plan(replace(ask, dataset=None), benchmark, edition, trained, supported, targets, notes=notes)
    model = None if plan.full_size else "tiny-words"
    tiny_settings = {**plan.tiny_settings, "finetune": {**plan.tiny_settings["finetune"], **UPDATES}}
    return replace(plan, model=model, tiny_settings=tiny_settings, details={**plan.details, "background": background.name})


def _wrong_words(source: Source, splits: Sequence[str], progress: Progress | None) -> Domain:
    """Return the first half of a domain's classes with words over the images."""
    return _attacked(source, 0, False, splits, progress)


def _without_words(source: Source, splits: Sequence[str], progress: Progress | None) -> Domain:
    """Return the first half of a domain's classes, with each training image as often and in the same place as in the task."""
    from torch.utils.data import Subset

    domain = halves(source.build(splits, progress))[0]
    images: Any = domain.train
    if source.edition != "mini" or images is None:
        return domain
    return replace(domain, train=Subset(images, [*range(len(images))] * COPIES["train"]))


def _attacked(source: Source, half: int | None, new: bool, splits: Sequence[str], progress: Progress | None) -> Domain:
    """Return one half of a domain's classes, or all of them, with words over the images; a target has only test images."""
    from benchmarks.cases.attacked import attacked, drawn

    splits = ("test",) if new else splits
    domain = source.build(splits, progress)
    if half is not None:
        domain = halves(domain)[half]
    if source.edition != "mini":
        return attacked(domain, splits, new)
    written = {
        split: getattr(attacked(domain, [split], new, copies), split) for split, copies in COPIES.items() if split in splits
    }
    domain = replace(domain, **{**dict.fromkeys((*COPIES, "ood")), **written})
    kind = "new" if new else "seen"
    return drawn(domain, f"attacked-{source.name}-{'all' if half is None else half}-{kind}")


def halves(domain: Domain) -> list[Domain]:
    """Return two domains: the first, third, ... class of a domain, and the second, fourth, ..."""
    if len(domain.classnames) < 4:
        raise UserError(
            f"A typographic attack needs at least 4 classes, 2 to train and 2 to test; {domain.name} has "
            f"{len(domain.classnames)}."
        )
    labels = [range(start, len(domain.classnames), 2) for start in (0, 1)]
    # Without `part_of`, a run lists task and targets as separate domains.
    return [replace(half, part_of=None) for half in divided(domain, labels)]
