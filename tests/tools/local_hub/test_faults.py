"""Failures on demand, and how the real client goes through them."""

import io

import pytest
from huggingface_hub import HfApi

from tools.local_hub.faults import Faults

LARGE = bytes(range(256)) * 1000


def test_every_nth_request_fails_in_turn():
    assert [Faults(every=2).next("/") for _ in range(3)] == [None, None, None]
    faults = Faults(every=2)
    assert [faults.next("/") for _ in range(8)] == [None, "busy", None, "cut", None, "busy", None, "cut"]
    faults = Faults(every=1, kinds=("cut",), only="data")
    assert faults.next("/api") is None
    assert [faults.next("/data") for _ in range(2)] == ["cut", "cut"]
    assert Faults(refused={"commit": 403}).status("/api/models/me/x/commit/main") == 403 and Faults().status("/") is None


def test_the_speed_of_a_connection(monkeypatch):
    now = [0.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    monkeypatch.setattr("time.sleep", lambda seconds: now.__setitem__(0, now[0] + seconds))
    assert b"".join(Faults(bytes_per_second=1000).pieces(io.BytesIO(LARGE), 2500)) == LARGE[:2500]
    assert now[0] == pytest.approx(2.5)
    assert b"".join(Faults().pieces(io.BytesIO(b"short"), 100)) == b"short" and now[0] == pytest.approx(2.5)


def test_a_download_that_is_cut_off_continues_where_it_stopped(hub, monkeypatch):
    monkeypatch.setattr("huggingface_hub.file_download.time.sleep", lambda _: None)
    hub.put("model", "me/x", {"model.safetensors": LARGE})
    hub.faults.every, hub.faults.kinds, hub.faults.only = 2, ("cut",), "lfs-data"
    with open(HfApi().hf_hub_download("me/x", "model.safetensors"), "rb") as file:
        assert file.read() == LARGE
    assert [method for method, path in hub.asked if "lfs-data" in path] == ["HEAD", "GET", "GET"], "the second GET was cut"


def test_uploads_that_are_cut_off_leave_no_half_commit(hub, monkeypatch):
    hub.put("model", "me/x", {})
    hub.faults.every, hub.faults.kinds = 1, ("cut",)
    with pytest.raises(Exception, match=r"disconnected|closed|reset|broken"):
        HfApi().create_repo("me/y")
    assert hub.files("model", "me/x") == {} and hub.commits == []
