"""One task of the suite `broad` as a row of its table. It imports neither torch nor NumPy."""

from __future__ import annotations

from typing import NamedTuple


class Task(NamedTuple):
    """A task of the suite `broad`, without the images.

    Attributes:
        classnames: one name per class.
        templates: one to four prompts with "{}" for the class name. The first one is used for measuring.
        sizes: the number of images in train, validation and test.
        ood: the number of images in the out-of-distribution test set: the same classes in another style, or 0.
        licence: the licences of the images.
        source: the origin of the images.
        drawn_by: the function that draws an image, as "module:function" below `benchmarks.broad`. Empty for a task whose images
            are read from `<data-root>/broad/NAME.npz`, which `python -m tools.study_data` writes.
        skew: class k of a drawn task has images in proportion to (k + 1) ** -skew in every split. 0: equal numbers.
    """

    classnames: tuple[str, ...]
    templates: tuple[str, ...]
    sizes: tuple[int, int, int]
    ood: int
    licence: str
    source: str
    drawn_by: str = ""
    skew: float = 0.0

    @property
    def needs_study_data(self) -> bool:
        """True if the images are read from a file that `python -m tools.study_data` writes."""
        return not self.drawn_by

    @property
    def size_of(self) -> dict[str, int]:
        """The number of images of the splits "train", "val", "test" and "ood". An absent split is left out."""
        return {split: n for split, n in zip(("train", "val", "test", "ood"), (*self.sizes, self.ood), strict=True) if n}
