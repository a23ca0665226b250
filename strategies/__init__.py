"""Continual-learning methods, one per file. Names resolve lazily, so that listing them does not import torch or Avalanche."""

from __future__ import annotations

from typing import TYPE_CHECKING

from models.registry import Registry, lazy

if TYPE_CHECKING:
    from strategies.engine.order import Order as Order
    from strategies.engine.strategy import Batch as Batch
    from strategies.engine.strategy import Strategy as Strategy

# Name: ("module:class", one line about it).
_TABLE = {
    "zero-shot": ("strategies.zero_shot:ZeroShot", "no training; the reference row"),
    "finetune": ("strategies.engine.strategy:Strategy", "continual fine-tuning with the papers' protocol"),
    "joint": ("strategies.joint:Joint", "all tasks so far trained together from the initial weights; not a continual method"),
    "l2": ("strategies.l2:L2", "fine-tuning with an L2 penalty to the start of the task"),
    "lwf": ("strategies.lwf:LwF", "distillation of the previous model on current images and class names (1606.09282)"),
    "lwf-vr": ("strategies.lwf:LwFVR", "LwF with random sentences (ZSCL's baseline)"),
    "icarl": ("strategies.icarl:ICaRL", "a herding memory under a budget, distillation on it (1611.07725)"),
    "wise-ft": ("strategies.wise_ft:WiSEFT", "fine-tuning, then interpolation with the weights before the task (2109.01903)"),
    "iimm-guided": (
        "strategies.iimm_guided:IIMMGuided",
        "our own: WiSE-FT with an alpha per task, set from a measure; the included study has 40 updates per task",
    ),
    "zscl": (
        "strategies.zscl:ZSCL",
        "distillation of the initial model on reference data, weight average, L2 (2303.06628)",
    ),
    "zscl-star": ("strategies.zscl:ZSCLStar", "ZSCL without L2 (ZSCL* in its tables)"),
    "gift": (
        "strategies.gift:GIFT",
        "distillation of the model before the task on pairs of images and sentences, weighted L2 (2503.04229)",
    ),
    "paint-single": ("strategies.paint:PaintSingle", "patching: each task separately, from the initial weights (2208.05592)"),
    "paint-sequential": (
        "strategies.paint:PaintSequential",
        "patching: after each task, interpolation with an alpha searched on validation images (2208.05592)",
    ),
    "paint-joint": (
        "strategies.paint:PaintJoint",
        "patching: all tasks trained together, then one interpolation; not a continual method",
    ),
    "paint-parallel": ("strategies.paint:PaintParallel", "patching: each task from the initial weights, the changes added up"),
    "task-arithmetic": ("strategies.merging:TaskArithmetic", "the sum of the task vectors, scaled by one number (2212.04089)"),
    "ties": ("strategies.merging:Ties", "task vectors trimmed, signs elected, then averaged (2306.01708)"),
    "dare": ("strategies.merging:Dare", "values of task vectors dropped at random, the others rescaled (2311.03099)"),
    "model-stock": (
        "strategies.merging:ModelStock",
        "interpolation by the angle between task vectors (2403.19522)",
    ),
    "magmax": ("strategies.merging:MagMax", "sequential fine-tuning, then the largest change of each weight (2407.06322)"),
    "lines": ("strategies.merging:Lines", "task vectors scaled by depth (2410.17146)"),
    "opcm": ("strategies.merging:OPCM", "task vectors added outside the subspace of the earlier ones (2501.09522)"),
    "bitfit": ("strategies.peft:BitFit", "only biases train (IIMM, 2407.15731)"),
    "attention": ("strategies.peft:Attention", "only attention weights train (A-CLIP, 2402.09613)"),
    "lora": ("strategies.peft:LoRA", "low-rank changes of query and value matrices (IIMM)"),
    "adapter": ("strategies.peft:Adapter", "CLIP-Adapter: a bottleneck behind each tower (IIMM)"),
    "keep-lora": (
        "strategies.keep_lora:KeepLoRA",
        "low-rank updates outside what pre-training and earlier tasks use, merged after each task (KeepLoRA)",
    ),
    "moram": (
        "strategies.moram:MoRAM",
        "rank-one parts of all tasks' low-rank updates, chosen by the input itself (MoRAM)",
    ),
    "probe": ("strategies.peft:Probe", "one linear head per task on frozen features"),
    "simple-cil": ("strategies.simple_cil:SimpleCIL", "the nearest class mean of frozen features; no updates (2303.07338)"),
    "ranpac": ("strategies.ranpac:RanPAC", "ridge regression on random features of a frozen encoder; no updates (2307.02251)"),
    "rail": ("strategies.rail:RAIL", "ridge regression of all learned classes mixed with zero-shot; no updates (2406.18868)"),
    "rapf": ("strategies.rapf:RAPF", "a linear map of image features, trained with samples of earlier classes (2407.14143)"),
    "coop": ("strategies.coop:CoOp", "one learned context of the class prompts (2109.01134)"),
    "s-prompts": (
        "strategies.s_prompts:SPrompts",
        "image tokens and a context per task, chosen by the nearest centre (2207.12819)",
    ),
    "moe-adapters": (
        "strategies.moe_adapters:MoEAdapters",
        "shared experts with a router per task; the most used experts are frozen (2403.11549)",
    ),
    "diki": ("strategies.diki:DIKI", "key/value prefixes per task, chosen by a Gaussian of image features (ECCV 2024)"),
}
TARGETS = {name: target for name, (target, _) in _TABLE.items()}
STRATEGIES = Registry("strategy", TARGETS, entry_points="perennial.strategies")
ABOUT = {name: about for name, (_, about) in _TABLE.items()}
register = STRATEGIES.register

__getattr__ = lazy(
    __name__,
    {
        "Batch": "strategies.engine.strategy",
        "Order": "strategies.engine.order",
        "Strategy": "strategies.engine.strategy",
    },
)
