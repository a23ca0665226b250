"""The dual encoder: load it, encode with it, classify by prompts, choose what trains, do arithmetic on its weights."""

from __future__ import annotations

from typing import TYPE_CHECKING

from models.deferred import defer
from models.registry import lazy

if TYPE_CHECKING:
    from models.encoder import DualEncoder as DualEncoder
    from models.loading.load import load as load

# Here, because every other package of the project imports this one before it imports Avalanche.
defer()

__getattr__ = lazy(__name__, {"DualEncoder": "models.encoder", "load": "models.loading.load"})

# Any open_clip name works; these are the ones the papers use, for `list models`.
KNOWN = {
    "tiny": "ships with the project: 48 x 48 pixels, 1.9 M parameters, the mini edition's default",
    "ViT-B-16": "pretrained: openai (ZSCL, the full edition's default)",
    "ViT-B-32": "pretrained: openai (IIMM, PAINT)",
    "ViT-L-14": "pretrained: openai (PAINT)",
    "ViT-B-16-SigLIP": "pretrained: webli (IIMM)",
    "coca_ViT-B-32": "pretrained: laion2b_s13b_b90k (IIMM)",
    "EVA02-B-16": "pretrained: merged2b_s8b_b131k (IIMM)",
}

TUNINGS = {
    "full": "both towers (ZSCL: every parameter except the logit scale)",
    "visual": "the image tower only",
    "text": "the text tower only",
    "bitfit": "the biases inside the residual blocks (BitFit, as in IIMM)",
    "attention": "the query, key and value matrices of the residual blocks (A-CLIP, as in IIMM)",
    "lora": "a low-rank change of query and value matrices (LoRA, as in IIMM): rank, targets, scale, towers",
    "adapter": "a small MLP behind each frozen tower (CLIP-Adapter, as in IIMM): reduction, ratio, towers",
    "probe": "a linear head per task that starts from its prompts; the encoder stays as it is",
}
