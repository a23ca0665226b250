"""Expected failures end in one sentence and a status."""

import errno

import pytest
import torch

from harness.run.failures import reporting_failures
from strategies.engine.losses import NonFiniteLoss


@pytest.mark.parametrize(
    ("error", "status", "words"),
    [
        (torch.OutOfMemoryError("CUDA"), 1, ("--set batch_size=", "In evaluation, which looks at 256 images at a time")),
        (KeyboardInterrupt(), 130, ("interrupted; the same command continues",)),
        (NonFiniteLoss("The loss is nan."), 1, ("The loss is nan. The tasks before it are kept",)),
        (OSError(errno.ENOSPC, "full", "results"), 1, ("no space left for results",)),
        (OSError(errno.EDQUOT, "quota", "results"), 1, ("no space left for results (your disk quota is used up)",)),
        (OSError(errno.EFBIG, "large", "record"), 1, ("no space left for record (the file is larger", "`ulimit -f`)")),
        (OSError(errno.ENOSPC, "full"), 1, ("no space left for the ",)),
        (OSError(errno.EMFILE, "many", "x"), 1, ("too many files open; raise the limit with `ulimit -n 4096`: x",)),
        (OSError(errno.ENOTEMPTY, "not empty", "after-0"), 1, ("the folder holds other files; move them away: after-0",)),
        (
            OSError(errno.EROFS, "Read-only file system", "results"),
            1,
            ("the file system is read-only: results; what was written",),
        ),
        (OSError(errno.EIO, "Input/output error", "results"), 1, ("input/output error: results", "the same command continues")),
    ],
)
def test_one_sentence(error, status, words, capsys):
    with pytest.raises(SystemExit) as caught, reporting_failures():
        raise error
    said = capsys.readouterr().err
    assert caught.value.code == status and said.startswith("perennial: ") and said.count("\n") == 1
    assert all(word in said for word in words)


def test_the_batch_size_in_the_message():
    """The number in the message is the default batch size of every evaluation."""
    import inspect

    from metrics.evaluate import evaluate
    from strategies import Strategy

    assert inspect.signature(evaluate).parameters["batch_size"].default == 256
    assert inspect.signature(Strategy.__init__).parameters["eval_batch_size"].default == 256


def test_other_errors_pass():
    with pytest.raises(OSError, match="gone"), reporting_failures():
        raise OSError(errno.EBADF, "gone")
