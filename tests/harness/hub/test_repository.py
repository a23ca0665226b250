"""Files of hub repositories, against a local server."""

import re

import pytest

from harness.hub.repository import download, list_files, upload
from models.registry import UserError


@pytest.mark.slow
def test_files_come_back_as_they_were_uploaded(hub, tmp_path, capfd):
    (tmp_path / "b.csv").write_text("x\n1\n")
    address = upload("me/records", {"a/run.json": b"{}", "a/b.csv": tmp_path / "b.csv"}, "two files")
    assert hub.commits == [("dataset", "me/records", "two files", ["a/b.csv", "a/run.json"])]
    listing = list_files("me/records")
    assert listing.sizes == {"a/run.json": 2, "a/b.csv": 4} and address.endswith(f"datasets/me/records/commit/{listing.commit}")
    root, paths = download("me/records", listing.commit, list(listing.sizes))
    assert paths["a/b.csv"].read_text() == "x\n1\n" and paths["a/run.json"].resolve().is_relative_to(root.resolve())
    asked = len(hub.asked)
    download("me/records", listing.commit, list(listing.sizes))
    assert len(hub.asked) == asked, "a second download comes from the cache"
    # The repository exists, and a file that has not changed is not uploaded again.
    upload("me/records", {"a/run.json": b"{}", "c": b"new"}, "one more", private=True)
    assert hub.commits[1][3] == ["c"] and hub.answers.private == set()
    assert capfd.readouterr() == ("", "")


@pytest.mark.slow
def test_a_model_repository_and_a_private_one(hub):
    upload("me/model", {"README.md": b"---\nlicense: mit\n---\n"}, "card", kind="model", private=True)
    assert hub.answers.private == {("model", "me/model")} and list_files("me/model", "model").sizes == {"README.md": 21}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("status", "where", "message"),
    [
        (401, "create", "does not let you write to 'me/records': run `hf auth login` with a token that may write to me"),
        (403, "commit", "does not let you write to 'me/records'"),
        (500, "commit", "The hub refused to write"),
        (503, "commit", "The hub is busy and did not write the hub dataset 'me/records' (Server error '503"),
    ],
)
def test_an_upload_that_is_refused(hub, status, where, message):
    hub.faults.refused[where] = status
    with pytest.raises(UserError, match=re.escape(message)):
        upload("me/records", {"a": b"a"}, "a")
    assert hub.commits == []


@pytest.mark.slow
def test_a_repository_that_is_not_there(hub, monkeypatch):
    with pytest.raises(UserError, match="The hub has no dataset 'me/none', or it is private"):
        list_files("me/none")
    hub.put("dataset", "me/records", {"a": b"a"})
    with pytest.raises(UserError, match="does not have that revision"):
        list_files("me/records", revision="v2")
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(
        UserError, match=r"The hub cannot be reached for the hub dataset 'me/records' \(.*\): check the network"
    ):
        list_files("me/records")


@pytest.mark.parametrize("name", ["records", "a/b/c", "../x", "me/..", "me/a b", "https://x/y", ""])
def test_names_that_no_repository_has(name):
    with pytest.raises(UserError, match="is not the name of a hub repository: give OWNER/NAME"):
        list_files(name)


@pytest.mark.slow
@pytest.mark.parametrize("step", ["create", "commit"])
def test_an_upload_whose_connection_ends_can_be_repeated(step, hub):
    hub.faults.every, hub.faults.only, hub.faults.kinds = 1, step, ("cut",)
    with pytest.raises(UserError, match=r"cannot be reached .*Server disconnected.*, and run the same command again"):
        upload("me/records", {"a": b"a", "b.parquet": b"b"}, "a")
    assert hub.commits == []
    hub.faults.every = 0
    upload("me/records", {"a": b"a", "b.parquet": b"b"}, "a")
    address = upload("me/records", {"a": b"a", "b.parquet": b"b"}, "a")
    assert hub.files("dataset", "me/records") == {"a": b"a", "b.parquet": b"b"} and len(hub.commits) == 1
    assert address.endswith(hub.commit_of("dataset", "me/records"))
