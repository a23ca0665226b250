"""Reading packages as they were fetched."""

import pytest

from models.registry import UserError
from tools.study_data import archives

FILES = {"usr/share/set/b.svg": b"second", "usr/share/set/a.svg": b"first", "usr/share/other.txt": b""}


@pytest.mark.parametrize("name", ["set.tgz", "set-1-py3-none-any.whl", "set_1_all.deb"])
def test_wanted_files_are_read_in_sorted_order(archive_of, name):
    contents = archives.files(archive_of(name, FILES), lambda path: path.endswith(".svg"))
    assert list(contents.items()) == [("usr/share/set/a.svg", b"first"), ("usr/share/set/b.svg", b"second")]


@pytest.mark.parametrize("name", ["set.tgz", "set-1-py3-none-any.whl", "set_1_all.deb"])
def test_a_damaged_package_is_one_sentence(tmp_path, name):
    path = tmp_path / name
    path.write_bytes(b"not an archive")
    with pytest.raises(UserError, match=r"Cannot read .*set.*Remove the file and start again"):
        archives.files(path, lambda path: True)


def test_a_debian_package_without_data_is_refused(tmp_path):
    path = tmp_path / "set_1_all.deb"
    path.write_bytes(b"!<arch>\n" + b"debian-binary   " + b" " * 32 + b"4         `\n2.0\n")
    with pytest.raises(UserError, match=r"it has no data\.tar"):
        archives.files(path, lambda path: True)
