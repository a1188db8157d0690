"""Segment Anything from a file of weights: its sizes are read off the weights, no code in the file is run."""

from __future__ import annotations

import importlib
import pickle
import re
import struct
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any, cast

import torch
from torch import Tensor, nn

from ..errors import CheckpointError, MagrefError
from .arrays import BROKEN_PACKAGE

_NO_WEIGHTS = (
    pickle.UnpicklingError,
    struct.error,
    ArithmeticError,
    AssertionError,
    AttributeError,
    EOFError,
    LookupError,
    MemoryError,
    OSError,
    RuntimeError,
    TypeError,
    ValueError,
)
"""What reading a file raises that holds no plain weights, or damaged ones."""

_LIMITS = {"embed_dim": 4096, "depth": 64, "grid": 256, "patch": 64, "prompt_dim": 1024}
"""Beyond these it is no Segment Anything, and building it would only fill the memory."""

_HEADS = 8
"""Of the mask decoder, in all released models; the weights do not tell."""

_MEAN, _STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)


@dataclass(frozen=True, kw_only=True, slots=True)
class SamSizes:
    """The sizes of a model; those of the released ones are in `segment_anything.build_sam`."""

    embed_dim: int
    depth: int
    heads: int
    grid: int
    """Patches along a side of the square that the encoder sees."""
    patch: int
    """Pixels."""
    window: int
    """Patches; 0 if all blocks are global."""
    global_blocks: tuple[int, ...]
    mlp_dim: int
    prompt_dim: int
    mask_channels: int
    masks: int
    """That are offered for one prompt."""
    decoder_depth: int
    decoder_mlp: int
    quality_depth: int
    quality_dim: int


def load_segment_anything() -> ModuleType:
    """The package `segment_anything`.

    Raises:
        MagrefError: it is not installed, or cannot be loaded.
    """
    try:
        return importlib.import_module("segment_anything")
    except BROKEN_PACKAGE as error:
        raise MagrefError(
            f"this cut-out needs segment-anything, which cannot be imported ({error}): install "
            "segment-anything, or choose grabcut"
        ) from error


def load_sam(file: Path) -> nn.Module:
    """Build the model that a `.pth` file holds.

    Args:
        file: path; it is read with `weights_only=True`, so nothing in it can be executed.

    Returns:
        `segment_anything.modeling.Sam` in float32 on the CPU, in evaluation mode.

    Raises:
        CheckpointError: the file is missing, cut short, holds anything but weights, or other weights.
        MagrefError: segment-anything cannot be imported.
    """
    weights = _read(file)
    modeling: Any = load_segment_anything().modeling
    sizes = _sizes_of(weights, file.name)
    try:
        with torch.device("meta"):  # no memory and no time for numbers that are replaced
            model = _build(modeling, sizes)
    except (AssertionError, ArithmeticError, RuntimeError, ValueError) as error:
        raise CheckpointError(_wrong(file.name, f"its sizes make no model: {str(error)[:80]}")) from error
    for name, values in (("pixel_mean", _MEAN), ("pixel_std", _STD)):
        model.register_buffer(name, torch.tensor(values).view(-1, 1, 1), persistent=False)
    weights = {key: value.float() for key, value in weights.items()}
    try:
        model.load_state_dict(weights, assign=True)
    except RuntimeError as error:
        reason = str(error).split("\n")[1:2] or [str(error)]
        raise CheckpointError(
            f"'{file.name}' does not fit Segment Anything ({reason[0].strip()[:160]}): use one of the "
            "released files sam_vit_b, sam_vit_l or sam_vit_h"
        ) from error
    return model.eval().requires_grad_(False)


def _read(file: Path) -> dict[str, Tensor]:
    """The tensors of a file.

    Raises:
        CheckpointError: see `load_sam`.
    """
    try:
        size = file.stat().st_size
        content: object = torch.load(file, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise CheckpointError(f"there is no file '{file.name}': put a SAM checkpoint there") from error
    except _NO_WEIGHTS as error:
        raise CheckpointError(
            f"'{file.name}' holds no plain weights or is cut short; nothing in it was executed. Download "
            "sam_vit_b, sam_vit_l or sam_vit_h again"
        ) from error
    if not isinstance(content, dict):
        raise CheckpointError(_wrong(file.name, f"a {type(content).__name__} in it"))
    items = cast(dict[object, object], content)
    if not items or not all(
        isinstance(key, str) and isinstance(value, Tensor) for key, value in items.items()
    ):
        raise CheckpointError(_wrong(file.name, "other things than tensors in it"))
    weights = cast(dict[str, Tensor], items)
    if sum(value.numel() for value in weights.values()) > size:  # a byte each is less than any format takes
        raise CheckpointError(_wrong(file.name, "tensors larger than the file"))
    return weights


def _wrong(name: str, what: str) -> str:
    return f"'{name}' is no checkpoint of Segment Anything ({what}): use sam_vit_b, sam_vit_l or sam_vit_h"


def _sizes_of(weights: dict[str, Tensor], name: str) -> SamSizes:
    """Read the sizes off the weights.

    Raises:
        CheckpointError: they are no model's.
    """
    try:
        sizes = _read_sizes(weights)
    except (KeyError, IndexError, ValueError, ZeroDivisionError) as error:
        raise CheckpointError(_wrong(name, f"{str(error)[:80]} is missing or of another shape")) from error
    for key, limit in _LIMITS.items():
        if not 1 <= getattr(sizes, key) <= limit:
            raise CheckpointError(_wrong(name, f"its {key} is {getattr(sizes, key)}"))
    return sizes


def _read_sizes(weights: dict[str, Tensor]) -> SamSizes:
    encoder, decoder = "image_encoder.", "mask_decoder."
    embed_dim, _, patch, _ = weights[f"{encoder}patch_embed.proj.weight"].shape
    grid = weights[f"{encoder}pos_embed"].shape[1]
    depth = _count(weights, rf"{re.escape(encoder)}blocks\.(\d+)\.")
    spans = [(weights[f"{encoder}blocks.{index}.attn.rel_pos_h"].shape[0] + 1) // 2 for index in range(depth)]
    head_dim = weights[f"{encoder}blocks.0.attn.rel_pos_h"].shape[1]
    quality = rf"{re.escape(decoder)}iou_prediction_head\.layers\.(\d+)\."
    return SamSizes(
        embed_dim=embed_dim,
        depth=depth,
        heads=embed_dim // head_dim,
        grid=grid,
        patch=patch,
        window=min((span for span in spans if span != grid), default=0),
        global_blocks=tuple(index for index, span in enumerate(spans) if span == grid),
        mlp_dim=weights[f"{encoder}blocks.0.mlp.lin1.weight"].shape[0],
        prompt_dim=weights[f"{encoder}neck.0.weight"].shape[0],
        mask_channels=weights["prompt_encoder.mask_downscaling.3.weight"].shape[0],
        masks=weights[f"{decoder}mask_tokens.weight"].shape[0] - 1,
        decoder_depth=_count(weights, rf"{re.escape(decoder)}transformer\.layers\.(\d+)\."),
        decoder_mlp=weights[f"{decoder}transformer.layers.0.mlp.lin1.weight"].shape[0],
        quality_depth=_count(weights, quality),
        quality_dim=weights[f"{decoder}iou_prediction_head.layers.0.weight"].shape[0],
    )


def _count(weights: dict[str, Tensor], pattern: str) -> int:
    return len({match[1] for key in weights if (match := re.match(pattern, key))})


def _build(modeling: Any, sizes: SamSizes) -> nn.Module:
    """A model of these sizes, as `segment_anything.build_sam` builds the released ones."""
    side = sizes.grid * sizes.patch
    encoder = modeling.ImageEncoderViT(
        depth=sizes.depth,
        embed_dim=sizes.embed_dim,
        img_size=side,
        mlp_ratio=sizes.mlp_dim / sizes.embed_dim,
        norm_layer=partial(nn.LayerNorm, eps=1e-6),
        num_heads=sizes.heads,
        patch_size=sizes.patch,
        qkv_bias=True,
        use_rel_pos=True,
        global_attn_indexes=sizes.global_blocks,
        window_size=sizes.window,
        out_chans=sizes.prompt_dim,
    )
    prompts = modeling.PromptEncoder(
        embed_dim=sizes.prompt_dim,
        image_embedding_size=(sizes.grid, sizes.grid),
        input_image_size=(side, side),
        mask_in_chans=sizes.mask_channels,
    )
    transformer = modeling.TwoWayTransformer(
        depth=sizes.decoder_depth,
        embedding_dim=sizes.prompt_dim,
        mlp_dim=sizes.decoder_mlp,
        num_heads=_HEADS,
    )
    decoder = modeling.MaskDecoder(
        num_multimask_outputs=sizes.masks,
        transformer=transformer,
        transformer_dim=sizes.prompt_dim,
        iou_head_depth=sizes.quality_depth,
        iou_head_hidden_dim=sizes.quality_dim,
    )
    return modeling.Sam(encoder, prompts, decoder, pixel_mean=list(_MEAN), pixel_std=list(_STD))
