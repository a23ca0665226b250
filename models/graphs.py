"""Training passes of a tower replayed as CUDA graphs, so that the host starts two graphs and not hundreds of kernels.

A graph replays the same kernels on the same addresses, so the numbers are those of the pass that it was recorded from. It is
valid only while nothing that the recording depended on has changed: the shape of the input, the addresses of all weights, what
trains, the mode of every layer. `TowerGraphs` compares all of these before each replay. A pass that differs runs as usual, and
one that has come `REPEATS` times in a row is recorded. What cannot be replayed is never replayed: passes without gradients,
passes through modules with hooks, and a second pass before the backward pass of the first, whose activations it would
overwrite.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from models.towers import tower_of

REPEATS = 3
"""Equal passes in a row after which one is recorded. The last, smaller batch of an epoch comes less often (our choice)."""

Run = Callable[[Tensor], Tensor]


class Encoder(Protocol):
    """The attributes of `models.encoder.DualEncoder` that are read here."""

    clip: Any
    microbatch: int | None
    precision: Any
    added: nn.ModuleDict
    grown: nn.ModuleDict


class Recorder(Protocol):
    """Records work on a device. Tests have one for the CPU, which repeats the work."""

    def warm_up(self, work: Callable[[], object]) -> None:
        """Do the work a few times, so that libraries have chosen their kernels and workspaces."""

    def record(self, work: Callable[[], Sequence[Tensor]]) -> tuple[Sequence[Tensor], Callable[[], None]]:
        """Record the work. Return the tensors that hold its results after each replay, and the function that replays it."""


class CudaRecorder:
    """Records CUDA graphs that share one pool of memory. They must be replayed in the order in which they were recorded."""

    def __init__(self) -> None:
        self._pool: Any = None

    def warm_up(self, work: Callable[[], object]) -> None:
        """Do the work three times on a side stream, as torch's documentation asks for before a capture."""
        side = torch.cuda.Stream()  # type: ignore[no-untyped-call]  # torch does not annotate it
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(3):
                work()
        torch.cuda.current_stream().wait_stream(side)

    def record(self, work: Callable[[], Sequence[Tensor]]) -> tuple[Sequence[Tensor], Callable[[], None]]:
        """Record the work as one graph."""
        graph = torch.cuda.CUDAGraph()
        # Only errors of this thread: the loader's thread pins memory meanwhile.
        with torch.cuda.graph(graph, pool=self._pool, capture_error_mode="thread_local"):
            results = work()
        self._pool = graph.pool()
        return results, graph.replay


class _Turn:
    """One replay of a forward pass, which waits for its backward pass until `finished`. `versions` are those of the weights."""

    def __init__(self, versions: list[int]):
        self.finished, self.versions = False, versions


class Recording:
    """The forward and the backward pass of a function of one tensor and of parameters, recorded.

    Args:
        run: the function, [B, ...] -> [B, d].
        inputs: an input; others must have its shape and type.
        tower: the modules and parameters that it uses. The parameters that train get gradients.
        recorder: records the two passes.

    Attributes:
        unfit: true after a second backward pass through one forward pass.
    """

    unfit = False

    def __init__(self, run: Run, inputs: Tensor, tower: Tower, recorder: Recorder):
        self._run, self.parameters = run, [parameter for parameter in tower.parameters if parameter.requires_grad]
        self._inputs = inputs.detach().clone()
        self._turn: weakref.ref[_Turn] | None = None
        self._live = self._output_gradient = inputs  # replaced by the first pass
        self._tower, self._leaves = tower, {id(p): nn.Parameter(p.detach()) for p in self.parameters}
        recorder.warm_up(self._both)
        self._live = inputs
        [output], self._forward = recorder.record(self._run_forward)
        self._output = output.detach()
        gradients, self._backward = recorder.record(self._run_backward)
        self._gradients = list(gradients)
        # The recorded graph of operations is not needed again.
        self._live = self._output

    @property
    def waits(self) -> bool:
        """True if the last replay's backward pass may still come."""
        turn = None if self._turn is None else self._turn()
        return turn is not None and not turn.finished

    def __call__(self, inputs: Tensor) -> Tensor:
        """Return the function of an input, with gradient."""
        output: Tensor = _Replay.apply(self, inputs, *self.parameters)
        return output

    def replay_forward(self, inputs: Tensor) -> tuple[Tensor, _Turn]:
        """Replay the forward pass. Return a copy of its output, which the next replay does not overwrite."""
        self._inputs.copy_(inputs)
        self._forward()
        turn = _Turn(self._versions())
        self._turn = weakref.ref(turn)
        return self._output.clone(), turn

    def replay_backward(self, turn: _Turn, inputs: Tensor, gradient: Tensor) -> Sequence[Tensor | None]:
        """Replay the backward pass. Return copies of the gradients, None for a parameter that the function does not use.

        Of a second backward pass the activations are gone, so both passes run as usual, and the recording is `unfit` for what
        follows.

        Raises:
            RuntimeError: a weight has changed since the forward pass of a second backward pass.
        """
        if turn.finished or self._turn is None or self._turn() is not turn:
            self.unfit = True
            if turn.versions != self._versions():
                raise RuntimeError("A weight was changed between the forward pass and its second backward pass.")
            with torch.enable_grad():
                output = self._run(inputs)
            return torch.autograd.grad(output, self.parameters, gradient, allow_unused=True)
        turn.finished = True
        self._output_gradient.copy_(gradient)
        self._backward()
        # Times 1 in one call: a copy. Otherwise `p.grad` would be the memory that the next replay writes into.
        copies = iter(torch._foreach_mul(self._gradients, 1.0) if self._gradients else ())
        return [next(copies) if used else None for used in self._used]

    def _versions(self) -> list[int]:
        """Return torch's counters of the changes of each weight."""
        return [parameter._version for parameter in self.parameters]

    def _run_forward(self) -> tuple[Tensor]:
        with torch.enable_grad(), self._tower.replaced(self._leaves):
            self._live = self._run(self._inputs)
        return (self._live,)

    def _run_backward(self) -> tuple[Tensor, ...]:
        leaves = [*self._leaves.values()]
        with self._tower.replaced(self._leaves):
            gradients = torch.autograd.grad(self._live, leaves, self._output_gradient, allow_unused=True)
        self._used = [gradient is not None for gradient in gradients]
        return tuple(gradient for gradient in gradients if gradient is not None)

    def _both(self) -> None:
        self._run_forward()
        self._output_gradient = torch.zeros_like(self._live)
        self._run_backward()


class _Replay(torch.autograd.Function):
    """A recorded pass as one operation of autograd."""

    @staticmethod
    def forward(ctx: Any, recording: Recording, inputs: Tensor, *parameters: Tensor) -> Tensor:
        ctx.recording, ctx.inputs = recording, inputs
        output, ctx.turn = recording.replay_forward(inputs)
        return output

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        return (None, None, *ctx.recording.replay_backward(ctx.turn, ctx.inputs, gradient))


class Tower(NamedTuple):
    """The modules and parameters that a pass depends on, and modules whose buffers it reads as well."""

    modules: tuple[nn.Module, ...]
    parameters: tuple[nn.Parameter, ...]
    others: tuple[nn.Module, ...] = ()

    def state(self) -> Hashable:
        """Return all that a recording of a pass depends on besides its input, or None if it cannot be recorded.

        These are the addresses of weights and buffers, what trains, the mode of each layer, and which layers there are.
        """
        # Each training pass asks, so this reads dictionaries and calls nothing that it need not.
        found: list[Hashable] = []
        for module in self.modules:
            parts = module.__dict__
            if (
                parts["_forward_hooks"]
                or parts["_forward_pre_hooks"]
                or parts["_backward_hooks"]
                or parts["_backward_pre_hooks"]
            ):
                return None
            found.append(parts["training"])
            found += map(id, parts["_modules"].values())
            found += map(_place, parts["_parameters"].values())
            found += map(_place, parts["_buffers"].values())
        for module in self.others:
            found += map(_place, module._buffers.values())
        found += map(_place, self.parameters)
        if any(parameter._backward_hooks for parameter in self.parameters):
            return None
        return tuple(found) if any(parameter.requires_grad for parameter in self.parameters) else None

    @contextmanager
    def replaced(self, new: Mapping[int, nn.Parameter]) -> Iterator[None]:
        """Put other parameters in the place of those with these ids.

        For a recording they have the same memory. Autograd adds a parameter's gradient on the stream of its first use, for as
        long as a loss that used it is alive, such as that of the last step. A recording must not wait for that stream.
        """
        places = [
            (module._parameters, name, parameter)
            for module in (*self.modules, *self.others)
            for name, parameter in module._parameters.items()
            if id(parameter) in new
        ]
        for owner, name, parameter in places:
            owner[name] = new[id(parameter)]
        try:
            yield
        finally:
            for owner, name, parameter in places:
                owner[name] = parameter


def _place(tensor: Tensor | None) -> Hashable:
    return None if tensor is None else (tensor.data_ptr(), tensor.requires_grad)


def tower_parts(clip: nn.Module, name: str) -> Tower:
    """Return the parts of an open_clip model that belong to a tower, "image" or "text"."""
    children = [child for path, child in clip.named_children() if (path == "visual") == (name == "image")]
    modules = tuple(dict.fromkeys(module for child in children for module in child.modules()))
    return Tower(modules, tuple(p for path, p in clip.named_parameters() if tower_of(path) == name), (clip,))


class TowerGraphs:
    """The recorded passes of an encoder's towers, at most one per tower.

    Args:
        recorder: makes the recorder of a pass.

    Attributes:
        replayed: replays by tower.
        failure: why recording has failed, after which every pass runs as usual; None if it has not.
    """

    def __init__(self, recorder: Callable[[], Recorder] = CudaRecorder):
        self._recorder = recorder
        self._recordings: dict[str, tuple[Hashable, Recording]] = {}
        self._seen: dict[str, tuple[Hashable, int]] = {}
        self._towers: dict[str, Tower] = {}
        self._unfit: set[str] = set()
        self.replayed: dict[str, int] = {}
        self.failure: str | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        """Copies and pickles of an encoder start without recordings, which are of this encoder's memory."""
        return TowerGraphs, (self._recorder,)

    def encode(self, encoder: Encoder, name: str, run: Run, inputs: Tensor) -> Tensor:
        """Return `run(inputs)` of an encoder's tower, replayed where that is valid.

        With `microbatch` the forward pass runs twice. Added modules depend on more than their input.
        """
        if encoder.microbatch is not None or len(encoder.added) or len(encoder.grown):
            return run(inputs)
        return self.run(name, run, inputs, partial(tower_parts, encoder.clip, name), encoder.precision)

    def run(self, name: str, run: Run, inputs: Tensor, parts: Callable[[], Tower], settings: Hashable = None) -> Tensor:
        """Return `run(inputs)`, replayed if a recording of it is valid.

        Args:
            name: the tower.
            run: its pass.
            inputs: its input.
            parts: returns the parts of the model that the pass depends on.
            settings: anything else that it depends on, such as the precision.
        """
        if self.failure is not None or not torch.is_grad_enabled() or torch.is_inference_mode_enabled():
            return run(inputs)
        if name in self._unfit:
            return run(inputs)
        if inputs.requires_grad or torch.is_autocast_enabled(inputs.device.type):
            return run(inputs)
        given = inputs.shape, inputs.dtype, inputs.device, settings
        known, recording = self._recordings.get(name, (None, None))
        if recording is not None and recording.unfit:
            # The method or a plugin needs several backward passes, which a replay makes slower.
            self._unfit.add(name)
            self._recordings.pop(name)
            return run(inputs)
        tower = self._towers.get(name)
        if tower is None or known is None or known != (given, tower.state()):
            tower = self._towers[name] = parts()
            state = tower.state()
            recording = None if state is None else self._record(name, (given, state), run, inputs, tower)
        if recording is None or recording.waits:
            return run(inputs)
        self.replayed[name] = self.replayed.get(name, 0) + 1
        return recording(inputs)

    def end_task(self, note: Callable[[str], None]) -> None:
        """Release the recordings, and note a failure to record."""
        self.release()
        if self.failure is not None:
            note(f"No CUDA graphs were used, because recording one failed ({self.failure}). Passes ran as with --compile off.")

    def release(self) -> None:
        """Forget all recordings, which hold the memory of a pass's activations."""
        self._recordings.clear()
        self._seen.clear()
        self._towers.clear()

    def _record(self, name: str, key: Hashable, run: Run, inputs: Tensor, tower: Tower) -> Recording | None:
        """Return a recording of a pass, if it has come often enough."""
        before, count = self._seen.get(name, (None, 0))
        count = count + 1 if before == key else 1
        self._seen[name] = key, count
        if count <= REPEATS:
            return None
        # First of all its memory.
        self._recordings.pop(name, None)
        try:
            recording = Recording(run, inputs, tower, self._recorder())
        except RuntimeError as error:
            # An error within a recording is followed by one of its end, which says only that there was another.
            while isinstance(error.__context__, RuntimeError):
                error = error.__context__
            self.failure = f"{type(error).__name__}: {(str(error).strip() or 'no message').splitlines()[0]}"
            self.release()
            return None
        self._recordings[name] = key, recording
        return recording
