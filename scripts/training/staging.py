"""From a drawn scene to what a user would give: references on a canvas, and a prompt."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from magref_core.canvas.compose import Canvas, compose_canvas
from magref_core.canvas.references import Kind, Reference
from magref_core.training.masking import LayoutConfig, random_layout
from magref_core.world.captions import caption
from magref_core.world.identity import KIND_OF
from magref_core.world.portraits import portrait, view_of_place
from magref_core.world.scene import Scene

KINDS: dict[str, Kind] = {"person": "person", "animal": "object", "object": "object"}
"""Kind in the world -> kind of a reference."""
MAX_REFERENCES = 4


@dataclass(frozen=True, kw_only=True, slots=True)
class StagingOptions:
    """How the references of a scene are given."""

    layout: LayoutConfig
    portrait_size: int = 128
    """Side, in pixels, that a puppet is drawn in."""
    second_photo: float = 0.1
    """Rate at which a subject is given twice, in two views."""
    drop_reference: float = 0.0
    """Rate at which a subject is not given at all, so that the prompt alone tells of it."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Staged:
    """A scene as it is given to the model."""

    scene: Scene
    prompt: str
    canvas: Canvas
    subjects: tuple[int | None, ...]
    """The actor that each reference of the canvas shows; None for the place."""


def stage(scene: Scene, options: StagingOptions, rng: np.random.Generator) -> Staged:
    """Draw the references of a scene in other views than in the film, and lay them out.

    Args:
        scene: of the film.
        options: how they are given.
        rng: advanced.

    Returns:
        Prompt, canvas of the size of the scene, and who is on it.
    """
    references, subjects = cast_references(scene, options, rng)
    sizes = [(reference.image.shape[0], reference.image.shape[1]) for reference in references]
    layout_rng = random.Random(int(rng.integers(2**63)))
    placements = random_layout(
        sizes, height=scene.height, width=scene.width, config=options.layout, rng=layout_rng
    )
    canvas = compose_canvas(references, placements, height=scene.height, width=scene.width)
    return Staged(scene=scene, prompt=caption(scene), canvas=canvas, subjects=subjects)


def cast_references(
    scene: Scene, options: StagingOptions, rng: np.random.Generator
) -> tuple[tuple[Reference, ...], tuple[int | None, ...]]:
    """The references of a scene, in the order of its actors, and the actor that each shows."""
    references: list[Reference] = []
    subjects: list[int | None] = []
    for number, actor in enumerate(scene.actors):
        views = 0 if rng.random() < options.drop_reference else 1 + (rng.random() < options.second_photo)
        for view in range(views):
            picture = torch.from_numpy(portrait(actor.identity, rng, size=options.portrait_size))
            category = actor.identity.category
            references.append(
                Reference(
                    name=f"{category} {number + 1}" + (f" view {view + 1}" if view else ""),
                    kind=KINDS[KIND_OF[category]],
                    image=picture[..., :3].contiguous(),
                    alpha=picture[..., 3].contiguous(),
                )
            )
            subjects.append(number)
    if scene.background_reference:
        view = view_of_place(scene.place, rng, scene.height, scene.width)
        references.append(Reference(name="place", kind="background", image=torch.from_numpy(view)))
        subjects.append(None)
    return _within_limit(references, subjects)


def _within_limit(
    references: Sequence[Reference], subjects: Sequence[int | None]
) -> tuple[tuple[Reference, ...], tuple[int | None, ...]]:
    """Without the last second views, where there are too many references; every subject keeps its first."""
    seconds = [place for place, subject in enumerate(subjects) if subject in subjects[:place]]
    dropped = seconds[len(seconds) - max(0, len(subjects) - MAX_REFERENCES) :]
    kept = [place for place in range(len(subjects)) if place not in dropped]
    return tuple(references[place] for place in kept), tuple(subjects[place] for place in kept)
