"""What each control of subjects does to two subjects of one category: swaps and identity, on the demo model.

python benchmarks/who_is_who.py [--scenes 200] [--steps 20] [--processes 2]
python benchmarks/who_is_who.py --docs            puts the result into docs/who-is-who.md as well
python benchmarks/who_is_who.py --variant NAME=DIR ...    other bundles on the same scenes, row by row
python benchmarks/who_is_who.py --variant NAME=DIR --add-to FILE.json    the same beside an earlier run

Scenes are drawn from seeds that training never uses. Their two subjects are told apart in the prompt by
their sides alone ("a girl on the left", "another girl on the right"); MAGREF Bind Subjects binds the
reference of the left one to the words "girl on the left". All controls get the same scenes and
noise, through the pack's nodes. Writes a report, all single results as JSON, and a sheet: references, plain,
and each control.
"""

from __future__ import annotations

import argparse
import datetime
import importlib
import json
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

if __package__ in (None, ""):
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

from benchmarks.quality import natural, positive, preset_of, rounded, run_workers
from scripts import ROOT
from scripts.host import enter_host_python
from scripts.host_install import HostError

if TYPE_CHECKING:
    from benchmarks.support.who_controls import Control

# What needs torch is imported where it is used: at first this may run in a Python without it.

DOCS = ROOT / "docs" / "who-is-who.md"
DOCS_SHEET = ROOT / "docs" / "img" / "who_is_who.png"
STAGE = "stage.json"
"""What the processes are to do next: the folder of a bundle, and controls."""
AS_SHIPPED = "as shipped"
"""The bundle itself among the other ones."""
VARIANT_CONTROLS = ("plain", "disentangle, literal, 0.5", "disentangle, value_out, 0.5")
"""What other bundles are run under."""
OPTIONS = ("scenes", "seed", "steps", "guidance_scale", "shift", "solver", "precision", "only")
"""Arguments that the results depend on."""


def measure(arguments: argparse.Namespace, host: Path) -> dict[str, Any]:
    """All that the report says, and the pictures of the sheet."""
    result = take_up(arguments) if arguments.add_to else measure_controls(arguments, host)
    if arguments.variant:
        result["variants"] = measure_variants(arguments, host, result["records"]) | {
            name: records
            for name, records in result["variants"].items()
            if name not in dict(arguments.variant) and name != AS_SHIPPED
        }
    return result


def measure_controls(arguments: argparse.Namespace, host: Path) -> dict[str, Any]:
    """The bundle under every control."""
    from benchmarks.support import machine
    from benchmarks.support.quality_sets import FIRST_SEED, SEEDS_PER_SET, SHARES
    from benchmarks.support.who_controls import CONTROLS, PLAIN
    from benchmarks.support.who_table import best_kinds

    started = time.monotonic()
    controls = [each for each in CONTROLS if each is PLAIN or arguments.only in each.label]
    records, pictures, version = run_stage(arguments, host, arguments.models, controls)
    joined: list[str] = []
    kinds = {each.label: each.kind for each in controls if each.kind not in ("plain", "names")}
    if len(set(kinds.values())) > 1:
        joined = best_kinds(records, kinds)
        one, other = (next(each for each in controls if each.label == label) for label in joined)
        controls.append(one.joined(other))
        more, more_pictures, _ = run_stage(arguments, host, arguments.models, controls[-1:])
        for record, added in zip(records, more, strict=True):
            record["scores"] |= added["scores"]
        pictures |= more_pictures
    return {
        "date": datetime.date.today().isoformat(),
        "commit": machine.commit(ROOT),
        "device": arguments.device,
        "machine": machine.describe(arguments.device),
        "comfyui": version,
        "files": files_of(arguments.models),
        "first_seed": FIRST_SEED
        + (arguments.seed * len(SHARES) + list(SHARES).index("pairs")) * SEEDS_PER_SET,
        "options": {key: getattr(arguments, key) for key in OPTIONS},
        "answers_per_step": {each.label: each.num_answers for each in controls},
        "joined": joined,
        "processes": arguments.processes,
        "seconds": time.monotonic() - started,
        "records": records,
        "variants": {},
        "pictures": pictures,
    }


def measure_variants(
    arguments: argparse.Namespace, host: Path, records: Sequence[dict[str, Any]]
) -> dict[str, Any]:
    """Other bundles under a few controls, beside the same of the bundle."""
    from benchmarks.support.who_controls import CONTROLS

    chosen = [each for each in CONTROLS if each.label in VARIANT_CONTROLS]
    variants: dict[str, Any] = {AS_SHIPPED: [_only(record, VARIANT_CONTROLS) for record in records]}
    for name, folder in arguments.variant:
        variants[name] = run_stage(arguments, host, folder, chosen)[0]
    return variants


def take_up(arguments: argparse.Namespace) -> dict[str, Any]:
    """The results of an earlier run with the same options and files, without pictures.

    Raises:
        HostError: there are none, or they are of another run.
    """
    try:
        result = json.loads(arguments.add_to.read_text(encoding="utf-8"))
        told = result["options"], result["files"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise HostError(f"{arguments.add_to} holds no results of this benchmark: name its .json") from error
    asked = {key: getattr(arguments, key) for key in OPTIONS}, files_of(arguments.models)
    if told != asked:
        raise HostError(
            f"{arguments.add_to.name} is of another run: its options and files are {told}, "
            f"but {asked} are asked for, so measure all of it anew"
        )
    return result | {"pictures": {}}


def files_of(models: Path) -> list[str]:
    """Names of the files of a bundle."""
    from benchmarks.support.quality_host import find_file

    return [find_file(models, kind).name for kind in ("dit", "vae", "text_encoder", "clip_vision")]


def run_stage(
    arguments: argparse.Namespace, host: Path, models: Path, controls: Sequence[Control]
) -> tuple[list[dict[str, Any]], dict[str, Any], str]:
    """Records of all scenes under some controls, the pictures of the first ones, and ComfyUI's version."""
    import numpy as np

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        stage = {"models": str(models), "controls": [asdict(each) for each in controls]}
        (folder / STAGE).write_text(json.dumps(stage), encoding="utf-8")
        run_workers(arguments, folder, host, script=Path(__file__))
        answers = [json.loads(file.read_text()) for file in sorted(folder.glob("share_*.json"))]
        pictures: dict[str, Any] = {}
        for file in sorted(folder.glob("share_*.npz")):
            with np.load(file) as arrays:
                pictures |= {key: arrays[key] for key in arrays.files}
    records = sorted((one for answer in answers for one in answer["records"]), key=lambda one: one["index"])
    return records, pictures, answers[0]["comfyui"]


def run_worker(arguments: argparse.Namespace, number: int, folder: Path, host: Path) -> None:
    """Measure every so many-th scene and leave the results in the folder."""
    import numpy as np
    import torch

    from benchmarks.support import quality_host
    from benchmarks.support.quality_sets import draw_set
    from benchmarks.support.who_controls import Control
    from benchmarks.support.who_run import WhoOptions, run_controls

    torch.set_flush_denormal(True)
    quality_host.start_host(host, arguments.device)
    stage = json.loads((folder / STAGE).read_text(encoding="utf-8"))
    _, preset = preset_of(arguments)
    cases = draw_set("pairs", preset.scenes, preset.staging, count=arguments.scenes, seed=arguments.seed)
    sampling = quality_host.SamplingOptions(
        steps=arguments.steps,
        guidance_scale=arguments.guidance_scale,
        shift=arguments.shift,
        solver=arguments.solver,
    )
    options = WhoOptions(
        sampling=sampling,
        batch_size=arguments.batch,
        label=f"part {number + 1} of {arguments.processes}",
    )
    with torch.inference_mode():
        models = quality_host.load_models(Path(stage["models"]), arguments.precision)
        share = range(number, len(cases), arguments.processes)
        controls = [Control(**each) for each in stage["controls"]]
        records, shown = run_controls(models, cases, share, controls, options)
    version = importlib.import_module("comfyui_version").__version__
    answer = json.dumps({"comfyui": version, "records": records})
    (folder / f"share_{number}.json").write_text(answer, encoding="utf-8")
    arrays: Any = shown  # names, which the stubs take for options
    np.savez(folder / f"share_{number}.npz", **arrays)


def write(result: dict[str, Any], folder: Path, *, docs: bool) -> None:
    """The report, the results and the sheet; and, if asked for, the docs."""
    from benchmarks.support.docs import put_between_marks
    from benchmarks.support.who_run import SHOWN
    from benchmarks.support.who_sheet import draw_sheet
    from benchmarks.support.who_table import body, labels_of, report

    pictures = result.pop("pictures")
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"{result['date']}-who-is-who"
    scenes = [(record["index"], record["prompt"]) for record in result["records"][:SHOWN]]
    sheets = [file.with_suffix(".png"), *([DOCS_SHEET] if docs else [])]
    for sheet in sheets if pictures else []:  # those of results that were taken up are there
        draw_sheet(pictures, scenes, labels_of(result["records"]), sheet)
    file.with_suffix(".md").write_text(report(result), encoding="utf-8")
    if docs:
        sheet = f"![References, the plain model and each control on the same scenes](img/{DOCS_SHEET.name})"
        put_between_marks(DOCS, "who is who", "\n".join([*body(result), "", sheet]))
    records, variants = result.pop("records"), result.pop("variants")
    head = json.dumps(result, indent=1)[:-2]
    lines = ",\n".join(json.dumps(rounded(record)) for record in records)
    others = json.dumps(rounded(variants))
    text = f'{head},\n "variants": {others},\n "records": [\n{lines}\n]}}\n'
    file.with_suffix(".json").write_text(text, encoding="utf-8")
    print(f"\nwritten: {file.name}.md and .json{', and its picture' if pictures else ''}, in {folder}")


def _only(record: dict[str, Any], labels: Sequence[str]) -> dict[str, Any]:
    kept = {label: scores for label, scores in record["scores"].items() if label in labels}
    return record | {"scores": kept}


def _variant(text: str) -> tuple[str, Path]:
    """NAME=DIR."""
    name, equals, folder = text.partition("=")
    if not (name and equals and folder):
        raise argparse.ArgumentTypeError(f"'{text}' is no NAME=DIR: write one such as trained=out/bundle")
    return name, Path(folder)


def read_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--models", type=Path, default=ROOT / "models" / "demo", help="the bundle")
    parser.add_argument(
        "--variant",
        type=_variant,
        action="append",
        default=[],
        metavar="NAME=DIR",
        help="another bundle, too",
    )
    parser.add_argument(
        "--add-to", type=Path, metavar="FILE", help="measure variants alone, for the results in this .json"
    )
    parser.add_argument("--only", default="", metavar="WORD", help="controls whose label holds it, and plain")
    parser.add_argument("--scenes", type=positive, default=200)
    parser.add_argument("--steps", type=positive, default=20)
    parser.add_argument("--seed", type=natural, default=0, help="other scenes")
    parser.add_argument("--guidance-scale", type=float, default=1.0, help="above 1 the prompt drives more")
    parser.add_argument("--shift", type=float, default=3.0)
    parser.add_argument("--solver", choices=("unipc", "dpm++", "euler"), default="unipc")
    parser.add_argument("--precision", default="default", help="of the DiT, as in MAGREF DiT Loader")
    parser.add_argument("--preset", help="world of the training; default: told by the width of the DiT")
    parser.add_argument("--processes", type=positive, help="default: 2 on a CPU with 2 cores or more")
    parser.add_argument("--batch", type=positive, default=8, help="clips sampled at once")
    parser.add_argument("--device", choices=("cpu", "cuda"), help="default: cuda where there is one")
    parser.add_argument("--folder", type=Path, default=ROOT / "benchmarks" / "reports", help="for the report")
    parser.add_argument("--docs", action="store_true", help="put the result into docs/who-is-who.md")
    parser.add_argument("--worker", nargs=2, help=argparse.SUPPRESS)
    return parser.parse_args()


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
    from benchmarks.support.who_table import control_table

    print(f"\n{control_table(result['records'], result['answers_per_step'])}")
    write(result, arguments.folder, docs=arguments.docs)


if __name__ == "__main__":
    try:
        main()
    except HostError as error:
        raise SystemExit(f"error: {error}") from error
    except KeyboardInterrupt:
        raise SystemExit("cancelled") from None
