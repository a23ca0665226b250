"""Fixtures of the readers' tests."""

import pytest


@pytest.fixture
def hub_cache(tmp_path, monkeypatch):
    """Give `datasets` a separate cache and disable its progress bars."""
    import datasets

    datasets.disable_progress_bars()
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    yield
    datasets.enable_progress_bars()
