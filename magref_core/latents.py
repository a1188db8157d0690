"""Frames to latents and back through a VAE that is handed in."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise, product

import torch
from torch import Tensor

from .errors import MagrefError, ShapeError
from .sizes import FRAME_STRIDE, LATENT_CHANNELS, PIXEL_STRIDE, check_num_frames, num_latent_frames

Encode = Callable[[Tensor], Tensor]
"""(B, 3, F, H, W) in [-1, 1] -> (B, 16, T, h, w), normalised or raw as the caller wants them."""

Decode = Callable[[Tensor], Tensor]
"""(B, 16, T, h, w), normalised or raw as the caller has them -> (B, 3, 4 T - 3, 8 h, 8 w).

Its range is the caller's choice, [-1, 1] or [0, 1]: tiles are only averaged, with weights that add up to 1.
"""

Progress = Callable[[int, int], None]
"""Called with the tiles done and the tiles in all; may raise to interrupt."""

DROP_FRAMES = 4
"""Frames at the start of a decoded video that show the canvas dissolving."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Tiling:
    """How to cut latents that are too large to be decoded at once; in latent cells and latent frames.

    Raises:
        MagrefError: an overlap leaves no progress from tile to tile, or windows of time do not overlap.
    """

    height: int = 0
    """Of a tile; 0 does not cut the height."""
    width: int = 0
    """Of a tile; 0 does not cut the width."""
    overlap: int = 8
    """Shared by neighbouring tiles. A VAE that sees up to a quarter of it is not disturbed by the cuts."""
    frames: int = 0
    """Of a window of time; 0 does not cut the time."""
    frame_overlap: int = 2
    """Shared by consecutive windows, so that a window has some past. A causal VAE that sees no further back
    than half of it is not disturbed by the cuts."""

    def __post_init__(self) -> None:
        for name, tile in (("height", self.height), ("width", self.width)):
            if tile < 0 or self.overlap < 0 or (tile and self.overlap >= tile):
                raise MagrefError(
                    f"the tile {name} is {tile} latent cells and the overlap {self.overlap}, but the overlap "
                    f"must be smaller: enlarge the tile or use an overlap of {max(0, tile // 4)}"
                )
        if self.frames < 0 or (self.frames and not 1 <= self.frame_overlap < self.frames):
            raise MagrefError(
                f"the time window is {self.frames} latent frames and its overlap {self.frame_overlap}, but "
                "the overlap must be at least 1 and less than the window: change one of them"
            )


def canvas_video(pixels: Tensor, num_frames: int) -> Tensor:
    """The video whose latents guide the DiT: the canvas, then empty frames.

    Args:
        pixels: (3, H, W) in [-1, 1], of the canvas.
        num_frames: 4 n + 1.

    Returns:
        (1, 3, F, H, W) in [-1, 1]; frame 0 is the canvas, all others are 0, which is mid-grey.

    Raises:
        ShapeError: `num_frames` is not 4 n + 1.

    Source: MAGREF, magref/subject2video.py, `y` in `generate`.
    """
    check_num_frames(num_frames)
    video = pixels.new_zeros(1, pixels.shape[0], num_frames, *pixels.shape[1:])
    video[0, :, 0] = pixels
    return video


def encode_canvas(pixels: Tensor, num_frames: int, encode: Encode) -> Tensor:
    """Latents of the canvas and its empty frames.

    The empty frames go through the VAE as well: their latents are not constant.

    Args:
        pixels: (3, H, W) in [-1, 1], of the canvas.
        num_frames: 4 n + 1.
        encode: a Wan 2.1 VAE.

    Returns:
        (1, 16, T, h, w) as `encode` gives them, with T = n + 1.

    Raises:
        ShapeError: `num_frames` is not 4 n + 1, or the latents show that the VAE is of another family.
    """
    latents = encode(canvas_video(pixels, num_frames))
    _, height, width = pixels.shape
    cells = height // PIXEL_STRIDE, width // PIXEL_STRIDE
    _check_vae(latents, (1, LATENT_CHANNELS, num_latent_frames(num_frames), *cells))
    return latents


def decode_video(
    latents: Tensor,
    decode: Decode,
    *,
    drop_frames: int = DROP_FRAMES,
    tiling: Tiling | None = None,
    progress: Progress | None = None,
) -> Tensor:
    """Decode latents, in tiles if asked, without the frames at the start.

    What fits into one tile is decoded by a single call, and nothing is done to its result but the dropping.
    Otherwise neighbours are blended: the outer quarters of a shared border come from the tile that sees
    further beyond, the middle half by linear ramps. In time the first half of what windows share comes from
    the earlier window, which has the past that a causal VAE needs; the second half is a linear ramp.

    Args:
        latents: (B, 16, T, h, w) as `decode` takes them.
        decode: a Wan 2.1 VAE.
        drop_frames: frames at the start that are not returned.
        tiling: None decodes at once.
        progress: called after each tile.

    Returns:
        (B, 3, F - drop_frames, H, W) with F = 4 T - 3; range, dtype and device of the decoder's result, but
        at least float32 where tiles are blended.

    Raises:
        ShapeError: the latents have the wrong shape, nothing is left after dropping, or the decoded shape
            shows that the VAE is of another family.
    """
    _check_latents(latents, drop_frames)
    axes = _tile_spans(latents, tiling or Tiling())
    tiles = list(product(*axes))
    video: Tensor | None = None
    for done, spans in enumerate(tiles, start=1):
        frames = _decode_tile(latents, spans, decode)
        if len(tiles) == 1:
            video = frames[:, :, drop_frames:]
        else:
            video = _empty_video(latents, frames, drop_frames) if video is None else video
            _add_tile(video, frames, spans, drop_frames)
        if progress:
            progress(done, len(tiles))
    assert video is not None  # there is always a tile
    return video


@dataclass(frozen=True, kw_only=True, slots=True)
class _Span:
    """The share of one tile along one axis."""

    cells: slice
    """Of the latents."""
    start: int
    """First pixel or frame of the decoded tile within the whole video."""
    weights: Tensor
    """(pixels or frames,) float32; over all tiles they add up to 1 everywhere."""


def _tile_spans(latents: Tensor, tiling: Tiling) -> tuple[list[_Span], list[_Span], list[_Span]]:
    num_frames, height, width = latents.shape[2:]
    return (
        _frame_spans(_cut(num_frames, tiling.frames, tiling.frame_overlap)),
        _pixel_spans(_cut(height, tiling.height, tiling.overlap)),
        _pixel_spans(_cut(width, tiling.width, tiling.overlap)),
    )


def _cut(length: int, tile: int, overlap: int) -> list[tuple[int, int]]:
    """Cut `length` cells into as few equal tiles as overlap at least by `overlap`; [start, stop) each."""
    if tile == 0 or tile >= length:
        return [(0, length)]
    count = -(-(length - overlap) // (tile - overlap))
    starts = [index * (length - tile) // (count - 1) for index in range(count)]
    return [(start, start + tile) for start in starts]


def _pixel_spans(cuts: Sequence[tuple[int, int]]) -> list[_Span]:
    pixels = [(start * PIXEL_STRIDE, stop * PIXEL_STRIDE) for start, stop in cuts]
    return _spans(cuts, pixels, margins=(0.25, 0.75))


def _frame_spans(cuts: Sequence[tuple[int, int]]) -> list[_Span]:
    """Latent frame k ends with pixel frame 4 k; of a window's first one only that frame is decoded."""
    frames = [(start * FRAME_STRIDE, (stop - 1) * FRAME_STRIDE + 1) for start, stop in cuts]
    return _spans(cuts, frames, margins=(0.5, 1.0))


def _spans(
    cuts: Sequence[tuple[int, int]], decoded: Sequence[tuple[int, int]], *, margins: tuple[float, float]
) -> list[_Span]:
    """Weights that pass from tile to tile between the two `margins`, in shares of what both cover."""
    weights = [torch.ones(stop - start) for start, stop in decoded]
    for index, ((_, stop), (start, _)) in enumerate(pairwise(decoded)):
        shared = stop - start
        ramp = _ramp(shared, *margins)
        weights[index][len(weights[index]) - shared :] *= 1 - ramp
        weights[index + 1][:shared] *= ramp
    total = torch.zeros(decoded[-1][1])
    for (start, stop), weight in zip(decoded, weights, strict=True):
        total[start:stop] += weight
    return [
        _Span(cells=slice(*cut), start=start, weights=weight / total[start:stop])
        for cut, (start, stop), weight in zip(cuts, decoded, weights, strict=True)
    ]


def _ramp(length: int, lower: float, upper: float) -> Tensor:
    """(length,): 0 up to the share `lower`, 1 from `upper` on, linear between; sampled at cell centres."""
    centres = (torch.arange(length) + 0.5) / length
    return ((centres - lower) / (upper - lower)).clamp(0, 1)


def _decode_tile(latents: Tensor, spans: tuple[_Span, _Span, _Span], decode: Decode) -> Tensor:
    frames, rows, columns = (span.cells for span in spans)
    tile = latents[:, :, frames, rows, columns]
    batch, _, *sizes = tile.shape
    decoded = decode(tile)
    _check_vae(decoded, (batch, 3, *_decoded_sizes(sizes)))
    return decoded


def _empty_video(latents: Tensor, like: Tensor, drop_frames: int) -> Tensor:
    num_frames, height, width = _decoded_sizes(latents.shape[2:])
    dtype = torch.promote_types(like.dtype, torch.float32)
    return like.new_zeros(like.shape[0], 3, num_frames - drop_frames, height, width, dtype=dtype)


def _add_tile(video: Tensor, tile: Tensor, spans: tuple[_Span, _Span, _Span], drop_frames: int) -> None:
    """Add one weighted tile to the video in place; the tile's dropped frames are left out."""
    skipped = max(0, drop_frames - spans[0].start)
    starts = spans[0].start + skipped - drop_frames, spans[1].start, spans[2].start
    tile = tile[:, :, skipped:].to(video.dtype)
    weights = [span.weights.to(video) for span in spans]
    share = weights[0][skipped:, None, None] * weights[1][:, None] * weights[2]  # (f, H, W)
    target = video
    for axis, (start, length) in enumerate(zip(starts, tile.shape[2:], strict=True), start=2):
        target = target.narrow(axis, start, length)
    target += tile * share


def _decoded_sizes(sizes: Sequence[int]) -> tuple[int, int, int]:
    """(T, h, w) in latent cells -> (F, H, W) in pixels."""
    num_frames, height, width = sizes
    return (num_frames - 1) * FRAME_STRIDE + 1, height * PIXEL_STRIDE, width * PIXEL_STRIDE


def _check_latents(latents: Tensor, drop_frames: int) -> None:
    if latents.ndim != 5 or latents.shape[1] != LATENT_CHANNELS:
        raise ShapeError(
            f"the latents are {tuple(latents.shape)}, but (batch, {LATENT_CHANNELS}, frames, height, width) "
            "is needed: use latents of a Wan 2.1 video"
        )
    num_frames = (latents.shape[2] - 1) * FRAME_STRIDE + 1
    if not 0 <= drop_frames < num_frames:
        raise ShapeError(
            f"the video has {num_frames} frames and {drop_frames} are to be dropped, so none would be left: "
            f"drop at most {num_frames - 1}, or make a longer video"
        )


def _check_vae(result: Tensor, expected: tuple[int, ...]) -> None:
    if result.shape != expected:
        raise ShapeError(
            f"the VAE returned {tuple(result.shape)}, but {expected} is needed: load the Wan 2.1 VAE "
            "(wan_2.1_vae.safetensors), not that of another model family"
        )
