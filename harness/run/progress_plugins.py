"""Avalanche plugins of a run that show progress, stop at lost signals and start reader processes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from avalanche.core import SupervisedPlugin

from benchmarks.data.progress import Progress
from harness.display.screen import Screen
from harness.run.signals import check
from strategies.engine.batches import in_memory

if TYPE_CHECKING:
    from strategies.engine.strategy import Strategy


class ScreenProgress(SupervisedPlugin, supports_distributed=True):  # type: ignore[call-arg]  # a keyword of Avalanche
    """Show every step on the screen, and stop there if the exception of a signal was lost (`harness.run.signals`)."""

    def __init__(self, screen: Screen):
        super().__init__()
        self.screen = screen

    def before_training_epoch(self, strategy: Strategy, **kwargs: Any) -> None:
        """Show the task that is trained."""
        check()
        self.screen.stage("train", strategy.experience.domain.name, strategy.budget(strategy.experience))

    def after_training_iteration(self, strategy: Strategy, **kwargs: Any) -> None:
        """Count an update."""
        check()
        self.screen.advance("train", 1)

    def before_eval_exp(self, strategy: Strategy, **kwargs: Any) -> None:
        """Show the task that is evaluated."""
        check()
        self.screen.stage("evaluate", strategy.experience.domain.name, len(strategy.experience.dataset))

    def after_eval_iteration(self, strategy: Strategy, **kwargs: Any) -> None:
        """Count the images of a batch."""
        check()
        self.screen.advance("evaluate", len(strategy.mb_y))

    def after_eval(self, strategy: Strategy, **kwargs: Any) -> None:
        """Add the time of the pass in mixed batches to that of the evaluated images."""
        self.screen.spent("evaluate", strategy.mixed_seconds)


class ReaderProcesses(SupervisedPlugin, supports_distributed=True):  # type: ignore[call-arg]  # a keyword of Avalanche
    """Let processes read evaluation images that are not in memory, because they could not be cached."""

    def before_eval_exp(self, strategy: Strategy, **kwargs: Any) -> None:
        """Replace the loader of such a test set by one with processes."""
        if strategy.workers and not in_memory(strategy.experience.domain.test):
            strategy.make_eval_dataloader(num_workers=strategy.workers)


def stoppable(progress: Progress) -> Progress:
    """Return a progress report that first stops if the exception of a signal was lost."""

    def report(done: int, total: int, what: str) -> None:
        check()
        progress(done, total, what)

    return report
