"""What a LoRA of eight pictures does for one puppet that the demo model has never seen.

python benchmarks/lora_identity.py [--models models/demo] [--category fox] [--scenes 40] [--train-steps 300]

Draws a new puppet and eight pictures of it, makes samples of them with scripts/encode_samples.py and a LoRA
with scripts/train.py, and generates held-out scenes through the pack's nodes in a real ComfyUI, once without
the LoRA and once with it, loaded by ComfyUI's own loader: scenes with this puppet, and scenes with others of
its category, which the LoRA should leave alone. Writes a report, all results as JSON, and a contact sheet.
"""

from __future__ import annotations

import argparse
import datetime
import importlib
import importlib.util
import json
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

if __package__ in (None, ""):
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

from scripts import ROOT
from scripts.host import enter_host_python
from scripts.host_install import HostError

if TYPE_CHECKING:
    from benchmarks.support.lora_run import LoraOptions
    from benchmarks.support.quality_sets import Case
    from magref_core.world.identity import Identity
    from scripts.training.presets import Preset

# What needs torch is imported where it is used: at first this may run in a Python without it.

OWN, OTHERS = "this puppet", "others"
SHOWN = 6
"""Scenes on the contact sheet."""
LORA_OPTIONS = ("rank", "train_steps", "rate", "targets", "drop_references", "batch", "variants", "device")
LATE_BLOCKS = r"blocks\.[345]\.(self_attn\.(v|o)|ffn\.[02])"
"""Of the demo model's six; what they write tells looks, and hardly where or how somebody moves."""
OPTIONS = ("category", "seed", "scenes", "steps", "strength", *LORA_OPTIONS)
"""Arguments that the results depend on."""


def read_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--models", type=Path, default=ROOT / "models" / "demo", help="the bundle")
    parser.add_argument("--category", default="fox", help="of the puppet")
    parser.add_argument("--seed", type=int, default=0, help="another puppet, and other scenes")
    parser.add_argument("--scenes", type=int, default=40, help="with the puppet; as many with others")
    parser.add_argument("--steps", type=int, default=20, help="of sampling")
    parser.add_argument("--rank", type=int, default=16)
    parser.add_argument("--train-steps", type=int, default=200)
    parser.add_argument("--rate", type=float, default=1e-3, help="learning rate")
    parser.add_argument("--targets", default=LATE_BLOCKS, help="layers that get a LoRA")
    parser.add_argument(
        "--drop-references", type=float, default=0.5, help="share of samples that teach the looks alone"
    )
    parser.add_argument("--variants", type=int, default=7, help="canvases per picture")
    parser.add_argument("--strength", type=float, default=1.0, help="of the LoRA")
    parser.add_argument("--batch", type=int, default=8, help="samples of a step, and clips at once")
    parser.add_argument("--device", choices=("cpu", "cuda"), help="default: cuda where there is one")
    parser.add_argument("--work", type=Path, help="keep pictures, samples and LoRA here")
    parser.add_argument("--lora", type=Path, help="measure the LoRA in this folder instead of a new one")
    parser.add_argument("--folder", type=Path, default=ROOT / "benchmarks" / "reports", help="for the report")
    return parser.parse_args()


def measure(arguments: argparse.Namespace, work: Path, host: Path) -> dict[str, Any]:
    """All that the report says, and the rows of the contact sheet."""
    import torch

    from benchmarks.support import lora_run, lora_scores, machine, quality_host
    from benchmarks.support.lora_pictures import draw_puppet
    from benchmarks.support.quality_run import stage_case
    from benchmarks.support.quality_sheet import Row

    started = time.monotonic()
    name, preset = preset_of(arguments.models)
    identity = draw_puppet(arguments.category, arguments.seed)
    seconds = {} if arguments.lora else train_on(identity, arguments, preset, work)
    lora = arguments.lora or work / "run"
    quality_host.start_host(host, arguments.device)
    how = {"steps": arguments.steps, "batch": arguments.batch}
    records: dict[str, list[dict[str, Any]]] = {}
    rows: list[Row] = []
    with torch.inference_mode():
        models = quality_host.load_models(arguments.models, "default")
        with_lora = lora_run.load_lora(models, lora, arguments.strength)
        for label, cases in draw_sets(arguments, preset, identity).items():
            before, after = (
                lora_run.generate(each, cases, **how, label=f"{label}, {condition}")
                for each, condition in ((models, lora_scores.BASE), (with_lora, lora_scores.LORA))
            )
            clips = {lora_scores.BASE: before, lora_scores.LORA: after}
            clips[lora_scores.ROUND_TRIP] = lora_run.round_trips(models, cases)
            records[label] = lora_run.records_of(cases, clips)
            for case, *pair in zip(cases, before, after, strict=True) if label == OWN else ():
                staged = stage_case(case)
                canvas = staged.canvas.image.numpy()
                rows += [Row(canvas=canvas, frames=frames, prompt=staged.prompt) for frames in pair]
    return {
        "date": datetime.date.today().isoformat(),
        "commit": machine.commit(ROOT),
        "machine": machine.describe(arguments.device),
        "comfyui": importlib.import_module("comfyui_version").__version__,
        "preset": name,
        "options": {key: getattr(arguments, key) for key in OPTIONS},
        "seconds": seconds | {"all": time.monotonic() - started},
        "lora_bytes": (lora / "lora.safetensors").stat().st_size,
        "records": records,
        "rows": rows[: 2 * SHOWN],
    }


def train_on(
    identity: Identity, arguments: argparse.Namespace, preset: Preset, work: Path
) -> dict[str, float]:
    """Draw the pictures and make a LoRA of them; gives the seconds of each command."""
    from benchmarks.support.lora_pictures import write_pictures
    from benchmarks.support.lora_run import LoraOptions, make_lora

    options: LoraOptions = LoraOptions(**{name: getattr(arguments, name) for name in LORA_OPTIONS})
    pictures = work / "pictures"
    shutil.rmtree(pictures, ignore_errors=True)
    write_pictures(identity, preset.scenes, pictures, seed=arguments.seed)
    return make_lora(arguments.models, pictures, work, preset.scenes, options)


def draw_sets(arguments: argparse.Namespace, preset: Preset, identity: Identity) -> dict[str, list[Case]]:
    """The scenes with the puppet, and those with others."""
    from benchmarks.support import lora_scores

    return {
        label: lora_scores.draw_cases(
            preset.scenes,
            preset.staging,
            num_scenes=arguments.scenes,
            seed=arguments.seed,
            identity=who,
            category=arguments.category,
        )
        for label, who in ((OWN, identity), (OTHERS, None))
    }


def preset_of(bundle: Path) -> tuple[str, Preset]:
    """The preset with a DiT of the bundle's width.

    Raises:
        HostError: there is none.
    """
    from benchmarks.support.quality_host import find_file
    from magref_core.dit.checkpoint import read_checkpoint
    from scripts.training.presets import PRESETS

    dim = read_checkpoint(find_file(bundle, "dit")).shapes["patch_embedding.weight"][0]
    for name, preset in PRESETS.items():
        if preset.dit.dim == dim:
            return name, preset
    raise HostError(f"the DiT is {dim} wide, which no preset is: give a bundle of the demo model")


def report(result: dict[str, Any]) -> str:
    """The report in Markdown."""
    from benchmarks.support.lora_scores import table

    options, seconds = result["options"], result["seconds"]
    lora = f"rank {options['rank']}, {options['train_steps']} steps of {options['batch']} samples"
    spent = "".join(
        f"{name} {seconds[name]:.0f} s, " for name in ("encode_samples", "train") if name in seconds
    )
    again = f"--category {options['category']} --seed {options['seed']}"
    lines = [
        f"# A LoRA of one new puppet, {result['date']}",
        "",
        f"A {options['category']} that the demo model ({result['preset']}) was never trained on, given as 8 "
        f"pictures; {options['scenes']} held-out scenes with it, and as many with others of its category, "
        "before and after. Each scene has its own reference, prompt and noise, the same before and after; "
        "95 % intervals by bootstrap over scenes.",
        "",
        table(result["records"]),
        "",
        f"- LoRA: {lora} at a learning rate of {options['rate']:g}, {options['variants']} canvases per "
        f"picture, {options['drop_references']:.0%} of samples without references, on "
        f"`{options['targets']}`, strength {options['strength']:g}; {result['lora_bytes'] / 1e6:.1f} MB.",
        f"- Time: {spent}all {seconds['all'] / 60:.0f} min on {options['device']}.",
        f"- Clips: {options['steps']} steps in ComfyUI {result['comfyui']}; the LoRA by LoraLoaderModelOnly.",
        f"- Commit: {result['commit']}.",
        f"- Machine: {', '.join(f'{key} {value}' for key, value in result['machine'].items())}.",
        "",
        f"Again: `python benchmarks/lora_identity.py {again}`",
    ]
    return "\n".join(lines) + "\n"


def write(result: dict[str, Any], folder: Path) -> None:
    """The report, the results and the contact sheet, in which each scene stands before and after."""
    from benchmarks.support.quality_sheet import draw_sheet

    folder.mkdir(parents=True, exist_ok=True)
    options = result["options"]
    file = folder / f"{result['date']}-lora-identity-{options['category']}-{options['seed']}"
    title = "A new puppet: each scene without the LoRA, and below with it"
    draw_sheet(result.pop("rows"), title, file.with_suffix(".png"))
    file.with_suffix(".md").write_text(report(result), encoding="utf-8")
    file.with_suffix(".json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(f"\nwritten: {file.name}.md, .json and .png in {folder}")


def main() -> None:
    """Measure, print, and write."""
    arguments = read_arguments()
    host = enter_host_python()
    import torch

    from benchmarks.support.lora_scores import table
    from magref_core.errors import MagrefError

    torch.set_flush_denormal(True)
    arguments.device = arguments.device or ("cuda" if torch.cuda.is_available() else "cpu")
    with tempfile.TemporaryDirectory() as scratch:
        try:
            result = measure(arguments, arguments.work or Path(scratch), host)
        except MagrefError as error:
            raise SystemExit(f"error: {error}") from error
    print(f"\n{table(result['records'])}")
    write(result, arguments.folder)


if __name__ == "__main__":
    try:
        main()
    except HostError as error:
        raise SystemExit(f"error: {error}") from error
