"""Failures that are nobody's bug: said in one sentence, with what is safe and what to do."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

import torch

from harness.console import complain
from harness.parallel import leads
from harness.pauses import Stopped
from strategies.losses import NonFiniteLoss

# A disk or a quota that is full, and a file that is larger than the process may write.
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
# A folder that has become read-only, a disk or a network drive that has gone, a file where a folder should be.
REFUSED = (
    *(errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO, errno.ESTALE),
    *(errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ENOENT, errno.ELOOP),
)
LESS = (
    "in training a lower --microbatch helps (the same gradients, a chunk of the batch at a time), or --precision bf16, or a "
    "smaller batch (--set batch_size=..., and reference_batch=... where the method has one); in evaluation, which looks at 256 "
    "images at a time, only --precision bf16, a smaller model or --device cpu."
)


@contextmanager
def expected(fresh: bool = False) -> Iterator[None]:
    """Turn a diverged loss, a full disk or GPU memory into a sentence and exit status 1, an interrupt into one and 130."""
    again = "the same command without --fresh" if fresh else "the same command"
    try:
        yield
    except Stopped as stopped:
        _stop(f"{stopped.word}; {again} continues after {stopped.saved or 'the last finished task'}.", stopped.status)
    except KeyboardInterrupt:
        _stop(f"interrupted; {again} continues after the last finished task.", 130)
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
        what = error.filename or "the record"
        if error.errno in FULL:
            _stop(f"no space left for {what}; {again} continues once there is some.")
        if error.errno in REFUSED:
            _stop(f"{error.strerror}: {what}; what was written before is kept, and {again} continues from there.")
        raise


def _stop(message: str, status: int = 1) -> NoReturn:
    complain(message if leads() else f"(a process that follows) {message}")
    raise SystemExit(status) from None
