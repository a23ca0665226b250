"""Rows and page tables of generalisation.csv from records of known numbers."""

from tools.generalisation_rows import COLUMNS, difficulty_table, gains_table, generalisation_rows


def test_rows_and_tables(styles_run):
    rows = generalisation_rows([styles_run(0), styles_run(1), styles_run(0, "lora", gain=0.0, measured=False)])
    assert all(tuple(row) == COLUMNS for row in rows)
    first = {name: str(value) for name, value in rows[0].items()}
    assert first == {
        "strategy": "finetune", "outcome": "gain", "predictor": "", "value": "21.5", "low": "19.4", "high": "23.6",
        "domains": "4", "seeds": "2",
    }  # fmt: skip
    text = [{name: str(value) for name, value in row.items()} for row in rows]
    headings, body = gains_table(text)
    assert headings[2:] == ["in the style of training", "in another style", "on other tasks"]
    assert body[0] == ["`finetune`", "2", "+21.5 (+19.4 to +23.6)", "+8.5 (+8.5 to +8.5)", "-3.0 (-3.0 to -3.0)"]
    assert body[1][:3] == ["`lora`", "1", "+1.5 (-0.6 to +3.6)"]
    headings, body = difficulty_table(text)
    assert [row[0] for row in body] == ["zero shot error", "error", "gain"]
    assert body[0][1] == "-1.00 (-1.00 to -1.00)" and body[0][2].startswith("+0.40 (")


def test_other_records_have_no_rows(styles_run):
    assert generalisation_rows([styles_run(start="previous")]) == [] and gains_table([])[1] == difficulty_table([])[1] == []
