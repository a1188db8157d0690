"""Train the shipped demo model on, with subject disentanglement and, as a control, without.

python scripts/train_disentangled.py                    both runs and their bundles in out/disentangled
python scripts/train_disentangled.py --minutes 60       one piece of it; call it again to go on

Then `python scripts/bench.py who_is_who --variant disentangled=out/disentangled/bundles/disentangled
--variant control=out/disentangled/bundles/control` compares them on the same scenes.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path

if __package__ in (None, ""):
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

from scripts import ROOT
from scripts.host import use_host_python
from scripts.host_install import HostError


def read_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--folder", type=Path, default=ROOT / "out" / "disentangled", metavar="DIR")
    parser.add_argument(
        "--start", type=Path, default=ROOT / "models" / "demo", metavar="DIR", help="bundle to begin with"
    )
    parser.add_argument("--steps", type=int, default=1500, help="of each run")
    parser.add_argument("--batch", type=int, default=32, help="samples of a step")
    parser.add_argument("--samples", type=int, default=6000, help="whole clips, rounded up to thousands")
    parser.add_argument("--short-samples", type=int, default=12_000, help="clips of 5 frames, likewise")
    parser.add_argument("--rate", type=float, default=0.7, help="share of samples with disentanglement")
    parser.add_argument("--alpha", type=float, default=0.5, help="how much of its words a region is given")
    parser.add_argument("--projection", choices=("value", "value_out"), default="value")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="stop after this time")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="processes that draw")
    parser.add_argument("--threads", type=int, help="of the training, if not all")
    return parser.parse_args()


def main() -> None:
    """Draw, train both, and write their bundles."""
    arguments = read_arguments()
    use_host_python()
    import torch

    from magref_core.training.disentangling import DisentanglingConfig
    from scripts.training import drawing, stages, variants
    from scripts.training.files import RunFiles

    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    deadline = time.monotonic() + 60 * arguments.minutes
    files = RunFiles(folder=arguments.folder)
    preset = variants.variant_preset(
        steps=arguments.steps,
        batch_size=arguments.batch,
        num_samples=arguments.samples,
        num_short_samples=arguments.short_samples,
        disentangling=DisentanglingConfig(
            rate=arguments.rate, alpha=arguments.alpha, projection=arguments.projection
        ),
    )
    stages.check_preset(files, preset)
    variants.take_encoders(arguments.start, files)
    drawing.draw_dataset(files, preset, seed=variants.FIRST_SEED, workers=arguments.workers)
    for name in variants.NAMES:
        if not variants.train_variant(name, arguments.start, files, preset, deadline=deadline):
            print("stopped; the same command goes on", flush=True)
            return
        target = files.folder / "bundles" / name
        variants.export_variant(name, arguments.start, files, preset, target)
        print(f"{name}: written to {target}", flush=True)


if __name__ == "__main__":
    try:
        main()
    except (HostError, ValueError) as error:
        raise SystemExit(f"error: {error}") from error
