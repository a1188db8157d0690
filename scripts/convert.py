"""A shorter MAGREF checkpoint from a longer one, in the formats that ComfyUI reads.

python scripts/convert.py MODEL.safetensors.index.json --format fp8
    official shards, or one file, become MODEL_fp8.safetensors beside the source; 2 GB of memory are enough

python scripts/convert.py models/demo/diffusion_models/magref_demo_dit.safetensors --out out/ --quality
    and say what the change costs the small demo model in the quality benchmark

Formats: bf16 (half of float32), fp8 (comfy_quant), fp8_scaled (the older form), int8 and nvfp4 (comfy_quant).
A run that is stopped (Ctrl-C, SIGTERM) goes on where it was when the same command is given again.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

if __package__ in (None, ""):
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

from scripts import ROOT, host
from scripts.host_install import HostError

if TYPE_CHECKING:
    from magref_core.conversion.report import Report

# What needs torch is imported where it is used: at first this may run in a Python without it.

DEMO = ROOT / "models" / "demo"
NAMES = ("bf16", "fp8", "fp8_scaled", "int8", "nvfp4")
INDEX = ".safetensors.index.json"


class ProgressLine:
    """Says how far it is: one line that changes on a terminal, a line every ten per cent elsewhere."""

    def __init__(self) -> None:
        self.is_terminal = sys.stderr.isatty()
        self.started = time.monotonic()
        self.shown = -1

    def __call__(self, done: int, total: int) -> None:
        """Show it."""
        percent = 100 * done // max(total, 1)
        step = percent if self.is_terminal else percent // 10
        if step == self.shown:
            return
        self.shown = step
        text = f"{percent:3} % of {total / 1e9:.1f} GB, {time.monotonic() - self.started:.0f} s"
        print(f"\r\x1b[K  {text}" if self.is_terminal else f"  {text}", end="", file=sys.stderr, flush=True)
        if not self.is_terminal or done == total:
            print(file=sys.stderr, flush=True)


def read_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "source", type=Path, help="a .safetensors file, or the .safetensors.index.json of shards"
    )
    parser.add_argument("--format", choices=NAMES, default="fp8", help="default fp8")
    parser.add_argument("--out", type=Path, help="the new file, or its folder; default: beside the source")
    parser.add_argument("--overwrite", action="store_true", help="replace a file of that name")
    parser.add_argument(
        "--report", type=Path, help="where the JSON of the report goes; default: beside the new file"
    )
    parser.add_argument(
        "--probe",
        action="store_true",
        help="run both models on random inputs and say how far their answers differ; for 14B this takes 4 GB "
        "of memory and some minutes",
    )
    parser.add_argument(
        "--quality",
        action="store_true",
        help="run the quality benchmark on a bundle before and after; for the demo model and models "
        "trained like it",
    )
    parser.add_argument(
        "--bundle", type=Path, default=DEMO, help="the other files for --quality; default: the demo's"
    )
    parser.add_argument(
        "--quality-options", default="--quick --no-ablations", help="default: --quick --no-ablations"
    )
    return parser.parse_args()


def target_of(source: Path, form: str, out: Path | None) -> Path:
    """Where the new file goes."""
    stem = source.name.removesuffix(INDEX).removesuffix(".safetensors")
    name = f"{stem}_{form}.safetensors"
    if out is None:
        return source.with_name(name)
    # Not `Path.is_dir`, which raises for a name that is too long.
    return out / name if os.path.isdir(out) or out.suffix != ".safetensors" else out


def measure_quality(source: Path, target: Path, bundle: Path, options: list[str]) -> str:
    """Both models in the quality benchmark, as a table of means and of the change.

    Raises:
        HostError: the benchmark failed.
    """
    from benchmarks.support.quality_change import change_table, run_quality

    return change_table(*(run_quality(bundle, file, options) for file in (source, target)))


def run(arguments: argparse.Namespace) -> Report:
    """Convert, and measure what was asked for."""
    from magref_core.conversion.convert import Watch, convert
    from magref_core.conversion.probe import compare_models
    from magref_core.conversion.report import report_of

    target = target_of(arguments.source, arguments.format, arguments.out)
    line = ProgressLine()
    report = convert(
        arguments.source,
        target,
        arguments.format,
        overwrite=arguments.overwrite,
        watch=Watch(on_progress=line),
    )
    if arguments.probe:
        print("comparing the whole models", file=sys.stderr, flush=True)
        report.notes.append(compare_models(arguments.source, target))
    if arguments.quality:
        options = arguments.quality_options.split()
        report.notes.append(measure_quality(arguments.source, target, arguments.bundle, options))
    print(report.to_text())
    file = arguments.report or report_of(target)
    try:
        report.save(file)
    except OSError as error:
        raise HostError(
            f"{target.name} is written and whole, but {file.name} could not be ({error.strerror or error}); "
            "what it would say stands above: another place for it is named by --report"
        ) from error
    print(f"\nwritten: {target} and {file}")
    return report


def main() -> None:
    """Convert."""
    arguments = read_arguments()
    host.end_cleanly_on_terminate()
    host.use_host_python()
    from magref_core.errors import MagrefError

    try:
        run(arguments)
    except MagrefError as error:
        raise SystemExit(f"error: {error}") from error


if __name__ == "__main__":
    try:
        main()
    except HostError as error:
        raise SystemExit(f"error: {error}") from error
    except KeyboardInterrupt:
        raise SystemExit("stopped; the same command goes on where it was") from None
