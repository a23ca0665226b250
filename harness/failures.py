"""Failures that are nobody's bug: said in one sentence, with what is safe and what to do."""

from __future__ import annotations

import errno
import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def expected() -> Iterator[None]:
    """Turn a diverged loss or a full disk into a sentence and exit status 1; everything else passes through."""
    from strategies.base import NonFiniteLoss

    try:
        yield
    except NonFiniteLoss as error:
        print(f"perennial: {error} The tasks before it are kept in the record.", file=sys.stderr)
        raise SystemExit(1) from None
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        print(
            f"perennial: no space left for {error.filename or 'the record'}; the same command continues once there is some.",
            file=sys.stderr,
        )
        raise SystemExit(1) from None
