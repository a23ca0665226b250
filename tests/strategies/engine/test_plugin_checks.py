"""Every plugin class of Avalanche 0.6 has an effect here or is refused by name. Metrics return numbers."""

import importlib
import inspect
import pkgutil
import warnings
from collections import defaultdict
from pathlib import Path

import avalanche.evaluation.metrics as avalanche_metrics
import avalanche.training
import pytest
import torch
from avalanche.benchmarks import benchmark_from_datasets
from avalanche.benchmarks.utils import as_classification_dataset
from avalanche.core import BasePlugin, SupervisedPlugin
from avalanche.evaluation import PluginMetric
from avalanche.evaluation.metrics import ImagesSamplePlugin, LabelsRepartitionPlugin
from avalanche.logging import BaseLogger, InteractiveLogger
from avalanche.training.plugins import (
    AGEMPlugin,
    EarlyStoppingPlugin,
    EvaluationPlugin,
    EWCPlugin,
    FromScratchTrainingPlugin,
    GEMPlugin,
    LRSchedulerPlugin,
    LwFPlugin,
    MASPlugin,
    ReplayPlugin,
    RWalkPlugin,
)

from benchmarks.scenario import scenario
from metrics.plugins import AccuracyMatrix
from models.registry import UserError
from strategies.engine.losses import PromptCrossEntropy
from strategies.engine.plugin_checks import BASES, REFUSED, REFUSED_METRICS, WORKS
from strategies.engine.strategy import Strategy

QUICK = {"iterations": 3, "lr": 3e-3, "batch_size": 8, "warmup": 1}
# Avalanche 0.6 calls functions that it has deprecated.
pytestmark = pytest.mark.filterwarnings("ignore:Call to deprecated function", "ignore:.*weights_only")


def classes():
    """All plugin classes under avalanche.training, by name."""
    found = {}
    for module in pkgutil.walk_packages(avalanche.training.__path__, "avalanche.training."):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            names = vars(importlib.import_module(module.name))
        found.update({n: c for n, c in names.items() if inspect.isclass(c) and issubclass(c, BasePlugin)})
    return {n: c for n, c in found.items() if not issubclass(c, (PluginMetric, BaseLogger))}


CLASSES = classes()
MADE = {
    "AGEMPlugin": lambda: AGEMPlugin(8, 8),
    "EWCPlugin": lambda: EWCPlugin(50.0),
    "EvaluationPlugin": lambda: EvaluationPlugin(avalanche_metrics.accuracy_metrics(stream=True), loggers=[Log()]),
    "FromScratchTrainingPlugin": FromScratchTrainingPlugin,
    "GEMPlugin": lambda: GEMPlugin(8, 0.5),
    "LwFPlugin": lambda: LwFPlugin(3, 2),
    "MASPlugin": lambda: MASPlugin(5.0, verbose=False),
    "RWalkPlugin": lambda: RWalkPlugin(50.0, delta_t=1),
    "ReplayPlugin": lambda: ReplayPlugin(10),
}


class Log(BaseLogger):
    """Keeps every value of every metric."""

    def __init__(self):
        super().__init__()
        self.values = defaultdict(list)

    def log_single_metric(self, name, value, x_plot):
        self.values[name].append(value)


@pytest.fixture(scope="module")
def toy():
    """Three tasks of 3, 5 and 4 classes and a held-out one, new for each caller."""
    from tests.conftest import make_domain

    return lambda: scenario(
        [make_domain(name, k, seed=i, train=14) for i, (name, k) in enumerate((("a", 3), ("b", 5), ("c", 4)))],
        [make_domain("held", 4, seed=9)],
    )


def weights(strategy):
    return {name: p.detach().clone() for name, p in strategy.model.named_parameters()}


def trained(encoder, stream, plugins=(), tasks=(0, 1, 2), late=False, **more):
    """Return a strategy after these tasks, and the weights after each."""
    strategy = Strategy(encoder=encoder, options=Strategy.Options(**QUICK), plugins=[] if late else [*plugins], **more)
    strategy.plugins += plugins if late else []
    after = []
    for task in tasks:
        strategy.train(stream.train_stream[task], eval_streams=[])
        after.append(weights(strategy))
    return strategy, after


def test_the_catalogue_is_whole():
    assert {*WORKS, *REFUSED, *BASES} >= {
        name for name, kind in CLASSES.items() if not kind.__module__.startswith("strategies")
    }
    assert {*MADE} == {*WORKS}


@pytest.mark.parametrize("name", sorted(CLASSES.keys() & REFUSED))
def test_refused_by_name(name, toy_encoder):
    kind = CLASSES[name]
    derived = type("Derived", (kind,), {})
    for each, who in ((kind, name), (derived, f"Derived (an Avalanche {name})")):
        with pytest.raises(UserError) as error:
            Strategy(encoder=toy_encoder(), plugins=[each.__new__(each)])
        assert str(error.value).startswith(f"The plugin {who} does not work here: ")


def test_refused_when_appended(toy_encoder, toy):
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1)
    for plugin in (EarlyStoppingPlugin(1, "val"), LRSchedulerPlugin(torch.optim.lr_scheduler.StepLR(optimizer, 1))):
        with pytest.raises(UserError, match=r"does not work here: it .*; use --set "):
            trained(toy_encoder(), toy(), [plugin], late=True)


@pytest.mark.slow
@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize("name", [name for name in WORKS if name != "EvaluationPlugin"])
def test_has_an_effect(name, late, toy_encoder, toy, same):
    _, plain = trained(toy_encoder(), toy())
    _, found = trained(toy_encoder(), toy(), [MADE[name]()], late=late)
    # LwF has a term for the first task too once it knows earlier ones. All others do not act on the first task.
    assert same(plain[0], found[0]) and not same(plain[2], found[2])


@pytest.mark.slow
def test_from_scratch_is_the_task_trained_alone(toy_encoder, toy, same):
    _, found = trained(toy_encoder(), toy(), [FromScratchTrainingPlugin()])
    _, alone = trained(toy_encoder(), toy(), tasks=(2,))
    assert same(found[2], alone[0])


class After(SupervisedPlugin):
    """The gradient that goes into the update."""

    def __init__(self):
        super().__init__()
        self.gradients = []

    def before_update(self, strategy, **kwargs):
        flat = [torch.zeros_like(p) if p.grad is None else p.grad for p in strategy.model.parameters()]
        self.gradients.append(torch.cat([g.flatten() for g in flat]))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["AGEMPlugin", "GEMPlugin"])
def test_projected_gradients_do_not_oppose_the_memory(name, toy_encoder, toy):
    # GEM's quadratic programme is regularised, so it meets its constraints to a percent.
    plugin, lowest = MADE[name](), []

    class Check(After):
        def before_update(self, strategy, **kwargs):
            super().before_update(strategy)
            reference = plugin.G if name == "GEMPlugin" else plugin.reference_gradients[None]
            if len(plugin.memory_x if name == "GEMPlugin" else plugin.buffers):
                products = reference @ self.gradients[-1]
                lowest.append(float((products / reference.norm(dim=1) / self.gradients[-1].norm()).min()))

    trained(toy_encoder(), toy(), [plugin, Check()])
    assert len(lowest) == 6 and min(lowest) > -1e-2


def test_the_loss_of_padded_logits_by_hand():
    torch.manual_seed(0)
    logits, labels = torch.randn(2, 5), torch.tensor([1, 4])
    padded = logits.clone()
    padded[0, 3:] = torch.finfo(torch.float32).min
    loss = PromptCrossEntropy(label_smoothing=0.2)
    by_hand = (loss(logits[:1, :3], labels[:1]) + loss(logits[1:], labels[1:])) / 2
    assert float(loss(padded, labels)) == pytest.approx(float(by_hand), rel=1e-6)
    assert torch.equal(loss(logits, labels), torch.nn.CrossEntropyLoss(label_smoothing=0.2)(logits, labels))


# The learning rate


class SetsRate(SupervisedPlugin):
    def __init__(self, callback, factor=0.5):
        super().__init__()
        setattr(self, callback, self.scale)
        self.factor = factor

    def scale(self, strategy, **kwargs):
        for group in strategy.optimizer.param_groups:
            group["lr"] *= self.factor


def test_a_rate_set_before_a_task_is_its_peak(toy_encoder, toy, same):
    _, found = trained(toy_encoder(), toy(), [SetsRate("before_training_exp")], tasks=(0,))
    strategy = Strategy(encoder=toy_encoder(), options=Strategy.Options(**{**QUICK, "lr": 1.5e-3}))
    strategy.train(toy().train_stream[0], eval_streams=[])
    assert same(found[0], weights(strategy))


@pytest.mark.parametrize("callback", ["before_training_iteration", "after_training_iteration", "before_update"])
def test_a_rate_set_during_a_task_is_refused(callback, toy_encoder, toy):
    with pytest.raises(UserError, match=r"set the learning rate to .* during a task"):
        trained(toy_encoder(), toy(), [SetsRate(callback)], tasks=(0,))


def test_a_group_keeps_the_rate_that_a_hook_gave_it(toy_encoder, toy):
    rates = []

    class TwoGroups(Strategy):
        def before_experience(self):
            self.extra = torch.nn.Parameter(torch.zeros(()))
            self.optimizer.add_param_group({"params": [self.extra], "lr": 1.0})

        def compute_loss(self, batch):
            rates.append([group["lr"] for group in self.optimizer.param_groups])
            return super().compute_loss(batch) + self.extra

    strategy = TwoGroups(encoder=toy_encoder(), options=Strategy.Options(**QUICK))
    strategy.train(toy().train_stream[0], eval_streams=[])
    assert [b / a for a, b in rates[:2]] == [pytest.approx(1 / 3e-3)] * 2


# Objects that are not plugins, metrics or streams


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"plugins": [EWCPlugin]}, "plugins takes objects: EWCPlugin"),
        ({"plugins": avalanche_metrics.accuracy_metrics(stream=True)}, "StreamAccuracy is a metric: pass it in metrics"),
        ({"plugins": [InteractiveLogger()]}, "InteractiveLogger is a logger"),
        ({"plugins": [object()]}, "object is not a plugin"),
        ({"plugins": [type("Odd", (SupervisedPlugin,), {"before_train_exp": print})()]}, "Did you mean before_train"),
        ({"metrics": [avalanche_metrics.accuracy_metrics]}, "not accuracy_metrics; call it"),
        ({"metrics": [EWCPlugin(1.0)]}, "not EWCPlugin; pass plugins in plugins"),
    ],
)
def test_what_is_no_plugin_or_metric(given, message, toy_encoder):
    with pytest.raises(UserError, match=message):
        Strategy(encoder=toy_encoder(), **given)


def test_a_stream_without_domains(toy_encoder):
    class Blocks(torch.utils.data.Dataset):
        targets = [0, 1, 2, 0]

        def __len__(self):
            return 4

        def __getitem__(self, i):
            return torch.zeros(3, 48, 48), self.targets[i]

    made = [as_classification_dataset(Blocks())]
    benchmark = benchmark_from_datasets(train=made, test=made)
    strategy = Strategy(encoder=toy_encoder(), options=Strategy.Options(**QUICK))
    for call in (
        lambda: strategy.train(benchmark.train_stream[0], eval_streams=[]),
        lambda: strategy.eval(benchmark.test_stream),
    ):
        with pytest.raises(UserError, match="has no domain, so its classes have no names for prompts"):
            call()


@pytest.mark.parametrize(("loss", "message"), [("None", "got NoneType"), ("0.0", "got float"), ("self.mb_output", "of shape")])
def test_a_loss_that_is_none(loss, message, toy_encoder, toy):
    odd = type("Odd", (Strategy,), {"compute_loss": eval(f"lambda self, batch: {loss}")})
    with pytest.raises(UserError, match=f"Odd.compute_loss must return the loss as a tensor of one number, .*{message}"):
        odd(encoder=toy_encoder(), options=Strategy.Options(**QUICK)).train(toy().train_stream[0], eval_streams=[])


def test_a_loss_without_a_gradient(toy_encoder, toy):
    odd = type("Odd", (Strategy,), {"compute_loss": lambda self, batch: self.mb_output.mean().detach()})
    with pytest.raises(UserError, match="returned a loss without a gradient"):
        odd(encoder=toy_encoder(), options=Strategy.Options(**QUICK)).train(toy().train_stream[0], eval_streams=[])


# Metrics

EVERYWHERE = {"epoch": True, "experience": True, "stream": True}
GIVEN = {
    "MAC_metrics": {"epoch": True, "experience": True},
    "accuracy_matrix_metrics": {},
    "amca_metrics": {},
    "confusion_matrix_metrics": {"stream": True, "save_image": False},
    "disk_usage_metrics": {"stream": True, "paths_to_monitor": str(Path(__file__).parents[2] / "fakes")},
    "gpu_usage_metrics": {"gpu_id": 0, "epoch": True},
    "images_samples_metrics": {"on_eval": True},
    "labels_repartition_metrics": {"on_eval": True},
    "mean_scores_metrics": {},
    "topk_acc_metrics": {"top_k": 2, "stream": True},
    **{f"{name}_metrics": {"experience": True, "stream": True} for name in ("bwt", "forgetting", "forward_transfer")},
}
FUNCTIONS = sorted(name for name in dir(avalanche_metrics) if name.endswith("_metrics"))


def made_by(name):
    found = getattr(avalanche_metrics, name)(**GIVEN.get(name, EVERYWHERE))
    return found if isinstance(found, (list, tuple)) else [found]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:Your system has no GPU", "ignore:More than 20 figures")
def test_every_metric_gives_numbers_or_is_refused(toy_encoder, toy):
    metrics, accuracy, log = [], AccuracyMatrix(), Log()
    for name in FUNCTIONS:
        each = made_by(name)
        if {type(metric).__name__ for metric in each} & REFUSED_METRICS.keys():
            with pytest.raises(UserError, match=r"does not work here: .*; (use|save) "):
                Strategy(encoder=toy_encoder(), metrics=each)
        elif name != "accuracy_matrix_metrics":
            metrics += each
    for name in ("CumulativeAccuracyPluginMetric", "CumulativeForgettingPluginMetric", "WeightCheckpoint"):
        with pytest.raises(UserError, match=f"The metric {name} does not work here"):
            Strategy(encoder=toy_encoder(), metrics=[getattr(avalanche_metrics, name)()])
    strategy = Strategy(encoder=toy_encoder(), options=Strategy.Options(**QUICK), metrics=[accuracy, *metrics], loggers=[log])
    stream = toy()
    evaluated = [*stream.test_stream, *stream.streams["heldout"]]
    strategy.eval(evaluated)
    for experience in stream.train_stream:
        strategy.train(experience, eval_streams=[])
        strategy.eval(evaluated)
    for metric in metrics:
        values = [value for name, each in log.values.items() if name.startswith(str(metric)) for value in each]
        assert values or isinstance(metric, ImagesSamplePlugin | LabelsRepartitionPlugin), f"{metric} reported nothing"
        assert all(torch.isfinite(torch.as_tensor(v)).all() for v in values if isinstance(v, (int, float, torch.Tensor)))
    rows = {after: {t: cell.correct / cell.n for (_, t), cell in row.items()} for after, row in accuracy.rows.items()}
    found = {name: values[-1] for name, values in log.values.items()}
    where = "eval_phase/test_stream/Task000/Exp000"
    assert found[f"Top1_Acc_Exp/{where}"] == pytest.approx(rows[3]["a"])
    assert found[f"ExperienceForgetting/{where}"] == pytest.approx(rows[1]["a"] - rows[3]["a"])
    assert found[f"ExperienceBWT/{where}"] == pytest.approx(rows[3]["a"] - rows[1]["a"])
    transfer = log.values["ExperienceForwardTransfer/eval_phase/test_stream/Task001/Exp001"]
    assert transfer == [pytest.approx(rows[1]["b"] - rows[0]["b"])]
    assert any(name.startswith("images/") for name in log.values) and any("Repartition" in name for name in log.values)


def test_forward_transfer_needs_the_initial_model(toy_encoder, toy):
    strategy, _ = trained(toy_encoder(), toy(), tasks=(0,), metrics=made_by("forward_transfer_metrics"))
    with pytest.raises(UserError, match=r"needs the accuracies before training: call strategy.eval"):
        strategy.eval(toy().test_stream)


def test_the_accuracy_matrix_of_avalanche(toy_encoder, toy):
    metric = made_by("accuracy_matrix_metrics")
    strategy = Strategy(encoder=toy_encoder(), options=Strategy.Options(**QUICK), metrics=metric)
    with pytest.raises(UserError, match="has no row for the model before training"):
        strategy.eval(toy().test_stream)
    strategy.train(toy().train_stream[0], eval_streams=[])
    strategy.eval(toy().test_stream)
