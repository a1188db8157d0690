"""Quality of the demo model on held-out scenes, through the pack's nodes in a real ComfyUI.

python benchmarks/quality.py [--models models/demo] [--scenes 200] [--steps 20]
python benchmarks/quality.py --quick        few scenes and steps, for a look at whether it still works

Every scene is drawn from a seed that training never uses, laid out by MAGREF Build Masked Canvas, sampled,
decoded and measured against the drawn truth. The same scenes and noise are sampled with one thing changed
(another mask, another view, other references), and all measures are also taken of the true film and of the
film after the VAE. Writes a report, all single results as JSON, and a contact sheet.
"""

from __future__ import annotations

import argparse
import datetime
import importlib
import importlib.util
import json
import os
import subprocess
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
    from scripts.training.presets import Preset

# What needs torch is imported where it is used: at first this may run in a Python without it.

QUICK_SCENES, QUICK_STEPS = 8, 8
FILM_FLOOR = 0.98
"""Identity top-1 of true films, below which the measure is not to be trusted."""
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")


def measure(arguments: argparse.Namespace, host: Path) -> dict[str, Any]:
    """All that the report says, by several processes at once, and the pictures of the contact sheet."""
    import numpy as np

    from benchmarks.support import machine
    from benchmarks.support.quality_host import find_file
    from benchmarks.support.quality_sets import FIRST_SEED

    started = time.monotonic()
    kinds = ("dit", "vae", "text_encoder", "clip_vision")
    files = [find_file(arguments.models, kind).name for kind in kinds]
    name, _ = preset_of(arguments)
    with tempfile.TemporaryDirectory() as folder:
        run_workers(arguments, Path(folder), host)
        shards = [json.loads(file.read_text()) for file in sorted(Path(folder).glob("*.json"))]
        pictures: dict[str, Any] = {}
        for file in sorted(Path(folder).glob("*.npz")):
            with np.load(file) as arrays:
                pictures |= {key: arrays[key] for key in arrays.files}
    records = sorted(
        (record for shard in shards for record in shard["records"]), key=lambda each: each["index"]
    )
    result = {
        "date": datetime.date.today().isoformat(),
        "commit": machine.commit(ROOT),
        "device": arguments.device,
        "machine": machine.describe(arguments.device),
        "comfyui": shards[0]["comfyui"],
        "preset": name,
        "files": files,
        "first_seed": FIRST_SEED,
        "options": {
            key: getattr(arguments, key)
            for key in (
                "scenes",
                "seed",
                "steps",
                "guidance_scale",
                "shift",
                "solver",
                "precision",
                "ablations",
            )
        },
        "processes": arguments.processes,
        "batch_difference": max(shard["batch_difference"] for shard in shards),
        "seconds": time.monotonic() - started,
        "records": records,
    }
    return result | {"pictures": pictures}


def run_workers(
    arguments: argparse.Namespace, folder: Path, host: Path, *, script: Path = Path(__file__)
) -> None:
    """Start one process per share of the scenes, and wait for all.

    Args:
        arguments: of the command line.
        folder: for what they leave.
        host: ComfyUI's folder.
        script: what they run, with the same command line and `--worker`.

    Raises:
        SystemExit: one of them failed; the others are stopped.
    """
    command = [sys.executable, str(script.resolve()), *sys.argv[1:], "--device", arguments.device]
    environment = os.environ | {"COMFYUI_PATH": str(host)}
    environment |= {} if arguments.device == "cuda" else ONE_THREAD
    workers = [
        subprocess.Popen([*command, "--worker", str(number), str(folder)], env=environment)
        for number in range(arguments.processes)
    ]
    try:
        while any(worker.poll() is None for worker in workers):
            if any(worker.returncode for worker in workers):
                break
            time.sleep(0.2)
        if any(worker.returncode for worker in workers):
            raise SystemExit("error: a part of the run failed, see above")
    finally:
        for worker in workers:
            if worker.poll() is None:
                worker.terminate()
            worker.wait()


def run_worker(arguments: argparse.Namespace, number: int, folder: Path, host: Path) -> None:
    """Measure every so many-th scene and leave the results in a folder."""
    import numpy as np
    import torch

    from benchmarks.support import quality_host
    from benchmarks.support.quality_run import RunOptions, largest_difference, run_cases
    from benchmarks.support.quality_sets import draw_cases

    torch.set_flush_denormal(True)
    quality_host.start_host(host, arguments.device)
    _, preset = preset_of(arguments)
    cases = draw_cases(preset.scenes, preset.staging, num_scenes=arguments.scenes, seed=arguments.seed)
    share = range(number, len(cases), arguments.processes)
    sampling = quality_host.SamplingOptions(
        steps=arguments.steps,
        guidance_scale=arguments.guidance_scale,
        shift=arguments.shift,
        solver=arguments.solver,
    )
    options = RunOptions(
        sampling=sampling,
        staging=preset.staging,
        ablations=arguments.ablations,
        batch_size=arguments.batch,
        label=f"part {number + 1} of {arguments.processes}",
    )
    with torch.inference_mode():
        models = quality_host.load_models(arguments.models, arguments.precision)
        gap = largest_difference(models, cases[:2], sampling) if number == 0 else 0.0
        if gap > quality_host.CHECK_LIMIT and arguments.device == "cpu":
            raise SystemExit(f"error: clips differ by {gap:.1e} between a batch and the nodes one by one")
        records, shown = run_cases(models, cases, share, options)
    answer = {
        "comfyui": importlib.import_module("comfyui_version").__version__,
        "batch_difference": gap,
        "records": [{"index": index} | record for index, record in zip(share, records, strict=True)],
    }
    (folder / f"{number}.json").write_text(json.dumps(answer), encoding="utf-8")
    arrays: Any = shown  # names, which the stubs take for options
    np.savez(folder / f"{number}.npz", **arrays)


def preset_of(arguments: argparse.Namespace) -> tuple[str, Preset]:
    """The preset that the bundle was trained by: as told, or the one with a DiT of that width."""
    from safetensors import safe_open

    from benchmarks.support.quality_host import find_file
    from scripts.training.presets import PRESETS

    with safe_open(find_file(arguments.models, "dit"), framework="pt") as weights:
        dim = weights.get_slice("patch_embedding.weight").get_shape()[0]
    for name, preset in PRESETS.items():
        if name == arguments.preset or (arguments.preset is None and preset.dit.dim == dim):
            return name, preset
    known = ", ".join(f"{name} ({preset.dit.dim})" for name, preset in PRESETS.items())
    raise SystemExit(f"error: the DiT is {dim} wide, which no preset is: name one of {known} by --preset")


def write(result: dict[str, Any], folder: Path) -> None:
    """The report, the results and the contact sheet."""
    from benchmarks.support.quality_run import keys_of
    from benchmarks.support.quality_sheet import Row, draw_sheet
    from benchmarks.support.quality_table import report

    pictures = result.pop("pictures")
    rows: list[Row] = []
    for record in result["records"]:
        canvas, frames = keys_of(record["set"], record["number"])
        if frames in pictures:
            rows.append(Row(canvas=pictures[canvas], frames=pictures[frames], prompt=record["prompt"]))
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"{result['date']}-quality-{result['preset']}"
    title = f"Held-out scenes, the first of each set, {result['options']['steps']} steps"
    draw_sheet(rows, title, file.with_suffix(".png"))
    file.with_suffix(".md").write_text(report(result), encoding="utf-8")
    records = result.pop("records")
    head = json.dumps(result, indent=1)[:-2]
    lines = ",\n".join(json.dumps(rounded(record)) for record in records)
    file.with_suffix(".json").write_text(f'{head},\n "records": [\n{lines}\n]}}\n', encoding="utf-8")
    print(f"\nwritten: {file.name}.md, .json and .png in {folder}")


def rounded(value: Any) -> Any:
    """Numbers with four digits behind the point."""
    if isinstance(value, float):
        return round(value, 4)
    if isinstance(value, dict):
        return {key: rounded(each) for key, each in value.items()}
    return [rounded(each) for each in value] if isinstance(value, list | tuple) else value


def read_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--models", type=Path, default=ROOT / "models" / "demo", help="the bundle")
    parser.add_argument(
        "--scenes", type=int, help="of one to three subjects; others come on top; default 200"
    )
    parser.add_argument("--steps", type=positive, help="default 20")
    parser.add_argument("--quick", action="store_true", help=f"{QUICK_SCENES} scenes, {QUICK_STEPS} steps")
    parser.add_argument("--seed", type=natural, default=0, help="other scenes")
    parser.add_argument("--guidance-scale", type=float, default=1.0, help="above 1 the prompt drives more")
    parser.add_argument("--shift", type=float, default=3.0)
    parser.add_argument("--solver", choices=("unipc", "dpm++", "euler"), default="unipc")
    parser.add_argument("--precision", default="default", help="of the DiT, as in MAGREF DiT Loader")
    parser.add_argument("--preset", help="world of the training; default: told by the width of the DiT")
    parser.add_argument("--no-ablations", dest="ablations", action="store_false")
    parser.add_argument("--floor", type=float, help="fail below this identity of the main sets together")
    parser.add_argument("--processes", type=positive, help="default: 2 on a CPU with 2 cores or more")
    parser.add_argument("--batch", type=positive, default=8, help="clips sampled at once")
    parser.add_argument("--device", choices=("cpu", "cuda"), help="default: cuda where there is one")
    parser.add_argument("--folder", type=Path, default=ROOT / "benchmarks" / "reports", help="for the report")
    parser.add_argument("--worker", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    arguments.scenes = arguments.scenes or (QUICK_SCENES if arguments.quick else 200)
    arguments.steps = arguments.steps or (QUICK_STEPS if arguments.quick else 20)
    return arguments


def positive(text: str) -> int:
    """A whole number from 1 on."""
    if (number := int(text)) < 1:
        raise argparse.ArgumentTypeError(f"{number} is too small: give 1 or more")
    return number


def natural(text: str) -> int:
    """A whole number from 0 on."""
    return positive(str(int(text) + 1)) - 1


def check_measure(film: float | None) -> None:
    """Refuse results whose measure does not know the true puppets in true films.

    Raises:
        HostError: see above.
    """
    if film is not None and film < FILM_FLOOR:
        raise HostError(f"the measure knows only {film:.3f} of the true puppets: mend it first")


def main() -> None:
    """Measure, print, and write."""
    arguments = read_arguments()
    host = enter_host_python()
    import torch

    from magref_core.errors import MagrefError

    arguments.device = arguments.device or ("cuda" if torch.cuda.is_available() else "cpu")
    arguments.processes = arguments.processes or (
        1 if arguments.device == "cuda" else min(2, os.cpu_count() or 1)
    )
    try:
        if arguments.worker:
            run_worker(arguments, int(arguments.worker[0]), Path(arguments.worker[1]), host)
            return
        result = measure(arguments, host)
    except ValueError as error:
        if type(error).__module__ != MagrefError.__module__:  # the pack brings its own copy of the class
            raise
        raise SystemExit(f"error: {error}") from error
    from benchmarks.support.quality_run import FILM, OURS
    from benchmarks.support.quality_sets import MAIN_SETS
    from benchmarks.support.quality_table import Row, ablation_table, estimate_row, quality_table

    print(f"\n{quality_table(result['records'], result['preset'])}")
    if arguments.ablations:
        print(f"\n{ablation_table(result['records'])}")
    identity = Row(label="", measure="identity", sets=MAIN_SETS)
    reached, film = (estimate_row(result["records"], identity, condition) for condition in (OURS, FILM))
    write(result, arguments.folder)
    check_measure(None if film is None else film.value)
    if arguments.floor is not None and (reached is None or reached.value < arguments.floor):
        raise SystemExit(f"error: identity is below {arguments.floor}")


if __name__ == "__main__":
    try:
        main()
    except HostError as error:
        raise SystemExit(f"error: {error}") from error
    except KeyboardInterrupt:
        raise SystemExit("cancelled") from None
