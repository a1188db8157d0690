"""One matrix at a time: float to stored parts, what that loses, and back."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from ..errors import CheckpointError
from .formats import Format, Parts

ROW_VALUES = 2**21
"""Values of a matrix that are worked on at once: a tenth of a second on one core, 8 MB in float32."""

NUM_PROBES = 8
"""Random inputs that are sent through each matrix, before and after."""


@dataclass(kw_only=True, slots=True)
class Loss:
    """How far stored values are from what they stand for; sums of squares in float64."""

    weight: float = 0.0
    error: float = 0.0
    largest_error: float = 0.0
    output: float = 0.0
    output_error: float = 0.0

    @property
    def relative_error(self) -> float:
        """Norm of the differences over the norm of the matrix; 0 for a matrix of zeros."""
        return _ratio(self.error, self.weight)

    @property
    def relative_output_error(self) -> float:
        """The same for the matrix' answers to random inputs."""
        return _ratio(self.output_error, self.output)

    def add(self, rows: Tensor, restored: Tensor, probes: Tensor) -> None:
        """Count some rows (r, C) with what was restored of them, given inputs (N, C)."""
        difference = restored - rows
        self.weight += _squares(rows)
        self.error += _squares(difference)
        self.largest_error = max(self.largest_error, float(difference.abs().max()))
        self.output += _squares(probes @ rows.T)
        self.output_error += _squares(probes @ difference.T)


def quantise(weight: Tensor, form: Format, *, check: Callable[[], None], label: str) -> tuple[Parts, Loss]:
    """Store a matrix in a format.

    Args:
        weight: (rows, columns) of any float dtype, of a size that fits the format.
        form: the format.
        check: called often; may raise to stop.
        label: how messages call the matrix.

    Returns:
        What is stored, and what it loses.

    Raises:
        CheckpointError: a value is not finite.
    """
    largest = 0.0
    for rows in _in_rows(weight):
        check()
        chunk = float(rows.abs().max())
        if not torch.isfinite(torch.tensor(chunk)):
            raise not_finite(label)
        largest = max(largest, chunk)
    scale, loss, probes = form.scale(largest), Loss(), _probes(weight.shape[1])
    pieces: dict[str, list[Tensor]] = {}
    for rows in _in_rows(weight):
        check()
        coded = form.encode(rows, scale)
        loss.add(rows, form.decode(coded, scale), probes)
        for name, piece in coded.items():
            pieces.setdefault(name, []).append(piece)
    return form.finish({name: _joined(parts) for name, parts in pieces.items()}, scale), loss


def restore(parts: Parts, form: Format) -> Tensor:
    """The float32 matrix (rows, columns) that stored parts stand for."""
    rows = len(parts["weight"])
    plain, scale = form.start(parts, rows)
    step = _step(plain["weight"].shape[1])
    pieces = [
        form.decode({name: part[start : start + step] for name, part in plain.items()}, scale)
        for start in range(0, rows, step)
    ]
    return torch.cat(pieces)


def not_finite(label: str) -> CheckpointError:
    """The error for a tensor with NaN or infinite values."""
    return CheckpointError(
        f"{label} has values that are not finite numbers: download the source file again or choose another "
        "one"
    )


def _in_rows(weight: Tensor) -> Iterator[Tensor]:
    step = _step(weight.shape[1])
    for start in range(0, len(weight), step):
        yield weight[start : start + step].float()


def _step(columns: int) -> int:
    return max(1, ROW_VALUES // columns)


def _joined(parts: list[Tensor]) -> Tensor:
    if parts[0].dtype.itemsize > 1 or len(parts) == 1:
        return torch.cat(parts)
    # As bytes: not every device joins float8.
    return torch.cat([part.view(torch.uint8) for part in parts]).view(parts[0].dtype)


def _probes(columns: int) -> Tensor:
    return torch.randn(NUM_PROBES, columns, generator=torch.Generator().manual_seed(1_000_003))


def _squares(values: Tensor) -> float:
    return float(values.square().sum(dtype=torch.float64))


def _ratio(error: float, of: float) -> float:
    return (error / of) ** 0.5 if of else 0.0
