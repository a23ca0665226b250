"""The cores that keep a GPU busy."""

import pytest

from tools.input_table import TOWERS, feeding_rows, forward_gflop


def test_operations_are_those_of_the_cost_table():
    """35.1 GFLOP for ViT-B/16 in full_run_cost.csv, and open_clip's 4.41 and 81.1 billion multiply-adds, within a hundredth."""
    expected = {"ViT-B/32": 2 * 4.41, "ViT-B/16": 35.1, "ViT-L/14": 2 * 81.1}
    assert {name: forward_gflop(tower) for name, tower in TOWERS.items()} == pytest.approx(expected, rel=0.01)


def test_cores_by_hand():
    items = {"measurement": "input_items", "quantity": "ImageNet"}
    speed = [items | {"case": "ours, pillow", "value": "5"}, items | {"case": "ours, torch", "value": "2.5"}]
    gpu = [
        {"kind": "step", "precision": "bf16", "compile": "graphs", "ms": "100"},
        {"kind": "step", "precision": "bf16", "compile": "off", "ms": "900"},
        {"kind": "step", "precision": "fp32", "compile": "graphs", "ms": "900"},
        {"kind": "floor", "precision": "bf16", "compile": "off", "ms": "80"},
        {"kind": "floor", "precision": "bf16", "compile": "whole graph", "ms": "64"},
        {"kind": "floor", "precision": "fp32", "compile": "off", "ms": "10"},
    ]
    headings, body = feeding_rows(speed, gpu)
    assert headings[-3:] == ["task images / s", "cores, pillow", "cores, torch"]
    assert len(body) == 6
    # 640 images per second at 5 ms are 3.2 cores, at 2.5 ms 1.6; 2,000 per second are 10 and 5.
    assert body[2:4] == [
        ["ViT-B/16", "`zscl`", "bf16", "100", "measured", "640", "4", "2"],
        ["ViT-B/16", "`finetune`", "bf16", "32", "computed", "2,000", "10", "5"],
    ]
