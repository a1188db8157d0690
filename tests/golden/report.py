"""One line of the golden report: how far one of our tensors is from the official one."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """One compared quantity."""

    file: str
    case: str
    quantity: str
    max_error: float
    """Largest absolute difference; infinite if the shapes differ, NaN if a value is."""
    mean_error: float
    max_limit: float
    """0 asks for equality."""
    mean_limit: float | None = None

    @property
    def passed(self) -> bool:
        """Whether both errors are within their limits; NaN never is."""
        within_mean = self.mean_limit is None or self.mean_error <= self.mean_limit
        return self.max_error <= self.max_limit and within_mean


def compare(
    file: str,
    case: str,
    quantity: str,
    ours: Tensor,
    golden: Tensor,
    max_limit: float,
    mean_limit: float | None = None,
) -> Row:
    """Measure one tensor against its golden twin, in float64.

    Args:
        file: golden file the numbers come from.
        case: case within the file.
        quantity: what is compared.
        ours: any shape.
        golden: the same shape; another shape is an infinite error.
        max_limit: largest allowed absolute difference; 0 asks for equality.
        mean_limit: largest allowed mean absolute difference, if that is limited too.

    Returns:
        The row of the report.
    """
    max_error = mean_error = math.inf
    if ours.shape == golden.shape:
        difference = (ours.detach().cpu().double() - golden.double()).abs()
        max_error = difference.max().item() if difference.numel() else 0.0
        mean_error = difference.mean().item() if difference.numel() else 0.0
    return Row(
        file=file,
        case=case,
        quantity=quantity,
        max_error=max_error,
        mean_error=mean_error,
        max_limit=max_limit,
        mean_limit=mean_limit,
    )


def verdict(file: str, case: str, quantity: str, *, holds: bool) -> Row:
    """A fact that either holds or not, as a row with an error of 0 or infinity."""
    error = 0.0 if holds else math.inf
    return Row(file=file, case=case, quantity=quantity, max_error=error, mean_error=error, max_limit=0.0)


def equal(file: str, case: str, quantity: str, ours: Iterable[int], golden: Iterable[int]) -> Row:
    """Compare two sequences of integers exactly; sequences of other lengths fail."""
    return compare(file, case, quantity, torch.tensor(list(ours)), torch.tensor(list(golden)), 0.0)


HEADER = ("file", "case", "quantity", "max error", "limit", "mean error", "limit", "")


def table(rows: Iterable[Row]) -> str:
    """The report as aligned text, one line per row under a header."""
    cells = [HEADER, *(_cells(row) for row in rows)]
    widths = [max(len(line[column]) for line in cells) for column in range(len(HEADER))]
    return "\n".join(_aligned(line, widths) for line in cells)


def _cells(row: Row) -> tuple[str, ...]:
    mean_limit = "" if row.mean_limit is None else f"{row.mean_limit:.0e}"
    max_limit = f"{row.max_limit:.0e}" if row.max_limit else "exact"
    errors = f"{row.max_error:.1e}", f"{row.mean_error:.1e}"
    passed = "pass" if row.passed else "FAIL"
    return row.file, row.case, row.quantity, errors[0], max_limit, errors[1], mean_limit, passed


def _aligned(line: tuple[str, ...], widths: list[int]) -> str:
    text = [cell.ljust(width) for cell, width in zip(line[:3], widths[:3], strict=True)]
    numbers = [cell.rjust(width) for cell, width in zip(line[3:7], widths[3:7], strict=True)]
    return "  ".join([*text, *numbers, line[7]]).rstrip()
