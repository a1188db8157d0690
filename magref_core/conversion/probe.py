"""Whole models side by side: the same random inputs through the source and through what it became."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from torch import Tensor, nn

from ..dit.attention import Backend, Options
from ..dit.checkpoint import infer_config, read_checkpoint
from ..dit.config import DiTConfig
from ..dit.model import MagrefDiT
from ..dit.naming import upstream_names
from .formats import FormatName, format_named, told_format
from .quantise import restore
from .source import Stored, read_header

LATENT = (2, 8, 12)
"""Latent frames, rows and columns of the probe: 48 tokens."""
IMAGE_TOKENS = 17
PROMPT_ROWS = 24
TIMESTEPS = (900.0, 500.0, 100.0)

_PARTS = ("weight_scale", "weight_scale_2", "scale_weight", "comfy_quant")


class StoredWeights:
    """The float32 weights that a file stands for, read one at a time.

    Args:
        path: a safetensors file as the user's or as `convert` writes it, or the index of a sharded model.
        check: called often while reading; may raise to stop.
    """

    def __init__(self, path: Path, check: Callable[[], None] = lambda: None) -> None:
        checkpoint = read_checkpoint(path)
        stored = {name: place for file in checkpoint.files for name, place in read_header(file).items()}
        names = upstream_names(stored)
        self.places: dict[str, Stored] = {
            names[name]: place for name, place in stored.items() if name in names
        }
        self.check = check
        shapes = {name: place.shape for name, place in self.places.items()}
        self.config: DiTConfig = infer_config(shapes, label=checkpoint.label, metadata=checkpoint.metadata)

    def __getitem__(self, name: str) -> Tensor:
        """One weight by its upstream name.

        Raises:
            CheckpointError: the file breaks off, or the layer is quantised in a way that is not ours.
        """
        layer, _, kind = name.rpartition(".")
        form = self._format(layer) if kind == "weight" else None
        if form is None:
            return self.places[name].read(self.check).float()
        parts = {
            part: self.places[f"{layer}.{part}"].read(self.check)
            for part in ("weight", *_PARTS)
            if f"{layer}.{part}" in self.places
        }
        return restore(parts, format_named(form))

    def _format(self, layer: str) -> FormatName | None:
        if f"{layer}.comfy_quant" in self.places:
            return told_format(self.places[f"{layer}.comfy_quant"].read(self.check), layer=layer)
        return "fp8_scaled" if f"{layer}.scale_weight" in self.places else None


class _StreamedDiT(MagrefDiT):
    """A model of which one block at a time is in memory."""

    def __init__(self, weights: StoredWeights) -> None:
        super().__init__(weights.config, Backend(device="meta"))
        self.weights = weights
        for name, module in self.named_children():
            if name != "blocks":
                _fill(module, weights, f"{name}.")

    def each_block(
        self, device: torch.device, transformer_options: Options
    ) -> Iterator[tuple[int, nn.Module]]:
        """Read a block before its turn and let go of it afterwards."""
        for index, block in enumerate(self.blocks):
            self.weights.check()
            _fill(block, self.weights, f"blocks.{index}.")
            yield index, block
            block.to("meta")


def _fill(module: nn.Module, weights: StoredWeights, prefix: str) -> None:
    module.load_state_dict({name: weights[prefix + name] for name in module.state_dict()}, assign=True)


@torch.inference_mode()
def answers(path: Path, check: Callable[[], None] = lambda: None) -> Tensor:
    """What a model says to the probe: (timesteps, 16, T, h, w) float32.

    One block of the 14B model takes 1.6 GB, and all else 1 GB.

    Raises:
        CheckpointError: the file is no whole DiT, or in a format that is not ours.
    """
    weights = StoredWeights(path, check)
    config = weights.config
    generator = torch.Generator().manual_seed(0)

    def draw(*size: int) -> Tensor:
        return torch.randn(size, generator=generator)

    x = draw(1, config.in_dim, *LATENT).expand(len(TIMESTEPS), -1, -1, -1, -1)
    text = draw(1, min(PROMPT_ROWS, config.text_len), config.text_dim).expand(len(TIMESTEPS), -1, -1)
    image = draw(1, IMAGE_TOKENS, config.clip_dim).expand(len(TIMESTEPS), -1, -1)
    return _StreamedDiT(weights).eval()(x, torch.tensor(TIMESTEPS), text, image)


def compare_models(source: Path, target: Path, check: Callable[[], None] = lambda: None) -> str:
    """One sentence on how far the answers of two models lie apart.

    Raises:
        CheckpointError: see `answers`.
    """
    before, after = answers(source, check), answers(target, check)
    errors = [
        f"{_relative_error(new, old):.2%} at timestep {timestep:g}"
        for old, new, timestep in zip(before, after, TIMESTEPS, strict=True)
    ]
    return (
        f"The whole model, asked with random inputs of {LATENT[0] * LATENT[1] * LATENT[2] // 4} tokens, "
        "answers "
        f"otherwise by {', '.join(errors)} (norm of the difference over norm; weights alone are rounded)."
    )


def _relative_error(value: Tensor, reference: Tensor) -> float:
    return float((value - reference).square().sum().sqrt() / reference.square().sum().sqrt())
