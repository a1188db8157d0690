"""Step 6, when it fails: a video that is no numbers is not handed on, and what spoiled it is named.

The loader looks at a sample of large weights; reading a 14B model through would take minutes. A single bad
number shows in the first step, and only then is everything searched.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import comfy.model_management
import torch
from comfy.quant_ops import QuantizedTensor
from torch import Tensor

from ..magref_core.dit.finite import all_finite, spoiled_names
from ..magref_core.dit.shards import few
from ..magref_core.errors import CheckpointError, MagrefError

MOST = 4
"""Names that are searched for; three are told."""

INPUTS = {
    "c_crossattn": ("the prompt", "look at the text encoder and at what changes its output"),
    "c_concat": ("the canvas or its mask", "look at the VAE, and at what is between it and the sampler"),
    "clip_fea": ("the image embedding", "look at the CLIP vision model"),
}
"""What the host calls an input of the DiT -> what it is, and where to look."""


def refuse_not_finite(latent: Tensor, model: Any) -> Tensor:
    """Hand on what the model made, unless it is no numbers.

    Args:
        latent: denoised, or the result; on any device.
        model: what the host gives a sampler to call.

    Raises:
        CheckpointError: weights of the model, or of a LoRA on it, are NaN or infinite.
        MagrefError: an input is, or only the numbers in between are.
    """
    if all_finite(latent):
        return latent
    guider = getattr(model, "inner_model", None)
    _blame_inputs(model, guider)
    patcher = getattr(guider, "model_patcher", None)
    if patcher is not None:
        _blame_weights(patcher)
    raise MagrefError(
        "the model's answer is no finite numbers, though its weights and what it was given are: numbers in "
        "between grew too large, so choose bf16 or fp32 as precision in MAGREF DiT Loader, and take off what "
        "changes the model's attention"
    )


def _blame_inputs(model: Any, guider: Any) -> None:
    for conds in (getattr(guider, "conds", None) or {}).values():
        for cond in conds or ():
            for key, (what, remedy) in INPUTS.items():
                value = getattr(cond.get("model_conds", {}).get(key), "cond", None)
                if isinstance(value, Tensor) and not all_finite(value):
                    raise MagrefError(f"{what} has values that are not finite numbers: {remedy}")
    for name in ("noise", "latent_image"):
        value = getattr(model, name, None)
        if isinstance(value, Tensor) and not all_finite(value):
            raise MagrefError(
                "the latent that sampling starts from has values that are not finite numbers: use the latent "
                "of MAGREF Apply Masked Guidance, and look at what made it"
            )


def _blame_weights(patcher: Any) -> None:
    check = comfy.model_management.throw_exception_if_processing_interrupted
    label = _label(patcher)
    patches = ((key, tensor) for key, patch in patcher.patches.items() for tensor in _tensors_in(patch))
    if found := spoiled_names(patches, most=1, check=check):
        raise CheckpointError(
            f"a LoRA on {label} has values that are not finite numbers (for {found[0]}): take the LoRAs off "
            "one by one to find it, and download it again"
        )
    spoiled = spoiled_names(_weights(patcher.model.diffusion_model), most=MOST, check=check)
    if not spoiled:
        return
    if any(f"diffusion_model.{name}" in patcher.patches for name in spoiled):
        raise CheckpointError(
            f"weights of {label} are not finite numbers with the LoRAs on them ({few(spoiled)}): lower their "
            "strengths, or choose bf16 or fp32 as precision in MAGREF DiT Loader"
        )
    raise CheckpointError(
        f"{label} has weights that are not finite numbers ({few(spoiled)}), which spoil every video: "
        "download it again or choose another file"
    )


def _weights(dit: torch.nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Parameters and buffers; packed ones unpacked while they are looked at."""
    for name, weight in (*dit.named_parameters(), *dit.named_buffers()):
        yield name, weight.dequantize() if isinstance(weight, QuantizedTensor) else weight


def _tensors_in(patch: Any) -> Iterator[Tensor]:
    """All tensors of the host's patches of one weight, however deep they lie."""
    if isinstance(patch, Tensor):
        yield patch
    elif isinstance(patch, list | tuple):
        for part in patch:
            yield from _tensors_in(part)
    elif hasattr(patch, "weights"):
        yield from _tensors_in(patch.weights)


def _label(patcher: Any) -> str:
    """How messages call the model: its file where the host knows it."""
    origin = getattr(patcher, "cached_patcher_init", None)
    file = origin[1][0] if origin and len(origin) > 1 and origin[1] else None
    return Path(file).name if isinstance(file, str) else "the model"
