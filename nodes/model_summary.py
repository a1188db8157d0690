"""What a loaded DiT is and needs: one sentence for log and node, and the same as numbers for the API."""

from __future__ import annotations

from typing import Any

import comfy.model_management

from ..magref_core.dit.summary import Contents

ATTACHMENT = "magref_contents"
"""Under this name a MODEL of ours carries its `Contents`."""

LATENT = (1, 16, 21, 60, 104)
"""Of 81 frames at 832 x 480, for which needs are told."""

ARCHITECTURE = "Wan 2.1 image-to-video DiT"
GB = 10**9


def numbers(patcher: Any) -> dict[str, Any]:
    """What is known of a loaded DiT.

    Args:
        patcher: a MODEL that `load_magref_dit` made.

    Returns:
        `file`, `architecture`, `blocks`, `width`, `weights` (how many), `stored` (dtype or GGUF format ->
        bytes in the file), `quantisation` (formats of the host's quantised layers), `computes_in`,
        `weight_bytes` (in memory) and `forward_bytes` (what the host reckons with for one pass of 81 frames
        at 832 x 480 beside the weights; None on a CPU, for which its formula is not made).
    """
    contents: Contents = patcher.get_attachment(ATTACHMENT)
    on_cpu = comfy.model_management.is_device_cpu(patcher.load_device)
    layers = patcher.model.diffusion_model.modules()
    return {
        "file": contents.label,
        "architecture": ARCHITECTURE,
        "blocks": contents.config.num_layers,
        "width": contents.config.dim,
        "weights": contents.num_weights,
        "stored": contents.stored,
        "quantisation": sorted({told for layer in layers if (told := getattr(layer, "quant_format", None))}),
        "computes_in": str(patcher.model.get_dtype_inference()).removeprefix("torch."),
        "weight_bytes": patcher.model_size(),
        "forward_bytes": None if on_cpu else int(patcher.memory_required(LATENT)),
    }


def sentence(found: dict[str, Any]) -> str:
    """The numbers in words."""
    stored = ", ".join(f"{kind} {_size(size)}" for kind, size in found["stored"].items())
    quantised = f", quantised as {' and '.join(found['quantisation'])}" if found["quantisation"] else ""
    words = (
        f"{found['architecture']}, {found['blocks']} blocks of width {found['width']}, "
        f"{_count(found['weights'])} weights; in the file {stored}{quantised}; computes in "
        f"{found['computes_in']}; its weights take {_size(found['weight_bytes'])} of memory"
    )
    if found["forward_bytes"] is None:
        return words
    both = found["weight_bytes"] + found["forward_bytes"]
    return (
        f"{words}, and 81 frames at 832 x 480 need about {_size(found['forward_bytes'])} beside them: with "
        f"less than {_size(both)} of video memory, weights are fetched from main memory while it runs"
    )


def _size(num_bytes: int) -> str:
    return f"{num_bytes / GB:.1f} GB" if num_bytes >= GB / 10 else f"{num_bytes / 1e6:.1f} MB"


def _count(number: int) -> str:
    return f"{number / GB:.1f} billion" if number >= GB / 10 else f"{number / 1e6:.1f} million"
