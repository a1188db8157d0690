"""Several takes of one scene: cheap drafts are ranked by their subjects, and the best one is finished."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, get_args

import comfy.model_management
import comfy.sample
import comfy.utils
from comfy_api.latest import io
from torch import Tensor

from ..magref_core.canvas.references import Reference
from ..magref_core.errors import MagrefError, ShapeError
from ..magref_core.latents import decode_video
from ..magref_core.sampling.schedule import Solver
from ..magref_core.sizes import FRAME_STRIDE
from . import host
from .checks import check_latent
from .looking import Look, look_at
from .memory_plan import decode_within_memory, sample_within_memory
from .notices import show_notices
from .sampling import draw_noise, host_sampler, host_sigmas
from .subject_report import look_inputs
from .types import MagrefCanvas

MAX_COUNT = 64
NUM_SEEDS = 1 << 64
METADATA = "magref_best_of"
"""Under this name all scores are written into the files that are saved after this node."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class Take:
    """One seed and what its draft showed."""

    seed: int
    steps: int
    score: float
    verdicts: dict[str, str]


class BestOf(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="MagrefBestOf",
            display_name="MAGREF Best Of",
            category="MAGREF/sampling",
            description="Samples the scene from several seeds in few steps, looks which draft shows its "
            "subjects best, and finishes that one. All seeds and scores go into the files that are saved.",
            search_aliases=["magref", "re-roll", "seeds", "batch", "rank", "takes"],
            inputs=[
                io.Guider.Input("guider", tooltip="From MAGREF Reference Guider, or CFGGuider."),
                io.Latent.Input("latent", tooltip="From MAGREF Apply Masked Guidance."),
                io.Vae.Input("vae", tooltip="The Wan 2.1 VAE: drafts are decoded to be looked at."),
                MagrefCanvas.Input("canvas", tooltip="From MAGREF Build Masked Canvas: whom to look for."),
                io.Int.Input(
                    "seed",
                    default=0,
                    min=0,
                    max=NUM_SEEDS - 1,
                    control_after_generate=True,
                    tooltip="Of the first take; the others follow, one more each.",
                ),
                io.Int.Input("count", default=4, min=1, max=MAX_COUNT, tooltip="Takes that are drafted."),
                io.Int.Input(
                    "draft_steps",
                    default=10,
                    min=0,
                    max=1000,
                    tooltip="Steps of a draft; 0, or as many as steps, finishes every take.",
                ),
                *_sampling_inputs(),
                *look_inputs(),
            ],
            outputs=[
                io.Latent.Output(id="latent", display_name="latent", tooltip="The best take, finished."),
                io.Int.Output(id="seed", display_name="seed", tooltip="Its seed."),
                io.String.Output(id="scores", display_name="scores", tooltip="JSON: all seeds and scores."),
            ],
            hidden=[io.Hidden.unique_id, io.Hidden.extra_pnginfo],
        )

    @classmethod
    def execute(
        cls,
        guider,
        latent,
        vae,
        canvas,
        seed,
        count,
        draft_steps,
        steps,
        shift,
        solver,
        drop_frames,
        method,
        order,
        num_frames,
        encoder=None,
    ) -> io.NodeOutput:
        look = Look(method=method, order=order, num_frames=num_frames, encoder=encoder)
        host.check_vae(vae)
        samples = comfy.sample.fix_empty_latent_channels(guider.model_patcher, latent["samples"])
        check_latent(samples)
        check_counts(samples, count, drop_frames)
        seeds = [(seed + number) % NUM_SEEDS for number in range(count)]
        run = Run(guider, {**latent, "samples": samples}, solver=solver, shift=shift)
        judge = Judge(vae, canvas.references, look, drop_frames)
        best, takes, finished = best_take(run, judge, seeds, draft_steps=draft_steps, steps=steps)
        scores = as_json(best, takes, steps=steps)
        written = getattr(cls.hidden, "extra_pnginfo", None)  # no hidden inputs outside a prompt
        if isinstance(written, dict):
            written[METADATA] = json.loads(scores)
        show_notices([], cls.hidden, facts=[sentence(best, takes)])
        return io.NodeOutput({**latent, "samples": finished}, best.seed, scores)


def _sampling_inputs() -> list[io.Input]:
    return [
        io.Int.Input("steps", default=40, min=1, max=1000, tooltip="Steps of the best take. MAGREF uses 40."),
        io.Float.Input(
            "shift",
            default=3.0,
            min=0.01,
            max=100.0,
            step=0.1,
            tooltip="Holds the noise high for longer as it grows. MAGREF uses 3.",
        ),
        io.Combo.Input(
            "solver",
            options=list(get_args(Solver)),
            default="unipc",
            tooltip="unipc is MAGREF's default; dpm++ is its other one; euler is plain and robust.",
        ),
        io.Int.Input(
            "drop_frames",
            default=4,
            min=0,
            max=1024,
            advanced=True,
            tooltip="Frames at the start that show the canvas and are not looked at, as in MAGREF Decode "
            "Video.",
        ),
    ]


class Run:
    """Samples one seed at a time; nothing of a take is kept."""

    def __init__(self, guider: Any, latent: dict[str, Any], *, solver: Solver, shift: float):
        self.guider = guider
        self.latent = latent
        self.solver: Solver = solver
        self.shift = shift

    def __call__(self, seed: int, steps: int, report: Callable[[], None]) -> Tensor:
        """Latents (B, 16, T, h, w) of a seed after so many steps; `report` is called after each."""
        samples = self.latent["samples"]
        noise = draw_noise("cpu", samples, seed, self.latent.get("batch_index"))
        finished = sample_within_memory(
            self.guider,
            samples,
            lambda: self.guider.sample(
                noise,
                samples,
                host_sampler(self.solver, True),
                host_sigmas(self.solver, steps, self.shift),
                denoise_mask=self.latent.get("noise_mask"),
                callback=lambda *_: report(),
                disable_pbar=True,
                seed=seed,
            ),
        )
        return finished.to(comfy.model_management.intermediate_device())


class Judge:
    """Decodes a take and looks who is in it; its frames are let go."""

    def __init__(self, vae: Any, references: tuple[Reference, ...], look: Look, drop_frames: int):
        self.vae = vae
        self.references = references
        self.look = look
        self.drop_frames = drop_frames

    def __call__(self, seed: int, steps: int, latents: Tensor) -> Take:
        """The score of a take."""
        comfy.model_management.throw_exception_if_processing_interrupted()
        video = decode_within_memory(
            self.vae,
            latents[:1],
            None,
            lambda: decode_video(
                latents[:1], lambda part: host.decode_with(self.vae, part), drop_frames=self.drop_frames
            ),
        )
        report = look_at(host.image_from_video(video), self.references, self.look)
        verdicts = {line.name: line.verdict for line in report.subjects}
        return Take(seed=seed, steps=steps, score=report.score, verdicts=verdicts)


def best_take(
    run: Run, judge: Judge, seeds: list[int], *, draft_steps: int, steps: int
) -> tuple[Take, list[Take], Tensor]:
    """Draft every seed, and finish the one with the highest score.

    Args:
        run: samples.
        judge: scores.
        seeds: at least one; of equal scores the first wins.
        draft_steps: 0, or at least `steps`: every take is finished, and the best one kept.
        steps: of the finished one.

    Returns:
        The best take as it was judged, all of them in the order of the seeds, and the finished latents.
    """
    has_drafts = 0 < draft_steps < steps and len(seeds) > 1
    each = draft_steps if has_drafts else steps
    bar = comfy.utils.ProgressBar(each * len(seeds) + (steps if has_drafts else 0))
    takes: list[Take] = []
    best: Take | None = None
    kept: Tensor | None = None
    for seed in seeds:
        latents = run(seed, each, lambda: bar.update(1))
        take = judge(seed, each, latents)
        takes.append(take)
        logger.info("take %d of %d: seed %d, score %.3f", len(takes), len(seeds), seed, take.score)
        if best is None or take.score > best.score:
            best, kept = take, None if has_drafts else latents
        del latents
    assert best is not None
    if kept is None:
        kept = run(best.seed, steps, lambda: bar.update(1))
    return best, takes, kept


def check_counts(latents: Tensor, count: int, drop_frames: int) -> None:
    """Refuse what came over a link, where the host does not look.

    Raises:
        MagrefError: no take, or more than can be told apart.
        ShapeError: several videos in one latent, or no frame would be left to look at.
    """
    if not 1 <= count <= MAX_COUNT:
        raise MagrefError(f"{count} takes are wanted: use 1 to {MAX_COUNT}")
    if len(latents) != 1:
        raise ShapeError(
            f"the latent holds {len(latents)} videos, but takes of one are made: use the latent of MAGREF "
            "Apply Masked Guidance"
        )
    num_frames = (latents.shape[2] - 1) * FRAME_STRIDE + 1
    if not 0 <= drop_frames < num_frames:
        raise ShapeError(
            f"the latent holds {num_frames} frames and drop_frames is {drop_frames}, so nothing would be "
            f"left to look at: use 0 to {num_frames - 1}"
        )


def as_json(best: Take, takes: list[Take], *, steps: int) -> str:
    """All takes, and which was finished."""
    found = {"version": 1, "best_seed": best.seed, "steps": steps}
    return json.dumps(found | {"takes": [asdict(take) for take in takes]}, ensure_ascii=False)


def sentence(best: Take, takes: list[Take]) -> str:
    """For the node: which seed won, and by how much."""
    scores = ", ".join(f"{take.seed}: {take.score:.2f}" for take in takes)
    return f"seed {best.seed} is the best of {len(takes)} ({scores})"
