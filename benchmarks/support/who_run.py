"""Generate scenes with two subjects of one category under every control, and score them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from magref_core.world.captions import caption
from scripts.training.staging import Staged

from . import quality_host as host
from .quality_run import Clock, in_batches
from .quality_scores import Scores, score_clip
from .quality_sets import Case
from .who_controls import PLAIN, Control, changed_references, condition, sample, with_words

Bytes = npt.NDArray[np.uint8]
Record = dict[str, Any]
"""One scene: index, seed, prompt, the words of each reference, and scores by the label of the control."""

SHOWN = 3
"""Scenes on the sheet: the first ones."""


@dataclass(frozen=True, kw_only=True, slots=True)
class WhoOptions:
    """How scenes are run."""

    sampling: host.SamplingOptions
    batch_size: int = 8
    label: str = "who is who"


def run_controls(
    models: host.Models,
    cases: Sequence[Case],
    share: Sequence[int],
    controls: Sequence[Control],
    options: WhoOptions,
) -> tuple[list[Record], dict[str, Bytes]]:
    """Generate and measure some scenes under every control, with the same noise.

    Args:
        models: of a bundle.
        cases: all scenes, of one size.
        share: indices of those to run.
        controls: one after the other.
        options: of the run.

    Returns:
        A record per scene; and of those on the sheet canvas and frames, see `key_of`.
    """
    named = {index: with_words(cases[index]) for index in share}
    records: dict[int, Record] = {index: _record(index, named[index]) for index in share}
    shown: dict[str, Bytes] = {}
    clock = Clock(label=options.label, total=len(share) * len(controls))
    for batch in in_batches(share, options.batch_size):
        guidances: dict[tuple[Any, ...], host.Guidance] = {}  # of one canvas, whatever the control
        for control in controls:
            staged = [_stage(named[index], control) for index in batch]
            positives: list[Any] = []
            for index, each in zip(batch, staged, strict=True):
                key = (index, control.flip, control.crop, control.blur)
                if key not in guidances:
                    guidances[key] = host.guide(models, each.canvas, each.scene.length)
                positives.append(condition(models, each, guidances[key], control))
            seeds = [cases[index].seed for index in batch]
            clips = host.decode(models, sample(models, positives, seeds, control, options.sampling))
            for index, each, frames in zip(batch, staged, clips, strict=True):
                scores = score_clip(each, frames, seed=cases[index].seed)
                records[index]["scores"][control.label] = scores
                if index < SHOWN:
                    shown[key_of(index, control.label)] = frames
                    shown[key_of(index, "canvas")] = _stage(named[index], PLAIN).canvas.image.numpy()
            clock.add(len(batch))
    return list(records.values()), shown


def key_of(index: int, label: str) -> str:
    """Name of a scene's frames (F - 1, H, W, 3) under a control, or of its "canvas" (H, W, 3)."""
    return f"{index}/{label}"


def _stage(case: Case, control: Control) -> Staged:
    """A scene with its canvas."""
    scene = case.scene
    references = changed_references(case.references, control, case.seed)
    canvas = host.compose(references, height=scene.height, width=scene.width, seed=case.seed)
    return Staged(scene=scene, prompt=caption(scene), canvas=canvas, subjects=case.subjects)


def _record(index: int, case: Case) -> Record:
    scores: dict[str, Scores] = {}
    return {
        "index": index,
        "seed": case.seed,
        "prompt": caption(case.scene),
        "words": {reference.name: reference.word for reference in case.references},
        "scores": scores,
    }
