"""A changed table of a study is refused."""

import json

import pandas as pd
import pytest

from harness.study.study_tables import cell_row, cell_table
from harness.study.table_check import check_cells
from metrics import study_table
from models.registry import UserError

NAMES = ("red", "blue", "grey")


@pytest.fixture
def study(tmp_path):
    """Return the folder of a study of three domains with one tuning."""
    before = {
        name: {"classes": 2, "n_train": 9, "measured": 9, "measures": {"iimm": {"value": 0.1 * i}},
               "accuracy": {split: [50 + i, 90] for split in ("test", "val")}}
        for i, name in enumerate(NAMES)
    }  # fmt: skip
    rows = []
    for name in NAMES:
        after = {split: {other: [70 if other == name else 40, 90] for other in NAMES} for split in ("test", "val")}
        identity = {**dict.fromkeys(study_table.IDENTITY, "x"), "domain": name, "tuning": "full", "seed": 0, "pretrained": None}
        cell = {"identity": identity, "after": {**after, "ood": {}}, "updates": 1, "trainable_params": 1, "train_seconds": 1.0}
        (tmp_path / f"{name}-full-0").mkdir()
        (tmp_path / f"{name}-full-0" / "cell.json").write_text(json.dumps(cell))
        rows.append(cell_row(cell, before, ["iimm"]))
    (tmp_path / "zero-shot-0").mkdir()
    for name, record in before.items():
        (tmp_path / "zero-shot-0" / f"{name}.json").write_text(json.dumps(record))
    cell_table(rows).to_csv(tmp_path / "table.csv", index=False, float_format="%.6g")
    return tmp_path


def changed(study, **values):
    found = pd.read_csv(study / "table.csv")
    for name, value in values.items():
        found.loc[1, name] = value
    found.to_csv(study / "table.csv", index=False)


def read(study):
    check_cells(rows := study_table.read(study / "table.csv"), study)
    return rows


def test_a_correct_table_passes_with_and_without_its_cells(study):
    assert len(read(study)) == 3
    (study / "zero-shot-0" / "grey.json").unlink()
    assert len(read(study)) == 3


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"gain": 99.0}, r"table\.csv contradicts itself: gain in row 3 is 99, which is not fine_tuned - zero_shot"),
        ({"gain_over_error": 99.0}, r"gain_over_error in row 3 is 99, which is not 100 gain / \(100 - zero_shot\)"),
        ({"gain_val": 9.0}, "gain_val in row 3"),
        (
            {"forgetting": -5.0},
            r"contradicts the records of its cells: forgetting in row 3 is -5\.0, but .*blue-full-0/cell\.json gives 12\.2",
        ),
        ({"iimm": 0.9}, "iimm in row 3 is 0.9"),
        ({"weights": "y"}, "weights in row 3 is y"),
        (
            {"fine_tuned": 99.0, "gain": 99.0 - 5100 / 90, "gain_over_error": 97.6923},
            "gain in",
        ),
    ],
)
def test_a_changed_number_is_named(study, values, said):
    changed(study, **values)
    with pytest.raises(UserError, match=said):
        read(study)
