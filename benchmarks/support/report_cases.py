"""Videos of the drawn world whose subjects are there, changed over, merged or missing, by design."""

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
from magref_core.world.scene import Scene, SceneOptions, draw_scene
from scripts.training.staging import StagingOptions, cast_references

Bytes = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]
CaseKind = Literal["correct", "swapped", "missing", "merged"]
KINDS: tuple[CaseKind, ...] = get_args(CaseKind)

FIRST_SEED = 3_000_000
"""Neither training nor the measurement of quality draws from these seeds."""
CANVAS_FRAMES = 1


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
    truth: tuple[str, ...]
    """The right verdict of each reference."""


def draw_case(kind: CaseKind, number: int, *, height: int, width: int, seed: int = 0) -> Case:
    """Draw one video.

    Args:
        kind: what two of its subjects, or one of them, go through.
        number: of the case.
        height: of the video, in pixels.
        width: of the video, in pixels.
        seed: moves to other videos.
    """
    rng = np.random.default_rng((FIRST_SEED + seed, KINDS.index(kind), number))
    options = SceneOptions(height=height, width=width, subjects={2: 0.6, 3: 0.4}, same_category=0.4)
    scene = replace(draw_scene(rng, options), background_reference=False)
    staging = StagingOptions(layout=LayoutConfig(), second_photo=0.0)
    references, _ = cast_references(scene, staging, rng)
    count = len(scene.actors)
    first, second = (int(each) for each in rng.permutation(count)[:2])
    shown: dict[int, list[Identity]] = {index: [actor.identity] for index, actor in enumerate(scene.actors)}
    truth = ["correct"] * count
    how = "as given"
    if kind == "swapped":
        shown[first], shown[second] = shown[second], shown[first]
        truth[first] = truth[second] = "swapped"
        how = "each in the place of the other"
    elif kind == "missing":
        how = ("nobody in its place", "a stranger in its place")[int(rng.integers(2))]
        stranger = draw_identity(scene.actors[first].identity.category, rng)
        shown[first] = [] if how.startswith("nobody") else [stranger]
        truth[first] = "missing"
    elif kind == "merged":
        how = ("one of two", "twice the same")[int(rng.integers(2))]
        mixed = [scene.actors[first].identity, scene.actors[second].identity]
        shown[first], shown[second] = mixed, ([] if how == "one of two" else mixed)
        truth[first] = truth[second] = "merged"
    frames = _draw(scene, shown)
    return Case(kind=kind, how=how, scene=scene, references=references, frames=frames, truth=tuple(truth))


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
    seen = np.flatnonzero(np.any(sprites[0][..., 3] > 0.5, 1))
    if not len(seen):
        return sprites[0]
    middle = (int(seen[0]) + int(seen[-1]) + 1) // 2
    return np.concatenate([sprites[0][:middle], sprites[1][middle:]])
