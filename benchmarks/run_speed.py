"""Time of a whole run with guidance: our DiT against ComfyUI's own Wan model, and what each saving is worth.

python scripts/bench.py run_speed [--device cpu|cuda] [--steps 20] [--rounds 3] [--row-steps 2]
                                  [--compile] [--fp8]

Both models get the same random weights and inputs, live in one process and take turns, in changing order;
what is done once per run is in the time. On a CPU the shape is dim 1024, 8 layers, 2000 tokens, float32; on
a GPU it is the released 14B model in bfloat16 at 832 x 480 with 81 frames, with fewer layers where two such
models do not fit. The rows with a saving switched off are shorter runs, of `--row-steps` steps, in turns as
well. `--compile` adds rows of both models through ComfyUI's TorchCompileModel, which needs a C compiler, and
`--fp8` rows of ours with weights in 8 bits: these take turns among themselves, after the others, since not
all models fit at once. On a GPU both are in unless `--no-compile` or `--no-fp8` is given.

The VAE has random weights; 96 is the width of the released one. The floor is the time that the
floating-point operations would take at the speed of a bare matrix product of the size of the feed-forward.

On a machine that others use, look at the processor time: it is of all threads of this process together.
"""

from __future__ import annotations

import argparse
import datetime
import functools
import importlib
import json
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

if __package__ in (None, ""):
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

from benchmarks.dit_speed import matmul_flops_per_second
from scripts import ROOT
from scripts.host import enter_host_python
from scripts.host_install import HostError

if TYPE_CHECKING:
    from benchmarks.support.dit_models import Shape
    from benchmarks.support.machine import Timing

# What needs torch is imported where it is used: at first this may run in a Python without it.

RUN_LIMIT, VAE_LIMIT, OVERHEAD_LIMIT = 0.95, 1.0, 0.01
"""Of ours over native; of the VAE likewise; of canvas and conditioning in a run."""
VAE_TOLERANCE = 0.02
"""Of ours over native for the VAE: the same function of the host runs in both."""
DEVICES = ("cpu", "cuda")
VARIANTS = ("compile", "fp8")
"""Options that add rows of models of another make, see `speed_models.MAKERS`."""
FORWARDS_PER_STEP = 2
NOT_MEASURED = "not measured"


def measure(device: str, host: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    """All numbers of the report."""
    from safetensors.torch import save_file

    from benchmarks.support import dit_models, machine

    shape = dit_models.shape_for(device)
    if arguments.layers:
        shape = replace(shape, config=replace(shape.config, num_layers=arguments.layers))
    dit_models.enter_host(host, device)
    rate = matmul_flops_per_second(shape, device)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "random.safetensors"
        save_file(dit_models.random_weights(shape, device), file)
        runs = measure_runs(file, shape, device, arguments)
    return {
        "date": datetime.date.today().isoformat(),
        "commit": machine.commit(ROOT),
        "device": device,
        "machine": machine.describe(device),
        "comfyui": importlib.import_module("comfyui_version").__version__,
        "attention": importlib.import_module("comfy.ldm.modules.attention").optimized_attention.__name__,
        "shape": {
            **{name: getattr(shape.config, name) for name in ("dim", "ffn_dim", "num_heads", "num_layers")},
            "latent": shape.latent,
            "num_tokens": shape.num_tokens,
            "dtype": str(shape.dtype).removeprefix("torch."),
        },
        "steps": arguments.steps,
        "row_steps": arguments.row_steps,
        "rounds": arguments.rounds,
        "variants": variants_on(device, arguments),
        **runs,
        "around": _measure_around(shape, device, arguments),
        "vae_dim": arguments.vae_dim,
        "step_flops": FORWARDS_PER_STEP * dit_models.forward_flops(shape),
        "matmul_flops_per_second": rate,
    }


def variants_on(device: str, arguments: argparse.Namespace) -> list[str]:
    """Those that are asked for; all of them on a GPU unless told otherwise."""
    asked = {name: getattr(arguments, name) for name in VARIANTS}
    return [name for name, is_asked in asked.items() if (device == "cuda" if is_asked is None else is_asked)]


def measure_runs(file: Path, shape: Shape, device: str, arguments: argparse.Namespace) -> dict[str, Any]:
    """Whole runs of both, then shorter ones of every way and of models of another make."""
    from benchmarks.support import dit_models, speed_models, speed_ways

    inputs = speed_ways.inputs_of(shape)
    patchers = {name: load(file, shape) for name, load in dit_models.LOADERS.items()}
    both, all_ways = (
        (speed_ways.OURS, speed_ways.NATIVE),
        (speed_ways.NATIVE, speed_ways.OURS, *speed_ways.others_on(device)),
    )

    def runner(way: speed_ways.Way, steps: int) -> Callable[[], Any]:
        return lambda: speed_ways.run(patchers[way.model], way, inputs, steps)

    answers = {way.label: runner(way, 1)().cpu() for way in all_ways}  # warms up as well
    ours = answers[speed_ways.OURS.label]
    turns = functools.partial(take_turns, device=device, rounds=arguments.rounds)
    found: dict[str, Any] = {
        "runs": turns({way.label: runner(way, arguments.steps) for way in both}),
        "rows": turns({way.label: runner(way, arguments.row_steps) for way in all_ways}),
        "differences": {label: (answer - ours).abs().max().item() for label, answer in answers.items()},
        "first_seconds": {},
        "faults": {},
    }
    for name in variants_on(device, arguments):
        more = speed_models.measure_made(name, patchers, file, inputs, ours, turns, arguments.row_steps)
        for part, values in more.items():
            found[part] |= values
    return found


def _measure_around(shape: Shape, device: str, arguments: argparse.Namespace) -> dict[str, Any]:
    """The VAE both ways, and canvas and conditioning."""
    import torch

    from benchmarks.support.speed_vae import AroundTheRun

    with torch.inference_mode():
        around = AroundTheRun(shape, arguments.vae_dim, device)
        overheads = [around.overhead_seconds() for _ in range(arguments.rounds + 1)][1:]
        models = ("ours", "native")
        return {
            "overhead_seconds": overheads,
            "encode": take_turns({n: lambda n=n: around.encode(n) for n in models}, device, arguments.rounds),
            "decode": take_turns({n: lambda n=n: around.decode(n) for n in models}, device, arguments.rounds),
        }


def take_turns(
    calls: dict[str, Callable[[], Any]], device: str, rounds: int
) -> dict[str, dict[str, list[float]]]:
    """Time every call once a round, forwards and backwards; label -> `seconds` and `own_cpu_seconds`."""
    from benchmarks.support.machine import time_call

    timings: dict[str, list[Timing]] = {label: [] for label in calls}
    for number in range(rounds):
        for label in list(calls) if number % 2 else list(calls)[::-1]:
            timing = time_call(calls[label], device)
            timings[label].append(timing)
            print(
                f"{label}: {timing.seconds:.3f} s, processor {timing.own_cpu_seconds:.3f} s "
                f"(other programs: {timing.foreign_cores:.2f} cores)",
                flush=True,
            )
    return {
        label: {
            "seconds": [timing.seconds for timing in own],
            "own_cpu_seconds": [timing.own_cpu_seconds for timing in own],
        }
        for label, own in timings.items()
    }


def medians(timings: dict[str, list[float]]) -> tuple[float, float]:
    """Of time and processor time."""
    return median(timings["seconds"]), median(timings["own_cpu_seconds"])


def run_table(result: dict[str, Any]) -> str:
    """Whole runs of both models."""
    (ours, ours_cpu), (native, native_cpu) = (medians(result["runs"][name]) for name in ("ours", "native"))
    floor = result["steps"] * result["step_flops"] / result["matmul_flops_per_second"]
    rows = [
        ("time of the run, median", ours, native, " s"),
        ("processor time, median", ours_cpu, native_cpu, " s"),
        ("time of a step", ours / result["steps"], native / result["steps"], " s"),
        ("times the floor", ours / floor, native / floor, ""),
    ]
    lines = [f"| {name} | {a:.3f}{unit} | {b:.3f}{unit} | {a / b:.3f} |" for name, a, b, unit in rows]
    header = ["| | ours | native | ours / native |", "| --- | ---: | ---: | ---: |"]
    return "\n".join([*header, *lines, "", verdict("run", ours / native, RUN_LIMIT) + "."])


def saving_table(result: dict[str, Any]) -> str:
    """Every way, in short runs, over native and over ours."""
    rows, differences = result["rows"], result["differences"]
    native, native_cpu = medians(rows["native"])
    ours_cpu = medians(rows["ours"])[1]
    lines = [
        "| way | time | processor time | over native, time | processor | over ours, processor | difference |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for label, timings in rows.items():
        seconds, own = medians(timings)
        lines.append(
            f"| {label} | {seconds:.3f} s | {own:.3f} s | {seconds / native:.3f} | {own / native_cpu:.3f} | "
            f"{own / ours_cpu:.3f} | {differences[label]:.1e} |"
        )
    return "\n".join(lines)


def around_table(result: dict[str, Any]) -> str:
    """The VAE through our nodes and the host's, and what canvas and conditioning add to a run."""
    around = result["around"]
    lines = ["| | ours | native | ours / native |", "| --- | ---: | ---: | ---: |"]
    verdicts: list[str] = []
    for name in ("encode", "decode"):
        (ours, ours_cpu), (native, native_cpu) = (
            medians(around[name][model]) for model in ("ours", "native")
        )
        lines += [
            f"| VAE {name} | {ours:.3f} s | {native:.3f} s | {ours / native:.3f} |",
            f"| VAE {name}, processor time | {ours_cpu:.3f} s | {native_cpu:.3f} s "
            f"| {ours_cpu / native_cpu:.3f} |",
        ]
        verdicts.append(verdict(f"VAE {name}", ours / native, VAE_LIMIT, VAE_TOLERANCE))
    share = median(around["overhead_seconds"]) / medians(result["runs"]["ours"])[0]
    lines.append(f"| canvas and conditioning | {median(around['overhead_seconds']):.3f} s | | |")
    verdicts.append(verdict("canvas and conditioning in a run", share, OVERHEAD_LIMIT))
    return "\n".join([*lines, "", "; ".join(verdicts) + "."])


def verdict(what: str, ratio: float, limit: float, tolerance: float = 0.0) -> str:
    """A ratio and whether it is within its limit; what lies within the noise of the clock counts as level."""
    margin = f" (+{tolerance:g} for noise)" if tolerance else ""
    return (
        f"{what} {ratio:.3f}, limit {limit}{margin}: {'within' if ratio <= limit + tolerance else 'MISSED'}"
    )


def report(result: dict[str, Any]) -> str:
    """The whole report in Markdown."""
    shape, device = result["shape"], result["device"]
    rate, flops = result["matmul_flops_per_second"], result["step_flops"]
    again = f"python scripts/bench.py run_speed --device {device} --steps {result['steps']}"
    lines = [
        f"# Speed of a run on {device}, {result['date']}",
        "",
        f"{result['steps']} steps at a guidance of 5 through ComfyUI {result['comfyui']}, whose own choice "
        f"of attention is `{result['attention']}`; both models have the same random weights and inputs. "
        "What is done once per run is in the time.",
        "",
        run_table(result),
        "",
        f"Savings one by one, in runs of {result['row_steps']} steps, where what is done once weighs more "
        "than in whole runs; the difference is to the answer of ours after one step:",
        "",
        saving_table(result),
        "",
        "Before and behind the DiT; canvas and conditioning without the time within VAE and image encoder:",
        "",
        around_table(result),
        "",
        f"- Shape: dim {shape['dim']}, feed-forward {shape['ffn_dim']}, {shape['num_heads']} heads, "
        f"{shape['num_layers']} layers, {' x '.join(map(str, shape['latent']))} latents = "
        f"{shape['num_tokens']} tokens, {shape['dtype']}; VAE of width {result['vae_dim']}.",
        f"- {result['rounds']} rounds in turns.",
        f"- Floor of a step: {flops / rate:.3f} s, {flops / 1e12:.3f} TFLOP at {rate / 1e12:.3f} TFLOP/s.",
        *(
            f"- The first step of {label}, with loading and compiling: {seconds:.1f} s."
            for label, seconds in result["first_seconds"].items()
        ),
        *(f"- Rows of --{name}: {NOT_MEASURED}: {fault}" for name, fault in result["faults"].items()),
        *(f"- Rows of --{name}: {NOT_MEASURED} here." for name in VARIANTS if name not in result["variants"]),
        *(f"- On {other}: {NOT_MEASURED} here." for other in DEVICES if other != device),
        f"- Commit: {result['commit']}.",
        f"- Machine: {', '.join(f'{key} {value}' for key, value in result['machine'].items())}.",
        "",
        f"Again: `{again} --rounds {result['rounds']} --row-steps {result['row_steps']} "
        f"--layers {shape['num_layers']} --vae-dim {result['vae_dim']}{_words_of_variants(result)}`",
    ]
    return "\n".join(lines) + "\n"


def _words_of_variants(result: dict[str, Any]) -> str:
    """The options that differ from what the device has by itself."""
    chosen = {name: name in result["variants"] for name in VARIANTS}
    by_itself = result["device"] == "cuda"
    return "".join(
        f" --{'' if is_in else 'no-'}{name}" for name, is_in in chosen.items() if is_in != by_itself
    )


def read_arguments(words: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", choices=DEVICES, help="default: cuda where there is one")
    parser.add_argument("--steps", type=int, default=20, help="of the whole runs")
    parser.add_argument("--rounds", type=int, default=3, help="timed runs of each")
    parser.add_argument("--row-steps", type=int, default=2, help="of the runs with a saving switched off")
    parser.add_argument("--layers", type=int, default=0, help="of the models; fewer are quicker, 0 for all")
    parser.add_argument("--vae-dim", type=int, default=96, help="width of the VAE; smaller is quicker")
    for name, what in zip(VARIANTS, ("both models compiled", "our weights in 8 bits"), strict=True):
        parser.add_argument(
            f"--{name}", action=argparse.BooleanOptionalAction, help=f"rows with {what}; in on a GPU"
        )
    parser.add_argument("--folder", type=Path, default=ROOT / "benchmarks" / "reports", help="for the report")
    arguments = parser.parse_args(words)
    for name in ("steps", "rounds", "row_steps", "vae_dim"):
        if getattr(arguments, name) < 1:
            parser.error(f"--{name.replace('_', '-')} is {getattr(arguments, name)}, but must be at least 1")
    return arguments


def main() -> None:
    """Measure, print, and write the report."""
    arguments = read_arguments()
    host = enter_host_python()
    import torch

    has_cuda = torch.cuda.is_available()
    device = arguments.device or ("cuda" if has_cuda else "cpu")
    if device == "cuda" and not has_cuda:
        raise HostError(f"this machine has no CUDA, so its speed is {NOT_MEASURED}: use --device cpu")
    result = measure(device, host, arguments)
    text = report(result)
    print(f"\n{text}")
    arguments.folder.mkdir(parents=True, exist_ok=True)
    file = arguments.folder / f"{result['date']}-run-speed-{device}"
    file.with_suffix(".md").write_text(text, encoding="utf-8")
    file.with_suffix(".json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(f"written: {file.with_suffix('.md').name} and .json in {arguments.folder}")


if __name__ == "__main__":
    try:
        main()
    except HostError as error:
        raise SystemExit(f"error: {error}") from error
