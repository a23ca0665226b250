"""The grid of a sweep and its commands."""

import shlex
import sys

import pytest

import cli
from harness.commands.bench import configs, run_parser
from harness.config.options import MOST_SEEDS, seeds_in
from harness.config.resolve import resolve
from harness.sweep import grid as plan
from harness.sweep.option_values import combinations, comma_rule
from models.registry import UserError


@pytest.fixture
def grid(tmp_path):
    def runs(given):
        arguments = cli.parser().parse_args(["sweep", "--out", str(tmp_path), *shlex.split(given)])
        return plan.grid(run_parser(), arguments, configs)

    return runs


def test_the_grid_and_its_order(grid):
    """All runs of a seed come before the next seed."""
    runs = grid("mtil --strategies zero-shot,finetune --seeds 0,2 --orders I,II")
    assert [(run.seed, run.order, run.strategy) for run in runs] == [
        (seed, order, strategy) for seed in (0, 2) for order in ("I", "II") for strategy in ("zero-shot", "finetune")
    ]
    assert len({run.folder for run in runs}) == len({run.log for run in runs}) == 8


def test_every_command_is_the_run_that_was_checked(grid, tmp_path):
    """`bench` parses the command of a run to the folder that the sweep looks at."""
    flags = (
        "--strategies wise-ft,lora --seeds 1 --limit 9 --set lr=0.5 iterations=3 --heldout --no-cache --measures iimm --fresh"
    )
    for run in grid(f"{flags} --orders letters,mnist"):
        words = plan.command_of(run)
        assert words[:3] == [sys.executable, str(plan.ENTRY), "bench"] and plan.ENTRY.is_file()
        (config,) = configs(cli.parser().parse_args(words[2:]))
        assert resolve(config).folder == run.folder
        assert (config.strategy, config.order, config.seed) == (run.strategy, "letters,mnist", 1)
        assert (config.limit, config.heldout, config.cache, config.measures) == (9, (), False, ("iimm",))
        assert dict(config.options) == {"lr": "0.5", "iterations": "3"}
        assert not config.fresh, "a second attempt must not start over"
        assert config.out == str(tmp_path)


def test_every_strategy_of_a_case_study_is_a_run(grid):
    runs = grid("paint --seeds 0,1")
    assert [run.strategy for run in runs[:4]] == ["paint-single", "paint-joint", "paint-sequential", "paint-parallel"]
    assert len(runs) == 8
    for run in runs:
        [config] = configs(cli.parser().parse_args(plan.command_of(run)[2:]))
        assert (config.strategy, config.seed) == (run.strategy, run.seed) and resolve(config).folder == run.folder


def test_command_of_an_attempt(grid):
    (run,) = grid("--strategies zero-shot")
    assert plan.command_of(run, fresh=True, device="cuda:1")[-3:] == ["--fresh", "--device", "cuda:1"]
    assert run.arguments[:3] == ("mtil", "--strategy", "zero-shot") and str(run) == "zero-shot, order I, seed 0"


def test_the_log_is_named_after_its_run(grid, tmp_path):
    (run,) = grid("cil --strategies zero-shot --seeds 3")
    key = run.folder.name.removeprefix("zero-shot-")
    assert run.log == tmp_path / "logs" / f"cil-nature-5-mini-default-zero-shot-seed3-{key}.log"


def test_axes_come_from_flags_of_bench_and_from_the_file(grid, tmp_path):
    (tmp_path / "c.toml").write_text(
        'strategy = "lora"\nseed = [4, 5]\norder = "II"\nbenchmark = "mtil"\n[options]\niterations = 7\n'
    )
    runs = grid(f"--config {tmp_path}/c.toml")
    assert [(run.strategy, run.order, run.seed) for run in runs] == [("lora", "II", 4), ("lora", "II", 5)]
    assert all(run.arguments[-2:] == ("--seed", str(run.seed)) for run in runs)
    runs = grid(f"mtil --config {tmp_path}/c.toml --strategies finetune --seeds 1")
    assert [(run.strategy, run.order, run.seed) for run in runs] == [("finetune", "II", 1)]
    runs = grid("--strategy finetune --seed 3 4 --order letters,mnist")
    assert [(run.strategy, run.order[:7], run.seed) for run in runs] == [("finetune", "custom-", 3), ("finetune", "custom-", 4)]


def test_an_option_of_one_strategy(grid):
    options = "iterations=3 wise-ft.alpha=0.3 finetune.lr=0.5 lwf.alpha=2"
    runs = grid(f"--strategies wise-ft,finetune,lwf --plugin lwf --set {options}")
    configs_of = {run.strategy: configs(cli.parser().parse_args(plan.command_of(run)[2:]))[0] for run in runs}
    assert {name: dict(config.options) for name, config in configs_of.items()} == {
        "wise-ft": {"iterations": "3", "alpha": "0.3", "lwf.alpha": "2"},
        "finetune": {"iterations": "3", "lr": "0.5", "lwf.alpha": "2"},
        "lwf": {"iterations": "3", "lwf.alpha": "2"},
    }
    (other,) = grid("--strategies finetune --set finetune.lr=0.5")
    assert other.folder == grid("--strategies finetune --set lr=0.5")[0].folder


def test_several_values_of_an_option_are_an_axis(grid):
    runs = grid("--strategies zscl,wise-ft --seeds 0,1 --set lr=1e-4,3e-4 zscl.l2=0.1,1 iterations=3")
    assert [(run.seed, run.label) for run in runs] == [
        (seed, f"{strategy} {values}")
        for seed in (0, 1)
        for strategy, more in (("zscl", [" l2=0.1", " l2=1"]), ("wise-ft", [""]))
        for values in (f"lr={lr}{value}" for lr in ("1e-4", "3e-4") for value in more)
    ]
    assert len({run.folder for run in runs}) == len({run.log for run in runs}) == 12
    assert str(runs[1]) == "zscl lr=1e-4 l2=1, order I, seed 0"
    for run in runs:
        (config,) = configs(cli.parser().parse_args(plan.command_of(run)[2:]))
        assert resolve(config).folder == run.folder and config.options["iterations"] == "3"
        assert set(run.varied) <= {f"{name}={value}" for name, value in config.options.items()}


@pytest.mark.parametrize(
    ("words", "options"),
    [
        ("step_at=0.3,0.7 schedule=step", [("step_at", "0.3,0.7")]),
        ("step_at=0.3,0.7 step_at=0.5 schedule=step", [("step_at", "0.3,0.7"), ("step_at", "0.5")]),
        ("reference_sentences=a,b", [("reference_sentences", "a,b")]),
        ("lr_by_task.digits=1e-5,1e-4", [("lr_by_task.digits", "1e-5"), ("lr_by_task.digits", "1e-4")]),
        ("schedule=cosine,constant", [("schedule", "cosine"), ("schedule", "constant")]),
        ("best_pass=true,false", [("best_pass", "true"), ("best_pass", "false")]),
        ("tuning.rank=4,8", [("tuning.rank", "4"), ("tuning.rank", "8")]),
        ("tuning.targets=q,v", [("tuning.targets", "q,v")]),
        ("ewc.ewc_lambda=1,10", [("ewc.ewc_lambda", "1"), ("ewc.ewc_lambda", "10")]),
        ("ewc.decay_factor=none ewc.decay_factor=none", [("ewc.decay_factor", "none")]),
        ("l2=1,1", [("l2", "1")]),
        ("mine.weight=1,2", [("mine.weight", "1,2")]),
    ],
)
def test_commas_belong_to_the_values_of_texts_and_lists(words, options):
    choices = combinations(words.split(), comma_rule("zscl", "lora", ("ewc",)))
    name = options[0][0]
    assert [next(w for w in choice.words if w.startswith(f"{name}=")) for choice in choices] == ["=".join(o) for o in options]
    assert all(len(choice.varied) == (len(options) > 1) for choice in choices)


def test_commas_in_options_of_a_file(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text("class Options:\n    weight: float = 1.0\n    parts: tuple[int, ...] = (1,)\n    l2: 'str' = ''\n")
    rule = comma_rule(f"{path}:Mine", None, ())
    assert [rule(name) for name in ("weight", "parts", "iterations", "step_at", "other")] == [False, True, False, True, True]
    assert comma_rule("nowhere.py", "nowhere.py", ())("tuning.rank"), "unknown types keep their commas"


def test_a_word_for_one_strategy_takes_precedence(grid):
    (run,) = grid("--strategies zscl --set zscl.l2=1 l2=0.1,2")
    assert run.varied == () and run.folder == grid("--strategies zscl --set l2=1")[0].folder


def test_too_many_values(grid):
    values = ",".join(map(str, range(1, 102)))
    with pytest.raises(UserError, match=r"--set gives 10,201 combinations of values; a command takes at most 10,000 runs"):
        grid(f"--strategies zscl --set iterations={values} batch_size={values}")


def test_a_repeated_name_runs_once(grid):
    assert len(grid("--strategies zero-shot zero-shot,finetune --seeds 0-1,1 --orders I I")) == 4


def test_words_of_the_axes():
    assert plan.parse_orders(["I,II", "mnist, letters", "II"]) == ["I", "II", "mnist,letters", "II"]
    assert seeds_in(["0,2", "4-6"]) == [0, 2, 4, 5, 6]
    assert len(seeds_in(["1-9999", "0"])) == MOST_SEEDS
    for wrong in ("x", "1.5", "-1", "2-", "9" * 5000):
        with pytest.raises(UserError, match="0-4"):
            seeds_in([wrong])


@pytest.mark.parametrize("n", [1, 2, 3, 7])
def test_shards_cover_everything_once(n):
    runs = [f"run {i}" for i in range(5)]
    parts = [plan.take_shard(runs, plan.parse_shard(f"{i}/{n}")) for i in range(1, n + 1)]
    assert sorted(run for runs_of in parts for run in runs_of) == runs
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


@pytest.mark.parametrize("wrong", ["0/4", "5/4", "1", "a/b", "1/0", "1/2/3"])
def test_an_invalid_shard(wrong):
    with pytest.raises(UserError, match="1/4"):
        plan.parse_shard(wrong)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("--strategies zero-shot,lroa", "lroa, seed 0: Unknown strategy 'lroa'. Did you mean lora"),
        ("--strategies zscl,lora --set l2=1", "lora, seed 0: Unknown option 'l2'"),
        ("--strategies lora --strategy lora", "set the same values"),
        ("--strategies zscl,lora --set wise-ft.alpha=1", "zscl, seed 0: Unknown option 'wise_ft'"),
        ("--strategies zscl,lora --set lora.l2=1", "lora, seed 0: Unknown option 'l2'"),
        ("--seeds 0 --seed 1", "--seeds and --seed set the same values"),
        ("--strategies ,", "--strategies names nothing"),
        ("--backend slrum", "Did you mean slurm"),
        ("--ray-address x", "--ray-address is only for --backend ray"),
        ("--slurm-local", "--slurm-local is only for --backend slurm"),
        ("--backend ray --devices cuda:0", "--devices is only for --backend local"),
        ("--devices cuda:0 --device cuda:1", "--devices and --device cannot be combined"),
        ("--jobs 0", "--jobs must be at least 1"),
        ("--shard 3/2", "--shard takes i/n"),
        ("--backend slurm --slurm partition", "--slurm takes key=value"),
        ("--status --dry-run", "--status and --dry-run cannot be combined"),
        ("--devices gpu", "Unknown device 'gpu': use auto, cpu, cuda or cuda:N"),
        ("--devices cuda:0,cuda:x", "Unknown device 'cuda:x'"),
        ("--device gpu", "Unknown device 'gpu'"),
        ("--devices ,", "--devices names nothing"),
        ("--backend ray --gpus-per-run nan", "--gpus-per-run must be a finite number, got nan"),
        ("--backend ray --cpus-per-run inf", "--cpus-per-run must be a finite number, got inf"),
        ("--seeds 0-999999999", "--seeds takes at most 10,000 seeds; with 0-999999999 there are 1,000,000,000"),
        ("--seeds 0-9998,5-6", "--seeds takes at most 10,000 seeds; with 5-6 there are 10,001"),
        ("--seeds 3-1", "--seeds 3-1 is in descending order: write 1-3"),
        ("--orders I,III", "mixes named orders (I, II) with the name 'III'; did you mean II?"),
        ("--orders II mnist,I", "--orders mnist,I mixes named orders (I, II) with the name 'mnist'; write an order"),
    ],
)
def test_mistakes_are_reported_before_anything_starts(given, message, capsys, tmp_path):
    assert cli.main(["sweep", "--out", str(tmp_path / "r"), *shlex.split(given)]) == 2
    error = capsys.readouterr().err
    assert message in error and error.startswith("perennial: ") and error.count("\n") == 1
    assert not (tmp_path / "r").exists()


def test_torchrun_starts_no_sweep(monkeypatch, capsys):
    for name, value in (("TORCHELASTIC_RUN_ID", "x"), ("WORLD_SIZE", "2"), ("RANK", "1")):
        monkeypatch.setenv(name, value)
    assert cli.main(["sweep", "--strategies", "zero-shot"]) == 2
    assert capsys.readouterr().err == "perennial: sweep starts its own processes: leave torchrun out.\n"
