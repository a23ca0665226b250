"""Sources of domains by name, and the errors for unknown names."""

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmarks import catalog, mini
from benchmarks.catalog import Source, check_present, find, find_all, versions
from benchmarks.full.dataset_table import ENTRIES
from models.registry import UserError


def folder(path, side=8):
    """Two classes of ten images each, which is enough for three splits."""
    for label in ("cat", "dog"):
        (path / label).mkdir(parents=True)
        for i in range(10):
            pixels = np.full((side, side, 3), 10 * i, dtype=np.uint8)
            Image.fromarray(pixels).save(path / label / f"{i}.png")
    return path


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A separate working directory, with a folder next to it as --data-root."""
    monkeypatch.setenv("PERENNIAL_CACHE", str(tmp_path / "cache"))
    (tmp_path / "project").mkdir()
    monkeypatch.chdir(tmp_path / "project")
    return tmp_path


def origin(source):
    return source.name, source.edition


def test_both_tables_know_mnist_and_the_mini_edition_comes_first(here):
    assert "mnist" in mini.STREAM and "mnist" in ENTRIES
    assert origin(find("mnist")) == origin(find("mnist", "mini")) == origin(find("mnist", "own")) == ("mnist", "mini")
    assert origin(find("mnist", "full")) == ("mnist", "full")
    assert origin(find("MNIST")) == origin(find("MNIST", "own")) == ("MNIST", "full")


def test_a_built_in_name_comes_before_a_folder_of_that_name(here):
    folder(Path("DTD"))
    folder(Path("logos"))
    assert origin(find("DTD")) == ("DTD", "full") and origin(find("logos")) == ("logos", "mini")
    assert origin(find("./DTD")) == ("DTD", "own"), "a path says that the folder is meant"


def test_a_path_comes_before_the_data_root_and_that_before_the_hub(here):
    root = here / "root"
    folder(root / "owner" / "pets")
    source = find("owner/pets", data_root=str(root))
    assert origin(source) == ("pets", "own") and set(source.build().classnames) == {"cat", "dog"}
    folder(Path("owner/pets"), side=9)
    assert find("owner/pets", data_root=str(root)).build().test[0][0].size == (9, 9)
    assert origin(find("owner/others", data_root=str(root))) == ("others", "own"), "what is not there is a hub name"


@pytest.mark.parametrize(
    ("path", "name"),
    [("pets", "pets"), ("pets/", "pets"), ("./pets", "pets"), ("../project/pets", "pets"), ("list.csv", "list")],
)
def test_own_data_is_called_by_the_last_component(here, path, name):
    folder(Path("pets"))
    Path("list.csv").write_text("path,label\npets/cat/0.png,cat\n")
    assert origin(find(path)) == (name, "own")


def test_own_data_keeps_its_name_as_a_domain(here):
    domain = find(str(folder(here / "pets.v2"))).build()
    assert domain.name == "pets.v2"


@pytest.mark.parametrize(
    ("name", "edition", "message"),
    [
        ("mnits", None, r"Unknown domain 'mnits'\. Did you mean mnist or shirts or digits\? It is neither a built-in domain"),
        ("qqqqqq", None, r"Unknown domain 'qqqqqq'\. It is neither a built-in domain .* nor an existing folder or file"),
        ("", None, "Unknown domain ''"),
        ("mnits", "mini", "Unknown domain of the mini edition 'mnits'. Did you mean mnist"),
        ("Food102", "full", "Unknown domain of the full edition 'Food102'. Did you mean food101 or Food"),
        ("CIFAR100", "mini", "'CIFAR100' belongs to the full edition, not to the mini edition"),
        ("logos", "full", "'logos' belongs to the mini edition, not to the full edition"),
        ("pets", "mini", "'pets' is your own data, not part of the mini edition"),
        ("pets", "full", "'pets' is your own data, not part of the full edition"),
    ],
)
def test_names_that_mean_nothing_there(here, name, edition, message):
    folder(Path("pets"))
    with pytest.raises(UserError, match=message):
        find(name, edition)


def test_nothing_ends_in_a_list_of_forty_names(here):
    with pytest.raises(UserError) as error:
        find("mnits")
    assert "Known:" not in str(error.value) and len(str(error.value)) < 200


@pytest.mark.parametrize(
    ("names", "edition", "editions"),
    [
        (["mnist", "logos"], "mini", ["mini", "mini"]),
        (["MNIST", "DTD"], "full", ["full", "full"]),
        (["mnist", "cifar10"], "full", ["full", "full"]),
        (["mnist", "DTD", "logos"], "own", ["mini", "full", "mini"]),
        (["mnist", "pets"], "own", ["mini", "own"]),
        (["pets"], "own", ["own"]),
    ],
)
def test_the_edition_follows_from_the_names(here, names, edition, editions):
    folder(Path("pets"))
    edition_of_all, sources = find_all(names, None, "data")
    assert edition_of_all == edition and [s.edition for s in sources] == editions and [s.name for s in sources] == names


def test_an_edition_that_was_asked_for_stays(here):
    assert find_all(["mnist"], "full", "data")[1][0].edition == "full"
    assert find_all(["mnist"], "own", "data") == ("own", [Source("mnist", "mini", "mnist")])
    with pytest.raises(UserError, match="belongs to the mini edition"):
        find_all(["mnist", "logos"], "full", "data")


def test_missing_data_is_named_with_how_to_get_it(here, full_data):
    check_present([find("DTD", data_root=str(full_data)), find("logos")])
    with pytest.raises(UserError, match=r"The dataset DTD is missing: nowhere/dtd/dtd not found.* data fetch DTD"):
        check_present([find(name, data_root="nowhere") for name in ("logos", "DTD")])
    with pytest.raises(UserError, match=r"3 datasets are missing under 'nowhere'.*: DTD, Food, MNIST.*data status"):
        check_present([find(name, data_root="nowhere") for name in ("DTD", "Food", "MNIST")])


def test_a_data_root_of_one_dataset_misses_the_others(here, full_roots):
    full_roots.write(here / "root", ["MNIST"])
    with pytest.raises(UserError, match="The dataset DTD is missing"):
        check_present([find(name, data_root=str(here / "root")) for name in ("MNIST", "DTD")])


def test_versions_say_which_data(here, full_roots, monkeypatch):
    pets = folder(here / "pets")
    full_roots.write(here / "root", ["DTD"])

    def version(*names):
        return versions([find(name, data_root=str(here / "root")) for name in names])

    own, full, drawn = version(str(pets)), version("DTD"), version("logos")
    assert len({own, full, drawn, version(str(pets), "DTD"), version("DTD", str(pets))}) == 5
    assert version("logos", "mnist") == drawn == mini.cache.version_key() and versions([]) is None
    assert version(str(pets)) == own and version("DTD") == full
    (pets / "cat" / "0.png").unlink()
    image = next((here / "root" / "dtd").rglob("*.jpg"))
    image.write_bytes(image.read_bytes() + b"x")
    assert version(str(pets)) != own and version("DTD") != full and version("logos") == drawn
    monkeypatch.setattr("benchmarks.mini.cache.GENERATOR_VERSION", 10**6)
    assert version("logos") != drawn


def test_a_hub_names_version_does_not_change_with_its_first_download(here, monkeypatch):
    before = find("owner/others").version()
    monkeypatch.setattr("benchmarks.own.version.cached_versions", lambda name: ["default/0.0.0/abc"])
    assert find("owner/others").version() == before != find("owner/more").version()


def test_no_name_is_in_both_roles():
    assert len(set(catalog.MINI)) == len(catalog.MINI) and not set(mini.STREAM) & set(mini.HELDOUT)
    assert os.sep not in "".join([*catalog.MINI, *ENTRIES])
