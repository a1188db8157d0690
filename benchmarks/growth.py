"""How the time of a forward pass grows with size and length: ours, ComfyUI's own, and the official program.

python benchmarks/growth.py [--device cpu|cuda] [--official DIR] [--rounds N] [--layers N]
                            [--resolutions 480p,720p] [--frames 17,81,161] [--pytorch-attention]

480p and 720p with 17 to 161 frames. A GPU runs the released shape with 10 of its 40 layers in bfloat16, a CPU
a narrow model on pictures of a quarter of each side, on one thread, whose processor time is counted. All
models have the same random weights and inputs, live in one process and take turns. Beside each time stand its
floors: operations at the rate of the best bare product, and bytes at the rate of a bare copy. The curve
t = a + b n + c n^2 is fitted to each model. On CUDA the report projects whole runs beside published ones.
`--official` names a checkout of the official program, which is run from there.
"""

from __future__ import annotations

import argparse
import datetime
import gc
import importlib
import importlib.util
import json
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
    from torch import Tensor

    from benchmarks.support.growth_sizes import Size
    from benchmarks.support.official_model import Official

# What needs torch is imported where it is used: at first this may run in a Python without it.

MOST_ROWS = 2**15
"""Of a bare product; more are no faster, and need room."""
OUT_OF_MEMORY = "out of memory"
Forwards = dict[str, Callable[["Size"], Callable[[], "Tensor"]]]
"""Model -> what makes its forward pass at a size."""


class Bench:
    """The models of a run, and the measurement of one size after the other."""

    def __init__(self, sizes: list[Size], device: str, rounds: int, folder: Path, official: Path | None):
        """Build the models.

        Args:
            sizes: what will be measured.
            device: cpu or cuda.
            rounds: timed passes of each model at each size.
            folder: for the weights; must last as long as this does.
            official: a checkout of the official program.
        """
        from safetensors.torch import save_file

        from benchmarks.support import dit_models

        self.sizes, self.device, self.rounds = sizes, device, rounds
        self.official: Official | None = None
        self.differences: dict[str, float] = {}
        self.foreign: list[float] = []
        shape = sizes[0].shape
        weights = dit_models.random_weights(shape, device)
        save_file(weights, folder / "random.safetensors")
        patchers = {
            name: load(folder / "random.safetensors", shape) for name, load in dit_models.LOADERS.items()
        }
        self.forwards: Forwards = {
            name: (lambda size, patcher=patcher: dit_models.forward_of(patcher, size.shape, device))
            for name, patcher in patchers.items()
        }
        if official is not None:
            from benchmarks.support.official_model import load_official

            self.official = found = load_official(official, weights, shape, device)
            self.forwards["official"] = lambda size: dit_models.forward_with(
                found.apply_model, size.shape, device
            )

    def measure(self, size: Size) -> dict[str, Any]:
        """One size: a first pass of each model, and the rounds in turns."""
        from benchmarks.support.dit_models import forward_flops
        from benchmarks.support.growth_sizes import forward_bytes
        from benchmarks.support.machine import seconds_of, time_call

        ready, peaks, faults = self._first_passes(size)
        seconds: dict[str, list[float]] = {name: [] for name in ready}
        names = list(ready)
        for turn in range(self.rounds):
            for name in names[turn % len(names) :] + names[: turn % len(names)]:
                timing = time_call(ready[name], self.device)
                seconds[name].append(seconds_of(timing, self.device))
                self.foreign.append(timing.foreign_cores)
        times = "  ".join(f"{name} {min(values):.3f} s" for name, values in seconds.items())
        print(f"{size.label:18} {size.shape.num_tokens:7,} tokens  {times}", flush=True)
        return {
            "label": size.label,
            "resolution": size.resolution,
            "height": size.height,
            "width": size.width,
            "frames": size.frames,
            "tokens": size.shape.num_tokens,
            "flops": forward_flops(size.shape),
            "bytes": forward_bytes(size.shape),
            "seconds": seconds,
            "peak_bytes": peaks,
            "faults": faults,
        }

    def _first_passes(
        self, size: Size
    ) -> tuple[dict[str, Callable[[], Tensor]], dict[str, int | None], dict[str, str]]:
        """What can run at this size, and on CUDA the memory at its peak; compares the answers."""
        import torch

        from benchmarks.support.machine import peak_bytes

        ready: dict[str, Callable[[], Tensor]] = {}
        peaks: dict[str, int | None] = {}
        faults: dict[str, str] = {}
        answers: dict[str, Tensor] = {}

        def run(name: str) -> None:
            answers[name] = ready[name]().cpu()

        for name, make in self.forwards.items():
            try:
                ready[name] = make(size)
                peaks[name] = (
                    peak_bytes(lambda name=name: run(name), "cuda") if self.device == "cuda" else None
                )
                if self.device != "cuda":
                    run(name)
            except torch.OutOfMemoryError:
                ready.pop(name, None)
                faults[name] = OUT_OF_MEMORY
                gc.collect()
                torch.cuda.empty_cache()
        for name, answer in answers.items():
            if name != "ours" and "ours" in answers:
                gap = (answer.float() - answers["ours"].float()).abs().max().item()
                self.differences[name] = max(gap, self.differences.get(name, 0.0))
        return ready, peaks, faults


def best_product(sizes: list[Size], device: str) -> float:
    """Operations per second of the feed-forward's bare product, at the size where it is fastest."""
    import torch

    from benchmarks.support.machine import seconds_of, time_call

    best = 0.0
    shape = sizes[0].shape
    for rows in {min(size.shape.num_tokens, MOST_ROWS) for size in sizes}:
        inner, columns = shape.config.dim, shape.config.ffn_dim
        left = torch.randn(rows, inner, device=device, dtype=shape.dtype)
        right = torch.randn(inner, columns, device=device, dtype=shape.dtype)
        calls = (time_call(lambda x=left, y=right: x @ y, device) for _ in range(10))
        fastest = min(seconds_of(timing, device) for timing in calls)
        best = max(best, 2 * rows * inner * columns / fastest)
    return best


def measure(arguments: argparse.Namespace, host: Path) -> dict[str, Any]:
    """All numbers of the report."""
    import torch

    from benchmarks.support import dit_models, growth_sizes, machine

    device = arguments.device
    if device == "cpu":
        torch.set_num_threads(1)  # its processor time is what one waits for, however busy the machine is
    sizes = growth_sizes.sizes_for(
        device,
        layers=arguments.layers,
        resolutions=arguments.resolutions,
        frames=arguments.frames,
        dtype=torch.float32 if device == "cpu" else torch.bfloat16,
    )
    dit_models.enter_host(host, device)
    importlib.import_module("comfy.cli_args").args.use_pytorch_cross_attention = arguments.pytorch_attention
    rates = {
        "matmul_flops_per_second": best_product(sizes, device),
        "copied_bytes_per_second": machine.copied_bytes_per_second(device),
    }
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(sizes, device, arguments.rounds, Path(folder), arguments.official)
        rows = [bench.measure(size) for size in sizes]
    config, official = sizes[0].shape.config, bench.official
    return {
        "date": datetime.date.today().isoformat(),
        "commit": machine.commit(ROOT),
        "command": command_of(arguments),
        "device": device,
        "machine": machine.describe(device),
        "comfyui": importlib.import_module("comfyui_version").__version__,
        "attentions": dit_models.attentions(device),
        "shape": {
            **{name: getattr(config, name) for name in ("dim", "ffn_dim", "num_heads", "num_layers")},
            "dtype": str(sizes[0].shape.dtype).removeprefix("torch."),
        },
        "models": list(bench.forwards),
        "official": official
        and {"commit": official.commit, "attention": official.attention, "notes": list(official.notes)},
        "rounds": arguments.rounds,
        "rates": rates,
        "rows": rows,
        "largest_difference": bench.differences,
        "foreign_cores": median(bench.foreign) if bench.foreign else 0.0,
    }


def command_of(arguments: argparse.Namespace) -> str:
    """The options that give the same report, without paths of this machine."""
    words = f"--device {arguments.device} --rounds {arguments.rounds}"
    words += f" --resolutions {','.join(arguments.resolutions)}"
    words += f" --frames {','.join(map(str, arguments.frames))}"
    words += "" if arguments.layers is None else f" --layers {arguments.layers}"
    words += " --pytorch-attention" if arguments.pytorch_attention else ""
    return words + ("" if arguments.official is None else " --official DIR")


def read_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", choices=("cpu", "cuda"), help="default: cuda where there is one")
    parser.add_argument("--official", type=Path, metavar="DIR", help="a checkout of the official program")
    parser.add_argument("--rounds", type=_positive, default=2, help="timed passes of each model at each size")
    parser.add_argument("--layers", type=_positive, help="of the model; default 2 on a CPU, 10 on a GPU")
    parser.add_argument("--resolutions", type=lambda text: text.split(","), default=["480p", "720p"])
    parser.add_argument(
        "--frames",
        type=lambda text: [int(word) for word in text.split(",")],
        default=[17, 33, 49, 81, 121, 161],
    )
    parser.add_argument(
        "--pytorch-attention", action="store_true", help="as ComfyUI's --use-pytorch-cross-attention"
    )
    parser.add_argument("--folder", type=Path, default=ROOT / "benchmarks" / "reports", help="for the report")
    arguments = parser.parse_args()
    unknown = set(arguments.resolutions) - {"480p", "720p"}
    if unknown:
        parser.error(f"the resolution {min(unknown)} is unknown: use 480p, 720p or both")
    return arguments


def _positive(text: str) -> int:
    """A whole number from 1 on."""
    if (number := int(text)) < 1:
        raise argparse.ArgumentTypeError(f"{number} is too small: give 1 or more")
    return number


def main() -> None:
    """Measure, print, and write the report."""
    arguments = read_arguments()
    host = enter_host_python()
    import torch

    from benchmarks.support.growth_table import growth_lines, report, size_table, whole_run_lines
    from magref_core.errors import MagrefError

    arguments.device = arguments.device or ("cuda" if torch.cuda.is_available() else "cpu")
    if arguments.device == "cuda" and not torch.cuda.is_available():
        raise SystemExit("error: --device cuda is given, but there is no CUDA card here: use --device cpu")
    try:
        result = measure(arguments, host)
    except MagrefError as error:
        raise SystemExit(f"error: {error}") from error
    print("", size_table(result), *growth_lines(result), "", *whole_run_lines(result), sep="\n")
    arguments.folder.mkdir(parents=True, exist_ok=True)
    chosen = "-pytorch-attention" if arguments.pytorch_attention else ""
    file = arguments.folder / f"{result['date']}-growth-{arguments.device}{chosen}"
    file.with_suffix(".md").write_text(report(result), encoding="utf-8")
    file.with_suffix(".json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(f"\nwritten: {file.with_suffix('.md').name} and .json in {arguments.folder}")


if __name__ == "__main__":
    try:
        main()
    except HostError as error:
        raise SystemExit(f"error: {error}") from error
