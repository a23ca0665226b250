"""`bench vqa`: rendered scenes with held-out wordings and pairs, and VQA v2's files."""

import json
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from benchmarks.cases import scenes, vqa, vqa_files
from benchmarks.cases.multiple_choice import Item, classes_of
from benchmarks.cases.vqa_files import Question, VQAQuestions, choose, frequent_answers, guess, held_out, item, majority
from benchmarks.data.domain import chance
from benchmarks.mini.domain_table import COLOURS, SHAPES
from benchmarks.plan import Ask
from benchmarks.scenario import assemble
from harness.config.run_config import RunConfig
from harness.display.data_summary import summarise_datasets
from harness.display.screen import Screen
from harness.run.loop import run
from models.loading.load import prompt_reader
from models.prompt_reader import check_prompts
from models.registry import UserError


@pytest.fixture
def small_sets(monkeypatch, tmp_path):
    """Sets of a few scenes, drawn into an empty cache."""
    monkeypatch.setenv("PERENNIAL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(scenes, "SETS", {name: each._replace(per_kind=8) for name, each in scenes.SETS.items()})


def test_classes_of_questions():
    first, second = Item("which?", ("a", "b", "c"), "c"), Item("how many?", ("one", "two"), "one")
    classes = classes_of({"train": [first, second], "test": [first._replace(answer="a")]})
    assert classes.names == ("how many? one", "how many? two", "which? a", "which? b", "which? c")
    assert classes.groups == (0, 0, 1, 1, 1)
    assert classes.labels == {"train": [4, 0], "test": [2]}


def test_the_tiny_model_tells_every_prompt_apart():
    """All wordings about all things fit the context, and no two options of a question are equal."""
    names, groups = [], []
    for kind in scenes.KINDS.values():
        things = [f"{colour} {shape}" for colour in COLOURS for shape in SHAPES]
        things = {"color": SHAPES, "shape": COLOURS, "count": ("",), "position": things}[
            next(name for name, each in scenes.KINDS.items() if each is kind)
        ]
        for wording in (*kind.wordings, *kind.held_out):
            for thing in things:
                groups += [len(set(groups))] * len(kind.options)
                names += [f"{wording.format(thing)} {option}" for option in kind.options]
    assert len(names) == 6 * (36 + 36 + 4 + 144)

    class AllQuestions:
        name, classnames, templates, published = "all", tuple(names), ("{}",), True

    AllQuestions.groups = tuple(groups)
    reader = prompt_reader("tiny")
    assert check_prompts(reader, [AllQuestions]) == []  # neither cut nor equal
    assert len(set(reader.keys(AllQuestions))) == len(names)


def test_answers_are_in_the_scene():
    """The answer follows from the drawn things."""
    drawn = []

    def scene(things, rng):
        drawn.append(things)
        return np.zeros((3, 48, 48), np.uint8)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scenes, "scene", scene)
        rng = np.random.default_rng(0)
        asked = [scenes.ask(kind, 0, rng)[1] for kind in 20 * tuple(scenes.KINDS)]
        pairs = [scenes.ask("color", 0, rng, held_out_pair=True)[1] for _ in range(20)]
    for things, each in zip(drawn, asked, strict=False):
        kind, question = tuple(scenes.KINDS)[each.kind], each.item()
        by_shape, by_colour = {s: c for c, s, _ in things}, {c: s for c, s, _ in things}
        colour, shape, place = things[0]
        assert len(by_shape) == len(by_colour) == len({p for _, _, p in things}) == len(things)
        expected = {
            "color": (f"what color is the {shape}?", by_shape.get(shape)),
            "shape": (f"what shape is the {colour} thing?", by_colour.get(colour)),
            "count": ("how many things?", ("one", "two", "three", "four")[len(things) - 1]),
            "position": (f"where is the {colour} {shape}?", place),
        }
        assert (question.question, question.answer) == expected[kind]
        assert not {(c, s) for c, s, _ in things} & set(scenes.HELD_OUT_PAIRS)
    assert {len(things) for things in drawn[2:80:4]} == {1, 2, 3, 4}
    for each in pairs:
        assert (COLOURS[each.color], SHAPES[each.shape]) in scenes.HELD_OUT_PAIRS


@pytest.mark.slow
def test_mini_edition(small_sets):
    plan = vqa.stream(Ask(heldout=("none",)))
    assert plan.names == ("vqa",) and plan.heldout == plan.targets and len(plan.targets) == 6
    made = assemble(plan)
    domain = made.train_stream[0].domain
    assert [len(getattr(domain, split)) for split in ("train", "val", "test")] == [32, 32, 32]
    targets = {experience.domain.name: experience.domain for experience in made.streams["heldout"]}
    assert list(targets) == list(plan.targets)
    assert all(target.train is None and target.val is None for target in targets.values())
    # Chance by kind: six options for color and shape, four for count and position.
    expected = dict(zip(targets, (125 / 6, 175 / 9, 100 / 6, 100 / 6, 25.0, 25.0), strict=True))
    assert {name: chance(target) for name, target in targets.items()} == pytest.approx(expected)
    assert "random answers are right in 20.8 % of the test images" in domain.notes[0]
    # No held-out wording is trained, and no question of its target is.
    assert not set(domain.classnames) & set(targets["vqa-wordings"].classnames)
    # The test images of the task by kind are all its test images.
    assert sum(len(targets[f"vqa-{kind}"].test) for kind in scenes.KINDS) == len(domain.test)
    images = {split: {image.numpy().tobytes() for image, _ in getattr(domain, split)} for split in ("train", "val", "test")}
    assert not images["train"] & (images["test"] | images["val"]) and len(images["train"]) == 32


def test_scenes_do_not_depend_on_their_number(small_sets, monkeypatch):
    few = scenes.draw("val")
    monkeypatch.setitem(scenes.SETS, "val", scenes.SETS["val"]._replace(per_kind=3))
    fewer = scenes.draw("val")
    assert np.array_equal(few["images"][:12], fewer["images"]) and np.array_equal(few["asked"][:12], fewer["asked"])


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"edition": "own"}, "mini and full"),
        ({"order": "II"}, "no --order"),
        ({"protocol": "agnostic"}, "Leave out --protocol"),
    ],
)
def test_settings_that_vqa_does_not_take(wrong, sentence):
    with pytest.raises(UserError, match=sentence):
        vqa.stream(Ask(**wrong))


# VQA v2's files


def annotation(number, answers, preferred=None, kind="what color is the", answer_type="other", image=1):
    return {
        "question_id": number,
        "image_id": image,
        "question_type": kind,
        "answer_type": answer_type,
        "answers": [{"answer": answer, "answer_confidence": "yes", "answer_id": i + 1} for i, answer in enumerate(answers)],
        "multiple_choice_answer": preferred or answers[0],
    }


def asked(number, answer, kind="what color is the", answer_type="other", text="What color is the cat?", image=1):
    return Question(number, f"train2014/COCO_train2014_{image:012d}.jpg", text, kind, answer_type, answer)


def test_the_majority_answers():
    assert majority(annotation(1, ["Red", "blue", "red "], "blue")) == "red"
    assert majority(annotation(1, ["red", "blue"], "red")) == "red"
    assert majority(annotation(1, ["red", "blue"], "grey")) == "blue"


def test_frequent_answers_are_distinct_and_few(monkeypatch):
    monkeypatch.setattr(vqa_files, "FREQUENT", 3)
    colours = ["red"] * 4 + ["t shirt"] * 3 + ["t-shirt"] * 2 + ["blue"] * 2 + ["?"] * 9 + ["grey"]
    yes_no = ["yes"] * 3 + ["no"] * 2 + ["maybe"]
    questions = [asked(i, answer) for i, answer in enumerate(colours)]
    questions += [asked(i, answer, "is this", "yes/no") for i, answer in enumerate(yes_no)]
    assert frequent_answers(questions) == {
        ("what color is the", "other"): {"red": 4, "t shirt": 3, "blue": 2},
        ("is this", "yes/no"): {"yes": 3, "no": 2},
    }


def test_options_are_drawn_by_frequency():
    counts = {"red": 60, "blue": 30, "green": 9, "grey": 1, "pink": 40}
    frequencies = {("what color is the", "other"): counts}
    drawn = Counter()
    for number in range(400):
        question = asked(number, "pink", text=f"What color is thing {number}?")
        choice = item(question, frequencies)
        assert choice.answer == "pink" and len(set(choice.options)) == 4 and list(choice.options) == sorted(choice.options)
        drawn.update(choice.options)
    assert drawn["pink"] == 400 and drawn["red"] > drawn["blue"] > drawn["green"] > drawn["grey"] > 0
    assert item(asked(7, "red", image=2), frequencies) == item(asked(8, "red", image=3), frequencies)
    two = {("is this", "yes/no"): {"yes": 5, "no": 3}}
    question = asked(1, "no", "is this", "yes/no")
    assert item(question, two).options == ("no", "yes") and guess(question, item(question, two), two) == "yes"


def test_sets_share_no_image_and_no_type():
    types = [f"type {i}" for i in range(40)]
    questions = [asked(n, "ab"[n // 40 % 2], types[n % 40], image=n // 3) for n in range(1200)]
    frequencies = frequent_answers(questions)
    # An answer that is not frequent is left out.
    rare = asked(5000, "c", types[0])
    chosen = {name: choose([*questions, rare], name, frequencies) for name in vqa_files.SIZES}
    images = {name: {question.image for question in each} for name, each in chosen.items()}
    assert images["train"] and images["val"] and not images["train"] & images["val"]
    assert all(held_out(question.type) == (name == "new-types") for name, each in chosen.items() for question in each)
    assert chosen["new-types"] and 2 <= len({question.type for question in chosen["new-types"]}) <= 12
    assert rare not in chosen["test"] and len(chosen["test"]) + len(chosen["new-types"]) == 1200
    assert choose(list(reversed(questions)), "train", frequencies) == chosen["train"]


@pytest.fixture
def files(tmp_path, monkeypatch):
    """VQA v2's layout with a few questions and images of one pixel."""
    monkeypatch.setenv("PERENNIAL_CACHE", str(tmp_path / "cache"))
    vqa_files.read.cache_clear()
    folder = tmp_path / vqa_files.FOLDER
    types = [("is the", "yes/no", ("yes", "no")), ("how many", "number", ("1", "2", "3"))]
    types += [(f"what color is the {i}", "other", ("red", "blue", "green", "grey", "pink")) for i in range(12)]
    for part, year in vqa_files.PARTS.items():
        (folder / year).mkdir(parents=True)
        questions, annotations = [], []
        for number in range(140):
            kind, answer_type, answers = types[number % len(types)]
            answer = answers[number // len(types) % len(answers)]
            questions.append({"image_id": number // 2, "question": f"{kind} thing {number}?", "question_id": number})
            annotations.append(annotation(number, [answer] * 10, answer, kind, answer_type, number // 2))
        for image in range(70):
            Image.new("RGB", (2, 2), (image, 0, 0)).save(folder / year / f"COCO_{year}_{image:012d}.jpg")
        shared = {"info": {}, "license": {}, "data_type": "mscoco", "data_subtype": year}
        first, second = vqa_files.json_files(folder, part)
        first.write_text(json.dumps({**shared, "task_type": "Open-Ended", "questions": questions}))
        second.write_text(json.dumps({**shared, "annotations": annotations}))
    yield tmp_path
    vqa_files.read.cache_clear()


@pytest.mark.slow
def test_full_edition(files):
    plan = vqa.stream(Ask(edition="full", heldout=("none",), data_root=str(files)))
    assert plan.full_size and plan.targets == ("vqa-new-types", "vqa-yes-no", "vqa-number", "vqa-other")
    task = VQAQuestions("vqa", str(files))
    task.check()
    domain = task.build(("train", "val", "test"))
    assert domain.licence.startswith("annotations: CC BY 4.0")
    sizes = {split: len(getattr(domain, split)) for split in ("train", "val", "test")}
    assert sizes["train"] > sizes["val"] > 0 and sizes["test"] == sizes["train"] + sizes["val"]
    for split, year in (("train", "train2014"), ("val", "train2014"), ("test", "val2014")):
        for path, label in zip(getattr(domain, split).paths, getattr(domain, split).targets, strict=True):
            question, _, answer = domain.classnames[label].rpartition(" ")
            number = int(question.split()[-1].rstrip("?"))
            assert path.endswith(f"{year}/COCO_{year}_{number // 2:012d}.jpg")
            answers = {0: ("yes", "no"), 1: ("1", "2", "3")}.get(number % 14, ("red", "blue", "green", "grey", "pink"))
            assert answer == answers[number // 14 % len(answers)]
            options = Counter(domain.groups)[domain.groups[label]]
            assert options == min(4, len(answers))
    assert "without the image, in" in domain.notes[0]
    targets = plan.build(None, ("train", "val", "test")).heldout
    by_name = {target.name: len(target.test) for target in targets}
    assert by_name["vqa-yes-no"] + by_name["vqa-number"] + by_name["vqa-other"] == sizes["test"]
    assert by_name["vqa-new-types"] == 140 - sizes["test"]
    yes_no = next(target for target in targets if target.name == "vqa-yes-no")
    assert chance(yes_no) == 50 and set(name.split()[-1] for name in yes_no.classnames) == {"yes", "no"}
    # A limit leaves only the prompts that are asked.
    made = assemble(plan, limit=10)
    assert len(made.train_stream[0].domain.classnames) <= 4 * 30


def test_missing_and_damaged_files(files):
    task = VQAQuestions("vqa", str(files))
    before = task.version()
    (task.folder / "train2014" / "COCO_train2014_000000000000.jpg").unlink()
    with pytest.raises(UserError, match="images of VQA v2's questions are missing"):
        task.build(("train", "val"))
    path = task.files()[1]
    vqa_files.read.cache_clear()
    path.write_text('{"annotations": [')
    assert task.version() != before
    with pytest.raises(UserError, match=f"Cannot read .*{path.name}"):
        task.build(("train",))
    path.unlink()
    with pytest.raises(UserError, match=f"incomplete in .*{path.name} not found. Unpack there"):
        vqa.stream(Ask(edition="full", heldout=("none",), data_root=str(files))).check()
    assert task != replace(task, new_types=True) and task.version() != replace(task, new_types=True).version()


def test_summary_counts_images_per_question(toy_domain):
    domain = replace(toy_domain("q", 4, train=8), groups=(0, 0, 1, 1))
    [summary] = summarise_datasets([domain])
    assert summary.counts["train"] == [4, 4] and not summary.warnings()
    assert summary.split_text("train") == "8 images, 4 per question"
    assert summary.classes_text() == "2 questions with 4 options: q 0, q 1, q 2, ..."


@pytest.mark.slow
def test_a_run_records_random_answers(small_sets, tmp_path, capsys):
    """`run.json` and the table at the end of a run have the accuracy of random answers for each test set."""
    options = {"iterations": 2, "warmup": 1, "alphas": 3}
    config = RunConfig("vqa", "paint-single", heldout=("none",), options=options, out=str(tmp_path))
    folder = run(config, Screen(quiet=False)).folder
    document = json.loads((folder / "run.json").read_text())
    random = document["random_accuracy"]
    assert list(random) == ["vqa", *document["identity"]["targets"]] and random["vqa-count"] == 25
    assert {row["task"] for row in document["searches"][0]["curve"]} == set(random)
    assert "random answers" in capsys.readouterr().out
