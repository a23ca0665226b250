"""Modules that a method adds for each task: made before the task trains, frozen after it, made again in a continued run."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from torch import nn

from benchmarks.scenario import DomainExperience
from models import added
from models.added import Tower
from models.encoder import DualEncoder
from models.registry import UserError


class Growing:
    """The hook `grow` and the modules that it adds. A base of `Strategy`."""

    _growing: int | None = None

    @property
    def encoder(self) -> DualEncoder:
        """The encoder."""
        raise NotImplementedError

    def grow(self, experience: DomainExperience) -> None:
        """Add the modules of a task with `add_module_for`. Called before the task's optimiser is made.

        A continued run calls it again for each finished task and then loads the saved tensors. So the number, names and shapes
        of the modules must follow from the experience and the options.

        Args:
            experience: the task's experience. `self.experience` may be another one.
        """

    def training_route(self) -> Any:
        """Return the route of the passes of a training batch (`models.route`). Here: none.

        For modules that were added for each task, it is usually `self.experience.current_experience`.
        """
        return None

    def test_route(self) -> Any:
        """Return the route of the class prompts in evaluation, if it is the same for all images. Here: none."""
        return None

    def add_module_for(self, task: int, name: str, module: nn.Module, tower: Tower = "both") -> nn.Module:
        """Add a module that trains with its task and is frozen after it. It is saved with the encoder's weights.

        Adding it does not use it. Place it (`models.places`), place an `OfTask` that looks modules up by name
        (`models.added`), or call it in a hook.

        Args:
            task: number of the task from 0, `experience.current_experience` in `grow`.
            name: name of the module, without "." and ":".
            module: the module. It moves to the encoder's device and precision.
            tower: the tower whose features it changes: "image", "text", "both", or "none" for a module after the towers.

        Returns:
            The module.

        Raises:
            UserError: outside of `grow`, for another task than that of `grow`, and for a name that is taken or not valid.
        """
        if self._growing != task:
            raise UserError(
                f"{type(self).__name__} calls add_module_for for task {task} "
                f"{'outside of grow' if self._growing is None else f'in grow of task {self._growing}'}. Call it in "
                "grow(experience) for the task experience.current_experience, so that a continued run makes the module again."
            )
        added.add_for(self.encoder, task, tower, name, module)
        return module

    def modules_of(self, task: int) -> dict[str, nn.Module]:
        """Return the modules of a task by name; empty for a task without modules.

        Args:
            task: number of the task from 0.
        """
        return added.of_task(self.encoder, task)

    def make_modules(self, experiences: Iterable[DomainExperience]) -> None:
        """Call `grow` for experiences whose modules are missing, and let only the last experience's modules train."""
        task = -1
        for experience in experiences:
            task = experience.current_experience
            if not self.modules_of(task):
                self._growing = task
                try:
                    self.grow(experience)
                finally:
                    self._growing = None
        self.freeze_modules(but=task)

    def freeze_modules(self, but: int | None = None) -> None:
        """Freeze the modules of every task, or of every task but one."""
        for task, modules in self.encoder.grown.items():
            modules.requires_grad_(int(task) == but)
