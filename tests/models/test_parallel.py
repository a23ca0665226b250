"""One process shares nothing. `tests/harness/run/test_several_processes.py` starts several."""

import torch

from models import parallel


def test_one_process_shares_nothing():
    assert (parallel.size(), parallel.rank()) == (1, 0)
    inputs = torch.arange(6.0).reshape(3, 2)
    assert parallel.split_rows(lambda x: x + 1, inputs).equal(inputs + 1)
    parallel.average_gradients([inputs])
