"""Peak memory of sampling and of decoding, in precisions of MAGREF DiT Loader.

python scripts/bench.py memory [--device cuda] [--frames 81] [--width 832] [--height 480] [--model FILE ...]

A DiT of the released size with zeros for weights, or the files named, is loaded by the pack's loader, sampled
for two steps with guidance by MAGREF Sampler, and a video of that size is decoded by a Wan 2.1 VAE of the
released size, whole and in tiles. On CUDA the peak is that of the whole card during the call, less what was
in use before any model; beside it stand that of PyTorch's tensors alone, and what the plan before the run
reckons. On a CPU all is small, and the peak is that of the process: it shows that the command works.
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
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

if __package__ in (None, ""):
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

from scripts import ROOT
from scripts.host import enter_host_python
from scripts.host_install import HostError

# What needs torch is imported where it is used: at first this may run in a Python without it.

GB = 10**9
SMALL = {"frames": 17, "width": 96, "height": 64}
"""On a CPU, unless told otherwise."""
RELEASED = {"frames": 81, "width": 832, "height": 480}
PRECISIONS = ("bf16", "fp16", "fp8_e4m3fn", "fp8_e4m3fn_fast")
"""Unless told otherwise. fp32 takes twice the main memory of bf16, and fp8_e5m2 as much as fp8_e4m3fn."""
STEPS, GUIDANCE = 2, 5.0
TILE = 256
POLL_SECONDS = 0.005


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """What one call needed."""

    label: str
    weight_bytes: int
    peak_bytes: int | None
    """Of the card on CUDA, weights included; of the process beside what it held before on a CPU."""
    tensor_bytes: int | None = None
    """Of that, PyTorch's tensors; None on a CPU."""
    planned_bytes: int | None = None
    """As the sentence before the run has it; None where none is said."""
    seconds: float = 0.0
    fault: str = ""
    """Why there is no number."""


class CardPeak:
    """Polls how much of the card is in use while it is entered."""

    def __init__(self, used: Callable[[], int]):
        self.used, self.peak = used, 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._poll, daemon=True)

    def __enter__(self) -> CardPeak:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _poll(self) -> None:
        while True:
            self.peak = max(self.peak, self.used())
            if self._stop.wait(POLL_SECONDS):
                break


def used_on_card() -> int:
    """Bytes that all programs together use of the card."""
    import torch

    free, total = torch.cuda.mem_get_info()
    return total - free


class Bench:
    """Measures calls on one device."""

    def __init__(self, device: str, size: dict[str, int]):
        self.device, self.size = device, size
        self.before = used_on_card() if device == "cuda" else 0

    def measure(self, label: str, patcher: Any, call: Callable[[], Any], planned: int | None = None) -> Row:
        """The peak of a call; a fault where the model does not fit or is refused."""
        import torch

        from benchmarks.support.machine import peak_bytes

        errors = (ValueError, RuntimeError)  # torch's of full memory among the latter
        known: dict[str, Any] = {"label": label, "weight_bytes": int(patcher.model_size())}
        started = time.perf_counter()
        try:
            if self.device == "cpu":
                peak, tensors = peak_bytes(call, "cpu"), None
            else:
                torch.cuda.synchronize()
                torch.cuda.empty_cache()
                torch.cuda.reset_peak_memory_stats()
                with CardPeak(used_on_card) as card:
                    call()
                    torch.cuda.synchronize()
                peak, tensors = card.peak - self.before, torch.cuda.max_memory_allocated()
        except errors as error:
            return Row(**known, peak_bytes=None, fault=str(error).splitlines()[0])
        seconds = time.perf_counter() - started
        return Row(**known, peak_bytes=peak, tensor_bytes=tensors, planned_bytes=planned, seconds=seconds)

    def sample(self, label: str, patcher: Any) -> Row:
        """Two steps with guidance."""
        from benchmarks.support.dit_models import PACK

        config = patcher.model.model_config.unet_config
        pair, latent = draw_inputs(self.size, config)
        node = importlib.import_module(f"{PACK}.nodes.sampling").MagrefSampler
        plan = importlib.import_module(f"{PACK}.nodes.memory_plan")
        guider = importlib.import_module("comfy.samplers").CFGGuider(patcher)
        guider.set_conds(*pair)
        guider.set_cfg(GUIDANCE)
        need = plan.need_of(guider, latent)
        settings = (0, STEPS, GUIDANCE, 3.0, "unipc", 0, 1000, "cpu", True)
        return self.measure(
            f"sampling, {label}",
            patcher,
            lambda: node.execute(patcher, *pair, {"samples": latent}, *settings),
            None if need is None else need.together,
        )

    def decode(self, vae: Any, tile: int) -> Row:
        """The whole video."""
        import torch

        from benchmarks.support.dit_models import PACK

        node = importlib.import_module(f"{PACK}.nodes.decode").DecodeVideo
        latent = {"samples": torch.randn(latent_shape(self.size))}
        how = f"in tiles of {tile} pixels" if tile else "whole frames"
        return self.measure(
            f"decoding, {how}",
            vae.patcher,
            lambda: node.execute(latent, vae, 15.0, 4, tile, 0),
            int(vae.memory_used_decode(latent["samples"].shape, vae.vae_dtype)),
        )


def latent_shape(size: dict[str, int]) -> tuple[int, int, int, int, int]:
    """Of a video of that size."""
    return (1, 16, (size["frames"] - 1) // 4 + 1, size["height"] // 8, size["width"] // 8)


def draw_inputs(size: dict[str, int], config: Any) -> tuple[tuple[Any, Any], Any]:
    """Positive and negative with a canvas, and an empty latent."""
    import torch

    shape = latent_shape(size)
    seen = importlib.import_module("comfy.clip_vision").Output()
    seen["penultimate_hidden_states"] = torch.randn(1, 257, config["clip_dim"])
    extras = {
        "concat_latent_image": torch.randn(shape),
        "concat_mask": torch.ones(1, 4, *shape[2:]),
        "clip_vision_output": seen,
    }
    prompts = [[[torch.randn(1, config["text_len"], config["text_dim"]), dict(extras)]] for _ in range(2)]
    return (prompts[0], prompts[1]), torch.zeros(shape)


def make_vae(width: int) -> Any:
    """A Wan 2.1 VAE with random weights, of the released width or less."""
    kind = importlib.import_module("comfy.ldm.wan.vae").WanVAE
    model = kind(
        dim=width,
        z_dim=16,
        dim_mult=[1, 2, 4, 4],
        num_res_blocks=2,
        attn_scales=[],
        temperal_downsample=[False, True, True],
        image_channels=3,
        conv_out_channels=3,
    )
    return importlib.import_module("comfy.sd").VAE(sd=model.state_dict())


def check_precisions(names: Iterable[str], known: Iterable[str]) -> None:
    """See that the loader has each of the precisions.

    Raises:
        HostError: it has not.
    """
    if unknown := [name for name in names if name not in known]:
        raise HostError(f"the precision {unknown[0]!r} is unknown: use {', '.join(known)}")


def measure(arguments: argparse.Namespace, size: dict[str, int]) -> list[Row]:
    """All rows; each model is let go before the next is loaded.

    Raises:
        HostError: a precision is unknown to the loader.
    """
    import torch

    from benchmarks.support import dit_models
    from benchmarks.support.dit_models import PACK
    from benchmarks.support.sparse_dit import write_sparse_dit
    from magref_core.dit.config import DiTConfig

    known = importlib.import_module(f"{PACK}.nodes.loaders").PRECISIONS
    check_precisions(arguments.precision, known)
    is_small = arguments.device == "cpu"
    bench = Bench(arguments.device, size)
    management = importlib.import_module("comfy.model_management")
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as folder, torch.inference_mode():
        config = DiTConfig(dim=256, ffn_dim=512, num_heads=2, num_layers=2) if is_small else DiTConfig()
        made = [] if arguments.model else [write_sparse_dit(Path(folder) / "zeros.safetensors", config)]
        for file in arguments.model or made:
            for name in arguments.precision if made else ("default",):
                patcher = dit_models.load_in_pack(file, dict(known[name]))
                rows.append(bench.sample(file.name if arguments.model else name, patcher))
                print_row(rows[-1])
                del patcher
                management.unload_all_models()
                gc.collect()
        vae = make_vae(16 if is_small else 96)
        for tile in (0, TILE):
            rows.append(bench.decode(vae, tile))
            print_row(rows[-1])
            management.unload_all_models()
    return rows


def print_row(row: Row) -> None:
    """One line for those who wait."""
    print(row.label, row.fault or f"{(row.peak_bytes or 0) / GB:.2f} GB, {row.seconds:.0f} s", flush=True)


def table(rows: list[Row], device: str) -> str:
    """All rows in Markdown, and a sentence where CUDA was not measured."""
    lines = [
        "| | weights | peak | of it tensors | planned |",
        "| --- | ---: | ---: | ---: | ---: |",
    ]
    for row in rows:
        peak = f"no: {row.fault}" if row.fault else _size(row.peak_bytes)
        cells = [_size(row.weight_bytes), peak, _size(row.tensor_bytes), _size(row.planned_bytes)]
        lines.append(f"| {row.label} | {' | '.join(cells)} |")
    if device == "cpu":
        lines += ["", "On a CPU at a small size; peak video memory is not measured."]
    return "\n".join(lines)


def report(facts: dict[str, Any], rows: list[Row]) -> str:
    """The table, and when, of what and on which machine it was measured."""
    size = facts["size"]
    lines = [
        f"# Peak memory on {facts['device']}, {facts['date']}",
        "",
        table(rows, facts["device"]),
        "",
        f"- {size['frames']} frames at {size['width']} x {size['height']}, guidance {GUIDANCE:g}.",
        f"- Commit: {facts['commit']}.",
        f"- Machine: {', '.join(f'{key} {value}' for key, value in facts['machine'].items())}.",
    ]
    return "\n".join(lines) + "\n"


def _size(num_bytes: int | None) -> str:
    if num_bytes is None:
        return "not measured"
    return f"{num_bytes / GB:.1f} GB" if num_bytes >= GB / 10 else f"{num_bytes / 1e6:.1f} MB"


def read_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", choices=("cpu", "cuda"), help="default: cuda where there is one")
    for name in RELEASED:
        parser.add_argument(f"--{name}", type=int, help=f"default: {RELEASED[name]}, on a CPU {SMALL[name]}")
    parser.add_argument(
        "--precision",
        nargs="+",
        default=PRECISIONS,
        help=f"any of the loader; default: {' '.join(PRECISIONS)}",
    )
    parser.add_argument(
        "--model", type=Path, nargs="+", default=[], help="files to measure in place of zeros"
    )
    parser.add_argument("--folder", type=Path, default=ROOT / "benchmarks" / "reports", help="for the report")
    return parser.parse_args()


def main() -> None:
    """Measure, print, and write."""
    arguments = read_arguments()
    host = enter_host_python()
    import torch

    from benchmarks.support import machine
    from benchmarks.support.quality_host import start_host

    device = arguments.device = arguments.device or ("cuda" if torch.cuda.is_available() else "cpu")
    start_host(host, device)
    defaults = SMALL if device == "cpu" else RELEASED
    size = {name: getattr(arguments, name) or default for name, default in defaults.items()}
    rows = measure(arguments, size)
    facts = {
        "date": datetime.date.today().isoformat(),
        "commit": machine.commit(ROOT),
        "device": device,
        "size": size,
        "machine": machine.describe(device),
    }
    text = report(facts, rows)
    print(f"\n{text}")
    arguments.folder.mkdir(parents=True, exist_ok=True)
    file = arguments.folder / f"{facts['date']}-memory-{device}"
    file.with_suffix(".md").write_text(text, encoding="utf-8")
    found = facts | {"rows": [asdict(row) for row in rows]}
    file.with_suffix(".json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    print(f"\nwritten: {file.name}.md and .json in {arguments.folder}")


if __name__ == "__main__":
    try:
        main()
    except HostError as error:
        raise SystemExit(f"error: {error}") from error
