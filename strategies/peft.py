"""Parameter-efficient fine-tuning: plain fine-tuning of fewer tensors (`models.tuning` says which).

Five techniques as in IIMM's code (Niss et al., 2407.15731; mit-ll/IIMM). Implemented are the trainable sets, the initial
values, cross-entropy without smoothing over the task's class prompts, batches of 128, weight decay 1e-4 on all trainable
parameters, and no warm-up. Optimiser, schedule, number of updates and learning rate are by default those of `Strategy`. Its
rate was chosen for training all weights. That code's optimiser is SGD with momentum 0.9 at a constant rate: `--set
optimizer=sgd schedule=constant epochs=30 lr=0.01`. A benchmark run does not choose rates by validation and does not keep the
best pass. `study --protocol paper` does both (`harness.study.protocol`).

Every tuning can be combined with every method (`--strategy zscl --tuning lora`). These names are for the technique without
another method.
"""

from __future__ import annotations

from dataclasses import dataclass

from strategies.engine.strategy import Strategy


class _PEFT(Strategy):
    """Base class of the five techniques: IIMM's training options, as far as they are implemented."""

    @dataclass(frozen=True)
    class Options(Strategy.Options):
        """Training options. The defaults that differ from those of `Strategy` are IIMM's."""

        batch_size: int = 128
        label_smoothing: float = 0.0
        weight_decay: float = 1e-4
        warmup: int = 0


class BitFit(_PEFT):
    """BitFit: only the biases inside the residual blocks train, in both towers.

    The biases of the layer norms outside the blocks and the logit scale do not train. Options of the tuning: `towers`, and
    `blocks`, the number of last blocks to train, or `first_blocks`, the number of first blocks (--train-blocks of IIMM's code).

    Source:
        Ben Zaken et al. 2022, arXiv 2106.10199, as in IIMM's code (2407.15731).

    Differs from the released code:
        Optimiser, schedule and budget are those of `finetune` (`strategies.peft`).

    Defaults:
        From IIMM's code: batches of 128, no label smoothing, weight decay 1e-4, no warm-up.

    Command:
        `python cli.py bench mtil --strategy bitfit`
    """

    default_tuning = "bitfit"


class Attention(_PEFT):
    """Attention tuning: only the query, key and value matrices of every block train, in both towers.

    Biases and output matrices do not train. A-CLIP trains the same tensors as far as its abstract and IIMM's code, by the same
    authors, tell. Whether A-CLIP is limited to some blocks or one tower is not known to us. Options of the tuning: `towers`,
    `blocks` (last blocks), `first_blocks` (first blocks, --train-blocks of IIMM's code).

    Source:
        IIMM's code (2407.15731), and A-CLIP, arXiv 2402.09613.

    Differs from the released code:
        Optimiser, schedule and budget are those of `finetune` (`strategies.peft`).

    Defaults:
        From IIMM's code: batches of 128, no label smoothing, weight decay 1e-4, no warm-up.

    Command:
        `python cli.py bench mtil --strategy attention`
    """

    default_tuning = "attention"


class LoRA(_PEFT):
    """LoRA: low-rank changes of the query and value matrices of both towers, rank 4, scale 0.2.

    Options of the tuning: `rank`, `targets`, `scale`, `towers`. Methods that read and replace weights (WiSE-FT, merging) see
    the change added to its matrices, and LoRA restarts from no change.

    Source:
        Hu et al. 2021, arXiv 2106.09685, as in IIMM's code (2407.15731).

    Differs from the released code:
        The code behind the published numbers adds LoRA's change to the stored matrix in every forward pass. Here it is added
        once (`models.lora`).
        Optimiser, schedule and budget are those of `finetune` (`strategies.peft`).

    Defaults:
        From IIMM's code: batches of 128, no label smoothing, weight decay 1e-4, no warm-up.

    Command:
        `python cli.py bench mtil --strategy lora`
    """

    default_tuning = "lora"


class Adapter(_PEFT):
    """CLIP-Adapter: an MLP behind each tower, image and text.

    Both towers stay as they are, so a task's prompts pass through the text tower once (`PromptClassifier`). Images pass through
    the image tower in each step. Every task trains the same two adapters. Options of the tuning: `towers`, `reduction`,
    `ratio`.

    Source:
        Gao et al. 2021, arXiv 2110.04544, as in IIMM's code (2407.15731).

    Differs from the released code:
        CLIP-Adapter trains only the image adapter by default; IIMM's code and this one train both.
        Optimiser, schedule and budget are those of `finetune` (`strategies.peft`).

    Defaults:
        From IIMM's code: batches of 128, no label smoothing, weight decay 1e-4, no warm-up.

    Command:
        `python cli.py bench mtil --strategy adapter`
    """

    default_tuning = "adapter"


class Probe(_PEFT):
    """Linear probe: one linear head per trained task on the frozen image tower; other tasks answer by their prompts.

    Logits are exp(logit scale) times unit image features times the head. The head starts as the task's prompt ensemble, as
    WiSE-FT's code starts its heads (2109.01903). Nothing is forgotten: tasks share no trainable weight.

    Source:
        IIMM's code (2407.15731).

    Differs from the released code:
        Its probe starts at random, on features that are not normalised.
        Optimiser, schedule and budget are those of `finetune` (`strategies.peft`).

    Defaults:
        From IIMM's code: batches of 128, no label smoothing, weight decay 1e-4, no warm-up.

    Command:
        `python cli.py bench mtil --strategy probe`
    """

    default_tuning = "probe"
