"""Names and their errors."""

import pytest

from models.registry import Registry, UserError, check_text, escaped, lazy, unknown


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


@pytest.mark.parametrize(
    "name",
    [
        "",
        "Étoile",
        "红色圆形",
        "[bold]x[/bold]",
        "a,b; c",
        "👩\u200d🚀",
        "\u0645\u06cc\u200c\u062e",
        "a\xa0b",
        "new \U0001fae8",
    ],
)
def test_names_in_every_script_are_valid(name):
    assert check_text(name, "class") == name
    assert escaped(name) == f"'{name}'"


@pytest.mark.parametrize(
    ("name", "problem", "shown"),
    [
        ("a\nb", "a line break", r"'a\nb'"),
        ("Icon\r", "a line break", r"'Icon\r'"),
        ("a\u2028b", "a line break", r"'a\u2028b'"),
        ("a\x85b", "a line break", r"'a\x85b'"),
        ("a\tb", "a tab", r"'a\tb'"),
        ("\x1b[31mred", "a control character", r"'\x1b[31mred'"),
        ("a\0", "a control character", r"'a\x00'"),
        ("a\x7f", "a control character", r"'a\x7f'"),
        ("a\x9bm", "a control character", r"'a\x9bm'"),
        ("caf\udce9", "a byte that is not UTF-8", r"'caf\xe9'"),
        ("a\ud83d", "half of a character", r"'a\ud83d'"),
        ("a\u202egnp.exe", "a character that changes the direction of text", r"'a\u202egnp.exe'"),
        ("a\u2066b", "a character that changes the direction of text", r"'a\u2066b'"),
        ("a\u200b", "an invisible character", r"'a\u200b'"),
    ],
)
def test_names_that_records_cannot_hold(name, problem, shown):
    with pytest.raises(UserError) as error:
        check_text(name, "class folder")
    assert str(error.value).startswith(f"The class folder {shown} contains {problem} (")
    assert str(error.value).isprintable()
