"""How much a mask looks like the figure of its picture, and what is outside of it like the ground.

Colour steps all along the outline of a figure; its colours are rare elsewhere; it is richer in detail than
the ground; it is one large compact piece near the middle, and often the same on the left and on the right.

Source: such cues for parts of a picture are those of Carreira and Sminchisescu, CPMC (2012). The weights are
fitted to 156 drawn pictures of other seeds than those of `benchmarks/segmentation.py`, by
`benchmarks/segmentation_weights.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from .arrays import Array, clip, load_opencv

WEIGHTS: Mapping[str, float] = {
    "step": 2.30,
    "motley": 3.46,
    "log_area": 2.13,
    "nearness": 2.69,
    "ragged": -1.06,
    "common_colours": -12.66,
    "detail": 2.25,
    "symmetry": 2.13,
}
"""Of the cues of a figure, see `cues`."""

LEAST_GRADE = -3.0
"""Of a part that is surely a figure. Most best parts of the pictures of the fit are above it; those of a
photograph that shows its subject large and soft are below, and the outline of the kind serves better there.
"""

_BORDER_PRICE, _MOST_BORDER = 8.0, 0.2
"""What it costs a mask that all of its outline is the border of the picture, and the share from which on it
costs no more. Set by hand: enclosed parts, to which the weights are fitted, do not reach the border.
"""

_UPPER_PART = 0.75
"""Of the left and right border; below it, and on the lower border, a subject may be cut off."""

_BINS = 12
"""Of the colour histograms, along each axis of Lab."""

_REACH = 4
"""Points of the outline before and after one that give its direction."""

_INSIDE, _OUTSIDE = 1.5, -2.5
"""Pixels inwards from the outline at which the colours on either side are looked up."""

_STRONG = 40.0
"""Step of 8-bit Lab from which on a larger one counts no more."""

_SHARP = 60.0
"""Step of 8-bit Lab from pixel to pixel from which on a larger one is no more detail."""

_LEAST_POINTS = 12
"""Of an outline inside the picture; a shorter one says nothing."""

_THUMB = 32
"""Pixels a side of the small mask that is compared with its mirror image."""

_SPREAD = (0.25, 0.28)
"""Of the middle of the picture, as shares of its width and height; its centre lies a little below."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Scene:
    """What all masks of a picture are graded by; the last three at half its size."""

    lab: Array
    """(h, w, 3) float32, 8-bit Lab."""
    cells: Array
    """(h / 2, w / 2), the cell of the colour histograms."""
    near: Array
    """(h / 2, w / 2) in 0..1; 1 a little below the middle of the picture."""
    detail: Array
    """(h / 2, w / 2), the steps of colour from pixel to pixel."""


def scene_of(image: Array, lab: Array) -> Scene:
    """Prepare a picture.

    Args:
        image: (h, w, 3) uint8, RGB.
        lab: (h, w, 3) uint8, the same as 8-bit Lab without single odd pixels.
    """
    parts = lab[::2, ::2].astype(np.int32) * _BINS // 256
    cells = (parts[..., 0] * _BINS + parts[..., 1]) * _BINS + parts[..., 2]
    numbers: Array = np.unique(cells, return_inverse=True)[1]
    return Scene(
        lab=lab.astype(np.float32),
        cells=np.reshape(numbers, cells.shape),
        near=_nearness(cells.shape),
        detail=_detail(image),
    )


def grade(mask: Array, scene: Scene) -> float:
    """The weighted sum of the cues, comparable within one picture; minus infinity if there is no outline."""
    found = cues(mask, scene)
    return sum(weight * found[name] for name, weight in WEIGHTS.items()) if found else -np.inf


def worth(mask: Array, scene: Scene) -> float:
    """The grade of a mask, less for what of its outline is the border, which hides whether it is an edge."""
    height, width = mask.shape
    points, _ = _outline(mask)
    if not len(points):
        return -np.inf
    x, y = points[:, 0], points[:, 1]
    on_border = (y < 1) | (((x < 1) | (x >= width - 1)) & (y < _UPPER_PART * height))
    return grade(mask, scene) - _BORDER_PRICE * min(float(on_border.mean()), _MOST_BORDER)


def cues(mask: Array, scene: Scene) -> dict[str, float]:
    """What speaks for and against a mask, by name.

    Args:
        mask: (h, w) bool; its longest outline counts.
        scene: its picture.

    Returns:
        step, the mean step of colour across the outline, and motley, the mean distance of the colours
        outside of it from their median, both in 0..1; log_area, of the share of the picture; nearness, the
        logarithm of how much nearer the middle it is than the picture at large; ragged, the logarithm of
        outline squared by area; common_colours, how alike the colours inside and outside are, in 0..1;
        detail, the logarithm of how much more the colours step inside than outside; symmetry, the overlap
        with the mirror image.
        Empty if hardly any outline is inside the picture.
    """
    outline, inwards = _outline(mask)
    last = np.array(mask.shape[::-1], np.float32) - 1
    free = ((outline >= 1) & (outline < last)).all(-1)
    small = mask[::2, ::2]
    if free.sum() < _LEAST_POINTS or small.all() or not small.any():
        return {}
    points, normals = outline[free], inwards[free]
    inside, outside = (_colours(scene.lab, points + depth * normals) for depth in (_INSIDE, _OUTSIDE))
    return {
        "step": _mean_step(inside - outside),
        "motley": _mean_step(outside - np.median(outside, axis=0)),
        "log_area": float(np.log(mask.mean())),
        "nearness": float(np.log(scene.near[small].mean() / scene.near.mean() + 1e-3)),
        "ragged": float(np.log(len(outline) ** 2 / mask.sum())),
        "common_colours": _common_colours(small, scene.cells),
        "detail": float(np.log((scene.detail[small].mean() + 1) / (scene.detail[~small].mean() + 1))),
        "symmetry": _symmetry(mask),
    }


def _outline(mask: Array) -> tuple[Array, Array]:
    """The points of the longest outline in order, as x and y, and unit vectors inwards; both (n, 2)."""
    cv2 = load_opencv()
    found, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    if not found:
        return np.zeros((0, 2), np.float32), np.zeros((0, 2), np.float32)
    longest: Array = max(found, key=len)
    points: Array = longest[:, 0].astype(np.float32)
    along = np.roll(points, -_REACH, 0) - np.roll(points, _REACH, 0)
    inwards = np.stack([-along[:, 1], along[:, 0]], -1)
    if cv2.contourArea(longest, oriented=True) < 0:
        inwards = -inwards
    return points, inwards / np.maximum(np.linalg.norm(inwards, axis=-1, keepdims=True), 1e-6)


def _colours(lab: Array, points: Array) -> Array:
    """(n, 3); points outside of the picture are moved to its border."""
    height, width = lab.shape[:2]
    columns = clip(np.rint(points[:, 0]), 0, width - 1).astype(np.int32)
    rows = clip(np.rint(points[:, 1]), 0, height - 1).astype(np.int32)
    return lab[rows, columns]


def _mean_step(differences: Array) -> float:
    """Of Lab colours, (n, 3); in 0..1, where 1 is a strong step everywhere."""
    return float(np.minimum(np.linalg.norm(differences, axis=-1), _STRONG).mean() / _STRONG)


def _common_colours(inside: Array, cells: Array) -> float:
    """How alike the colours inside and outside are, in 0..1: the Bhattacharyya coefficient."""
    every: Array = np.bincount(cells.ravel())
    within: Array = np.bincount(cells[inside], minlength=len(every))
    shares = [counts / max(1, counts.sum()) for counts in (within, every - within)]
    return float(np.sqrt(shares[0] * shares[1]).sum())


def _symmetry(mask: Array) -> float:
    """How much of the mask, in 0..1, lies on its mirror image within its frame."""
    cv2 = load_opencv()
    values = mask.astype(np.uint8) * 255
    x, y, width, height = cv2.boundingRect(values)
    frame = values[y : y + height, x : x + width]
    small: Array = cv2.resize(frame, (_THUMB, _THUMB), interpolation=cv2.INTER_AREA).astype(np.float32)
    mirrored = small[:, ::-1]
    return float(np.minimum(small, mirrored).sum() / np.maximum(small, mirrored).sum())


def _detail(image: Array) -> Array:
    """The larger of the steps of colour to the left and upwards, averaged over 2 x 2 pixels."""
    cv2 = load_opencv()
    lab: Array = cv2.cvtColor(image, cv2.COLOR_RGB2LAB).astype(np.float32)
    steps: Array = np.zeros(lab.shape[:2], np.float32)
    steps[:, 1:] = np.linalg.norm(np.diff(lab, axis=1), axis=-1)
    steps[1:] = np.maximum(steps[1:], np.linalg.norm(np.diff(lab, axis=0), axis=-1))
    size = (lab.shape[1] + 1) // 2, (lab.shape[0] + 1) // 2
    return np.asarray(cv2.resize(np.minimum(steps, _SHARP), size, interpolation=cv2.INTER_AREA))


def _nearness(shape: tuple[int, ...]) -> Array:
    """(h, w) in 0..1; 1 a little below the middle of the picture."""
    height, width = shape
    y = (np.arange(height)[:, None] + 0.5) / height - 0.55
    x = (np.arange(width)[None] + 0.5) / width - 0.5
    return np.exp(-((x / _SPREAD[0]) ** 2 + (y / _SPREAD[1]) ** 2) / 2).astype(np.float32)
