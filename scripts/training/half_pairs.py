"""Pairs to train `magref_core.evaluation.halves` on: places of drawn frames beside pictures of puppets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
import numpy.typing as npt

from magref_core.evaluation.halves import Box, Views, pair_of, views_of
from magref_core.world.film import film, render_actor
from magref_core.world.identity import CATEGORIES, Identity, draw_identity
from magref_core.world.motions import MOTIONS
from magref_core.world.portraits import portrait
from magref_core.world.scene import Scene, SceneOptions, draw_scene

Bytes = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]

SIZES = ((96, 160), (64, 96), (96, 96), (128, 80))
MOTIONS_DRAWN = (*MOTIONS, "spins", "spins")
"""More of those that turn, for only few of their frames are upright."""
TRIES = 4
"""Placings of which the one is taken that explains the frame best, as a finder would."""
BESIDE = 2
"""Boxes per frame that belong to nobody."""
MOST_SHARED = 0.25
"""Of such a box with that of anybody, by shared over all area."""
LEAST_SEEN = 0.4
"""Share of a half that must not be hidden for it to count."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class _Shown:
    """What stands on the track of an actor in one frame."""

    halves: tuple[Identity, Identity]
    box: Box
    seen: tuple[float, float]
    """Shares of the upper and the lower half that nothing hides."""


def draw_pairs(rng: np.random.Generator) -> tuple[list[Bytes], list[tuple[float, float]]]:
    """The pairs of one drawn frame.

    Returns:
        (7, 48, 48) in 0..255 each, and for either half 1: the same subject, 0: another one or nobody, or NaN
        where it is hidden.
    """
    height, width = SIZES[int(rng.integers(len(SIZES)))]
    counts = {1: 0.1, 2: 0.5, 3: 0.4}
    options = SceneOptions(
        height=height, width=width, subjects=counts, same_category=0.4, motions=MOTIONS_DRAWN
    )
    scene = draw_scene(rng, options)
    frame, shown = _draw(scene, rng)
    frame = _blurred(frame, rng)
    own = [actor.identity for actor in scene.actors]
    pictures: dict[Identity, Views] = {}
    pairs: list[Bytes] = []
    truth: list[tuple[float, float]] = []
    for each in shown:
        category = each.halves[0].category
        asked = {
            *each.halves,
            *own,
            draw_identity(category, rng),
            draw_identity(each.halves[1].category, rng),
        }
        for identity in sorted(asked, key=repr):
            if identity not in pictures:
                pictures[identity] = _picture(identity, rng)
            pairs.append(_best_pair(frame, pictures[identity], each.box, rng))
            truth.append(
                (
                    float(each.halves[0] == identity) if each.seen[0] >= LEAST_SEEN else np.nan,
                    float(each.halves[1] == identity) if each.seen[1] >= LEAST_SEEN else np.nan,
                )
            )
    for _ in range(BESIDE):
        box = _beside(shown, height, width, rng)
        if box is not None and pictures:
            chosen = list(pictures)[int(rng.integers(len(pictures)))]
            pairs.append(_best_pair(frame, pictures[chosen], box, rng))
            truth.append((0.0, 0.0))
    return pairs, truth


def _draw(scene: Scene, rng: np.random.Generator) -> tuple[Bytes, list[_Shown]]:
    """One frame of a scene in which some are replaced, cut in two or left out."""
    number = int(rng.integers(scene.length))
    count = len(scene.actors)
    sprites: dict[int, Floats] = {}
    halves: dict[int, tuple[Identity, Identity]] = {}
    for index in range(count):
        chosen = _halves(scene, index, rng)
        if chosen is None:
            continue
        upper = render_actor(scene, index, number, identity=chosen[0])
        if chosen[0] != chosen[1]:
            rows = np.flatnonzero(np.any(upper[..., 3] > 0.5, 1))
            middle = (int(rows[0]) + int(rows[-1]) + 1) // 2 if len(rows) else 0
            lower = render_actor(scene, index, number, identity=chosen[1])
            upper = np.concatenate([upper[:middle], lower[middle:]])
        sprites[index], halves[index] = upper, chosen
    empty = film(replace(scene, actors=(), order=()), num_frames=1).frames[0]
    drawn = empty.astype(np.float32) / 255
    order = [index for index in scene.order if index in sprites]
    for index in order:
        drawn = drawn * (1 - sprites[index][..., 3:]) + sprites[index][..., :3]
    shown: list[_Shown] = []
    for place, index in enumerate(order):
        alpha = sprites[index][..., 3]
        rows, columns = np.flatnonzero((alpha > 0.5).any(1)), np.flatnonzero((alpha > 0.5).any(0))
        if len(rows) < 8 or len(columns) < 6:
            continue
        free = alpha.copy()
        for later in order[place + 1 :]:
            free = free * (1 - sprites[later][..., 3])
        middle = (int(rows[0]) + int(rows[-1]) + 1) // 2
        seen = (
            float(free[:middle].sum() / max(1e-3, alpha[:middle].sum())),
            float(free[middle:].sum() / max(1e-3, alpha[middle:].sum())),
        )
        box = (float(rows[0]), float(columns[0]), float(np.ptp(rows)) + 1, float(np.ptp(columns)) + 1)
        shown.append(_Shown(halves=halves[index], box=box, seen=seen))
    return np.rint(np.clip(drawn * 255, 0, 255)).astype(np.uint8), shown


def _halves(scene: Scene, index: int, rng: np.random.Generator) -> tuple[Identity, Identity] | None:
    """Who stands on a track, by halves; None for nobody."""
    own, chance = scene.actors[index].identity, float(rng.random())
    if chance < 0.08:
        return None
    if chance < 0.5:
        return own, own
    if chance < 0.62:
        stranger = draw_identity(own.category, rng)
        return stranger, stranger
    others = [actor.identity for actor in scene.actors if actor.identity != own]
    other = others[int(rng.integers(len(others)))] if others and rng.random() < 0.7 else None
    if other is None:
        category = CATEGORIES[int(rng.integers(len(CATEGORIES)))] if rng.random() < 0.5 else own.category
        other = draw_identity(category, rng)
    return (own, other) if rng.random() < 0.5 else (other, own)


def _blurred(frame: Bytes, rng: np.random.Generator) -> Bytes:
    """At times as soft and noisy as a decoded video."""
    if rng.random() < 0.5:
        return frame
    soft = cv2.GaussianBlur(frame.astype(np.float32), (0, 0), float(rng.uniform(0.3, 1.0)))
    noise = rng.normal(0, float(rng.uniform(0, 6)), soft.shape)
    return np.rint(np.clip(soft + noise, 0, 255)).astype(np.uint8)


def _picture(identity: Identity, rng: np.random.Generator) -> Views:
    """As a photo of it would be laid out."""
    picture = np.divide(portrait(identity, rng), 255, dtype=np.float32)
    picture[..., :3] *= picture[..., 3:]
    return views_of(picture)


def _best_pair(frame: Bytes, views: Views, box: Box, rng: np.random.Generator) -> Bytes:
    """The picture about where the box is, where it explains the frame best."""
    top, left, height, width = box
    best, least = None, np.inf
    for _ in range(TRIES):
        side = (height if rng.random() < 0.7 else max(height, width)) * float(rng.uniform(0.85, 1.2))
        row = top + height / 2 + float(rng.normal(0, 0.05)) * height
        column = left + width / 2 + float(rng.normal(0, 0.05)) * height
        pair = pair_of(frame, views, (row - side / 2, column - side / 2, side, side))
        missed = float(((pair[:3] * pair[6] - pair[3:6]) ** 2).sum() / max(1.0, float(pair[6].sum())))
        if best is None or missed < least:
            best, least = pair, missed
    return np.rint(np.asarray(best) * 255).astype(np.uint8)


def _beside(shown: Sequence[_Shown], height: int, width: int, rng: np.random.Generator) -> Box | None:
    """A box that belongs to nobody: anywhere, or a part of somebody; None where none was found."""
    for _ in range(8):
        tall = float(rng.uniform(0.22, 0.75)) * height
        row, column = float(rng.uniform(0, height)), float(rng.uniform(0, width))
        if shown and rng.random() < 0.6:
            top, left, high, across = shown[int(rng.integers(len(shown)))].box
            tall = float(rng.uniform(0.3, 0.6)) * high
            row, column = top + float(rng.random()) * high, left + float(rng.random()) * across
        box = (row - tall / 2, column - tall / 2, tall, tall)
        if all(_shared(box, each.box) < MOST_SHARED for each in shown):
            return box
    return None


def _shared(first: Box, second: Box) -> float:
    """Shared area over all area."""
    down = min(first[0] + first[2], second[0] + second[2]) - max(first[0], second[0])
    across = min(first[1] + first[3], second[1] + second[3]) - max(first[1], second[1])
    both = max(0.0, down) * max(0.0, across)
    return both / (first[2] * first[3] + second[2] * second[3] - both)
