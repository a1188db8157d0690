"""The two models of the DiT speed measurement, built as the host builds them, and what they are fed."""

from __future__ import annotations

import importlib
import importlib.util
import shutil
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from magref_core.dit.attention import Backend
from magref_core.dit.config import DiTConfig
from magref_core.dit.model import MagrefDiT

ROOT = Path(__file__).resolve().parents[2]
PACK = "magref_pack"

PROMPT_TOKENS, IMAGE_TOKENS = 77, 257
CANVAS_CHANNELS = 20


@dataclass(frozen=True, kw_only=True, slots=True)
class Shape:
    """What is measured."""

    config: DiTConfig
    latent: tuple[int, int, int]
    """Frames, rows, columns."""
    dtype: torch.dtype

    @property
    def num_tokens(self) -> int:
        """Tokens of one forward pass."""
        frames, rows, columns = (
            size // patch for size, patch in zip(self.latent, self.config.patch_size, strict=True)
        )
        return frames * rows * columns


CPU_SHAPE = Shape(
    config=DiTConfig(dim=1024, ffn_dim=4096, num_heads=8, num_layers=8),
    latent=(5, 40, 40),
    dtype=torch.float32,
)
GPU_SHAPE = Shape(config=DiTConfig(), latent=(21, 60, 104), dtype=torch.bfloat16)
"""The released model at 832 x 480 with 81 frames."""


def shape_for(device: str) -> Shape:
    """What to measure on a device.

    A GPU gets as many layers of the released model as it, the memory and the disk have room for.
    """
    if device == "cpu":
        return CPU_SHAPE
    import psutil

    config = GPU_SHAPE.config
    block_bytes = 2 * (10 * config.dim**2 + 2 * config.dim * config.ffn_dim)
    rooms = (
        torch.cuda.mem_get_info()[0] * 0.75 / 2,  # both models, and what a forward pass needs
        psutil.virtual_memory().available * 0.8 / 3,  # both models, and the weights while they are loaded
        shutil.disk_usage(tempfile.gettempdir()).free * 0.9,
    )
    num_layers = max(1, min(config.num_layers, int(min(rooms) / block_bytes)))
    return replace(GPU_SHAPE, config=replace(config, num_layers=num_layers))


def forward_flops(shape: Shape) -> int:
    """Floating-point operations of one forward pass in matrix products and attention; 2 per multiply-add."""
    config, n = shape.config, shape.num_tokens
    d, patch = config.dim, config.patch_size[0] * config.patch_size[1] * config.patch_size[2]
    seen = config.text_len + IMAGE_TOKENS
    self_attention = 4 * n * d * d + 2 * n * n * d
    cross_attention = 2 * n * d * d + 2 * seen * d * d + 2 * n * seen * d
    block = self_attention + cross_attention + 2 * n * d * config.ffn_dim
    text = config.text_len * (config.text_dim * d + d * d)
    image = IMAGE_TOKENS * (config.clip_dim**2 + config.clip_dim * d)
    time = config.freq_dim * d + 7 * d * d
    ends = n * d * patch * (config.in_dim + config.out_dim)
    return 2 * (config.num_layers * block + text + image + time + ends)


def random_weights(shape: Shape, device: str) -> dict[str, Tensor]:
    """Weights under their upstream names, in memory; they keep the size of a signal, and never change."""
    generator = torch.Generator(device).manual_seed(0)
    weights: dict[str, Tensor] = {}
    for name, like in MagrefDiT(shape.config, Backend(device="meta")).state_dict().items():
        values = torch.randn(like.shape, generator=generator, device=device)
        if like.ndim == 1:
            values = 0.1 * values + ("norm" in name and name.endswith("weight"))
        else:
            values *= (like.shape[-1] if name.endswith("modulation") else like[0].numel()) ** -0.5
        weights[name] = values.to("cpu", shape.dtype)
    return weights


def enter_host(source: Path, device: str) -> None:
    """Make ComfyUI importable; it must come before our folder `nodes` on the path."""
    sys.path.insert(0, str(source))
    importlib.import_module("comfy.cli_args").args.cpu = device == "cpu"


def attentions(device: str) -> dict[str, str]:
    """Model -> the name of the attention that it uses on a device; after `enter_host`.

    The host's is its own choice. Ours is another on a CPU where the host has made none.
    """
    import_pack()
    ours = importlib.import_module(f"{PACK}.nodes.attention").chosen_attention(torch.device(device))
    native = importlib.import_module("comfy.ldm.modules.attention").optimized_attention
    return {"ours": ours.__name__, "native": native.__name__}


def load_in_pack(file: Path, options: dict[str, Any]) -> Any:
    """Our DiT as the host's MODEL, out of the pack as the host imports it."""
    import_pack()
    return importlib.import_module(f"{PACK}.nodes.model").load_magref_dit(str(file), options)


def import_pack() -> None:
    """Import the pack as the host does, once."""
    if PACK not in sys.modules:
        init = ROOT / "__init__.py"
        spec = importlib.util.spec_from_file_location(PACK, init, submodule_search_locations=[str(ROOT)])
        assert spec is not None and spec.loader is not None
        sys.modules[PACK] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[PACK])


def load_ours(file: Path, shape: Shape) -> Any:
    """Our DiT in the dtype of a shape."""
    return load_in_pack(file, {"dtype": shape.dtype})


def load_native(file: Path, shape: Shape) -> Any:
    """The host's own MODEL of the same weights."""
    return importlib.import_module("comfy.sd").load_diffusion_model(str(file), {"dtype": shape.dtype})


LOADERS: dict[str, Callable[[Path, Shape], Any]] = {"ours": load_ours, "native": load_native}


def forward_of(patcher: Any, shape: Shape, device: str) -> Callable[[], Tensor]:
    """A function that runs one forward pass, with the same inputs for every model."""
    importlib.import_module("comfy.model_management").load_models_gpu([patcher], force_full_load=True)
    return forward_with(patcher.model.apply_model, shape, device)


def forward_with(apply_model: Callable[..., Tensor], shape: Shape, device: str) -> Callable[[], Tensor]:
    """The same for whatever is called as the host's `apply_model`."""
    generator = torch.Generator().manual_seed(1)

    def draw(*size: int) -> Tensor:
        return torch.randn(size, generator=generator).to(device)

    config = shape.config
    prompt = torch.zeros(1, config.text_len, config.text_dim, device=device)
    prompt[:, :PROMPT_TOKENS] = draw(1, PROMPT_TOKENS, config.text_dim)
    image = draw(1, IMAGE_TOKENS, config.clip_dim)
    noise, canvas = draw(1, config.out_dim, *shape.latent), draw(1, CANVAS_CHANNELS, *shape.latent)
    sigma = torch.full((1,), 0.7, device=device)

    @torch.inference_mode()
    def forward(rows: int = shape.latent[1]) -> Tensor:
        x, concat = noise[..., :rows, :], canvas[..., :rows, :]
        return apply_model(
            x, sigma, c_concat=concat, c_crossattn=prompt, clip_fea=image, transformer_options={}
        )

    forward(2)  # libraries set themselves up at the first call, which is not what is measured
    return forward
