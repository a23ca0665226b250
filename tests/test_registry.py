"""Names and their errors."""

import pytest

from models.registry import Registry, UserError, lazy, unknown


def test_lookup_is_lazy_and_registering_adds():
    registry = Registry("thing", {"join": "posixpath:join", "broken": "no_such_module:x"})
    import posixpath

    assert registry.get("join") is posixpath.join
    registry.register("mine")(len)
    assert registry.get("mine") is len and registry.names() == ["join", "broken", "mine"]
    with pytest.raises(UserError, match="'mine' is already taken"):
        registry.register("mine")(max)
    with pytest.raises(UserError, match="'join' is already taken"):
        registry.register("join")(max)


def test_unknown_names_say_what_was_meant():
    assert str(unknown("strategy", "zsl", ["zscl", "finetune"])) == (
        "Unknown strategy 'zsl'. Did you mean zscl? Known: finetune, zscl."
    )
    assert "Did you mean" not in str(unknown("strategy", "qqq", ["zscl"]))
    with pytest.raises(UserError, match="Known: none"):
        Registry("thing", {}).get("x")


def test_names_of_other_modules_are_looked_up_when_asked_for():
    attribute = lazy("package", {"join": "posixpath", "broken": "no_such_module"})
    import posixpath

    assert attribute("join") is posixpath.join
    with pytest.raises(ModuleNotFoundError):
        attribute("broken")
    with pytest.raises(AttributeError, match=r"^module 'package' has no attribute 'other'$"):
        attribute("other")
