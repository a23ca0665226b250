"""Class prompts as a model's tokenizer reads them: equal ones are refused, cut ones are reported."""

import copy
import pickle
from dataclasses import replace

import pytest
import torch

from benchmarks.data.domain import Domain
from benchmarks.full.dataset_table import ENTRIES
from benchmarks.scenario import scenario
from models.classifier import PromptClassifier
from models.loading.load import prompt_reader
from models.prompt_reader import PromptReader, check_prompts
from models.registry import UserError
from strategies import Strategy

SHAPES = tuple(f"high resolution studio photograph of one single {kind}" for kind in ("circle", "cross", "star"))


def domain(name, classnames, templates=("a photo of a {}.",), **more):
    return Domain(name, tuple(classnames), tuple(templates), None, None, None, **more)


@pytest.fixture(scope="module")
def tiny():
    """The tiny model's prompt reader: 16 tokens, lower case."""
    return prompt_reader("tiny")


@pytest.fixture(scope="module")
def clip():
    """The prompt reader of OpenAI's models: 77 tokens, lower case."""
    return prompt_reader("ViT-B-16")


def test_classes_that_differ_only_after_the_context_are_refused(tiny, clip):
    with pytest.raises(
        UserError, match=r"'high .* circle' and 'high .* cross' of LONG \(and 1 more\) have the same prompt"
    ) as caught:
        check_prompts(tiny, [domain("LONG", SHAPES)])
    assert "differ only after its 16 tokens" in str(caught.value) and "--classnames" in str(caught.value)
    assert check_prompts(clip, [domain("LONG", SHAPES)]) == []
    cars = [f"Chevrolet Silverado 1500 {cab} Cab 2012" for cab in ("Hybrid Crew", "Extended", "Regular")]
    with pytest.raises(
        UserError, match=r"Hybrid Crew Cab 2012' and 'Chevrolet Silverado 1500 Extended Cab 2012'.* \(and 1 more\)"
    ):
        check_prompts(tiny, [domain("cars", cars)])
    with pytest.raises(UserError, match=r"Use a model that reads more tokens"):
        check_prompts(tiny, [domain("cars", cars, published=True)])


@pytest.mark.parametrize(
    ("names", "reason"),
    [
        (("Dog", "cat", "dog"), "differ only in capital letters"),
        (("dog", "dog"), "have the same name"),
        (("tom & jerry", "tom &amp; jerry"), "differ only in what its tokenizer ignores"),
        (("a  b", "a b"), "differ only in what its tokenizer ignores"),
    ],
)
def test_the_reason_is_named(tiny, names, reason):
    with pytest.raises(
        UserError, match=f"{names[0]!r} and {names[-1]!r} of d have the same prompt for the model 'tiny': they {reason}"
    ):
        check_prompts(tiny, [domain("d", names)])


def test_a_tokenizer_that_drops_accents():
    def plain(strings, context_length=24):
        return torch.tensor([[*text.replace("è", "e").encode("ascii")[:24], *[0] * (24 - len(text))] for text in strings])

    with pytest.raises(
        UserError, match="'crème' and 'creme' of d have the same prompt for the model: they differ only in what"
    ):
        check_prompts(PromptReader(plain), [domain("d", ("crème", "creme"), ("{}",))])


def test_a_cut_prompt_is_said_with_its_class_and_length(tiny):
    names = ("circle", "high resolution studio photograph of one single star")
    [messages] = check_prompts(tiny, [domain("d", names)])
    assert messages.startswith("prompts of 1 of the 2 classes of d are longer than the 16 tokens that the model 'tiny' reads")
    whole = tiny.tokenizer(["a photo of a " + names[1] + "."], context_length=200)[0]
    assert messages.endswith(f"'{names[1]}' in 'a photo of a {{}}.' has {int((whole != 0).sum())}")
    assert tiny.read_text("a photo of a {}.", names[1]) == "a photo of a high resolution studio photograph of one"
    assert tiny.read_text("a photo of a {}.", "circle") == "a photo of a circle."


def test_a_prompt_that_just_fits_is_not_cut(tiny):
    names = [" ".join(["a"] * n) for n in (12, 13, 14, 15)]  # start, words, end
    assert tiny.lengths("{}", names) == {3: 17}
    assert tiny.lengths("{}", names[:2]) == {}


def test_a_tokenizer_without_a_context_argument():
    def letters(strings):
        return torch.tensor([[99, *text.encode()[:6], 100, *[0] * (6 - len(text))] for text in strings])

    reader = PromptReader(letters)
    assert reader.lengths("{}", ["ab", "abcdef", "abcdefg", "abcdefgh"]) == {2: 9, 3: 9}


def test_an_end_of_text_that_pads_too():
    """SigLIP's tokenizer ends a text with the id that it pads with."""

    def siglip(strings, context_length=6):
        stored = [list(text.encode())[: context_length - 1] for text in strings]
        return torch.tensor([[*ids, *[1] * (context_length - len(ids))] for ids in stored])

    assert PromptReader(siglip).lengths("{}", ["abcd", "abcde", "abcdef", "abcdefgh"]) == {2: 7, 3: 9}


def test_other_templates_than_the_first_only_warn(tiny):
    templates = ("a {}.", "one of the many pictures that somebody took on a sunny morning of a nice {}.")
    same, cut = check_prompts(tiny, [domain("d", ("dog", "cat"), templates)])
    assert (
        "'dog' and 'cat' of d have the same prompt for the model 'tiny' in the template" in same and "not in the first" in same
    )
    assert cut.startswith("prompts of 2 of the 2 classes")


def test_published_lists_with_a_name_twice_only_warn(clip):
    """ImageNet's 1,000 names hold "missile" and "sunglasses" twice."""
    entry = ENTRIES["imagenet"]
    imagenet = domain("imagenet", entry.fixed.values(), entry.templates[:1], published=True)
    [messages] = check_prompts(clip, [imagenet])
    assert "'missile' and 'missile' of imagenet (and 1 more) have the same prompt for any model" in messages
    with pytest.raises(UserError, match="have the same name"):
        check_prompts(clip, [replace(imagenet, published=False)])


def test_the_other_papers_lists_have_no_equal_prompts(clip):
    for entry in ENTRIES.values():
        if entry.fixed and entry.name != "imagenet":
            assert check_prompts(clip, [domain(entry.name, entry.fixed.values(), entry.templates[:1], published=True)]) == []


def test_between_tasks_equal_prompts_are_said_and_steps_of_one_dataset_are_one_task(tiny):
    one, two = domain("one", ("Dog", "cat")), domain("two", ("dog", "cow"))
    assert check_prompts(tiny, [one, two]) == []
    [messages] = check_prompts(tiny, [one, two], together="own")
    assert messages.startswith("1 class with the same prompt in two tasks ('Dog' of one and 'dog' of two)")
    other = domain("three", ("cat", "x"), ("the {}.",))
    [messages] = check_prompts(tiny, [one, other], together="own")
    assert messages == "1 class of the same name in two tasks ('cat' of one and of three), which differ only in the templates"
    steps = [replace(each, part_of="pets") for each in (one, two)]
    with pytest.raises(UserError, match="'Dog' and 'dog' of pets have the same prompt"):
        check_prompts(tiny, steps, together="own")


def test_python_users_are_refused_too(tiny, toy_domain):
    import models

    encoder = models.load("tiny")
    data = replace(toy_domain("a", 3), classnames=SHAPES, templates=("a photo of a {}.",))
    with pytest.raises(UserError, match="have the same prompt for the model 'tiny'"):
        PromptClassifier(encoder).register_domain(0, data)
    with pytest.raises(UserError, match="have the same prompt for the model 'tiny'"):
        scenario([data], encoder=encoder)
    strategy = Strategy(encoder=encoder, options=Strategy.Options(iterations=1))
    made = scenario([data], preprocess=encoder.preprocess)
    for use in (lambda: strategy.train(made.train_stream[0], eval_streams=[]), lambda: strategy.eval(made.test_stream)):
        with pytest.raises(UserError, match="have the same prompt for the model 'tiny'"):
            use()


def test_a_class_that_two_tasks_share_is_one_class_whatever_its_capitals(tiny):
    import models

    classifier = PromptClassifier(models.load("tiny")).eval()
    for label, names in enumerate((("Dog", "cat"), ("dog", "cow"), ("dog", "cow", "Cat"))):
        classifier.register_domain(label, domain(f"t{label}", names))
    classifier.compete(0, [1, 2])
    with torch.no_grad():
        assert classifier.head(0).shape[0] == 2 + 1 + 1


def test_prompts_are_tokenised_once_and_rows_stay_out_of_pickles():
    asked = []

    class Counting:
        def __call__(self, strings, context_length=8):
            asked.extend(strings)
            return torch.tensor([[*text.encode()[:8], *[0] * (8 - len(text))] for text in strings])

    reader = PromptReader(Counting())
    two = domain("d", ("a", "b"), ("{}", "x{}"))
    for _ in range(3):
        check_prompts(reader, [two])
    assert [text for text in asked if text] == ["a", "b", "xa", "xb"]
    assert copy.deepcopy(reader) is reader and reader.__getstate__()["_rows"] == {}
    assert pickle.loads(pickle.dumps(prompt_reader("tiny"))).model == "tiny"
