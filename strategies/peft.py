"""Parameter-efficient fine-tuning: plain fine-tuning that trains fewer tensors (`models.tuning` says which).

Five techniques as IIMM's code has them (Niss et al., 2407.15731; mit-ll/IIMM). Implemented: the trainable sets, the initial
values, cross-entropy without smoothing over the task's class prompts, batches of 128, weight decay 1e-4 on everything that
trains, no warm-up. Not implemented: that code's optimiser (SGD with momentum 0.9 at a constant rate, chosen on validation data
from 1e-2 to 1e-5 for each task), its 30 passes over the data, and keeping the checkpoint that was best on validation data.
Optimiser, schedule, number of updates and learning rate are those of `Strategy`. Its rate was chosen for training all weights;
that code chooses one by validation for each technique and task, and gives no default of its own that would fit AdamW.

Every tuning goes with every method too (`--strategy zscl --tuning lora`); these names are for the technique alone.
"""

from __future__ import annotations

from dataclasses import dataclass

from strategies.engine.strategy import Strategy


class _PEFT(Strategy):
    """What the five have in common: IIMM's training options, as far as they are implemented."""

    @dataclass(frozen=True)
    class Options(Strategy.Options):
        """Training options; the defaults that differ from `Strategy`'s are those of IIMM's code."""

        batch_size: int = 128
        label_smoothing: float = 0.0
        weight_decay: float = 1e-4
        warmup: int = 0


class BitFit(_PEFT):
    """BitFit (Ben Zaken et al. 2022, 2106.10199) on both towers: the biases inside the residual blocks train.

    Not those of the layer norms outside the blocks, nor the logit scale (IIMM's code). Options of the tuning: `towers`,
    `blocks` (the last so many; that code's --train-blocks). Command: `python cli.py bench mtil --strategy bitfit`.
    Expected, mini edition, Order I, seed 0: Transfer 67.6, Average 61.1, Last 62.9.
    """

    default_tuning = "bitfit"


class Attention(_PEFT):
    """Attention tuning: the query, key and value matrices of every block train, in both towers, without biases and outputs.

    This is the attention mode of IIMM's code and, by the same authors, what A-CLIP (2402.09613) trains as far as its abstract
    and that code tell; whether A-CLIP is limited to some blocks or a tower is not known to us. Options of the tuning:
    `towers`, `blocks`. Command: `python cli.py bench mtil --strategy attention`.
    Expected, mini edition, Order I, seeds 0 to 2: Transfer 67.0 to 67.3, Average 61.9 to 62.1, Last 64.3 to 64.9.
    """

    default_tuning = "attention"


class LoRA(_PEFT):
    """LoRA (Hu et al. 2021, 2106.09685) as in IIMM's code: query and value matrices of both towers, rank 4, scale 0.2.

    The code behind the published numbers adds LoRA's change to the stored matrix at every forward pass; here it is added once
    (`models.lora`). Options of the tuning: `rank`, `targets`, `scale`, `towers`. What takes weights and gives weights (WiSE-FT,
    merging) sees the change added to its matrices, and LoRA starts again from none.
    Command: `python cli.py bench mtil --strategy lora`.
    Expected, mini edition, Order I, seeds 0 to 2: Transfer 67.5 to 67.6, Average 61.2 to 61.4, Last 62.2 to 62.4.
    """

    default_tuning = "lora"


class Adapter(_PEFT):
    """CLIP-Adapter (Gao et al. 2021, 2110.04544) as in IIMM's code: an MLP behind each tower, image and text.

    Both towers stay as they are, so a task's prompts pass through the text tower once (`PromptClassifier`); images do at each
    step. CLIP-Adapter itself trains the image adapter alone by default (the tuning's option `towers`; others: `reduction`,
    `ratio`). Every task trains the same two adapters. Command: `python cli.py bench mtil --strategy adapter`.
    Expected, mini edition, Order I, seed 0: Transfer 68.7, Average 61.2, Last 61.9.
    """

    default_tuning = "adapter"


class Probe(_PEFT):
    """A linear head for each trained task on the frozen image tower; other tasks answer by their prompts.

    The head starts as the task's prompt ensemble (the start that WiSE-FT's code gives its heads; 2109.01903) and logits are
    exp(logit scale) times unit image features times the head. IIMM's probe starts at random, on features that are not
    normalised. Nothing that was learned is forgotten: tasks share no weight that trains.
    Command: `python cli.py bench mtil --strategy probe`.
    Expected, mini edition, Order I, seed 0: Transfer 68.7, Average 69.7, Last 75.1.
    """

    default_tuning = "probe"
