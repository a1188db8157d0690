"""Recognising the files that are not the MAGREF DiT, each with one sentence on what to choose instead."""

from __future__ import annotations

import re
from collections.abc import Mapping

from ..errors import CheckpointError

Shapes = Mapping[str, tuple[int, ...]]
"""Upstream name -> shape."""

_DIT = "a MAGREF checkpoint such as Wan2_1-Wan-I2V-MAGREF-14B_fp8_e4m3fn.safetensors"
_FROM_DIFFUSION_MODELS = f"choose {_DIT} from models/diffusion_models"

_LORA_MARKS = {
    "lora_up",
    "lora_down",
    "lora_A",
    "lora_B",
    "lokr_w1",
    "lokr_w2",
    "hada_w1_a",
    "hada_w2_a",
    "diff",
    "diff_b",
}
"""Parts of a name between dots."""

_WAN_MARKS = re.compile(
    r"head\.modulation|patch_embedding\.weight|(vace_)?blocks\.\d+\.(self|cross)_attn\..+"
)

_WAN_BRANCHES = {
    "vace_patch_embedding.": "a Wan VACE model (it has VACE blocks)",
    "vace_blocks.": "the VACE part of a Wan model",
    "casual_audio_encoder.": "a Wan 2.2 S2V model (it has an audio encoder)",
    "audio_proj.": "a HuMo or another audio-driven Wan model (it has an audio projection)",
    "face_adapter.": "a Wan 2.2 Animate model (it has a face adapter)",
    "control_adapter.": "a Wan Fun Camera model (it has a camera adapter)",
    "patch_embedding_pose.": "a SCAIL model (it embeds a pose)",
    "patch_embedding_mask.": "a SCAIL model (it embeds a mask)",
    "patch_embedding_global.": "a WanDancer model (it embeds a global picture)",
    "ref_conv.": "a Wan Fun Control model (it has a reference convolution)",
    "img_emb.emb_pos": "a Wan 2.1 FLF2V model (it places a first and a last frame)",
}
"""Start of a name -> what has it."""

_OTHER_KINDS = {
    "decoder.upsamples.0.upsamples.": ("the Wan 2.2 VAE", _FROM_DIFFUSION_MODELS),
    "decoder.head.0.gamma": ("the Wan 2.1 VAE", "load it with Load VAE and " + _FROM_DIFFUSION_MODELS),
    "first_stage_model.": ("a Stable Diffusion checkpoint or VAE", _FROM_DIFFUSION_MODELS),
    "decoder.up_blocks.": ("a VAE", _FROM_DIFFUSION_MODELS),
    "decoder.up.": ("a Stable Diffusion or Flux VAE", _FROM_DIFFUSION_MODELS),
    "decoder.middle.": ("a VAE", _FROM_DIFFUSION_MODELS),
    "encoder.block.": ("a T5 text encoder", "load it with Load CLIP and " + _FROM_DIFFUSION_MODELS),
    "shared.": ("a T5 text encoder", "load it with Load CLIP and " + _FROM_DIFFUSION_MODELS),
    "token_embedding.": (
        "the original umt5 text encoder",
        "load it with Load CLIP and " + _FROM_DIFFUSION_MODELS,
    ),
    "text_model.": ("a CLIP text encoder", _FROM_DIFFUSION_MODELS),
    "vision_model.": ("a CLIP vision model", "load it with Load CLIP Vision and " + _FROM_DIFFUSION_MODELS),
    "visual.": ("a CLIP vision model", "load it with Load CLIP Vision and " + _FROM_DIFFUSION_MODELS),
    "embed_tokens.": ("a language model", _FROM_DIFFUSION_MODELS),
    "control_model.": ("a ControlNet", _FROM_DIFFUSION_MODELS),
    "input_blocks.": ("a Stable Diffusion model", _FROM_DIFFUSION_MODELS),
    "down_blocks.": ("a Stable Diffusion model", _FROM_DIFFUSION_MODELS),
    "joint_blocks.": ("a Stable Diffusion 3 model", _FROM_DIFFUSION_MODELS),
    "double_blocks.": ("a Flux or Hunyuan model", _FROM_DIFFUSION_MODELS),
    "single_transformer_blocks.": ("a Flux model", _FROM_DIFFUSION_MODELS),
    "transformer_blocks.": ("a diffusion model of another family", _FROM_DIFFUSION_MODELS),
}
"""Start of a name -> what has it, and what to do; the first that fits counts."""


def refuse_other_models(shapes: Shapes, *, label: str) -> None:
    """Let only the MAGREF DiT and models of its shape pass.

    Args:
        shapes: upstream names (`naming.upstream_names`) and shapes.
        label: how messages call the file.

    Raises:
        CheckpointError: the file is of another kind, which is named.
    """
    if sum(not _LORA_MARKS.isdisjoint(name.split(".")) for name in shapes) * 2 > len(shapes):
        raise CheckpointError(
            f"{label} is a LoRA: load it with a LoRA loader node, and here {_FROM_DIFFUSION_MODELS}"
        )
    if not any(_WAN_MARKS.fullmatch(name) for name in shapes):
        _refuse_foreign(shapes, label)
    for start, kind in _WAN_BRANCHES.items():
        if any(name.startswith(start) for name in shapes):
            raise CheckpointError(
                f"{label} is {kind}, but MAGREF needs a plain image-to-video DiT: choose {_DIT}"
            )
    if "patch_embedding.weight" in shapes:
        _refuse_other_channels(shapes, label)


def size_of(name: str, axis: int, shapes: Shapes, *, label: str) -> int:
    """One side of a weight.

    Raises:
        CheckpointError: the file lacks the weight or that side of it.
    """
    shape = shapes.get(name, ())
    if len(shape) <= axis:
        raise CheckpointError(
            f"{label} lacks the weight {name} of the MAGREF DiT, so it is one shard or incomplete: "
            "choose the .safetensors.index.json file of the shards, or download it again"
        )
    return shape[axis]


def _refuse_foreign(shapes: Shapes, label: str) -> None:
    for start, (kind, remedy) in _OTHER_KINDS.items():
        # `model.` and the like may stand before it: no Wan mark told which prefix to take off.
        if any(name.startswith(start) or f".{start}" in name for name in shapes):
            raise CheckpointError(f"{label} is {kind}, but this node loads the MAGREF DiT: {remedy}")
    raise CheckpointError(
        f"{label} is of an unknown kind, none of its {len(shapes)} tensors belongs to a Wan model: "
        + _FROM_DIFFUSION_MODELS
    )


def _refuse_other_channels(shapes: Shapes, label: str) -> None:
    in_dim = size_of("patch_embedding.weight", 1, shapes, label=label)
    has_image_branch = any(name.startswith("img_emb.") for name in shapes)
    kind = None
    if in_dim == 16:
        kind = "a Wan text-to-video model (16 input channels)"
    elif in_dim == 48:
        kind = "a Wan Fun Control model" if has_image_branch else "the Wan 2.2 TI2V 5B model"
        kind += " (48 input channels)"
    elif in_dim == 36 and not has_image_branch:
        kind = "a Wan 2.2 image-to-video model (36 input channels, but no image branch)"
    elif in_dim != 36:
        kind = f"a Wan model with {in_dim} input channels"
    if kind:
        raise CheckpointError(f"{label} is {kind}, but MAGREF needs 36 and an image branch: choose {_DIT}")
