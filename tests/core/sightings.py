"""Sightings made by hand."""

from __future__ import annotations

import numpy as np

from magref_core.evaluation.sightings import Sightings


def seen(likeness, *, shares=None, places=(0.2, 0.7), frames=3, method="faces"):
    """Sightings that are the same in every frame.

    Args:
        likeness: (N, N) by place and subject.
        shares: (N, N) by place and subject; each place shows its subject alone if not given.
        places: middles from left to right, in shares of the frame; or one list of them per frame.
        frames: how many.
        method: whose limits hold.
    """
    likeness = np.asarray(likeness, np.float32)
    count = len(likeness)
    shares = np.eye(count, dtype=np.float32) if shares is None else np.asarray(shares, np.float32)
    rows = places if isinstance(places[0], (list, tuple)) else [places] * frames
    boxes = np.array([[(x - 0.1, 0.3, 0.2, 0.6) for x in row[:count]] for row in rows], np.float32)
    repeated = np.repeat(likeness[None], frames, 0)
    return Sightings(
        names=tuple("abc"[:count]),
        frames=tuple(range(0, 5 * frames, 5)),
        boxes=boxes,
        likeness=repeated,
        shares=np.repeat(shares[None, :, None], frames, 0),
        alone=np.diagonal(repeated, axis1=1, axis2=2).copy(),
        method=method,
    )


BOTH = [[0.8, 0.1], [0.1, 0.8]]
"""Each looks like itself."""
