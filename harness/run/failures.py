"""Report expected failures (a full disk, out of memory, a diverged loss) in one sentence, with what to do next."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import NoReturn

import torch

from harness.display.console import complain
from harness.run.process_group import leads
from harness.run.signals import Stopped
from models.files import REASONS, NotRegular, reason
from strategies.engine.losses import NonFiniteLoss

# What each kind of lack of space adds to "no space left".
NO_SPACE = {
    errno.ENOSPC: "",
    errno.EDQUOT: " (your disk quota is used up)",
    errno.EFBIG: " (the file is larger than the system's limit for files, `ulimit -f`)",
}
SAVE_MEMORY = (
    "In training, use a lower --microbatch (the same gradients, a chunk of the batch at a time), --precision bf16, or a "
    "smaller batch (--set batch_size=..., and reference_batch=... if the method has it). In evaluation, which looks at 256 "
    "images at a time, use --precision bf16, a smaller model or --device cpu."
)
NO_MEMORY_ON_CPU = ("can't allocate memory", "Storage size calculation overflowed")
"""Messages of torch's RuntimeError for a lack of memory on a CPU, for which torch has no class."""


@contextmanager
def reporting_failures(fresh: bool = False, part: str | None = "task") -> Iterator[None]:
    """Turn expected failures into one sentence and an exit status.

    A diverged loss, a full disk, a disk error and a lack of memory exit with status 1, a signal with 130 or 143.

    Args:
        fresh: whether the command was given --fresh, without which it has to be repeated to continue.
        part: what the record of the command grows by ("task", "cell"); None for a command that cannot be continued.
    """
    again = "the same command without --fresh" if fresh else "the same command"
    then = f"; {again} continues after" if part else "; the same command starts over"
    try:
        yield
    except Stopped as stopped:
        where = f" {stopped.saved or f'the last finished {part}'}" if part else ""
        _stop(f"{stopped.word}{then}{where}.", stopped.status)
    except KeyboardInterrupt:
        _stop(f"interrupted{then}{f' the last finished {part}' if part else ''}.", 130)
    except NonFiniteLoss as error:
        _stop(f"{error} The tasks before it are kept in the record.")
    except torch.OutOfMemoryError:
        _stop(f"the GPU's memory is full. {SAVE_MEMORY}")
    except MemoryError:
        _stop(f"the memory is full. {SAVE_MEMORY}")
    except RuntimeError as error:
        if not any(words in str(error) for words in NO_MEMORY_ON_CPU):
            raise
        _stop(f"the memory is full. {SAVE_MEMORY}")
    except OSError as error:
        # Every write to a record names its file, so an error without a name comes from printing.
        place = str(error.filename) if error.filename else output_name()
        if error.errno in NO_SPACE:
            _stop(f"no space left for {place}{NO_SPACE[error.errno]}; {again} continues once there is some.")
        if error.errno in REASONS or isinstance(error, NotRegular):
            _stop(f"{reason(error)}: {place}; what was written before is kept, and {again} continues from there.")
        raise


def output_name() -> str:
    """Return where the standard output goes: the name of a log, or "the standard output"."""
    with suppress(OSError):
        if stat.S_ISREG(os.fstat(1).st_mode):
            return f"the log {os.readlink('/proc/self/fd/1')}"
    return "the standard output"


def _stop(message: str, status: int = 1) -> NoReturn:
    """Print a message and exit."""
    complain(message if leads() else f"(another process of this run) {message}")
    raise SystemExit(status) from None
