"""Whether all of a tensor is numbers: exact, in pieces. `checkpoint.check_finite` is the quick look."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor

PIECE = 2**24
"""Elements that are looked at at once: 64 MB as float32."""


def all_finite(values: Tensor) -> bool:
    """Whether no element is NaN or infinite; every one is looked at.

    Args:
        values: of any shape, device and dtype; whole numbers are finite.
    """
    if not (values.is_floating_point() or values.is_complex()):
        return True
    flat = values.detach().reshape(-1)
    for start in range(0, len(flat), PIECE):
        piece = flat[start : start + PIECE]
        # float8 has no test of its own.
        if not torch.isfinite(piece.float() if piece.dtype.itemsize == 1 else piece).all():
            return False
    return True


def spoiled_names(
    weights: Iterable[tuple[str, Tensor]], *, most: int, check: Callable[[], None] = lambda: None
) -> list[str]:
    """Names of weights with NaN or infinite values.

    Args:
        weights: names and tensors; made one after the other, so that a packed model is unpacked one by one.
        most: stop after so many.
        check: called before each; may raise to stop.
    """
    found: list[str] = []
    for name, weight in weights:
        check()
        if not all_finite(weight):
            found.append(name)
            if len(found) == most:
                break
    return found
