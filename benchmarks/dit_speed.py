"""Time and memory of one forward pass: our DiT against ComfyUI's own Wan model, both as host MODELs.

python benchmarks/dit_speed.py [--device cpu|cuda] [--rounds N] [--folder FOLDER]

Both get the same random weights and inputs, live in one process and take turns, in changing order. On a CPU
the shape is dim 1024, 8 layers, 2000 tokens, float32; on a GPU it is the released 14B model in bfloat16 at
832 x 480 with 81 frames, with fewer layers where two such models do not fit. On a CPU, rounds in which other
programs keep more than 8 % of a core busy do not count as long as there are quieter ones. The floor is the
time that the floating-point operations would take at the speed of a bare matrix product of the size of
the feed-forward.
"""

from __future__ import annotations

import argparse
import datetime
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

if __package__ in (None, ""):
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

from scripts import ROOT
from scripts.host import enter_host_python
from scripts.host_install import HostError

if TYPE_CHECKING:
    from benchmarks.support.dit_models import Shape

# What needs torch is imported where it is used: at first this may run in a Python without it.

OURS, NATIVE = MODELS = ("ours", "native")
TIME_LIMIT, MEMORY_LIMIT = 1.03, 1.02
"""Of ours over native."""
QUIET_CORES = 0.08
"""What other programs may use in a round that counts as quiet."""
MIB = 2**20


def measure(device: str, rounds: int, host: Path) -> dict[str, Any]:
    """All numbers of the report."""
    from safetensors.torch import save_file

    from benchmarks.support import dit_models, machine

    shape = dit_models.shape_for(device)
    dit_models.enter_host(host, device)
    rate = matmul_flops_per_second(shape, device)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "random.safetensors"
        save_file(dit_models.random_weights(shape, device), file)
        weight_bytes = file.stat().st_size
        in_use: dict[str, int | None] = {}
        if device == "cpu":
            in_use = {name: _activations_in_own_process(name, file) for name in MODELS}
        patchers = {name: load(file, shape) for name, load in dit_models.LOADERS.items()}
        forwards = {name: dit_models.forward_of(patcher, shape, device) for name, patcher in patchers.items()}
        answers = {name: forward().cpu() for name, forward in forwards.items()}  # warms up as well
        turns = _take_turns(forwards, device, rounds)
        if device == "cuda":
            in_use = {name: machine.peak_bytes(forward, device) for name, forward in forwards.items()}
    return {
        "date": datetime.date.today().isoformat(),
        "commit": machine.commit(ROOT),
        "device": device,
        "machine": machine.describe(device),
        "comfyui": importlib.import_module("comfyui_version").__version__,
        "attentions": dit_models.attentions(device),
        "shape": {
            **{name: getattr(shape.config, name) for name in ("dim", "ffn_dim", "num_heads", "num_layers")},
            "latent": shape.latent,
            "num_tokens": shape.num_tokens,
            "dtype": str(shape.dtype).removeprefix("torch."),
        },
        **turns,
        "weight_bytes": weight_bytes,
        "activation_bytes": in_use,
        "forward_flops": dit_models.forward_flops(shape),
        "matmul_flops_per_second": rate,
        "largest_difference": (answers[OURS] - answers[NATIVE]).abs().max().item(),
    }


def _take_turns(forwards: dict[str, Callable[[], Any]], device: str, rounds: int) -> dict[str, Any]:
    """Time the models in rounds until enough were quiet, and count the quietest.

    After three times as many rounds as asked for, the machine is taken as it is.
    """
    from benchmarks.support.machine import Timing, time_call

    run: list[dict[str, Timing]] = []

    def disturbance(timings: dict[str, Timing]) -> float:
        return max(timing.foreign_cores for timing in timings.values())

    quiet = 0
    while quiet < rounds and len(run) < 3 * rounds:
        order = MODELS if len(run) % 2 else MODELS[::-1]
        timings = {name: time_call(forwards[name], device) for name in order}
        run.append(timings)
        quiet += device == "cuda" or disturbance(timings) <= QUIET_CORES
        times = "  ".join(f"{name} {timings[name].seconds:.3f} s" for name in MODELS)
        print(f"{times}  (other programs: {disturbance(timings):.2f} cores)", flush=True)
    counted = sorted(run, key=disturbance)[:rounds]
    return {
        "seconds": {name: [timings[name].seconds for timings in counted] for name in MODELS},
        "own_cpu_seconds": {name: [timings[name].own_cpu_seconds for timings in counted] for name in MODELS},
        "rounds_run": len(run),
        "foreign_cores": max(disturbance(timings) for timings in counted),
    }


def matmul_flops_per_second(shape: Shape, device: str) -> float:
    """The best rate of the feed-forward's bare matrix product."""
    import torch

    from benchmarks.support.machine import time_call

    rows, inner, columns = shape.num_tokens, shape.config.dim, shape.config.ffn_dim
    left = torch.randn(rows, inner, device=device, dtype=shape.dtype)
    right = torch.randn(inner, columns, device=device, dtype=shape.dtype)
    return (
        2 * rows * inner * columns / min(time_call(lambda: left @ right, device).seconds for _ in range(20))
    )


def _activations_in_own_process(model: str, file: Path) -> int | None:
    """Bytes that a forward pass needs beyond the weights, in a fresh process.

    There each large tensor is a mapping of its own, given back as soon as it is freed: what the allocator
    would hold back depends on chance.
    """
    command = [sys.executable, str(Path(__file__).resolve()), "--activations-of", model, str(file)]
    environment = os.environ | {"MALLOC_MMAP_THRESHOLD_": "65536"}
    answer = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=environment).stdout
    return json.loads(answer.splitlines()[-1])


def print_activations_of(model: str, file: Path, host: Path) -> None:
    """The other end of `_activations_in_own_process`."""
    from benchmarks.support import dit_models
    from benchmarks.support.machine import peak_bytes

    dit_models.enter_host(host, "cpu")
    patcher = dit_models.LOADERS[model](file, dit_models.CPU_SHAPE)
    print(json.dumps(peak_bytes(dit_models.forward_of(patcher, dit_models.CPU_SHAPE, "cpu"), "cpu")))


def table(result: dict[str, Any]) -> str:
    """The numbers as a Markdown table, and whether the ratios are within their limits."""
    seconds, cpu_seconds, activations = (
        [result[key][name] for name in MODELS] for key in ("seconds", "own_cpu_seconds", "activation_bytes")
    )
    floor = result["forward_flops"] / result["matmul_flops_per_second"]
    times = [median(runs) for runs in seconds]
    rows = [
        _row("time, median", times, ".3f", " s"),
        _row("time, minimum", [min(runs) for runs in seconds], ".3f", " s"),
        _row("processor time, median", [median(runs) for runs in cpu_seconds], ".3f", " s"),
        _row("times the floor, median", [time / floor for time in times], ".2f", ""),
    ]
    verdicts = [_verdict("time", times, TIME_LIMIT)]
    if None in activations:
        verdicts.append("peak memory not measured: only Linux and CUDA tell it")
    else:
        peaks = [result["weight_bytes"] + activation for activation in activations]
        rows.append(_row("peak memory", [peak / MIB for peak in peaks], ".0f", " MiB"))
        rows.append(_row("peak memory without weights", [size / MIB for size in activations], ".0f", " MiB"))
        verdicts.append(_verdict("peak memory", peaks, MEMORY_LIMIT))
    header = ["| | ours | native | ours / native |", "| --- | ---: | ---: | ---: |"]
    return "\n".join([*header, *rows, "", "; ".join(verdicts) + "."])


def _row(label: str, values: list[float], form: str, unit: str) -> str:
    ours, native = values
    return f"| {label} | {ours:{form}}{unit} | {native:{form}}{unit} | {ours / native:.3f} |"


def _verdict(what: str, values: list[float], limit: float) -> str:
    ratio = values[0] / values[1]
    return f"{what} {ratio:.3f}, limit {limit}: {'within' if ratio <= limit else 'MISSED'}"


def report(result: dict[str, Any]) -> str:
    """The whole report in Markdown."""
    shape, rounds, device = result["shape"], len(result["seconds"][OURS]), result["device"]
    rate, flops = result["matmul_flops_per_second"], result["forward_flops"]
    latent = " x ".join(str(size) for size in shape["latent"])
    attention = ", ".join(f"{model} `{name}`" for model, name in result["attentions"].items())
    lines = [
        f"# DiT speed on {device}, {result['date']}",
        "",
        f"One forward pass through ComfyUI {result['comfyui']}; both models have the same random weights and "
        f"inputs. Attention: {attention}.",
        "",
        table(result),
        "",
        f"- Shape: dim {shape['dim']}, feed-forward {shape['ffn_dim']}, {shape['num_heads']} heads, "
        f"{shape['num_layers']} layers, {latent} latents = {shape['num_tokens']} tokens, {shape['dtype']}.",
        f"- {rounds} rounds in turns, the quietest of {result['rounds_run']}; other programs kept at most "
        f"{result['foreign_cores']:.2f} cores busy in them.",
        f"- Floor: {flops / rate:.3f} s, {flops / 1e12:.3f} TFLOP at {rate / 1e12:.3f} TFLOP/s.",
        f"- Largest difference of the two answers: {result['largest_difference']:.1e}.",
        f"- Commit: {result['commit']}.",
        f"- Machine: {', '.join(f'{key} {value}' for key, value in result['machine'].items())}.",
        "",
        f"Again: `python scripts/bench.py dit_speed --device {device} --rounds {rounds}`",
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measure, print, and write the report."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", choices=("cpu", "cuda"), help="default: cuda where there is one")
    parser.add_argument("--rounds", type=int, default=9, help="timed passes of each model")
    parser.add_argument("--folder", type=Path, default=ROOT / "benchmarks" / "reports", help="for the report")
    parser.add_argument("--activations-of", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    host = enter_host_python()
    if arguments.activations_of:
        model, file = arguments.activations_of
        print_activations_of(model, Path(file), host)
        return
    import torch

    device = arguments.device or ("cuda" if torch.cuda.is_available() else "cpu")
    result = measure(device, arguments.rounds, host)
    print(f"\n{table(result)}")
    arguments.folder.mkdir(parents=True, exist_ok=True)
    file = arguments.folder / f"{result['date']}-dit-speed-{device}"
    file.with_suffix(".md").write_text(report(result), encoding="utf-8")
    file.with_suffix(".json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(f"\nwritten: {file.with_suffix('.md').name} and .json in {arguments.folder}")


if __name__ == "__main__":
    try:
        main()
    except HostError as error:
        raise SystemExit(f"error: {error}") from error
