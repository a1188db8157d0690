"""ComfyUI's own VAE, text encoder and CLIP vision in this process, from any file that its loaders read."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor

from magref_core.bundle import kind_of
from magref_core.errors import CheckpointError
from magref_core.training.wan_vae import normalise
from scripts import ROOT

from .samples import Encode

PACK = "magref_pack"
"""The name of the pack in this process; the host gives it another one."""


def enter_host(source: Path, *, cpu: bool) -> None:
    """Make ComfyUI and the pack importable; ComfyUI must come before our folder `nodes` on the path."""
    if PACK in sys.modules:
        return
    sys.path.insert(0, str(source))
    importlib.import_module("comfy.cli_args").args.cpu = cpu or not torch.cuda.is_available()
    importlib.import_module("nodes")
    init = ROOT / "__init__.py"
    spec = importlib.util.spec_from_file_location(PACK, init, submodule_search_locations=[str(ROOT)])
    assert spec is not None and spec.loader is not None
    sys.modules[PACK] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(sys.modules[PACK])


def encode_prompts(file: Path, prompts: list[str]) -> dict[str, Tensor]:
    """Text features of prompts, without the zeros after their ends.

    Args:
        file: a UMT5 text encoder, or that of the demo model.
        prompts: of any length.

    Returns:
        Prompt -> (L, C) float16 on the CPU, L at least 1.

    Raises:
        CheckpointError: the file is no such text encoder.
    """
    with (
        _explained(file, "a UMT5 text encoder, such as umt5_xxl_fp8_e4m3fn_scaled.safetensors"),
        torch.inference_mode(),
    ):
        if kind_of(file) == "text_encoder":
            clip = _pack("demo").load_text_encoder(str(file))
        else:
            sd: Any = importlib.import_module("comfy.sd")
            clip = sd.load_clip([str(file)], clip_type=sd.CLIPType.WAN)
            if not hasattr(clip.cond_stage_model, "umt5xxl"):  # the host takes any file for some encoder
                raise CheckpointError("it is none")
        return {prompt: _trimmed(clip.encode_from_tokens(clip.tokenize(prompt))[0]) for prompt in prompts}


def load_video_encoder(file: Path) -> Encode:
    """The encoder of a Wan 2.1 VAE, with the latents as the DiT sees them; see `Encode`.

    Raises:
        CheckpointError: the file is no such VAE.
    """
    with _explained(file, "the Wan 2.1 VAE, wan_2.1_vae.safetensors"):
        weights, metadata = importlib.import_module("comfy.utils").load_torch_file(
            str(file), return_metadata=True
        )
        vae = importlib.import_module("comfy.sd").VAE(sd=weights, metadata=metadata)
        vae.throw_exception_if_invalid()
        _pack("host").check_vae(vae)
    encode_with = _pack("host").encode_with

    @torch.inference_mode()
    def encode(clip: Tensor) -> Tensor:
        pixels = clip / 127.5 - 1 if clip.dtype == torch.uint8 else clip
        latents = encode_with(vae, pixels.permute(3, 0, 1, 2)[None])
        return normalise(latents.float().cpu())[0]

    return encode


def load_image_encoder(file: Path) -> tuple[Callable[[Tensor], Tensor], int]:
    """A CLIP vision tower as the DiT reads it, and the side of the square that it sees.

    Returns:
        Canvas (1, 3, size, size) as from `clip_pixels` -> image tokens (1, N, C); and the size.

    Raises:
        CheckpointError: the file is no such tower.
    """
    with _explained(file, "a CLIP vision model, clip_vision_h.safetensors"):
        if kind_of(file) == "clip_vision":
            tower = _pack("demo").load_clip_vision(str(file))
        else:
            tower = importlib.import_module("comfy.clip_vision").load(str(file))
        if tower is None or tower.model_type != "clip_vision_model":
            raise CheckpointError("it is none")
    management: Any = importlib.import_module("comfy.model_management")

    @torch.inference_mode()
    def encode(pixels: Tensor) -> Tensor:
        management.load_model_gpu(tower.patcher)
        hidden = tower.model(pixel_values=pixels.to(tower.load_device), intermediate_output=-2)[1]
        return hidden.float().cpu()

    return encode, tower.image_size


def _pack(module: str) -> Any:
    return importlib.import_module(f"{PACK}.nodes.{module}")


def _trimmed(features: Tensor) -> Tensor:
    """(L, C) without the zero rows at its end."""
    rows = features.float().abs().amax(1).nonzero()
    return features[: int(rows[-1]) + 1 if len(rows) else 1].half().cpu()


@contextmanager
def _explained(file: Path, needed: str) -> Iterator[None]:
    """Turn whatever a loader says of a file into one sentence."""
    if not file.is_file():
        raise CheckpointError(f"there is no file {file}: give {needed}")
    try:
        yield
    except (
        SafetensorError,
        ValueError,
        RuntimeError,
        LookupError,
        AttributeError,
        TypeError,
        OSError,
    ) as error:
        reason = error
    else:
        return
    text = " ".join(str(reason).split())[:200]
    raise CheckpointError(f"{file.name} cannot be loaded ({text}): give {needed}") from reason
