"""Every format that MAGREF DiT Loader reads: whether it loads, what it costs in numbers, what in memory.

python scripts/bench.py formats [--model FILE] [--device cpu|cuda] [--only WORD] [--folder FOLDER] [--docs]

A model (the small trained one of this pack, unless another is named) is written in each format and loaded
through the node's own loader. Errors are those of the predicted velocity, relative to that of the float32
weights, as norms over three noise levels; the second one with the same LoRA on both. `--docs` puts the table
into docs/formats.md.
"""

from __future__ import annotations

import argparse
import datetime
import gc
import importlib
import json
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if __package__ in (None, ""):
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

from scripts import ROOT
from scripts.host import enter_host_python
from scripts.host_install import HostError

if TYPE_CHECKING:
    from torch import Tensor

    from benchmarks.support.format_files import Format, Weights

# What needs torch is imported where it is used: at first this may run in a Python without it.

MODEL = ROOT / "models" / "demo" / "diffusion_models" / "magref_demo_dit.safetensors"
DOCS = ROOT / "docs" / "formats.md"
TIMESTEPS = (950.0, 600.0, 150.0)
LATENT = (5, 8, 12)
"""Frames, rows, columns."""
IMAGE_TOKENS = 257
LORA_RANK, LORA_SIZE = 8, 0.03
"""A LoRA that changes the velocity of the demo model by about a tenth."""
MIB = 2**20


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """What was measured of one format."""

    name: str
    fault: str = ""
    """Why it did not load; the rest is 0 then."""
    file_bytes: int = 0
    weight_bytes: int = 0
    """In memory, as the host counts."""
    output_error: float = 0.0
    lora_error: float = 0.0
    peak_bytes: int | None = None
    """Of video memory in a forward pass, weights included; None on a CPU."""


def read_model(file: Path) -> tuple[Weights, Any]:
    """The weights of a file in float32 under upstream names, and the shape of the model."""
    from magref_core.dit.checkpoint import load_dit

    dit = load_dit(file)
    return {name: weight.float() for name, weight in dit.state_dict().items()}, dit.config


def draw_inputs(config: Any, device: str) -> dict[str, Tensor]:
    """What every model is given: noise and canvas, text padded with zeros, image tokens."""
    import torch

    generator = torch.Generator().manual_seed(0)
    context = torch.zeros(1, config.text_len, config.text_dim)
    context[:, : config.text_len // 4] = torch.randn(
        1, config.text_len // 4, config.text_dim, generator=generator
    )
    inputs = {
        "x": torch.randn(1, config.in_dim, *LATENT, generator=generator),
        "context": context,
        "clip_fea": torch.randn(1, IMAGE_TOKENS, config.clip_dim, generator=generator),
    }
    return {name: value.to(device) for name, value in inputs.items()}


def draw_lora(weights: Weights) -> Weights:
    """A LoRA on every matrix of the blocks, of a size that counts."""
    import torch

    from benchmarks.support.format_files import is_matrix

    generator = torch.Generator().manual_seed(1)
    lora: Weights = {}
    for name, weight in sorted(weights.items()):
        if is_matrix(name, weight):
            layer = f"diffusion_model.{name.removesuffix('.weight')}"
            size = LORA_SIZE * float(weight.std())
            lora[f"{layer}.lora_A.weight"] = torch.randn(LORA_RANK, weight.shape[1], generator=generator)
            lora[f"{layer}.lora_B.weight"] = size * torch.randn(
                weight.shape[0], LORA_RANK, generator=generator
            )
    return lora


def velocities(patcher: Any, inputs: dict[str, Tensor]) -> Tensor:
    """The velocity at each noise level, on the CPU in float32."""
    import torch

    importlib.import_module("comfy.model_management").load_models_gpu([patcher])
    dit, dtype = patcher.model.diffusion_model, patcher.model.get_dtype_inference()
    given = {name: value.to(dtype) for name, value in inputs.items()}
    device = given["x"].device
    with torch.inference_mode():
        answers = [
            dit(timestep=torch.tensor([time], device=device), transformer_options={}, **given)
            for time in TIMESTEPS
        ]
    return torch.cat(answers).float().cpu()


def with_lora(patcher: Any, lora: Weights) -> Any:
    """The model with the LoRA, by the host's own loader of LoRAs."""
    return importlib.import_module("comfy.sd").load_lora_for_models(patcher, None, dict(lora), 1.0, 0.0)[0]


class Bench:
    """The float32 answers, and the measurement of one format after the other."""

    def __init__(self, weights: Weights, config: Any, device: str):
        self.weights, self.config, self.device = weights, config, device
        self.inputs, self.lora = draw_inputs(config, device), draw_lora(weights)
        self.exact: tuple[Tensor, Tensor] | None = None

    def measure(self, name: str, form: Format) -> Row:
        """Write, load, run without and with the LoRA."""
        with tempfile.TemporaryDirectory() as folder:
            file = form.write(self.weights, Path(folder))
            size = sum(part.stat().st_size for part in Path(folder).iterdir())
            try:
                patcher = self._load(file, form)
            except (ValueError, RuntimeError, KeyError) as error:
                return Row(name=name, fault=str(error).splitlines()[0], file_bytes=size)
            plain, peak = self._run(patcher)
            changed, _ = self._run(with_lora(patcher, self.lora))
            weight_bytes = patcher.model_size()
            # Windows deletes no file that is still mapped.
            importlib.import_module("comfy.model_management").unload_all_models()
            del patcher
            gc.collect()
        if self.exact is None:
            self.exact = (plain, changed)
        return Row(
            name=name,
            file_bytes=size,
            weight_bytes=weight_bytes,
            output_error=_relative(plain, self.exact[0]),
            lora_error=_relative(changed, self.exact[1]),
            peak_bytes=peak,
        )

    def _load(self, file: Path, form: Format) -> Any:
        import torch

        from benchmarks.support import dit_models

        options: dict[str, Any] = {"load_device": torch.device(self.device)}
        if form.dtype is not None:
            options["dtype"] = form.dtype
        return dit_models.load_in_pack(file, options)

    def _run(self, patcher: Any) -> tuple[Tensor, int | None]:
        import torch

        if self.device == "cpu":
            return velocities(patcher, self.inputs), None
        torch.cuda.synchronize()
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        answer = velocities(patcher, self.inputs)
        return answer, torch.cuda.max_memory_allocated()

    def size_of_lora(self) -> float:
        """By how much the LoRA changes the float32 answers."""
        assert self.exact is not None
        return _relative(*reversed(self.exact))


def _relative(one: Tensor, exact: Tensor) -> float:
    return ((one - exact).norm() / exact.norm()).item()


def table(rows: list[Row]) -> str:
    """The matrix in Markdown."""
    exact = next((row.weight_bytes for row in rows if not row.fault), 1)
    has_peak = any(row.peak_bytes for row in rows)
    lines = [
        "| format | loads | output error | with a LoRA | file | weights in memory | of fp32 |"
        + (" peak |" if has_peak else ""),
        "| --- | --- | ---: | ---: | ---: | ---: | ---: |" + (" ---: |" if has_peak else ""),
    ]
    for row in rows:
        if row.fault:
            lines.append(f"| {row.name} | no: {row.fault} | | | {row.file_bytes / MIB:.1f} MiB | | |")
            continue
        cells = [
            f"{row.output_error:.2%}",
            f"{row.lora_error:.2%}",
            f"{row.file_bytes / MIB:.1f} MiB",
            f"{row.weight_bytes / MIB:.1f} MiB",
            f"{row.weight_bytes / exact:.0%}",
        ]
        if has_peak:
            cells.append(f"{(row.peak_bytes or 0) / MIB:.1f} MiB")
        lines.append(f"| {row.name} | yes | {' | '.join(cells)} |")
    return "\n".join(lines)


def report(result: dict[str, Any], rows: list[Row]) -> str:
    """The matrix, and when, of what and on which machine it was measured."""
    machine = result["machine"]
    return "\n".join(
        [
            table(rows),
            "",
            f"`{result['model']}`, {result['weights'] / 1e6:.1f} million weights, on {result['device']}, "
            f"{result['date']}; torch {machine['torch']}, {machine.get('gpu', machine['processor'])}. "
            f"The LoRA changes the output by {result['lora_change']:.0%}.",
        ]
    )


def read_arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", type=Path, default=MODEL, help="a DiT in plain safetensors")
    parser.add_argument("--device", choices=("cpu", "cuda"), help="default: cuda where there is one")
    parser.add_argument("--only", default="", help="formats with this word in their names, besides fp32")
    parser.add_argument("--folder", type=Path, default=ROOT / "benchmarks" / "reports", help="for the report")
    parser.add_argument("--docs", action="store_true", help="put the table into docs/formats.md")
    return parser.parse_args()


def main() -> None:
    """Measure all formats, print the matrix and write it."""
    arguments = read_arguments()
    source = enter_host_python()
    import torch

    from benchmarks.support import dit_models, machine
    from benchmarks.support.docs import put_between_marks

    device = arguments.device or ("cuda" if torch.cuda.is_available() else "cpu")
    dit_models.enter_host(source, device)
    from benchmarks.support.format_files import FORMATS

    weights, config = read_model(arguments.model)
    bench = Bench(weights, config, device)
    rows: list[Row] = []
    for name, form in FORMATS.items():
        if name == "fp32" or arguments.only in name:
            rows.append(bench.measure(name, form))
            print(rows[-1].name, rows[-1].fault or f"{rows[-1].output_error:.2%}", flush=True)
    result = {
        "date": datetime.date.today().isoformat(),
        "commit": machine.commit(ROOT),
        "device": device,
        "machine": machine.describe(device),
        "model": arguments.model.name,
        "weights": sum(weight.numel() for weight in weights.values()),
        "lora_change": bench.size_of_lora(),
    }
    text = report(result, rows)
    print(f"\n{text}")
    arguments.folder.mkdir(parents=True, exist_ok=True)
    file = arguments.folder / f"{result['date']}-formats-{device}"
    page = f"# Formats of weight files\n\n{text}\n\nCommit {result['commit']}.\n"
    file.with_suffix(".md").write_text(page, encoding="utf-8")
    found = result | {"rows": [asdict(row) for row in rows]}
    file.with_suffix(".json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    print(f"\nwritten: {file.name}.md and .json in {arguments.folder}")
    if arguments.docs:
        put_between_marks(DOCS, "matrix", text)


if __name__ == "__main__":
    try:
        main()
    except HostError as error:
        raise SystemExit(f"error: {error}") from error
