"""Parameter groups by role, against names written out here, and what they do to the weights."""

import pytest
import torch

from models import tuning
from models.classifier import PromptClassifier
from strategies.engine.optimizers import make_optimizer, parameter_groups, role_of
from strategies.engine.strategy import Strategy

QUICK = {"iterations": 2, "batch_size": 8, "warmup": 0, "lr": 1e-2}


def test_roles_by_name(encoder):
    tuning.apply(encoder, "lora", rank=1)
    names = [name for name, p in PromptClassifier(encoder).named_parameters() if p.requires_grad]
    assert names and {role_of(name) for name in names} == {"added"}
    assert role_of("encoder.clip.visual.proj") == "image" and role_of("encoder.clip.ln_final.bias") == "text"
    assert role_of("encoder.clip.logit_scale") == "scale"
    assert {role_of(name) for name in ("heads.0", "encoder.image_adapter.0.weight")} == {"added"}


def test_groups_by_role_and_by_decay(encoder):
    tuning.apply(encoder, "full")
    model = PromptClassifier(encoder)
    [whole] = parameter_groups(model, Strategy.Options())
    assert [id(p) for p in whole["params"]] == [id(p) for p in tuning.trainable(model)] and whole.keys() == {"params"}
    options = Strategy.Options(lr=0.1, lr_by_role={"text": 0.5}, decays="matrices", weight_decay=0.2)
    groups = parameter_groups(model, options)
    names = {id(p): name for name, p in model.named_parameters()}
    seen = {}
    for group in groups:
        roles = {role_of(names[id(p)]) for p in group["params"]}
        matrices = {p.dim() > 1 for p in group["params"]}
        assert len(roles) == len(matrices) == 1
        seen[roles.pop(), matrices.pop()] = group["lr"], group["lr_factor"], group.get("weight_decay", "default")
    assert seen == {
        ("image", True): (0.1, 1.0, "default"),
        ("image", False): (0.1, 1.0, 0.0),
        ("text", True): (0.05, 0.5, "default"),
        ("text", False): (0.05, 0.5, 0.0),
    }
    assert sum(len(group["params"]) for group in groups) == len(whole["params"])
    optimizer = make_optimizer(groups, options)
    assert [group["weight_decay"] for group in optimizer.param_groups].count(0.2) == 2


def test_an_optimiser_without_parameters():
    assert make_optimizer([{"params": []}], Strategy.Options(optimizer="sgd")).param_groups[0]["momentum"] == 0.9


@pytest.mark.slow
def test_a_factor_of_the_rate(toy_encoder, stream):
    """A tower with the factor 0 does not move. Without weight decay a factor 1 changes nothing, bit-exactly."""

    def trained(**changes):
        strategy = Strategy(encoder=toy_encoder(), options=Strategy.Options(**QUICK, **changes))
        strategy.train(stream.train_stream[0], eval_streams=[])
        return strategy

    start, plain = toy_encoder().state_dict(), trained()
    same = trained(lr_by_role={"image": 1.0, "text": 1.0}).encoder.state_dict()
    assert all(torch.equal(tensor, same[name]) for name, tensor in plain.encoder.state_dict().items())
    still = trained(lr_by_role={"text": 0.0}, lr_by_task={"a": 2e-2})
    moved = {name.split(".")[1] for name, t in still.encoder.state_dict().items() if not torch.equal(t, start[name])}
    assert moved == {"visual"}
    groups = {group["lr_factor"]: group["lr"] for group in still.optimizer.param_groups}
    assert groups.keys() == {0.0, 1.0} and still.history[0]["lr"] == 2e-2
