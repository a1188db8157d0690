"""Videos of the drawn world whose subjects are there, changed over, merged or missing, by design.

What is to be told apart can be: a stranger differs clearly from the subject in whose place it stands, in at
least a quarter of what is seen of either, whoever looks; and a merged subject is cut where either part has
about as many pixels, and never less than a third of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

from magref_core.canvas.references import Reference
from magref_core.training.masking import LayoutConfig
from magref_core.world.film import film, render_actor
from magref_core.world.identity import Identity, draw_identity
from magref_core.world.pose import Pose
from magref_core.world.puppets import draw_puppet
from magref_core.world.scene import Scene, SceneOptions, draw_scene
from scripts.training.staging import StagingOptions, cast_references

Bytes = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]
CaseKind = Literal["correct", "swapped", "missing", "merged", "lone"]
ALL_KINDS: tuple[CaseKind, ...] = get_args(CaseKind)
KINDS = ALL_KINDS[:4]
"""Those of two or three subjects."""

FIRST_SEED = 3_000_000
"""Neither training nor the measurement of quality draws from these seeds."""
CANVAS_FRAMES = 1
LEAST_APART = 0.25
"""Of a stranger, by `apart`."""
CLEARLY = 0.3
"""Distance of two colours, RGB and alpha in 0..1, that anybody sees."""
_SIDE = 48


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Case:
    """A video whose truth is known."""

    kind: CaseKind
    how: str
    """Which of several ways to make such a video."""
    scene: Scene
    references: tuple[Reference, ...]
    """One of each actor, in the order of the actors, which stand from left to right at the start."""
    frames: Bytes
    """(F, H, W, 3), without the canvas."""
    shown: tuple[tuple[Identity, ...], ...]
    """On each actor's track: somebody, nobody, or the upper part of one on the lower part of another."""
    truth: tuple[str, ...]
    """The right verdict of each reference."""


def draw_case(kind: CaseKind, number: int, *, height: int, width: int, seed: int = 0) -> Case:
    """Draw one video.

    Args:
        kind: what two of its subjects, or one of them, go through; "lone": there is one only, or a stranger.
        number: of the case.
        height: of the video, in pixels.
        width: of the video, in pixels.
        seed: moves to other videos; those of two sizes differ in any case.
    """
    rng = np.random.default_rng((FIRST_SEED + seed, height, width, ALL_KINDS.index(kind), number))
    counts = {1: 1.0} if kind == "lone" else {2: 0.6, 3: 0.4}
    options = SceneOptions(height=height, width=width, subjects=counts, same_category=0.4)
    scene = replace(draw_scene(rng, options), background_reference=False)
    staging = StagingOptions(layout=LayoutConfig(), second_photo=0.0)
    references, _ = cast_references(scene, staging, rng)
    count = len(scene.actors)
    first, second = (int(each) for each in np.resize(rng.permutation(count), 2))
    shown: dict[int, list[Identity]] = {index: [actor.identity] for index, actor in enumerate(scene.actors)}
    truth = ["correct"] * count
    how = "as given"
    if kind == "swapped":
        shown[first], shown[second] = shown[second], shown[first]
        truth[first] = truth[second] = "swapped"
        how = "each in the place of the other"
    elif kind == "missing" or (kind == "lone" and rng.random() < 0.5):
        how = ("nobody in its place", "a stranger in its place")[int(rng.integers(2)) if count > 1 else 1]
        stranger = _draw_stranger(scene.actors[first].identity, rng)
        shown[first] = [] if how.startswith("nobody") else [stranger]
        truth[first] = "missing"
    elif kind == "merged":
        how = ("one of two", "twice the same")[int(rng.integers(2))]
        mixed = [scene.actors[first].identity, scene.actors[second].identity]
        shown[first], shown[second] = mixed, ([] if how == "one of two" else mixed)
        truth[first] = truth[second] = "merged"
    frames = _draw(scene, shown)
    return Case(
        kind=kind,
        how=how,
        scene=scene,
        references=references,
        frames=frames,
        shown=tuple(tuple(shown[index]) for index in range(count)),
        truth=tuple(truth),
    )


def apart(first: Identity, second: Identity) -> float:
    """The share of what is seen of either, standing upright, in which two puppets differ clearly."""
    one, other = (draw_puppet(each, Pose(), _SIDE).astype(np.float32) / 255 for each in (first, second))
    is_seen = np.maximum(one[..., 3], other[..., 3]) > 0.5
    return float((np.sqrt(((one - other) ** 2).sum(2)) > CLEARLY)[is_seen].mean())


def _draw_stranger(subject: Identity, rng: np.random.Generator) -> Identity:
    """Another one of the same category."""
    while True:
        stranger = draw_identity(subject.category, rng)
        if apart(subject, stranger) >= LEAST_APART:
            return stranger


def _draw(scene: Scene, shown: dict[int, list[Identity]]) -> Bytes:
    """(F - 1, H, W, 3): the place, and on each track somebody, nobody, or half of one on half of another."""
    empty = film(replace(scene, actors=(), order=())).frames
    frames = [empty[number].astype(np.float32) / 255 for number in range(scene.length)]
    for number, frame in enumerate(frames):
        for index in scene.order:
            if shown[index]:
                sprite = _sprite(scene, index, number, shown[index])
                frame *= 1 - sprite[..., 3:]
                frame += sprite[..., :3]
    drawn = np.stack(frames[CANVAS_FRAMES:])
    return np.rint(np.minimum(np.maximum(drawn * 255, 0), 255)).astype(np.uint8)


def _sprite(scene: Scene, index: int, number: int, identities: Sequence[Identity]) -> Floats:
    sprites = [render_actor(scene, index, number, identity=identity) for identity in identities]
    if len(sprites) == 1:
        return sprites[0]
    row = _cut(sprites[0], sprites[1])
    return np.concatenate([sprites[0][:row], sprites[1][row:]])


def _cut(upper: Floats, lower: Floats) -> int:
    """The row at which the smaller of the part above and the part below is largest."""
    above = np.concatenate([[0.0], np.cumsum(upper[..., 3].sum(1))])
    below = lower[..., 3].sum() - np.concatenate([[0.0], np.cumsum(lower[..., 3].sum(1))])
    return int(np.minimum(above, below).argmax())
