"""How evenly pixels change from frame to frame."""

from __future__ import annotations

import numpy as np

from .matching import Bools, Bytes


def roughness(frames: Bytes, where: Bools) -> float:
    """Mean absolute second difference in time, in grey levels.

    Args:
        frames: (F, H, W, 3) in 0..255, F at least 3.
        where: (F, H, W); a pixel counts in a frame in which it, the one before or the one after is marked.

    Returns:
        0 for pixels that change evenly or not at all, up to 510; 0 where nothing is marked.
    """
    levels = frames.astype(np.float32)
    second = np.abs(levels[2:] - 2 * levels[1:-1] + levels[:-2]).mean(3)  # (F - 2, H, W)
    counted = where[2:] | where[1:-1] | where[:-2]
    return float(second[counted].mean()) if counted.any() else 0.0
