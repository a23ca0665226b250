"""Memory of a run: what is computed from its tensors, and the peak of this process after the same steps."""

from __future__ import annotations

import torch
from avalanche.benchmarks import CLScenario

from harness.plan.activations import bytes_of
from harness.plan.counted_run import Counted
from harness.run.costs import tensor_bytes
from harness.run.environment import peak_memory_mb
from models.encoder import DualEncoder


def start(device: torch.device) -> None:
    """Begin to record the peak on a GPU."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)


def memory(counted: Counted, encoder: DualEncoder, real: CLScenario) -> dict[str, int]:
    """Return bytes by name (`harness.plan.titles.MEMORY`).

    Activations are the storages that autograd saved in a whole update of the task with the most classes
    (`harness.plan.activations`), and with `microbatch` those of a chunk besides. The peak is the resident memory of this
    process, which has made the same updates and evaluations as the run; on a GPU it is the peak that torch allocated.
    """
    strategy = counted.strategy
    tests = [*real.streams["test"], *real.streams["heldout"]]
    images, text = _activations(encoder)
    chunk = 0
    if encoder.microbatch is not None:
        chunk = encoder.microbatch * max(images, text)
    parts = {
        "weights": counted.weights,
        "gradients": tensor_bytes(strategy.trainable) if strategy.trains else 0,
        "optimizer": counted.optimizer_bytes,
        "method": counted.state_bytes,
        "kept_features": 4 * encoder.feature_dim * sum(len(e.dataset) for e in tests) * strategy._images_frozen(),
        "activations": counted.updates.activations + chunk,
    }
    peak = peak_memory_mb()
    return {
        **parts,
        "sum": sum(parts.values()),
        "per_image": images,
        "per_text": text,
        "peak": 0 if peak is None else round(1e6 * peak),
    }


def _activations(encoder: DualEncoder) -> tuple[int, int]:
    """Return the bytes of activations of one image and of one text of 16 tokens, in a batch without chunks."""
    before, encoder.microbatch = encoder.microbatch, None
    size, device = encoder.image_size, encoder.device

    def of(rows: int) -> tuple[int, int]:
        pixels = torch.zeros(rows, 3, size, size, dtype=torch.uint8, device=device)
        tokens = encoder.tokenize([f"a photo of a long-haired cat number {i} on a chair" for i in range(rows)])
        return bytes_of(lambda: encoder.raw_images(pixels)), bytes_of(lambda: encoder.raw_texts(tokens))

    try:
        few, more = of(2), of(4)
    finally:
        encoder.microbatch = before
    return (more[0] - few[0]) // 2, (more[1] - few[1]) // 2
