"""Small models of the classes that open_clip builds the real ones of, with random weights."""

import open_clip
import timm
import torch
from torch import nn

from models.encoder import DualEncoder
from models.transforms import Preprocess

TEXT = {"context_length": 20, "vocab_size": 300, "width": 32, "heads": 2, "layers": 2}
VISION = {"image_size": 48, "patch_size": 12, "width": 32, "layers": 2, "head_width": 16}
TIMM = {"img_size": 32, "patch_size": 16, "embed_dim": 24, "depth": 2, "num_heads": 2}
COCA_TEXT = {**TEXT, "embed_cls": True, "output_tokens": True}
COCA_VISION = {**VISION, "attentional_pool": True, "attn_pooler_heads": 2, "attn_pooler_queries": 5, "output_tokens": True}
SIGLIP_TEXT = {**TEXT, "no_causal_mask": True, "proj_bias": True, "pool_type": "last"}
CLASSES = ("clip", "siglip", "coca", "eva02", "eos")


def tokens_of(strings, context_length=20):
    """Start 298, bytes, end 299 (the largest id), padded with 0."""
    out = torch.zeros(len(strings), context_length, dtype=torch.long)
    for row, string in enumerate(strings):
        ids = [298, *list(string.encode())[: context_length - 2], 299]
        out[row, : len(ids)] = torch.tensor(ids)
    return out


def inputs(model, seed=0):
    """Four images of noise and three texts."""
    generator = torch.Generator().manual_seed(seed)
    pixels = torch.randint(0, 256, (4, 3, model.image_size, model.image_size), generator=generator)
    return pixels.to(torch.uint8), model.tokenize(["cat", "a dog", "birds"])


def close(found, expected):
    """Assert equality except for the last bits. In a matrix product these depend on the memory address of the data."""
    torch.testing.assert_close(found, expected, rtol=0, atol=2e-6)


def small(kind, monkeypatch):
    """A model of the same classes as the real one, built by open_clip, with random weights."""
    create = timm.create_model
    # open_clip's configuration has no place for the width of a timm tower.
    monkeypatch.setattr(timm, "create_model", lambda name, **options: create(name, **{**options, **TIMM}))
    siglip = {"timm_model_name": "vit_base_patch16_siglip_224", "timm_pool": "map", "timm_proj": "none", "image_size": 32}
    eva = {"timm_model_name": "eva02_base_patch16_clip_224", "timm_pool": "token", "timm_proj": None, "image_size": 32}
    build, options = {
        "clip": (open_clip.CLIP, {"embed_dim": 16, "vision_cfg": VISION, "text_cfg": TEXT}),
        "siglip": (
            open_clip.CustomTextCLIP,
            {"embed_dim": 24, "vision_cfg": siglip, "text_cfg": SIGLIP_TEXT, "init_logit_bias": -10},
        ),
        "coca": (
            open_clip.CoCa,
            {
                "embed_dim": 16,
                "vision_cfg": COCA_VISION,
                "text_cfg": COCA_TEXT,
                "multimodal_cfg": {**TEXT, "attn_pooler_heads": 2},
            },
        ),
        "eva02": (open_clip.CustomTextCLIP, {"embed_dim": 16, "vision_cfg": eva, "text_cfg": TEXT}),
        "eos": (
            open_clip.CustomTextCLIP,
            {"embed_dim": 16, "vision_cfg": VISION, "text_cfg": {**TEXT, "pool_type": "eos", "eos_id": 299}},
        ),
    }[kind]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        clip = build(**options)
        for parameter in clip.parameters():
            # Random everywhere: towers start with zeros and ones, which hide what they multiply.
            nn.init.normal_(parameter, std=0.2) if parameter.dim() else None
    size = clip.visual.image_size[0]
    return DualEncoder(clip, tokens_of, size, [0.5] * 3, [0.5] * 3, kind, Preprocess(size, "squash")).eval()
