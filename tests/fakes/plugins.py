"""Strategies with Avalanche's plugins, strong enough to be seen in a few steps."""

from strategies.plugins import built_in as plugins

QUICK = {"iterations": 3, "lr": 3e-3, "batch_size": 8, "warmup": 1}


# Strong enough to be seen in a few steps.
STRONG = {
    "ewc": {"ewc_lambda": 50.0},
    "si": {"si_lambda": 50.0},
    "mas": {"lambda_reg": 5.0, "alpha": 0.25},
    "replay": {"mem_size": 10},
    "lwf": {"alpha": 3.0},
}


def make(name, **options):
    return plugins.make(name, plugins.options_of(name)(**{**STRONG[name], **options}))


def named(strategy):
    return {name: p.detach().clone() for name, p in strategy.model.named_parameters() if p.requires_grad}


def build(method, encoder, attached, seed=0, tuning=None, **options):
    given = method.Options(**{**QUICK, **options})
    return method(encoder=encoder, options=given, plugins=attached, seed=seed, tuning_name=tuning)


def train(strategy, experiences):
    for experience in experiences:
        strategy.train(experience, eval_streams=[])
    return strategy
