"""The suite `broad`: its table, its names as data, and the files of tasks from study data."""

import subprocess
import sys

import numpy as np
import pytest

from benchmarks import broad, catalog, mini
from benchmarks.broad import draw, files, task_table
from benchmarks.broad.task import Task
from benchmarks.broad.task_table import TASKS
from benchmarks.catalog import check_present, find, find_all
from benchmarks.full.dataset_table import ENTRIES
from models.registry import UserError

WEATHER = Task(("sun", "rain"), ("the {}.",), (6, 2, 4), 2, "CC0", "made by a test")


@pytest.fixture
def weather(monkeypatch, tmp_path):
    """A task from study data in a table of two tasks, and its file."""
    for table in (TASKS, task_table.STUDY_DATA):
        monkeypatch.setitem(table, "weather", WEATHER)
    monkeypatch.setattr(catalog, "BROAD", (*catalog.BROAD, "weather"))
    rng, arrays = np.random.default_rng(0), {}
    for split, n in WEATHER.size_of.items():
        arrays[f"{split}_images"] = rng.integers(0, 256, (n, 3, 48, 48), np.uint8)
        arrays[f"{split}_labels"] = np.arange(n) % 2
    path = tmp_path / "data" / "broad" / "weather.npz"
    path.parent.mkdir(parents=True)
    np.savez_compressed(path, **arrays)
    return path, arrays


def test_the_table_needs_no_heavy_import():
    code = "import sys; from benchmarks import broad; broad.TASKS; print(*{'torch', 'numpy', 'PIL'} & set(sys.modules))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == ""


def test_names_are_new_and_rows_complete():
    assert not set(TASKS) & {*mini.STREAM, *mini.HELDOUT, *ENTRIES, task_table.SUITE}
    for name, task in TASKS.items():
        assert 2 <= len(task.classnames) <= 60 and len(set(task.classnames)) == len(task.classnames), name
        assert 1 <= len(task.templates) <= 4 and all("{}" in template for template in task.templates), name
        train, val, test = task.sizes
        assert 500 <= train <= 10_000 and test >= 250 and val >= 100, name
        assert task.licence and task.source, name
        assert task.needs_study_data == (name in task_table.STUDY_DATA), name


def test_counts_of_classes_add_up():
    assert draw.class_counts(4, 10) == [3, 3, 2, 2]
    # One image each, and of the other 11 the shares 6, 3, 2 of 1 : 1/2 : 1/3.
    assert draw.class_counts(3, 14, skew=1.0) == [7, 4, 3]
    assert sum(draw.class_counts(7, 500, skew=1.3)) == 500 and min(draw.class_counts(7, 7, skew=3)) == 1
    with pytest.raises(ValueError, match="2 images for 3 classes"):
        draw.class_counts(3, 2)


def test_the_suite_is_the_mini_edition_and_the_tasks_that_are_present(weather, tmp_path):
    drawn = [name for name, task in TASKS.items() if not task.needs_study_data]
    here, elsewhere = str(tmp_path / "data"), str(tmp_path / "empty")
    edition, sources = find_all(["broad"], None, elsewhere)
    assert edition == "own" and [s.name for s in sources] == [*mini.STREAM, *mini.HELDOUT, *drawn]
    assert {s.edition for s in sources} == {"mini", "broad"}
    names = [s.name for s in find_all(["broad"], None, here)[1]]
    assert "weather" in names
    [note] = catalog.suite_notes(["broad"], elsewhere)
    assert "weather" in note and f"python -m tools.study_data --out {elsewhere}/broad" in note.replace(" --only weather", "")
    assert catalog.suite_notes(["nature"], elsewhere) == []


def test_a_task_whose_file_is_missing_is_one_sentence(weather, tmp_path):
    source = find("weather", data_root=str(tmp_path / "empty"))
    for call in (lambda: check_present([source]), source.build, source.version):
        with pytest.raises(UserError, match=r"The task weather is missing: .*weather\.npz not found\. `python -m tools"):
            call()


def test_a_task_of_the_suite_is_in_no_edition():
    name = next(iter(TASKS))
    for edition in ("mini", "full"):
        with pytest.raises(UserError, match=f"belongs to the suite broad, not to the {edition} edition"):
            find(name, edition)
    assert find(name).edition == find(name, "own").edition == "broad"


def test_a_task_from_study_data_is_read_from_its_file(weather, tmp_path):
    path, arrays = weather
    source = find("weather", data_root=str(tmp_path / "data"))
    domain = source.build()
    assert domain.classnames == ("sun", "rain") and domain.prompts() == ["the sun.", "the rain."]
    for split in ("train", "val", "test", "ood"):
        data = getattr(domain, split)
        assert np.array_equal(data.images.numpy(), arrays[f"{split}_images"])
        assert data.targets == arrays[f"{split}_labels"].tolist()
    before = source.version()
    arrays["test_images"][0, 0, 0, 0] ^= 1
    np.savez_compressed(path, **arrays)
    assert source.version() != before


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"train_images": np.zeros((5, 3, 48, 48), np.uint8)}, r"train_images is uint8 \[5, 3, 48, 48\], expected"),
        ({"test_images": np.zeros((4, 3, 48, 48), np.float32)}, "test_images is float32"),
        ({"test_labels": np.array([0, 1, 2, 0])}, "test_labels has values outside 0 to 1"),
        ({"val_labels": np.zeros(2, np.int32)}, "val_labels is int32"),
        ({"train_labels": np.zeros(6, np.int64)}, "the class 'rain' has no training image"),
        ({"ood_images": None}, "it holds ood_labels, test_images"),
    ],
)
def test_a_file_that_differs_from_the_row_is_refused(weather, tmp_path, change, problem):
    path, arrays = weather
    np.savez(path, **{key: array for key, array in {**arrays, **change}.items() if array is not None})
    with pytest.raises(UserError, match=f"is not the file of the task weather: {problem}.* makes it again"):
        files.read("weather", WEATHER, str(tmp_path / "data"))


def test_a_damaged_file_is_one_sentence(weather, tmp_path):
    path, _ = weather
    path.write_bytes(path.read_bytes()[:3000])
    with pytest.raises(UserError, match=r"is damaged\. `python -m tools\.study_data"):
        files.read("weather", WEATHER, str(tmp_path / "data"))


def test_a_drawn_task_is_cached(monkeypatch, tmp_path):
    monkeypatch.setenv("PERENNIAL_CACHE", str(tmp_path))
    name = "positions"
    monkeypatch.setitem(TASKS, name, TASKS[name]._replace(sizes=(20, 9, 9)))
    first = broad.build(name)
    [file] = (tmp_path / "broad").iterdir()
    assert file.name == f"{name}-{broad.version(name)}.npz"
    monkeypatch.setattr(draw, "draw", lambda *_: pytest.fail("drawn again"))
    again = broad.build(name)
    assert first.train.targets == again.train.targets and (first.test.images == again.test.images).all()
