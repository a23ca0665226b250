"""`PathList` is a list of paths in one block."""

import pickle

import pytest

from benchmarks.data.path_list import PathList

PATHS = ["a/1.jpg", "", "ö/第二.png", "x\udcff.jpg"]


def test_it_is_the_list():
    paths = PathList(PATHS)
    assert len(paths) == 4 and [*paths] == PATHS and paths == PATHS and paths[-1] == PATHS[-1]
    assert paths[1:3] == PATHS[1:3] and paths[::-1] == PATHS[::-1]
    assert paths != [*PATHS[:3], "y"] and paths != PATHS[:3] and PathList([]) == []
    assert pickle.loads(pickle.dumps(paths)) == paths and repr(paths) == f"PathList({PATHS!r})"
    for index in (4, -5):
        with pytest.raises(IndexError):
            paths[index]


def test_reading_it_makes_no_lasting_objects():
    """No string is kept, so nothing in memory changes when a path is read."""
    paths = PathList(PATHS)
    assert paths[2] is not paths[2] and set(vars(paths)) == {"_ends", "_bytes"}
