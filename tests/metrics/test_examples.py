"""The examples in the docstrings of public functions run and return the values shown."""

import doctest
import importlib

import pytest


@pytest.mark.parametrize("module", ["cka", "comparison", "iimm", "matrix", "silhouette"])
def test_examples_of_docstrings(module):
    result = doctest.testmod(importlib.import_module(f"metrics.{module}"))
    assert result.attempted and not result.failed
