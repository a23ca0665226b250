"""Random weights in the three formats of checkpoints that users have: OpenAI's names, safetensors, open_clip's training."""

from __future__ import annotations

from pathlib import Path

import torch

import models

MODELS = ("ViT-B-16", "tiny")
PARAMETERS = {"ViT-B-16": 149_620_737, "tiny": 1_900_000}


def estimate(name: str) -> int:
    """Return the bytes of the three files of a model: half precision once, single precision twice."""
    return 10 * PARAMETERS[name]


def write(folder: Path, name: str, seed: int = 0) -> list[Path]:
    """Write random weights of a model and return the files.

    - NAME-openai.pt: a dictionary in half precision with the three numbers that OpenAI's files have next to the tensors.
    - NAME.safetensors: the tensors in single precision.
    - NAME-epoch_1.pt: a checkpoint of open_clip's training, whose tensors have the prefix "module.".

    The tensors have the same values in all three, as far as half precision has them.

    Args:
        folder: an existing folder.
        name: a model in `MODELS`.
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
