"""The tables of a GPU's record."""

from tools.gpu_rows import COLUMNS, gpu_table, parity_rows, speed_rows

GRAPHS = {"precision": "fp32, graphs", "ok": True, "limit": 1e-4, "equals_off": True}
RECORD = {
    "started": "2026-01-02T03:04:05Z",
    "git_revision": "0123456789abcdef",
    "machine": {"device": "A card", "versions": {"torch": "2.11"}},
    "sections": {
        "speed": {
            "tables": {
                "rows": [
                    {"kind": "step", "precision": "bf16", "compile": "off", "images": 128, "ms": 59.01234, "seconds": 3.0},
                    {"kind": "step", "precision": "fp32", "error": "RuntimeError: gone"},
                    {"kind": "evaluation", "precision": "fp32", "left_out": "after 125 s"},
                ]
            }
        },
        "parity": {
            "tables": {
                "parity": [
                    {"precision": "fp32", "ok": True, "loss_difference": 2e-6, "limit": 1e-4},
                    {"precision": "fp32", "ok": False, "error": "OSError: gone"},
                    GRAPHS | {"loss_difference": 3e-6, "replays": 3},
                    GRAPHS | {"loss_difference": 0.0, "replays": 0},
                    {"precision": "bf16", "ok": True, "loss_difference": 0.03, "limit": 0.05},
                    {"precision": "bf16", "ok": True, "loss_difference": 0.01, "limit": 0.02},
                ]
            }
        },
    },
}  # fmt: skip


def test_what_was_not_measured_is_left_out():
    [row] = speed_rows(RECORD)
    assert row.keys() == set(COLUMNS["gpu_speed"])
    assert (row["ms"], row["revision"], row["date"], row["memory_mb"]) == (59.01, "0123456", "2026-01-02", "")


def test_parity_is_counted():
    alone, graphs, half = parity_rows(RECORD)
    assert (alone["strategies"], alone["within"], alone["largest_difference"], alone["equal"]) == (2, 1, "2.0e-06", "")
    assert (graphs["within"], graphs["replayed"], graphs["equal"]) == (2, 1, 2)
    assert (half["within"], half["largest_difference"], half["limit"]) == (2, "3.0e-02", 0.02)


def test_a_table_has_no_empty_columns():
    rows = [{name: str(value) for name, value in row.items()} for row in speed_rows(RECORD)]
    heading, _, body = gpu_table(rows, ("step",)).splitlines()
    assert heading == "| measured | precision | `--compile` | images | ms |" and "59.01" in body
