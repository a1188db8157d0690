"""The formats of a matrix: float values to stored parts and back, a few rows at a time.

The parts have the names, types and layouts that ComfyUI 0.30 reads. Rounding equals that of its own library
comfy-kitchen (Apache-2.0), bit for bit, when that is given the same float32 values; a test holds it.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from ..errors import CheckpointError, MagrefError

FormatName = Literal["bf16", "fp8", "fp8_scaled", "int8", "nvfp4"]
FORMATS: tuple[FormatName, ...] = get_args(FormatName)

Parts = dict[str, Tensor]
"""What follows the layer's name and a dot -> tensor."""
Sizes = dict[str, tuple[torch.dtype, tuple[int, ...]]]
"""The same, with dtype and shape alone."""

FP8 = torch.float8_e4m3fn
FP8_MAX, FP4_MAX, INT8_MAX = 448.0, 6.0, 127.0
SMALLEST_SCALE = 1e-30
"""Below it int8 would divide by zero."""

BLOCK = 16
"""Neighbours in a row that share one scale in nvfp4."""
TILE_ROWS, TILE_COLUMNS = 128, 4
"""Scales of nvfp4 lie in tiles of this size, as the matrix units want them."""

FP4_VALUES = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0)
_FP4_BORDERS = (0.25, 0.75, 1.25, 1.75, 2.5, 3.5, 5.0)
"""Half-way between neighbours; a value on the border goes to the even code."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Format:
    """How matrices are stored. Shapes are (rows, columns), values float32."""

    name: FormatName
    about: str
    sizes: Callable[[int, int], Sizes]
    """Parts of a matrix, for rows and columns."""
    scale: Callable[[float], Tensor]
    """The scale of the whole matrix () for its largest magnitude."""
    encode: Callable[[Tensor, Tensor], Parts]
    """Rows and the scale -> the parts that belong to the rows."""
    decode: Callable[[Parts, Tensor], Tensor]
    """The way back."""
    finish: Callable[[Parts, Tensor], Parts]
    """Parts of all rows and the scale -> what is stored."""
    start: Callable[[Parts, int], tuple[Parts, Tensor]]
    """The way back of `finish`, for so many rows."""
    column_multiple: int = 1
    row_multiple: int = 1
    marks: tuple[tuple[str, torch.dtype], ...] = ()
    """Empty tensors of the file as a whole."""

    def fits(self, rows: int, columns: int) -> bool:
        """Whether a matrix of that size can be stored so."""
        return not rows % self.row_multiple and not columns % self.column_multiple


def format_named(name: str) -> Format:
    """The format of a name.

    Raises:
        MagrefError: there is none.
    """
    if name not in _FORMATS:
        raise MagrefError(f"the format is {name!r}, which is unknown: choose one of {', '.join(FORMATS)}")
    return _FORMATS[name]


def comfy_quant(format_name: str) -> Tensor:
    """What a layer says of itself: JSON as bytes, (N,) uint8."""
    text = json.dumps({"format": format_name}).encode()
    return torch.tensor(list(text), dtype=torch.uint8)


def bytes_of(tensor: Tensor) -> memoryview:
    """The bytes of a flat, contiguous tensor on the CPU, which may be written to."""
    array: Any = tensor.view(torch.uint8).numpy()  # pyright: ignore[reportUnknownMemberType]
    return memoryview(array)


def told_format(mark: Tensor, *, layer: str) -> FormatName:
    """The format that a `comfy_quant` tensor tells.

    Raises:
        CheckpointError: it tells none that `FORMATS` writes.
    """
    try:
        told = json.loads(bytes_of(mark).tobytes())["format"]
        return _TOLD[told]
    except (ValueError, KeyError, TypeError) as error:
        raise CheckpointError(
            f"{layer} is quantised in a way that this program does not write: "
            f"choose a file in one of the formats {', '.join(FORMATS)}"
        ) from error


def to_tiles(scales: Tensor) -> Tensor:
    """(rows, n) -> the same values in tiles, padded with zeros to (rows up to a multiple of 128, n of 4).

    In a tile of 128 x 4, row r and column c stand at 16 (r mod 32) + 4 (r div 32) + c.

    Source: cuBLAS manual, layout of block scaling factors.
    """
    rows, columns = scales.shape
    tall, wide = -(-rows // TILE_ROWS), -(-columns // TILE_COLUMNS)
    # As bytes: float8 cannot be padded on every device.
    padded = torch.zeros(tall * TILE_ROWS, wide * TILE_COLUMNS, dtype=torch.uint8)
    padded[:rows, :columns] = scales.view(torch.uint8)
    tiles = padded.view(tall, 4, 32, wide, TILE_COLUMNS)
    tiles = tiles.permute(0, 3, 2, 1, 4).reshape(tall * TILE_ROWS, wide * TILE_COLUMNS)
    return tiles.view(scales.dtype)


def from_tiles(tiles: Tensor, rows: int, columns: int) -> Tensor:
    """The way back of `to_tiles`."""
    tall, wide = -(-rows // TILE_ROWS), -(-columns // TILE_COLUMNS)
    split = tiles.view(torch.uint8).reshape(tall, wide, 32, 4, TILE_COLUMNS)
    plain = split.permute(0, 3, 2, 1, 4).reshape(tall * TILE_ROWS, wide * TILE_COLUMNS)
    return plain[:rows, :columns].contiguous().view(tiles.dtype)


def to_fp4(values: Tensor) -> Tensor:
    """(..., C) in [-6, 6] -> (..., C / 2) uint8: sign and three bits each, the first of a pair on top."""
    borders = torch.tensor(_FP4_BORDERS)
    borders[1::2] = borders[1::2].nextafter(torch.zeros(()))  # codes 2, 4 and 6 take their lower border
    codes = torch.bucketize(values.abs(), borders, out_int32=True).to(torch.uint8)
    codes |= (values.signbit()).to(torch.uint8) << 3
    return codes[..., ::2] << 4 | codes[..., 1::2]


def from_fp4(codes: Tensor) -> Tensor:
    """The way back of `to_fp4`, in float32."""
    table = torch.tensor((*FP4_VALUES, *(-value for value in FP4_VALUES)))
    pairs = torch.stack([codes >> 4, codes & 15], dim=-1).flatten(-2)
    return table[pairs.int()]


def _no_scale(largest: float) -> Tensor:
    return torch.ones(())


def _scale_to(limit: float) -> Callable[[float], Tensor]:
    def scale(largest: float) -> Tensor:
        return torch.tensor(largest) / limit if largest else torch.ones(())

    return scale


def _encode_fp8(rows: Tensor, scale: Tensor) -> Parts:
    return {"weight": (rows * (1 / scale)).clamp_(-FP8_MAX, FP8_MAX).to(FP8)}


def _decode_fp8(parts: Parts, scale: Tensor) -> Tensor:
    return parts["weight"].float() * scale


def _encode_int8(rows: Tensor, scale: Tensor) -> Parts:
    scales = (rows.abs().amax(dim=1, keepdim=True) / INT8_MAX).clamp_(min=SMALLEST_SCALE)
    return {"weight": (rows / scales).round_().clamp_(-128, 127).to(torch.int8), "weight_scale": scales}


def _encode_nvfp4(rows: Tensor, scale: Tensor) -> Parts:
    blocks = rows.view(len(rows), -1, BLOCK)
    scales = (blocks.abs().amax(dim=-1) / FP4_MAX / scale).clamp_(max=FP8_MAX).to(FP8)
    steps = (scale * scales.float())[..., None]
    values = torch.where(steps == 0, 0.0, blocks / steps).clamp_(-FP4_MAX, FP4_MAX)
    return {"weight": to_fp4(values.flatten(1)), "weight_scale": scales}


def _decode_nvfp4(parts: Parts, scale: Tensor) -> Tensor:
    values = from_fp4(parts["weight"]).view(len(parts["weight"]), -1, BLOCK)
    return (values * (scale * parts["weight_scale"].float())[..., None]).flatten(1)


def _mark_size(name: str) -> tuple[torch.dtype, tuple[int, ...]]:
    return torch.uint8, tuple(comfy_quant(name).shape)


def _sizes_nvfp4(rows: int, columns: int) -> Sizes:
    tiles = (-(-rows // TILE_ROWS) * TILE_ROWS, -(-columns // BLOCK // TILE_COLUMNS) * TILE_COLUMNS)
    return {
        "weight": (torch.uint8, (rows, columns // 2)),
        "weight_scale": (FP8, tiles),
        "weight_scale_2": (torch.float32, ()),
        "comfy_quant": _mark_size("nvfp4"),
    }


def _start_nvfp4(parts: Parts, rows: int) -> tuple[Parts, Tensor]:
    blocks = parts["weight"].shape[1] * 2 // BLOCK
    plain = from_tiles(parts["weight_scale"], rows, blocks)
    return {"weight": parts["weight"], "weight_scale": plain}, parts["weight_scale_2"]


_FORMATS: dict[str, Format] = {
    "bf16": Format(
        name="bf16",
        about="16 bits, half of float32",
        sizes=lambda rows, columns: {"weight": (torch.bfloat16, (rows, columns))},
        scale=_no_scale,
        encode=lambda rows, scale: {"weight": rows.bfloat16()},
        decode=lambda parts, scale: parts["weight"].float(),
        finish=lambda parts, scale: parts,
        start=lambda parts, rows: (parts, torch.ones(())),
    ),
    "fp8": Format(
        name="fp8",
        about="8 bits with one scale per matrix, told by comfy_quant",
        sizes=lambda rows, columns: {
            "weight": (FP8, (rows, columns)),
            "weight_scale": (torch.float32, ()),
            "comfy_quant": _mark_size("float8_e4m3fn"),
        },
        scale=_scale_to(FP8_MAX),
        encode=_encode_fp8,
        decode=_decode_fp8,
        finish=lambda parts, scale: {
            **parts,
            "weight_scale": scale,
            "comfy_quant": comfy_quant("float8_e4m3fn"),
        },
        start=lambda parts, rows: ({"weight": parts["weight"]}, parts["weight_scale"]),
    ),
    "fp8_scaled": Format(
        name="fp8_scaled",
        about="the same numbers in the older form, scale_weight, which older programs read",
        sizes=lambda rows, columns: {
            "weight": (FP8, (rows, columns)),
            "scale_weight": (torch.float32, ()),
        },
        scale=_scale_to(FP8_MAX),
        encode=_encode_fp8,
        decode=_decode_fp8,
        finish=lambda parts, scale: {**parts, "scale_weight": scale},
        start=lambda parts, rows: ({"weight": parts["weight"]}, parts["scale_weight"]),
        marks=(("scaled_fp8", FP8),),
    ),
    "int8": Format(
        name="int8",
        about="8 bits with one scale per row, told by comfy_quant",
        sizes=lambda rows, columns: {
            "weight": (torch.int8, (rows, columns)),
            "weight_scale": (torch.float32, (rows, 1)),
            "comfy_quant": _mark_size("int8_tensorwise"),
        },
        scale=_no_scale,
        encode=_encode_int8,
        decode=lambda parts, scale: parts["weight"].float() * parts["weight_scale"],
        finish=lambda parts, scale: {**parts, "comfy_quant": comfy_quant("int8_tensorwise")},
        start=lambda parts, rows: (parts, torch.ones(())),
    ),
    "nvfp4": Format(
        name="nvfp4",
        about="4 bits with one scale per 16 neighbours, told by comfy_quant",
        sizes=_sizes_nvfp4,
        scale=_scale_to(FP8_MAX * FP4_MAX),
        encode=_encode_nvfp4,
        decode=_decode_nvfp4,
        finish=lambda parts, scale: {
            "weight": parts["weight"],
            "weight_scale": to_tiles(parts["weight_scale"]),
            "weight_scale_2": scale,
            "comfy_quant": comfy_quant("nvfp4"),
        },
        start=_start_nvfp4,
        column_multiple=BLOCK,
        row_multiple=BLOCK,
    ),
}

_TOLD: dict[str, FormatName] = {"float8_e4m3fn": "fp8", "int8_tensorwise": "int8", "nvfp4": "nvfp4"}
