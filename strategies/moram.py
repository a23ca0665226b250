"""MoRAM: every rank-one part of the tasks' low-rank updates is an expert, and each input chooses its own."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from benchmarks.scenario import DomainExperience
from models import places
from models.blocks import Matrix, blocks, matrices
from models.parts import mixed_update
from models.setting import setting
from strategies.engine.strategy import Strategy

STD = 0.02


class Parts(nn.Module):
    """The parts of one task for one matrix: A [rank, in] and B [out, rank]. B starts at zero."""

    def __init__(self, rows: int, columns: int, rank: int):
        super().__init__()
        self.a = nn.Parameter(torch.empty(rank, columns))
        self.b = nn.Parameter(torch.zeros(rows, rank))
        nn.init.normal_(self.a, std=STD)


class Mixture(nn.Module):
    """x -> B (A x * w) with the parts of all tasks so far (`models.parts`). The parts are not modules of this one.

    Args:
        grown: the encoder's modules of tasks.
        name: the name of the parts of this matrix.
        most: the largest number of parts that an input chooses.
        temperature: temperature of the softmax over the chosen parts.
        least: smallest weight that counts in evaluation.
    """

    def __init__(self, grown: nn.ModuleDict, name: str, most: int, temperature: float, least: float):
        super().__init__()
        # In a tuple, so that the parts are not modules of this one too.
        self._grown, self.name = (grown,), name
        self.most, self.temperature, self.least = most, temperature, least

    def parts(self) -> list[Parts]:
        """Return the parts of this matrix, by task in order."""
        by_task = sorted(self._grown[0].items(), key=lambda item: int(item[0]))
        return [parts for _, modules in by_task for key, parts in modules.items() if key.partition(":")[2] == self.name]  # type: ignore[operator]  # a ModuleDict

    def forward(self, x: Tensor) -> Tensor | None:
        """Return the update's output [B, L, out], or None before the first task."""
        parts = self.parts()
        if not parts:
            return None
        a, b = torch.cat([each.a for each in parts]), torch.cat([each.b for each in parts], dim=1)
        return mixed_update(x, a, b, self.most, self.temperature, 0.0 if self.training else self.least)


class MoRAM(Strategy):
    """MoRAM: low-rank updates whose rank-one parts are experts. The input of each matrix chooses among those of all tasks.

    Each task adds A_t [rank, in] and B_t [out, rank] to every query, key, value, output and MLP matrix W of both towers. With A
    and B of all tasks so far, of which only the current task's train:

        s = A x / |A x|        w = softmax of the `most` largest s at `temperature`, 0 for all others
        y = W x + B (A x * w)

    In evaluation, weights below `least` are 0 too. There is no router and no choice of a task, so a test image needs neither a
    task nor a batch. `models.parts` has the formulas. A test pass costs two thin matrix products more for each matrix, whose
    width is rank times the number of tasks.

    Source:
        MoRAM (ICML 2026), github.com/Artificer-AI-Lab/MoRAM.

    Differs from the released code:
        A is drawn from N(0, 0.02), as in `lora` here (our choice). Label smoothing and schedule are those of `finetune`.

    Defaults:
        From the released code: rank 16 per task, 16 parts per input, temperature 0.01, weights below 0.2 cut in evaluation,
        learning rate 5e-4, 500 updates of 64 images.

    Command:
        `python cli.py bench mtil --strategy moram`
    """

    options: Options
    default_tuning = "frozen"

    @dataclass(frozen=True)
    class Options(Strategy.Options):
        """Options of `moram`."""

        rank: int = setting(16, "parts that a task adds to each matrix", least=1, most=65_536)
        most: int = setting(16, "parts that an input chooses at most", least=1)
        temperature: float = setting(0.01, "temperature of the softmax over the chosen parts", above=0)
        least: float = setting(0.2, "smallest weight of a part that counts in evaluation", least=0, most=1)
        lr: float = 5e-4
        iterations: int = 500

    def before_run(self) -> None:
        """Place the mixtures."""
        super().before_run()
        o = self.options
        self.mixed: list[tuple[str, str, Matrix]] = []
        for block in blocks(self.encoder):
            for role, of_role in matrices(block).items():
                for index, matrix in enumerate(of_role):
                    name = f"{block.path}-{role}-{index}".replace(".", "-")
                    places.around_linear(
                        self.encoder, matrix, Mixture(self.encoder.grown, name, o.most, o.temperature, o.least)
                    )
                    self.mixed.append((name, block.tower, matrix))

    def grow(self, experience: DomainExperience) -> None:
        """Add the task's parts to every matrix."""
        super().grow(experience)
        for name, tower, matrix in self.mixed:
            parts = Parts(*places.matrix_shape(self.encoder, matrix), self.options.rank)
            self.add_module_for(experience.current_experience, name, parts, tower="image" if tower == "image" else "text")
