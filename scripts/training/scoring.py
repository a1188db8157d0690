"""Who is in a generated clip, and which way it goes: the measures of `evaluation` joined to the world."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from magref_core.evaluation.identity import Search, best_assignment, candidate_costs, is_first
from magref_core.evaluation.tracking import Direction, direction_of_track, locate
from magref_core.world.film import render_actor
from magref_core.world.identity import Identity, draw_identity
from magref_core.world.motions import Actor
from magref_core.world.scene import Camera, Scene

from .staging import Staged

Bytes = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]

NUM_CANDIDATES = 8
"""The true identity and seven others of its category; a guess is right in one of eight."""


_VIEWS = (
    ("stands", 0),
    ("walks right", 2),
    ("spins", 4),
    ("spins", 8),
    ("spins", 12),
    ("grows", 0),
    ("grows", 8),
)
"""Motions and frames that show a puppet upright, striding, turned and small."""


def score_identity(staged: Staged, frames: Bytes, rng: np.random.Generator) -> list[bool]:
    """Whether each actor is recognised among others of its category.

    Actors of the same category may change places with each other, for nothing tells which is meant.

    Args:
        staged: what was asked for.
        frames: (F - 1, H, W, 3) in 0..255: the generated video without frame 0, which is the canvas.
        rng: draws the other candidates.

    Returns:
        One answer per actor of the scene; about 60 ms each at 96 x 64 pixels.
    """
    scene = staged.scene
    meant = assigned_identities(scene, frames)
    answers: list[bool] = []
    for index, identity in enumerate(meant):
        candidates = (identity, *_draw_others(scene, identity, rng))
        answers.append(is_first(identity_costs(scene, frames, index, candidates)))
    return answers


def assigned_identities(scene: Scene, frames: Bytes) -> tuple[Identity, ...]:
    """The identity that each actor shows, if those of one category may have changed places."""
    meant = [actor.identity for actor in scene.actors]
    for group in groups_of(scene):
        given = best_assignment(group_costs(scene, frames, group))
        for index, number in zip(group, given, strict=True):
            meant[index] = scene.actors[group[number]].identity
    return tuple(meant)


def groups_of(scene: Scene) -> list[tuple[int, ...]]:
    """The actors that share a category, where there are several."""
    categories = [actor.identity.category for actor in scene.actors]
    groups = {word: tuple(i for i, other in enumerate(categories) if other == word) for word in categories}
    return [group for group in groups.values() if len(group) > 1]


def group_costs(scene: Scene, frames: Bytes, group: Sequence[int]) -> Floats:
    """(N, N): what it costs to explain each actor of a group by the identity of each."""
    identities = [scene.actors[index].identity for index in group]
    return np.stack([identity_costs(scene, frames, index, identities) for index in group])


def identity_costs(scene: Scene, frames: Bytes, index: int, identities: Sequence[Identity]) -> Floats:
    """What it costs to explain an actor by each identity on the true track.

    Args:
        scene: what was asked for.
        frames: (F - 1, H, W, 3) in 0..255, without the canvas.
        index: of the actor.
        identities: N candidates.

    Returns:
        (N,); see `magref_core.evaluation.matching.match_costs`.
    """

    def render(candidate: int, frame: int, scale: float) -> Floats:
        return render_actor(scene, index, frame, identity=identities[candidate], scale=scale)

    search, visible = Search(frames=compared_frames(scene)), in_sight(scene, index)
    return candidate_costs(count_from_canvas(frames), render, len(identities), search=search, visible=visible)


def direction_of(staged: Staged, frames: Bytes, index: int) -> Direction:
    """Which way an actor goes in the generated frames, whatever it was asked to do.

    It is looked for by its true identity, in several poses and looking to either side, around the middle of
    its way; what the camera was asked to add is taken off.

    Args:
        staged: what was asked for.
        frames: (F - 1, H, W, 3) in 0..255, without the canvas.
        index: of the actor.
    """
    scene = staged.scene
    actor = scene.actors[index]
    middle = (actor.start + actor.end) / 2
    reach = max(0.25, abs(actor.end - actor.start) / 2 + 0.08)
    views = [
        render_actor(
            _alone(scene, replace(actor, motion=motion, start=middle, end=middle, facing=facing)), 0, frame
        )
        for motion, frame in _VIEWS
        for facing in (1, -1)
    ]
    found = locate(frames, np.stack(views), (scene.height // 10, round(reach * scene.width)))
    places = [
        _uncamera(scene, frame, middle + shift / scene.width)
        for frame, shift in enumerate(found[:, 1].tolist(), start=1)
    ]
    return direction_of_track(np.array(places))


def compared_frames(scene: Scene) -> tuple[int, ...]:
    """The frames in which looks are compared: four, from the first after the canvas to the last."""
    return spread_frames(scene.length)


def spread_frames(length: int) -> tuple[int, ...]:
    """Four frames of a video of some length, from the first after the canvas to the last."""
    return tuple(round(1 + third * (length - 2) / 3) for third in range(4))


def count_from_canvas(frames: Bytes) -> Bytes:
    """Frames counted as in the scene: one that is not looked at stands for the canvas."""
    return np.concatenate([frames[:1], frames])


def in_sight(scene: Scene, index: int) -> Callable[[int], Floats]:
    """Gives for a frame, as (H, W) in 0..1, where no other actor stands in front of one."""

    def visible(frame: int) -> Floats:
        seen = np.ones((scene.height, scene.width), np.float32)
        for other in scene.order[scene.order.index(index) + 1 :]:
            seen *= 1 - render_actor(scene, other, frame)[..., 3]
        return seen

    return visible


def _draw_others(scene: Scene, identity: Identity, rng: np.random.Generator) -> list[Identity]:
    taken = {actor.identity for actor in scene.actors}
    others: list[Identity] = []
    while len(others) < NUM_CANDIDATES - 1:
        other = draw_identity(identity.category, rng)
        if other not in taken:
            taken.add(other)
            others.append(other)
    return others


def _alone(scene: Scene, actor: Actor) -> Scene:
    """The scene with one actor only, under a still camera."""
    return replace(scene, actors=(actor,), order=(0,), camera=Camera())


def _uncamera(scene: Scene, frame: int, place: float) -> float:
    """A place in frame widths as a still camera would see it."""
    shift, zoom = scene.camera.view(frame / (scene.length - 1))
    return (place - 0.5) / zoom + 0.5 + shift
