"""The example notebook runs: its code cells, in order, without a kernel."""

import json
from pathlib import Path

import pytest

NOTEBOOK = Path(__file__).parents[2] / "examples" / "notebook.ipynb"
FEW = 'limit=24, measure_n=24, measures=["iimm"], quiet=True, options={"iterations": 1, "batch_size": 8, "warmup": 0}'


@pytest.mark.slow
def test_the_notebook(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    notebook = json.loads(NOTEBOOK.read_text(encoding="utf-8"))
    cells = ["".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert notebook["nbformat"] == 4 and all(not cell.get("outputs") for cell in notebook["cells"])
    assert cells[0].count('heldout=["digits"]') == 1
    cells[0] = cells[0].replace('heldout=["digits"]', f'heldout=["digits"], {FEW}')
    names: dict = {}
    for cell in cells:
        exec(compile(cell, NOTEBOOK.name, "exec"), names)
    assert "<td" in names["result"]._repr_html_()
    lines = capsys.readouterr().out.splitlines()
    assert len([line for line in lines if " -> " in line]) == 3 and lines[-1].startswith("digits ")
