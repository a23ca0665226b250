"""`torch.compile` of the attention blocks of an encoder's towers."""

from __future__ import annotations

import os
import shutil
import sys
import warnings

from models.blocks import blocks
from models.encoder import DualEncoder
from models.registry import UserError

COMPILERS = ("cl", "clang-cl") if sys.platform == "win32" else ("g++", "c++", "clang++")


def compile_blocks(encoder: DualEncoder, backend: str = "inductor") -> None:
    """Compile every block of both towers in place, each at its first pass.

    Blocks of one tower share their code, so a tower is compiled once for each shape of input and each mode. The results agree
    with those of the uncompiled blocks up to rounding. Call it after `models.tuning.apply`. Copies of the encoder are not
    compiled.

    Raises:
        UserError: a tower has no blocks of a known class (`models.blocks`), or there is no C++ compiler.
    """
    if backend == "inductor" and not has_compiler():
        raise UserError(
            f"--compile blocks needs a C++ compiler ({', '.join(COMPILERS)}, or the one that the variable CXX names). Install "
            "one, or use --compile off."
        )
    # torch 2.15's compiler reads the gradients of activations, and torch warns of that.
    warnings.filterwarnings("ignore", message="The .grad attribute of a Tensor that is not a leaf Tensor", category=UserWarning)
    for block in blocks(encoder):
        block.module.compile(backend=backend)


def has_compiler() -> bool:
    """Return whether torch finds a C++ compiler, which its compiled code needs."""
    return any(shutil.which(name) is not None for name in (os.environ.get("CXX") or "", *COMPILERS))
