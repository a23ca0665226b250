"""DIKI: key/value prefixes per task as a separate attention branch, chosen and scaled by a Gaussian of the task's features."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from benchmarks.scenario import DomainExperience
from models import places
from models.blocks import blocks
from models.prefixes import Prefixes
from models.route import PLAIN, routed
from models.scaled import ScaledOfTask
from models.setting import setting
from strategies.by_task import ByTask, Choice
from strategies.task_choice import Gaussian, Statistics, density_scale, gaussian, log_densities, majority


class DIKI(ByTask):
    """DIKI: learned key/value prefixes per task, added to the attention of a frozen encoder.

    In the first `blocks` blocks of both towers each task has P keys K and P values V per head. A branch with a separate softmax
    is added to the attention's result before its output matrix. The values start at zero, so the encoder is unchanged then:

        attention(x) + s * softmax(q K^T / sqrt(d_head)) V

    Each task has a normal distribution of the unit features of its training images, computed without prefixes. A test image
    gets the prefixes of the task under which its log-density l is largest, with the scale s = sigmoid(l / d - 1), where d is
    the width of the features. In training s is 1.

    Source:
        Tang et al. 2024, ECCV 2024, and its released code (lloongx/DIKI).

    Differs from the released code:
        Its configuration chooses one task for a whole test batch by majority, and the text tower gets the mean scale of the
        batch. Its batches hold one dataset each, so they tell the task. Here each image has its own task and scale, in both
        towers, and a prediction does not depend on other images. `batchwise=true` chooses by majority.
        The scale in the text tower is rounded to eighths, so that the features of class prompts are computed once per task and
        level.
        d is 512 there for every model. The scale of 1 in training is our choice, and so is cross-entropy without smoothing.
        The last weights are kept. `best_pass=true` keeps those of the best pass by validation images, as that code does.

    Defaults:
        From the released code: 8 prefixes in 8 blocks, SGD without momentum and decay, learning rate 5 with a cosine to 1e-3,
        batches of 128, 10 passes over the task's images.

    Command:
        `python cli.py bench mtil --strategy diki`
    """

    options: Options

    @dataclass(frozen=True)
    class Options(ByTask.Options):
        """Options of `diki`."""

        prefixes: int = setting(8, "keys and values per head, block and task", least=1, most=4096)
        blocks: int = setting(8, "first blocks of each tower that have prefixes; at most all", least=1)
        batchwise: bool = setting(
            False, "choose one task for each test batch by majority, as the released configuration; depends on the batch"
        )
        lr_last: float = setting(1e-3, "learning rate at the end of the cosine, if it is below lr", least=0)
        optimizer: Literal["adamw", "sgd"] = "sgd"
        momentum: float = 0.0
        lr: float = 5.0
        epochs: int = 10
        batch_size: int = 128
        warmup: int = 0
        label_smoothing: float = 0.0

    def before_run(self) -> None:
        """Place the branches."""
        super().before_run()
        self.prefixed = blocks(self.encoder, "both", first=self.options.blocks)
        for block in self.prefixed:
            places.in_attention(self.encoder, block, ScaledOfTask(self.encoder, self._name(block.path)))

    def grow(self, experience: DomainExperience) -> None:
        """Add the task's prefixes and its Gaussian."""
        task, width = experience.current_experience, self.encoder.feature_dim
        for block in self.prefixed:
            sizes = places.shape(block)
            prefixes = Prefixes(sizes.heads, sizes.head_width, self.options.prefixes)
            self.add_module_for(task, self._name(block.path), prefixes, block.tower)  # type: ignore[arg-type]  # image or text
        self.add_module_for(task, "gaussian", Statistics(mean=(width,), factor=(width, width)), "none")

    def before_experience(self) -> None:
        """Compute the task's Gaussian."""
        super().before_experience()
        with routed(PLAIN):
            mean, factor = gaussian(self.task_features().features)
        self.statistics(self.experience.current_experience).fill(mean=mean, factor=factor)

    def learning_rate(self, step: int, peak: float, updates: int) -> float:
        """Return a rate whose cosine ends at `lr_last`."""
        rate, last = super().learning_rate(step, peak, updates), min(self.options.lr_last, peak)
        return last + (peak - last) * rate / peak if peak and step >= self.options.warmup else rate

    def choose(self, features: Tensor) -> Choice:
        """Return the task of the largest log-density and its scale."""
        tasks = [Gaussian(*self.statistics(task).buffers()) for task in range(self.trained)]
        densities = log_densities(features, tasks)
        chosen = densities.argmax(dim=1)
        if self.options.batchwise:
            chosen = majority(chosen)
        log_density = densities.gather(1, chosen[:, None]).squeeze(1)
        return Choice(chosen, density_scale(log_density, features.shape[1]).to(features.dtype))

    @staticmethod
    def _name(path: str) -> str:
        return f"prefixes-{path.replace('.', '-')}"
