"""The held-out scenes of the quality measurement."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from magref_core.canvas.references import Reference
from magref_core.world.identity import draw_identity
from magref_core.world.places import draw_place
from magref_core.world.scene import Scene, SceneOptions, draw_scene
from scripts.training.staging import StagingOptions, cast_references

FIRST_SEED = 1_000_000
"""Training draws from smaller seeds only."""
SEEDS_PER_SET = 100_000
MIN_SCENES = 2
"""Of a set."""

SetName = Literal["one", "two", "three", "walks", "pairs", "places"]
MAIN_SETS: tuple[SetName, ...] = ("one", "two", "three")
"""One, two and three subjects of different categories: they get the ablations too."""

SHARES: Mapping[SetName, float] = {
    "one": 0.4, "two": 0.4, "three": 0.2, "walks": 0.5, "pairs": 0.3, "places": 0.3,
}  # fmt: skip
"""Scenes of each set, in shares of the scenes of the main sets together."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Case:
    """One scene to be generated."""

    set_name: SetName
    number: int
    """Within its set."""
    seed: int
    """Of the scene, its references, their layout and the noise."""
    scene: Scene
    references: tuple[Reference, ...]
    subjects: tuple[int | None, ...]
    """The actor that each reference shows; None for the place."""


def options_of(name: SetName, options: SceneOptions) -> SceneOptions:
    """What the scenes of a set are drawn from.

    Args:
        name: of the set.
        options: of the training.
    """
    if name == "pairs":
        return replace(options, subjects={2: 1.0}, same_category=1.0)
    if name == "walks":
        return replace(options, subjects={1: 1.0}, motions=("walks left", "walks right"))
    if name == "places":
        return replace(options, subjects={1: 1.0, 2: 1.0}, same_category=0.0, background_reference=1.0)
    return replace(options, subjects={MAIN_SETS.index(name) + 1: 1.0}, same_category=0.0)


def recast(case: Case, staging: StagingOptions) -> Case:
    """The same scene with other puppets of the same categories, and another place of the same word."""
    rng = np.random.default_rng((case.seed, 2))
    scene = case.scene
    actors = tuple(
        replace(actor, identity=draw_identity(actor.identity.category, rng)) for actor in scene.actors
    )
    scene = replace(scene, actors=actors, place=draw_place(rng, scene.place.word))
    references, subjects = cast_references(scene, _one_view_each(staging), rng)
    return replace(case, scene=scene, references=references, subjects=subjects)


def _one_view_each(staging: StagingOptions) -> StagingOptions:
    return replace(staging, second_photo=0.0, drop_reference=0.0)


def draw_cases(options: SceneOptions, staging: StagingOptions, *, num_scenes: int, seed: int) -> list[Case]:
    """All scenes, set by set; every subject is given by one reference.

    Args:
        options: what the training drew from.
        staging: how it gave references.
        num_scenes: in the main sets together.
        seed: moves to other scenes, 0 or more.
    """
    cases: list[Case] = []
    for name, share in SHARES.items():
        count = max(MIN_SCENES, round(share * num_scenes))
        cases += draw_set(name, options, staging, count=count, seed=seed)
    return cases


def draw_set(
    name: SetName, options: SceneOptions, staging: StagingOptions, *, count: int, seed: int
) -> list[Case]:
    """The first scenes of one set; more of them begin with the same ones."""
    staging = _one_view_each(staging)
    place = list(SHARES).index(name)
    cases: list[Case] = []
    for number in range(count):
        case_seed = FIRST_SEED + (seed * len(SHARES) + place) * SEEDS_PER_SET + number
        rng = np.random.default_rng(case_seed)
        scene = draw_scene(rng, options_of(name, options))
        references, subjects = cast_references(scene, staging, rng)
        cases.append(
            Case(
                set_name=name,
                number=number,
                seed=case_seed,
                scene=scene,
                references=references,
                subjects=subjects,
            )
        )
    return cases
