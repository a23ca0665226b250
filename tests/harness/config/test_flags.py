"""Flags, files and checks are made from the declarations of settings."""

import argparse
import dataclasses

import pytest

import cli
from harness.commands.bench import configs
from harness.config.config_file import read_file
from harness.config.flags import GROUPS, add_flags, read_flags
from harness.config.run_config import RunConfig
from harness.config.settings import check_values, declared, flag_of, in_identity
from harness.study.measure_config import MeasureConfig
from harness.study.predict_config import PredictConfig
from harness.study.study_config import StudyConfig
from models.registry import UserError
from models.setting import setting

CONFIGURATIONS = (RunConfig, MeasureConfig, PredictConfig, StudyConfig)


@dataclasses.dataclass(frozen=True)
class Toy:
    dummy: int | None = setting(None, "a dummy", group="data", metavar="N", least=3)
    names: tuple[str, ...] | None = setting(None, "names", items="names")
    kind: str = setting("a", "a kind", choices=lambda: ("alpha", "beta"), noun="sort")
    limit: int | None = None


def parsed(kind, *words):
    parser = argparse.ArgumentParser()
    add_flags(parser, kind)
    return parser, parser.parse_args(words)


def test_one_field_is_a_flag_its_help_and_its_checks(capsys):
    parser, arguments = parsed(Toy, "--dummy", "4", "--names", "x,y", "z", "--limit", "2")
    assert read_flags(arguments, Toy) == {"dummy": 4, "names": ("x", "y", "z"), "limit": 2}
    assert "--dummy N" in parser.format_help() and "a dummy" in parser.format_help()
    assert "use at most N images per split" in parser.format_help(), "a field without a description has that of RunConfig"
    for config, message in (
        (Toy(dummy=2), "^--dummy must be at least 3, got 2"),
        (Toy(kind="alph"), "Unknown sort 'alph'. Did you mean alpha"),
        (Toy(names=("a\nb",)), "value of --names .* contains a line break"),
        (Toy(limit=1), "^--limit must be at least 2, got 1"),
    ):
        with pytest.raises(UserError, match=message):
            check_values(dataclasses.replace(Toy(kind="alpha"), **{k: v for k, v in vars(config).items() if v != "a"}))


@pytest.mark.parametrize("kind", CONFIGURATIONS, ids=lambda kind: kind.__name__)
def test_every_setting_has_a_flag_with_help(kind):
    parser, _ = parsed(kind, *{MeasureConfig: ["x"], PredictConfig: ["x"]}.get(kind, []))
    flags = {flag for action in parser._actions for flag in action.option_strings or [action.dest]}
    for name, declaration in declared(kind).items():
        assert flag_of(name, declaration) in flags and declaration.help and declaration.group in GROUPS


def test_help_is_grouped_in_order():
    titles = [group.title for group in cli.parser()._subparsers._group_actions[0].choices["bench"].filled()._action_groups]
    assert titles[2:] == list(GROUPS)


def test_sweep_takes_the_flags_of_bench_without_listing_them(capsys):
    with pytest.raises(SystemExit):
        cli.main(["sweep", "--help"])
    out = capsys.readouterr().out
    assert "bench --help" in out and "--strategies" in out and "--shots" not in out and "--model" not in out
    arguments = cli.parser().parse_args(["sweep", "cil", "--shots", "4", "--model", "tiny", "--no-cache", "--set", "lr=1"])
    assert (arguments.shots, arguments.model, arguments.cache, arguments.options) == (4, "tiny", False, ["lr=1"])


def test_the_usual_value_stays_out_of_the_identity():
    values = dataclasses.asdict(RunConfig())
    assert "precision" not in in_identity(values) and in_identity({**values, "precision": "bf16"})["precision"] == "bf16"
    assert in_identity(values)["seed"] == 0 and "device" not in in_identity(values) and "microbatch" not in in_identity(values)


def test_lists_in_a_file_and_in_flags_are_read_alike(tmp_path):
    path = tmp_path / "run.toml"
    path.write_text('benchmark = "mtil"\nheldout = "none"\nmeasures = "iimm, gbc"\nseed = "0-2"\n')
    assert read_file(str(path)) == {"benchmark": "mtil", "heldout": ("none",), "measures": ("iimm", "gbc"), "seed": [0, 1, 2]}
    words = ["--heldout", "none", "--measures", "iimm,", "gbc", "--seed", "0-2"]
    in_flags, in_file = (
        configs(cli.parser().parse_args(["bench", *arguments])) for arguments in (["mtil", *words], ["--config", str(path)])
    )
    assert in_flags == in_file and len(in_flags) == 3
