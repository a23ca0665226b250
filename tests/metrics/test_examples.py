"""The examples in the docstrings of public functions run and return the values shown."""

import doctest
import importlib

import pytest


@pytest.mark.parametrize(
    "module", [*("metrics." + name for name in ("cka", "comparison", "iimm", "matrix", "silhouette")), "models.weights"]
)
def test_examples_of_docstrings(module):
    result = doctest.testmod(importlib.import_module(module))
    assert result.attempted and not result.failed
