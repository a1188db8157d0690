"""Fit the weights of `magref_core.evaluation.sprite_verdicts` to drawn videos."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F

from magref_core.evaluation.halves import WEIGHTS as NETWORK_FILE
from magref_core.evaluation.sprite_verdicts import STATES, expand

Numbers = npt.NDArray[np.float64]

DECAY = 3e-3
"""Of the squared weights."""
HEADER = '''"""Weights of `sprite_verdicts`; written by `benchmarks/subject_report.py --fit`, not by hand."""

from __future__ import annotations
'''

Cases = tuple[tuple[int, int, int, int], ...]
"""Height, width, seed and number of the videos of each kind."""


def fit(measures: Numbers, truth: Sequence[str]) -> tuple[Numbers, Numbers, Numbers]:
    """Multinomial regression.

    Args:
        measures: (S, M) of all subjects of all videos.
        truth: the right verdicts; swapped counts as correct, for that is told by places.

    Returns:
        Means (M,), spreads (M,) and weights (K, 3).
    """
    means, spreads = measures.mean(0), measures.std(0)
    terms = torch.tensor(expand(measures, means, spreads))
    right = torch.tensor([STATES.index("correct" if each == "swapped" else each) for each in truth])  # pyright: ignore[reportArgumentType]
    weights = torch.zeros(terms.shape[1], len(STATES), dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.LBFGS([weights], max_iter=200, line_search_fn="strong_wolfe")

    def loss() -> torch.Tensor:
        optimiser.zero_grad()
        value = F.cross_entropy(terms @ weights, right) + DECAY * (weights[:-1] ** 2).sum()
        value.backward()
        return value

    optimiser.step(loss)  # pyright: ignore[reportArgumentType]
    return means, spreads, weights.detach().numpy()


def network_id() -> str:
    """Tells one network of halves from another: the checksum of its file."""
    return f"{zlib.crc32(NETWORK_FILE.read_bytes()):08x}"


def write(
    file: Path, means: Numbers, spreads: Numbers, weights: Numbers, *, cases: Cases, network: str
) -> None:
    """Write them as a Python module of numbers, with the videos and the network that they come from."""
    rows = [f"({', '.join(f'{value:.4f}' for value in row)})," for row in weights]
    packed = ["    " + " ".join(rows[start : start + 3]) for start in range(0, len(rows), 3)]
    lines = [
        HEADER,
        f"FITTED_TO: tuple[tuple[int, int, int, int], ...] = {cases}",
        '"""Height, width, seed and number of the videos of each kind; empty where that is not known."""',
        f'NETWORK = "{network}"',
        '"""Checksum (CRC-32) of the network of halves that saw them; empty where that is not known."""',
        "# fmt: off",
    ]
    for name, values in (("MEANS", means), ("SPREADS", spreads)):
        shown = [f"{value:.5f}," for value in values]
        rows = ["    " + " ".join(shown[start : start + 8]) for start in range(0, len(shown), 8)]
        lines += [f"{name} = (", *rows, ")"]
    weighed = ["WEIGHTS: tuple[tuple[float, ...], ...] = (", *packed, ")", "# fmt: on", ""]
    file.write_text("\n".join([*lines, *weighed]), encoding="utf-8")
