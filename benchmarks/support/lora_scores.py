"""How well a puppet is recognised, with and without a LoRA, on the same scenes and noise."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from magref_core.evaluation.identity import is_first
from magref_core.evaluation.intervals import Estimate, difference, estimate
from magref_core.evaluation.matching import BACKGROUND_ERROR
from magref_core.world.film import render_actor
from magref_core.world.identity import Identity, draw_identity
from magref_core.world.scene import Scene, SceneOptions, draw_scene
from scripts.training import scoring
from scripts.training.staging import Staged, StagingOptions, cast_references

from .quality_scores import motion_of
from .quality_sets import FIRST_SEED, Case

Bytes = npt.NDArray[np.uint8]
MEASURES = {
    "identity": "recognised among 8 of its category",
    "margin": "lead over the best of the 7 others, in shares of what the puppet covers",
    "motion": "does what the prompt says",
}
BASE, LORA, ROUND_TRIP = "base", "LoRA", "true clip after the VAE"
CONDITIONS = (BASE, LORA, ROUND_TRIP)
_SCENE_SEEDS = FIRST_SEED + 60_000_000


def draw_cases(
    options: SceneOptions,
    staging: StagingOptions,
    *,
    num_scenes: int,
    seed: int,
    identity: Identity | None,
    category: str,
) -> list[Case]:
    """Scenes of one subject, each with a reference of its own view.

    Args:
        options: of the training.
        staging: of the training.
        num_scenes: how many.
        seed: of the scenes; those with and without an identity differ.
        identity: who acts in all of them; None: somebody else in each.
        category: of whom.
    """
    options = replace(
        options, categories=(category,), subjects={1: 1.0}, camera=0.0, light=0.0, background_reference=0.0
    )
    staging = replace(staging, second_photo=0.0, drop_reference=0.0)
    cases: list[Case] = []
    for number in range(num_scenes):
        case_seed = _SCENE_SEEDS + 2000 * seed + 1000 * (identity is None) + number
        rng = np.random.default_rng(case_seed)
        scene = draw_scene(rng, options)
        if identity is not None:
            scene = replace(scene, actors=(replace(scene.actors[0], identity=identity),))
        references, subjects = cast_references(scene, staging, rng)
        cases.append(
            Case(
                set_name="one",
                number=number,
                seed=case_seed,
                scene=scene,
                references=references,
                subjects=subjects,
            )
        )
    return cases


def score(staged: Staged, frames: Bytes, *, seed: int) -> dict[str, float]:
    """The measures of one clip (F - 1, H, W, 3) in 0..255, without the canvas."""
    scene = staged.scene
    candidates = _candidates(scene, np.random.default_rng((seed, 1)))
    costs = scoring.identity_costs(scene, frames, 0, candidates)
    return {
        "identity": float(is_first(costs)),
        "margin": float(costs[1:].min() - costs[0]) / _largest_gain(scene),
        "motion": float(motion_of(scene, frames, 0) == scene.actors[0].motion),
    }


def compare(records: Sequence[Mapping[str, Any]], measure: str) -> dict[str, Estimate | None]:
    """Means of a measure under each condition, and the gain of the LoRA."""
    values = {
        condition: [record["scores"][condition][measure] for record in records] for condition in CONDITIONS
    }
    ones = [1.0] * len(records)
    means = {condition: estimate(given, ones) for condition, given in values.items()}
    return means | {"gain": difference((values[LORA], values[BASE]), (ones, ones))}


def table(sets: Mapping[str, Sequence[Mapping[str, Any]]]) -> str:
    """All measures of all sets in Markdown, with 95 % intervals."""
    lines = [
        f"| | {' | '.join(CONDITIONS)} | gain |",
        f"| --- | {' | '.join(['---:'] * (len(CONDITIONS) + 1))} |",
    ]
    for name, records in sets.items():
        for measure, meaning in MEASURES.items():
            means = compare(records, measure)
            cells = [_cell(means[condition]) for condition in CONDITIONS]
            lines.append(f"| {name}: {meaning} | {' | '.join(cells)} | {_cell(means['gain'], '+')} |")
    return "\n".join(lines)


def _candidates(scene: Scene, rng: np.random.Generator) -> tuple[Identity, ...]:
    """The true one first."""
    true = scene.actors[0].identity
    found = [true]
    while len(found) < scoring.NUM_CANDIDATES:
        other = draw_identity(true.category, rng)
        if other not in found:
            found.append(other)
    return tuple(found)


def _largest_gain(scene: Scene) -> float:
    """What the true sprite explains where it fits exactly, in all compared frames."""
    alphas = [render_actor(scene, 0, frame)[..., 3].sum() for frame in scoring.compared_frames(scene)]
    return max(1.0, BACKGROUND_ERROR * float(sum(alphas)))


def _cell(value: Estimate | None, sign: str = "") -> str:
    return (
        "" if value is None else f"{value.value:{sign}.3f} ({value.low:{sign}.2f} to {value.high:{sign}.2f})"
    )
