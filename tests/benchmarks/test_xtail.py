"""X-TAIL, few-shot MTIL with 16 shots and open-domain CIL: tasks, words, shots and protocols."""

from collections import Counter

import pytest

from benchmarks import mini
from benchmarks.data.dataset import targets_of
from benchmarks.full.dataset_table import ENTRIES
from benchmarks.plan import Ask
from benchmarks.scenario import assemble, plan
from benchmarks.xtail import FEW_SHOT, XTAIL
from harness.config.resolve import filled_in, resolve
from harness.config.run_config import RunConfig
from harness.records.leaderboard import marked
from models.registry import UserError
from reference_data.mtil import ORDER_I


def test_xtail_is_rails():
    assert list(XTAIL) == ["aircraft", "caltech101", "dtd", "eurosat", "flowers", "food101", "mnist", "pets", "cars", "sun397"]
    assert sum(ENTRIES[dataset].classes for dataset, _ in XTAIL.values()) == 1100
    full = plan("xtail", Ask(edition="full"))
    assert (full.protocol, full.shots, full.repeat_shots, full.shots_seed, full.order) == ("agnostic", 16, True, 42, "default")
    assert full.duplicates == "index" and plan("xtail", Ask(duplicates="merge")).duplicates == "merge"
    assert full.heldout == () and full.full_size and full.whole_train and full.settings == {}


def test_the_full_streams_have_the_words_of_their_code(full_data):
    made = plan("xtail", Ask(edition="full", data_root=str(full_data)))
    made.check()
    built = made.build(None, ("train", "test"))
    domains = {domain.name: domain for domain in built.trained}
    assert list(domains) == list(XTAIL) and {domain.templates for domain in built.trained} == {("a photo of a {}.",)}
    assert domains["eurosat"].prompts()[0] == "a photo of a Annual Crop Land satellite location."
    assert domains["mnist"].prompts()[3] == 'a photo of a number: "3 - three".'
    assert "2012 Acura RL Sedan" in domains["cars"].classnames and "face" in domains["caltech101"].classnames
    assert "airplane cabin" in domains["sun397"].classnames
    # The made-up data is smaller than the real one. The sentences name the datasets, and no word of a prompt counts as a class.
    assert any(line.startswith("coop-eurosat has 3 classes here; the paper has 10") for line in built.differences)
    assert not [line for line in built.differences if "that are not in the paper" in line]
    fewer = plan("mtil-fewshot-16", Ask(edition="full", data_root=str(full_data))).build(None, ("test",)).trained
    assert [domain.name for domain in fewer] == list(FEW_SHOT) and all(d.train is None for d in fewer)
    assert fewer[1].templates == ENTRIES["Caltech101"].templates and fewer[2].classnames[1] == "aquarium fish"


@pytest.mark.parametrize("name", ["xtail", "mtil-fewshot-16"])
def test_the_mini_twins_have_sixteen_shots_of_every_class(name):
    made = plan(name, Ask(order=("logos", "shapes")))
    scenario = assemble(made, cache=False)
    for experience in scenario.train_stream:
        domain = experience.domain
        assert set(Counter(targets_of(domain.train)).values()) == {16}
    logos = scenario.train_stream[0].domain
    assert "with repetition in 44 classes" in logos.split_sources["train"]
    assert (logos.templates == ("a picture of {}.",)) == (name == "xtail")
    again = assemble(made, cache=False, seed=5)
    assert again.train_stream[0].domain.train.indices == logos.train.indices, "the shots do not depend on the seed of a run"


def test_shots_are_recorded_and_can_be_others():
    made = plan("xtail", Ask())
    assert made.names == mini.STREAM and made.heldout == mini.HELDOUT
    assert filled_in(RunConfig("xtail"), made)["shots"] == 16 and filled_in(RunConfig("xtail", shots=4), made)["shots"] == 4
    usual, other = (resolve(RunConfig("xtail", "zero-shot", shots=shots)).identity() for shots in (None, 4))
    assert marked(usual)["shots"] is marked(usual)["protocol"] is None and marked(other)["shots"] == 4
    assert resolve(RunConfig("xtail", "zero-shot", shots=16)).key == resolve(RunConfig("xtail", "zero-shot")).key


def test_open_domain_cil_is_mtil_with_all_learned_classes():
    made, mtil = plan("odcl", Ask(edition="full", order="II")), plan("mtil", Ask(edition="full", order="II"))
    assert (made.names, made.order, made.protocol, made.duplicates) == (mtil.names, "II", "class", "merge")
    assert plan("odcl", Ask(edition="full")).names == ORDER_I and plan("odcl", Ask(protocol="task")).protocol == "task"
    marks = [marked(resolve(RunConfig("odcl", "zero-shot", duplicates=rule)).identity()) for rule in (None, "own", "index")]
    assert [mark["duplicates"] for mark in marks] == [None, "own", "index"] and marks[0]["protocol"] is None
    assert "duplicates" not in resolve(RunConfig("mtil", "zero-shot")).identity()
    assert marked(resolve(RunConfig("mtil", "zero-shot")).identity())["duplicates"] is None
    with pytest.raises(UserError, match="odcl has the editions mini and full, not 'own'"):
        plan("odcl", Ask(edition="own"))


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (Ask(order="logo"), "Unknown task 'logo'. Did you mean logos"),
        (Ask(order=","), "--order names no task"),
        (Ask(edition="own"), "xtail has the editions mini and full, not 'own'"),
        (Ask(tasks=("logos",)), "takes no --tasks"),
        (Ask(order="logos,logos"), "names logos twice"),
        (Ask(duplicates="merged"), "Unknown rule 'merged'. Did you mean merge"),
    ],
)
def test_mistakes(ask, message):
    with pytest.raises(UserError, match=message):
        plan("xtail", ask)
