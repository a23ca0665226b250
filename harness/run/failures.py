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

# What each kind of a lack of space adds to "no space left".
FULL = {
    errno.ENOSPC: "",
    errno.EDQUOT: " (your disk quota is used up)",
    errno.EFBIG: " (the file is larger than the system's limit for files, `ulimit -f`)",
}
LESS = (
    "in training a lower --microbatch helps (the same gradients, a chunk of the batch at a time), or --precision bf16, or a "
    "smaller batch (--set batch_size=..., and reference_batch=... where the method has one); in evaluation, which looks at 256 "
    "images at a time, only --precision bf16, a smaller model or --device cpu."
)


@contextmanager
def expected(fresh: bool = False, part: str | None = "task") -> Iterator[None]:
    """Turn a diverged loss, a full disk or GPU memory into a sentence and exit status 1, a signal into one and 130 or 143.

    `part`: what the record of the command grows by; None: the command keeps no record that it continues.
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
        _stop(f"the GPU's memory is full; {LESS}")
    except MemoryError:
        _stop(f"the memory is full; {LESS}")
    except RuntimeError as error:
        # torch has no class of its own for it on a CPU.
        if not any(words in str(error) for words in ("can't allocate memory", "Storage size calculation overflowed")):
            raise
        _stop(f"the memory is full; {LESS}")
    except OSError as error:
        # Every write to a record names its file, so what has no name is what is printed.
        what = str(error.filename) if error.filename else printed()
        if error.errno in FULL:
            _stop(f"no space left for {what}{FULL[error.errno]}; {again} continues once there is some.")
        if error.errno in REASONS or isinstance(error, NotRegular):
            _stop(f"{reason(error)}: {what}; what was written before is kept, and {again} continues from there.")
        raise


def printed() -> str:
    """Return where the standard output goes: the name of a log, or "the standard output"."""
    with suppress(OSError):
        if stat.S_ISREG(os.fstat(1).st_mode):
            return f"the log {os.readlink('/proc/self/fd/1')}"
    return "the standard output"


def _stop(message: str, status: int = 1) -> NoReturn:
    complain(message if leads() else f"(a process that follows) {message}")
    raise SystemExit(status) from None
