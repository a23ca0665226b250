"""Which parameters train."""

import pytest

from models import tuning
from models.registry import UserError


def names(encoder):
    return {n for n, p in encoder.clip.named_parameters() if p.requires_grad}


def test_full_is_everything_but_the_logit_scale(encoder):
    parameters = tuning.apply(encoder, "full")
    everything = {n for n, _ in encoder.clip.named_parameters()}
    assert names(encoder) == everything - {"logit_scale"}
    assert len(parameters) == len(everything) - 1
    tuning.apply(encoder, "full", logit_scale=True)
    assert names(encoder) == everything


def test_visual_and_text_split_the_full_set(encoder):
    tuning.apply(encoder, "full")
    full = names(encoder)
    tuning.apply(encoder, "visual")
    visual = names(encoder)
    assert not tuning.trains_text(encoder)
    tuning.apply(encoder, "text")
    assert tuning.trains_text(encoder)
    assert visual and names(encoder) and visual | names(encoder) == full and not visual & names(encoder)
    assert all(n.startswith("visual.") for n in visual)


def test_unknown(encoder):
    with pytest.raises(UserError, match="Did you mean visual"):
        tuning.apply(encoder, "visuall")
