"""The real client of the hub against the local one: downloads, uploads, listings, and what it may not see."""

import json
import re

import pytest
from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi
from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    HfHubHTTPError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.utils import get_session

LARGE = bytes(range(256)) * 1000
FILES = {"README.md": b"# x\n", "data/a b.csv": b"x\n1\n", "model.safetensors": LARGE}


@pytest.mark.parametrize("kind", ["model", "dataset"])
def test_files_and_listings(hub, kind):
    commit = hub.put(kind, "me/x", FILES)
    api = HfApi()
    for name, content in FILES.items():
        with open(api.hf_hub_download("me/x", name, repo_type=kind), "rb") as file:
            assert file.read() == content
    info = api.repo_info("me/x", repo_type=kind, files_metadata=True)
    assert info.sha == commit and info.gated is False
    assert {file.rfilename: file.size for file in info.siblings} == {name: len(data) for name, data in FILES.items()}
    [large] = [file for file in info.siblings if file.lfs]
    assert large.rfilename == "model.safetensors" and large.lfs.size == len(LARGE)
    hub.answers.page = 2
    asked = len(hub.asked)
    tree = list(api.list_repo_tree("me/x", recursive=True, expand=True, repo_type=kind))
    assert [entry.path for entry in tree] == ["README.md", "data", "data/a b.csv", "model.safetensors"]
    assert len(hub.asked) - asked == 2, "two pages of two"
    assert [entry.path for entry in api.list_repo_tree("me/x", "data", repo_type=kind)] == ["data/a b.csv"]
    assert [entry.path for entry in api.get_paths_info("me/x", ["data", "README.md", "none"], repo_type=kind)] == [
        "data",
        "README.md",
    ]
    assert api.list_repo_refs("me/x", repo_type=kind).branches[0].target_commit == commit
    assert api.whoami()["name"] == "owner"


def test_what_is_missing_or_closed(hub, monkeypatch):
    commit = hub.put("model", "me/x", FILES)
    api = HfApi()
    with pytest.raises(EntryNotFoundError):
        api.hf_hub_download("me/x", "none")
    with pytest.raises(EntryNotFoundError):
        list(api.list_repo_tree("me/x", "none"))
    for revision in ("v2", "0" * 40):
        with pytest.raises(RevisionNotFoundError):
            api.hf_hub_download("me/x", "README.md", revision=revision)
    with pytest.raises(RepositoryNotFoundError):
        api.model_info("me/none")
    hub.answers.gated.add(("model", "me/x"))
    hub.answers.private.add(("model", "me/y"))
    hub.put("model", "me/y", FILES)
    for token, status in ((False, 401), (hub.GUEST, 403)):
        with pytest.raises(GatedRepoError) as gated:
            api.hf_hub_download("me/x", "README.md", token=token)
        assert gated.value.response.status_code == status
        assert api.model_info("me/x", token=token).gated == "manual", "its name and its list of files are open"
        with pytest.raises(RepositoryNotFoundError):
            api.model_info("me/y", token=token)
        with pytest.raises(HfHubHTTPError) as refused:
            api.upload_file(path_or_fileobj=b"x", path_in_repo="y", repo_id="me/x", token=token)
        assert refused.value.response.status_code == status
    with pytest.raises(HfHubHTTPError, match="Invalid credentials"):
        api.model_info("me/x", token="hf_unknown")
    assert api.model_info("me/x", revision=commit).sha == commit and hub.commits == []


def test_uploads_and_earlier_commits(hub, tmp_path):
    (tmp_path / "model.safetensors").write_bytes(LARGE)
    api = HfApi()
    assert str(api.create_repo("me/x", private=True)) == f"{hub.endpoint}/me/x" and ("model", "me/x") in hub.answers.private
    with pytest.raises(HfHubHTTPError, match="already created"):
        api.create_repo("me/x")
    first = api.upload_folder(repo_id="me/x", folder_path=tmp_path, commit_message="weights").oid
    assert hub.files("model", "me/x") == {"model.safetensors": LARGE}
    changed = [
        CommitOperationAdd("model.safetensors", LARGE[1:]),
        CommitOperationAdd("data/a.csv", b"x\n"),
        CommitOperationAdd("empty.bin", b""),
    ]
    second = api.create_commit("me/x", changed, commit_message="more", parent_commit=first).oid
    assert hub.files("model", "me/x")["model.safetensors"] == LARGE[1:] and second != first
    with pytest.raises(HfHubHTTPError, match="A commit has happened since"):
        api.create_commit("me/x", [CommitOperationAdd("z", b"z")], commit_message="late", parent_commit=first)
    api.create_commit("me/x", [CommitOperationDelete("data/"), CommitOperationDelete("empty.bin")], commit_message="less")
    assert set(hub.files("model", "me/x")) == {"model.safetensors"}
    assert [(commit.summary, len(commit.paths)) for commit in hub.commits] == [("weights", 1), ("more", 3), ("less", 0)]
    # Files of an earlier commit, and a file that did not change.
    for commit, content in ((first, LARGE), (second, LARGE[1:])):
        with open(api.hf_hub_download("me/x", "model.safetensors", revision=commit), "rb") as file:
            assert file.read() == content
    uploads = [path for method, path in hub.asked if method == "PUT"]
    api.upload_file(path_or_fileobj=LARGE[1:], path_in_repo="model.safetensors", repo_id="me/x")
    assert [path for method, path in hub.asked if method == "PUT"] == uploads


@pytest.mark.parametrize("name", ["../up", "a/../../b", ".hub/objects", "me/../../x"])
def test_no_file_outside_the_root_is_served_or_written(hub, name):
    client = get_session()
    hub.put("model", "me/x", {"a": b"a"})
    (hub.answers.repositories.root / "secret").write_text("secret")
    headers = {"Authorization": f"Bearer {hub.TOKEN}"}
    for path in (f"/{name}/resolve/main/secret", f"/me/x/resolve/main/{name}/secret", "/me/x/resolve/main/../../../secret"):
        assert client.get(hub.endpoint + path.replace("..", "%2E%2E"), headers=headers).status_code in (400, 404)
    file = {"path": f"{name}/new", "content": "eA=="}
    line = "\n".join(json.dumps({"key": key, "value": value}) for key, value in (("header", {}), ("file", file)))
    answer = client.post(f"{hub.endpoint}/api/models/me/x/commit/main", content=line, headers=headers)
    outside = sorted(path.name for path in hub.answers.repositories.root.parent.iterdir())
    assert outside == ["huggingface", "repositories"] or outside == ["repositories"]
    assert answer.status_code == (200 if name.startswith(".hub") else 400)


def test_parts_of_files(hub):
    client = get_session()
    hub.put("dataset", "me/x", FILES)
    address = f"{hub.endpoint}/datasets/me/x/resolve/main/model.safetensors"
    for header, status, content in (
        ("bytes=10-19", 206, LARGE[10:20]),
        ("bytes=255990-", 206, LARGE[255990:]),
        ("bytes=-5", 206, LARGE[-5:]),
        ("bytes=0-9999999", 206, LARGE),
        ("lines=1-2", 200, LARGE),
        ("bytes=256000-", 416, b""),
    ):
        answer = client.get(address, headers={"Range": header})
        assert (answer.status_code, answer.content) == (status, content), header
        assert re.fullmatch(r"bytes (\d+-\d+|\*)/256000", answer.headers.get("Content-Range", "bytes */256000"))
