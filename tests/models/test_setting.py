"""Settings: descriptions by name, in subclasses too, and ranges with messages that name the field."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import pytest

from models.setting import Setting, check_range, check_ranges, described, setting, value_types, without_usual


@dataclass(frozen=True)
class Base:
    rate: float = setting(1.0, "the rate", least=0)
    rates: Mapping[str, float] = setting({}, "rates by name", above=0)
    plain: int = 3


@dataclass(frozen=True)
class Child(Base):
    share: float | None = setting(None, "a share", least=0, below=1)
    rate: float = 2.0


def test_a_new_default_keeps_the_description():
    assert list(described(Child)) == ["rate", "rates", "share"] and "plain" not in described(Child)
    assert described(Child)["rate"] == described(Base)["rate"] == Setting("the rate", least=0)
    assert Child().rate == 2.0 and Base().rates == {} and Base().rates is not Base().rates


@pytest.mark.parametrize(
    "options", [Base(), Child(), Base(rate=0), Child(share=0.0), Base(rates={"a": 1e-300}), Child(share=None)]
)
def test_values_in_range(options):
    check_ranges(options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (Base(rate=-1), "^rate must be at least 0, got -1$"),
        (Child(rate=-1e-300), "^rate must be at least 0, got -1e-300$"),
        (Base(rate=math.nan), "^rate must be a finite number, got nan$"),
        (Base(rate=math.inf), "^rate must be a finite number, got inf$"),
        (Child(share=1), "^share must be less than 1, got 1$"),
        (Base(rates={"a": 1, "b": 0}), r"^rates\.b must be greater than 0, got 0$"),
    ],
)
def test_values_out_of_range(options, message):
    with pytest.raises(ValueError, match=message):
        check_ranges(options)


def test_large_limits_are_readable_and_texts_pass():
    with pytest.raises(ValueError, match=r"^--limit must be at most 10,000, got 10001$"):
        check_range("--limit", 10001, Setting("", most=10_000))
    check_range("name", "text", Setting("", least=0))
    check_range("flag", True, Setting("", least=2))


def test_types_of_hints():
    assert value_types(str | tuple[str, ...] | None) == [str, tuple] and value_types(int) == [int]
    assert value_types(Mapping[str, float]) == [Mapping]


def test_the_usual_value_of_an_option_stays_out():
    @dataclass(frozen=True)
    class Options:
        old: int = setting(1, "an old option")
        new: str = setting("a", "a new option", usual="a")
        plain: int = 0

    assert without_usual(Options()) == {"old": 1, "plain": 0}
    assert without_usual(Options(new="b")) == {"old": 1, "new": "b", "plain": 0}
