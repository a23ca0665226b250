"""Random weights in the three formats of checkpoints that users have: OpenAI's names, safetensors, open_clip's training."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import torch

import models
from models.loading.local_files import TINY
from models.loading.tokenizers import MERGES
from tools.rehearsal_data.content import document

TOKENS = 40
"""Tokens that the longest prompt of the papers' datasets has for the tiny model, and two more."""


def write_longer(folder: Path) -> None:
    """Write the tiny model with a text tower that reads `TOKENS` tokens instead of 16.

    The full edition needs it: class names of the cars, for example, differ only after 16 tokens. The embeddings of the new
    positions repeat the last one. Prompts of up to 16 tokens are encoded as before.

    Args:
        folder: a folder to create, which `--model` then takes.
    """
    from safetensors.torch import load_file, save_file

    folder.mkdir()
    config = json.loads((TINY / "open_clip_config.json").read_text(encoding="utf-8"))
    config["model_cfg"]["text_cfg"]["context_length"] = TOKENS
    document(folder / "open_clip_config.json", config)
    tensors = load_file(TINY / "open_clip_model.safetensors")
    positions = tensors["positional_embedding"]
    repeated = positions[-1:].expand(TOKENS - len(positions), -1)
    save_file({**tensors, "positional_embedding": torch.cat([positions, repeated])}, folder / "open_clip_model.safetensors")
    shutil.copy(TINY / MERGES, folder)


def write(folder: Path, name: str, seed: int = 0) -> list[Path]:
    """Write random weights of a model and return the files.

    - NAME-openai.pt: a dictionary in half precision with the three numbers that OpenAI's files have next to the tensors.
    - NAME.safetensors: the tensors in single precision.
    - NAME-epoch_1.pt: a checkpoint of open_clip's training, whose tensors have the prefix "module.".

    The tensors have the same values in all three, as far as half precision has them.

    Args:
        folder: an existing folder.
        name: "tiny" or an architecture of open_clip whose text tower has OpenAI's names.
        seed: of the random numbers.
    """
    from safetensors.torch import save_file

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        encoder = models.load(name, pretrained="random")
    tensors = {key: tensor.detach().contiguous() for key, tensor in encoder.clip.state_dict().items()}
    halves = {key: tensor.half() if tensor.is_floating_point() else tensor for key, tensor in tensors.items()}
    context, vocabulary = tensors["positional_embedding"].shape[0], tensors["token_embedding.weight"].shape[0]
    numbers = {"input_resolution": encoder.image_size, "context_length": context, "vocab_size": vocabulary}
    training = {"epoch": 1, "name": "rehearsal", "state_dict": {f"module.{key}": tensor for key, tensor in tensors.items()}}
    paths = [folder / f"{name}{end}" for end in ("-openai.pt", ".safetensors", "-epoch_1.pt")]
    torch.save({**halves, **{key: torch.tensor(value) for key, value in numbers.items()}}, paths[0])
    save_file(tensors, paths[1])
    torch.save(training, paths[2])
    return paths
