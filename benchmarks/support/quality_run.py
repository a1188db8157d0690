"""Generate the clips of a share of the scenes under every condition, and score them."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import torch

from magref_core.world.captions import caption
from magref_core.world.film import film
from scripts.training.staging import Staged, StagingOptions

from . import quality_host as host
from .quality_scores import Scores, score_clip
from .quality_sets import MAIN_SETS, Case, recast

Bytes = npt.NDArray[np.uint8]
Thing = TypeVar("Thing")
Record = dict[str, Any]
"""One scene: set, number, seed, prompt, and scores by condition."""

OURS = "ours"
ABLATIONS: dict[str, str] = {
    "full mask": "the whole first frame marked, as WanImageToVideo sends it",
    "no mask": "nothing marked",
    "cropped CLIP": "CLIP sees the middle square of the canvas",
    "other references": "other puppets of the same categories, and another place",
    "no references": "a white canvas, nothing marked",
}
"""Conditions that share scene, prompt and noise with ours, and what is changed."""
FILM, ROUND_TRIP = CEILINGS = ("film", "round trip")
"""The true clip, and the true clip through the VAE and back."""

SHOWN = {"one": 3, "two": 3, "three": 2, "walks": 2, "pairs": 2, "places": 2}
"""Scenes of each set on the contact sheet: the first ones."""


@dataclass(kw_only=True, slots=True)
class Clock:
    """Says how far a share is."""

    label: str
    total: int
    done: int = 0
    started: float = field(default_factory=time.monotonic)

    def add(self, count: int) -> None:
        """Count clips, and print the time that is left."""
        self.done += count
        left = (time.monotonic() - self.started) / self.done * (self.total - self.done)
        print(f"{self.label}: {self.done} of {self.total} clips, {left:.0f} s left", flush=True)


@dataclass(frozen=True, kw_only=True, slots=True)
class Job:
    """A scene under one condition, ready to be sampled."""

    index: int
    """Of the scene."""
    condition: str
    guidance: host.Guidance


@dataclass(frozen=True, kw_only=True, slots=True)
class RunOptions:
    """How scenes are run."""

    sampling: host.SamplingOptions
    staging: StagingOptions
    """How the training gave references."""
    ablations: bool = True
    """Whether the main sets are generated under `ABLATIONS` too."""
    batch_size: int = 8
    label: str = "quality"
    """Begins the lines that tell how far it is."""


def run_cases(
    models: host.Models, cases: Sequence[Case], share: Sequence[int], options: RunOptions
) -> tuple[list[Record], dict[str, Bytes]]:
    """Generate and measure some scenes.

    Args:
        models: of the bundle.
        cases: all scenes, of one size.
        share: indices of those to run.
        options: of the run.

    Returns:
        A record per scene; and of those on the contact sheet canvas and frames, see `keys_of`.
    """
    staged = [stage_case(case) for case in cases]
    records = {index: _record(cases[index]) for index in share}
    shown: dict[str, Bytes] = {}
    num_ablated = sum(cases[index].set_name in MAIN_SETS for index in share) if options.ablations else 0
    clock = Clock(label=options.label, total=2 * len(share) + len(ABLATIONS) * num_ablated)
    for batch in in_batches(share, options.batch_size):
        clips = host.round_trip(
            models, [staged[index].canvas for index in batch], [_true(staged[i]) for i in batch]
        )
        for index, frames in zip(batch, clips, strict=True):
            seed = cases[index].seed
            records[index]["scores"][ROUND_TRIP] = score_clip(staged[index], frames, seed=seed)
            records[index]["scores"][FILM] = score_clip(staged[index], _true(staged[index]), seed=seed)
        clock.add(len(batch))
    prompts = {index: host.encode_prompt(models, staged[index].prompt) for index in share}
    for jobs in in_batches(_draw_jobs(models, cases, staged, share, options), options.batch_size):
        latents = host.sample_batch(
            models,
            [prompts[job.index] for job in jobs],
            [job.guidance for job in jobs],
            [cases[job.index].seed for job in jobs],
            options.sampling,
        )
        for job, frames in zip(jobs, host.decode(models, latents), strict=True):
            case, is_ours = cases[job.index], job.condition == OURS
            scores = score_clip(staged[job.index], frames, seed=case.seed, only_looks=not is_ours)
            records[job.index]["scores"][job.condition] = scores
            if is_ours and case.number < SHOWN[case.set_name]:
                canvas_key, frames_key = keys_of(case.set_name, case.number)
                shown |= {canvas_key: staged[job.index].canvas.image.numpy(), frames_key: frames}
        clock.add(len(jobs))
    return list(records.values()), shown


def _draw_jobs(
    models: host.Models,
    cases: Sequence[Case],
    staged: Sequence[Staged],
    share: Sequence[int],
    options: RunOptions,
) -> Iterator[Job]:
    """Scene by scene, so that few guidances are held at a time."""
    blank: host.Guidance = {}
    for index in share:
        case = cases[index]
        given = host.guide(models, staged[index].canvas, case.scene.length)
        yield Job(index=index, condition=OURS, guidance=given)
        if not options.ablations or case.set_name not in MAIN_SETS:
            continue
        canvas = staged[index].canvas
        blank = blank or host.guide(models, host.empty_canvas(canvas), case.scene.length)
        guidances = {
            "full mask": host.with_full_mask(given),
            "no mask": host.with_no_mask(given),
            "cropped CLIP": host.with_cropped_view(models, given, canvas),
            "other references": host.guide(
                models, stage_case(recast(case, options.staging)).canvas, case.scene.length
            ),
            "no references": blank,
        }
        for condition in ABLATIONS:
            yield Job(index=index, condition=condition, guidance=guidances[condition])


def in_batches(things: Iterable[Thing], size: int) -> Iterator[list[Thing]]:
    """Things in lists of a size; the last may be shorter."""
    waiting = iter(things)
    while batch := list(itertools.islice(waiting, size)):
        yield batch


def _true(staged: Staged) -> Bytes:
    return film(staged.scene).frames[1:]


def keys_of(set_name: str, number: int) -> tuple[str, str]:
    """Names of a scene's canvas (H, W, 3) and of its generated frames (F - 1, H, W, 3)."""
    return f"{set_name}_{number}_canvas", f"{set_name}_{number}_frames"


def largest_difference(models: host.Models, cases: Sequence[Case], options: host.SamplingOptions) -> float:
    """Largest difference of latents between a batch and the nodes of a workflow, one clip at a time."""
    canvases = [stage_case(case).canvas for case in cases]
    prompts = [host.encode_prompt(models, caption(case.scene)) for case in cases]
    length = cases[0].scene.length
    guidances = [host.guide(models, canvas, length) for canvas in canvases]
    batch = host.sample_batch(models, prompts, guidances, [case.seed for case in cases], options)
    singles = [
        host.sample_one(models, prompt, canvas, length, case.seed, options)
        for prompt, canvas, case in zip(prompts, canvases, cases, strict=True)
    ]
    return float((batch - torch.cat(singles)).abs().max())


def stage_case(case: Case) -> Staged:
    """A scene with its canvas."""
    scene = case.scene
    canvas = host.compose(case.references, height=scene.height, width=scene.width, seed=case.seed)
    return Staged(scene=scene, prompt=caption(scene), canvas=canvas, subjects=case.subjects)


def _record(case: Case) -> Record:
    scores: dict[str, Scores] = {}
    return {
        "set": case.set_name,
        "number": case.number,
        "seed": case.seed,
        "prompt": caption(case.scene),
        "scores": scores,
    }
