"""What the image encoder sees, and what it makes of it."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor

from magref_core.canvas.clip_view import clip_pixels
from magref_core.canvas.compose import Canvas
from tests import pack

from . import canvas, host
from .report import Row, compare

FILE = "clip.safetensors"
FILES = (FILE, canvas.FILE)

PIXEL_LIMIT = 5e-6
HIDDEN_LIMIT = 5e-5
"""Rounding of the pixels and of a few blocks, for values of size 1..8."""

_PENULTIMATE = -2


@torch.no_grad()
def check(folder: Path) -> Iterator[Row]:
    """Compare the pixels, and with a host the features; yields nothing if the files are absent."""
    if not all((folder / name).is_file() for name in FILES):
        return
    tensors, canvases = load_file(folder / FILE), load_file(folder / canvas.FILE)
    has_encoder = (folder / host.CLIP_WEIGHTS).is_file() and pack.is_host_at_hand()
    encoder = host.load_clip_vision(folder) if has_encoder else None
    for case in sorted({name.split(".")[0] for name in tensors}):
        pixels = clip_pixels(_canvas_pixels(canvases[f"{case}.canvas_png"])[None])
        yield from _check_pixels(case, pixels, tensors)
        if encoder:
            last, hidden, *_ = encoder(pixel_values=pixels, intermediate_output=_PENULTIMATE)
            yield from _check_tokens(case, "hidden", hidden, tensors)
            yield from _check_tokens(case, "last_block", last, tensors)


def _canvas_pixels(png: Tensor) -> Tensor:
    """PNG file bytes -> (3, H, W) in [-1, 1]."""
    image = torch.from_numpy(np.array(Image.open(io.BytesIO(png.numpy().tobytes()))))
    return Canvas(image=image, mask=torch.zeros_like(image[..., 0]), references=(), placements=()).pixels()


def _check_pixels(case: str, pixels: Tensor, tensors: dict[str, Tensor]) -> Iterator[Row]:
    if f"{case}.pixels" in tensors:
        yield compare(FILE, case, "pixels", pixels, tensors[f"{case}.pixels"], PIXEL_LIMIT)
    if f"{case}.pixels_rows" in tensors:  # evenly spaced rows, from the first
        golden = tensors[f"{case}.pixels_rows"]
        step = pixels.shape[2] // golden.shape[2]
        yield compare(FILE, case, f"pixels, row in {step}", pixels[:, :, ::step], golden, PIXEL_LIMIT)


def _check_tokens(case: str, quantity: str, ours: Tensor, tensors: dict[str, Tensor]) -> Iterator[Row]:
    golden = tensors.get(f"{case}.{quantity}")
    if golden is not None:  # some hold the first tokens only
        yield compare(FILE, case, quantity, ours[:, : golden.shape[1]], golden, HIDDEN_LIMIT)
