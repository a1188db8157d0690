"""What each speed profile costs: time, memory, and the likeness, swaps and motions of the demo model.

python scripts/bench.py profiles [--scenes 200] [--processes 2] [--folder FOLDER] [--docs]

Held-out scenes of the quality measurement are sampled one by one through MAGREF Sampler, each under every
condition from the same noise, in changing order. Time is that of the processor on a CPU (of the sampling
alone, which is all that a profile changes). Changes are those against the exact run of the same scenes, with
95 % intervals by bootstrap over scenes. What is done is kept beside the report as it goes, so a run that is
stopped goes on where it was. `--docs` puts the tables into docs/profiles.md.
"""

from __future__ import annotations

import argparse
import datetime
import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

if __package__ in (None, ""):
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

from scripts import ROOT
from scripts.host import enter_host_python
from scripts.host_install import HostError

# What needs torch is imported where it is used: at first this may run in a Python without it.

DOCS = ROOT / "docs" / "profiles.md"
MARK = "prices"
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")


def run_worker(arguments: argparse.Namespace, number: int, host: Path) -> None:
    """Measure every so many-th scene; each is written as soon as it is done."""
    import torch

    from benchmarks.quality import preset_of
    from benchmarks.support import quality_host
    from benchmarks.support.profile_run import SETS, run_share
    from benchmarks.support.quality_sets import draw_cases

    torch.set_flush_denormal(True)
    quality_host.start_host(host, arguments.device)
    _, preset = preset_of(arguments)
    cases = draw_cases(preset.scenes, preset.staging, num_scenes=arguments.scenes, seed=arguments.seed)
    cases = [case for case in cases if case.set_name in SETS]
    known = {(record["set"], record["number"]) for record in kept(arguments)}
    mine = [
        case for case in cases[number :: arguments.processes] if (case.set_name, case.number) not in known
    ]
    options = quality_host.SamplingOptions(steps=arguments.steps, shift=3.0, solver="unipc")
    file = arguments.folder / f"{stem(arguments)}-{number}.jsonl"
    with torch.inference_mode(), file.open("a", encoding="utf-8") as lines:

        def write(record: dict[str, Any]) -> None:
            lines.write("\n" + json.dumps(record))
            lines.flush()

        models = quality_host.load_models(arguments.models, "default")
        label = f"part {number + 1} of {arguments.processes}"
        run_share(models, mine, options, device=arguments.device, done=write, label=label)


def stem(arguments: argparse.Namespace) -> str:
    """Of the files of a run, which only the same run goes on with: the same conditions, models and scenes."""
    from benchmarks.support.profile_run import CONDITIONS
    from magref_core.bundle import hashes_of

    rest = repr((CONDITIONS, hashes_of(arguments.models), arguments.preset))
    told = (arguments.device, arguments.scenes, arguments.steps, arguments.seed)
    return "-".join(["profiles", *map(str, told), hashlib.sha256(rest.encode()).hexdigest()[:8]])


def kept(arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """The records that are there; half a line is one on which a run was stopped."""
    return [
        json.loads(line)
        for file in sorted(arguments.folder.glob(f"{stem(arguments)}-*.jsonl"))
        for line in file.read_text(encoding="utf-8").splitlines()
        if line.endswith("}}")
    ]


def run_workers(arguments: argparse.Namespace, host: Path) -> None:
    """Start one process per share of the scenes, and wait for all.

    Raises:
        HostError: one of them failed; the others are stopped.
    """
    command = [sys.executable, str(Path(__file__).resolve()), *sys.argv[1:], "--device", arguments.device]
    environment = os.environ | {"COMFYUI_PATH": str(host)}
    environment |= {} if arguments.device == "cuda" else ONE_THREAD
    workers = [
        subprocess.Popen([*command, "--worker", str(number)], env=environment)
        for number in range(arguments.processes)
    ]
    try:
        if any(worker.wait() for worker in workers):
            raise HostError("a part of the run failed, see above")
    finally:
        for worker in workers:
            if worker.poll() is None:
                worker.terminate()
                worker.wait()


def report(records: list[dict[str, Any]], arguments: argparse.Namespace) -> str:
    """The tables, and what they were made from."""
    from benchmarks.support import machine
    from benchmarks.support.profile_table import cost_table, price_table, verdicts

    described = ", ".join(f"{key} {value}" for key, value in machine.describe(arguments.device).items())
    return "\n".join(
        [
            cost_table(records),
            "",
            price_table(records),
            "",
            "An asterisk marks a change whose 95 % interval leaves out 0.",
            "",
            *verdicts(records),
            "",
            f"{len(records)} held-out scenes of the demo model, {arguments.steps} steps of unipc, shift 3, "
            f"on {arguments.device}, {datetime.date.today().isoformat()}; commit "
            f"{machine.commit(ROOT)}; {described}.",
        ]
    )


def content(records: list[dict[str, Any]], arguments: argparse.Namespace) -> str:
    """What is written beside the report, as JSON with a line for each record."""
    from benchmarks.support import machine

    facts = {
        "date": datetime.date.today().isoformat(),
        "commit": machine.commit(ROOT),
        "device": arguments.device,
        "machine": machine.describe(arguments.device),
        "steps": arguments.steps,
        "seed": arguments.seed,
    }
    lines = ",\n".join(json.dumps(record) for record in records)
    return f'{json.dumps(facts)[:-1]},\n "records": [\n{lines}\n]}}\n'


def read_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--models", type=Path, default=ROOT / "models" / "demo", help="the bundle")
    parser.add_argument("--scenes", type=int, default=200, help="of one to three subjects; 160 others on top")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0, help="other scenes")
    parser.add_argument("--preset", help="world of the training; default: told by the width of the DiT")
    parser.add_argument("--processes", type=int, help="default: 2 on a CPU with 2 cores or more")
    parser.add_argument("--device", choices=("cpu", "cuda"), help="default: cuda where there is one")
    parser.add_argument("--folder", type=Path, default=ROOT / "benchmarks" / "reports", help="for the report")
    parser.add_argument("--docs", action="store_true", help="put the tables into docs/profiles.md")
    parser.add_argument("--worker", type=int, help=argparse.SUPPRESS)
    return parser.parse_args()


def main() -> None:
    """Measure, print, and write."""
    arguments = read_arguments()
    host = enter_host_python()
    import torch

    arguments.device = arguments.device or ("cuda" if torch.cuda.is_available() else "cpu")
    arguments.processes = arguments.processes or (
        1 if arguments.device == "cuda" else min(2, os.cpu_count() or 1)
    )
    arguments.folder.mkdir(parents=True, exist_ok=True)
    if arguments.worker is not None:
        run_worker(arguments, arguments.worker, host)
        return
    run_workers(arguments, host)
    from benchmarks.support.docs import put_between_marks
    from benchmarks.support.profile_table import chosen

    records = chosen(kept(arguments))
    text = report(records, arguments)
    print(f"\n{text}")
    file = arguments.folder / f"{datetime.date.today().isoformat()}-profiles-{arguments.device}"
    file.with_suffix(".md").write_text(f"# Prices of the speed profiles\n\n{text}\n", encoding="utf-8")
    file.with_suffix(".json").write_text(content(records, arguments), encoding="utf-8")
    if arguments.docs:
        put_between_marks(DOCS, MARK, text)
    for part in arguments.folder.glob(f"{stem(arguments)}-*.jsonl"):
        part.unlink()
    print(f"\nwritten: {file.name}.md and .json in {arguments.folder}")


if __name__ == "__main__":
    try:
        main()
    except HostError as error:
        raise SystemExit(f"error: {error}") from error
    except KeyboardInterrupt:
        raise SystemExit("cancelled; the same command goes on from here") from None
