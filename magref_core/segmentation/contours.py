"""Subjects that a closed edge sets apart from what surrounds them, whatever their colours.

A picture is divided where colour steps; neighbours are then joined, those with the weakest edge between them
first, while all that reaches the border of the picture is one from the start. What is left standing at some
moment, enclosed by edges, is a candidate, and so is what strong lines fence in.

Source: the joining of regions by the mean strength of their common edge is that of Arbelaez et al., Contour
Detection and Hierarchical Image Segmentation (2011), with plain steps of colour for the edges.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from .arrays import Array, load_opencv
from .fences import fenced_parts

_TRIALS: dict[float, tuple[float, ...]] = {6.0: (0.8,), 10.0: (0.8, 0.0), 16.0: (0.4,), 22.0: (0.0,)}
"""Step of 8-bit Lab over two pixels below which a place is no edge -> ways to join regions, all of which are
tried: the exponent of the smaller area in the strength of an edge, by which small regions are joined sooner.
"""

_LEAST_SEED = 6
"""Pixels of the smallest flat place that becomes a region."""

_UPPER_PART = 0.75
"""Of the left and right border; below it, and on the lower border, a subject may be cut off."""

_SHARES = (0.04, 0.85)
"""Of the picture that a candidate may cover, once it is without holes."""

Sums = tuple[float, float]
"""Of a common edge: its pixels, and the sum of their steps."""


def find_candidates(image: Array) -> list[Array]:
    """The enclosed parts of a picture.

    Args:
        image: (h, w, 3) uint8, RGB; a few hundred pixels a side.

    Returns:
        Masks, (h, w) bool, perhaps none; without holes, each once.
    """
    lab = smooth_lab(image)
    steps = colour_steps(lab)
    lowest, highest = _SHARES
    found: dict[bytes, Array] = {}
    for part in (*fenced_parts(steps), *_joined_parts(steps, lab)):
        mask = without_holes(part)
        if lowest < mask.mean() < highest:
            found.setdefault(mask.tobytes(), mask)
    return list(found.values())


def _joined_parts(steps: Array, lab: Array) -> Iterator[Array]:
    """What was standing at some moment of each trial, if its frame is not too small; (h, w) bool."""
    for flat, ways in _TRIALS.items():
        labels = _regions(steps, flat)
        frames = _frames(labels)
        for small_first in ways:
            for regions in _joined(labels, lab, small_first=small_first):
                top, left = frames[regions, :2].min(0)
                bottom, right = frames[regions, 2:].max(0)
                if (bottom - top + 1) * (right - left + 1) > _SHARES[0] * labels.size:
                    yield regions[labels]


def smooth_lab(image: Array) -> Array:
    """RGB -> 8-bit Lab without single odd pixels; (h, w, 3)."""
    cv2 = load_opencv()
    return cv2.medianBlur(cv2.cvtColor(image, cv2.COLOR_RGB2LAB), 3)


def colour_steps(lab: Array) -> Array:
    """The larger of the steps of colour over two pixels, along rows and along columns; (h, w)."""
    colours = lab.astype(np.float32)
    steps: Array = np.zeros(lab.shape[:2], np.float32)
    across = np.linalg.norm(colours[:, 2:] - colours[:, :-2], axis=-1)
    down = np.linalg.norm(colours[2:] - colours[:-2], axis=-1)
    steps[:, 1:-1] = across
    steps[1:-1] = np.maximum(steps[1:-1], down)
    return steps


def without_holes(mask: Array) -> Array:
    """(h, w) bool, with all that the mask encloses."""
    cv2 = load_opencv()
    outlines, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    filled: Array = cv2.drawContours(np.zeros(mask.shape, np.uint8), outlines, -1, 1, cv2.FILLED)
    return filled > 0


def _regions(steps: Array, flat: float) -> Array:
    """Number the places where steps are below `flat`, and let them grow until they meet; (h, w), from 0."""
    cv2 = load_opencv()
    _, labels, stats, _ = cv2.connectedComponentsWithStats((steps < flat).astype(np.uint8), connectivity=4)
    kept = stats[:, cv2.CC_STAT_AREA] >= _LEAST_SEED
    kept[0] = False
    if not kept.any():
        return np.zeros(steps.shape, np.int32)
    seeds = (np.cumsum(kept) * kept)[labels].astype(np.int32)
    heights = np.minimum(steps * 1.5, 255).astype(np.uint8)
    flooded: Array = cv2.watershed(cv2.merge([heights] * 3), seeds)
    grown = np.maximum(flooded, 0)
    while grown.any() and not grown.all():  # the lines between regions join one of their sides
        neighbours = cv2.dilate(grown.astype(np.float32), np.ones((3, 3), np.uint8)).astype(np.int32)
        grown = np.where(grown == 0, neighbours, grown)
    numbers: Array = np.unique(grown, return_inverse=True)[1].astype(np.int32)
    return np.reshape(numbers, grown.shape)


def _frames(labels: Array) -> Array:
    """Top, left, bottom and right of each region, all inclusive; (regions, 4)."""
    order = np.argsort(labels, axis=None, kind="stable")
    count = int(labels.max()) + 1
    starts = np.searchsorted(labels.ravel()[order], np.arange(count))
    rows, columns = np.divmod(order, labels.shape[1])
    low = [np.minimum.reduceat(places, starts) for places in (rows, columns)]
    high = [np.maximum.reduceat(places, starts) for places in (rows, columns)]
    return np.stack([*low, *high], 1)


def _joined(labels: Array, lab: Array, *, small_first: float) -> list[Array]:
    """Join all regions, and list what was left standing: for each, (regions,) bool."""
    count = int(labels.max()) + 1
    areas = np.bincount(labels.ravel(), minlength=count) / labels.size
    joining = _Joining(areas=areas.tolist(), small_first=small_first)
    joining.connect(*_common_edges(labels, lab, count))
    joining.run(_border_regions(labels))
    return [joining.members(node, count) for node in joining.standing if joining.areas[node] < _SHARES[1]]


def _border_regions(labels: Array) -> list[int]:
    """Which regions reach the border of the picture, where the subject does not."""
    rows = round(labels.shape[0] * _UPPER_PART)
    return np.unique(np.concatenate([labels[0], labels[:rows, 0], labels[:rows, -1]])).tolist()


def _common_edges(
    labels: Array, lab: Array, count: int
) -> tuple[list[int], list[int], list[int], list[float]]:
    """Pairs of neighbours, the pixels of their common edge, and the sum of the steps over three pixels."""
    colours = np.pad(lab.astype(np.float32), ((1, 2), (1, 2), (0, 0)), mode="edge")
    height, width = labels.shape
    pairs: list[Array] = []
    steps: list[Array] = []
    for down, right in ((1, 0), (0, 1)):
        first, second = labels[: height - down, : width - right], labels[down:, right:]
        rows, columns = first.shape
        before = colours[1 - down : 1 - down + rows, 1 - right : 1 - right + columns]
        after = colours[1 + 2 * down : 1 + 2 * down + rows, 1 + 2 * right : 1 + 2 * right + columns]
        differs = first != second
        low, high = np.minimum(first, second)[differs], np.maximum(first, second)[differs]
        pairs.append(low.astype(np.int64) * count + high)
        steps.append(np.linalg.norm((before - after)[differs], axis=-1))
    keys, places = np.unique(np.concatenate(pairs), return_inverse=True)
    lengths: Array = np.bincount(places.ravel(), minlength=len(keys))
    sums: Array = np.bincount(places.ravel(), np.concatenate(steps), minlength=len(keys))
    return (keys // count).tolist(), (keys % count).tolist(), lengths.tolist(), sums.tolist()


@dataclass(kw_only=True, slots=True)
class _Joining:
    """Regions, and what they are joined to, as a tree."""

    areas: list[float]
    """Of every node as a share of the picture; the regions come first."""
    small_first: float
    edges: dict[int, dict[int, Sums]] = field(default_factory=dict[int, dict[int, Sums]])
    """Node -> neighbour -> their common edge; only nodes that are joined to nothing yet."""
    parts: dict[int, tuple[int, int]] = field(default_factory=dict[int, tuple[int, int]])
    standing: list[int] = field(default_factory=list[int])
    """What was made without the border, or stood alone until it was joined to it."""

    def connect(self, first: list[int], second: list[int], lengths: list[int], sums: list[float]) -> None:
        """Set the common edges of the regions."""
        self.edges = {node: {} for node in range(len(self.areas))}
        for one, other, length, total in zip(first, second, lengths, sums, strict=True):
            self.edges[one][other] = self.edges[other][one] = (length, total)

    def run(self, border: list[int]) -> None:
        """Join the regions of the border, then neighbours by the strength of their edge until one is left."""
        ground = border[0]
        for region in border[1:]:
            ground = self._join(ground, region)
        pairs = [(one, other) for one, edges in self.edges.items() for other in edges if one < other]
        heap = [(self._strength(one, other), one, other) for one, other in pairs]
        heapq.heapify(heap)
        while heap:
            _, one, other = heapq.heappop(heap)
            if one not in self.edges or other not in self.edges:
                continue
            node = self._join(one, other)
            self.standing.append(node)
            if ground in (one, other):
                self.standing[-1] = one if ground == other else other
                ground = node
            for neighbour in self.edges[node]:
                heapq.heappush(heap, (self._strength(node, neighbour), node, neighbour))

    def members(self, node: int, count: int) -> Array:
        """The regions of a node; (count,) bool."""
        chosen: Array = np.zeros(count, np.bool_)
        open_nodes = [node]
        while open_nodes:
            here = open_nodes.pop()
            if here < count:
                chosen[here] = True
            else:
                open_nodes.extend(self.parts[here])
        return chosen

    def _strength(self, one: int, other: int) -> float:
        length, total = self.edges[one][other]
        return total / length * min(self.areas[one], self.areas[other]) ** self.small_first

    def _join(self, one: int, other: int) -> int:
        """Make a node of two; its edges are theirs together."""
        node = len(self.areas)
        self.areas.append(self.areas[one] + self.areas[other])
        self.parts[node] = (one, other)
        edges: dict[int, Sums] = {}
        for part in (one, other):
            for neighbour, (length, total) in self.edges.pop(part).items():
                if neighbour not in (one, other):
                    before = edges.get(neighbour, (0.0, 0.0))
                    edges[neighbour] = (before[0] + length, before[1] + total)
        for neighbour, sums in edges.items():
            self.edges[neighbour].pop(one, None)
            self.edges[neighbour].pop(other, None)
            self.edges[neighbour][node] = sums
        self.edges[node] = edges
        return node
