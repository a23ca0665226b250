"""VQA v2 (Goyal et al. 2017, 1612.00837) as multiple choice, from its published files.

VQA v2 has no official multiple choice, so the options are our choice. The right option is the answer that most of the ten
annotators gave. The wrong ones are drawn from the most frequent answers to training questions of the same `question_type` and
`answer_type`, in proportion to their frequency, so that the right option does not stand out as frequent or rare. A question
whose answer is not among the most frequent ones is left out. Yes/no questions have two options, others four.

Training and validation questions are from train2014, on different images, test questions from val2014: the published test split
has no answers. One in eight question types is held out of training. Every choice is a function of names and numbers in the
files, not of their order.
"""

from __future__ import annotations

import functools
import hashlib
import json
import re
import zlib
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from benchmarks.cases.multiple_choice import Item, classes_of
from benchmarks.catalog import DomainSource
from benchmarks.data.progress import Progress
from benchmarks.full.listing import reading
from models.registry import UserError

if TYPE_CHECKING:
    from benchmarks.data.domain import Domain

FOLDER = "vqa_v2"
PARTS = {"train": "train2014", "val": "val2014"}
"""The folders of COCO's images, by the part of VQA v2."""
SIZES = {"train": 20_000, "val": 2_000, "test": 10_000, "new-types": 5_000}
"""The most questions of each set. They bound the number of prompts, whose text features are kept: four per question."""
FREQUENT = 20
"""Answers per kind of question that options are drawn from."""
OPTIONS = 4
CODE = 1
"""Version of the choices. Increase it whenever other questions or options come out."""
LICENCE = "annotations: CC BY 4.0; images: the terms of Flickr"


class Question(NamedTuple):
    """One question of VQA v2: its number, its image's path in the folder, text, kinds, and the majority's answer."""

    id: int
    image: str
    text: str
    type: str
    answer_type: str
    answer: str


Frequencies = Mapping[tuple[str, str], Mapping[str, int]]


@dataclass(frozen=True)
class VQAQuestions:
    """A domain of VQA v2.

    Attributes:
        name: name in records.
        data_root: the data folder.
        answer_type: the only kind of test questions ("yes/no", "number" or "other"), or None.
        new_types: the test questions are those of the held-out question types.
    """

    name: str
    data_root: str = "data"
    answer_type: str | None = None
    new_types: bool = False
    edition: str = "full"

    @property
    def folder(self) -> Path:
        """The folder of the files."""
        return Path(self.data_root) / FOLDER

    def files(self) -> list[Path]:
        """Return the files of questions and annotations."""
        return [path for part in PARTS for path in json_files(self.folder, part)]

    def check(self) -> None:
        """Raise UserError if a file or a folder of images is missing. Quick."""
        missing = [path.name for path in (*self.files(), *(self.folder / name for name in PARTS.values())) if not path.exists()]
        if missing:
            raise UserError(
                f"VQA v2 is incomplete in {self.folder}: {', '.join(missing)} not found. Unpack there the questions and "
                "annotations of balanced real images from https://visualqa.org/download.html, and COCO's 2014 training and "
                "validation images (https://cocodataset.org/#download) as the folders train2014 and val2014."
            )

    def build(self, splits: Sequence[str], progress: Progress | None = None) -> Domain:
        """Read the questions of some splits, of a target only test. Raises UserError for missing or damaged data."""
        from benchmarks.data.domain import Domain, chance
        from benchmarks.data.images import ImageFiles

        self.check()
        splits = ("test",) if self.new_types or self.answer_type else splits
        report = progress or (lambda done, total, what: None)
        report(0, 1, "reading VQA v2")
        frequencies = frequent_answers(read(self.folder, "train"))
        chosen = {split: self._chosen(split, frequencies) for split in splits}
        report(1, 1, "read VQA v2")
        items = {split: [item(question, frequencies) for question in each] for split, each in chosen.items()}
        classes = classes_of(items)
        datasets = {
            split: ImageFiles([self.folder / question.image for question in each], classes.labels[split])
            for split, each in chosen.items()
        }
        self._check_images([path for images in datasets.values() for path in images.paths])
        made = Domain(
            self.name,
            classes.names,
            ("{}",),
            train=datasets.get("train"),
            val=datasets.get("val"),
            test=datasets.get("test"),
            licence=LICENCE,
            source="VQA v2 on COCO images, visualqa.org",
            split_sources={split: f"{len(images):,} questions of VQA v2" for split, images in datasets.items()},
            published=True,
            groups=classes.groups,
        )
        if "test" not in items:
            return made
        guesses = [guess(q, each, frequencies) == q.answer for q, each in zip(chosen["test"], items["test"], strict=True)]
        blind = 100 * sum(guesses) / len(guesses)
        note = (
            f"{self.name}: random answers are right in {chance(made):.1f} % of the test images, the most frequent option, "
            f"chosen without the image, in {blind:.1f} %"
        )
        return replace(made, notes=(note,))

    def differences(self, domain: Domain) -> list[str]:
        """Return the sentence that the multiple choice is ours."""
        return ["VQA v2 has no official multiple choice: the wrong options are drawn from frequent answers (our choice)."]

    def version(self) -> str:
        """Return a digest of the files' names, sizes and times and of the code that chooses."""
        facts = [f"{CODE} {self.name} {self.answer_type} {self.new_types} {SIZES} {FREQUENT} {OPTIONS}"]
        facts += [f"{path.name} {path.stat().st_size} {path.stat().st_mtime_ns}" for path in self.files() if path.exists()]
        return hashlib.sha256("\n".join(facts).encode()).hexdigest()[:12]

    def sources(self) -> list[DomainSource]:
        """Return no domains: this one is read from files."""
        return []

    def _chosen(self, split: str, frequencies: Frequencies) -> list[Question]:
        name = "new-types" if self.new_types else split
        chosen = choose(read(self.folder, "val" if split == "test" else "train"), name, frequencies)
        chosen = [q for q in chosen if split != "test" or self.answer_type in (None, q.answer_type)]
        if not chosen:
            raise UserError(f"VQA v2 in {self.folder} has no questions for the {split} split of {self.name}.")
        return chosen

    def _check_images(self, paths: Sequence[str]) -> None:
        missing = [path for path in dict.fromkeys(paths) if not Path(path).exists()]
        if missing:
            raise UserError(f"{len(missing):,} images of VQA v2's questions are missing, the first is {missing[0]}.")


def json_files(folder: Path, part: str) -> tuple[Path, Path]:
    """Return the file of questions and the file of annotations of a part of VQA v2."""
    year = PARTS[part]
    return folder / f"v2_OpenEnded_mscoco_{year}_questions.json", folder / f"v2_mscoco_{year}_annotations.json"


@functools.lru_cache(maxsize=2)
def read(folder: Path, part: str) -> list[Question]:
    """Read all questions of a part with their majority answers.

    Answers are lower case. Questions that records cannot hold (control characters) are left out.

    Raises:
        UserError: for a damaged file, and for an annotation without a question.
    """
    questions_file, annotations_file = json_files(folder, part)
    with reading(questions_file):
        texts = {q["question_id"]: q["question"].strip() for q in json.loads(questions_file.read_text())["questions"]}
    with reading(annotations_file):
        rows = json.loads(annotations_file.read_text())["annotations"]
        questions = [_question(row, texts[row["question_id"]], part) for row in rows]
    return [question for question in questions if question.text.isprintable() and question.answer.isprintable()]


def _question(row: Mapping[str, Any], text: str, part: str) -> Question:
    year = PARTS[part]
    image = f"{year}/COCO_{year}_{row['image_id']:012d}.jpg"
    return Question(row["question_id"], image, text, row["question_type"], row["answer_type"], majority(row))


def majority(annotation: Mapping[str, Any]) -> str:
    """Return the answer that most annotators gave, in lower case. A tie goes to `multiple_choice_answer`, then by alphabet."""
    counts = Counter(str(answer["answer"]).strip().lower() for answer in annotation["answers"])
    preferred = str(annotation["multiple_choice_answer"]).strip().lower()
    return min(counts, key=lambda answer: (-counts[answer], answer != preferred, answer))


def frequent_answers(questions: Sequence[Question]) -> Frequencies:
    """Return the most frequent answers by (question type, answer type), with their counts.

    These are `FREQUENT` answers, for yes/no questions two. Of answers that differ only in blanks and punctuation the most
    frequent one stays, because some tokenizers read them alike.
    """
    counts: dict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    for question in questions:
        counts[question.type, question.answer_type][question.answer] += 1
    frequencies = {}
    for kind, each in counts.items():
        kept: dict[str, str] = {}
        for answer in sorted(each, key=lambda answer: (-each[answer], answer)):
            if letters := re.sub(r"[\W_]", "", answer):
                kept.setdefault(letters, answer)
        size = 2 if kind[1] == "yes/no" else FREQUENT
        frequencies[kind] = {answer: each[answer] for answer in list(kept.values())[:size]}
    return frequencies


def held_out(question_type: str) -> bool:
    """Return whether a question type is held out of training: about one in eight, by a checksum of its name."""
    return zlib.crc32(question_type.encode()) % 8 == 0


def choose(questions: Sequence[Question], name: str, frequencies: Frequencies) -> list[Question]:
    """Return the questions of a set in `SIZES`, in the order of their numbers.

    "train" and "val" share no image. "new-types" has only held-out question types, the other sets only others.

    Args:
        questions: those of the part that the set is from.
        name: "train", "val", "test" or "new-types".
        frequencies: result of `frequent_answers` for the training part.
    """
    allowed = [
        question
        for question in questions
        if held_out(question.type) == (name == "new-types")
        and (name not in ("train", "val") or (zlib.crc32(question.image.encode()) % 10 == 0) == (name == "val"))
        and question.answer in frequencies.get((question.type, question.answer_type), {})
        and len(frequencies[question.type, question.answer_type]) > 1
    ]
    allowed.sort(key=lambda question: (zlib.crc32(f"{question.id}".encode()), question.id))
    return sorted(allowed[: SIZES[name]], key=lambda question: question.id)


def item(question: Question, frequencies: Frequencies) -> Item:
    """Return a question with its options, in alphabetical order.

    The wrong options are drawn without replacement, each in proportion to its frequency (Efraimidis and Spirakis 2006: the
    largest u^(1 / frequency)). u is a function of question, answer and option, so equal questions with the same answer have the
    same options.
    """
    counts = frequencies[question.type, question.answer_type]
    wrong = [answer for answer in counts if answer != question.answer]
    wrong.sort(key=lambda option: _uniform(f"{question.text}\n{question.answer}\n{option}") ** (1 / counts[option]))
    return Item(question.text, tuple(sorted([question.answer, *wrong[1 - OPTIONS :]])), question.answer)


def guess(question: Question, asked: Item, frequencies: Frequencies) -> str:
    """Return the option that is the most frequent answer to questions of the same kind: a guess without the image."""
    counts = frequencies[question.type, question.answer_type]
    return max(asked.options, key=lambda option: (counts[option], option))


def _uniform(key: str) -> float:
    """Return a number in (0, 1) that depends only on the key."""
    return (int.from_bytes(hashlib.sha256(key.encode()).digest()[:7], "big") + 0.5) / 2**56
