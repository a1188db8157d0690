"""What each format of the converter costs the demo model's pictures: one table for all formats.

python benchmarks/conversion.py [--scenes 8] [--steps 20] [--formats fp8,nvfp4] [--docs]
                                [--model FILE] [--bundle DIR]

The model (the small trained one of this pack, unless another is named) is converted to each format, and the
quality benchmark is run on it and on the original, on the same scenes and noise. The table says what changes,
with 95 % intervals. `--docs` puts it into docs/conversion.md.
"""

from __future__ import annotations

import argparse
import datetime
import json
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

if __package__ in (None, ""):
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

from scripts import ROOT
from scripts.convert import DEMO, NAMES
from scripts.host import enter_host_python
from scripts.host_install import HostError

if TYPE_CHECKING:
    from magref_core.conversion.report import Report

# What needs torch is imported where it is used: at first this may run in a Python without it.

MODEL = DEMO / "diffusion_models" / "magref_demo_dit.safetensors"
DOCS = ROOT / "docs" / "conversion.md"
MARK = "quality"


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    """Convert to each format and run the benchmark on each file."""
    from benchmarks.support import machine
    from benchmarks.support.quality_change import run_quality
    from magref_core.conversion.convert import convert

    options = ["--scenes", str(arguments.scenes), "--steps", str(arguments.steps), "--no-ablations"]
    with tempfile.TemporaryDirectory() as folder:
        records = {"before": run_quality(arguments.bundle, arguments.model, options)}
        reports: dict[str, Report] = {}
        for name in arguments.formats:
            target = Path(folder) / f"{arguments.model.stem}_{name}.safetensors"
            reports[name] = convert(arguments.model, target, name)
            records[name] = run_quality(arguments.bundle, target, options)
    return {
        "date": datetime.date.today().isoformat(),
        "commit": machine.commit(ROOT),
        "machine": machine.describe("cpu"),
        "model": arguments.model.name,
        "scenes": arguments.scenes,
        "steps": arguments.steps,
        "weight_errors": {name: report.total.relative_error for name, report in reports.items()},
        "megabytes": {name: report.target_bytes / 1e6 for name, report in reports.items()},
        "records": records,
    }


def text_of(result: dict[str, Any]) -> str:
    """The table, and what it is of."""
    from benchmarks.support.quality_change import changes_table

    runs = dict(result["records"])
    table = changes_table(runs.pop("before"), runs).splitlines()
    errors = " | ".join(f"{value:.2%}" for value in result["weight_errors"].values())
    sizes = " | ".join(f"{value:.1f} MB" for value in result["megabytes"].values())
    table[2:2] = [f"| error of the weights | | {errors} |", f"| file | | {sizes} |"]
    return "\n".join(
        [
            *table,
            "",
            f"`{result['model']}`, {result['scenes']} scenes of one to three subjects and those of the "
            f"other sets, {result['steps']} steps; each cell is the mean change with its 95 % interval, bold "
            f"where 0 is outside. {result['date']}, torch {result['machine']['torch']}, "
            f"{result['machine']['processor']}; commit {result['commit']}.",
            "",
            f"Again: `python scripts/bench.py conversion --scenes {result['scenes']} --steps "
            f"{result['steps']} --formats {','.join(result['weight_errors'])} --docs`",
        ]
    )


def read_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--scenes", type=int, default=8, help="as in the quality benchmark; default 8, a look"
    )
    parser.add_argument("--steps", type=int, default=20, help="default 20")
    parser.add_argument(
        "--formats", type=lambda text: text.split(","), default=list(NAMES), help="default: all"
    )
    parser.add_argument("--model", type=Path, default=MODEL, help="a DiT of 16 or 32 bits")
    parser.add_argument("--bundle", type=Path, default=DEMO, help="its other files; default: the demo's")
    parser.add_argument("--folder", type=Path, default=ROOT / "benchmarks" / "reports", help="for the report")
    parser.add_argument("--docs", action="store_true", help=f"put the table into docs/{DOCS.name}")
    arguments = parser.parse_args()
    unknown = [name for name in arguments.formats if name not in NAMES]
    if unknown:
        parser.error(f"the format {unknown[0]!r} is unknown: use {', '.join(NAMES)}")
    return arguments


def main() -> None:
    """Measure, print, and write the report."""
    arguments = read_arguments()
    enter_host_python()
    from benchmarks.support.docs import put_between_marks
    from magref_core.errors import MagrefError

    try:
        result = measure(arguments)
    except MagrefError as error:
        raise SystemExit(f"error: {error}") from error
    text = text_of(result)
    print(f"\n{text}")
    arguments.folder.mkdir(parents=True, exist_ok=True)
    file = arguments.folder / f"{result['date']}-conversion"
    file.with_suffix(".md").write_text(
        f"# Quality after conversion, {result['date']}\n\n{text}\n", encoding="utf-8"
    )
    file.with_suffix(".json").write_text(json.dumps(result) + "\n", encoding="utf-8")
    print(f"\nwritten: {file.with_suffix('.md').name} and .json in {arguments.folder}")
    if arguments.docs:
        put_between_marks(DOCS, MARK, text)


if __name__ == "__main__":
    try:
        main()
    except HostError as error:
        raise SystemExit(f"error: {error}") from error
