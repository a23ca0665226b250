"""Methods that keep state in every way that a user's file may, and whether a resumed run may continue with it."""

import copy
import random
from collections import deque

import torch

from strategies import Strategy

TOTAL = 0.0


def drift(strategy, reference):
    """Mean squared distance of the weights to those of another encoder."""
    pairs = zip(strategy.encoder.parameters(), reference, strict=True)
    return torch.stack([(p - q.detach()).square().mean() for p, q in pairs]).sum()


def copies(strategy):
    return [p.detach().clone() for p in strategy.encoder.parameters()]


# Continue with the same numbers.


class StartOfTask(Strategy):
    def before_experience(self):
        super().before_experience()
        self.start = copies(self)

    def compute_loss(self, batch):
        return super().compute_loss(batch) + drift(self, self.start)


class FixedTeacher(Strategy):
    def before_run(self):
        self.teacher = copy.deepcopy(self.encoder)

    def compute_loss(self, batch):
        return super().compute_loss(batch) + drift(self, self.teacher.parameters())


class WithinStep(Strategy):
    def compute_loss(self, batch):
        self.scale = 1.0 + float(batch.labels.sum()) / 100
        self.seen = [*getattr(self, "nothing", ()), self.scale]
        return super().compute_loss(batch) * self.scale

    def after_step(self, step):
        self.last = self.scale


class NeverRead(Strategy):
    def after_experience(self):
        self.note = f"task {self.trained}"


class Saved(Strategy):
    def before_run(self):
        self.average, self.recent, self.steps = copies(self), deque(maxlen=3), 0

    def compute_loss(self, batch):
        return super().compute_loss(batch) + drift(self, self.average) * (1 + self.steps / 10 + sum(self.recent))

    def after_step(self, step):
        self.steps += 1
        self.recent.append(1.0 / self.steps)
        for mine, p in zip(self.average, self.encoder.parameters(), strict=True):
            mine.mul_(0.5).add_(p.detach(), alpha=0.5)

    def state(self):
        return {"average": self.average, "recent": list(self.recent), "steps": self.steps}

    def load(self, state):
        self.average, self.steps = state["average"], state["steps"]
        self.recent = deque(state["recent"], maxlen=3)


class SavedWithin(Saved):
    def task_state(self):
        return self.state()

    def load_task(self, state, step):
        self.load(state)


class SavedSlots(Strategy):
    """A buffer of tensors and labels, as replay has it."""

    def before_run(self):
        self.images, self.labels = [], torch.zeros(0, dtype=torch.long)

    def after_experience(self):
        self.images.append(copies(self)[0])
        self.labels = torch.cat([self.labels, torch.ones(2, dtype=torch.long)])

    def compute_loss(self, batch):
        return super().compute_loss(batch) * (1 + len(self.images) + len(self.labels))

    def state(self):
        return {"images": self.images, "labels": self.labels}

    def load(self, state):
        self.images, self.labels = list(state["images"]), state["labels"]


CONTINUES = (StartOfTask, FixedTeacher, WithinStep, NeverRead, Saved, SavedWithin, SavedSlots)


# Start over.


class Forgotten(Saved):
    """Saved, but for one attribute."""

    def load(self, state):
        super().load(state)
        self.steps = 0


class ForgottenWithin(Saved):
    def task_state(self):
        return {"average": self.average, "recent": list(self.recent)}

    def load_task(self, state, step):
        self.load({**state, "steps": self.steps})


class Unsaved(Saved):
    def state(self):
        return {}

    def load(self, state):
        pass


class Module(Unsaved):
    def before_run(self):
        super().before_run()
        self.teacher = copy.deepcopy(self.encoder)

    def after_step(self, step):
        with torch.no_grad():
            for mine, p in zip(self.teacher.parameters(), self.encoder.parameters(), strict=True):
                mine.lerp_(p, 0.1)

    def compute_loss(self, batch):
        return Strategy.compute_loss(self, batch) + drift(self, self.teacher.parameters())


class Counted(Strategy):
    total = 0

    def compute_loss(self, batch):
        return super().compute_loss(batch) * (1 + self.total / 10)

    def after_step(self, step):
        self.total += 1


class Helper:
    def __init__(self):
        self.seen, self.parts = 0, {"a": [0]}


class Nested(Strategy):
    def before_run(self):
        self.helper = Helper()

    def compute_loss(self, batch):
        return super().compute_loss(batch) * (1 + self.helper.parts["a"][-1])

    def after_step(self, step):
        self.helper.parts["a"].append(step / 10)


class Closure(Strategy):
    def before_run(self):
        count = 0

        def tick():
            nonlocal count
            count += 1
            return count / 10

        self.tick = tick

    def compute_loss(self, batch):
        return super().compute_loss(batch) * (1 + self.tick())


class Drawn(Strategy):
    def before_run(self):
        self.draws, self.generator = random.Random(1), torch.Generator().manual_seed(1)

    def compute_loss(self, batch):
        return super().compute_loss(batch) * (1 + self.draws.random() + float(torch.rand((), generator=self.generator)))


class Running(Strategy):
    def before_run(self):
        self.numbers = (i / 10 for i in range(1000))

    def compute_loss(self, batch):
        return super().compute_loss(batch) * (1 + next(self.numbers))


class Between(Strategy):
    def before_experience(self):
        super().before_experience()
        if hasattr(self, "previous"):
            self.start = self.previous

    def compute_loss(self, batch):
        loss = super().compute_loss(batch)
        return loss + drift(self, self.start) if hasattr(self, "start") else loss

    def after_experience(self):
        self.previous = copies(self)


class Swallowed(Strategy):
    def compute_loss(self, batch):
        try:
            scale = self.scale
        except BaseException:
            scale = 1.0
        return super().compute_loss(batch) * scale

    def after_experience(self):
        self.scale = 2.0


class OfClass(Strategy):
    memory = []

    def compute_loss(self, batch):
        return super().compute_loss(batch) * (1 + len(self.memory) / 10)

    def after_step(self, step):
        self.memory.append(step)


class OfModule(Strategy):
    def compute_loss(self, batch):
        return super().compute_loss(batch) * (1 + TOTAL)

    def after_step(self, step):
        global TOTAL
        TOTAL += 0.1


class OnEncoder(Strategy):
    def compute_loss(self, batch):
        return super().compute_loss(batch) * (1 + getattr(self.encoder, "my_steps", 0) / 10)

    def after_step(self, step):
        self.encoder.my_steps = getattr(self.encoder, "my_steps", 0) + 1


class InEncoder(Strategy):
    def before_experience(self):
        super().before_experience()
        if not hasattr(self.encoder, "scale_of_loss"):
            self.encoder.register_buffer("scale_of_loss", torch.ones(()))

    def compute_loss(self, batch):
        return super().compute_loss(batch) * self.encoder.scale_of_loss

    def after_step(self, step):
        self.encoder.scale_of_loss += 0.1


STARTS_OVER = {
    Forgotten: "Forgotten.steps",
    Unsaved: "Unsaved.average",
    Module: "Module.teacher",
    Counted: "Counted.total",
    Nested: "Nested.helper",
    Closure: "Closure.tick",
    Drawn: "Drawn.draws",
    Running: "Running.numbers",
    Between: "Between.previous",
    Swallowed: "Swallowed.scale",
    OfClass: "class OfClass.memory",
    OfModule: "module methods.TOTAL",
    OnEncoder: "encoder.my_steps",
    InEncoder: "encoder.scale_of_loss",
}
