"""Training with recorded passes of the towers. On a CPU the recorder repeats the work."""

import runpy
from pathlib import Path

import pytest
import torch

from benchmarks.scenario import scenario
from models.graphs import REPEATS, TowerGraphs
from strategies.zscl import ZSCL

Repeats = runpy.run_path(str(Path(__file__).parents[2] / "fakes" / "recorders.py"))["Repeats"]


class Fails(Repeats):
    def record(self, work):
        raise RuntimeError("CUDA error: operation not permitted when stream is capturing\nmore")


@pytest.mark.parametrize("way", ["fast", "plain"])
def test_a_task_of_zscl_is_bit_exact(way, toy_encoder, toy_domain, trained, reference):
    """The plain way passes the reference images apart, before the backward pass of the batch, so only the batch is replayed."""
    [*tasks] = scenario([toy_domain("a", 3), toy_domain("b", 5, seed=1)]).train_stream
    options = {"iterations": 6, "batch_size": 8, "reference_batch": 8, "average_every": 2, "lr": 1e-3, "exactness": way}
    results = []
    for recorder in (None, Repeats):
        encoder = toy_encoder()
        encoder.graphs = None if recorder is None else TowerGraphs(recorder)
        results.append(trained(ZSCL, encoder, tasks, reference, **options))
    assert results[0].losses == results[1].losses
    weights = [[*each.encoder.state_dict().values()] for each in results]
    assert all(torch.equal(a, b) for a, b in zip(*weights, strict=True))
    graphs = results[1].encoder.graphs
    assert graphs.replayed["text"] == 2 * (6 - REPEATS) and graphs.replayed["image"] >= 6 - REPEATS
    assert not graphs._recordings


def test_a_failure_is_noted(toy_encoder, toy_domain, trained):
    encoder = toy_encoder()
    encoder.graphs = TowerGraphs(Fails)
    done = trained(
        ZSCL, encoder, scenario([toy_domain("a", 3)]).train_stream, None, iterations=5, image_loss=0.0, text_loss=0.0
    )
    [note] = done.notes
    assert "recording one failed (RuntimeError: CUDA error: operation not permitted when stream is capturing)" in note
