"""Subjects that a closed edge sets apart from what surrounds them, whatever their colours.

A picture is divided where colour steps; neighbours are then joined, those with the weakest edge between them
first, while all that reaches the border of the picture is one from the start. What is left standing at some
moment, enclosed by edges, is a candidate; that with the most complete edge near the middle is the subject.

Source: the joining of regions by the mean strength of their common edge is that of Arbelaez et al., Contour
Detection and Hierarchical Image Segmentation (2011), with plain steps of colour for the edges.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass, field

import numpy as np

from .arrays import Array, load_opencv

_TRIALS: dict[float, tuple[tuple[float, bool], ...]] = {
    10.0: ((0.4, True), (0.0, True), (0.4, False)),
    22.0: ((0.4, True), (0.0, True)),
}
"""Step of 8-bit Lab over two pixels below which a place is no edge -> ways to join regions, all of which are
tried: the exponent of the smaller area in the strength of an edge, by which small regions are joined sooner,
and whether the lower border may cut the subject off.
"""

_LEAST_SEED = 6
"""Pixels of the smallest flat place that becomes a region."""

_UPPER_PART = 0.75
"""Of the left and right border; below it, and on the lower border, a subject may be cut off."""

_SHARES = (0.07, 0.85)
"""Of the picture that a candidate may cover."""

_VISIBLE = 15.0
"""Step of 8-bit Lab that counts as an edge of the subject."""

_SIZE_WEIGHT = 0.3
"""How much the logarithm of the area counts, beside that of the edge's completeness."""

_SPREAD = (0.25, 0.28)
"""Of the middle of the picture, as shares of its width and height; its centre lies a little below."""

Sums = tuple[float, float]
"""Of a common edge: its pixels, and the sum of their steps."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Candidate:
    """An enclosed part of the picture."""

    mask: Array
    """(h, w) bool, without holes."""
    support: float
    """Share of its edge, in 0..1, where colour steps; the border of the picture does not count."""
    score: float
    """Of the subject, comparable within one picture: completeness of the edge, size and nearness."""


def find_candidates(image: Array) -> list[Candidate]:
    """The enclosed parts of a picture, the best first.

    Args:
        image: (h, w, 3) uint8, RGB; a few hundred pixels a side.

    Returns:
        Candidates, perhaps none; each at least once, in order of their score.
    """
    lab = smooth_lab(image)
    steps = colour_steps(lab)
    near = _nearness(steps.shape)
    found: dict[bytes, Candidate] = {}
    for flat, ways in _TRIALS.items():
        labels = _regions(steps, flat)
        for small_first, is_cut in ways:
            for regions in _joined(labels, lab, small_first=small_first, is_cut=is_cut):
                mask = without_holes(regions[labels])
                key = mask.tobytes()
                if key not in found:
                    found[key] = judge(mask, steps, near)
    return sorted(found.values(), key=lambda candidate: -candidate.score)


def judge(mask: Array, steps: Array, near: Array | None = None) -> Candidate:
    """Say how much a mask looks like the subject of its picture.

    Args:
        mask: (h, w) bool.
        steps: (h, w), of `colour_steps`.
        near: (h, w), how near the middle each place is; made if not given.
    """
    cv2 = load_opencv()
    near = _nearness(mask.shape) if near is None else near
    values = mask.astype(np.uint8)
    edge: Array = cv2.dilate(values, np.ones((3, 3), np.uint8)) != values
    edge[[0, -1]] = False
    edge[:, [0, -1]] = False
    if not edge.any():
        return Candidate(mask=mask, support=0.0, score=-np.inf)
    wide: Array = cv2.dilate(steps, np.ones((3, 3), np.uint8))
    support = float((wide[edge] > _VISIBLE).mean())
    share, nearness = float(mask.mean()), float(near[mask].mean() / near.mean())
    score = np.log(support + 1e-3) + _SIZE_WEIGHT * np.log(share) + np.log(nearness + 1e-3)
    return Candidate(mask=mask, support=support, score=float(score))


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
    outside = (~mask).astype(np.uint8)
    _, labels = load_opencv().connectedComponents(outside, connectivity=4)
    border = np.unique(np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]]))
    return ~np.isin(labels, border[border > 0])


def _nearness(shape: tuple[int, ...]) -> Array:
    """(h, w) in 0..1; 1 a little below the middle of the picture."""
    height, width = shape
    y = (np.arange(height)[:, None] + 0.5) / height - 0.55
    x = (np.arange(width)[None] + 0.5) / width - 0.5
    return np.exp(-((x / _SPREAD[0]) ** 2 + (y / _SPREAD[1]) ** 2) / 2).astype(np.float32)


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


def _joined(labels: Array, lab: Array, *, small_first: float, is_cut: bool) -> list[Array]:
    """Join all regions, and list what was left standing: for each, (regions,) bool."""
    count = int(labels.max()) + 1
    areas = np.bincount(labels.ravel(), minlength=count) / labels.size
    joining = _Joining(areas=areas.tolist(), small_first=small_first)
    joining.connect(*_common_edges(labels, lab, count))
    joining.run(_border_regions(labels, is_cut=is_cut))
    lowest, highest = _SHARES
    nodes = (node for node in joining.standing if lowest < joining.areas[node] < highest)
    return [joining.members(node, count) for node in nodes]


def _border_regions(labels: Array, *, is_cut: bool) -> list[int]:
    """Which regions reach the border of the picture, where the subject does not."""
    rows = round(labels.shape[0] * _UPPER_PART) if is_cut else labels.shape[0]
    sides = [labels[0], labels[:rows, 0], labels[:rows, -1], *([] if is_cut else [labels[-1]])]
    return np.unique(np.concatenate(sides)).tolist()


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
