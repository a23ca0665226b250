"""The dual encoder: load it, encode with it, classify by prompts, choose what trains, do arithmetic on its weights.

In reading order:

Load (`models.load`):
    loading/load                one entry point for names, directories, hub repositories and weights files
    loading/local_files         find and digest the local files of a model
    loading/architectures       check the name of a model without importing open_clip
    loading/model_config        check the configuration of a directory or repository
    loading/building            build open_clip's classes from a checked configuration
    loading/read_weights        read weights files of other programs
    loading/fit_weights         fit their tensors to a model by name and shape
    loading/positions           interpolate position embeddings to another image size
    loading/declared            the activation and the run that the files around a weights file declare
    loading/transformers_models configuration of transformers' CLIP and SigLIP as open_clip's
    loading/transformers_names  names of their tensors as open_clip's
    loading/small_towers        image towers of the tiny SigLIP and EVA-02
    loading/torchscript         tensors of a TorchScript archive, without running it
    loading/tokenizers          build tokenizers without running code
    loading/hub                 files of Hugging Face repositories
    loading/description         settings of a model that its tensors do not show

Encode (`models.DualEncoder`):
    encoder                     the encoder: images and texts to unit vectors
    wrapped                     any module with two encode methods (`models.wrap`)
    transforms                  images to the pixels that the encoder takes
    towers                      the part of the model that a parameter belongs to
    attention                   self-attention in training without copies
    parallel                    several processes that train one model
    modes, memory, deferred     evaluation mode, memory of the process, imports of Avalanche that a run does not need

Classify:
    prompts, prompt_reader      class names in templates, and how a tokenizer reads them
    classifier                  `PromptClassifier`: heads made of class prompts

Train:
    tuning, tuning_options      which parameters train
    blocks                      the residual blocks of the towers and their matrices
    lora, adapter               low-rank updates and CLIP-Adapter

Weights:
    weights                     interpolation and running averages of state dicts
    merging                     task arithmetic, TIES, DARE, MagMax, Model Stock, LiNeS

Files and names, used by every package:
    registry                    names, `UserError`, texts in messages
    setting                     settings declared as dataclass fields
    files, paths                safe reading and writing, paths as users write them
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from models.deferred import defer
from models.registry import lazy

if TYPE_CHECKING:
    from models.encoder import DualEncoder as DualEncoder
    from models.loading.load import load as load
    from models.wrapped import wrap as wrap

# Called here, because every other package of the project imports this one before it imports Avalanche.
defer()

__getattr__ = lazy(__name__, {"DualEncoder": "models.encoder", "load": "models.loading.load", "wrap": "models.wrapped"})

# For `list models`: the architectures that the papers use. Any open_clip name works.
KNOWN = {
    "tiny": "ships with the project: 48 x 48 pixels, 1.9 M parameters, the mini edition's default",
    "tiny-words": "ships with the project: the tiny model trained on written words too, for typographic attacks",
    "tiny-siglip": "ships with the project: a tiny SigLIP (sigmoid loss, logit bias), pretrained like tiny",
    "tiny-coca": "ships with the project: a tiny CoCa (caption loss), pretrained like tiny",
    "tiny-eva02": "ships with the project: a tiny EVA-02 (rotary embedding, SwiGLU), pretrained like tiny",
    "tiny-cone": "ships with the project: a tiny CLIP with a logit scale of 100, pretrained like tiny",
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
    "adapter": "a small MLP after each frozen tower (CLIP-Adapter, as in IIMM): reduction, ratio, towers",
    "probe": "a linear head per task, initialised from its prompts; the encoder is frozen",
    "frozen": "no tensor of the encoder, for methods that add something to frozen towers",
}
