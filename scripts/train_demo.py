"""Train the small demo model from nothing: drawings, encoders, DiT, VAE, and the bundle that the pack ships.

python scripts/train_demo.py                       on a CUDA device if there is one, else on the processor
python scripts/train_demo.py --minutes 60          one piece of a longer run; call it again to go on
python scripts/train_demo.py --smoke               every stage once in about 2 minutes, for tests

What is there already is kept, so a run that was stopped goes on where it was.
"""

from __future__ import annotations

import argparse
import csv
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

if __package__ in (None, ""):
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

from scripts import ROOT
from scripts.host import use_host_python
from scripts.host_install import HostError

if TYPE_CHECKING:
    from scripts.training.files import RunFiles
    from scripts.training.presets import Preset, PresetName

STAGES = ("tokenizer", "text", "codec", "samples", "dit", "vae", "bundle")
SMOKE_FALL = 0.9
"""The smoke run's last loss must be below this share of its first."""


def read_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--preset", choices=("cpu", "cuda"), help="if not the one that fits the machine")
    parser.add_argument("--smoke", action="store_true", help="a tiny run of every stage")
    parser.add_argument(
        "--folder", type=Path, metavar="DIR", help="of the run; out/train-demo/PRESET if not given"
    )
    parser.add_argument(
        "--bundle", type=Path, metavar="DIR", help="where the bundle goes; FOLDER/bundle if not given"
    )
    parser.add_argument(
        "--minutes", type=float, default=float("inf"), help="stop the DiT or the VAE after this time"
    )
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="processes that draw")
    parser.add_argument("--threads", type=int, help="of the training, if not all")
    parser.add_argument(
        "--vae-of", type=Path, metavar="DIR", help="take the VAE of this bundle, such as models/demo"
    )
    parser.add_argument("--stages", nargs="+", choices=STAGES, default=STAGES, help="only these")
    parser.add_argument(
        "--new-schedule", action="store_true", help="go on with other steps or rates than before"
    )
    return parser.parse_args()


def run_stages(arguments: argparse.Namespace, files: RunFiles, preset: Preset) -> None:
    """Run what is asked for and missing, in order; a stage that was stopped is the last."""
    from scripts.training import bundle, dit_stage, drawing, stages, text_stage

    stages.check_preset(files, preset)
    if arguments.vae_of is not None:
        stages.take_vae(files, arguments.vae_of)
    deadline = time.monotonic() + 60 * arguments.minutes
    work: dict[str, tuple[Callable[[], bool], Callable[[], object]]] = {
        "tokenizer": (
            files.tokenizer.exists,
            lambda: stages.make_tokenizer(files, num_captions=preset.num_captions),
        ),
        "text": (files.text_encoder.exists, lambda: text_stage.make_text_encoder(files, preset)),
        "codec": (files.codec.exists, lambda: stages.make_codec(files, preset, num_clips=preset.num_clips)),
        "samples": (
            lambda: False,
            lambda: drawing.draw_dataset(files, preset, seed=0, workers=arguments.workers),
        ),
        "dit": (
            lambda: False,
            lambda: dit_stage.train_dit(
                files,
                preset,
                new_schedule=arguments.new_schedule,
                report_seconds=1.0 if arguments.smoke else 30.0,
                deadline=deadline,
            ),
        ),
        "vae": (
            lambda: arguments.vae_of is not None,
            lambda: stages.make_vae(files, preset, deadline=deadline),
        ),
        "bundle": (
            lambda: False,
            lambda: bundle.export_bundle(files, preset, arguments.bundle or files.folder / "bundle"),
        ),
    }
    for name in STAGES:
        is_done, run = work[name]
        if name in arguments.stages and not is_done():
            print(f"== {name}", flush=True)
            started = time.monotonic()
            is_whole = run() is not False
            print(f"   {name} took {time.monotonic() - started:.0f} s", flush=True)
            if not is_whole:
                print("stopped; the same command goes on", flush=True)
                return


def check_fall(log: Path) -> str:
    """Say how the loss fell.

    Raises:
        HostError: it did not.
    """
    with log.open(encoding="utf-8", newline="") as stream:
        losses = [float(row["loss"]) for row in csv.DictReader(stream)]
    if len(losses) < 2 or not losses[-1] < SMOKE_FALL * losses[0]:
        raise HostError(f"the loss did not fall: {losses}")
    return f"the loss fell from {losses[0]:.3f} to {losses[-1]:.3f}"


def main() -> None:
    """Train."""
    arguments = read_arguments()
    use_host_python()
    import torch

    from scripts.training.files import RunFiles
    from scripts.training.presets import PRESETS

    fitting: PresetName = "cuda" if torch.cuda.is_available() else "cpu"
    name: PresetName = "smoke" if arguments.smoke else arguments.preset or fitting
    files = RunFiles(folder=arguments.folder or ROOT / "out" / "train-demo" / name)
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    print(f"preset {name} in {files.folder}", flush=True)
    run_stages(arguments, files, PRESETS[name])
    if arguments.smoke:
        print(check_fall(files.dit / "log.csv"))


if __name__ == "__main__":
    try:
        main()
    except (HostError, ValueError) as error:
        raise SystemExit(f"error: {error}") from error
