"""Other ways to give a place, on the demo model: behind the subjects, or as the first frame of the video.

python benchmarks/canvas_ways.py [--scenes 60] [--steps 20]

Scenes have one or two subjects and a reference of the place, from seeds that training never uses; all ways
get the same scenes and noise. Writes a report, and all single results as JSON.
"""

from __future__ import annotations

import argparse
import datetime
import importlib
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if __package__ in (None, ""):
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

from benchmarks.quality import natural, positive, preset_of, rounded
from scripts import ROOT
from scripts.host import enter_host_python
from scripts.host_install import HostError

if TYPE_CHECKING:
    from benchmarks.support import quality_host as host_module
    from benchmarks.support.quality_sets import Case

# What needs torch is imported where it is used: at first this may run in a Python without it.

WAYS: dict[str, str] = {
    "cell": "the place has a cell of its own, as trained",
    "behind": "the place fills the canvas behind the subjects, and all of it is marked",
    "behind, subjects marked": "the same, with the subjects' boxes marked alone",
    "start frame": "cells, and the true first frames given behind the canvas",
}
"""Name -> what is given."""
MEASURES = {
    "identity": "identity top-1",
    "place": "background, from its reference",
    "motion": "motion",
    "pasted": "pasted",
}


def guidance_of(models: host_module.Models, case: Case, way: str) -> host_module.Guidance:
    """What Apply Masked Guidance would be given, in one of `WAYS`."""
    import torch

    from benchmarks.support import quality_host as host
    from magref_core.canvas.masks import mask_channels, to_latent_mask
    from magref_core.world.film import film

    scene = case.scene
    size = {"height": scene.height, "width": scene.width, "seed": case.seed}
    order = "behind" if way.startswith("behind") else "official"
    canvas = host.compose(case.references, **size, order=order)
    guidance = host.guide(models, canvas, scene.length)
    if way == "behind, subjects marked":
        subjects = torch.zeros_like(canvas.mask)
        for placement in canvas.placements:
            if canvas.references[placement.reference].kind != "background":
                box = placement.box
                subjects[box.y : box.bottom, box.x : box.right] = 1
        marked = mask_channels(to_latent_mask(subjects[None].float()), scene.length)
        guidance |= {"concat_mask": 1 - marked}  # the host's polarity: 0 is given
    if way == "start frame":
        frames = torch.from_numpy(film(scene).frames[1:5]).float() / 255
        clip = torch.cat([canvas.image[None].float() / 255, frames])
        latents, mask = guidance["concat_latent_image"].clone(), guidance["concat_mask"].clone()
        latents[:, :, 1] = models.vae.encode(clip)[:, :, 1]
        mask[:, :, 1] = 0
        guidance |= {"concat_latent_image": latents, "concat_mask": mask}
    return guidance


def measure(arguments: argparse.Namespace, source: Path) -> list[dict[str, Any]]:
    """A record per scene, with scores by way."""
    import torch

    from benchmarks.support import quality_host as host
    from benchmarks.support.quality_run import Clock, in_batches, stage_case
    from benchmarks.support.quality_scores import score_clip
    from benchmarks.support.quality_sets import draw_set

    torch.set_flush_denormal(True)
    host.start_host(source, arguments.device)
    _, preset = preset_of(arguments)
    cases = draw_set("places", preset.scenes, preset.staging, count=arguments.scenes, seed=arguments.seed)
    records: list[dict[str, Any]] = [{"seed": case.seed, "scores": {}} for case in cases]
    options = host.SamplingOptions(steps=arguments.steps)
    clock = Clock(label="canvas", total=len(cases) * len(WAYS))
    with torch.inference_mode():
        models = host.load_models(arguments.models, "default")
        for way in WAYS:
            for batch in in_batches(range(len(cases)), arguments.batch):
                staged = [stage_case(cases[index]) for index in batch]
                guidances = [guidance_of(models, cases[index], way) for index in batch]
                prompts = [host.encode_prompt(models, each.prompt) for each in staged]
                seeds = [cases[index].seed for index in batch]
                latents = host.sample_batch(models, prompts, guidances, seeds, options)
                for index, each, frames in zip(batch, staged, host.decode(models, latents), strict=True):
                    records[index]["scores"][way] = score_clip(each, frames, seed=cases[index].seed)
                clock.add(len(batch))
    return records


def table(records: Sequence[dict[str, Any]]) -> str:
    """All ways with 95 % intervals, and their differences to the first, in Markdown."""
    from benchmarks.support.who_table import change_of, value_of, with_interval

    first = next(iter(WAYS))
    lines = [
        f"| |{''.join(f' {head} |' for head in MEASURES.values())} identity, change | background, change |",
        f"| --- |{' ---: |' * (len(MEASURES) + 2)}",
    ]
    for way, meaning in WAYS.items():
        cells = [with_interval(value_of(records, way, each)) for each in MEASURES]
        changes = ["", ""]
        if way != first:
            changes = [
                with_interval(change_of(records, way, each, to=first), sign="+")
                for each in ("identity", "place")
            ]
        lines.append(f"| {way}: {meaning} | {' | '.join([*cells, *changes])} |")
    return "\n".join(lines)


def main() -> None:
    """Measure, print, and write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--models", type=Path, default=ROOT / "models" / "demo", help="the bundle")
    parser.add_argument("--scenes", type=positive, default=60)
    parser.add_argument("--steps", type=positive, default=20)
    parser.add_argument("--seed", type=natural, default=0, help="other scenes")
    parser.add_argument("--batch", type=positive, default=8, help="clips sampled at once")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--preset", help="world of the training; default: told by the width of the DiT")
    parser.add_argument("--folder", type=Path, default=ROOT / "benchmarks" / "reports", help="for the report")
    arguments = parser.parse_args()
    source = enter_host_python()
    started = time.monotonic()
    records = measure(arguments, source)
    from benchmarks.support import machine

    text = table(records)
    print(f"\n{text}")
    version = importlib.import_module("comfyui_version").__version__
    described = ", ".join(f"{key} {value}" for key, value in machine.describe(arguments.device).items())
    lines = [
        f"# Ways to give a place, {datetime.date.today().isoformat()}",
        "",
        f"{len(records)} held-out scenes of one or two subjects and a place, {arguments.steps} steps, in "
        f"ComfyUI {version}; brackets hold 95 % bootstrap intervals, differences are to the first row.",
        "",
        text,
        "",
        "- With a start frame four of the 16 frames are given, among them one of the four compared.",
        f"- Commit: {machine.commit(ROOT)}; {time.monotonic() - started:.0f} s.",
        f"- Machine: {described}.",
        "",
    ]
    arguments.folder.mkdir(parents=True, exist_ok=True)
    file = arguments.folder / f"{datetime.date.today().isoformat()}-canvas-ways"
    file.with_suffix(".md").write_text("\n".join(lines), encoding="utf-8")
    file.with_suffix(".json").write_text(json.dumps(rounded(records)) + "\n", encoding="utf-8")
    print(f"\nwritten: {file.name}.md and .json in {arguments.folder}")


if __name__ == "__main__":
    try:
        main()
    except HostError as error:
        raise SystemExit(f"error: {error}") from error
    except KeyboardInterrupt:
        raise SystemExit("cancelled") from None
