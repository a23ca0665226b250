"""Fixtures of the full edition."""

import socket
import urllib.error
import urllib.request

import pytest


@pytest.fixture
def no_names(monkeypatch):
    """No name of a host is found."""

    def fail(*_, **__):
        raise urllib.error.URLError(socket.gaierror(-2, "Name or service not known"))

    monkeypatch.setattr(urllib.request, "urlopen", fail)
